package evergrant_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/evergrant/evergrant"
	"golang.org/x/sys/unix"
)

// watched lists what happens to names in a folder while f runs.
func watched(t *testing.T, dir string, f func()) (events []string) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	kinds := map[uint32]string{unix.IN_MOVED_TO: "to ", unix.IN_MOVED_FROM: "from ", unix.IN_DELETE: "delete ", unix.IN_MODIFY: "write "}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MOVE|unix.IN_DELETE|unix.IN_MODIFY); err != nil {
		t.Fatal(err)
	}
	f()
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(fd, buf)
		if err != nil || n <= 0 {
			return events
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			mask, size := binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[12:])
			name, _, _ := bytes.Cut(b[16:16+size], []byte{0})
			events = append(events, kinds[mask]+string(name))
			b = b[16+size:]
		}
	}
}

// The only durable copy of an answer was replaced by one that was not synced
// yet, and deleted if that failed, when a later run put the answer in its
// place.
func TestOnlyCopyOfAnAnswerIsNotTouched(t *testing.T) {
	b := newBed(t, rotating)
	temp := filepath.Base(b.killed(false))
	events := watched(t, filepath.Dir(b.path), func() {
		if r, err := b.refresh(evergrant.RefreshOptions{SinceStart: true}); err != nil || !r.Recovered {
			t.Errorf("the answer was not put back: %+v, %v", r, err)
		}
	})
	for _, e := range events {
		if e == "to token.json" {
			break
		}
		if e == "to "+temp || e == "delete "+temp || e == "write "+temp {
			t.Errorf("%s, before the answer was in the token file", e)
		}
	}
	if len(events) == 0 || b.requests() != 1 {
		t.Errorf("%d events, %d requests", len(events), b.requests())
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(b.path), temp)); err == nil {
		t.Error("the temporary file stays behind")
	}
	b.living()
}

// A user who may read the token file and not the side file could not open it.
func TestReadersNeedNoSideFile(t *testing.T) {
	b := newBed(t, rotating)
	b.mustRefresh()
	if err := os.Chmod(b.side(), 0); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 { // root reads what it likes: this thread opens files as nobody
		const nobody = 65534
		for _, path := range []string{b.path, filepath.Dir(b.path), filepath.Dir(filepath.Dir(b.path))} {
			if err := os.Chmod(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		unix.Setfsuid(nobody)
		defer unix.Setfsuid(0)
	}
	if _, err := os.ReadFile(b.side()); !errors.Is(err, fs.ErrPermission) {
		t.Skipf("the side file can be read all the same: %v", err)
	}
	s, err := evergrant.OpenFile(b.path, b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}
