package evergrant_test

import (
	"context"
	"net"
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
