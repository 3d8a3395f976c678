//go:build amd64 || arm64

package crashtest_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// effects are the calls after which a power cut may find something else on
// the disk, or at the server, than before.
var effects = []string{"write", "pwrite64", "fsync", "fdatasync", "ftruncate", "fallocate", "fchmod", "renameat", "renameat2", "unlinkat", "openat", "read", "close"}

// TestPowerCut kills the program before such a call and cuts the power of its
// file system in the same moment: all that was not yet durable is gone. Then
// the machine is taken to have started anew.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	uncached(t)
	for _, kind := range []struct {
		name, size string
		every      int
		mkfs       []string
	}{
		{"ext4", "16M", 8, []string{"mkfs.ext4", "-q"}},
		{"xfs", "320M", 16, []string{"mkfs.xfs", "-q"}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			d, why := newDisk(t, kind.name, kind.size, kind.mkfs)
			if why != "" {
				total.add(func(c *counts) { c.skipped = append(c.skipped, t.Name()+": "+why) })
				t.Skipf("SKIPPED, no power is cut: %s", why)
			}
			c := &cutter{t: t, disk: d}
			for i, p := range c.points() {
				talks := p.on == "socket" // never left out: what is at the server can't be taken back
				if onlyPoint == t.Name()+"/"+p.key || onlyPoint == "" && (talks || i%sample(kind.every) == 0) {
					c.take(p.key)
				}
			}
		})
	}
}

// A disk is a file system in a file, whose power can be cut.
type disk struct{ kind, image, dir string }

// newDisk makes and mounts one, or says why that can't be done here.
func newDisk(t *testing.T, kind, size string, mkfs []string) (*disk, string) {
	if os.Geteuid() != 0 {
		return nil, "mounting needs root"
	}
	if _, err := exec.LookPath(mkfs[0]); err != nil {
		return nil, "there is no " + mkfs[0]
	}
	d := &disk{kind: kind, image: filepath.Join(t.TempDir(), "image"), dir: filepath.Join(t.TempDir(), "root", "box")}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"truncate", "-s", size, d.image}, append(slices.Clone(mkfs), d.image)} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Sprintf("%v: %s", args, bytes.TrimSpace(out))
		}
	}
	if err := d.mount(); err != nil {
		return nil, err.Error()
	}
	t.Cleanup(func() { d.unmount() })
	return d, ""
}

func (d *disk) mount() error {
	out, err := exec.Command("mount", "-t", d.kind, "-o", "loop", d.image, d.dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mounting a loop file as %s: %s", d.kind, bytes.TrimSpace(out))
	}
	return nil
}

func (d *disk) unmount() error {
	out, err := exec.Command("umount", d.dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("unmounting: %s", bytes.TrimSpace(out))
	}
	return nil
}

// cut stops the file system without writing out what is not yet durable, and
// mounts it again, which replays its journal like a start after a power cut.
func (d *disk) cut() error {
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	const goingDown, noLogFlush = 0x8004587d, 2 // XFS_IOC_GOINGDOWN, which ext4 shares
	err = unix.IoctlSetPointerInt(int(f.Fd()), goingDown, noLogFlush)
	f.Close()
	if err != nil {
		return fmt.Errorf("stopping the file system: %w", err)
	}
	if err := d.unmount(); err != nil {
		return err
	}
	return d.mount()
}

// empty removes what the last bed left, durably.
func (d *disk) empty() error {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != "lost+found" {
			if err := os.Remove(filepath.Join(d.dir, e.Name())); err != nil {
				return err
			}
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

// cutter takes the points of one disk, one after the other.
type cutter struct {
	t    *testing.T
	disk *disk
}

func (c *cutter) bed() *bed {
	root := filepath.Dir(c.disk.dir)
	if err := c.disk.empty(); err != nil {
		c.t.Fatal(err)
	}
	os.Remove(filepath.Join(c.disk.dir, "lost+found"))
	for _, dir := range []string{"home", "state", "tmp"} {
		os.RemoveAll(filepath.Join(root, dir))
	}
	sc := refreshRotating
	sc.timeout = 1500 * time.Millisecond // one cut after the other: each doubt costs so much
	b, err := newBed(sc, root)
	if err == nil {
		err = c.disk.sync()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

// points are the calls before which the disk or the server may differ from
// what they were before the last one.
func (c *cutter) points() []call {
	b := c.bed()
	defer b.close()
	r, calls, err := b.follow(b.args(b.timeout, "refresh"), none)
	if err != nil || r.exit != 0 {
		c.t.Fatalf("the unbroken run: %v %v", r, err)
	}
	return slices.DeleteFunc(calls, func(p call) bool {
		return !slices.Contains(effects, p.name) || p.on == "token" || p.on == "lock"
	})
}

func (c *cutter) take(key string) {
	b := c.bed()
	defer b.close()
	met := false
	r, calls, err := b.follow(b.args(b.timeout, "refresh"), func(p call) trouble {
		if met || p.key != key {
			return trouble{}
		}
		met = true
		return trouble{signal: syscall.SIGKILL}
	})
	if err == nil {
		err = c.disk.cut()
	}
	if err == nil {
		err = newBoot(b.side())
	}
	if err != nil {
		c.t.Fatalf("%s: %v", key, err)
	}
	total.add(func(n *counts) { n.points++ })
	if !met {
		c.t.Logf("%s did not come up", key)
		return
	}
	total.add(func(n *counts) { n.hits++; n.cuts++ })
	s := &story{b: b, calls: calls, runs: []result{r}, pause: time.Sleep, cut: true,
		where: fmt.Sprintf("refresh on %s, the power cut before %s; again: EVERGRANT_POINT='%s/%s' go test -run TestPowerCut ./crashtest", c.disk.kind, key, c.t.Name(), key)}
	s.clean(r, false)
	s.heal()
	s.close(c.t)
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
