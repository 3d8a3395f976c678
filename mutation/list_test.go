package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestListFits: each entry's text is in the code once, its tests exist, and no
// promise is without one. It costs no build, so a change of the code that
// makes an entry stale is seen at once.
func TestListFits(t *testing.T) {
	root := ".."
	ids := map[string]bool{}
	promises := map[string]int{}
	for _, m := range mutations {
		if ids[m.id] || !strings.HasPrefix(m.id, m.promise+"-") || m.breaks == "" || len(m.edits) == 0 {
			t.Errorf("%s: an id is there once, begins with its promise, and says what it breaks", m.id)
		}
		ids[m.id] = true
		promises[m.promise]++
		for _, e := range m.edits {
			b, err := os.ReadFile(filepath.Join(root, e.file))
			if err == nil {
				err = e.fits(b)
			}
			if err != nil {
				t.Errorf("%s: %v", m.id, err)
			}
		}
		if !hasTest(t, filepath.Join(root, m.pkg), m.run) {
			t.Errorf("%s: no test of %s matches %s", m.id, m.pkg, m.run)
		}
	}
	if len(mutations) < 24 {
		t.Errorf("only %d entries", len(mutations))
	}
	for _, p := range []string{"P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "wire"} {
		if promises[p] == 0 {
			t.Errorf("no entry breaks %s", p)
		}
	}
}

var testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)

// hasTest reports whether a folder has a test function that the first part of
// a -run pattern matches.
func hasTest(t *testing.T, dir, pattern string) bool {
	t.Helper()
	first, _, _ := strings.Cut(pattern, "/")
	run := regexp.MustCompile(first)
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range testFunc.FindAllSubmatch(b, -1) {
			if run.Match(f[1]) {
				return true
			}
		}
	}
	return false
}
