// Command prove runs the long proofs one after another and writes what they
// came to into docs/reliability.md:
//
//	go run ./prove                          all of them; `make prove` installs first what they need
//	go run ./prove -only crashtest,model    some, and nothing is written
//	go run ./prove -doc -                   the page on the standard output
//
// The parts are in part.go. Each is a command that anybody can run alone; its
// figures come through a file that package figures describes, or are read from
// what it prints. At the end there is one summary. The exit code is 1 if a part
// failed, gave no figure or fewer than it should, or counted a loss that could
// have been avoided; then nothing is written, so that the page always tells of
// a run that passed.
//
// What a machine does not permit, such as mounting a file system, is skipped
// with its reason on the page and in the last lines.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code := runMain(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// runMain is main with its ends exposed.
func runMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("prove", flag.ContinueOnError)
	f.SetOutput(stderr)
	only := f.String("only", "", "run only these `parts`, separated by commas, and write no page")
	doc := f.String("doc", "docs/reliability.md", "`file` to write, - for the standard output")
	if err := f.Parse(args); err != nil {
		return 2
	}
	chosen, err := choose(parts, *only)
	if err != nil {
		fmt.Fprintln(stderr, "prove:", err)
		return 2
	}
	if *only != "" {
		*doc = ""
	}
	if err := prove(ctx, chosen, *doc, stdout); err != nil {
		fmt.Fprintln(stderr, "prove:", err)
		return 1
	}
	return 0
}

// choose picks parts by name; all for "".
func choose(all []part, only string) ([]part, error) {
	if only == "" {
		return all, nil
	}
	var chosen []part
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(all, func(p part) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("-only: there is no part %q", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// prove runs parts and writes the page, unless doc is "". The logs are kept
// where a part failed.
func prove(ctx context.Context, list []part, doc string, out io.Writer) error {
	dir, err := os.MkdirTemp("", "prove-")
	if err != nil {
		return err
	}
	b, m := bench{dir: dir, out: out}, here(ctx, time.Now())
	var runs []run
	for _, p := range list {
		if ctx.Err() != nil {
			break
		}
		runs = append(runs, b.try(ctx, p))
	}
	printSummary(out, m, runs)
	var failed []string
	for _, r := range runs {
		if check(r) != nil {
			failed = append(failed, r.part.name)
		}
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted; the logs are in %s", dir)
	case len(failed) > 0:
		return fmt.Errorf("%s failed; the logs are in %s", strings.Join(failed, ", "), dir)
	}
	os.RemoveAll(dir)
	if doc == "" {
		return nil
	}
	return write(doc, out, m, runs)
}

// write puts the page where it belongs.
func write(doc string, out io.Writer, m machine, runs []run) error {
	text, err := page(m, runs)
	if err != nil {
		return err
	}
	if doc == "-" {
		_, err := out.Write(text)
		return err
	}
	if err := os.WriteFile(doc, text, 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "prove: wrote %s\n", filepath.ToSlash(doc))
	return err
}
