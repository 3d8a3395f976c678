package login_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/idptest"
	"github.com/evergrant/evergrant/login"
	"github.com/evergrant/evergrant/oauth"
	"github.com/evergrant/evergrant/provider"
)

// TestDiscoverIssuer_8414_1: an issuer's URL is enough, a slash too much or the
// document's own URL too, and the login then works.
func TestDiscoverIssuer_8414_1(t *testing.T) {
	b := newBed(t, idptest.Config{})
	for _, target := range []string{b.base, b.base + "/", b.base + "/.well-known/openid-configuration"} {
		f, err := login.Discover(bg, target, login.Config{ClientID: "app", Scopes: []string{"openid"}}, login.Client{})
		if err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		if s := f.Config.Server; s.Issuer != b.base || s.Authorize == "" || s.Token == "" || s.Device == "" || s.Keys == "" || !s.IssRequired {
			t.Errorf("%s: %+v", target, s)
		}
		u := newUser(t)
		f.Config.Open = u.open
		g, err := login.Browser(bg, f.Config)
		grantOf(t, g, err)
		if g.Identity == nil {
			t.Errorf("%s: no identity", target)
		}
	}
}

// TestDiscoverRefused: documents that must not be followed.
func TestDiscoverRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(s *rogue, m map[string]any)
		kind   login.Kind
	}{
		"FAPI2SPFinalClientTestDiscoveryIssuerMismatch": {func(s *rogue, m map[string]any) { m["issuer"] = "https://other.example" }, login.Untrusted},
		"javascript": {func(s *rogue, m map[string]any) { m["authorization_endpoint"] = "javascript:alert(1)" }, login.Misconfigured},
		"file":       {func(s *rogue, m map[string]any) { m["token_endpoint"] = "file:///etc/passwd" }, login.Misconfigured},
		"http":       {func(s *rogue, m map[string]any) { m["token_endpoint"] = "http://192.0.2.1/token" }, login.Misconfigured},
	} {
		s := newRogue(t)
		s.metadata = func(m map[string]any) { tt.change(s, m) }
		_, err := login.Discover(bg, s.base, login.Config{ClientID: "app"}, login.Client{})
		var e *login.Error
		if !errors.As(err, &e) || e.Kind != tt.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := newRogue(t) // publishes nothing
	_, err := login.Discover(bg, s.base+"/api", login.Config{}, login.Client{})
	wantKind(t, err, login.Misconfigured)
	for _, target := range []string{"http://example.com", "javascript://x/%0aalert(1)", "https://u:p@example.com", "no-such-provider"} {
		_, err := login.Discover(bg, target, login.Config{}, login.Client{})
		wantKind(t, err, login.Usage)
	}
	// 7636-1: a server that lists PKCE without S256 is not logged in to.
	s.metadata = func(m map[string]any) { m["code_challenge_methods_supported"] = []string{"plain"} }
	f, err := login.Discover(bg, s.base, login.Config{ClientID: "app"}, login.Client{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = login.Browser(bg, f.Config)
	wantKind(t, err, login.Misconfigured)
}

// TestDiscoverGate_9728_1: an API elsewhere can't send us to this machine, and
// the gate stays for the login.
func TestDiscoverGate_9728_1(t *testing.T) {
	f, err := login.Discover(bg, "google", login.Config{}, login.Client{})
	if err != nil || f.Config.HTTP.Gate != nil || f.Config.Provider == nil {
		t.Errorf("a provider of the catalog: %v", err)
	}
	s := newRogue(t)
	s.metadata = func(map[string]any) {}
	c := login.Config{ClientID: "app"}
	c.HTTP.Gate = oauth.PublicOnly
	_, err = login.Discover(bg, s.base, c, login.Client{})
	var e *oauth.SendError
	if !errors.As(err, &e) || e.Phase != oauth.PhaseGate || len(s.seen) != 0 {
		t.Errorf("%v, %d requests", err, len(s.seen))
	}
	if f, err = login.Discover(bg, s.base, login.Config{ClientID: "app"}, login.Client{}); err != nil || f.Config.HTTP.Gate == nil {
		t.Error("no gate is set", err)
	}
}

// api is an MCP server that names its authorization server.
func api(t *testing.T, issuer string) string {
	var base string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/mcp":
			w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+base+`/meta", scope="mcp:tools"`)
			w.WriteHeader(401)
		case "/meta":
			reply(w, 200, map[string]any{"resource": base + "/mcp", "authorization_servers": []string{issuer}, "scopes_supported": []string{"mcp:tools", "mcp:admin"}})
		default:
			w.WriteHeader(404)
		}
	}))
	t.Cleanup(s.Close)
	base = s.URL
	return base
}

// TestDiscoverAPI_9728_1: nothing but the URL of an API, and a login comes of it:
// the client is registered on the way, the token is asked for the API alone.
func TestDiscoverAPI_9728_1(t *testing.T) {
	s := newRogue(t)
	s.metadata = func(m map[string]any) {
		m["registration_endpoint"] = s.base + "/register"
		m["scopes_supported"] = []string{"mcp:tools", "offline_access"}
		m["authorization_response_iss_parameter_supported"] = true
	}
	var asked string
	s.other = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/register" {
			body, _ := io.ReadAll(r.Body)
			asked = string(body)
			reply(w, 201, map[string]any{"client_id": "made", "token_endpoint_auth_method": "none"})
			return
		}
		w.WriteHeader(404)
	}
	base := api(t, s.base)
	u := newUser(t)
	f, err := login.Discover(bg, base+"/mcp", login.Config{Open: u.open}, login.Client{Register: true})
	if err != nil {
		t.Fatal(err)
	}
	c := f.Config
	if f.Registered == nil || c.ClientID != "made" || c.AuthMethod != "none" || c.Redirect.Port == 0 || len(c.Resource) != 1 || c.Resource[0] != base+"/mcp" || fmt.Sprint(c.Scopes) != "[mcp:tools offline_access]" {
		t.Errorf("%+v", c)
	}
	uri := fmt.Sprintf("http://127.0.0.1:%d/callback", c.Redirect.Port)
	if !has(asked, `"redirect_uris":["`+uri+`"]`, `"refresh_token"`, `"application_type":"native"`, `"token_endpoint_auth_method":"none"`) {
		t.Errorf("registration %s", asked)
	}
	g, err := login.Browser(bg, c)
	grantOf(t, g, err)
	u.wg.Wait()
	if q := query(t, u.link); q.Get("redirect_uri") != uri || q.Get("resource") != base+"/mcp" || q.Get("scope") != "mcp:tools offline_access" {
		t.Errorf("%v", q)
	}
	if r := s.requests("/token")[0]; r.PostForm.Get("resource") != base+"/mcp" || r.PostForm.Get("client_id") != "made" {
		t.Errorf("%v", r.PostForm)
	}
}

// TestDiscoverClient: where the client id comes from.
func TestDiscoverClient(t *testing.T) {
	s := newRogue(t)
	document := "https://app.example/client.json"
	for _, tt := range []struct {
		name     string
		metadata func(m map[string]any)
		given    string
		how      login.Client
		want     string
	}{
		{"given", func(m map[string]any) { m["client_id_metadata_document_supported"] = true }, "mine", login.Client{DocumentURL: document, Register: true}, "mine"},
		{"document", func(m map[string]any) { m["client_id_metadata_document_supported"] = true }, "", login.Client{DocumentURL: document, Register: true}, document},
		{"document not taken", func(map[string]any) {}, "", login.Client{DocumentURL: document}, ""},
		{"registration not allowed", func(m map[string]any) { m["registration_endpoint"] = s.base + "/register" }, "", login.Client{}, ""},
	} {
		s.metadata = tt.metadata
		f, err := login.Discover(bg, s.base, login.Config{ClientID: tt.given}, tt.how)
		if err != nil || f.Config.ClientID != tt.want || f.Registered != nil {
			t.Errorf("%s: %q, %v", tt.name, f.Config.ClientID, err)
		}
	}
	if _, err := login.Browser(bg, login.Config{Server: s.server()}); err == nil || !strings.Contains(err.Error(), "client id") {
		t.Error(err)
	}
}

// TestDiscoverOldMCP: a server of 2025-03-26 has its authorization server at
// its origin and says nothing of it.
func TestDiscoverOldMCP(t *testing.T) {
	s := newRogue(t)
	s.metadata = func(map[string]any) {}
	f, err := login.Discover(bg, s.base+"/mcp", login.Config{ClientID: "app"}, login.Client{})
	if err != nil || f.Config.Server.Issuer != s.base || f.Resource != nil {
		t.Error(f, err)
	}
}

// TestLearn_9700_9: a provider's own metadata make a login by the catalog
// safer, and only if they are about the same endpoints.
func TestLearn_9700_9(t *testing.T) {
	s := newRogue(t)
	s.metadata = func(m map[string]any) { m["authorization_response_iss_parameter_supported"] = true }
	entry := &provider.Provider{Name: "x", Endpoints: provider.Endpoints{Authorize: s.base + "/authorize", Token: s.base + "/token", Discovery: s.base + "/.well-known/openid-configuration"}}
	u := newUser(t)
	c := login.Config{Provider: entry, ClientID: "app", Scopes: []string{"openid"}, Open: u.open}
	g, err := login.Browser(bg, c)
	grantOf(t, g, err)
	if g.Identity == nil || g.Issuer != s.base {
		t.Errorf("identity %v, issuer %q", g.Identity, g.Issuer)
	}
	s.metadata = func(m map[string]any) { m["token_endpoint"] = s.base + "/other" }
	if g, err = login.Browser(bg, c); err != nil || g.Identity != nil || g.TokenURL != s.base+"/token" {
		t.Errorf("%v, %v", g, err)
	}
	s.metadata = nil // not published: logged in to without
	if g, err = login.Browser(bg, c); err != nil || g.Issuer != "" {
		t.Error(err)
	}
}

func TestChooseAuth(t *testing.T) {
	secret := oauth.NewSecret("s")
	for _, tt := range []struct {
		methods []string
		secret  oauth.Secret
		want    string
	}{
		{nil, oauth.Secret{}, "none"},
		{nil, secret, "client_secret_basic"},
		{[]string{"client_secret_post", "client_secret_basic"}, secret, "client_secret_basic"},
		{[]string{"post"}, secret, "client_secret_post"},
		{[]string{"private_key_jwt"}, secret, ""},
	} {
		auth, got, err := login.ChooseAuth(tt.methods, "app", tt.secret)
		if got != tt.want || (err == nil) != (tt.want != "") || (auth == nil) != (err != nil) {
			t.Errorf("%v: %q, %v", tt.methods, got, err)
		}
	}
}
