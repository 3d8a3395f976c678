package evergrant_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

// api is a resource server that accepts the grant's living access tokens.
type api struct {
	*httptest.Server
	calls atomic.Int64
}

func newAPI(t *testing.T, b *bed, reject func(w http.ResponseWriter)) *api {
	a := &api{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.calls.Add(1)
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if _, _, living := b.idp.FindAccess(token); !living {
			reject(w)
			return
		}
		io.Copy(w, r.Body)
	}))
	t.Cleanup(a.Close)
	return a
}

func invalidToken(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	w.WriteHeader(http.StatusUnauthorized)
}

// expire ends the grant's access tokens at the provider, unknown to the client.
func (b *bed) expire() {
	b.t.Helper()
	if err := b.idp.Expire(b.grant.ID); err != nil {
		b.t.Fatal(err)
	}
}

func TestClientRenewsOnRejection(t *testing.T) {
	b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
	api := newAPI(t, b, invalidToken)
	client := b.open().Client(evergrant.ClientOptions{})
	b.expire()
	const callers = 50
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			resp, err := client.Post(api.URL, "text/plain", strings.NewReader("body"))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if got, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(got) != "body" {
				t.Errorf("status %d, body %q: the request was not made again whole", resp.StatusCode, got)
			}
		})
	}
	wg.Wait()
	if n := len(b.idp.TokenRequests(b.grant.ID)); n != 1 {
		t.Errorf("%d refreshes for one generation", n)
	}
	if n := api.calls.Load(); n > 2*callers {
		t.Errorf("%d calls for %d requests: more than one replay", n, callers)
	}
	b.living()
}

func TestClientDoesNotRenewForOtherReasons(t *testing.T) {
	for name, reject := range map[string]func(http.ResponseWriter){
		"insufficient scope": func(w http.ResponseWriter) {
			w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope"`)
			w.WriteHeader(http.StatusUnauthorized)
		},
		"a session of another kind": func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, `[{"message":"This session is not valid for use with the REST API","errorCode":"INVALID_SESSION_ID"}]`)
		},
		"forbidden": func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, idptest.Config{})
			api := newAPI(t, b, reject)
			b.expire()
			resp, err := b.open().Client(evergrant.ClientOptions{}).Get(api.URL)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || name == "a session of another kind" && !bytes.Contains(body, []byte("INVALID_SESSION_ID")) {
				t.Errorf("the body was not passed on: %q, %v", body, err)
			}
			if n := len(b.idp.TokenRequests(b.grant.ID)); n != 0 || api.calls.Load() != 1 {
				t.Errorf("%d refreshes, %d calls", n, api.calls.Load())
			}
		})
	}
}

// TestClientPersistentRejection: an API that rejects every token costs one
// refresh and one replay, not a loop.
func TestClientPersistentRejection(t *testing.T) {
	b := newBed(t, idptest.Config{})
	var calls atomic.Int64
	never := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { calls.Add(1); invalidToken(w) }))
	defer never.Close()
	client := b.open().Client(evergrant.ClientOptions{})
	resp, err := client.Get(never.URL)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Fatalf("%v, %v", resp, err)
	}
	resp.Body.Close()
	if n := len(b.idp.TokenRequests(b.grant.ID)); n != 1 || calls.Load() != 2 {
		t.Errorf("%d refreshes, %d calls", n, calls.Load())
	}
}

func TestClientKeepsTheTokenToItsHost(t *testing.T) {
	b := newBed(t, idptest.Config{})
	var leaked atomic.Value
	leaked.Store("")
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { leaked.Store(r.Header.Get("Authorization")) }))
	defer other.Close()
	here := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1), http.StatusFound)
	}))
	defer here.Close()
	s := b.open()
	for _, o := range []evergrant.ClientOptions{{}, {Hosts: []string{"127.0.0.1"}}} {
		resp, err := s.Client(o).Get(here.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if leaked.Load() != "" {
			t.Error("the token followed a redirect to another host")
		}
	}
	if resp, err := s.Client(evergrant.ClientOptions{Hosts: []string{"api.example.com"}}).Get(other.URL); err != nil || leaked.Load() != "" {
		t.Errorf("the token went to a host it was not meant for: %v, %v", resp, err)
	}
}

func TestOAuth2TokenSource(t *testing.T) {
	b := newBed(t, idptest.Config{})
	b.age(3 * time.Hour)
	tok, err := b.open().OAuth2(t.Context()).Token()
	if err != nil {
		t.Fatal(err)
	}
	if tok.AccessToken == b.grant.AccessToken || !tok.Valid() || tok.RefreshToken != "" {
		t.Errorf("got a stale token, or one with the refresh token: expiry %s", tok.Expiry)
	}
}
