package evergrant_test

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

// A second request was cut off by the end of its call while its answer was on
// the way: the provider had rotated, and the grant was gone.
func TestAnswerIsNotCutByTheCall(t *testing.T) {
	for _, c := range []struct {
		name                string
		call, down, answers time.Duration
	}{
		{"short call", 2 * time.Second, 100 * time.Millisecond, 1500 * time.Millisecond},
		{"default call", 0, 29 * time.Second, 9 * time.Second},
		{"default call, slow provider", 0, 29 * time.Second, 25 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newPipeBed(t, rotating, nil)
				store := b.inStore()
				b.idp.SetHabits(func(h *idptest.Habits) { h.Fault = "status=503" })
				time.AfterFunc(c.down, func() {
					b.idp.SetHabits(func(h *idptest.Habits) { h.Fault, h.DelayAfter = "none", c.answers })
				})
				_, err := b.refreshRecord(store, func(cfg *evergrant.Config) { cfg.CallTimeout = c.call })
				if b.requests() < 2 {
					t.Errorf("%d requests: the call was not tried again", b.requests())
				}
				t.Logf("%d requests, %v", b.requests(), err)
				b.livingIn(store)
			})
		})
	}
}

// A clock set back made a reply that was lost half an hour ago look young
// enough for a replay, which was far outside the provider's grace window.
func TestClockSetBackOpensNoGrace(t *testing.T) {
	for _, rebooted := range []bool{false, true} {
		t.Run(map[bool]string{true: "rebooted", false: "same boot"}[rebooted], func(t *testing.T) {
			b := newBed(t, idptest.Config{Persona: idptest.Generic, Habits: idptest.Habits{Rotation: true, Grace: 10 * time.Minute}})
			b.cfg.Provider, b.cfg.CallTimeout, b.cfg.ExchangeTimeout = "atlassian", 200*time.Millisecond, 200*time.Millisecond // one try a call
			b.idp.Next("hang-after")
			if _, err := b.refresh(evergrant.RefreshOptions{}); err == nil {
				t.Fatal("the reply was not lost")
			}
			sent := b.requests()
			b.idp.Advance(30 * time.Minute)
			b.setClocks(time.Hour, 30*time.Minute)
			if rebooted {
				b.otherBoot()
			}
			if _, err := b.refresh(evergrant.RefreshOptions{}); err == nil {
				t.Error("a refresh succeeded half an hour after the reply was lost")
			}
			if b.requests() > sent {
				t.Error("sent again outside the grace window")
			}
			b.neverReused()
		})
	}
}

// A clock that was years ahead when a reply was lost kept everything from being
// sent until those years had passed.
func TestClockAheadSilencesNobody(t *testing.T) {
	for _, rebooted := range []bool{false, true} {
		t.Run(map[bool]string{true: "rebooted", false: "same boot"}[rebooted], func(t *testing.T) {
			t.Parallel()
			b := newBed(t, idptest.Config{}) // does not rotate
			b.mustRefresh()
			b.cfg.ExchangeTimeout, b.cfg.CallTimeout = time.Second, 20*time.Second
			b.idp.Next("lost")
			b.refresh(evergrant.RefreshOptions{})
			b.setClocks(10*365*24*time.Hour, time.Minute)
			if rebooted {
				b.otherBoot()
			}
			if _, err := b.refresh(evergrant.RefreshOptions{}); err != nil {
				t.Errorf("refreshing: %v", err)
			}
		})
	}
}

// One early rejection shortened the lifetime for good, against the catalog and
// the provider's own word.
func TestOneRejectionTeachesNoLifetime(t *testing.T) {
	b := newBed(t, idptest.Config{})
	b.age(2 * time.Minute) // an administrator ends the session after two minutes
	s := b.open()
	tok, err := s.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if tok, err = s.Rejected(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(tok.Expiry); left < time.Hour {
		t.Errorf("a session of two hours is taken to last %s", left.Round(time.Second))
	}
}

// A program that a shell exec'd counted as started when the shell was: what was
// refreshed since then was adopted, and nothing was sent.
func TestExecIsAStart(t *testing.T) {
	const name = "EVERGRANT_TEST_REFRESH"
	if path := os.Getenv(name); path != "" {
		s, err := evergrant.OpenFile(path, evergrant.Config{})
		if err == nil {
			_, err = s.Refresh(context.Background(), evergrant.RefreshOptions{SinceStart: true})
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	if runtime.GOOS == "windows" {
		t.Skip("no exec")
	}
	t.Parallel()
	b := newBed(t, rotating)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	shell := exec.Command("sh", "-c", `sleep 1.3; exec "$0" -test.run='^TestExecIsAStart$'`, exe)
	shell.Env = append(os.Environ(), name+"="+b.path)
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // more than the tick in which the shell started
	b.mustRefresh()
	if err := shell.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := b.requests(); n != 2 {
		t.Errorf("%d token requests, want 2", n)
	}
	b.living()
}

// Adopting is not written, and each look dated it anew: forecasts that count
// from the login moved along and never came due.
func TestAdoptionKeepsItsDate(t *testing.T) {
	b := newBed(t, idptest.Config{})
	written := time.Now().Add(-48 * time.Hour).Truncate(time.Second)
	if err := os.Chtimes(b.path, written, written); err != nil {
		t.Fatal(err)
	}
	st, err := b.open().Status(t.Context())
	if err != nil || !st.RefreshTokenFrom.Equal(written) {
		t.Errorf("a login of %s is dated %s (%v)", written, st.RefreshTokenFrom, err)
	}
}
