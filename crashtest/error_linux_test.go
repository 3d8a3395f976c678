//go:build amd64 || arm64

package crashtest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// errorRows are the errors that a system call is made to return, at each place
// where it is made.
var errorRows = []struct {
	call  string
	errno syscall.Errno
	every int // take each n-th place unless all are asked for
	lasts lasting
}{
	{"fsync", syscall.EIO, 1, once},
	{"fsync", syscall.EIO, 1, inFolder},
	{"fsync", syscall.EIO, 2, everywhere},
	{"fsync", syscall.EINTR, 2, once},
	{"pwrite64", syscall.ENOSPC, 1, once},
	{"pwrite64", syscall.EIO, 1, once},
	{"pwrite64", syscall.ENOSPC, 1, inFolder},
	{"write", syscall.ENOSPC, 1, once},
	{"fallocate", syscall.ENOSPC, 1, once},
	{"fallocate", syscall.EDQUOT, 1, once},
	{"ftruncate", syscall.EIO, 1, once},
	{"renameat", syscall.EIO, 1, once},
	{"renameat", syscall.EROFS, 1, inFolder},
	{"renameat2", syscall.EIO, 1, once},
	{"renameat2", syscall.EIO, 1, inFolder},
	{"renameat2", syscall.EINVAL, 1, once},
	{"openat", syscall.EROFS, 3, once},
	{"openat", syscall.EROFS, 3, inFolder},
	{"openat", syscall.EMFILE, 3, once},
	{"openat", syscall.EMFILE, 6, everywhere},
	{"openat", syscall.EACCES, 5, once},
	{"openat", syscall.EINTR, 5, once},
	{"read", syscall.EIO, 3, once},
	{"read", syscall.EINTR, 5, once},
	{"flock", syscall.EINTR, 1, once},
	{"flock", syscall.ENOLCK, 1, once},
	{"fchmod", syscall.EPERM, 1, once},
	{"unlinkat", syscall.EIO, 1, once},
	{"getdents64", syscall.EIO, 1, once},
	{"close", syscall.EIO, 5, once},
	{"newfstatat", syscall.EIO, 7, once},
	{"socket", syscall.EMFILE, 1, once},
	{"connect", syscall.ENETUNREACH, 1, once},
}

// lasting is how long an error stays.
type lasting string

const (
	once       lasting = "once"
	inFolder   lasting = "from then on in the folder" // a rescue elsewhere works
	everywhere lasting = "from then on everywhere"
)

// TestError lets system calls fail. Nothing may have been sent, or the answer
// is stored, or it is in the rescue file that the message names; the next
// healthy run heals, and no loss is excused by an error of the file system.
func TestError(t *testing.T) {
	t.Parallel()
	uncached(t)
	e := &breakage{t: t, dir: t.TempDir(), slot: make(chan struct{}, slots)}
	b := e.bed()
	defer b.close()
	_, calls, err := b.follow(b.args(b.timeout, b.command...), none)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, row := range errorRows {
		n := 0
		for _, c := range calls {
			if c.name != row.call {
				continue
			}
			n++
			id := fmt.Sprintf("%s/%s, %s %s", t.Name(), c.key, unix.ErrnoName(row.errno), row.lasts)
			if onlyPoint != "" && onlyPoint != id || onlyPoint == "" && (n-1)%sample(row.every) != 0 {
				continue
			}
			e.slot <- struct{}{}
			wg.Go(func() {
				defer func() { <-e.slot }()
				e.one(id, c.key, row.errno, row.lasts)
			})
		}
	}
	wg.Wait()
}

// breakage is the sweep of TestError.
type breakage struct {
	t    *testing.T
	dir  string
	slot chan struct{}

	mu   sync.Mutex
	beds int
}

func (e *breakage) bed() *bed {
	e.mu.Lock()
	e.beds++
	n := e.beds
	e.mu.Unlock()
	b, err := newBed(refreshRotating, filepath.Join(e.dir, fmt.Sprint(n)))
	if err != nil {
		e.t.Fatal(err)
	}
	return b
}

// one lets a call fail and judges what came of it.
func (e *breakage) one(id, key string, errno syscall.Errno, lasts lasting) {
	b := e.bed()
	defer os.RemoveAll(b.root)
	defer b.close()
	var at call
	r, calls, err := b.follow(b.args(b.timeout, b.command...), func(c call) trouble {
		switch {
		case at.key == "" && c.key == key:
			at = c
		case at.key == "" || c.name != at.name || lasts == once, lasts == inFolder && (c.on == "rescue" || c.on == "socket"):
			return trouble{}
		}
		return trouble{errno: errno}
	})
	if err != nil {
		e.t.Errorf("%s: %v", id, err)
		return
	}
	total.add(func(c *counts) { c.points++ })
	if at.key == "" {
		total.add(func(c *counts) { c.missed["error"]++ })
		e.t.Logf("%s did not come up", id)
		return
	}
	total.add(func(c *counts) { c.errors[at.name+" "+unix.ErrnoName(errno)]++ })
	s := &story{b: b, calls: calls, runs: []result{r}, pause: func(d time.Duration) { <-e.slot; time.Sleep(d); e.slot <- struct{}{} },
		where: fmt.Sprintf("refresh with an error: %s; again: EVERGRANT_POINT='%s' go test -run TestError ./crashtest", id, id)}
	s.clean(r, false)
	s.failed(r, at)
	s.close(e.t)
}

// failed judges a run that met an error.
func (s *story) failed(r result, at call) {
	s.arrive()
	sent, living := s.b.sent(), s.living()
	if sent > 1 {
		s.fault("sent %d times", sent)
	}
	if r.signal != 0 {
		s.fault("it was ended by %v", r.signal)
	}
	if r.exit > 0 && !strings.Contains(r.err, "hint: ") {
		s.fault("no hint")
	}
	lost := s.b.processed() > 0 && !living
	switch {
	case r.exit == 0 && (sent != 1 || !living):
		s.fault("exit 0, sent %d times, stored %t", sent, living)
	case r.exit == 1 && at.on != "":
		s.fault("exit 1: an error nobody thought of")
	case lost && at.on == "socket":
		s.heal() // a broken connection, no broken disk
		return
	case lost && (r.exit != 6 || !s.named(r)):
		s.fault("the answer is not in the token file, and the message names no file that has it (exit %d)", r.exit)
	}
	s.healTo()
}

// named reports whether the message names a file that exists and holds the
// living refresh token.
func (s *story) named(r result) bool {
	want := s.b.idp.GrantState(s.b.grant.ID).RefreshToken
	temps, _ := filepath.Glob(filepath.Join(s.b.box, ".*.tmp"))
	for _, path := range append(temps, s.b.rescued()...) {
		data, err := os.ReadFile(path)
		if err == nil && strings.Contains(r.err, path) && want != "" && strings.Contains(string(data), want) {
			return true
		}
	}
	return false
}
