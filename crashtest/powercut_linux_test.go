//go:build amd64 || arm64

package crashtest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

// effects are the calls after which a power cut may find something else on
// the disk, or at the server, than before.
var effects = []string{"write", "pwrite64", "fsync", "fdatasync", "ftruncate", "fallocate", "fchmod", "renameat", "renameat2", "unlinkat", "openat", "read", "close"}

// cutRows are the commands whose power is cut. A neighbour has just made
// something of its own durable.
var cutRows = []struct {
	scene     scene
	neighbour bool
}{
	{refreshRotating, false},
	{refreshRotating, true},
	{tokenExpired, false},
	{scene{name: "refresh at a generic server", command: []string{"refresh"}, persona: idptest.Generic, habits: idptest.Habits{Rotation: true}}, true},
	{watchExpired, true},
	{recovering("recovery before the exchange", trouble{signal: syscall.SIGKILL}, "renameat2 answer>token #1"), true},
}

// TestPowerCut cuts the power of the program's file system while the program
// stands before such a call: all that was not yet durable is gone. Then the
// machine is taken to have started anew.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	uncached(t)
	for i, d := range disks {
		t.Run(d.name, func(t *testing.T) {
			if prove {
				t.Parallel()
			}
			if i > 2 && !prove && onlyPoint == "" {
				t.Skip("EVERGRANT_PROVE=1 cuts the power of ext4 with other options too")
			}
			d, why := newDisk(t, d)
			if why != "" {
				total.skip("power cuts/"+disks[i].kind, why)
				t.Skipf("SKIPPED, no power is cut: %s", why)
			}
			for j, row := range cutRows {
				name := strings.ReplaceAll(row.scene.name, " ", "-")
				if row.neighbour {
					name += ",neighbour"
				}
				if j > 0 && !prove && onlyPoint == "" {
					break
				}
				t.Run(name, func(t *testing.T) {
					c := &cutter{t: t, disk: d, scene: row.scene, neighbour: row.neighbour}
					c.run()
				})
			}
		})
	}
}

// few takes of the points of a disk one in so many, where not all are asked for.
const few = 12

// cutter takes the points of one disk, one after the other.
type cutter struct {
	t         *testing.T
	disk      *disk
	scene     scene
	neighbour bool
}

func (c *cutter) run() {
	for i, p := range c.points() {
		talks := p.on == "socket" && p.name != "close" // never left out: what is at the server can't be taken back
		if onlyPoint == c.t.Name()+"/"+p.key || onlyPoint == "" && (talks || i%sample(few) == 0) {
			c.take(p.key)
		}
	}
}

// bed makes a bed that is on the disk with all that a process may write.
func (c *cutter) bed() *bed {
	if err := c.disk.empty(); err != nil {
		c.t.Fatal(err)
	}
	sc := c.scene
	sc.timeout = 1500 * time.Millisecond // one cut after the other: each doubt costs so much
	b, err := newBed(sc, c.disk.dir)
	if err == nil {
		err = c.disk.sync()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	b.said = c.t.TempDir()
	return b
}

// points are the calls before which the disk or the server may differ from
// what they were before the last one.
func (c *cutter) points() []call {
	b := c.bed()
	defer b.close()
	r, calls, err := b.follow(b.args(b.timeout, b.command...), none)
	if err != nil || r.exit != 0 {
		c.t.Fatalf("the unbroken run: %v %v", r, err)
	}
	return slices.DeleteFunc(calls, func(p call) bool {
		return !slices.Contains(effects, p.name) || p.on == "token" || p.on == "lock"
	})
}

// take cuts the power at a point, which may come up in one of some tries only.
func (c *cutter) take(key string) {
	total.add(func(n *counts) { n.points++ })
	for range tries {
		if c.try(key) {
			return
		}
	}
	total.add(func(n *counts) { n.missed["power cut"]++ })
	c.t.Logf("%s did not come up", key)
}

// try reports whether the point came up.
func (c *cutter) try(key string) bool {
	b := c.bed()
	defer b.close()
	met := false
	var cut error
	r, calls, err := b.follow(b.args(b.timeout, b.command...), func(p call) trouble {
		if met || p.key != key {
			return trouble{}
		}
		met = true
		if c.neighbour {
			cut = c.disk.neighbour()
		}
		cut = errors.Join(cut, c.disk.stop())
		return trouble{signal: syscall.SIGKILL}
	})
	if err == nil && met {
		err = errors.Join(cut, c.disk.restart())
	}
	if err == nil && met {
		err = newBoot(b.side())
	}
	if err != nil {
		c.t.Fatalf("%s: %v", key, err)
	}
	if !met {
		return false
	}
	total.add(func(n *counts) { n.cuts[c.disk.kind]++ })
	s := &story{b: b, calls: calls, runs: []result{r}, pause: time.Sleep, cut: true,
		where: fmt.Sprintf("%s on %s, the power cut before %s; again: EVERGRANT_POINT='%s/%s' go test -run TestPowerCut ./crashtest", c.scene.name, c.disk.name, key, c.t.Name(), key)}
	s.clean(r, b.command[0] == "token")
	s.heal()
	s.close(c.t)
	return true
}
