package evergrant_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

// The promises P1 to P8 of docs/design.md, each judged by the provider's
// ledger and the file.

func TestP1OneRefreshPerGeneration(t *testing.T) {
	const callers = 64
	var rejected *evergrant.Token
	for name, ask := range map[string]func(*evergrant.Source) (*evergrant.Token, error){
		"refresh": func(s *evergrant.Source) (*evergrant.Token, error) {
			r, err := s.Refresh(context.Background(), evergrant.RefreshOptions{SinceStart: true})
			if err != nil {
				return nil, err
			}
			return r.Token, nil
		},
		"token": func(s *evergrant.Source) (*evergrant.Token, error) { return s.Token(context.Background()) },
		"rejected": func(s *evergrant.Source) (*evergrant.Token, error) {
			return s.Rejected(context.Background(), rejected)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
			b.age(3 * time.Hour)
			sources := make([]*evergrant.Source, callers) // each stands for a process: they share nothing but the file
			for i := range sources {
				sources[i] = b.open()
			}
			rejected = &evergrant.Token{AccessToken: evergrant.NewSecret(b.grant.AccessToken)}
			b.idp.HoldUntilReleased()
			tokens := make([]string, callers)
			var asking, done sync.WaitGroup
			asking.Add(callers)
			for i, s := range sources {
				done.Go(func() {
					asking.Done()
					tok, err := ask(s)
					if err != nil {
						t.Error(err)
						return
					}
					tokens[i] = tok.AccessToken.Reveal()
				})
			}
			asking.Wait()
			b.idp.Release()
			done.Wait()
			if n := len(b.idp.TokenRequests(b.grant.ID)); n != 1 {
				t.Errorf("%d token requests, want 1", n)
			}
			if slices.Sort(tokens); tokens[0] != tokens[callers-1] || tokens[0] == b.grant.AccessToken {
				t.Error("not everybody has the one new token")
			}
			b.living()
		})
	}
}

// TestP1OneFlightInProcess: goroutines that share a Source share its request.
func TestP1OneFlightInProcess(t *testing.T) {
	b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
	b.age(3 * time.Hour)
	s := b.open()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if _, err := s.Token(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(b.idp.TokenRequests(b.grant.ID)); n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}
}

// brittle is a store that refuses to write what a rule picks.
type brittle struct {
	evergrant.Store
	mu     sync.Mutex
	refuse func(evergrant.Record, uint64) bool
	wrote  []evergrant.Record
}

var errDisk = errors.New("no space left on the store")

func (s *brittle) Put(ctx context.Context, r evergrant.Record, generation uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil && s.refuse(r, generation) {
		return errDisk
	}
	s.wrote = append(s.wrote, r)
	return s.Store.Put(ctx, r, generation)
}

func (s *brittle) set(refuse func(evergrant.Record, uint64) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = refuse
}

func TestP2DurableBeforeUsed(t *testing.T) {
	b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
	store := &brittle{Store: new(evergrant.Memory)}
	if err := evergrant.Create(t.Context(), store, "g", b.grant.TokenFile(), b.cfg); err != nil {
		t.Fatal(err)
	}
	cfg := b.cfg
	var seen []evergrant.Event
	cfg.OnEvent = func(e evergrant.Event) {
		if r, ok := e.(evergrant.Refreshed); ok {
			if got, err := store.Get(context.Background(), "g"); err != nil || got.Generation != r.Generation {
				t.Errorf("Refreshed was told before the store had generation %d", r.Generation)
			}
		}
		seen = append(seen, e)
	}
	s, err := evergrant.Open(store, "g", cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	// The store takes the intent and no answer.
	store.set(func(r evergrant.Record, g uint64) bool { return r.Generation > g })
	r, err := s.Refresh(t.Context(), evergrant.RefreshOptions{})
	if !errors.Is(err, evergrant.ErrStorage) || r != nil {
		t.Fatalf("an answer that is not stored was handed out: %v, %v", r, err)
	}
	var held *evergrant.Error
	if !errors.As(err, &held) || held.Path == "" {
		t.Fatalf("no rescue file is named: %v", err)
	}
	data, err := os.ReadFile(held.Path)
	living := b.idp.GrantState(b.grant.ID).RefreshToken
	if err != nil || !bytes.Contains(data, []byte(living)) {
		t.Fatalf("the rescue file lacks the new refresh token (%v)", err)
	}
	// Nothing more is sent while the answer is held.
	if _, err := s.Refresh(t.Context(), evergrant.RefreshOptions{}); !errors.Is(err, evergrant.ErrStorage) {
		t.Errorf("a second refresh with an answer held: %v", err)
	}
	// Another process finds it, once the store works.
	store.set(nil)
	other, err := evergrant.Open(store, "g", b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	r, err = other.Refresh(t.Context(), evergrant.RefreshOptions{})
	if err != nil || !r.Recovered {
		t.Fatalf("the rescued answer was not adopted: %+v, %v", r, err)
	}
	if n := len(b.idp.TokenRequests(b.grant.ID)); n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}
	if _, err := other.Refresh(t.Context(), evergrant.RefreshOptions{}); err != nil {
		t.Errorf("refreshing after the rescue: %v", err)
	}
}

// TestP2NoSendWithoutIntent: if the intent cannot be stored nothing is sent.
func TestP2NoSendWithoutIntent(t *testing.T) {
	b := newBed(t, idptest.Config{})
	store := &brittle{Store: new(evergrant.Memory)}
	if err := evergrant.Create(t.Context(), store, "g", b.grant.TokenFile(), b.cfg); err != nil {
		t.Fatal(err)
	}
	store.set(func(r evergrant.Record, _ uint64) bool { return r.Intent != nil })
	s, err := evergrant.Open(store, "g", b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Refresh(t.Context(), evergrant.RefreshOptions{}); !errors.Is(err, evergrant.ErrStorage) {
		t.Errorf("got %v, want a storage failure", err)
	}
	if n := len(b.idp.TokenRequests(b.grant.ID)); n != 0 {
		t.Errorf("%d requests were sent without an intent", n)
	}
}

func TestP3NeverBackwards(t *testing.T) {
	t.Run("file", func(t *testing.T) {
		b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
		s := b.open()
		login := b.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
		r, err := b.during(s, func() { b.write(b.path, login.TokenFile()) })
		if err != nil || !r.Adopted || r.Token.AccessToken.Reveal() != login.AccessToken {
			t.Fatalf("the login did not win: %+v, %v", r, err)
		}
		if !bytes.Equal(b.read(), login.TokenFile()) {
			t.Error("the login's file was changed")
		}
		if !b.rescued(b.idp.GrantState(b.grant.ID).RefreshToken) {
			t.Error("the answer that lost was not kept aside")
		}
	})
	t.Run("store", func(t *testing.T) {
		b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
		store := new(evergrant.Memory)
		if err := evergrant.Create(t.Context(), store, "g", b.grant.TokenFile(), b.cfg); err != nil {
			t.Fatal(err)
		}
		s, err := evergrant.Open(store, "g", b.cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		login := b.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
		r, err := b.during(s, func() {
			other := new(evergrant.Memory)
			if err := evergrant.Create(t.Context(), other, "g", login.TokenFile(), b.cfg); err != nil {
				t.Error(err)
			}
			rec, _ := other.Get(t.Context(), "g")
			rec.Generation = 2
			if err := store.Put(t.Context(), rec, 1); err != nil {
				t.Error(err)
			}
		})
		if err != nil || r.Token.AccessToken.Reveal() != login.AccessToken {
			t.Fatalf("the reconnect did not win: %+v, %v", r, err)
		}
	})
}

// verdictRows say what each way to fail means for the grant (P4). The names
// are faults of the simulator.
var verdictRows = []struct {
	fault  idptest.Fault
	class  error
	resent bool // a next refresh sends again
}{
	{"error=dead", evergrant.ErrNeedsLogin, false},
	{"status=500", evergrant.ErrTemporary, false}, // in doubt: rotation is not ruled out
	{"status=502", evergrant.ErrTemporary, false},
	{"status=503", evergrant.ErrTemporary, true},
	{"status=429", evergrant.ErrTemporary, true},
	{"status=404", evergrant.ErrMisconfigured, true},
	{"status=401", evergrant.ErrMisconfigured, true},
}

func TestP4DeadOnlyByVerdict(t *testing.T) {
	for _, row := range verdictRows {
		t.Run(string(row.fault), func(t *testing.T) {
			b := newBed(t, idptest.Config{})
			if err := row.fault.Valid(); err != nil {
				t.Fatal(err)
			}
			b.idp.SetHabits(func(h *idptest.Habits) { h.Fault = row.fault })
			before := b.read()
			quick := func(c *evergrant.Config) { c.CallTimeout = 300 * time.Millisecond }
			if _, err := b.refresh(evergrant.RefreshOptions{}, quick); !errors.Is(err, row.class) {
				t.Fatalf("got %v, want %v", err, row.class)
			}
			if !bytes.Equal(b.read(), before) {
				t.Error("a failure changed the file")
			}
			sent := len(b.idp.TokenRequests(b.grant.ID))
			b.refresh(evergrant.RefreshOptions{}, quick)
			if again := len(b.idp.TokenRequests(b.grant.ID)) > sent; again != row.resent {
				t.Errorf("sent again: %t, want %t", again, row.resent)
			}
			if row.class == evergrant.ErrNeedsLogin {
				b.idp.SetHabits(func(h *idptest.Habits) { h.Fault = "none" })
				other := func(c *evergrant.Config) { c.ClientID = "another" }
				if _, err := b.refresh(evergrant.RefreshOptions{}, other); errors.Is(err, evergrant.ErrNeedsLogin) && len(b.idp.TokenRequests(b.grant.ID)) == sent {
					t.Error("the verdict was not bound to the client id")
				}
			}
		})
	}
}

func TestP5InDoubtIsAState(t *testing.T) {
	short := func(c *evergrant.Config) { c.ExchangeTimeout = 300 * time.Millisecond }
	t.Run("no second send while the access token is good", func(t *testing.T) {
		b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
		b.idp.Next("lost")
		_, err := b.refresh(evergrant.RefreshOptions{}, short)
		var e *evergrant.Error
		if !errors.As(err, &e) || e.InDoubt.IsZero() || !errors.Is(err, evergrant.ErrTemporary) {
			t.Fatalf("a lost reply is %v", err)
		}
		time.Sleep(400 * time.Millisecond) // past the deadline of the request in doubt
		if _, err := b.refresh(evergrant.RefreshOptions{}, short); !errors.Is(err, evergrant.ErrTemporary) || !strings.Contains(err.Error(), "lost at") {
			t.Errorf("the next refresh: %v", err)
		}
		s := b.open()
		if r, err := s.TokenFor(t.Context(), 0); err != nil || r.Warning == nil || r.Token.AccessToken.Reveal() != b.grant.AccessToken {
			t.Errorf("the token was not served with a warning: %+v, %v", r, err)
		}
		if n := len(b.idp.TokenRequests(b.grant.ID)); n != 1 {
			t.Errorf("%d token requests, want 1", n)
		}
		if st, err := s.Status(t.Context()); err != nil || st.State != evergrant.StateInDoubt {
			t.Errorf("status %q, %v", st.State, err)
		}
	})
	t.Run("a last try with the true cause", func(t *testing.T) {
		b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
		b.age(3 * time.Hour)
		b.idp.Next("lost")
		if _, err := b.refresh(evergrant.RefreshOptions{}, short); !errors.Is(err, evergrant.ErrTemporary) {
			t.Fatal(err)
		}
		_, err := b.refresh(evergrant.RefreshOptions{}, short) // waits for the deadline, then tries
		if !errors.Is(err, evergrant.ErrNeedsLogin) || !strings.Contains(err.Error(), "reply to a refresh was lost at") {
			t.Errorf("the verdict hides its cause: %v", err)
		}
		reqs := b.idp.TokenRequests(b.grant.ID)
		if len(reqs) != 2 || reqs[1].Time.Sub(reqs[0].Time) < 200*time.Millisecond {
			t.Errorf("the last try was made before the deadline of the first: %+v", reqs)
		}
	})
	t.Run("healed inside the grace window, in the same call", func(t *testing.T) {
		b := newBed(t, idptest.Config{Persona: idptest.Generic, Habits: idptest.Habits{Rotation: true, Grace: 10 * time.Minute}})
		b.idp.Next("lost")
		r, err := b.refresh(evergrant.RefreshOptions{}, short, func(c *evergrant.Config) { c.Provider = "atlassian" })
		if err != nil || !r.Replayed {
			t.Fatalf("not healed: %+v, %v", r, err)
		}
		b.living()
	})
	t.Run("healed after the deadline where the grant does not rotate", func(t *testing.T) {
		b := newBed(t, idptest.Config{})
		if _, err := b.refresh(evergrant.RefreshOptions{}); err != nil {
			t.Fatal(err)
		}
		b.idp.Next("lost")
		if _, err := b.refresh(evergrant.RefreshOptions{}, short); !errors.Is(err, evergrant.ErrTemporary) {
			t.Fatal(err)
		}
		if r, err := b.refresh(evergrant.RefreshOptions{}, short); err != nil || !r.Replayed {
			t.Errorf("not healed: %+v, %v", r, err)
		}
		b.living()
	})
	t.Run("a login clears it", func(t *testing.T) {
		b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
		b.idp.Next("lost")
		b.refresh(evergrant.RefreshOptions{}, short)
		b.grant = b.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
		b.write(b.path, b.grant.TokenFile())
		if _, err := b.refresh(evergrant.RefreshOptions{}, short); err != nil {
			t.Error(err)
		}
		b.living()
	})
	t.Run("a token set back clears nothing and is not sent", func(t *testing.T) {
		b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
		old := b.read()
		if _, err := b.refresh(evergrant.RefreshOptions{}); err != nil {
			t.Fatal(err)
		}
		b.write(b.path, old)
		if _, err := b.refresh(evergrant.RefreshOptions{}); !errors.Is(err, evergrant.ErrNeedsLogin) || !strings.Contains(err.Error(), "put a replaced refresh token back") {
			t.Errorf("got %v", err)
		}
		if n := len(b.idp.TokenRequests(b.grant.ID)); n != 1 {
			t.Errorf("%d token requests, want 1", n)
		}
	})
}

func TestP6ValidTokenIsServed(t *testing.T) {
	for _, fault := range []idptest.Fault{"status=503", "status=500", "error=dead", "status=404"} {
		t.Run(string(fault), func(t *testing.T) {
			b := newBed(t, idptest.Config{})
			b.age(110 * time.Minute) // due, and good for ten minutes
			b.idp.SetHabits(func(h *idptest.Habits) { h.Fault = fault })
			s := b.open()
			r, err := s.TokenFor(t.Context(), 0)
			if err != nil || r.Warning == nil || r.Token.AccessToken.Reveal() != b.grant.AccessToken {
				t.Fatalf("%+v, %v", r, err)
			}
			if _, err := s.TokenFor(t.Context(), 15*time.Minute); err == nil {
				t.Error("a minimum that cannot be met was met")
			}
		})
	}
}

func TestP7NoSecretLeaks(t *testing.T) {
	const canary = "CANARYmark"
	var said bytes.Buffer
	for _, fault := range append(idptest.FaultNames(), "none") {
		if strings.Contains(fault, "stream") || strings.Contains(fault, "drip") || strings.Contains(fault, "bomb") {
			continue // long; they are tried in package oauth
		}
		f := idptest.Fault(fault)
		if f.Valid() != nil {
			continue // wants a value
		}
		b := newBed(t, idptest.Config{Mark: canary, Habits: idptest.Habits{Rotation: true}})
		b.idp.Next(f)
		s := b.open(func(c *evergrant.Config) {
			c.ClientSecret = evergrant.NewSecret(canary + "secret")
			c.CallTimeout, c.ExchangeTimeout = 400*time.Millisecond, 200*time.Millisecond
			c.HTTP.Trace = func(line string) { fmt.Fprintln(&said, line) }
			c.OnEvent = func(e evergrant.Event) { fmt.Fprintf(&said, "%T %+v %#v\n", e, e, e) }
		})
		r, err := s.Refresh(t.Context(), evergrant.RefreshOptions{})
		st, _ := s.Status(t.Context())
		plan, _ := s.Plan(t.Context())
		fmt.Fprintf(&said, "%+v %#v %v %+v %#v %+v %+v\n", r, r, err, err, err, st, plan)
		if r != nil {
			fmt.Fprintf(&said, "%+v %#v", *r.Token, *r.Token)
			j, _ := json.Marshal(r)
			said.Write(j)
		}
		side, _ := os.ReadFile(filepath.Join(filepath.Dir(b.path), ".token.json.evergrant"))
		said.Write(side)
	}
	if i := bytes.Index(said.Bytes(), []byte(canary)); i >= 0 {
		t.Errorf("a secret is in the output: …%s…", said.Bytes()[max(0, i-200):min(said.Len(), i+40)])
	}
	if said.Len() < 10_000 {
		t.Errorf("only %d bytes were searched", said.Len())
	}
	t.Logf("searched %d bytes", said.Len())
}

func TestP8FilesStayTheUsers(t *testing.T) {
	b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
	const mine = "{\r\n\t\"note\": {\"big\": 123456789012345678901234567890, \"x\": [1, 2 ,3]},\r\n\t\"refresh_token\":   \"%s\",\r\n\t\"access_token\": \"%s\",\r\n\t\"twice\": 1, \"twice\": 2,\r\n\t\"issued_at\": \"1738348388166\"\r\n}"
	b.write(b.path, fmt.Appendf(nil, mine, b.grant.RefreshToken, b.grant.AccessToken))
	if err := os.Chmod(b.path, 0o640); err != nil {
		t.Fatal(err)
	}
	s := b.open()
	r, err := b.during(s, func() { // somebody edits another member meanwhile
		edited := strings.Replace(fmt.Sprintf(mine, b.grant.RefreshToken, b.grant.AccessToken), "[1, 2 ,3]", "[1, 2 ,4]", 1)
		if err := os.WriteFile(b.path, []byte(edited), 0o640); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	got := string(b.read())
	state := b.idp.GrantState(b.grant.ID)
	head := strings.Replace(fmt.Sprintf(mine, state.RefreshToken, r.Token.AccessToken.Reveal()), "[1, 2 ,3]", "[1, 2 ,4]", 1)
	head = head[:strings.Index(head, `"issued_at"`)]
	if !strings.HasPrefix(got, head) {
		t.Errorf("the file was changed where it should not be:\n%q\nwant it to begin\n%q", got, head)
	}
	if !strings.HasSuffix(got, "\r\n}") || strings.Count(got, "\n") != strings.Count(got, "\r\n") {
		t.Errorf("line ends were not kept: %q", got)
	}
	if info, err := os.Stat(b.path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	b.living()
}
