package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/evergrant/evergrant/canary/search"
	"github.com/evergrant/evergrant/prove/figures"
)

// A sieve looks for tokens in what the programs of one test tell and leave. It
// may be used by several goroutines.
type sieve struct {
	mu       sync.Mutex
	found    *search.Search
	commands int
}

func newSieve() *sieve {
	found, err := search.New(mark)
	if err != nil {
		panic(err) // the mark is long enough
	}
	return &sieve{found: found}
}

// told searches what a command printed. Nobody asks for a token on stderr; on
// stdout only who wants to see one.
func (s *sieve) told(stdout, stderr string, shows bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands++
	s.found.Text("stderr", stderr)
	if !shows {
		s.found.Text("stdout", stdout)
	}
}

// left searches everything below dir but token files, which are the visible
// *.json ones and those named here, and whole answers and documents that wait to
// become one, which nobody else may read.
func (s *sieve) left(dir string, tokenFiles ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var open []error
	err := s.found.Tree(dir, func(path string) bool {
		name := filepath.Base(path)
		switch {
		case slices.Contains(tokenFiles, name), strings.HasSuffix(name, ".json") && !strings.HasPrefix(name, "."):
			return true
		case !waits(path):
			return false
		}
		info, err := os.Lstat(path)
		if err == nil && info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
			err = fmt.Errorf("%s holds tokens and has mode %v", name, info.Mode())
		}
		open = append(open, err)
		return err == nil && info.Mode().IsRegular()
	})
	return errors.Join(append(open, err)...)
}

// waits reports whether a path is that of an answer or document under way to a
// token file, or of one that was rescued.
func waits(path string) bool {
	name := filepath.Base(path)
	return strings.Contains(name, ".evergrant.") && strings.HasSuffix(name, ".tmp") ||
		strings.Contains(name, ".json.new-") && !strings.HasPrefix(name, ".") ||
		filepath.Base(filepath.Dir(path)) == "rescue"
}

// close is where tokens were found, and adds what was searched to the figures.
func (s *sieve) close() (places []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, hit := range s.found.Hits {
		places = append(places, hit.String())
	}
	return places, figures.Add(figures.Figure{Name: figures.Commands, N: float64(s.commands)}, figures.Figure{Name: figures.Bytes, Kind: "commands", N: float64(s.found.Bytes)},
		figures.Figure{Name: figures.Artefacts, N: float64(s.found.Items)}, figures.Figure{Name: figures.Leaks, N: float64(len(places))})
}

// TestSieve: a token is found in each place where a script or a test of a table
// may leave one, and only there.
func TestSieve(t *testing.T) {
	const token = "00D" + mark + "xyz"
	for _, tt := range []struct {
		name  string
		leave func(s *sieve, dir string) error
		want  int
	}{
		{"nothing", func(s *sieve, _ string) error { s.told("refreshed", "", false); return nil }, 0},
		{"stdout", func(s *sieve, _ string) error { s.told(token, "", false); return nil }, 1},
		{"stdout of who wants it", func(s *sieve, _ string) error { s.told(token, "", true); return nil }, 0},
		{"stderr", func(s *sieve, _ string) error { s.told("", token, true); return nil }, 1},
		{"token file", func(_ *sieve, dir string) error { return leaveFile(dir, "token.json", token) }, 0},
		{"token file with another name", func(_ *sieve, dir string) error { return leaveFile(dir, "named", token) }, 0},
		{"side file", func(_ *sieve, dir string) error { return leaveFile(dir, ".token.json.evergrant", token) }, 1},
		{"answer", func(_ *sieve, dir string) error { return leaveFile(dir, ".token.json.evergrant.1.a.b.tmp", token) }, 0},
		{"document under way", func(_ *sieve, dir string) error { return leaveFile(dir, "token.json.new-1", token) }, 0},
		{"state under way", func(_ *sieve, dir string) error { return leaveFile(dir, ".token.json.evergrant.new-1", token) }, 1},
		{"rescued answer", func(_ *sieve, dir string) error { return leaveFile(dir, "state/evergrant/rescue/1", token) }, 0},
		{"folder of the store", func(_ *sieve, dir string) error { return leaveFile(dir, "store/0a.grant", token) }, 1},
	} {
		s, dir := newSieve(), t.TempDir()
		if err := tt.leave(s, dir); err != nil {
			t.Fatal(err)
		}
		if err := s.left(dir, "named"); err != nil {
			t.Fatal(err)
		}
		if len(s.found.Hits) != tt.want {
			t.Errorf("%s: %v", tt.name, s.found.Hits)
		}
	}
}

func leaveFile(dir, name, text string) error {
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o600)
}
