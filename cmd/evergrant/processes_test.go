package main

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

// crowd is how many processes meet at one file.
const crowd = 64

// runCrowd runs the program in many processes at once. The provider keeps the
// answer back until all of them are started, so that each began before the
// first commit.
func runCrowd(t *testing.T, b *bed, args ...string) []ran {
	t.Helper()
	b.HoldUntilReleased()
	all := make([]ran, crowd)
	var done sync.WaitGroup
	for i := range all {
		wait := b.start(args...)
		done.Go(func() { all[i] = wait() })
	}
	time.Sleep(50 * time.Millisecond) // past the clock tick in which the last one started: a commit in it would not count as later
	b.Release()
	done.Wait()
	return all
}

// TestCrowd: many processes that need a new token at the same moment make one
// request, and all get its result.
func TestCrowd(t *testing.T) {
	t.Run("token of an expired file", func(t *testing.T) {
		b := newBed(t, idptest.Habits{Rotation: true})
		b.Next("exp=0")
		b.first()
		before := b.sent()
		all := runCrowd(t, b, "token", b.path)
		for i, r := range all {
			if r.code != 0 || r.stdout != all[0].stdout || !strings.Contains(r.stdout, mark) {
				t.Fatalf("process %d: exit code %d, stderr %q", i, r.code, r.stderr)
			}
		}
		wantOne(t, b, before)
	})
	t.Run("refresh", func(t *testing.T) {
		b := newBed(t, idptest.Habits{Rotation: true})
		b.first()
		before := b.sent()
		all := runCrowd(t, b, "refresh", b.path)
		fresh := 0
		for i, r := range all {
			if r.code != 0 {
				t.Fatalf("process %d: exit code %d, stderr %q", i, r.code, r.stderr)
			}
			if strings.Contains(r.stdout, ": refreshed\n") {
				fresh++
			}
		}
		if fresh != 1 {
			t.Errorf("%d processes say that they refreshed", fresh)
		}
		wantOne(t, b, before)
	})
}

func wantOne(t *testing.T, b *bed, before int) {
	t.Helper()
	if n := b.sent() - before; n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
	if s := b.GrantState(b.id); s.Revoked || !strings.Contains(b.read(), s.RefreshToken) {
		t.Errorf("the grant was lost: %s", s.Why)
	}
}
