package evergrant_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
	"github.com/evergrant/evergrant/provider"
)

// answering makes a token endpoint of the bed's grant.
func (b *bed) answering(h http.HandlerFunc) {
	srv := httptest.NewServer(h)
	b.t.Cleanup(srv.Close)
	b.cfg.TokenURL = srv.URL
}

// holds reports whether the token is in the file or in a rescue file.
func (b *bed) holds(token string) bool {
	return bytes.Contains(b.read(), []byte(token)) || b.rescued(token)
}

// A new refresh token that came whole was thrown away because the body was cut
// off after it.
func TestTokensOfACutAnswerAreKept(t *testing.T) {
	b := newBed(t, rotating)
	b.answering(func(w http.ResponseWriter, r *http.Request) {
		const body = `{"access_token":"NEWAT","refresh_token":"NEWRT","token_type":"Bearer","scope":"`
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", fmt.Sprint(len(body)+50))
		fmt.Fprint(w, body)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	_, err := b.refresh(evergrant.RefreshOptions{})
	if !b.holds("NEWRT") {
		t.Errorf("the new refresh token was thrown away: %v", err)
	}
}

// A new refresh token beside anything that looked like an error was thrown
// away.
func TestTokensBesideAnErrorAreKept(t *testing.T) {
	const tokens = `"access_token":"NEWAT","refresh_token":"NEWRT","token_type":"Bearer"}`
	for _, c := range []struct {
		name   string
		status int
		body   string
	}{
		{"error 0", 200, `{"error":0,` + tokens},
		{"error object", 200, `{"error":{},` + tokens},
		{"error list", 200, `{"error":[],` + tokens},
		{"error code", 200, `{"error":"partial",` + tokens},
		{"400", 400, `{"error":"invalid_grant",` + tokens},
		{"500", 500, `{` + tokens},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, rotating)
			b.answering(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			})
			_, err := b.refresh(evergrant.RefreshOptions{}, short)
			if !b.holds("NEWRT") {
				t.Errorf("the new refresh token was thrown away: %v", err)
			}
			if errors.Is(err, evergrant.ErrNeedsLogin) {
				t.Errorf("an answer with tokens is a verdict: %v", err)
			}
		})
	}
}

// Where a provider names the tokens otherwise, they went into odd members of
// the file, and the old access token was handed out as fresh.
func TestRenamedMembersAreStored(t *testing.T) {
	entry, err := os.ReadFile("provider/data/sentry.json")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	entry = bytes.Replace(entry, []byte(`"body": "json"`), []byte(`"body": "form"`), 1)
	if err := os.WriteFile(filepath.Join(dir, "sentry.json"), entry, 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBed(t, rotating)
	b.answering(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"token":"NEWAT","refreshToken":"NEWRT","expiresAt":"2130-01-01T00:00:00Z"}`)
	})
	if b.cfg.Catalog, err = provider.Load(dir); err != nil {
		t.Fatal(err)
	}
	b.cfg.Provider, b.cfg.ClientSecret = "sentry", evergrant.NewSecret("secret")
	r, err := b.refresh(evergrant.RefreshOptions{})
	if err != nil || r.Token.AccessToken.Reveal() != "NEWAT" || !r.Rotated {
		t.Errorf("got %+v, %v", r, err)
	}
	if !bytes.Contains(b.read(), []byte(`"access_token": "NEWAT"`)) || !bytes.Contains(b.read(), []byte(`"refresh_token": "NEWRT"`)) {
		t.Errorf("the file was made %s", b.read())
	}
}

// Another access token beside the token in doubt, such as a backup brings,
// ended the doubt: the spent refresh token was sent again.
func TestAnotherAccessTokenClearsNoDoubt(t *testing.T) {
	b := newBed(t, rotating)
	b.idp.Next("lost")
	if _, err := b.refresh(evergrant.RefreshOptions{}, short); err == nil {
		t.Fatal("the reply was not lost")
	}
	b.write(b.path, []byte(strings.Replace(string(b.read()), b.grant.AccessToken, "00Dolder!access", 1)))
	time.Sleep(320 * time.Millisecond) // past the deadline of the request in doubt
	if _, err := b.refresh(evergrant.RefreshOptions{}, short); !errors.Is(err, evergrant.ErrTemporary) {
		t.Errorf("got %v, want a doubt", err)
	}
	if n := b.requests(); n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}
}

// A refusal that arrived while another program set a replaced token back made
// that token the grant's, and it was sent.
func TestRefusalAdoptsNoReplacedToken(t *testing.T) {
	for name, back := range map[string]func(b *bed, old []byte) []byte{
		"set back": func(_ *bed, old []byte) []byte { return old },
		"emptied": func(b *bed, old []byte) []byte {
			return bytes.ReplaceAll(old, []byte(b.grant.RefreshToken), nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, rotating)
			old := b.read()
			b.mustRefresh()
			stored := b.read()
			s := b.open()
			b.idp.Next("error=dead")
			if _, err := b.during(s, func() { b.write(b.path, back(b, old)) }); err == nil {
				t.Error("a refused refresh succeeded")
			}
			if _, err := b.refresh(evergrant.RefreshOptions{}); err == nil {
				t.Error("refreshed with a token that is not the grant's")
			}
			b.neverReused()
			b.write(b.path, stored) // it is restored, and the provider meant it
			b.refresh(evergrant.RefreshOptions{})
			if n := b.requests(); n > 3 {
				t.Errorf("%d token requests", n)
			}
		})
	}
}

// InDoubt was told before the doubt was durable.
func TestInDoubtIsDurableWhenTold(t *testing.T) {
	b := newBed(t, rotating)
	b.idp.Next("lost")
	told := false
	b.refresh(evergrant.RefreshOptions{}, func(c *evergrant.Config) {
		c.OnEvent = func(e evergrant.Event) {
			if _, ok := e.(evergrant.InDoubt); ok {
				told = true
				if !bytes.Contains(b.readSide(), []byte(`"doubt"`)) {
					t.Error("InDoubt was told before it was durable")
				}
			}
		}
	})
	if !told {
		t.Error("InDoubt was not told")
	}
}

// An answer in a rescue folder that the next run does not look at was taken for
// lost, and the spent refresh token was sent.
func TestRescueElsewhereIsNotForgotten(t *testing.T) {
	for name, readable := range map[string]bool{"other user": true, "other machine": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newPipeBed(t, rotating, nil)
				b.age(3 * time.Hour)
				store := b.inStore()
				store.set(func(r evergrant.Record, g uint64) bool { return r.Generation > g })
				if _, err := b.refreshRecord(store); !errors.Is(err, evergrant.ErrStorage) {
					t.Fatalf("got %v", err)
				}
				store.set(nil)
				dir, away := b.cfg.RescueDirs[0], filepath.Join(t.TempDir(), "away")
				if !readable {
					if err := os.Rename(dir, away); err != nil {
						t.Fatal(err)
					}
				}
				elsewhere := func(c *evergrant.Config) { c.RescueDirs = []string{t.TempDir()} }
				for range 3 {
					r, err := b.refreshRecord(store, elsewhere)
					if !readable && !errors.Is(err, evergrant.ErrStorage) {
						t.Errorf("with the answer out of reach: %+v, %v", r, err)
					}
					time.Sleep(time.Hour)
				}
				b.neverReused()
				if !readable {
					if err := os.Rename(away, dir); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := b.refreshRecord(store); err != nil {
					t.Errorf("with the answer in reach again: %v", err)
				}
				b.neverReused()
				b.livingIn(store)
			})
		})
	}
}

// A crash after a refresh that did not rotate, of a grant that rotates now and
// then, was taken for a lost reply although its answer was in place.
func TestCrashAfterTheExchangeIsNoDoubt(t *testing.T) {
	for _, rotates := range []bool{false, true} {
		t.Run(fmt.Sprintf("rotates %t", rotates), func(t *testing.T) {
			b := newBed(t, rotating)
			b.mustRefresh()
			b.idp.SetHabits(func(h *idptest.Habits) { h.Rotation = rotates })
			b.killed(true)
			sent := b.requests()
			if r, err := b.open().Token(t.Context()); err != nil || !bytes.Contains(b.read(), []byte(r.AccessToken.Reveal())) {
				t.Errorf("the stored token is not served: %v", err)
			}
			b.mustRefresh()
			if n := b.requests(); n != sent+1 {
				t.Errorf("%d requests, want %d", n, sent+1)
			}
			b.neverReused()
			b.living()
		})
	}
}

// Status called a grant fresh that the provider had declared dead at its very
// first refresh.
func TestStatusShowsTheFirstVerdict(t *testing.T) {
	t.Run("file", func(t *testing.T) {
		b := newBed(t, rotating)
		b.idp.Next("error=dead")
		if _, err := b.refresh(evergrant.RefreshOptions{}); !errors.Is(err, evergrant.ErrNeedsLogin) {
			t.Fatalf("got %v", err)
		}
		if st, err := b.open(bare).Status(t.Context()); err != nil || st.State != evergrant.StateNeedsLogin || st.Problem == nil {
			t.Errorf("status %q, %v, %v", st.State, st.Problem, err)
		}
	})
	t.Run("store", func(t *testing.T) {
		b := newBed(t, rotating)
		b.idp.Next("error=dead")
		s := b.openRecord(b.inStore())
		if _, err := s.Refresh(t.Context(), evergrant.RefreshOptions{}); !errors.Is(err, evergrant.ErrNeedsLogin) {
			t.Fatalf("got %v", err)
		}
		if st, err := s.Status(t.Context()); err != nil || st.State != evergrant.StateNeedsLogin {
			t.Errorf("status %q, %v", st.State, err)
		}
	})
}
