//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

// TestPlaces refreshes files in odd places: kept as they are, or refused before
// anything is sent.
func TestPlaces(t *testing.T) {
	t.Run("a symbolic link stays one", func(t *testing.T) {
		b := newBed(t, idptest.Habits{Rotation: true})
		real := filepath.Join(b.dir, "elsewhere")
		must(t, os.Mkdir(real, 0o700))
		must(t, os.Rename(b.path, filepath.Join(real, "real.json")))
		must(t, os.Symlink(filepath.Join("elsewhere", "real.json"), b.path))
		before := b.read()
		b.first()
		b.wantOnlyValues(before, b.read())
		if to, err := os.Readlink(b.path); err != nil || to != filepath.Join("elsewhere", "real.json") {
			t.Errorf("the link leads to %q (%v)", to, err)
		}
		if _, err := os.Stat(filepath.Join(real, ".real.json.evergrant")); err != nil {
			t.Errorf("the side file is not beside the file itself: %v", err)
		}
	})
	t.Run("the mode stays", func(t *testing.T) {
		for _, mode := range []os.FileMode{0o600, 0o640, 0o660, 0o644} {
			b := newBed(t, idptest.Habits{})
			must(t, os.Chmod(b.path, mode))
			r := b.run(append([]string{"refresh", b.path}, b.identity()...)...)
			info, err := os.Stat(b.path)
			must(t, err)
			if r.code != 0 || info.Mode().Perm() != mode {
				t.Errorf("mode %v is %v: %+v", mode, info.Mode().Perm(), r)
			}
			if warned := strings.Contains(r.stderr, "can be read by other users"); warned != (mode != 0o600) {
				t.Errorf("mode %v: warned %v: %s", mode, warned, r.stderr)
			}
			for _, side := range []string{".token.json.evergrant", ".token.json.evergrant.lock"} {
				if info, err := os.Stat(filepath.Join(b.dir, side)); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%s: %v %v", side, info.Mode(), err)
				}
			}
		}
	})
	t.Run("a hard link is refused", func(t *testing.T) {
		b := newBed(t, idptest.Habits{})
		must(t, os.Link(b.path, filepath.Join(b.dir, "second.json")))
		r := b.wantRefused(exitStorage)
		if !strings.Contains(r.stderr, "link") {
			t.Error(r.stderr)
		}
	})
	t.Run("a read-only file is refused", func(t *testing.T) {
		b := newBed(t, idptest.Habits{})
		must(t, os.Chmod(b.path, 0o400))
		r := b.wantRefused(exitStorage)
		if !strings.Contains(r.stderr, "read-only") {
			t.Error(r.stderr)
		}
	})
	t.Run("a dangling link", func(t *testing.T) {
		b := newBed(t, idptest.Habits{})
		must(t, os.Remove(b.path))
		must(t, os.Symlink("nowhere.json", b.path))
		b.wantRefused(exitUsage)
	})
	t.Run("links in a circle", func(t *testing.T) {
		b := newBed(t, idptest.Habits{})
		must(t, os.Remove(b.path))
		must(t, os.Symlink("token.json", b.path))
		b.wantRefused(exitUsage)
	})
	t.Run("a fifo", func(t *testing.T) {
		b := newBed(t, idptest.Habits{})
		must(t, os.Remove(b.path))
		must(t, syscall.Mkfifo(b.path, 0o600))
		stuck := time.AfterFunc(5*time.Second, func() { // a writer lets a reader go on
			if f, err := os.OpenFile(b.path, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
				f.Close()
				t.Error("it waited for somebody to write")
			}
		})
		defer stuck.Stop()
		r := b.run(append([]string{"refresh", b.path}, b.identity()...)...)
		if r.code != exitUsage {
			t.Errorf("%+v", r)
		}
		r.wantHint(t)
	})
}

// TestOwners needs root, to make files of others and to be somebody else.
func TestOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skipped: it needs root, to make files of other users")
	}
	t.Run("root keeps the owner", func(t *testing.T) {
		b := newBed(t, idptest.Habits{})
		must(t, os.Chown(b.path, nobody, nobody))
		must(t, os.Chown(b.dir, nobody, nobody))
		b.first()
		for _, path := range []string{b.path, filepath.Join(b.dir, ".token.json.evergrant"), filepath.Join(b.dir, ".token.json.evergrant.lock")} {
			info, err := os.Stat(path)
			must(t, err)
			if owner := info.Sys().(*syscall.Stat_t).Uid; owner != nobody {
				t.Errorf("%s belongs to %d", path, owner)
			}
		}
	})
	t.Run("another user's file is refused", func(t *testing.T) {
		b := newBed(t, idptest.Habits{})
		b.become(nobody)
		must(t, os.Chown(b.dir, nobody, nobody))
		must(t, os.Chmod(b.path, 0o644))
		b.wantRefused(exitStorage)
	})
	t.Run("a file that this user can't read", func(t *testing.T) {
		b := newBed(t, idptest.Habits{})
		b.become(nobody)
		must(t, os.Chown(b.dir, nobody, nobody))
		b.wantRefused(exitUsage)
	})
	t.Run("a folder that this user can't write", func(t *testing.T) {
		b := newBed(t, idptest.Habits{})
		b.become(nobody)
		must(t, os.Chown(b.path, nobody, nobody))
		must(t, os.Chmod(b.dir, 0o555))
		b.wantRefused(exitStorage)

		// Its token is served all the same, while it is good.
		r := b.run("token", b.path, "--client-id", clientID)
		if r.code != 0 || !strings.Contains(r.stdout, mark) {
			t.Errorf("%+v", r)
		}
	})
}

// become runs the program as another user, and lets that user reach the bed.
func (b *bed) become(user uint32) {
	b.as = user
	must(b.t, os.Chmod(filepath.Dir(b.dir), 0o755))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
