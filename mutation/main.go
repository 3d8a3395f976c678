// Command mutation breaks Evergrant's promises on purpose, one at a time, and
// shows that the tests notice:
//
//	go run ./mutation            the whole list, in some minutes
//	go run ./mutation -short     the quick ones, in less than one
//	go run ./mutation -only P1-lock,P4-5xx
//	go run ./mutation -list
//
// list.go is the list: what is broken, in which file, and which test has to
// fail. The runner copies the repository into a temporary folder, sees the
// tests pass there, and then makes one change at a time, builds and runs the
// test. It ends with 1 if a change went unnoticed, if an entry no longer fits
// the code (a stale text, a change that does not compile, a test that is gone
// or was skipped), and with 0 otherwise.
//
// A test counts as failed when it says so: a build that breaks, a timeout or a
// crash outside of a test proves nothing and is an error of the entry.
//
// Limits. What a list of changes cannot show is that there are no others: each
// new promise needs its entry. Entries whose test needs strace or root say so
// by failing, loudly, where these are missing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
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
	code, err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutation:", err)
	}
	stop()
	os.Exit(code)
}

// run is main with its ends exposed.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int, err error) {
	var o struct {
		short, list, json bool
		only              string
	}
	f := flag.NewFlagSet("mutation", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.BoolVar(&o.short, "short", false, "only the quick entries")
	f.BoolVar(&o.list, "list", false, "print the list and end")
	f.BoolVar(&o.json, "json", false, "print the results as JSON")
	f.StringVar(&o.only, "only", "", "only these `IDs`, separated by commas")
	if err := f.Parse(args); err != nil {
		return 2, nil // said by the flag package
	}
	chosen, err := choose(mutations, o.only, o.short)
	if err != nil {
		return 2, err
	}
	if o.list {
		return 0, printList(stdout, chosen)
	}
	root, err := repository(ctx)
	if err != nil {
		return 2, err
	}
	began := time.Now()
	b, err := newRig(ctx, root, stderr)
	if err != nil {
		return 2, err
	}
	defer b.close()
	results := b.try(ctx, chosen)
	if err := report(stdout, results, time.Since(began), o.json); err != nil {
		return 2, err
	}
	if !allCaught(results) {
		return 1, errors.New("not every change was caught")
	}
	return 0, nil
}

// choose picks the entries that the flags ask for.
func choose(all []mutation, only string, short bool) ([]mutation, error) {
	var chosen []mutation
	ids := strings.FieldsFunc(only, func(r rune) bool { return r == ',' })
	for _, m := range all {
		if len(ids) > 0 && slices.Contains(ids, m.id) || len(ids) == 0 && (m.quick || !short) {
			chosen = append(chosen, m)
		}
	}
	if len(ids) > len(chosen) {
		return nil, fmt.Errorf("-only %s names an entry that is not on the list", only)
	}
	return chosen, nil
}

// repository is the root of the module this program is run in.
func repository(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	mod := strings.TrimSpace(string(out))
	if err != nil || filepath.Base(mod) != "go.mod" {
		return "", errors.New("run it inside the repository")
	}
	return filepath.Dir(mod), nil
}
