package oauth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/oauth"
)

func authorization() oauth.Authorization {
	return oauth.Authorization{ClientID: "app", RedirectURI: "http://127.0.0.1:5/cb", Scope: []string{"read", "write"},
		State: oauth.NewNonce(), Verifier: oauth.NewNonce()}
}

// TestRFC7636Verifier_7636_1: 256 random bits as 43 unreserved characters, new
// each time, sent as S256.
func TestRFC7636Verifier_7636_1(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		v := oauth.NewNonce().Reveal()
		if len(v) != 43 || strings.Trim(v, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") != "" || seen[v] {
			t.Fatalf("verifier of %d characters, seen before: %v", len(v), seen[v])
		}
		seen[v] = true
	}
	// The example of RFC 7636 appendix B.
	got, err := oauth.S256(oauth.NewSecret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"))
	if err != nil || got != "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" {
		t.Errorf("challenge %q, %v", got, err)
	}
	for _, bad := range []string{"", strings.Repeat("a", 42), strings.Repeat("a", 129), strings.Repeat("a", 42) + "+", strings.Repeat("a", 42) + "ä"} {
		if _, err := oauth.S256(oauth.NewSecret(bad)); err == nil {
			t.Errorf("a verifier of %d characters passed", len(bad))
		}
	}
	for _, n := range []int{43, 128} {
		if _, err := oauth.S256(oauth.NewSecret(strings.Repeat("a", n))); err != nil {
			t.Errorf("%d characters: %v", n, err)
		}
	}
}

func TestAuthorizationURL(t *testing.T) {
	a := authorization()
	a.Nonce = oauth.NewNonce()
	a.ResponseMode, a.Prompt, a.LoginHint = "form_post", "consent", "me@example.com"
	a.Resource = []string{"https://api.example.com/a", "https://api.example.com/b"}
	a.Details = `[{"type":"payment"}]`
	a.DPoPThumbprint = "jkt"
	a.Params = oauth.Form{{Name: "audience", Value: "x y"}}
	link, err := a.URL("https://as.example.com/authorize?tenant=1")
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(link)
	q := u.Query()
	sum := sha256.Sum256([]byte(a.Verifier.Reveal()))
	for name, want := range map[string]string{
		"tenant": "1", "response_type": "code", "client_id": "app", "redirect_uri": "http://127.0.0.1:5/cb", "scope": "read write",
		"state": a.State.Reveal(), "code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]), "code_challenge_method": "S256",
		"nonce": a.Nonce.Reveal(), "response_mode": "form_post", "prompt": "consent", "login_hint": "me@example.com",
		"authorization_details": a.Details, "dpop_jkt": "jkt", "audience": "x y",
	} {
		if len(q[name]) != 1 || q.Get(name) != want {
			t.Errorf("%s = %q, want %q", name, q[name], want)
		}
	}
	if len(q["resource"]) != 2 { // RFC 8707 §2: each a parameter of its own
		t.Errorf("resource = %q", q["resource"])
	}
	if strings.Contains(link, a.Verifier.Reveal()) {
		t.Error("the verifier is in the URL")
	}
}

func TestAuthorizationDialect(t *testing.T) {
	a := authorization()
	a.ScopeSeparator, a.NoPKCE, a.Rename = ",", true, map[string]string{"client_id": "client_key"}
	f, err := a.Form()
	if err != nil {
		t.Fatal(err)
	}
	if f.Get("scope") != "read,write" || f.Has("code_challenge") || f.Get("client_key") != "app" || f.Has("client_id") {
		t.Errorf("form %v", f.Encode())
	}
	a.Rename, a.Omit, a.Params = nil, []string{"client_id", "scope", "response_type"}, oauth.Form{{Name: "application_id", Value: "x"}}
	if f, err = a.Form(); err != nil || len(f) != 3 || f.Get("application_id") != "x" || !f.Has("state") || !f.Has("redirect_uri") {
		t.Errorf("form %v, %v", f.Encode(), err)
	}
}

// TestAuthorizationRefused: a request that could not be protected is not made.
func TestAuthorizationRefused(t *testing.T) {
	for name, change := range map[string]func(*oauth.Authorization){
		"9700-5 implicit":            func(a *oauth.Authorization) { a.ResponseType = "token" },
		"9700-5 hybrid token":        func(a *oauth.Authorization) { a.ResponseType = "code token" },
		"9700-5 id_token alone":      func(a *oauth.Authorization) { a.ResponseType = "id_token" },
		"no client":                  func(a *oauth.Authorization) { a.ClientID = "" },
		"9700-2 no state":            func(a *oauth.Authorization) { a.State = oauth.Secret{} },
		"9700-2 short state":         func(a *oauth.Authorization) { a.State = oauth.NewSecret("short") },
		"9700-4 no verifier":         func(a *oauth.Authorization) { a.Verifier = oauth.Secret{} },
		"openid without nonce":       func(a *oauth.Authorization) { a.Scope = []string{"openid"} },
		"two scopes in one":          func(a *oauth.Authorization) { a.Scope = []string{"a b"} },
		"RFC9396 not an array":       func(a *oauth.Authorization) { a.Details = `{}` },
		"RFC9396 not JSON":           func(a *oauth.Authorization) { a.Details = `[` },
		"RFC8707 fragment":           func(a *oauth.Authorization) { a.Resource = []string{"https://a.example/#x"} },
		"RFC8707 relative":           func(a *oauth.Authorization) { a.Resource = []string{"/a"} },
		"7636-1 plain by the back":   func(a *oauth.Authorization) { a.Params.Add("code_challenge_method", "plain") },
		"state by the back":          func(a *oauth.Authorization) { a.Params.Add("state", "x") },
		"redirect by the back":       func(a *oauth.Authorization) { a.Params.Add("redirect_uri", "https://evil.example") },
		"response type by the back":  func(a *oauth.Authorization) { a.Params.Add("response_type", "token") },
		"state left out":             func(a *oauth.Authorization) { a.Omit = []string{"state"} },
		"challenge left out":         func(a *oauth.Authorization) { a.Omit = []string{"code_challenge"} },
		"request object by the back": func(a *oauth.Authorization) { a.Params.Add("request", "x") },
	} {
		a := authorization()
		change(&a)
		if link, err := a.URL("https://as.example.com/authorize"); err == nil {
			t.Errorf("%s: made %s", name, link)
		}
	}
	a := authorization()
	for name, endpoint := range map[string]string{
		"http": "http://as.example.com/authorize", "javascript": "javascript:alert(1)", "file": "file:///etc/passwd",
		"fragment": "https://as.example.com/authorize#x", "user": "https://u:p@as.example.com/authorize",
		"parameter twice": "https://as.example.com/authorize?client_id=other", "broken query": "https://as.example.com/?a=%zz",
	} {
		if link, err := a.URL(endpoint); err == nil {
			t.Errorf("%s: made %s", name, link)
		}
	}
}
