package search_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"github.com/evergrant/evergrant/canary/search"
)

const mark = "c4n4ry+mark/1"

func newSearch(t *testing.T, secrets ...string) *search.Search {
	t.Helper()
	s, err := search.New(secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func utf16Bytes(s string, high, low int) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		pair := [2]byte{}
		pair[high], pair[low] = byte(u>>8), byte(u)
		b = append(b, pair[:]...)
	}
	return string(b)
}

// encodings write a token of which the mark is a part.
var encodings = map[string]func(token string) string{
	"plain":    func(s string) string { return s },
	"percent":  url.QueryEscape,
	"hex":      func(s string) string { return hex.EncodeToString([]byte(s)) },
	"HEX":      func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
	"base64":   func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"utf-16le": func(s string) string { return utf16Bytes(s, 1, 0) },
	"utf-16be": func(s string) string { return utf16Bytes(s, 0, 1) },
	"reversed": func(s string) string { b := []byte(s); slices.Reverse(b); return string(b) },
}

// TestForms: whatever stands around the mark, every form of the token shows it.
func TestForms(t *testing.T) {
	for form, encode := range encodings {
		for before := range 7 {
			s := newSearch(t, mark)
			text := "x" + encode(strings.Repeat("~", before)+mark+"tail") + "\n"
			s.Text("it", text)
			if !slices.ContainsFunc(s.Hits, func(h search.Hit) bool { return h.Form == form }) {
				t.Errorf("%s after %d bytes: %v", form, before, s.Hits)
			}
			s = newSearch(t, mark)
			if s.Text("it", encode(strings.Repeat("~", before)+mark[:len(mark)-1]+"~")); len(s.Hits) > 0 {
				t.Errorf("%s of another text: %v", form, s.Hits)
			}
		}
	}
	s := newSearch(t, mark)
	s.Text("it", base64.RawURLEncoding.EncodeToString([]byte(">>>"+mark)))
	if len(s.Hits) != 1 {
		t.Errorf("base64url: %v", s.Hits)
	}
}

// TestEdges: a secret across the edge of two reads is found, at its offset.
func TestEdges(t *testing.T) {
	for _, before := range []int{0, 1, 1<<20 - 5, 1 << 20, 1<<20 + 70, 3<<20 - 3} {
		data := append(bytes.Repeat([]byte{'.'}, before), mark...)
		s := newSearch(t, "another secret", mark)
		if err := s.Reader("stream", iotest.OneByteReader(bytes.NewReader(data))); err != nil {
			t.Fatal(err)
		}
		want := []search.Hit{{Where: "stream", Offset: int64(before), Secret: 1, Form: "plain"}}
		if !slices.Equal(s.Hits, want) || s.Bytes != int64(len(data)) {
			t.Errorf("after %d bytes: %v, %d bytes", before, s.Hits, s.Bytes)
		}
	}
}

// TestTree: contents, names and targets of links are searched, what is skipped
// is not, and what cannot be read is an error.
func TestTree(t *testing.T) {
	const mark = "c4n4rymark" // fit for the name of a file
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("clean/log", "nothing")
	write("a/.hidden", "12"+mark)
	write("b/"+mark+".tmp", "")
	write("token.json", mark)
	if err := os.Symlink("/nowhere/"+mark, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	s := newSearch(t, mark)
	if err := s.Tree(dir, func(path string) bool { return filepath.Base(path) == "token.json" }); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range s.Hits {
		got = append(got, strings.TrimPrefix(h.String(), dir+"/"))
	}
	want := []string{"a/.hidden: offset 2: secret 0, plain", "b/[found].tmp: offset -1: secret 0, plain", "link (link): offset 9: secret 0, plain"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := s.Tree(filepath.Join(dir, "missing"), nil); err == nil {
		t.Error("a folder that is not there was searched")
	}
}

// TestNeverShown: nothing that a search says holds the secret.
func TestNeverShown(t *testing.T) {
	s := newSearch(t, mark)
	err := s.Reader("output of "+mark, iotest.ErrReader(os.ErrInvalid))
	s.Text(mark, mark)
	said, _ := json.Marshal(s)
	for _, text := range []string{err.Error(), s.String(), s.Hits[0].String(), string(said)} {
		if strings.Contains(text, mark) {
			t.Errorf("it says %q", text)
		}
	}
}

func TestNew(t *testing.T) {
	for _, secrets := range [][]string{nil, {""}, {mark, "short"}} {
		if _, err := search.New(secrets...); err == nil {
			t.Errorf("%q was taken", secrets)
		}
	}
}
