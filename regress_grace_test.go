package evergrant_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

// Each of these grants was lost although a call came inside the grace window of
// its provider, met no fault, and could have had the lost answer again.
func TestGraceWindowIsUsed(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		habits idptest.Habits
		lose   func(b *bubble, s *evergrant.Source) // loses the answer; the next call is clean
	}{
		"the wait before the next replay was as good as none": {lose: func(b *bubble, s *evergrant.Source) {
			b.idp.Next("lost", "lost", "lost")
			s.Refresh(ctx, evergrant.RefreshOptions{})
			s.TokenFor(ctx, 0)
		}},
		"a token served meanwhile was served from memory until the window had closed": {lose: func(b *bubble, s *evergrant.Source) {
			b.idp.Next("lost", "lost", "lost", "lost")
			s.Refresh(ctx, evergrant.RefreshOptions{})
			for range 3 { // the last one is told to wait
				s.Token(ctx)
				time.Sleep(2 * time.Second)
			}
			time.Sleep(time.Minute)
		}},
		"the first request still ran, and the provider said busy": {habits: idptest.Habits{InFlight: "busy"}, lose: func(b *bubble, s *evergrant.Source) {
			b.idp.Next("delay-after=40s")
			time.Sleep(50 * time.Minute)
			s.TokenFor(ctx, 0)
		}},
		"earlier tries of no avail counted for the last one": {lose: func(b *bubble, s *evergrant.Source) {
			b.idp.SetHabits(func(h *idptest.Habits) { h.Fault = "502-before" })
			for range 6 {
				s.Refresh(ctx, evergrant.RefreshOptions{})
				time.Sleep(time.Minute)
			}
			time.Sleep(3 * time.Hour)
			b.idp.Next("lost", "lost")
			s.TokenFor(ctx, 0)
			b.idp.SetHabits(func(h *idptest.Habits) { h.Fault = "" })
		}},
		"many tries in a row counted from the first, although no access token was left to lose": {lose: func(b *bubble, s *evergrant.Source) {
			time.Sleep(2 * time.Hour)
			b.idp.SetHabits(func(h *idptest.Habits) { h.Fault = "502-before" })
			s.Refresh(ctx, evergrant.RefreshOptions{})
			b.idp.SetHabits(func(h *idptest.Habits) { h.Fault = "503-before" })
			for range 2 { // refused for now, and each time in doubt for longer
				s.Refresh(ctx, evergrant.RefreshOptions{})
				time.Sleep(time.Minute)
			}
			b.idp.SetHabits(func(h *idptest.Habits) { h.Fault = "lost" })
			s.TokenFor(ctx, 0)
			b.idp.SetHabits(func(h *idptest.Habits) { h.Fault = "" })
			time.Sleep(3 * time.Minute)
		}},
		"it was a server error, and the token was not due": {lose: func(b *bubble, s *evergrant.Source) {
			b.idp.Next("503-after")
			b.idp.SetHabits(func(h *idptest.Habits) { h.Fault = "503-before" })
			s.Refresh(ctx, evergrant.RefreshOptions{})
			b.idp.SetHabits(func(h *idptest.Habits) { h.Fault = "" })
			time.Sleep(time.Minute)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(evergrant.Memory)
				c.habits.Rotation, c.habits.Grace = true, 10*time.Minute
				b := newBubble(t, store, c.habits, evergrant.Config{Provider: "atlassian", RescueDirs: []string{t.TempDir()}})
				s := b.open(t, store)
				c.lose(b, s)
				if st := b.idp.GrantState(b.grant.ID); st.Generation == 1 {
					t.Fatal("no reply was lost")
				}
				s.TokenFor(ctx, 0) // the clean call
				time.Sleep(3 * time.Hour)
				if _, err := s.TokenFor(ctx, 0); err != nil {
					t.Error(err)
				}
				if st := b.idp.GrantState(b.grant.ID); st.Revoked {
					t.Errorf("the grant was lost: %s", st.Why)
				}
				for _, e := range b.idp.TokenRequests(b.grant.ID) {
					t.Logf("%s generation %d: %s %s", e.Time.Format(time.TimeOnly), e.Generation, e.Verdict, e.Fault)
				}
			})
		})
	}
}

// While refreshes failed, each call of Token waited two seconds, although a good
// token was at hand and the failure known.
func TestTokenWaitsForNoKnownFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(evergrant.Memory)
		b := newBubble(t, store, idptest.Habits{Rotation: true}, evergrant.Config{RescueDirs: []string{t.TempDir()}})
		b.cfg.HTTP.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		s := b.open(t, store)
		time.Sleep(50 * time.Minute)
		for n := range 5 {
			began := time.Now()
			if _, err := s.Token(t.Context()); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); n > 0 && took > time.Second {
				t.Errorf("call %d took %s", n, took)
			}
			time.Sleep(35 * time.Second) // longer than dialing takes
		}
	})
}

// The journal of a process that was killed with its request under way told only
// when it had begun to dial, which may take longer than a grace window is open.
func TestGraceCountsFromTheRequest(t *testing.T) {
	for _, c := range []struct {
		dialed time.Duration // of the 30 s that a request has
		heals  bool
	}{{25 * time.Second, true}, {0, false}, {10 * time.Minute, false}} {
		t.Run(c.dialed.String(), func(t *testing.T) {
			b := newBed(t, idptest.Config{Persona: idptest.Generic, Habits: idptest.Habits{Rotation: true, Grace: 10 * time.Minute}})
			b.cfg.Provider = "atlassian"
			before := b.read()
			var side []byte
			if _, err := b.during(b.open(), func() { side = b.readSide() }); err != nil {
				t.Fatal(err)
			}
			b.write(b.path, before)
			b.write(b.side(), side)
			const ago = 5*time.Minute + 10*time.Second
			b.setClocks(0, ago)
			turned := time.Now().Add(c.dialed - ago)
			if err := os.Chtimes(b.side(), turned, turned); err != nil {
				t.Fatal(err)
			}
			_, err := b.open().TokenFor(t.Context(), 0)
			if healed := b.requests() == 2; err != nil || healed != c.heals {
				t.Errorf("%d requests, want the second one: %t (%v)", b.requests(), c.heals, err)
			}
		})
	}
}

// A process that ended while dialing left a doubt where another machine, or the
// same one after a reboot, came next, although the store held that nothing was
// sent.
func TestDialingElsewhereIsNoDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &brittle{Store: new(evergrant.Memory)}
		b := newBubble(t, store, idptest.Habits{Rotation: true}, evergrant.Config{RescueDirs: []string{t.TempDir()}})
		s := b.open(t, store)
		if _, err := s.Refresh(t.Context(), evergrant.RefreshOptions{}); err != nil {
			t.Fatal(err)
		}
		rec := store.wrote[1] // the first is by Create
		if !bytes.Contains(rec.Intent, []byte(`"dialing"`)) {
			t.Fatalf("the intent is %s", rec.Intent)
		}
		rec.Intent = regexp.MustCompile(`"boot":"[^"]*"`).ReplaceAll(rec.Intent, []byte(`"boot":"another"`))
		other := &brittle{Store: new(evergrant.Memory)}
		if err := other.Put(t.Context(), rec, 0); err != nil {
			t.Fatal(err)
		}
		o := b.open(t, other)
		if st, err := o.Status(t.Context()); err != nil || st.State == evergrant.StateInDoubt {
			t.Errorf("the state is %q, %v", st.State, err)
		}
		before := len(b.idp.TokenRequests(b.grant.ID))
		o.Refresh(t.Context(), evergrant.RefreshOptions{})
		if n := len(b.idp.TokenRequests(b.grant.ID)); n != before+1 {
			t.Errorf("%d requests, want %d", n, before+1)
		}
	})
}

// unsure is a store whose writes of a new generation take effect and are then
// reported as failed.
type unsure struct {
	evergrant.Store
	fails int
}

func (s *unsure) Put(ctx context.Context, r evergrant.Record, generation uint64) error {
	err := s.Store.Put(ctx, r, generation)
	if err == nil && generation > 0 && r.Generation > generation && s.fails > 0 {
		s.fails--
		return errDisk
	}
	return err
}

// A refresh whose write had taken effect without a word was told as somebody
// else's login.
func TestOwnWriteIsNobodyElses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &unsure{Store: new(evergrant.Memory), fails: 1}
		var told []string
		cfg := evergrant.Config{RescueDirs: []string{t.TempDir()}, OnEvent: func(e evergrant.Event) { told = append(told, fmt.Sprintf("%T", e)) }}
		b := newBubble(t, store, idptest.Habits{Rotation: true}, cfg)
		r, err := b.open(t, store).Refresh(t.Context(), evergrant.RefreshOptions{})
		if err != nil || r.Adopted || !r.Rotated || !slices.Contains(told, "evergrant.Refreshed") || slices.Contains(told, "evergrant.Adopted") {
			t.Errorf("%+v, %v, events %v", r, err, told)
		}
	})
}

// After an answer to one of several requests in doubt had been found again, the
// next refresh did not wait for the others, which may still arrive.
func TestQuietAfterAnAnswerThatWasFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &brittle{Store: new(evergrant.Memory)}
		cfg := evergrant.Config{Provider: "atlassian", RescueDirs: []string{t.TempDir()}}
		b := newBubble(t, store, idptest.Habits{Rotation: true, Grace: 10 * time.Minute}, cfg)
		refresh := func(o evergrant.RefreshOptions) error {
			s := b.open(t, store)
			defer s.Close()
			_, err := s.Refresh(t.Context(), o)
			return err
		}
		store.set(func(r evergrant.Record, g uint64) bool { return r.Generation > g })
		b.idp.Next("lost") // and the answer to the replay is rescued
		if err := refresh(evergrant.RefreshOptions{}); !errors.Is(err, evergrant.ErrStorage) {
			t.Fatal(err)
		}
		store.set(nil)
		here := b.cfg.RescueDirs
		b.cfg.RescueDirs = []string{t.TempDir()}
		b.idp.Next("drop-before", "drop-before")
		if err := refresh(evergrant.RefreshOptions{Replay: true}); !errors.Is(err, evergrant.ErrTemporary) {
			t.Fatal(err)
		}
		b.cfg.RescueDirs = here
		for range 2 { // finds the answer, then refreshes
			if err := refresh(evergrant.RefreshOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		reqs := b.idp.TokenRequests(b.grant.ID)
		if n := len(reqs); n != 5 || reqs[n-1].Time.Sub(reqs[n-2].Time) < 25*time.Second {
			t.Errorf("the next refresh did not wait: %+v", reqs)
		}
	})
}
