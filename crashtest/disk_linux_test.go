//go:build amd64 || arm64

package crashtest_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A disk is a file system in a file, whose power can be cut.
type disk struct {
	name    string // as in the names of tests
	kind    string // of file system
	size    string
	options string // of mount, beside loop
	copied  bool   // it is cut by copying its image; else by its own shutdown call

	image, dir string // where it is, and where it is mounted
}

// disks are the file systems whose power is cut. auto_da_alloc is how ext4
// guards programs that replace a file without a sync; Evergrant must not need
// it. btrfs knows no shutdown; it commits only when asked to, so that its image
// stands still while it is copied.
var disks = []disk{
	{name: "ext4", kind: "ext4", size: "16M"},
	{name: "xfs", kind: "xfs", size: "320M"},
	{name: "btrfs", kind: "btrfs", size: "128M", options: "commit=300,nodiscard", copied: true},
	{name: "ext4-noauto_da_alloc", kind: "ext4", size: "16M", options: "noauto_da_alloc"},
}

// newDisk makes and mounts one, or says why that can't be done here.
func newDisk(t *testing.T, d disk) (*disk, string) {
	if os.Geteuid() != 0 {
		return nil, "mounting needs root"
	}
	mkfs := "mkfs." + d.kind
	if _, err := exec.LookPath(mkfs); err != nil {
		return nil, "there is no " + mkfs
	}
	d.image, d.dir = filepath.Join(t.TempDir(), "image"), filepath.Join(t.TempDir(), "root")
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"truncate", "-s", d.size, d.image}, {mkfs, "-q", d.image}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Sprintf("%v: %s", args, bytes.TrimSpace(out))
		}
	}
	if err := d.mount(); err != nil {
		return nil, err.Error()
	}
	t.Cleanup(func() {
		if err := d.unmount(); err != nil {
			exec.Command("umount", "-l", d.dir).Run() // goes with the last process that uses it
			t.Error(err)
		}
	})
	return &d, ""
}

func (d *disk) mount() error {
	options := strings.TrimSuffix("loop,"+d.options, ",")
	out, err := exec.Command("mount", "-t", d.kind, "-o", options, d.image, d.dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mounting a loop file as %s: %s", d.name, bytes.TrimSpace(out))
	}
	return nil
}

// unmount frees the loop device too, which mount has tied to the mount.
func (d *disk) unmount() error {
	var out []byte
	var err error
	for range 50 { // a process that was killed may hold a file for a moment
		if out, err = exec.Command("umount", d.dir).CombinedOutput(); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("unmounting: %s", bytes.TrimSpace(out))
}

// stop ends the file system without writing out what is not yet durable. Call
// it while all who write stand still, and restart then.
func (d *disk) stop() error {
	if d.copied {
		if out, err := exec.Command("cp", "--sparse=always", d.image, d.image+".cut").CombinedOutput(); err != nil {
			return fmt.Errorf("copying the image: %s", bytes.TrimSpace(out))
		}
		return nil
	}
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	const goingDown, noLogFlush = 0x8004587d, 2 // XFS_IOC_GOINGDOWN, which ext4 shares
	if err := unix.IoctlSetPointerInt(int(f.Fd()), goingDown, noLogFlush); err != nil {
		return fmt.Errorf("stopping the file system: %w", err)
	}
	return nil
}

// restart mounts what was there when it stopped, which replays its log like a
// start after a power cut.
func (d *disk) restart() error {
	if err := d.unmount(); err != nil {
		return err
	}
	if d.copied {
		if err := os.Rename(d.image+".cut", d.image); err != nil {
			return err
		}
	}
	return d.mount()
}

// neighbour is another program that makes a file of its own durable. That
// brings some of what waits to the disk, and not the rest: on ext4 all names
// that were changed so far, without the data behind them.
func (d *disk) neighbour() error {
	f, err := os.Create(filepath.Join(d.dir, "neighbour"))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString("hello"); err != nil {
		return err
	}
	return f.Sync()
}

// empty removes what the last bed left, durably.
func (d *disk) empty() error {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(d.dir, e.Name())); err != nil {
			return err
		}
	}
	return d.sync()
}

func (d *disk) sync() error {
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// newBoot makes the side file one of an earlier boot: a power cut that is only
// simulated leaves the kernel's boot id as it was.
func newBoot(side string) error {
	data, err := os.ReadFile(side)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	earlier := strings.Repeat("0", 8) + strings.TrimSpace(string(id))[8:]
	return os.WriteFile(side, bytes.ReplaceAll(data, bytes.TrimSpace(id), []byte(earlier)), 0o600)
}
