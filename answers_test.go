package evergrant_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

// TestAnswerShapes: whatever form an honest answer has, the newest refresh
// token is on disk afterwards. The 18 shapes seen in the wild are among them.
func TestAnswerShapes(t *testing.T) {
	shapes := 0
	for _, name := range idptest.FaultNames(idptest.Shape) {
		fault := idptest.Fault(name)
		if fault.Valid() != nil {
			continue // wants a value
		}
		shapes++
		for _, rotate := range []bool{true, false} {
			t.Run(name+map[bool]string{true: " rotating", false: ""}[rotate], func(t *testing.T) {
				b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: rotate}})
				b.idp.Next(fault)
				if _, err := b.refresh(evergrant.RefreshOptions{}); err != nil {
					t.Fatal(err)
				}
				b.living()
				if _, err := b.refresh(evergrant.RefreshOptions{}); err != nil {
					t.Errorf("the next refresh: %v", err)
				}
				b.living()
			})
		}
	}
	if shapes < 18 {
		t.Errorf("only %d shapes were tried", shapes)
	}
}

// TestEveryFault: whatever goes wrong with one request, the file is what it
// was or holds the living token, the next runs never send a spent token while
// the access token is good, and the grant is lost only where the answer never
// came.
func TestEveryFault(t *testing.T) {
	slow := []string{"drip", "stream", "bomb"}
	// Two servers lie: no client could have kept these grants.
	liars := map[string]bool{
		"503-after": true, // refuses with 503 what it has processed: a 503 frees the token for another try
		"error-200": true, // says that the token is dead after it has processed it
	}
	for _, name := range idptest.FaultNames() {
		fault := idptest.Fault(name)
		if fault.Valid() != nil || strings.HasPrefix(name, "hang") {
			continue // wants a value; never answers: see TestP5
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
			b.idp.Next(fault)
			short := func(c *evergrant.Config) {
				c.CallTimeout, c.ExchangeTimeout = 900*time.Millisecond, 400*time.Millisecond
				for _, s := range slow {
					if strings.Contains(name, s) {
						c.CallTimeout, c.ExchangeTimeout = 3*time.Second, 2*time.Second
					}
				}
			}
			_, err := b.refresh(evergrant.RefreshOptions{}, short)
			_, again := b.refresh(evergrant.RefreshOptions{}, short)
			reqs := b.idp.TokenRequests(b.grant.ID)
			state := b.idp.GrantState(b.grant.ID)
			if state.Revoked && !liars[name] {
				t.Errorf("the family was revoked (%s): %v, then %v; %+v", state.Why, err, again, reqs)
			}
			if err == nil {
				b.living()
			}
			if errors.Is(again, evergrant.ErrNeedsLogin) && !liars[name] {
				t.Errorf("a single %s ended the grant: %v, then %v", name, err, again)
			}
			if s, err := b.open().TokenFor(t.Context(), 0); err != nil {
				t.Errorf("a good token was not served: %v, %v", s, err)
			}
		})
	}
}
