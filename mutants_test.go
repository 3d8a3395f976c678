package evergrant_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

// What these tests guard was broken on purpose once and nobody noticed: see
// the list in mutation/list.go.

// bubble is a grant in a store and its server, inside a synctest bubble.
type bubble struct {
	idp   *idptest.Server
	grant idptest.Grant
	cfg   evergrant.Config
}

// newBubble makes one. Its files, if it writes any, are in folders outside.
func newBubble(t *testing.T, store evergrant.Store, h idptest.Habits, cfg evergrant.Config) *bubble {
	t.Helper()
	b := &bubble{idp: idptest.New(idptest.Config{Habits: h}), cfg: cfg}
	pipe := newPipeNet()
	srv := &http.Server{Handler: b.idp}
	go srv.Serve(pipe)
	t.Cleanup(func() { srv.Close() })
	b.grant = b.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	b.cfg.ClientID, b.cfg.TokenURL, b.cfg.HTTP.Dial = "app", "http://127.0.0.1/token", pipe.dial
	if err := evergrant.Create(t.Context(), store, "g", b.grant.TokenJSON(), b.cfg); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bubble) open(t *testing.T, store evergrant.Store) *evergrant.Source {
	t.Helper()
	s, err := evergrant.Open(store, "g", b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// lockCounter is a store that counts how often it is locked.
type lockCounter struct {
	evergrant.Store
	n atomic.Int64
}

func (s *lockCounter) Lock(ctx context.Context, id string) (func(), error) {
	s.n.Add(1)
	return s.Store.Lock(ctx, id)
}

// TestP1FlightIsShared: callers that ask for the same thing wait for one
// flight; they do not go through the lock one after the other.
func TestP1FlightIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &lockCounter{Store: new(evergrant.Memory)}
		b := newBubble(t, store, idptest.Habits{Rotation: true}, evergrant.Config{RescueDirs: []string{t.TempDir()}})
		s := b.open(t, store)
		b.idp.HoldUntilReleased()
		var callers sync.WaitGroup
		for range 16 {
			callers.Go(func() {
				if _, err := s.Refresh(context.Background(), evergrant.RefreshOptions{SinceStart: true}); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		b.idp.Release()
		callers.Wait()
		if n := store.n.Load(); n != 1 {
			t.Errorf("the lock was taken %d times, want once", n)
		}
	})
}

// TestP2IntentStaysOpen: from the first byte of a request until its answer is
// stored the store always holds the intent.
func TestP2IntentStaysOpen(t *testing.T) {
	b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
	store := &brittle{Store: new(evergrant.Memory)}
	if err := evergrant.Create(t.Context(), store, "g", b.grant.TokenFile(), b.cfg); err != nil {
		t.Fatal(err)
	}
	s, err := evergrant.Open(store, "g", b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := s.Refresh(t.Context(), evergrant.RefreshOptions{})
	if err != nil {
		t.Fatal(err)
	}
	intents := 0
	for _, rec := range store.wrote[1:] { // the first is by Create
		if rec.Intent != nil {
			intents++
		}
		if stored := rec.Generation == r.Token.Generation; stored == (rec.Intent != nil) {
			t.Errorf("generation %d was written with intent %q", rec.Generation, rec.Intent)
		}
	}
	if intents == 0 {
		t.Error("no intent was written")
	}
}

// TestP2HeldInMemory: an answer that neither the store nor a rescue folder
// takes is kept by the process and stored once the store works.
func TestP2HeldInMemory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		store := &brittle{Store: new(evergrant.Memory)}
		b := newBubble(t, store, idptest.Habits{Rotation: true}, evergrant.Config{RescueDirs: []string{filepath.Join(file, "no folder")}})
		s := b.open(t, store)
		store.set(func(r evergrant.Record, g uint64) bool { return r.Generation > g })
		if _, err := s.Refresh(t.Context(), evergrant.RefreshOptions{}); !errors.Is(err, evergrant.ErrStorage) {
			t.Fatalf("an answer that is nowhere was taken as stored: %v", err)
		}
		store.set(nil)
		r, err := s.Refresh(t.Context(), evergrant.RefreshOptions{})
		if err != nil || !r.Recovered {
			t.Fatalf("the answer in memory was not stored: %+v, %v", r, err)
		}
		if n := len(b.idp.TokenRequests(b.grant.ID)); n != 1 {
			t.Errorf("%d token requests, want 1", n)
		}
	})
}

// TestP3LoginInTheLastMoment: a login that is renamed into place between our
// last look and our exchange is never overwritten, however close it comes.
func TestP3LoginInTheLastMoment(t *testing.T) {
	b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
	pad := strings.Repeat("a large member keeps the disk busy and the moment long. ", 40_000)
	ready := filepath.Join(t.TempDir(), "login.json")
	won, began := 0, time.Now()
	for try := 1; won < 3 && time.Since(began) < 20*time.Second; try++ {
		login := b.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
		b.write(ready, []byte(strings.Replace(string(login.TokenFile()), "{", `{"pad": "`+pad+`",`, 1)))
		stop, wrote := make(chan struct{}), make(chan error, 1)
		go func() {
			wrote <- renameWhenFilled(ready, b.path, 0, stop)
		}()
		r, err := b.refresh(evergrant.RefreshOptions{})
		if err != nil {
			t.Fatal(err)
		}
		close(stop)
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b.read()), login.RefreshToken) {
			t.Fatalf("try %d: the login was overwritten", try)
		}
		if r.Adopted {
			won++
		}
	}
	if won == 0 {
		t.Error("no login came in the last moment: nothing was tried")
	}
}

// renameWhenFilled moves a file over the token file a while after an answer is
// written beside it, at the latest when stop is closed.
func renameWhenFilled(from, path string, wait time.Duration, stop <-chan struct{}) error {
	filled := regexp.MustCompile(`\.tmp$`)
	reserved := regexp.MustCompile(`\.0+\.0+\.tmp$`)
	for {
		names, err := os.ReadDir(filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, e := range names {
			if filled.MatchString(e.Name()) && !reserved.MatchString(e.Name()) {
				time.Sleep(wait)
				return os.Rename(from, path)
			}
		}
		select {
		case <-stop:
			return os.Rename(from, path)
		default:
		}
	}
}

// TestP4VerdictIsReadAgainst: the word that ends a refresh token says nothing
// about the one that a login has put there meanwhile.
func TestP4VerdictIsReadAgainst(t *testing.T) {
	b := newBed(t, idptest.Config{})
	login := b.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := os.WriteFile(b.path, login.TokenFile(), 0o600); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"error":"invalid_grant","error_description":"expired access/refresh token"}`)
	}))
	defer srv.Close()
	r, err := b.refresh(evergrant.RefreshOptions{}, func(c *evergrant.Config) { c.TokenURL = srv.URL })
	if err != nil || !r.Adopted || r.Token.AccessToken.Reveal() != login.AccessToken {
		t.Errorf("a login was taken for dead: %+v, %v", r, err)
	}
}

// killed copies the token file and its journal as they are while a request
// travels, as a process that dies then leaves them, and changes the journal.
func killed(t *testing.T, change func(journal string) string) (b *bed, left *bed) {
	t.Helper()
	b = newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
	at := *b
	left = &at
	left.path = filepath.Join(t.TempDir(), "token.json")
	left.cfg.RescueDirs = []string{t.TempDir()}
	if _, err := b.during(b.open(), func() {
		journal, err := os.ReadFile(sideFile(b.path))
		if err != nil {
			t.Error(err)
		}
		b.write(left.path, b.read())
		b.write(sideFile(left.path), []byte(change(string(journal))))
	}); err != nil {
		t.Fatal(err)
	}
	return b, left
}

func sideFile(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".evergrant")
}

// TestP5JournalledBeforeSent: what a process leaves that is killed while its
// request travels tells the next one that the request may have arrived.
func TestP5JournalledBeforeSent(t *testing.T) {
	boot := regexp.MustCompile(`("boot": ")[^"]+`)
	dialing := strings.NewReplacer(`"phase": "sending"`, `"phase": "dialing"`)
	for _, tt := range []struct {
		name   string
		change func(string) string
		sends  bool
	}{
		{"sending", func(j string) string { return j }, false},
		{"dialing, before a power cut", func(j string) string { return boot.ReplaceAllString(dialing.Replace(j), "${1}another") }, false},
		{"dialing", dialing.Replace, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, left := killed(t, tt.change)
			_, err := left.refresh(evergrant.RefreshOptions{})
			var e *evergrant.Error
			if inDoubt := errors.As(err, &e) && !e.InDoubt.IsZero() && errors.Is(err, evergrant.ErrTemporary); inDoubt == tt.sends {
				t.Errorf("the next run says %v", err)
			}
			if sent := len(b.idp.TokenRequests(b.grant.ID)) > 1; sent != tt.sends {
				t.Errorf("sent again: %t, want %t", sent, tt.sends)
			}
		})
	}
}

// TestP5LastTryWaits: the call that loses a reply does not send again, and the
// last try that follows waits until the request in doubt cannot arrive any more.
func TestP5LastTryWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(evergrant.Memory)
		cfg := evergrant.Config{ExchangeTimeout: 20 * time.Second, RescueDirs: []string{t.TempDir()}}
		b := newBubble(t, store, idptest.Habits{Rotation: true}, cfg)
		time.Sleep(24 * time.Hour) // the access token has ended
		b.idp.Next("lost")
		s := b.open(t, store)
		if _, err := s.Refresh(t.Context(), evergrant.RefreshOptions{}); !errors.Is(err, evergrant.ErrTemporary) {
			t.Errorf("the call that lost the reply says %v", err)
		}
		if n := len(b.idp.TokenRequests(b.grant.ID)); n != 1 {
			t.Errorf("it sent %d requests", n)
		}
		if _, err := s.Refresh(t.Context(), evergrant.RefreshOptions{}); !errors.Is(err, evergrant.ErrNeedsLogin) {
			t.Errorf("the last try says %v", err)
		}
		reqs := b.idp.TokenRequests(b.grant.ID)
		if len(reqs) != 2 || reqs[1].Time.Sub(reqs[0].Time) < 20*time.Second {
			t.Errorf("the last try was made too early: %+v", reqs)
		}
	})
}

// TestP5BusyEndsNoDoubt: an answer that is no verdict frees its own try and
// leaves the doubt about an earlier one.
func TestP5BusyEndsNoDoubt(t *testing.T) {
	b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
	short := func(c *evergrant.Config) {
		c.ExchangeTimeout, c.CallTimeout = 200*time.Millisecond, 600*time.Millisecond
	}
	b.age(3 * time.Hour)
	b.idp.Next("lost")
	if _, err := b.refresh(evergrant.RefreshOptions{}, short); !errors.Is(err, evergrant.ErrTemporary) {
		t.Fatal(err)
	}
	for _, fault := range []idptest.Fault{"error=busy", "status=503", "drop-before"} {
		b.idp.SetHabits(func(h *idptest.Habits) { h.Fault = fault })
		before := len(b.idp.TokenRequests(b.grant.ID))
		b.refresh(evergrant.RefreshOptions{Replay: true}, short)
		if len(b.idp.TokenRequests(b.grant.ID)) == before {
			t.Errorf("%s: no last try was made", fault)
		}
		if st, err := b.open(short).Status(t.Context()); err != nil || st.State != evergrant.StateInDoubt {
			t.Errorf("after %s the state is %q, %v", fault, st.State, err)
		}
	}
}

// TestP5HalfOfTheGrace: in the second half of a grace window nothing is sent
// again while the access token is good.
func TestP5HalfOfTheGrace(t *testing.T) {
	for _, tt := range []struct {
		after time.Duration
		sends bool
	}{{4 * time.Minute, true}, {6 * time.Minute, false}} {
		t.Run(fmt.Sprint(tt.after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(evergrant.Memory)
				cfg := evergrant.Config{Provider: "atlassian", CallTimeout: 5 * time.Second, RescueDirs: []string{t.TempDir()}}
				b := newBubble(t, store, idptest.Habits{Rotation: true, Grace: 10 * time.Minute}, cfg)
				b.idp.Next("hang-after")
				if _, err := b.open(t, store).Refresh(t.Context(), evergrant.RefreshOptions{}); !errors.Is(err, evergrant.ErrTemporary) {
					t.Fatalf("%v, %+v", err, b.idp.TokenRequests(b.grant.ID))
				}
				time.Sleep(tt.after)
				_, err := b.open(t, store).Refresh(t.Context(), evergrant.RefreshOptions{})
				if n := len(b.idp.TokenRequests(b.grant.ID)); (n == 2) != tt.sends || (err == nil) != tt.sends {
					t.Errorf("%d requests, %v", n, err)
				}
			})
		})
	}
}

// TestP5QuietAfterReplay: after a replay that healed, nothing is sent before
// the deadline of the request in doubt: it may still be on its way.
func TestP5QuietAfterReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(evergrant.Memory)
		cfg := evergrant.Config{Provider: "atlassian", ExchangeTimeout: 20 * time.Second, RescueDirs: []string{t.TempDir()}}
		b := newBubble(t, store, idptest.Habits{Rotation: true, Grace: 10 * time.Minute}, cfg)
		b.idp.Next("lost")
		s := b.open(t, store)
		if r, err := s.Refresh(t.Context(), evergrant.RefreshOptions{}); err != nil || !r.Replayed {
			t.Fatalf("not healed: %+v, %v", r, err)
		}
		if _, err := s.Refresh(t.Context(), evergrant.RefreshOptions{}); err != nil {
			t.Fatal(err)
		}
		reqs := b.idp.TokenRequests(b.grant.ID)
		if len(reqs) != 3 || reqs[2].Time.Sub(reqs[0].Time) < 19*time.Second {
			t.Errorf("a refresh followed before the deadline of the request in doubt: %+v", reqs)
		}
	})
}

// TestP7QuotedToken: a server that quotes the token it refuses puts it into no
// error and no side file.
func TestP7QuotedToken(t *testing.T) {
	b := newBed(t, idptest.Config{})
	url := answering(t, http.StatusBadRequest, "body",
		`{"error":"invalid_request","error_description":"the token `+b.grant.RefreshToken+` is odd"}`)
	_, err := b.refresh(evergrant.RefreshOptions{}, func(c *evergrant.Config) { c.TokenURL = url })
	side, readErr := os.ReadFile(sideFile(b.path))
	if err == nil || readErr != nil {
		t.Fatal(err, readErr)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", err, err, err, side); strings.Contains(text, b.grant.RefreshToken) {
		t.Error("the token is in the error or the side file")
	}
}

// TestP7SideFilesArePrivate: whatever is written beside the token file or into
// a rescue folder can be read by its owner alone.
func TestP7SideFilesArePrivate(t *testing.T) {
	b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
	look := func() {
		for _, dir := range append([]string{filepath.Dir(b.path)}, b.cfg.RescueDirs...) {
			private(t, dir)
		}
	}
	login := b.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	if _, err := b.during(b.open(), func() { look(); b.write(b.path, login.TokenFile()) }); err != nil {
		t.Fatal(err)
	}
	if !b.rescued(b.idp.GrantState(b.grant.ID).RefreshToken) {
		t.Error("no rescue file to look at")
	}
	look()
}

// private checks the modes of the files in a folder, of which there is one at
// least.
func private(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if info, err := e.Info(); err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", filepath.Base(path), info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestP8LinkStays: the file that a symbolic link leads to is refreshed, and
// the link stays one.
func TestP8LinkStays(t *testing.T) {
	b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
	target := b.path
	b.path = filepath.Join(t.TempDir(), "link.json")
	if err := os.Symlink(target, b.path); err != nil {
		t.Fatal(err)
	}
	if _, err := b.refresh(evergrant.RefreshOptions{}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(b.path); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info.Mode(), err)
	}
	b.living()
	if _, err := os.Stat(sideFile(target)); err != nil {
		t.Errorf("the state is not beside the file: %v", err)
	}
}

// TestP8NewMembersLookAlike: what the answer adds is written like the members
// that are there.
func TestP8NewMembersLookAlike(t *testing.T) {
	b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
	b.write(b.path, fmt.Appendf(nil, "{\r\n\t\"refresh_token\" : \"%s\",\r\n\t\"access_token\" : \"%s\"\r\n}\r\n", b.grant.RefreshToken, b.grant.AccessToken))
	if _, err := b.refresh(evergrant.RefreshOptions{}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(b.read()), "\r\n"), "\r\n")
	member := regexp.MustCompile(`^\t"\w+" : "[^"]*",?$`)
	for _, line := range lines[1 : len(lines)-1] {
		if !member.MatchString(line) {
			t.Errorf("a line unlike the others: %q", line)
		}
	}
	if len(lines) < 6 || lines[0] != "{" || lines[len(lines)-1] != "}" {
		t.Errorf("%d lines", len(lines))
	}
}
