package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// edit is one replacement in a file. The old text has to be there exactly
// once, so that an entry which no longer fits the code is noticed.
type edit struct{ file, old, new string }

// tree is a copy of the repository that can be broken.
type tree struct{ dir string }

// copyTree copies what git knows of the repository and what is new in it.
func copyTree(ctx context.Context, from, to string) (tree, error) {
	c := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	c.Dir = from
	out, err := c.Output()
	if err != nil {
		return tree{}, fmt.Errorf("listing the repository's files: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if strings.Contains(name, "node_modules/") {
			continue
		}
		if err := copyFile(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return tree{}, err
		}
	}
	return tree{dir: to}, nil
}

// copyFile copies a regular file with its mode. What git lists and is not
// there, or is no file, is left out.
func copyFile(from, to string) error {
	info, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil
	}
	if err != nil {
		return err
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, b, info.Mode().Perm())
}

// apply makes the edits and returns what undoes them. If one does not fit,
// nothing is changed.
func (t tree) apply(edits []edit) (undo func() error, err error) {
	before, after := map[string][]byte{}, map[string][]byte{}
	for _, e := range edits {
		b, ok := after[e.file]
		if !ok {
			if b, err = os.ReadFile(filepath.Join(t.dir, e.file)); err != nil {
				return nil, fmt.Errorf("stale: %w", err)
			}
			before[e.file] = b
		}
		if err := e.fits(b); err != nil {
			return nil, err
		}
		after[e.file] = bytes.Replace(b, []byte(e.old), []byte(e.new), 1)
	}
	return func() error { return t.write(before) }, t.write(after)
}

// fits reports whether the old text is there exactly once.
func (e edit) fits(b []byte) error {
	switch n := bytes.Count(b, []byte(e.old)); {
	case e.old == "" || e.old == e.new:
		return fmt.Errorf("stale: an edit of %s changes nothing", e.file)
	case n != 1:
		return fmt.Errorf("stale: the text is %d times in %s, not once: %s", n, e.file, e.old)
	}
	return nil
}

func (t tree) write(files map[string][]byte) error {
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(t.dir, name), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}
