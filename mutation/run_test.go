package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// module is a repository with one promise and tests of three kinds.
var module = map[string]string{
	"go.mod": "module example.com/adder\n\ngo 1.26\n",
	"adder.go": `package adder

// Add promises the sum.
func Add(a, b int) int { return a + b }
`,
	"adder_test.go": `package adder

import "testing"

func TestAdd(t *testing.T) {
	t.Run("two", func(t *testing.T) {
		if Add(1, 1) != 2 {
			t.Error("wrong")
		}
	})
}

func TestSkips(t *testing.T) { t.Skip("no root") }

func TestFails(t *testing.T) { t.Error("broken before") }
`,
}

func newRepository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range module {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("git", "init", "-q", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// TestVerdicts: the runner sees which change a test caught, and takes nothing
// else for a catch.
func TestVerdicts(t *testing.T) {
	repo := newRepository(t)
	g, err := newRig(t.Context(), repo, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	change := func(id, old, new, run string) mutation {
		return mutation{id: id, edits: []edit{{"adder.go", old, new}}, pkg: ".", run: run}
	}
	list := []mutation{
		change("caught", "a + b", "a - b", "^TestAdd$"),
		change("survived", "a + b", "b + a", "^TestAdd$"),
		change("stale", "a * b", "a - b", "^TestAdd$"),
		change("ambiguous", "Add", "Sub", "^TestAdd$"),
		change("no change", "a + b", "a + b", "^TestAdd$"),
		change("does not build", "a + b", "a + c", "^TestAdd$"),
		change("ends outside of a test", "return a + b", "func() { defer func() { go panic(a); select {} }() }(); return b", "^TestAdd$"),
		change("no such test", "a + b", "a - b", "^TestGone$"),
		change("skips", "a + b", "a - b", "^TestSkips$"),
		change("failed before", "a + b", "a - b", "^TestFails$"),
		change("caught after all these", "a + b", "a * b", "^TestAdd$"),
	}
	want := []struct {
		verdict verdict
		by, why string
	}{
		{caught, "TestAdd/two", ""},
		{survived, "", ""},
		{unfit, "", "stale: the text is 0 times"},
		{unfit, "", "stale: the text is 2 times"},
		{unfit, "", "changes nothing"},
		{unfit, "", "does not build"},
		{unfit, "", "no test failed"},
		{unfit, "", "no test passes"},
		{unfit, "", "no test passes"},
		{unfit, "", "on the unbroken tree"},
		{caught, "TestAdd/two", ""},
	}
	for i, r := range g.try(t.Context(), list) {
		if r.Verdict != want[i].verdict || r.By != want[i].by || !strings.Contains(r.Why, want[i].why) {
			t.Errorf("%s: got %s by %q: %s", r.ID, r.Verdict, r.By, r.Why)
		}
	}
	if b, err := os.ReadFile(filepath.Join(repo, "adder.go")); err != nil || string(b) != module["adder.go"] {
		t.Errorf("the repository itself was changed: %s, %v", b, err)
	}
}

// TestTimeout: a test that was stopped has shown nothing.
func TestTimeout(t *testing.T) {
	out := "=== RUN TestA\n--- FAIL: TestA (0.00s)\npanic: test timed out after 2m0s\n"
	if v, by, err := judge([]byte(out), os.ErrDeadlineExceeded); v != unfit || by != "" || err == nil {
		t.Errorf("got %s by %q, %v", v, by, err)
	}
}

func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		only  string
		short bool
		ok    bool
	}{{"", false, true}, {"", true, true}, {"P1-lock,P4-5xx", false, true}, {"P9-none", false, false}} {
		got, err := choose(mutations, tt.only, tt.short)
		if (err == nil) != tt.ok || tt.only == "P1-lock,P4-5xx" && len(got) != 2 || tt.ok && len(got) == 0 {
			t.Errorf("%+v: %d entries, %v", tt, len(got), err)
		}
	}
}

// TestFront runs the program as a person does.
func TestFront(t *testing.T) {
	var out, errs bytes.Buffer
	if code, err := run(t.Context(), []string{"-list"}, &out, &errs); code != 0 || err != nil || strings.Count(out.String(), "\n") != len(mutations) {
		t.Errorf("-list: %d, %v: %s%s", code, err, &out, &errs)
	}
	if code, err := run(t.Context(), []string{"-only", "none"}, &out, &errs); code != 2 || err == nil {
		t.Errorf("an unknown id: %d, %v", code, err)
	}
}
