package interop_test

import (
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/login"
	"github.com/evergrant/evergrant/store/keyring"
)

// These tests log in to oidc-provider with one feature at a time switched on, mostly in a way that nothing but that
// feature gets through, and take the grant through a refresh: what a login agreed on must be known to it.

// TestRFC7636AuthorizationCodeWithPKCE also covers RFC 9207: the server promises iss and sends it, and the nonce of the
// ID token is checked (OpenID Connect Core §3.1.3.7).
func TestRFC7636AuthorizationCodeWithPKCE(t *testing.T) {
	f := newFlow(t, "")
	res := f.login(t, "--json")
	var said struct {
		Account string `json:"account"`
	}
	if err := json.Unmarshal([]byte(res.stdout), &said); err != nil || said.Account != "ada" {
		t.Errorf("login names no account, or another one: %v\n%s", err, res.stdout)
	}
	front := f.seen("/auth")[0].Query()
	if front.Get("code_challenge_method") != "S256" || len(front.Get("code_challenge")) != 43 || len(front.Get("state")) != 43 || len(front.Get("nonce")) != 43 {
		t.Errorf("authorization request: %s", front.Encode())
	}
	back := f.seen("/callback")[0].Query()
	if back.Get("iss") != f.server.ready.Issuer || back.Get("state") != front.Get("state") {
		t.Errorf("authorization response: %s", back.Encode())
	}
	f.server.wantParams(t, "/token", "client_id", "code", "code_verifier", "grant_type", "redirect_uri")
	f.wantLasting(t)
}

func TestRFC8628Device(t *testing.T) {
	t.Parallel() // five seconds of waiting
	f := newFlow(t, deviceClient, "device")
	wait := f.evergrant.start(t, "login", f.server.ready.Issuer, "--client-id", f.server.ready.ClientID, "--name", "work", "--device")
	shown := f.evergrant.stderr.waitFor(t, regexp.MustCompile(`open (\S+) on any device and enter the code (\S+)`))
	if p := f.enter(shown[1], shown[2]); p.err != nil || p.status != http.StatusOK || !strings.Contains(p.body, "Sign-in Success") {
		t.Fatalf("entering the code ended with %v:\n%s", p.err, p.body)
	}
	wait().wantExit(t, 0)
	f.wantLasting(t)
}

// TestRFC8628DeviceDenied lets the person refuse: that is a verdict, and no reason to poll on.
func TestRFC8628DeviceDenied(t *testing.T) {
	t.Parallel() // five seconds of waiting
	f := newFlow(t, deviceClient, "device")
	wait := f.evergrant.start(t, "login", f.server.ready.Issuer, "--client-id", f.server.ready.ClientID, "--name", "work", "--device")
	shown := f.evergrant.stderr.waitFor(t, regexp.MustCompile(`open (\S+) on any device and enter the code (\S+)`))
	f.refuse = true
	f.enter(shown[1], shown[2])
	wait().wantExit(t, 3)
}

const deviceClient = `{"grant_types":["urn:ietf:params:oauth:grant-type:device_code","refresh_token","authorization_code"]}`

// TestRFC9126PushedRequest: the server demands it, and the browser carries nothing but a reference.
func TestRFC9126PushedRequest(t *testing.T) {
	f := newFlow(t, "", "par-required")
	f.login(t)
	f.wantFront(t, "client_id", "request_uri")
	f.server.wantParams(t, "/request", "client_id", "code_challenge", "code_challenge_method", "nonce", "prompt", "redirect_uri", "response_type", "scope", "state")
	f.wantLasting(t)
}

func TestRFC9101SignedRequest(t *testing.T) {
	key, jwks := newKey(t, "ES256")
	f := newFlow(t, `{"request_object_signing_alg":"ES256","jwks":`+jwks+`}`, "jar-required")
	f.login(t, "--request-key", "file:"+key)
	f.wantFront(t, "client_id", "request")
	f.wantLasting(t)
}

func TestRFC9101SignedRequestPushed(t *testing.T) {
	key, jwks := newKey(t, "ES256")
	f := newFlow(t, `{"request_object_signing_alg":"ES256","jwks":`+jwks+`}`, "jar-required", "par-required")
	f.login(t, "--request-key", "file:"+key)
	f.wantFront(t, "client_id", "request_uri")
	f.server.wantParams(t, "/request", "client_id", "request")
	f.wantLasting(t)
}

// TestRFC9449DPoPWithNonce: the server refuses each first proof and names a nonce (§8), at its token endpoint and at the
// protected resource (§9).
func TestRFC9449DPoPWithNonce(t *testing.T) {
	f := newFlow(t, `{"dpop_bound_access_tokens":true}`, "dpop-nonce", "revocation")
	f.login(t, "--dpop")
	if front := f.seen("/auth")[0].Query(); len(front.Get("dpop_jkt")) != 43 {
		t.Errorf("the code is not bound to the key (§10): %s", front.Encode())
	}
	f.evergrant.run(t, "refresh", "work").wantExit(t, 0)
	f.server.wantNoReuse(t)
	var statuses []int
	for _, e := range f.server.requests(t, "/token") {
		if !e.DPoP {
			t.Errorf("a token request without proof: %+v", e)
		}
		statuses = append(statuses, e.Status)
	}
	if want := []int{400, 200, 400, 200}; !slices.Equal(statuses, want) { // each process asks for a nonce once
		t.Errorf("token requests were answered %v, want %v", statuses, want)
	}
	if status := f.server.use(t, f.evergrant.token(t, "work")); status == http.StatusOK {
		t.Error("the token is taken as a bearer token: this test proves nothing")
	}

	f.wantLibraryClient(t)
	f.evergrant.run(t, "revoke", "work").wantExit(t, 0)
	f.evergrant.run(t, "refresh", "work").wantExit(t, 3)
}

// TestRFC9449UserinfoWithNonce: the protected resource wants a nonce of its own, and names it in its refusal (§9).
func TestRFC9449UserinfoWithNonce(t *testing.T) {
	f := newFlow(t, `{"dpop_bound_access_tokens":true}`, "dpop-nonce")
	f.login(t, "--dpop")
	res := f.evergrant.run(t, "userinfo", "work", "--json")
	res.wantExit(t, 0)
	if !strings.Contains(res.stdout, `"ada"`) {
		t.Errorf("userinfo: %s", res.stdout)
	}
}

// wantLibraryClient uses the kept grant by the library's client, at the protected resource.
func (f *flow) wantLibraryClient(t *testing.T) {
	t.Helper()
	store, err := keyring.Open(keyring.Config{Dir: filepath.Join(f.evergrant.home, "store"), Key: keyring.Key{File: filepath.Join(f.evergrant.home, "key")}})
	if err != nil {
		t.Fatal(err)
	}
	src, err := evergrant.Open(store, "work", evergrant.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	client := src.Client(evergrant.ClientOptions{})
	defer client.CloseIdleConnections()
	for range 2 { // the second has the nonce of the first answer
		res, err := client.Get(f.server.ready.Issuer + "/me")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("userinfo by the library's client: %s, %s", res.Status, res.Header.Get("WWW-Authenticate"))
		}
	}
	all := f.server.requests(t, "/me")
	if last := all[len(all)-1]; !last.DPoP || last.Scheme != "DPoP" {
		t.Errorf("request for userinfo: %+v", last)
	}
}

func TestRFC7523PrivateKeyJWT(t *testing.T) {
	for _, alg := range []string{"ES256", "PS256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			key, jwks := newKey(t, alg)
			f := newFlow(t, `{"token_endpoint_auth_method":"private_key_jwt","token_endpoint_auth_signing_alg":"`+alg+`","jwks":`+jwks+`}`)
			f.login(t, "--key", "file:"+key, "--key-alg", alg)
			f.wantAuth(t, "private_key_jwt", "client_assertion", "client_assertion_type")
			f.wantLasting(t)
			f.wantAuth(t, "private_key_jwt", "client_assertion", "client_assertion_type")
		})
	}
}

// A secret that a form must escape, as RFC 6749 §2.3.1 says for Basic too.
const oddSecret = "p%c+t:&=/? ~secret-of-32-characters"

func TestRFC6749ClientSecretBasic(t *testing.T) { testSecret(t, "client_secret_basic", "basic") }
func TestRFC6749ClientSecretPost(t *testing.T) {
	testSecret(t, "client_secret_post", "post", "client_secret")
}
func TestRFC7523ClientSecretJWT(t *testing.T) {
	testSecret(t, "client_secret_jwt", "client_secret_jwt", "client_assertion", "client_assertion_type")
}

func testSecret(t *testing.T, method, flag string, params ...string) {
	f := newFlow(t, `{"token_endpoint_auth_method":"`+method+`","client_secret":"`+oddSecret+`"}`)
	t.Setenv("SECRET", oddSecret)
	res := f.login(t, "--client-secret", "env:SECRET", "--client-auth", flag)
	res.wantNoSecrets(t, oddSecret)
	f.wantAuth(t, method, params...)
	f.wantLasting(t)
	f.wantAuth(t, method, params...)
}

func TestRFC8705MutualTLS(t *testing.T) {
	certs := newCertificates(t)
	for method, metadata := range map[string]string{
		"tls_client_auth":             `"tls_client_auth_san_dns":"` + clientName + `"`,
		"self_signed_tls_client_auth": `"jwks":` + certs.jwks(t),
	} {
		t.Run(method, func(t *testing.T) {
			f := newSecureFlow(t, certs, `{"token_endpoint_auth_method":"`+method+`","tls_client_certificate_bound_access_tokens":true,`+metadata+`}`, "mtls")
			f.login(t, "--key", "file:"+certs.clientKey, "--cert", "file:"+certs.client, "--client-auth", method, "--ca-cert", certs.authority)
			f.wantAuth(t, method)
			f.evergrant.run(t, "refresh", "work", "--ca-cert", certs.authority).wantExit(t, 0)
			f.wantAuth(t, method)
			f.server.wantNoReuse(t)
		})
	}
}

// jwks is the client's certificate as a key set (RFC 8705 §2.2.2).
func (c *certificates) jwks(t *testing.T) string {
	t.Helper()
	key := c.clientCert.PublicKey.(*ecdsa.PublicKey)
	point, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString
	b, err := json.Marshal(map[string]any{"keys": []map[string]any{{
		"kty": "EC", "crv": "P-256", "x": text(point[1:33]), "y": text(point[33:]), "x5c": []string{base64.StdEncoding.EncodeToString(c.clientCert.Raw)},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRFC8707ResourceIndicator(t *testing.T) {
	f := newFlow(t, "", "resources", "introspection")
	f.login(t, "--scope", "openid offline_access read", "--resource", "https://api.example.com/")
	f.evergrant.run(t, "refresh", "work").wantExit(t, 0)
	f.server.wantNoReuse(t)
	if got := f.introspect(t); got.Audience != "https://api.example.com/" || !strings.Contains(got.Scope, "read") {
		t.Errorf("after a refresh the token is %+v, want one for the resource", got)
	}
}

// TestRFC8707TwoResources: both are asked for, and the server gives tokens for one at a time.
func TestRFC8707TwoResources(t *testing.T) {
	f := newFlow(t, "", "resources", "introspection")
	f.login(t, "--scope", "openid offline_access read", "--resource", "https://api.example.com/", "--resource", "https://files.example.com/")
	if got := f.seen("/auth")[0].Query()["resource"]; len(got) != 2 {
		t.Errorf("asked for %v", got)
	}
	f.evergrant.run(t, "refresh", "work").wantExit(t, 0)
	f.server.wantNoReuse(t)
	if got := f.introspect(t); !strings.Contains(got.Scope, "read") {
		t.Errorf("%+v", got)
	}
}

func TestRFC7009Revocation(t *testing.T) {
	f := newFlow(t, "", "revocation")
	f.login(t)
	access := f.evergrant.token(t, "work")
	f.evergrant.run(t, "revoke", "work").wantExit(t, 0)
	f.server.wantParams(t, "/token/revocation", "client_id", "token", "token_type_hint")
	f.server.wantRefused(t, access)
	sent := len(f.server.requests(t, "/token"))
	f.evergrant.run(t, "refresh", "work").wantExit(t, 3)
	if len(f.server.requests(t, "/token")) != sent {
		t.Error("a token that was revoked here was sent again")
	}
}

func TestRFC7662Introspection(t *testing.T) {
	f := newFlow(t, "", "introspection")
	f.login(t)
	got := f.introspect(t)
	if !got.Active || got.ClientID != f.server.ready.ClientID || got.Subject != "ada" {
		t.Errorf("%+v", got)
	}
	f.evergrant.run(t, "introspect", "work", "--refresh-token").wantExit(t, 0)
}

// TestRFC7591Registration needs nothing but the issuer: the server has no client yet.
func TestRFC7591Registration(t *testing.T) {
	f := newFlow(t, "", "registration")
	res := f.evergrant.run(t, "login", f.server.ready.Issuer, "--name", "work")
	res.wantExit(t, 0)
	f.wantResultPage(t, "Logged in")
	f.wantLasting(t)

	// Again: the client that was made is remembered.
	f.evergrant.run(t, "login", "--name", "work").wantExit(t, 0)
	f.wantResultPage(t, "Logged in")
	if n := len(f.server.requests(t, "/reg")); n != 1 {
		t.Errorf("%d registrations", n)
	}
	f.wantLasting(t)
}

func TestRFC6749ClientCredentials(t *testing.T) {
	f := newFlow(t, `{"token_endpoint_auth_method":"client_secret_basic","client_secret":"`+oddSecret+`","grant_types":["client_credentials"],"redirect_uris":[],"response_types":[]}`, "client-credentials")
	t.Setenv("SECRET", oddSecret)
	f.evergrant.run(t, "login", f.server.ready.Issuer, "--client-id", f.server.ready.ClientID, "--name", "work",
		"--grant", "client_credentials", "--client-secret", "env:SECRET").wantExit(t, 0)
	first := f.evergrant.token(t, "work")
	f.evergrant.run(t, "refresh", "work").wantExit(t, 0)
	if f.evergrant.token(t, "work") == first {
		t.Error("a refresh of client credentials asks again, and this brought nothing new")
	}
	f.server.wantParams(t, "/token", "grant_type")
}

// TestOIDCIDTokenAlgorithms: whatever the server signs ID tokens with is verified (OpenID Connect Core §3.1.3.7).
func TestOIDCIDTokenAlgorithms(t *testing.T) {
	for _, alg := range []string{"RS256", "PS256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			f := newFlow(t, `{"id_token_signed_response_alg":"`+alg+`"}`)
			if res := f.login(t); !strings.Contains(res.stdout, "ada") {
				t.Errorf("the ID token was not read:\n%s", res.stdout)
			}
		})
	}
}

// TestRFC9396RichAuthorizationRequest asks for one payment.
func TestRFC9396RichAuthorizationRequest(t *testing.T) {
	f := newFlow(t, `{"authorization_details_types":["payment"]}`, "details", "resources")
	f.login(t, "--resource", "https://api.example.com/", "--scope", "openid offline_access read", "--details", `[{"type":"payment","amount":"12.50"}]`)
	var kept struct {
		Details []map[string]string `json:"authorization_details"`
	}
	res := f.evergrant.run(t, "export", "work", "--format", "token-response")
	if err := json.Unmarshal([]byte(res.stdout), &kept); err != nil || len(kept.Details) != 1 || kept.Details[0]["amount"] != "12.50" {
		t.Errorf("kept: %v %+v", err, kept)
	}
	f.evergrant.run(t, "refresh", "work").wantExit(t, 0)
	f.server.wantNoReuse(t)
}

// TestClientIDMetadataDocument has no registration at all: the client id is the URL of a document about the client.
func TestClientIDMetadataDocument(t *testing.T) {
	const at = "https://client.example.com/evergrant.json"
	f := startFlow(t, nil, "--feature", "client-documents", "--documents", `{"`+at+`":{"client_id":"`+at+`","client_name":"Evergrant","application_type":"native",
		"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"],"redirect_uris":["http://127.0.0.1/callback"]}}`)
	f.evergrant.run(t, "login", f.server.ready.Issuer, "--client-document", at, "--name", "work").wantExit(t, 0)
	f.wantResultPage(t, "Logged in")
	if got := f.evergrant.status(t, "work").ClientID; got != at {
		t.Errorf("client id %q", got)
	}
	f.wantLasting(t)
}

// TestRFC9728ProtectedResource needs nothing but the URL of an API: it names its authorization server, which registers a
// client. This is what the MCP authorization specification asks of a client.
func TestRFC9728ProtectedResource(t *testing.T) {
	f := newFlow(t, "", "registration", "resources")
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		self := "http://" + r.Host
		if r.URL.Path == "/metadata" {
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(map[string]any{"resource": self + "/mcp", "authorization_servers": []string{f.server.ready.Issuer}, "scopes_supported": []string{"openid", "read"}})
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+self+`/metadata"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(api.Close)
	f.evergrant.run(t, "login", api.URL+"/mcp", "--name", "work").wantExit(t, 0)
	f.wantResultPage(t, "Logged in")
	if front := f.seen("/auth")[0].Query(); front.Get("resource") != api.URL+"/mcp" || !strings.Contains(front.Get("scope"), "read") {
		t.Errorf("authorization request: %s", front.Encode())
	}
	f.evergrant.run(t, "refresh", "work").wantExit(t, 0)
	last := f.server.requests(t, "/token")
	if !slices.Contains(last[len(last)-1].Params, "resource") {
		t.Errorf("the refresh does not say what for: %+v", last[len(last)-1])
	}
	f.server.wantNoReuse(t)
}

// TestTranscriptHasNoSecrets has login tell all it can.
func TestTranscriptHasNoSecrets(t *testing.T) {
	f := newFlow(t, "", "par-required", "dpop-nonce")
	res := f.login(t, "--dpop", "-v")
	back := f.seen("/callback")[0].Query()
	kept := f.document(t)
	res.wantNoSecrets(t, append(kept.secrets(), back.Get("code"), back.Get("state"))...)
	if !strings.Contains(res.stderr, "/token") {
		t.Errorf("no transcript:\n%s", res.stderr)
	}
	if data, err := os.ReadFile(filepath.Join(f.evergrant.home, "store", "work")); err == nil && strings.Contains(string(data), kept.RefreshToken) {
		t.Error("the store is not sealed")
	}
}

// TestLoginLibrary is the same by package login, without the command.
func TestLoginLibrary(t *testing.T) {
	f := newFlow(t, "", "par-required", "dpop-nonce")
	key, err := jose.Generate("ES256")
	if err != nil {
		t.Fatal(err)
	}
	found, err := login.Discover(t.Context(), f.server.ready.Issuer, login.Config{ClientID: f.server.ready.ClientID, DPoPKey: key}, login.Client{})
	if err != nil {
		t.Fatal(err)
	}
	c := found.Config
	c.Open = func(link string) error {
		go func() { f.ended <- f.browse(link) }()
		return nil
	}
	grant, err := login.Browser(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	f.wantResultPage(t, "Logged in")
	if grant.Identity == nil || grant.Identity.Subject != "ada" || grant.Issuer != f.server.ready.Issuer || grant.Token.TokenType != "DPoP" {
		t.Errorf("%+v", grant)
	}
	var kept evergrant.Memory
	cfg := evergrant.Config{TokenURL: grant.TokenURL, ClientID: grant.ClientID, AuthMethod: grant.AuthMethod, Issuer: grant.Issuer}
	if err := evergrant.Keep(t.Context(), &kept, "work", []byte(grant.Document.Reveal()), cfg); err != nil {
		t.Fatal(err)
	}
	src, err := evergrant.Open(&kept, "work", cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if _, err := src.Refresh(t.Context(), evergrant.RefreshOptions{}); err != nil {
		t.Fatal(err)
	}
	f.server.wantNoReuse(t)
}

func TestFormPostResponseMode(t *testing.T) {
	f := newFlow(t, "")
	f.login(t, "--response-mode", "form_post")
	if back := f.seen("/callback"); len(back) != 1 || back[0].RawQuery != "" {
		t.Errorf("callbacks: %v", back)
	}
	f.wantLasting(t)
}

// TestJARM has the callback signed (JWT Secured Authorization Response Mode).
func TestJARM(t *testing.T) {
	for _, mode := range []string{"jwt", "query.jwt", "form_post.jwt"} {
		t.Run(mode, func(t *testing.T) {
			f := newFlow(t, "", "jarm")
			f.login(t, "--response-mode", mode)
			if back := f.seen("/callback")[0].Query(); back.Has("code") || mode != "form_post.jwt" && !back.Has("response") {
				t.Errorf("callback: %s", back.Encode())
			}
			f.wantLasting(t)
		})
	}
}

// TestRFC9700ReuseDetection: whoever holds a copy of a spent token ends the grant for all (§4.14.2). Evergrant notices,
// says so, and asks no more.
func TestRFC9700ReuseDetection(t *testing.T) {
	f := newFlow(t, "")
	f.login(t)
	copied := f.document(t).RefreshToken
	f.evergrant.run(t, "refresh", "work").wantExit(t, 0)
	f.server.wantNoReuse(t)
	f.server.reuse(t, copied) // somebody else
	newest := f.document(t).RefreshToken
	f.evergrant.run(t, "refresh", "work").wantExit(t, 3)
	f.evergrant.run(t, "refresh", "work").wantExit(t, 3)
	f.server.wantSent(t, copied, 2)
	f.server.wantSent(t, newest, 1)

	// Logging in again mends it, without a word about where.
	f.evergrant.run(t, "login", "--name", "work").wantExit(t, 0)
	f.wantResultPage(t, "Logged in")
	f.evergrant.run(t, "refresh", "work").wantExit(t, 0)
}

// TestLoginDenied lets the person say no.
func TestLoginDenied(t *testing.T) {
	f := newFlow(t, "")
	f.server.send(t, `{"deny":true}`)
	res := f.evergrant.run(t, "login", f.server.ready.Issuer, "--client-id", f.server.ready.ClientID, "--name", "work")
	res.wantExit(t, 3)
	f.wantResultPage(t, "Not logged in")
}

// TestPastedAddress logs in where no browser comes back: the address is copied by hand.
func TestPastedAddress(t *testing.T) {
	f := newFlow(t, "")
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	f.evergrant.stdin = in
	wait := f.evergrant.start(t, "login", f.server.ready.Issuer, "--client-id", f.server.ready.ClientID, "--name", "work", "--no-browser")
	in.Close()
	shown := f.evergrant.stderr.waitFor(t, regexp.MustCompile(`(http://\S+/auth\?\S+)`))
	callback := f.server.browse(t, shown[1])
	if _, err := out.WriteString(callback.String() + "\n"); err != nil {
		t.Fatal(err)
	}
	wait().wantExit(t, 0)
	f.wantLasting(t)
}

// A flow is a server with features, and the command with a browser that log in to it.
type flow struct {
	*browser
	server    *oidcServer
	evergrant *command
}

// newFlow starts a server. client is laid over the metadata of its client.
func newFlow(t *testing.T, client string, features ...string) *flow {
	t.Helper()
	return newSecureFlow(t, nil, client, features...)
}

func newSecureFlow(t *testing.T, certs *certificates, client string, features ...string) *flow {
	t.Helper()
	var args []string
	for _, name := range features {
		args = append(args, "--feature", name)
	}
	if client != "" {
		args = append(args, "--client", client)
	}
	return startFlow(t, certs, args...)
}

// startFlow starts a server with the arguments of oidc.mjs.
func startFlow(t *testing.T, certs *certificates, args ...string) *flow {
	t.Helper()
	f := &flow{evergrant: newCommand(t)}
	if certs == nil {
		f.browser = newBrowser(t, nil)
	} else {
		f.browser = newBrowser(t, certs.roots)
		args = append(args, "--tls", strings.Join([]string{certs.server, certs.serverKey, certs.authority}, ","))
	}
	f.server = startOIDC(t, args...)
	f.evergrant.env = append(f.evergrant.env, f.env...)
	return f
}

// login logs in by browser under the name work.
func (f *flow) login(t *testing.T, args ...string) result {
	t.Helper()
	res := f.evergrant.run(t, append([]string{"login", f.server.ready.Issuer, "--client-id", f.server.ready.ClientID, "--name", "work"}, args...)...)
	res.wantExit(t, 0)
	f.wantResultPage(t, "Logged in")
	return res
}

// wantLasting refreshes twice with nothing but the name, and uses what came of it.
func (f *flow) wantLasting(t *testing.T) {
	t.Helper()
	for range 2 {
		before := f.evergrant.token(t, "work")
		f.evergrant.run(t, "refresh", "work").wantExit(t, 0)
		after := f.evergrant.token(t, "work")
		if before == after {
			t.Error("a refresh brought no other token")
		}
		f.server.wantAccepted(t, after)
	}
	f.server.wantNoReuse(t)
}

// wantFront checks which parameters went by the browser.
func (f *flow) wantFront(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for name := range f.seen("/auth")[0].Query() {
		got = append(got, name)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the browser carried %v, want %v", got, want)
	}
}

// wantAuth checks how the client authenticated last, and by which parameters.
func (f *flow) wantAuth(t *testing.T, method string, params ...string) {
	t.Helper()
	all := f.server.requests(t, "/token")
	last := all[len(all)-1]
	var got []string
	for _, p := range last.Params {
		if strings.HasPrefix(p, "client_") && p != "client_id" {
			got = append(got, p)
		}
	}
	if last.ClientAuth != method || !slices.Equal(got, params) || (last.Scheme == "Basic") != (method == "client_secret_basic") {
		t.Errorf("the client authenticated so: %+v, want %s with %v", last, method, params)
	}
}

// document is what is kept.
func (f *flow) document(t *testing.T) (a tokenAnswer) {
	t.Helper()
	res := f.evergrant.run(t, "export", "work", "--format", "token-response")
	res.wantExit(t, 0)
	if err := json.Unmarshal([]byte(res.stdout), &a); err != nil {
		t.Fatal(err)
	}
	return a
}

type introspection struct {
	Active   bool   `json:"active"`
	ClientID string `json:"client_id"`
	Subject  string `json:"sub"`
	Scope    string `json:"scope"`
	Audience string `json:"aud"`
}

func (f *flow) introspect(t *testing.T) (i introspection) {
	t.Helper()
	res := f.evergrant.run(t, "introspect", "work", "--json")
	res.wantExit(t, 0)
	if err := json.Unmarshal([]byte(res.stdout), &i); err != nil {
		t.Fatal(err)
	}
	return i
}

// newKey makes a private key as a JWK file, and its public half as a key set.
func newKey(t *testing.T, alg string) (path, jwks string) {
	t.Helper()
	key, err := jose.Generate(alg)
	if err != nil {
		t.Fatal(err)
	}
	private, err := key.JWK()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicJWK()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(path, []byte(private.Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, `{"keys":[` + string(public) + `]}`
}
