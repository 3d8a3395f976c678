package evergrant_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

// sick is a store whose reads fail or hang.
type sick struct {
	evergrant.Store
	ill atomic.Value // string
}

func (s *sick) Get(ctx context.Context, id string) (evergrant.Record, error) {
	switch s.ill.Load() {
	case "down":
		return evergrant.Record{}, errors.New("the database is down")
	case "hanging":
		<-ctx.Done()
		return evergrant.Record{}, context.Cause(ctx)
	}
	return s.Store.Get(ctx, id)
}

// A store that failed or hung for a moment took a token away that was good for
// two hours, or kept callers and Close beyond their time.
func TestSickStoreTakesNoTokenAway(t *testing.T) {
	for _, ill := range []string{"down", "hanging"} {
		t.Run(ill, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newPipeBed(t, rotating, nil)
				store := &sick{Store: b.inStore()}
				s := b.openRecord(store)
				if _, err := s.Token(t.Context()); err != nil {
					t.Fatal(err)
				}
				store.ill.Store(ill)
				time.Sleep(time.Minute)
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				began := time.Now()
				if _, err := s.Token(ctx); err != nil {
					t.Errorf("the token in memory is good for two hours: %v", err)
				}
				if took := time.Since(began); took > 3*time.Second {
					t.Errorf("it took %s", took)
				}
				began = time.Now()
				s.Close()
				if took := time.Since(began); took > time.Minute {
					t.Errorf("closing took %s", took)
				}
			})
		})
	}
}

// A lock that could not be had in time took away a token that was good for ten
// minutes: the look at it was made with the context that had just ended.
func TestLockedRecordIsStillServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPipeBed(t, rotating, nil)
		b.age(110 * time.Minute)
		store := b.inStore()
		unlock, err := store.Lock(t.Context(), "g")
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
		if _, err := b.openRecord(store).Token(t.Context()); err != nil {
			t.Errorf("good for ten minutes, and not served: %v", err)
		}
	})
}

// A rescue folder with brackets in its name was taken for a pattern, and the
// answer in it was not found.
func TestRescueFolderOfAnyName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPipeBed(t, rotating, nil)
		b.cfg.RescueDirs = []string{filepath.Join(t.TempDir(), "a[1]")}
		store := b.inStore()
		store.set(func(r evergrant.Record, g uint64) bool { return r.Generation > g })
		if _, err := b.refreshRecord(store); !errors.Is(err, evergrant.ErrStorage) {
			t.Fatalf("got %v", err)
		}
		store.set(nil)
		if r, err := b.refreshRecord(store); err != nil || !r.Recovered {
			t.Errorf("the rescued answer was not found: %+v, %v", r, err)
		}
		b.livingIn(store)
	})
}

// The client and endpoint of a first refresh were forgotten when a later run
// recovered its answer, and that answer stayed in the rescue folder.
func TestRecoveryRemembersTheFirstClient(t *testing.T) {
	t.Run("store", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newPipeBed(t, rotating, nil)
			store := b.inStore()
			store.set(func(r evergrant.Record, g uint64) bool { return r.Generation > g })
			if _, err := b.refreshRecord(store); !errors.Is(err, evergrant.ErrStorage) {
				t.Fatalf("got %v", err)
			}
			store.set(nil)
			if r, err := b.refreshRecord(store, bare); err != nil || !r.Recovered {
				t.Fatalf("the rescued answer was not found: %+v, %v", r, err)
			}
			if left, _ := os.ReadDir(b.cfg.RescueDirs[0]); len(left) > 0 {
				t.Errorf("a file with the living refresh token stays behind: %s", left[0])
			}
			if _, err := b.refreshRecord(store, bare); err != nil {
				t.Errorf("what the intent held was forgotten: %v", err)
			}
			b.livingIn(store)
		})
	})
	for name, exchanged := range map[string]bool{"file, answer beside it": false, "file, answer in it": true} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, rotating)
			b.killed(exchanged)
			for range 2 {
				if _, err := b.refresh(evergrant.RefreshOptions{}, bare); err != nil {
					t.Errorf("what the intent held was forgotten: %v", err)
				}
			}
			b.neverReused()
			b.living()
		})
	}
}

// record is a grant as another program would put it into a store: refreshed
// with cfg as often as its generation tells, from 1.
func (b *bed) record(grant idptest.Grant, cfg evergrant.Config, refreshes int) evergrant.Record {
	b.t.Helper()
	own := new(evergrant.Memory)
	if err := evergrant.Create(b.t.Context(), own, "g", grant.TokenFile(), cfg); err != nil {
		b.t.Fatal(err)
	}
	for range refreshes {
		if _, err := b.refreshRecord(own, func(c *evergrant.Config) { *c = cfg }); err != nil {
			b.t.Fatal(err)
		}
	}
	r, err := own.Get(b.t.Context(), "g")
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// reconnect puts the record of another program in the place of the first one.
func (b *bed) reconnect(store evergrant.Store, r evergrant.Record) {
	b.t.Helper()
	if err := store.Put(b.t.Context(), r, 1); err != nil {
		b.t.Error(err)
	}
}

// A reconnect during a refresh made that refresh fail and drop its answer when
// it was two generations ahead.
func TestReconnectWinsAtAnyGeneration(t *testing.T) {
	for _, generation := range []uint64{2, 3, 7} {
		b := newBed(t, rotating)
		store := b.inStore()
		s := b.openRecord(store)
		login := b.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
		rec := b.record(login, b.cfg, 0)
		rec.Generation = generation
		r, err := b.during(s, func() { b.reconnect(store, rec) })
		if err != nil || r.Token.AccessToken.Reveal() != login.AccessToken {
			t.Errorf("generation %d: the reconnect did not win: %+v, %v", generation, r, err)
		}
		if rec, _ := store.Get(t.Context(), "g"); rec.Generation < generation {
			t.Errorf("generation %d: the record went back to %d", generation, rec.Generation)
		}
		if !b.rescued(b.idp.GrantState(b.grant.ID).RefreshToken) {
			t.Errorf("generation %d: the answer was neither stored nor kept aside", generation)
		}
	}
}

// An answer that a later run found was dropped where a reconnect came while it was
// put back.
func TestReconnectWinsOverAnAnswerFoundLater(t *testing.T) {
	b := newBed(t, rotating)
	store := b.inStore()
	login := b.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	rec := b.record(login, b.cfg, 1)
	commit := func(r evergrant.Record, generation uint64) bool { return r.Generation > generation }
	store.set(commit)
	if _, err := b.refreshRecord(store); !errors.Is(err, evergrant.ErrStorage) {
		t.Fatalf("a store that takes no answer: %v", err)
	}
	store.set(func(r evergrant.Record, generation uint64) bool {
		if commit(r, generation) {
			store.Store.Put(t.Context(), rec, 1) // the second time it is refused
		}
		return false
	})
	if _, err := b.refreshRecord(store); err != nil {
		t.Errorf("the reconnect did not win: %v", err)
	}
	now, err := store.Get(t.Context(), "g")
	if st := b.idp.GrantState(login.ID); err != nil || st.Revoked || !bytes.Contains(now.Data, []byte(st.RefreshToken)) {
		t.Errorf("the reconnect was lost: %v, %s", err, st.Why)
	}
	if !b.rescued(b.idp.GrantState(b.grant.ID).RefreshToken) {
		t.Error("the answer was neither stored nor kept aside")
	}
	b.neverReused()
}

// A refresh under way replaced the client id of a reconnect by its own: the
// login's token was then sent for the wrong client and declared dead.
func TestReconnectKeepsItsClient(t *testing.T) {
	b := newBed(t, rotating)
	store := b.inStore()
	s := b.openRecord(store)
	login := b.idp.NewGrant(idptest.GrantSpec{ClientID: "newapp"})
	cfg := b.cfg
	cfg.ClientID = "newapp"
	rec := b.record(login, cfg, 1)
	if _, err := b.during(s, func() { b.reconnect(store, rec) }); err != nil {
		t.Error(err)
	}
	if _, err := b.refreshRecord(store, bare); err != nil {
		t.Errorf("refreshing as the reconnect was made: %v", err)
	}
	for _, e := range b.idp.TokenRequests(login.ID) {
		if e.ClientID != "newapp" {
			t.Errorf("request %d sends the login's token as client %s: %s", e.Seq, e.ClientID, e.Verdict)
		}
	}
}

// The holder of a lost lock took the record back to its own generation where
// the refresh token does not tell old from new.
func TestLateWriterGoesNotBack(t *testing.T) {
	b := newBed(t, idptest.Config{Persona: idptest.Generic})
	store := b.inStore()
	s := b.openRecord(store)
	rec := b.record(b.grant, b.cfg, 2)
	if _, err := b.during(s, func() { b.reconnect(store, rec) }); err != nil {
		t.Error(err)
	}
	if rec, err := store.Get(t.Context(), "g"); err != nil || rec.Generation < 3 {
		t.Errorf("the record went back from generation 3 to %d (%v)", rec.Generation, err)
	}
	if _, err := b.refreshRecord(store); err != nil {
		t.Errorf("the next refresh: %v", err)
	}
	b.livingIn(store)
}

// A document with its members elsewhere was taken by Create and refused by
// Open.
func TestCreateRemembersFields(t *testing.T) {
	b := newBed(t, rotating)
	b.write(b.path, []byte(`{"o":{"at":"`+b.grant.AccessToken+`","rt":"`+b.grant.RefreshToken+`"}}`))
	b.cfg.Fields = map[string]string{"access_token": "/o/at", "refresh_token": "/o/rt"}
	store := b.inStore()
	forget := func(c *evergrant.Config) { c.Fields = nil }
	for _, change := range []func(*evergrant.Config){func(*evergrant.Config) {}, forget} {
		if _, err := b.refreshRecord(store, change); err != nil {
			t.Errorf("what Create took is refused: %v", err)
		}
	}
	b.livingIn(store)
	if rec, _ := store.Get(t.Context(), "g"); !bytes.Contains(rec.Data, []byte(`{"o":{"at":"`)) {
		t.Error("the document's form changed")
	}
}
