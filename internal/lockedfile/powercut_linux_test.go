package lockedfile_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/evergrant/evergrant/internal/lockedfile"
)

// disk is a file system in a file, whose power can be cut.
type disk struct{ image, dir string }

func newDisk(t *testing.T, kind, size string, mkfs ...string) disk {
	t.Helper()
	needRoot(t)
	d := disk{image: filepath.Join(t.TempDir(), "image"), dir: t.TempDir()}
	if _, err := exec.LookPath(mkfs[0]); err != nil {
		t.Skipf("SKIPPED: no %s here", mkfs[0])
	}
	for _, args := range [][]string{{"truncate", "-s", size, d.image}, append(mkfs, d.image)} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	if out, err := exec.Command("mount", "-t", kind, "-o", "loop", d.image, d.dir).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: no loop mounts of %s here: %s", kind, out)
	}
	t.Cleanup(func() { exec.Command("umount", d.dir).Run() })
	return d
}

// cut stops the file system without writing out what it has not yet made durable
// (XFS_IOC_GOINGDOWN, which ext4 shares, without a flush of the log), and mounts
// it again, which replays the journal like a start after a power cut. A file system
// without that call (btrfs) is cut by going on with a copy of its image, which
// holds what had reached the disk.
func (d disk) cut(t *testing.T) {
	t.Helper()
	f, err := os.Open(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	const goingDown, noLogFlush = 0x8004587d, 2
	err = unix.IoctlSetPointerInt(int(f.Fd()), goingDown, noLogFlush)
	f.Close()
	steps := [][]string{{"umount", d.dir}, {"mount", "-o", "loop", d.image, d.dir}}
	if err != nil {
		steps = [][]string{{"cp", d.image, d.image + ".cut"}, steps[0], {"mv", d.image + ".cut", d.image}, steps[1]}
	}
	for _, args := range steps {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
}

// TestPowerCut cuts the power right after each step that promises something.
func TestPowerCut(t *testing.T) {
	for _, kind := range []struct {
		name, size string
		mkfs       []string
	}{
		{"ext4", "16M", []string{"mkfs.ext4", "-q"}},
		{"xfs", "320M", []string{"mkfs.xfs", "-q"}},
		{"btrfs", "120M", []string{"mkfs.btrfs", "-q"}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			d := newDisk(t, kind.name, kind.size, kind.mkfs...)
			for range 5 {
				afterFill(t, d)
				afterSwap(t, d)
				afterWrite(t, d)
			}
		})
	}
}

// begin makes the target durable and fills a Temp.
func begin(t *testing.T, d disk) (string, *lockedfile.Temp) {
	t.Helper()
	path := filepath.Join(d.dir, "token.json")
	os.Remove(filepath.Join(d.dir, ".filled"))
	if err := errors.Join(os.WriteFile(path, []byte("old"), 0o600), lockedfile.SyncFile(path), lockedfile.SyncDir(d.dir)); err != nil {
		t.Fatal(err)
	}
	return path, prepare(t, path, "new")
}

func afterFill(t *testing.T, d disk) {
	t.Helper()
	path, temp := begin(t, d)
	temp.Close()
	d.cut(t)
	has(t, path, "old")
	has(t, filepath.Join(d.dir, ".filled"), "new")
}

func afterSwap(t *testing.T, d disk) {
	t.Helper()
	path, temp := begin(t, d)
	_, err := temp.Swap()
	if err := errors.Join(err, lockedfile.SyncDir(d.dir), temp.Close()); err != nil {
		t.Fatal(err)
	}
	d.cut(t)
	has(t, path, "new")
}

// afterWrite also shows that the cut loses something at all: WriteReplace, which
// leaves the directory to others, may be undone, but never torn.
func afterWrite(t *testing.T, d disk) {
	t.Helper()
	path := filepath.Join(d.dir, ".state")
	if err := lockedfile.WriteDurable(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.cut(t)
	has(t, path, "one")
	if err := lockedfile.WriteReplace(path, []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.cut(t)
	b, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(b, []byte("one")) && !bytes.Equal(b, []byte("two")) {
		t.Errorf("after WriteReplace and a power cut: %q, %v", b, err)
	}
	if !bytes.Equal(b, []byte("one")) {
		t.Log("the rename without a directory sync survived this cut")
	}
}
