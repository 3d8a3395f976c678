package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// mutation is one entry of the list.
type mutation struct {
	id      string
	promise string // "P1" to "P8", or "wire" for the promises of package oauth
	breaks  string // what is broken, in one line
	edits   []edit
	pkg     string // whose tests should notice, as ./internal/lockedfile
	run     string // the -run pattern of these tests
	env     string // NAME=value for these tests, or ""
	quick   bool   // part of -short
}

// tests names the tests of an entry as on a command line.
func (m mutation) tests() string {
	return strings.TrimSpace(m.env + " " + m.pkg + " -run '" + m.run + "'")
}

// verdict is what became of a mutation.
type verdict string

const (
	caught   verdict = "caught"
	survived verdict = "SURVIVED"
	unfit    verdict = "ERROR" // the entry proves nothing; see result.why
)

// result is one line of the report.
type result struct {
	ID      string        `json:"id"`
	Promise string        `json:"promise"`
	Breaks  string        `json:"breaks"`
	Verdict verdict       `json:"verdict"`
	By      string        `json:"by,omitempty"`  // the test that failed
	Why     string        `json:"why,omitempty"` // what is wrong with the entry
	Took    time.Duration `json:"took_ns"`
}

// testTime bounds one run of a test.
const testTime = 2 * time.Minute

// rig is where mutations are tried: a copy of the repository and a folder for
// test binaries.
type rig struct {
	dir   string
	tree  tree
	log   io.Writer
	sound map[string]error // by package and pattern: how the unbroken tree did
}

func newRig(ctx context.Context, root string, log io.Writer) (*rig, error) {
	dir, err := os.MkdirTemp("", "mutation")
	if err != nil {
		return nil, err
	}
	g := &rig{dir: dir, log: log, sound: map[string]error{}}
	if g.tree, err = copyTree(ctx, root, filepath.Join(dir, "tree")); err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

func (g *rig) close() { os.RemoveAll(g.dir) }

// try runs the tests of all entries on the unbroken tree, then each on its own
// broken one.
func (g *rig) try(ctx context.Context, list []mutation) []result {
	for _, m := range list {
		key := m.tests()
		if _, done := g.sound[key]; !done && ctx.Err() == nil {
			g.sound[key] = g.unbroken(ctx, m)
			fmt.Fprintf(g.log, "unbroken: %s: %s\n", key, okOr(g.sound[key]))
		}
	}
	results := make([]result, len(list))
	for i, m := range list {
		began := time.Now()
		r := result{ID: m.id, Promise: m.promise, Breaks: m.breaks, Verdict: unfit}
		if err := g.sound[m.tests()]; err != nil {
			r.Why = "on the unbroken tree " + err.Error()
		} else if err := g.broken(ctx, m, &r); err != nil {
			r.Why = err.Error()
		}
		r.Took = time.Since(began)
		results[i] = r
		fmt.Fprintf(g.log, "%d of %d: %s %s %s%s (%.1f s)\n", i+1, len(list), m.id, r.Verdict, r.By, r.Why, r.Took.Seconds())
	}
	return results
}

func okOr(err error) string {
	if err != nil {
		return err.Error()
	}
	return "passes"
}

// unbroken reports why the tests of an entry cannot judge it: they fail, skip
// or are not there.
func (g *rig) unbroken(ctx context.Context, m mutation) error {
	bin, err := g.build(ctx, m.pkg)
	if err != nil {
		return err
	}
	out, err := g.test(ctx, bin, m)
	switch {
	case err != nil:
		return fmt.Errorf("the test fails: %w: %s", err, tail(out))
	case !bytes.Contains(out, []byte("--- PASS: ")):
		return errors.New("no test passes: it is gone or skips")
	}
	return nil
}

// broken makes the entry's edits and fills in what its tests say.
func (g *rig) broken(ctx context.Context, m mutation, r *result) (err error) {
	undo, err := g.tree.apply(m.edits)
	if undo != nil {
		defer func() { err = errors.Join(err, undo()) }()
	}
	if err != nil {
		return err
	}
	bin, err := g.build(ctx, m.pkg)
	if err != nil {
		return err
	}
	out, err := g.test(ctx, bin, m)
	r.Verdict, r.By, err = judge(out, err)
	return err
}

// build compiles the tests of a package in the tree. -trimpath lets every copy
// of the repository share the build cache.
func (g *rig) build(ctx context.Context, pkg string) (string, error) {
	bin := filepath.Join(g.dir, "bin", strings.Trim(strings.ReplaceAll(pkg, "/", "-"), ".-")+".test")
	c := exec.CommandContext(ctx, "go", "test", "-c", "-trimpath", "-o", bin, pkg)
	c.Dir = g.tree.dir
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("it does not build: %s", tail(out))
	}
	return bin, nil
}

// test runs the tests of an entry, as `go test` would.
func (g *rig) test(ctx context.Context, bin string, m mutation) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, testTime+10*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, bin, "-test.v", "-test.failfast", "-test.count=1", "-test.timeout="+testTime.String(), "-test.run="+m.run)
	c.Dir = filepath.Join(g.tree.dir, m.pkg)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if m.env != "" {
		c.Env = append(c.Env, m.env)
	}
	c.WaitDelay = 5 * time.Second
	return c.CombinedOutput()
}

// failed are the lines that name a failed test; the name of a test that failed
// in a part of it comes before that of the part.
var failed = regexp.MustCompile(`(?m)^ *--- FAIL: (\S+)`)

// judge reads the output of a broken tree's tests.
func judge(out []byte, runErr error) (verdict, string, error) {
	if runErr == nil {
		return survived, "", nil
	}
	if bytes.Contains(out, []byte("panic: test timed out")) {
		return unfit, "", fmt.Errorf("the test did not end in %s", testTime)
	}
	by := ""
	for _, m := range failed.FindAllSubmatch(out, -1) {
		if name := string(m[1]); by == "" || strings.HasPrefix(name, by+"/") {
			by = name
		}
	}
	if by == "" {
		return unfit, "", fmt.Errorf("no test failed, but it ended with %w: %s", runErr, tail(out))
	}
	return caught, by, nil
}

// tail is the end of an output, for a message.
func tail(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n\t")
}
