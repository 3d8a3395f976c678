//go:build linux

// Command bench measures Evergrant side by side with what people use instead: a
// curl and jq script, a bare Go program that does the least that is durable, and
// golang.org/x/oauth2.
//
//	go run ./bench              print the table and write it into docs/benchmarks.md
//	go run ./bench -doc ""      print only
//
// Every figure is taken interleaved: the contenders run in turns, once each a
// round, and a ratio is the median over the rounds of the ratios within a round,
// so that a machine which is slow for a while is slow for all of them. Absolute
// times are those of this machine at this moment; only ratios are worth comparing
// between machines.
//
// It needs curl, jq and strace, runs on Linux only, and takes about two
// minutes. A target that is missed is said so in the table and fails nothing: on a
// shared machine a number is no test.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	doc := flag.String("doc", "docs/benchmarks.md", "file whose table is replaced, between its markers; \"\" writes none")
	dir := flag.String("dir", "", "folder for token files, on the disk to measure (default: the system's temporary folder)")
	serve := flag.Bool("serve", false, "only serve token answers; used by the benchmark itself")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *serve {
		err = serveAnswers(ctx)
	} else {
		err = run(ctx, *doc, *dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is what the measurements share.
type bench struct {
	ctx    context.Context
	dir    string // of this run
	tools  map[string]string
	launch *launcher
	idp    *simulator
	report report
}

func run(ctx context.Context, doc, dir string) error {
	dir, err := os.MkdirTemp(dir, "evergrant-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{ctx: ctx, dir: dir}
	if b.tools, err = tools(ctx, dir); err != nil {
		return err
	}
	if b.launch, err = startLauncher(b.tools["launch"], dir); err != nil {
		return err
	}
	defer b.launch.close()
	if b.idp, err = startSimulator(b.tools["evergrant"]); err != nil {
		return err
	}
	defer b.idp.close()
	b.report.machine = machine(dir)
	for _, m := range []struct {
		what    string
		measure func(*bench) error
	}{
		{"refresh of a token file", (*bench).refresh},
		{"token from a fresh file", (*bench).token},
		{"many processes", (*bench).herd},
		{"system calls", (*bench).syncs},
		{"Source.Token", (*bench).hotPath},
		{"refresh round trip", (*bench).roundTrip},
		{"reply to disk", (*bench).durable},
	} {
		fmt.Fprintf(os.Stderr, "measuring %s …\n", m.what)
		if err := m.measure(b); err != nil {
			return fmt.Errorf("measuring %s: %w", m.what, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	b.report.machine = append(b.report.machine, "Load averages when it ended: "+loadAverage())
	b.report.machine = append(b.report.machine, busy()...)
	b.report.print(os.Stdout)
	if doc == "" {
		return nil
	}
	return b.report.write(doc)
}

// tools finds what must be installed and builds what is measured, as a release is
// built: static and stripped.
func tools(ctx context.Context, dir string) (map[string]string, error) {
	paths := map[string]string{}
	for _, name := range []string{"sh", "curl", "jq", "strace", "go"} {
		path, err := exec.LookPath(name)
		if err != nil {
			return nil, fmt.Errorf("%s is needed and not installed: %w", name, err)
		}
		paths[name] = path
	}
	for name, pkg := range map[string]string{
		"evergrant": "cmd/evergrant", "barerefresh": "bench/peers/barerefresh", "baretoken": "bench/peers/baretoken", "launch": "bench/peers/launch",
	} {
		paths[name] = filepath.Join(dir, name)
		c := exec.CommandContext(ctx, paths["go"], "build", "-trimpath", "-ldflags=-s -w", "-o", paths[name], module+pkg)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building %s: %w\n%s", pkg, err, out)
		}
	}
	for name, text := range scripts {
		paths[name] = filepath.Join(dir, name)
		if err := os.WriteFile(paths[name], []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

const module = "github.com/evergrant/evergrant/"
