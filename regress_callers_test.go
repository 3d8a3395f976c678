package evergrant_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
	"github.com/evergrant/evergrant/provider"
)

// fmt and log printed the tokens of a Source.
func TestSourcePrintsNoToken(t *testing.T) {
	b := newBed(t, idptest.Config{})
	s := b.open()
	if _, err := s.Token(t.Context()); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		fmt.Fprintf(&out, verb+"\n", s)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("grant", "source", s)
	slog.New(slog.NewTextHandler(&out, nil)).Info("grant", "source", s)
	for _, secret := range []string{b.grant.RefreshToken, b.grant.AccessToken} {
		if bytes.Contains(out.Bytes(), []byte(secret)) || bytes.Contains(out.Bytes(), fmt.Appendf(nil, "%x", secret)) {
			t.Error("a token is printed")
		}
	}
	if !strings.Contains(out.String(), "token.json") {
		t.Errorf("the grant is not named: %s", out.String())
	}
}

// What a provider quotes of the request, a client secret fetched by reference
// or the refresh token, came out in errors, in events and in the side file.
func TestQuotedSecretsAreScrubbed(t *testing.T) {
	const secret = "SUPERSECRETvalue"
	for name, c := range map[string]struct{ body, leak string }{
		"secret in the description":         {`{"error":"invalid_client","error_description":"bad secret ` + secret + `"}`, secret},
		"secret in the code":                {`{"error":"bad ` + secret + `"}`, secret},
		"refresh token in the code":         {`{"error":"no such token RT"}`, "RT"},
		"refresh token in the description":  {`{"error":"invalid_grant","error_description":"RT is unknown"}`, "RT"},
		"secret of a header in the message": {`{"error":"bad","error_description":"` + secret + `header"}`, secret + "header"},
		"secret of a parameter in the code": {`{"error":"` + secret + `param"}`, secret + "param"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, idptest.Config{})
			b.answering(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(400)
				fmt.Fprint(w, strings.ReplaceAll(c.body, "RT", r.PostFormValue("refresh_token")))
			})
			var said bytes.Buffer
			_, err := b.refresh(evergrant.RefreshOptions{}, func(cfg *evergrant.Config) {
				cfg.SecretRef, cfg.AuthMethod = "env:X", "post"
				cfg.ResolveSecret = func(context.Context, string) (evergrant.Secret, error) { return evergrant.NewSecret(secret), nil }
				cfg.Header = http.Header{"X-Key": {secret + "header"}}
				cfg.Params = [][2]string{{"client_assertion", secret + "param"}}
				cfg.OnEvent = func(e evergrant.Event) { fmt.Fprintf(&said, "%+v\n", e) }
			})
			if err == nil {
				t.Fatal("a refusal is no error")
			}
			fmt.Fprintf(&said, "%v %+v\n", err, err)
			var e *evergrant.Error
			if errors.As(err, &e) {
				fmt.Fprintf(&said, "%+v\n", *e)
			}
			leak := strings.ReplaceAll(c.leak, "RT", b.grant.RefreshToken)
			if strings.Contains(said.String(), leak) {
				t.Errorf("%s leaks in errors or events: %s", leak, said.String())
			}
			// Params are remembered by design: the state may hold what the user gave, not what the provider quotes.
			if bytes.Contains(b.readSide(), []byte(leak)) && !strings.HasSuffix(leak, "param") {
				t.Errorf("the side file holds %s", leak)
			}
		})
	}
}

// Callers waited for a provider that hangs, or for another caller's retries, and
// got an error, although the token at hand was good for ten minutes.
func TestGoodTokenDoesNotWait(t *testing.T) {
	for _, opened := range []bool{false, true} {
		for _, fault := range []idptest.Fault{"hang-before", "status=503"} {
			t.Run(fmt.Sprintf("%s, used before %t", fault, opened), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newPipeBed(t, rotating, nil)
					b.age(90 * time.Minute)
					s := b.openRecord(b.inStore())
					if opened {
						if _, err := s.Token(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
					b.idp.SetHabits(func(h *idptest.Habits) { h.Fault = fault })
					time.Sleep(20 * time.Minute) // ten more
					go s.Refresh(context.Background(), evergrant.RefreshOptions{})
					time.Sleep(100 * time.Millisecond)
					for _, patience := range []time.Duration{time.Second, time.Hour} {
						began := time.Now()
						ctx, cancel := context.WithTimeout(t.Context(), patience)
						_, err := s.Token(ctx)
						cancel()
						if took := time.Since(began); err != nil || took > 3*time.Second {
							t.Errorf("with %s: %v after %s", patience, err, took)
						}
					}
					if r, err := s.TokenFor(t.Context(), 0); err != nil || r.Token == nil { // it may wait for the flight before it
						t.Errorf("waiting for the refresh: %v", err)
					}
				})
			})
		}
	}
}

// The token in memory ended while a caller waited for its turn behind a refresh
// that hung, and it got an error, although another process had stored a newer
// one long before.
func TestStoredTokenWaitsForNoTurn(t *testing.T) {
	for name, age := range map[string]time.Duration{"fresh": 90 * time.Minute, "due": 5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newPipeBed(t, rotating, nil)
				store := b.inStore()
				s := b.openRecord(store)
				if _, err := s.Token(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(age)
				if _, err := b.refreshRecord(store); err != nil {
					t.Fatal(err)
				}
				stored := b.idp.GrantState(b.grant.ID).Access
				time.Sleep(2*time.Hour - age - time.Second)
				b.idp.SetHabits(func(h *idptest.Habits) { h.Fault = "hang-before" })
				go s.Refresh(context.Background(), evergrant.RefreshOptions{})
				time.Sleep(10 * time.Millisecond)
				tok, err := s.Token(t.Context())
				if err != nil || tok.AccessToken.Reveal() != stored[len(stored)-1].Token {
					t.Errorf("the stored token is not served: %v, %v", tok, err)
				}
			})
		})
	}
}

// deaf is a store whose locks are never had.
type deaf struct{ evergrant.Store }

func (deaf) Lock(ctx context.Context, _ string) (func(), error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// While its flight waited for the lock, a source served the token in memory for
// seconds, although another process had stored a newer one.
func TestStoredTokenWaitsForNoLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPipeBed(t, rotating, nil)
		store := b.inStore()
		s := b.openRecord(deaf{store})
		time.Sleep(110 * time.Minute) // it is due
		if _, err := s.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := b.refreshRecord(store); err != nil {
			t.Fatal(err)
		}
		stored := b.idp.GrantState(b.grant.ID).Access
		tok, err := s.Token(t.Context())
		if err != nil || tok.AccessToken.Reveal() != stored[len(stored)-1].Token {
			t.Errorf("the stored token is not served: %v, %v", tok, err)
		}
	})
}

// sluggish is a store without locks to be had, that counts what is read and, once
// it hangs, reads for 20 seconds whatever the caller wants.
type sluggish struct {
	deaf
	hangs *atomic.Bool
	reads *atomic.Int64
}

func (s sluggish) Get(ctx context.Context, name string) (evergrant.Record, error) {
	s.reads.Add(1)
	time.Sleep(time.Millisecond)
	if s.hangs.Load() {
		time.Sleep(20 * time.Second)
	}
	return s.deaf.Get(ctx, name)
}

// A store that does not answer held up for a minute callers with a good token in
// memory, whose own time had ended long before; and each of them read it, where
// they had shared one flight.
func TestStoreThatHangsHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPipeBed(t, rotating, nil)
		store := sluggish{deaf{b.inStore()}, new(atomic.Bool), new(atomic.Int64)}
		s := b.openRecord(store)
		time.Sleep(110 * time.Minute) // it is due
		if _, err := s.Token(t.Context()); err != nil {
			t.Fatal(err)
		}

		store.reads.Store(0)
		var callers sync.WaitGroup
		for range 500 {
			callers.Go(func() {
				if _, err := s.Token(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		callers.Wait()
		if n := store.reads.Load(); n > 10 {
			t.Errorf("500 callers read the store %d times", n)
		}

		store.hangs.Store(true)
		for name, wait := range map[string]time.Duration{"patient": time.Hour, "a second": time.Second, "20 ms": 20 * time.Millisecond, "gone": 0} {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			_, err := s.Token(ctx)
			cancel()
			if took, most := time.Since(began), min(wait, 2*time.Second)+100*time.Millisecond; err != nil || took > most {
				t.Errorf("%s: %v after %s", name, err, took)
			}
		}
		store.hangs.Store(false)
		time.Sleep(time.Minute)
	})
}

// A caller whose time was up before the refresh was got nothing, although another
// process had stored a token that was good, because that in memory had ended.
func TestStoredTokenIsServedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPipeBed(t, rotating, nil)
		store := b.inStore()
		s := b.openRecord(deaf{store})
		time.Sleep(time.Hour)
		if _, err := b.refreshRecord(store); err != nil {
			t.Fatal(err)
		}
		time.Sleep(115 * time.Minute) // the one in memory has ended, the stored one is due
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := s.Token(ctx); err != nil {
			t.Errorf("the stored token is not served: %v", err)
		}
	})
}

// A call that waited two seconds at most, because it had a good token, gave up
// after them although that token ended meanwhile and its caller had time.
func TestTokenThatEndsInTheWaitIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newPipeBed(t, rotating, nil)
		b.cfg.SessionLifetime = time.Hour
		s := b.openRecord(b.inStore())
		tok, err := s.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(tok.Expiry) - time.Second)
		b.idp.Next("delay-before=4s")
		newer, err := s.Token(t.Context())
		if err != nil || newer.AccessToken.Reveal() == tok.AccessToken.Reveal() {
			t.Errorf("it gave up: %v", err)
		}
	})
}

// Once the token had ended, each call of Token was a token request, whatever
// the provider had asked for.
func TestEndedTokenIsNotHammered(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter){
		"429, come back in an hour": func(w http.ResponseWriter) { w.Header().Set("Retry-After", "3600"); w.WriteHeader(429) },
		"401 invalid_client":        func(w http.ResponseWriter) { w.WriteHeader(401); fmt.Fprint(w, `{"error":"invalid_client"}`) },
		"404":                       func(w http.ResponseWriter) { w.WriteHeader(404) },
		"blocked":                   func(w http.ResponseWriter) { w.WriteHeader(400); fmt.Fprint(w, `{"error":"inactive_user"}`) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				b := newPipeBed(t, rotating, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { n++; answer(w) }))
				b.age(3 * time.Hour)
				s := b.openRecord(b.inStore())
				began := time.Now()
				for range 50 {
					if _, err := s.Token(t.Context()); err == nil {
						t.Error("an ended token was served")
					}
				}
				if n > 2 || n == 0 {
					t.Errorf("50 calls made %d token requests in %s", n, time.Since(began))
				}
				if name != "429, come back in an hour" {
					return
				}
				if _, err := s.Refresh(t.Context(), evergrant.RefreshOptions{}); err == nil || n < 2 {
					t.Errorf("an explicit refresh was held back: %d requests, %v", n, err)
				}
			})
		})
	}
}

// roundTrip is an API.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(r *http.Request, status int) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Www-Authenticate": {`Bearer error="invalid_token"`}}, Body: io.NopCloser(strings.NewReader("")), Request: r}
}

// An API that rejects every token made one refresh for each call.
func TestEndlessRejectionsAreBounded(t *testing.T) {
	for _, fault := range []idptest.Fault{"none", "status=404", "error=inactive_user"} {
		t.Run(string(fault), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newPipeBed(t, rotating, nil)
				b.idp.SetHabits(func(h *idptest.Habits) { h.Fault = fault })
				client := b.openRecord(b.inStore()).Client(evergrant.ClientOptions{
					Base: roundTrip(func(r *http.Request) (*http.Response, error) { return answer(r, 401), nil }),
				})
				for range 20 {
					if resp, err := client.Get("https://api.example/"); err != nil || resp.StatusCode != 401 {
						t.Errorf("got %v, %v, want the API's 401", resp, err)
					}
				}
				if n := b.requests(); n > 2 {
					t.Errorf("20 calls made %d token requests", n)
				}
			})
		})
	}
}

// A rejected token and the newer one that another program had stored had the
// same generation, so the newer one was taken for the rejected and refreshed.
func TestRejectionNamesTheToken(t *testing.T) {
	b := newBed(t, rotating)
	s := b.open()
	tok, err := s.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	login := b.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	b.write(b.path, login.TokenFile())
	newer, err := s.Rejected(t.Context(), tok)
	if err != nil || newer.AccessToken.Reveal() != login.AccessToken {
		t.Errorf("got %+v, %v, want the token in the file", newer, err)
	}
	if n := len(b.idp.TokenRequests(login.ID)); n != 0 {
		t.Errorf("%d requests, and a newer token was there", n)
	}
}

// A token that needs a proof beside it was handed out as it is when it came
// from the file, or refreshed at every call.
func TestProofTokensAreNotHandedOut(t *testing.T) {
	t.Run("from the file", func(t *testing.T) {
		b := newBed(t, rotating)
		b.write(b.path, bytes.Replace(b.read(), []byte(`"Bearer"`), []byte(`"DPoP"`), 1))
		if _, err := b.open().Token(t.Context()); !errors.Is(err, evergrant.ErrMisconfigured) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("from the provider", func(t *testing.T) {
		b := newBed(t, rotating)
		b.age(3 * time.Hour)
		b.idp.SetHabits(func(h *idptest.Habits) { h.Fault = "type-mac" })
		s := b.open()
		for range 10 {
			if _, err := s.Token(t.Context()); !errors.Is(err, evergrant.ErrMisconfigured) {
				t.Errorf("got %v", err)
			}
		}
		if n := b.requests(); n != 1 {
			t.Errorf("%d token requests, want 1", n)
		}
		b.living()
	})
}

// A password manager that was locked counted as a mistake of the caller, which
// a supervisor does not try again.
func TestUnfetchedSecretIsTemporary(t *testing.T) {
	for class, err := range map[error]error{
		evergrant.ErrTemporary: errors.New("locked"),
		evergrant.ErrUsage:     fmt.Errorf("%w: no such reference", evergrant.ErrUsage),
	} {
		b := newBed(t, rotating)
		_, got := b.refresh(evergrant.RefreshOptions{}, func(c *evergrant.Config) {
			c.SecretRef = "cmd:pass show app"
			c.ResolveSecret = func(context.Context, string) (evergrant.Secret, error) { return evergrant.Secret{}, err }
		})
		if !errors.Is(got, class) || b.requests() != 0 {
			t.Errorf("got %v after %d requests, want %v", got, b.requests(), class)
		}
	}
}

// A remembered provider that was no longer in the catalog refused for ever,
// although all that a refresh needs was remembered too.
func TestForgottenProviderStillRefreshes(t *testing.T) {
	dir := t.TempDir()
	const entry = `{"name": "acme", "title": "Acme", "domains": ["acme.example"], "endpoints": {"token": "https://acme.example/token"},
		"client_auth": ["none"], "pkce": "no", "access": {"lifetime": "2h"}, "refresh": {"rotates": "always"},
		"sources": [{"name": "this test", "date": "2026-11-23"}]}`
	if err := os.WriteFile(filepath.Join(dir, "acme.json"), []byte(entry), 0o600); err != nil {
		t.Fatal(err)
	}
	own, err := provider.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := newBed(t, rotating)
	if _, err := b.refresh(evergrant.RefreshOptions{}, func(c *evergrant.Config) { c.Catalog, c.Provider = own, "acme" }); err != nil {
		t.Fatal(err)
	}
	if _, err := b.refresh(evergrant.RefreshOptions{}, bare); err != nil {
		t.Errorf("without the catalog: %v", err)
	}
	b.living()
}

// Looking at a Source's status raced with its refreshes (seen with -race).
func TestStatusWhileRefreshing(t *testing.T) {
	b := newBed(t, idptest.Config{})
	s := b.open()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { s.Status(context.Background()) })
		wg.Go(func() { s.Plan(context.Background()) })
		wg.Go(func() { s.Refresh(context.Background(), evergrant.RefreshOptions{}) })
		wg.Go(func() { s.Token(context.Background()) })
	}
	wg.Wait()
	b.living()
}

// A host whose name begins like a loopback address got the token over plain
// http.
func TestTokenStaysOffPlainHTTP(t *testing.T) {
	b := newBed(t, idptest.Config{})
	for url, want := range map[string]bool{
		"http://127.evil.example/": false, "http://127.0.0.1.evil.example/": false, "http://localhost.evil.example/": false,
		"http://[::1]/": true, "http://127.0.0.1:8080/": true, "http://localhost/": true,
	} {
		carried := false
		client := b.open().Client(evergrant.ClientOptions{Base: roundTrip(func(r *http.Request) (*http.Response, error) {
			carried = r.Header.Get("Authorization") != ""
			return answer(r, 200), nil
		})})
		if _, err := client.Get(url); err != nil || carried != want {
			t.Errorf("%s: carried %t, want %t (%v)", url, carried, want, err)
		}
	}
}

// A call whose time was up before it tried the lock said that another process
// had not finished in time.
func TestUsedUpCallBlamesNobody(t *testing.T) {
	b := newBed(t, rotating)
	s := b.open(func(c *evergrant.Config) { c.CallTimeout = time.Nanosecond })
	if _, err := b.during(b.open(), func() {
		_, err := s.Refresh(t.Context(), evergrant.RefreshOptions{})
		var e *evergrant.Error
		if !errors.As(err, &e) || e.Rule == "lock-busy" {
			t.Errorf("got %v", err)
		}
	}); err != nil {
		t.Error(err)
	}
}
