package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// markLine is how a test that lets the simulator mark its tokens names the mark.
var markLine = regexp.MustCompile(`(?m)^\s*(?:const )?(?:mark|tokenMark|secretMark|canary)\s*=\s*"([A-Za-z0-9]+)"`)

// TestMarks: the logs are searched for the mark of every package whose tests
// mark their tokens.
func TestMarks(t *testing.T) {
	found := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(text, []byte("evergrant/idptest\"")) {
			return err
		}
		for _, m := range markLine.FindAllSubmatch(text, -1) {
			found++
			if !slices.ContainsFunc(testMarks, func(mark string) bool { return strings.Contains(string(m[1]), mark) }) {
				t.Errorf("%s marks tokens with %q, which the logs are not searched for", path, m[1])
			}
		}
		return nil
	})
	if err != nil || found < 6 {
		t.Errorf("%d marks, %v", found, err)
	}
}

// TestRun: what is found is said, and where, and never what it is.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	var out, errs bytes.Buffer
	if code := run([]string{dir}, &out, &errs); code != 0 || !strings.Contains(out.String(), "searched 0 bytes") && !strings.Contains(out.String(), "searched 1 bytes") {
		t.Errorf("an empty folder: exit %d, %q %q", code, &out, &errs)
	}
	for _, mark := range testMarks {
		if err := os.WriteFile(filepath.Join(dir, "log"), []byte("sent 5Aep"+mark+"x"), 0o600); err != nil {
			t.Fatal(err)
		}
		out.Reset()
		if code := run([]string{dir}, &out, &errs); code != 1 || !strings.Contains(out.String(), "log: offset 9: ") || strings.Contains(out.String(), mark) {
			t.Errorf("exit %d, %q", code, &out)
		}
		if code := run([]string{"-skip", "log", dir}, &out, &errs); code != 0 {
			t.Errorf("what is skipped: exit %d", code)
		}
	}
	if code := run(nil, &out, &errs); code != 2 {
		t.Errorf("without a folder: exit %d", code)
	}
}
