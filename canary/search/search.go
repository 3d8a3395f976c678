// Package search looks for secrets in whatever a program left behind: output,
// logs, files, names of files, samples of a process's arguments and
// environment, core files.
//
//	s, err := search.New("c4n4ry-mark")
//	s.Reader("stderr", &stderr)
//	s.Tree(work, nil)
//	fmt.Println(s) // how much was searched; s.Hits says where they are
//
// A secret, or the mark that a test puts inside its secrets, is found as plain
// text, reversed, percent-encoded, in hexadecimal, in UTF-16, with JSON's \u
// escapes, and in base64 of both alphabets at any of the three alignments.
// Neither a hit nor an error ever shows what was found.
//
// Limits: one form at a time (no base64 of base64), nothing compressed or
// encrypted, no pieces of a secret. A mark stands for the secret around it only
// where the whole secret was encoded in one go.
package search

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf16"
)

// Shortest is the least number of bytes in a secret: what is shorter stands in
// a large file by chance.
const Shortest = 6

// chunk is how much is read at a time.
const chunk = 1 << 20

// A Hit is one place where a secret stands.
type Hit struct {
	Where  string // path, or the name given to Reader
	Offset int64  // in bytes from the beginning; -1: in the name itself
	Secret int    // which one, in the order given to New, from 0
	Form   string // plain, reversed, percent, hex, HEX, utf-16le, utf-16be, json or base64
}

// String names the place, never the secret.
func (h Hit) String() string {
	return fmt.Sprintf("%s: offset %d: secret %d, %s", h.Where, h.Offset, h.Secret, h.Form)
}

// A Search gathers what it finds. Make one with New. It is not safe for use by
// several goroutines.
type Search struct {
	Bytes int64 // searched so far, names of files included
	Items int   // files and streams searched so far
	Hits  []Hit // in the order they were found; of each form one in an item

	needles []needle
	longest int
}

type needle struct {
	secret int
	form   string
	text   []byte
}

// New prepares a search for these secrets or marks. It is an error if there is
// none, or one of less than Shortest bytes.
func New(secrets ...string) (*Search, error) {
	if len(secrets) == 0 {
		return nil, errors.New("searching: there is nothing to look for")
	}
	s := new(Search)
	for i, secret := range secrets {
		if len(secret) < Shortest {
			return nil, fmt.Errorf("searching: secret %d is shorter than %d bytes", i, Shortest)
		}
		for _, n := range forms(secret) {
			n.secret = i
			s.needles = append(s.needles, n)
			s.longest = max(s.longest, len(n.text))
		}
	}
	return s, nil
}

// forms are the ways a secret may be written, each once.
func forms(secret string) []needle {
	plain := []byte(secret)
	var all []needle
	add := func(form string, text []byte) {
		if !slices.ContainsFunc(all, func(n needle) bool { return bytes.Equal(n.text, text) }) {
			all = append(all, needle{form: form, text: text})
		}
	}
	add("plain", plain)
	add("reversed", reversed(plain))
	add("percent", []byte(url.QueryEscape(secret)))
	add("percent", []byte(url.PathEscape(secret)))
	add("hex", []byte(hex.EncodeToString(plain)))
	add("HEX", []byte(strings.ToUpper(hex.EncodeToString(plain))))
	var full, little, big, escaped []byte
	for _, b := range plain {
		full = fmt.Appendf(full, "%%%02X", b)
	}
	for _, u := range utf16.Encode([]rune(secret)) {
		little = append(little, byte(u&0xFF), byte(u>>8))
		big = append(big, byte(u>>8), byte(u&0xFF))
		escaped = fmt.Appendf(escaped, `\u%04x`, u)
	}
	add("percent", full)
	add("utf-16le", little)
	add("utf-16be", big)
	add("json", escaped)
	for shift := range 3 {
		add("base64", base64At(base64.StdEncoding, plain, shift))
		add("base64", base64At(base64.URLEncoding, plain, shift))
	}
	return all
}

func reversed(b []byte) []byte {
	b = bytes.Clone(b)
	slices.Reverse(b)
	return b
}

// base64At is what of text is certain in base64 if shift bytes stand before it
// in its group of three: characters that hold bits of a neighbour are left out.
func base64At(e *base64.Encoding, text []byte, shift int) []byte {
	padded := append(make([]byte, shift), text...)
	code := e.EncodeToString(padded)
	first := (8*shift + 5) / 6
	last := 8 * len(padded) / 6
	return []byte(code[first:last])
}

// Reader searches a stream to its end. name is what its hits are called.
func (s *Search) Reader(name string, r io.Reader) error {
	s.Items++
	found := map[int]bool{}
	buf := make([]byte, 0, chunk+s.longest)
	var before int64 // offset of buf in the stream
	for {
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		s.Bytes += int64(n)
		s.scan(name, buf, before, found)
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("searching %s: %w", s.shown(name), err)
		}
		keep := min(len(buf), s.longest-1) // a secret may stand across the edge
		before += int64(len(buf) - keep)
		buf = append(buf[:0], buf[len(buf)-keep:]...)
	}
}

// shown is a name that may be printed.
func (s *Search) shown(name string) string {
	for _, n := range s.needles {
		name = strings.ReplaceAll(name, string(n.text), "[found]")
	}
	return name
}

// scan looks for each needle that this item has not shown yet.
func (s *Search) scan(name string, buf []byte, before int64, found map[int]bool) {
	for i, n := range s.needles {
		if found[i] {
			continue
		}
		if at := bytes.Index(buf, n.text); at >= 0 {
			found[i] = true
			s.Hits = append(s.Hits, Hit{Where: s.shown(name), Offset: before + int64(at), Secret: n.secret, Form: n.form})
		}
	}
}

// Text searches a text, such as a message.
func (s *Search) Text(name, text string) {
	s.Items++
	s.Bytes += int64(len(text))
	s.scan(name, []byte(text), 0, map[int]bool{})
}

// Tree searches everything below root, which may be a single file: the content
// of regular files, the targets of symbolic links, and all names. What skip
// returns true for is left out; nil leaves out nothing. What cannot be read is
// an error, because it was not searched; the rest is searched all the same.
func (s *Search) Tree(root string, skip func(path string) bool) error {
	var errs []error
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && (skip == nil || !skip(path)) {
			err = s.entry(root, path, d)
		}
		if err != nil {
			errs = append(errs, err)
		}
		return nil
	})
	return errors.Join(append(errs, err)...)
}

func (s *Search) entry(root, path string, d fs.DirEntry) error {
	name, err := filepath.Rel(root, path)
	if err != nil {
		return err
	}
	s.Bytes += int64(len(name))
	known := len(s.Hits)
	s.scan(path, []byte(name), 0, map[int]bool{})
	for i := known; i < len(s.Hits); i++ {
		s.Hits[i].Offset = -1
	}
	switch {
	case d.Type()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		s.Text(path+" (link)", target)
		return err
	case d.Type().IsRegular():
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return s.Reader(path, f)
	}
	return nil
}

// String says how much was searched and how much was found.
func (s *Search) String() string {
	return fmt.Sprintf("searched %d bytes in %d files and streams for %d forms: %d hits", s.Bytes, s.Items, len(s.needles), len(s.Hits))
}
