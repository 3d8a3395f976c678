//go:build amd64 || arm64

package crashtest_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// waiters is how many processes wait while one is broken.
const waiters = 3

// meanwhile is how long the broken process stands still, so that the others
// come to wait for its lock.
const meanwhile = 250 * time.Millisecond

// TestPair stops one process at a point while others, which began from the
// same generation, wait for the lock. Then it is killed, or goes on as after
// SIGSTOP and SIGCONT. Together they make one request, and everybody ends
// with the new token, unless the answer died with the one that was killed.
func TestPair(t *testing.T) {
	t.Parallel()
	uncached(t)
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGCONT} {
		t.Run(map[syscall.Signal]string{syscall.SIGKILL: "killed", syscall.SIGCONT: "paused"}[signal], func(t *testing.T) {
			p := &pairs{t: t, dir: t.TempDir(), signal: signal}
			points := p.points()
			for i, c := range points {
				if onlyPoint == t.Name()+"/"+c.key || onlyPoint == "" && i%sample(18) == sample(18)/2 {
					p.take(c.key)
				}
			}
		})
	}
}

type pairs struct {
	t      *testing.T
	dir    string
	signal syscall.Signal
	beds   int
}

func (p *pairs) bed() *bed {
	p.beds++
	sc := refreshRotating
	sc.timeout = 4 * time.Second // longer than it stands still; a doubt lasts as long
	b, err := newBed(sc, filepath.Join(p.dir, fmt.Sprint(p.beds)))
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

// points are those at which the lock is held: before, nobody waits. They end
// where the token file gets its new content.
func (p *pairs) points() []call {
	b := p.bed()
	defer b.close()
	r, calls, err := b.follow(b.args(b.timeout, "refresh"), none)
	if err != nil || r.exit != 0 {
		p.t.Fatalf("the unbroken run: %v %v", r, err)
	}
	locked := slices.IndexFunc(calls, func(c call) bool { return c.name == "flock" })
	stored := slices.IndexFunc(calls, replaces)
	if locked < 0 || stored < locked {
		p.t.Fatalf("the lock is taken at call %d, the token file replaced at call %d", locked, stored)
	}
	return calls[locked+1 : stored+1]
}

// take breaks one process at a point, which may come up in one of some tries
// only.
func (p *pairs) take(key string) {
	total.add(func(c *counts) { c.points++ })
	for range tries {
		if p.try(key) {
			return
		}
	}
	total.add(func(c *counts) { c.missed["pair"]++ })
	p.t.Logf("%s did not come up", key)
}

// try breaks one process at a point while the others wait, and reports whether
// the point came up while it held the lock. Its calls are counted by name, and
// one that looks at a file once more than the run that the points are from may
// not have the lock yet, or be through, when it comes to the same count.
func (p *pairs) try(key string) bool {
	b := p.bed()
	defer os.RemoveAll(b.root)
	defer b.close()
	others := make([]result, waiters)
	errs := make([]error, waiters)
	var wg sync.WaitGroup
	met, over, locked := false, false, false
	args := b.args(20*time.Second, "refresh")
	first, calls, err := b.follow(b.args(b.timeout, "refresh"), func(c call) trouble {
		if met || over || !locked || c.key != key {
			over, locked = over || replaces(c), locked || c.name == "flock"
			return trouble{}
		}
		met = true
		for i := range waiters { // all have begun before it goes on, however slow the machine is
			cmd, out, errOut := b.start(binary, args...)
			if errs[i] = cmd.Start(); errs[i] == nil {
				wg.Go(func() {
					cmd.Wait() // its end is in the result
					others[i] = ended(cmd, out, errOut, args)
				})
			}
		}
		time.Sleep(meanwhile)
		if p.signal == syscall.SIGKILL {
			return trouble{signal: syscall.SIGKILL}
		}
		return trouble{}
	})
	wg.Wait()
	if err := errors.Join(append(errs, err)...); err != nil {
		p.t.Errorf("%s: %v", key, err)
		return true
	}
	if !met {
		return false
	}
	total.add(func(c *counts) { c.pairs[filepath.Base(p.t.Name())]++ })
	s := &story{b: b, calls: calls, runs: append([]result{first}, others...), pause: time.Sleep,
		where: fmt.Sprintf("%d processes, one %s before %s; again: EVERGRANT_POINT='%s/%s' go test -run TestPair ./crashtest", waiters+1, filepath.Base(p.t.Name()), key, p.t.Name(), key)}
	for _, r := range s.runs {
		s.clean(r, false)
	}
	s.together(p.signal, first, others)
	s.close(p.t)
	return true
}

// replaces reports whether a call gives the token file its new content: who
// starts after that starts from another generation.
func replaces(c call) bool {
	return c.name == "renameat2" || c.key == "renameat answer>token #1"
}

// together judges the processes by the ledger.
func (s *story) together(signal syscall.Signal, first result, others []result) {
	s.arrive()
	doubt := signal == syscall.SIGKILL && s.mayDoubt() // it may have sent, and took the answer with it
	for _, r := range others {
		switch {
		case !doubt && r.exit != 0:
			s.fault("one that waited: exit %d", r.exit)
		case doubt && (r.exit != 4 || !strings.Contains(r.err, "reply to a refresh was lost at ")):
			s.fault("one that waited: exit %d, want 4 with the reply that was lost", r.exit)
		}
	}
	if n := s.b.sent(); n > 1 || n == 0 && !doubt {
		s.fault("%d requests were sent, want 1", n)
	}
	if doubt {
		s.heal()
		return
	}
	if signal == syscall.SIGCONT && first.exit != 0 {
		s.fault("the one that was paused: exit %d", first.exit)
	}
	if s.healed = s.living(); !s.healed {
		s.fault("AVOIDABLE LOSS: the refresh token on disk is not the living one")
		return
	}
	s.tidy()
}
