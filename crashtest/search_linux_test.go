//go:build amd64 || arm64

package crashtest_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/canary/search"
)

// A sieve looks for tokens in all that the runs of a story leave in sight (P7):
// what they print, and every file and name below the bed, token files and whole
// answers apart. A file that a later run left as it was is not searched again.
type sieve struct {
	found *search.Search
	known map[string]string // by path: what it held when it was searched
}

func newSieve() *sieve {
	found, err := search.New(mark)
	if err != nil {
		panic(err) // the mark is long enough
	}
	return &sieve{found: found, known: map[string]string{}}
}

// clean looks for secrets in what a run left, for files of ours that others can
// read, and for a token file that is cut.
func (s *story) clean(r result, token bool) {
	if s.sieve == nil {
		s.sieve = newSieve()
	}
	v := s.sieve
	before := len(v.found.Hits)
	v.found.Text("stderr", r.err)
	if !token {
		v.found.Text("stdout", r.out)
	}
	if r.proc != "" {
		v.found.Text("/proc/PID/cmdline and environ", r.proc)
	}
	if err := v.found.Tree(s.b.root, func(path string) bool { return v.skips(s, path) }); err != nil {
		s.fault("searching for tokens: %v", err)
	}
	for _, hit := range v.found.Hits[before:] {
		s.fault("a token in %v", hit)
	}
	s.whole()
}

// skips reports whether a path is not searched: it holds tokens by its nature,
// it is the output that was searched already, or it is as it was.
func (v *sieve) skips(s *story, path string) bool {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() {
		return false
	}
	if holdsTokens(s.b, path) {
		s.private(path, info, err)
		return true
	}
	if filepath.Dir(path) == s.b.said && (strings.HasPrefix(filepath.Base(path), "stdout") || strings.HasPrefix(filepath.Base(path), "stderr")) {
		return true
	}
	if filepath.Dir(path) == s.b.box {
		s.private(path, info, err)
	}
	data, err := os.ReadFile(path)
	before, known := v.known[path]
	v.known[path] = string(data)
	return err == nil && known && before == string(data)
}

// private: what stands beside the token file is for its owner alone.
func (s *story) private(path string, info fs.FileInfo, err error) {
	if err == nil && info.Mode().Perm() != 0o600 {
		s.fault("%s has mode %v", filepath.Base(path), info.Mode())
	}
}

// holdsTokens reports whether a file is a token file, or a whole answer that
// waits to become one: beside it, or in a folder for rescued ones.
func holdsTokens(b *bed, path string) bool {
	switch object(path, b) {
	case "token", "answer":
		return true
	case "rescue":
		return strings.HasSuffix(filepath.Dir(path), "/rescue")
	}
	return false
}

// close counts what was searched.
func (v *sieve) close() {
	if v == nil {
		return
	}
	total.add(func(c *counts) {
		c.searched += int(v.found.Bytes)
		c.artefacts += v.found.Items
		c.leaks += len(v.found.Hits)
	})
}

// TestClean: a token is found wherever a run may leave one, and only there.
func TestClean(t *testing.T) {
	leave := func(b *bed, name, text string) error {
		path := filepath.Join(b.root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		return os.WriteFile(path, []byte(text), 0o600)
	}
	for _, tt := range []struct {
		name  string
		leak  func(b *bed, r *result, token string) error
		token bool // of the token command
		wrong int  // faults
	}{
		{name: "nothing", leak: func(*bed, *result, string) error { return nil }},
		{name: "stderr", leak: func(_ *bed, r *result, token string) error { r.err = "refused: " + token; return nil }, wrong: 1},
		{name: "stdout", leak: func(_ *bed, r *result, token string) error { r.out = token; return nil }, wrong: 1},
		{name: "stdout of token", token: true, leak: func(_ *bed, r *result, token string) error { r.out = token; return nil }},
		{name: "environment", leak: func(_ *bed, r *result, token string) error { r.proc = "TOKEN=" + token + "\x00"; return nil }, wrong: 1},
		{name: "side file", leak: func(b *bed, _ *result, token string) error {
			return leave(b, "box/.token.json.evergrant", `{"was":"`+token+`"}`)
		}, wrong: 1},
		{name: "its replacement", leak: func(b *bed, _ *result, token string) error {
			return leave(b, "box/.token.json.evergrant.new-1", token)
		}, wrong: 1},
		{name: "a file that keeps room", leak: func(b *bed, _ *result, token string) error {
			return leave(b, "box/.token.json.evergrant.1.reserved.tmp", token)
		}, wrong: 1},
		{name: "a whole answer", leak: func(b *bed, _ *result, token string) error {
			return leave(b, "box/.token.json.evergrant.1.aa.bb.tmp", token)
		}},
		{name: "an answer that others can read", leak: func(b *bed, _ *result, token string) error {
			name := "box/.token.json.evergrant.1.aa.bb.tmp"
			return errors.Join(leave(b, name, token), os.Chmod(filepath.Join(b.root, name), 0o644))
		}, wrong: 1},
		{name: "a rescued answer", leak: func(b *bed, _ *result, token string) error {
			return leave(b, "state/evergrant/rescue/token.json.1", token)
		}},
		{name: "beside rescued answers", leak: func(b *bed, _ *result, token string) error {
			return leave(b, "state/evergrant/log", token)
		}, wrong: 1},
		{name: "HOME", leak: func(b *bed, _ *result, token string) error { return leave(b, "home/.cache/x", token) }, wrong: 1},
		{name: "a name", leak: func(b *bed, _ *result, token string) error { return leave(b, "tmp/"+mark, "") }, wrong: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := newBed(refreshRotating, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer b.idp.Close()
			s, r := &story{b: b}, result{err: "evergrant: refreshed\n", out: "refreshed\n"}
			if s.clean(r, false); len(s.faults) > 0 {
				t.Fatalf("before the leak: %q", s.faults)
			}
			if err := tt.leak(b, &r, b.grant.RefreshToken); err != nil {
				t.Fatal(err)
			}
			if s.clean(r, tt.token); len(s.faults) != tt.wrong {
				t.Errorf("%d faults, want %d: %q", len(s.faults), tt.wrong, s.faults)
			}
		})
	}
}
