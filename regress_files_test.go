package evergrant_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

// Two processes sent one refresh token where the lock file was deleted while
// the first one dialed.
func TestDeletedLockStopsItsHolder(t *testing.T) {
	b := newBed(t, rotating)
	b.mustRefresh()
	dialing, goOn := make(chan struct{}), make(chan struct{})
	first := sync.OnceFunc(func() { close(dialing); <-goOn })
	a := b.open(func(c *evergrant.Config) {
		c.HTTP.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			first()
			return new(net.Dialer).DialContext(ctx, network, address)
		}
	})
	done := make(chan error, 1)
	go func() {
		_, err := a.Refresh(context.Background(), evergrant.RefreshOptions{})
		done <- err
	}()
	<-dialing
	if err := os.Remove(b.side() + ".lock"); err != nil {
		t.Skip(err) // a system that keeps open files
	}
	if _, err := b.during(b.open(), func() {
		close(goOn)
		time.Sleep(100 * time.Millisecond) // enough for a request that should not be made
	}); err != nil {
		t.Error(err)
	}
	t.Log(<-done)
	issued := map[int]int{}
	for _, e := range b.idp.TokenRequests(b.grant.ID) {
		if issued[e.Generation]++; issued[e.Generation] > 1 {
			t.Errorf("the refresh token %d was sent twice: %s", e.Generation, e.Verdict)
		}
	}
	b.living()
}

// The answer of a refresh that lost against a login was said to be kept, and
// deleted by the next refresh.
func TestAnswerKeptAsideStays(t *testing.T) {
	b := newBed(t, rotating)
	login := b.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	if _, err := b.during(b.open(), func() { b.write(b.path, login.TokenFile()) }); err != nil {
		t.Fatal(err)
	}
	kept := b.idp.GrantState(b.grant.ID).RefreshToken
	b.mustRefresh()
	b.mustRefresh()
	if !b.rescued(kept) {
		t.Error("the answer that a person was told of is gone")
	}
}

// A source opened by a relative path refreshed the file of another folder after
// the program had changed to it.
func TestRelativePathStays(t *testing.T) {
	b, other := newBed(t, rotating), newBed(t, rotating)
	t.Chdir(filepath.Dir(b.path))
	s, err := evergrant.OpenFile("token.json", b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	t.Chdir(filepath.Dir(other.path))
	if _, err := s.Refresh(t.Context(), evergrant.RefreshOptions{}); err != nil {
		t.Error(err)
	}
	if b.requests() != 1 || !bytes.Equal(other.read(), other.grant.TokenFile()) {
		t.Errorf("%d requests for the file that was opened", b.requests())
	}
	b.living()
}

// A file that another program was rewriting in place was an error for readers.
func TestFileCutForAMomentIsWaitedFor(t *testing.T) {
	b := newBed(t, rotating)
	whole := b.read()
	for _, cut := range []int{0, 1, len(whole) / 2} {
		b.write(b.path, whole[:cut])
		time.AfterFunc(50*time.Millisecond, func() { os.WriteFile(b.path, whole, 0o600) })
		if tok, err := b.open().Token(t.Context()); err != nil || tok.AccessToken.Reveal() != b.grant.AccessToken {
			t.Errorf("cut to %d bytes: %v", cut, err)
		}
	}
}

// Members named with Fields were forgotten by the second run.
func TestFieldsAreRemembered(t *testing.T) {
	b := newBed(t, rotating)
	b.write(b.path, []byte(`{"o":{"at":"`+b.grant.AccessToken+`","rt":"`+b.grant.RefreshToken+`"}}`))
	b.cfg.Fields = map[string]string{"access_token": "/o/at", "refresh_token": "/o/rt"}
	b.mustRefresh()
	b.cfg.Fields = nil
	b.mustRefresh()
	b.living()
}

// Members named with Fields were forgotten where the first run was killed.
func TestFieldsOfAKilledRunAreRemembered(t *testing.T) {
	for name, exchanged := range map[string]bool{"answer beside the file": false, "answer in the file": true} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, rotating)
			b.write(b.path, []byte(`{"o":{"at":"`+b.grant.AccessToken+`","rt":"`+b.grant.RefreshToken+`"}}`))
			b.cfg.Fields = map[string]string{"access_token": "/o/at", "refresh_token": "/o/rt"}
			b.killed(exchanged)
			b.cfg.Fields = nil
			b.mustRefresh()
			b.neverReused()
			b.living()
		})
	}
}

// An answer for another account was dropped when no folder took it at once.
func TestAnswerForAnotherAccountWaitsForAFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPipeBed(t, rotating, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"access_token":"NEWAT","refresh_token":"NEWRT","id":"https://login.salesforce.com/id/00D000000000009EAA/005000000000009AAA"}`)
		}))
		store := b.inStore()
		inTheWay := filepath.Join(t.TempDir(), "file")
		b.write(inTheWay, nil)
		b.cfg.RescueDirs = []string{filepath.Join(inTheWay, "rescue")}
		time.AfterFunc(5*time.Second, func() { os.Remove(inTheWay) })
		_, err := b.refreshRecord(store)
		var e *evergrant.Error
		if !errors.As(err, &e) || !errors.Is(err, evergrant.ErrBlocked) || e.Path == "" || !b.rescued("NEWRT") {
			t.Errorf("got %v, and the answer is kept: %t", err, b.rescued("NEWRT"))
		}
	})
}

// An edit that another program made during the exchange lived only in temporary
// files, and was swept with them where the run that spliced it in was killed.
func TestEditOutlivesAKilledSplice(t *testing.T) {
	for _, spliced := range []bool{false, true} {
		t.Run(fmt.Sprintf("spliced %t", spliced), func(t *testing.T) {
			b := newBed(t, rotating)
			edit := func(doc []byte) []byte { return bytes.Replace(doc, []byte("{"), []byte(`{"note": "mine",`), 1) }
			out := b.killed(true) // what came out of the exchange
			old, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			b.write(out, edit(old))
			if spliced { // the next version was filled, its exchange did not happen
				b.write(b.tempName(out, "000001", edit(b.read())), edit(b.read()))
				if err := os.Remove(out); err != nil {
					t.Fatal(err)
				}
			}
			b.refresh(evergrant.RefreshOptions{SinceStart: true})
			if !bytes.Contains(b.read(), []byte(`"note": "mine"`)) {
				t.Errorf("the edit is lost: %s", b.read())
			}
			b.neverReused()
			b.living()
		})
	}
}

// A login that came out of the exchange was swept where the run was killed
// before it gave the login its name back.
func TestLoginOutlivesAKilledExchange(t *testing.T) {
	b := newBed(t, rotating)
	login := b.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	b.write(b.killed(true), login.TokenFile())
	b.refresh(evergrant.RefreshOptions{SinceStart: true})
	newest := b.idp.GrantState(login.ID).RefreshToken
	if !b.holds(newest) {
		t.Error("the login's refresh token is nowhere")
	}
}
