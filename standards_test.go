package evergrant_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
	"github.com/evergrant/evergrant/jose"
)

// An issuer is a token endpoint that says what a test wants, and keeps the
// requests.
type issuer struct {
	*httptest.Server
	path string // of the token file
	cfg  evergrant.Config

	mu   sync.Mutex
	seen []*http.Request // with their forms parsed
}

// newIssuer gives answer to every request for the token file that it writes.
func newIssuer(t *testing.T, answer string) *issuer {
	t.Helper()
	i := &issuer{path: filepath.Join(t.TempDir(), "token.json")}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		i.mu.Lock()
		i.seen = append(i.seen, r)
		i.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, answer)
	}))
	t.Cleanup(i.Close)
	i.cfg = evergrant.Config{ClientID: "app", TokenURL: i.URL + "/token", RescueDirs: []string{t.TempDir()}}
	if err := os.WriteFile(i.path, []byte(`{"access_token":"old-at","refresh_token":"old-rt","scope":"a b"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	return i
}

// refresh makes one refresh and gives the file afterwards.
func (i *issuer) refresh(t *testing.T) string {
	t.Helper()
	s, err := evergrant.OpenFile(i.path, i.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Refresh(t.Context(), evergrant.RefreshOptions{}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(i.path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (i *issuer) last(t *testing.T) *http.Request {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.seen) == 0 {
		t.Fatal("nothing was sent")
	}
	return i.seen[len(i.seen)-1]
}

// TestStandardsRefresh: rows of docs/standards.md about a refresh.
func TestStandardsRefresh(t *testing.T) {
	t.Run("6749/2.1-1 POST over TLS", func(t *testing.T) {
		i := newIssuer(t, `{"access_token":"new-at"}`)
		i.refresh(t)
		if r := i.last(t); r.Method != http.MethodPost || r.URL.RawQuery != "" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		i.cfg.TokenURL = "http://as.example/token"
		s, err := evergrant.OpenFile(i.path, i.cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := s.Refresh(t.Context(), evergrant.RefreshOptions{}); !errors.Is(err, evergrant.ErrMisconfigured) {
			t.Errorf("plain http: %v", err)
		}
	})
	for method, want := range map[string]string{"none": "app", "post": "app secret", "basic": "Basic"} {
		t.Run("2.1-2 one way to authenticate, "+method, func(t *testing.T) {
			i := newIssuer(t, `{"access_token":"new-at"}`)
			if i.cfg.AuthMethod = method; method != "none" {
				i.cfg.ClientSecret = evergrant.NewSecret("secret")
			}
			i.refresh(t)
			r := i.last(t)
			kind, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			if got := strings.TrimSpace(strings.Join([]string{r.PostForm.Get("client_id"), r.PostForm.Get("client_secret"), kind}, " ")); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
	t.Run("2.1-3 unknown members and long tokens", func(t *testing.T) {
		long := strings.Repeat("t", 60_000)
		i := newIssuer(t, `{"access_token":"`+long+`","refresh_token":"r`+long+`","new_member":{"x":[1]}}`)
		if text := i.refresh(t); !strings.Contains(text, `"`+long+`"`) || !strings.Contains(text, `"r`+long+`"`) || !strings.Contains(text, "new_member") {
			t.Errorf("%.200s", text)
		}
	})
	for name, row := range map[string]struct{ answer, want string }{
		"2.1-4 a new refresh token replaces the old": {`{"access_token":"new-at","refresh_token":"new-rt"}`, "new-rt"},
		"2.1-5 none":  {`{"access_token":"new-at"}`, "old-rt"},
		"2.1-5 null":  {`{"access_token":"new-at","refresh_token":null}`, "old-rt"},
		"2.1-5 empty": {`{"access_token":"new-at","refresh_token":""}`, "old-rt"},
	} {
		t.Run(name, func(t *testing.T) {
			text := newIssuer(t, row.answer).refresh(t)
			if !strings.Contains(text, `"refresh_token":"`+row.want+`"`) || !strings.Contains(text, `"access_token":"new-at"`) || strings.Count(text, "refresh_token") != 1 {
				t.Error(text)
			}
		})
	}
	t.Run("2.1-7 scope", func(t *testing.T) {
		i := newIssuer(t, `{"access_token":"new-at","scope":"a"}`)
		var told []string
		i.cfg.OnEvent = func(e evergrant.Event) {
			if n, ok := e.(evergrant.Noted); ok {
				told = append(told, n.Says)
			}
		}
		if text := i.refresh(t); !strings.Contains(text, `"scope":"a"`) || !strings.Contains(strings.Join(told, "\n"), "narrowed the scope") {
			t.Errorf("%s, told %q", text, told)
		}
	})
	t.Run("2.1-8 no wider scope", func(t *testing.T) {
		i := newIssuer(t, `{"access_token":"new-at"}`)
		i.refresh(t)
		if r := i.last(t); r.PostForm.Has("scope") {
			t.Errorf("scope %q was sent unasked", r.PostForm.Get("scope"))
		}
	})
	t.Run("8252-3 no embedded secret", func(t *testing.T) {
		i := newIssuer(t, `{"access_token":"new-at"}`)
		i.refresh(t)
		want := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"old-rt"}, "client_id": {"app"}}
		if r := i.last(t); r.PostForm.Encode() != want.Encode() || r.Header.Get("Authorization") != "" {
			t.Errorf("%v %v", r.PostForm, r.Header)
		}
	})
	t.Run("9700-6 for this user alone", func(t *testing.T) {
		i := newIssuer(t, `{"access_token":"new-at","refresh_token":"new-rt"}`)
		i.refresh(t)
		files, err := os.ReadDir(filepath.Dir(i.path))
		if err != nil || len(files) < 2 {
			t.Fatalf("%d files, %v", len(files), err)
		}
		for _, f := range files {
			info, err := f.Info()
			if err != nil || os.PathSeparator == '/' && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
			}
		}
	})
}

// TestStandardsUse: rows of docs/standards.md about an access token in use. The
// API has a say only in its status and its challenge.
func TestStandardsUse(t *testing.T) {
	for name, row := range map[string]struct {
		status    int
		challenge string
		refreshes int
	}{
		"2.1-6 ended before its time":                      {401, `Bearer error="invalid_token"`, 1},
		"6750-2 invalid_token":                             {401, `Bearer realm="x", error="invalid_token"`, 1},
		"6750-2 bare":                                      {401, `Bearer`, 1},
		"6750-2 bare, no challenge":                        {401, ``, 1},
		"6750-2 insufficient_scope":                        {403, `Bearer error="insufficient_scope", scope="b"`, 0},
		"6750-2 insufficient_scope, 401":                   {401, `Bearer error="insufficient_scope"`, 0},
		"6750-2 invalid_request":                           {400, `Bearer error="invalid_request"`, 0},
		"9470-1 insufficient_user_authentication: no loop": {401, `Bearer error="insufficient_user_authentication", acr_values="mfa"`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
			calls := 0
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if calls++; row.challenge != "" {
					w.Header().Set("WWW-Authenticate", row.challenge)
				}
				w.WriteHeader(row.status)
			}))
			defer api.Close()
			resp, err := b.open().Client(evergrant.ClientOptions{}).Get(api.URL)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if n := len(b.idp.TokenRequests(b.grant.ID)); n != row.refreshes || calls != 1+row.refreshes || resp.StatusCode != row.status {
				t.Errorf("%d refreshes, %d calls, status %d", n, calls, resp.StatusCode)
			}
		})
	}
	t.Run("6750-1 2.1-9 in the header alone", func(t *testing.T) {
		b := newBed(t, idptest.Config{})
		var got *http.Request
		api := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r }))
		defer api.Close()
		s := b.open()
		resp, err := s.Client(evergrant.ClientOptions{}).Get(api.URL + "/path?q=1")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		token, err := s.Token(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if got.Header.Get("Authorization") != "Bearer "+token.AccessToken.Reveal() || got.URL.RawQuery != "q=1" {
			t.Errorf("%s %v", got.URL, got.Header)
		}
	})
	t.Run("9700-7 to no other host", func(t *testing.T) {
		b := newBed(t, idptest.Config{})
		leaked := "nothing came"
		other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { leaked = r.Header.Get("Authorization") }))
		defer other.Close()
		api := httptest.NewServer(http.RedirectHandler(strings.Replace(other.URL, "127.0.0.1", "localhost", 1), http.StatusFound))
		defer api.Close()
		resp, err := b.open().Client(evergrant.ClientOptions{}).Get(api.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if leaked != "" {
			t.Errorf("the other host got %.20q", leaked)
		}
	})
	t.Run("2.1-9 a token is opaque", func(t *testing.T) {
		i := newIssuer(t, `{"access_token":"e30.bm90IGpzb24.","token_type":"Bearer"}`) // looks like a JWT and is none
		if text := i.refresh(t); !strings.Contains(text, "e30.bm90IGpzb24.") {
			t.Error(text)
		}
	})
}

// TestStandardsFAPI: modules of OpenID's FAPI 2.0 client plans that are about
// what comes after the login, by their names there.
func TestStandardsFAPI(t *testing.T) {
	t.Run("FAPI2SPFinalClientRefreshTokenTest", func(t *testing.T) {
		b := newBed(t, idptest.Config{Persona: idptest.Generic, Habits: idptest.Habits{Rotation: true}})
		for range 2 {
			if _, err := b.refresh(evergrant.RefreshOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		requests := b.idp.TokenRequests(b.grant.ID)
		if len(requests) != 2 || requests[0].Generation == requests[1].Generation {
			t.Errorf("%+v", requests)
		}
		b.living()
	})
	t.Run("FAPI2SPFinalClientTestRSDpopAuthSchemeCaseInsenstivity", func(t *testing.T) {
		key, err := jose.Generate("ES256")
		if err != nil {
			t.Fatal(err)
		}
		jwk, err := key.JWK()
		if err != nil {
			t.Fatal(err)
		}
		i := newIssuer(t, "")
		if err := os.WriteFile(i.path, []byte(`{"access_token":"at","token_type":"dPoP","refresh_token":"rt","dpop_jwk":`+jwk.Reveal()+`}`), 0o600); err != nil {
			t.Fatal(err)
		}
		var proofs []string
		api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if proofs = append(proofs, r.Header.Get("DPoP")); len(proofs) == 1 {
				w.Header().Set("WWW-Authenticate", `dPOP error="use_dpop_nonce"`)
				w.Header().Set("DPoP-Nonce", "the-nonce")
				w.WriteHeader(http.StatusUnauthorized)
			}
		}))
		defer api.Close()
		s, err := evergrant.OpenFile(i.path, i.cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		resp, err := s.Client(evergrant.ClientOptions{}).Get(api.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 || len(proofs) != 2 || len(i.seen) != 0 || !strings.Contains(payload(proofs[1]), `"nonce":"the-nonce"`) {
			t.Errorf("status %d, %d token requests, proofs %q", resp.StatusCode, len(i.seen), proofs)
		}
	})
}

// payload is the middle of a JWS, decoded.
func payload(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	b, _ := base64.RawURLEncoding.DecodeString(parts[1])
	return string(b)
}
