package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/evergrant/evergrant/prove/figures"
)

// A part is one of the long proofs.
type part struct {
	name    string   // one word
	command []string // run at the root of the repository
	env     []string // NAME=value, beside the machine's
	own     bool     // it adds its figures to the file that the environment names

	// read finds figures in what the command printed; nil: there are none.
	read func(output []byte) ([]figures.Figure, error)

	// wants are the figures without which the part has shown nothing, and the
	// least that each must come to. What was skipped with a reason need not.
	wants map[string]float64
}

// full is what asks tests for their full counts.
const full = "EVERGRANT_PROVE=1"

// limit bounds a part, should its own limits fail.
const limit = 35 * time.Minute

func goTest(pkg string, flags ...string) []string {
	return append(append([]string{"go", "test", "-count=1", "-v", "-timeout=30m"}, flags...), pkg)
}

// worldSeed is the seed of the simulated world: the same one each time, so that a
// tree that passed passes again. EVERGRANT_SEED names another; 0 draws a new one,
// which is how to look for what is still unknown.
func worldSeed() string { return cmp.Or(os.Getenv("EVERGRANT_SEED"), "1") }

// parts are the proofs, in the order in which they are run: what fails most
// often comes first. The least that is wanted lies a little below what the part
// comes to, so that a proof that grows smaller does not pass for the old one.
var parts = []part{
	{name: "crashtest", command: goTest("./crashtest", "-parallel=6"), env: []string{full}, own: true, wants: map[string]float64{
		figures.Kills: 3000, figures.Kills + "/refresh": 1900, figures.Kills + "/token": 400, figures.Kills + "/watch": 500,
		figures.Terms: 600, figures.Errors: 270, figures.Pairs: 200, figures.Requests: 5000,
		figures.Cuts: 1300, figures.Cuts + "/ext4": 600, figures.Cuts + "/xfs": 300, figures.Cuts + "/btrfs": 300,
		figures.Bytes: 50_000_000, figures.Artefacts: 20_000,
	}},
	{name: "simworld", command: append(goTest("./simworld"), "-seed="+worldSeed()), env: []string{full}, own: true, wants: map[string]float64{
		figures.Years: 120, figures.Faults: 75_000, figures.Crashes: 5000, figures.Requests: 200_000, figures.Checks: 2_500_000,
		figures.Bytes: 1_000_000_000, figures.Artefacts: 5_000_000,
	}},
	{name: "model", command: goTest("./model"), env: []string{full}, own: true, wants: map[string]float64{
		figures.States: 25_000_000, figures.Rules: 23, figures.Compared: 130, figures.Ways: 20,
	}},
	{name: "histories", command: goTest(".", "-run=^(TestHistories|TestWorld)$"), env: []string{full}, read: histories, wants: map[string]float64{
		figures.Histories: 30, figures.Steps: 15_000, figures.Requests: 8000, figures.Grants: 16,
	}},
	{name: "canary", command: []string{"go", "test", "-count=1", "-timeout=30m", "-p=1", "./canary/...", "./cmd/evergrant", "./faultmatrix"}, env: []string{full}, own: true, wants: map[string]float64{
		figures.Bytes: 2_500_000, figures.Bytes + "/commands": 1_500_000, figures.Bytes + "/the fault matrix": 700_000, figures.Commands: 1000, figures.Artefacts: 4000,
	}},
	{name: "mutation", command: []string{"go", "run", "./mutation", "-json"}, read: mutations, wants: map[string]float64{figures.Caught: 80}},
	{name: "conformance", command: []string{"go", "run", "./cmd/evergrant", "conformance", "--json", "--", "{evergrant}", "refresh", "{file}", "--token-url", "{token_url}", "--client-id", "{client_id}"},
		read: cases, wants: map[string]float64{figures.Cases: 160}},
	{name: "logs", command: []string{"go", "run", "./canary", "-skip", "evergrant", "{logs}"}, read: searched, wants: map[string]float64{figures.Bytes: 50_000}},
}

// A run is what became of a part.
type run struct {
	part    part
	took    time.Duration
	err     error // the command failed, or what it printed could not be read
	figures []figures.Figure
}

// bench is where parts are run.
type bench struct {
	dir string    // for their logs and figures, and the program
	out io.Writer // what a person sees
}

// program builds the command that conformance is asked about.
func (b bench) program(ctx context.Context) (string, error) {
	path := filepath.Join(b.dir, "evergrant")
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "./cmd/evergrant")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the program: %w\n%s", err, out)
	}
	return path, nil
}

// try runs a part to its end and gathers its figures.
func (b bench) try(ctx context.Context, p part) run {
	fmt.Fprintf(b.out, "\nprove: %s: %s\n", p.name, p.line())
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	printed, err := b.command(ctx, p)
	r := run{part: p, took: time.Since(began), err: err}
	if p.own {
		r.figures, err = b.added(p)
		r.err = errors.Join(r.err, err)
	}
	if p.read != nil {
		found, err := p.read(printed)
		r.figures, r.err = append(r.figures, found...), errors.Join(r.err, err)
	}
	fmt.Fprintf(b.out, "prove: %s: %s after %s\n", p.name, verdict(r), r.took.Round(time.Second))
	return r
}

// line is the command of a part as a person would type it.
func (p part) line() string {
	words := strings.Join(append(append([]string{}, p.env...), p.command...), " ")
	return strings.NewReplacer("{evergrant}", "evergrant", "{logs}", "LOGS", "-run=^(TestHistories|TestWorld)$", "-run '^(TestHistories|TestWorld)$'").Replace(words)
}

// command runs the command of a part. Its standard output is returned whole;
// a person sees what matters of it.
func (b bench) command(ctx context.Context, p part) ([]byte, error) {
	words, err := b.words(ctx, p)
	if err != nil {
		return nil, err
	}
	var all, errs bytes.Buffer
	shown := newViewer(b.out, p.name)
	defer shown.close()
	c := exec.CommandContext(ctx, words[0], words[1:]...)
	c.Stdout, c.Stderr, c.Env = io.MultiWriter(&all, shown.stream()), io.MultiWriter(&errs, shown.stream()), b.env(p)
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = 30 * time.Second
	err = c.Run()
	return all.Bytes(), errors.Join(err, os.WriteFile(b.log(p), append(errs.Bytes(), all.Bytes()...), 0o644))
}

// words are the command of a part with what differs from run to run.
func (b bench) words(ctx context.Context, p part) ([]string, error) {
	words := append([]string{}, p.command...)
	for i, w := range words {
		switch w {
		case "{logs}":
			words[i] = b.dir
		case "{evergrant}":
			program, err := b.program(ctx)
			if err != nil {
				return nil, err
			}
			words[i] = program
		}
	}
	return words, nil
}

func (b bench) log(p part) string  { return filepath.Join(b.dir, p.name+".log") }
func (b bench) file(p part) string { return filepath.Join(b.dir, p.name+".jsonl") }

// env is the machine's environment without what asks tests for more, which a
// part gets only if it is its own: the broken programs of the mutations shall
// add no figures.
func (b bench) env(p part) []string {
	var env []string
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); name != "EVERGRANT_PROVE" && name != "EVERGRANT_POINT" && name != figures.Variable {
			env = append(env, e)
		}
	}
	if p.own {
		env = append(env, figures.Variable+"="+b.file(p))
	}
	return append(env, p.env...)
}

// added are the figures that a part has written into its file.
func (b bench) added(p part) ([]figures.Figure, error) {
	f, err := os.Open(b.file(p))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // check says so
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return figures.Read(f)
}
