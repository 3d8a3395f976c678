package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/evergrant/evergrant/idptest"
)

// mounted mounts something for the time of a test, or skips it.
func mounted(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		t.Skipf("skipped: it needs root that may mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// TestMounts refuses what only shows when the answer is stored.
func TestMounts(t *testing.T) {
	t.Run("a file that is a mount of its own", func(t *testing.T) {
		b := newBed(t, idptest.Habits{})
		real := filepath.Join(b.dir, "real.json")
		text, err := os.ReadFile(b.path)
		must(t, err)
		must(t, os.WriteFile(real, text, 0o600))
		mounted(t, real, b.path, "", unix.MS_BIND, "")
		r := b.wantRefused(exitStorage)
		if !strings.Contains(r.stderr, "mount") {
			t.Error(r.stderr)
		}
	})
	t.Run("a read-only file system", func(t *testing.T) {
		b := newBed(t, idptest.Habits{})
		b.inMount("size=1m")
		must(t, unix.Mount("", filepath.Dir(b.path), "", unix.MS_REMOUNT|unix.MS_RDONLY, "size=1m"))
		b.wantRefused(exitStorage)
	})
	t.Run("a full disk", func(t *testing.T) {
		b := newBed(t, idptest.Habits{Rotation: true})
		b.inMount("size=1m")
		fill(t, filepath.Join(filepath.Dir(b.path), "ballast"))
		b.wantRefused(exitStorage)

		// With room again it goes on as if nothing had been.
		must(t, os.Remove(filepath.Join(filepath.Dir(b.path), "ballast")))
		b.first()
		if s := b.GrantState(b.id); !strings.Contains(b.read(), s.RefreshToken) {
			t.Error("the file does not hold the provider's refresh token")
		}
	})
	t.Run("a disk that is full while the answer travels", func(t *testing.T) {
		b := newBed(t, idptest.Habits{Rotation: true})
		b.inMount("size=1m")
		b.first()
		b.HoldUntilReleased()
		wait := b.start("refresh", b.path)
		for b.Waiting() == 0 {
			syscall.Select(0, nil, nil, nil, &syscall.Timeval{Usec: 2000})
		}
		fill(t, filepath.Join(filepath.Dir(b.path), "ballast"))
		b.Release()
		if r := wait(); r.code != 0 { // the room was reserved before it was sent
			t.Errorf("%+v", r)
		}
		if s := b.GrantState(b.id); !strings.Contains(b.read(), s.RefreshToken) {
			t.Error("the file does not hold the provider's refresh token")
		}
	})
}

// inMount puts the token file into a file system of its own.
func (b *bed) inMount(options string) {
	b.t.Helper()
	dir := filepath.Join(b.dir, "mount")
	must(b.t, os.Mkdir(dir, 0o700))
	mounted(b.t, "tmpfs", dir, "tmpfs", 0, options)
	text := b.read()
	b.path = filepath.Join(dir, "token.json")
	b.write([]byte(text))
}

// fill takes all the room there is.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	if _, err := io.Copy(f, zeros{}); err == nil {
		t.Fatal("the disk has no end")
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return min(len(b), 512), nil }
