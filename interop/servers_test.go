package interop_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Two implementations in Go, each with habits of its own. They are programs of a module of their own, servers/, so that
// what they need is no part of what Evergrant needs.

// goSecret is the secret of their clients; it says so in servers/.
const goSecret = "p%c+t:&=/? ~s"

var zitadel = sync.OnceValues(func() (string, error) { return build("zitadel", "servers", "./zitadel") })
var fosite = sync.OnceValues(func() (string, error) { return build("fosite", "servers", "./fosite") })

// newGoFlow starts one of them.
func newGoFlow(t *testing.T, program func() (string, error), args ...string) *flow {
	t.Helper()
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	f := &flow{evergrant: newCommand(t), browser: newBrowser(t, nil), server: asServer(t, startServer(t, exec.Command(bin, args...)))}
	f.evergrant.env = append(f.evergrant.env, f.env...)
	f.evergrant.env = append(f.evergrant.env, "SECRET="+goSecret)
	return f
}

// newZitadel starts zitadel/oidc; key is that of its clients that sign.
func newZitadel(t *testing.T) (f *flow, key string) {
	t.Helper()
	key, jwks := newKey(t, "RS256")
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, []byte(jwks), 0o600); err != nil {
		t.Fatal(err)
	}
	return newGoFlow(t, zitadel, file), key
}

// wantRenewed refreshes twice with nothing but the name; the access token works at path.
func (f *flow) wantRenewed(t *testing.T, path string) {
	t.Helper()
	for range 2 {
		before := f.evergrant.token(t, "work")
		f.evergrant.run(t, "refresh", "work").wantExit(t, 0)
		if f.evergrant.token(t, "work") == before {
			t.Error("a refresh brought no other token")
		}
		if path != "" {
			f.wantUserinfo(t, path)
		}
	}
	f.server.wantNoReuse(t)
}

func (f *flow) wantUserinfo(t *testing.T, path string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.server.ready.Issuer+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+f.evergrant.token(t, "work"))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("userinfo: %s", res.Status)
	}
}

const atZitadel = "/userinfo"

func TestZitadelLogin(t *testing.T) {
	f, _ := newZitadel(t)
	f.login(t)
	f.wantRenewed(t, atZitadel)
	res := f.evergrant.run(t, "userinfo", "work", "--json")
	res.wantExit(t, 0)
	if !strings.Contains(res.stdout, `"id1"`) {
		t.Errorf("userinfo: %s", res.stdout)
	}
	f.evergrant.run(t, "revoke", "work").wantExit(t, 0)
	f.evergrant.run(t, "refresh", "work").wantExit(t, 3)
}

func TestZitadelPrivateKeyJWT(t *testing.T) {
	f, key := newZitadel(t)
	f.login(t, "--client-id", "signer", "--key", "file:"+key)
	f.wantRenewed(t, atZitadel)
	f.server.wantParams(t, "/token", "client_assertion", "client_assertion_type", "client_id", "grant_type", "refresh_token")
}

// TestZitadelBasic has a secret whose characters must be form-encoded before base64 (RFC 6749 §2.3.1).
func TestZitadelBasic(t *testing.T) {
	f, _ := newZitadel(t)
	f.login(t, "--client-id", "web", "--client-secret", "env:SECRET")
	f.wantRenewed(t, atZitadel)
	if last := f.server.wantParams(t, "/token", "grant_type", "refresh_token"); last.Scheme != "Basic" {
		t.Errorf("%+v", last)
	}
	f.evergrant.run(t, "introspect", "work").wantExit(t, 0)
}

func TestZitadelDevice(t *testing.T) {
	f, _ := newZitadel(t)
	wait := f.evergrant.start(t, "login", f.server.ready.Issuer, "--client-id", "device", "--client-secret", "env:SECRET", "--name", "work", "--device",
		"--scope", "openid offline_access")
	shown := f.evergrant.stderr.waitFor(t, regexp.MustCompile(`open (\S+) on any device and enter the code (\S+)`))
	if p := f.browse(shown[1] + "?user_code=" + shown[2]); p.err != nil || p.status != http.StatusOK {
		t.Fatalf("entering the code: %+v", p)
	}
	wait().wantExit(t, 0)
	f.wantUserinfo(t, atZitadel) // its refresh tokens are no good here, see servers/zitadel
	f.server.wantNoReuse(t)
}

// TestZitadelTokenExchange trades an access token in for another (RFC 8693).
func TestZitadelTokenExchange(t *testing.T) {
	f, _ := newZitadel(t)
	f.login(t, "--client-id", "web", "--client-secret", "env:SECRET")
	subject := f.evergrant.token(t, "work")
	f.evergrant.env = append(f.evergrant.env, "SUBJECT="+subject)
	f.evergrant.run(t, "login", f.server.ready.Issuer, "--client-id", "web", "--client-secret", "env:SECRET", "--name", "traded",
		"--grant", "token-exchange", "--source", "env:SUBJECT", "--scope", "openid").wantExit(t, 0)
	if traded := f.evergrant.token(t, "traded"); traded == subject {
		t.Error("the same token came back")
	}
	f.evergrant.run(t, "refresh", "traded").wantExit(t, 0)
}

// TestZitadelJWTBearer asks with an assertion, and again with another (RFC 7523 §2.1).
func TestZitadelJWTBearer(t *testing.T) {
	f, key := newZitadel(t)
	f.evergrant.run(t, "login", f.server.ready.Issuer, "--client-id", "service", "--key", "file:"+key, "--client-auth", "none", "--name", "work",
		"--grant", "jwt-bearer", "--subject", "service", "--audience", f.server.ready.Issuer, "--scope", "openid").wantExit(t, 0)
	f.wantRenewed(t, "")
	if last := f.server.requests(t, "/token"); !slices.Contains(last[len(last)-1].Params, "assertion") {
		t.Errorf("%+v", last)
	}
}

func TestZitadelClientCredentials(t *testing.T) {
	f, _ := newZitadel(t)
	f.evergrant.env = append(f.evergrant.env, "SECRET=verysecret")
	f.evergrant.run(t, "login", f.server.ready.Issuer, "--client-id", "sid1", "--client-secret", "env:SECRET", "--name", "work",
		"--grant", "client_credentials").wantExit(t, 0)
	f.wantRenewed(t, "")
}

func TestFositeLogin(t *testing.T) {
	f := newGoFlow(t, fosite)
	f.login(t)
	f.wantRenewed(t, "")
	if got := f.seen("/auth")[0].Query().Get("code_challenge_method"); got != "S256" {
		t.Errorf("code_challenge_method %q", got)
	}
	f.evergrant.run(t, "revoke", "work").wantExit(t, 0)
	f.evergrant.run(t, "refresh", "work").wantExit(t, 3)
}

// TestFositeBasic has a secret whose characters must be form-encoded before base64 (RFC 6749 §2.3.1).
func TestFositeBasic(t *testing.T) {
	f := newGoFlow(t, fosite)
	f.login(t, "--client-id", "web", "--client-secret", "env:SECRET")
	f.wantRenewed(t, "")
	if last := f.server.wantParams(t, "/token", "grant_type", "refresh_token"); last.Scheme != "Basic" {
		t.Errorf("%+v", last)
	}
	if got := f.introspect(t); !got.Active || got.ClientID != "web" {
		t.Errorf("introspection: %+v", got)
	}
	f.evergrant.run(t, "revoke", "work").wantExit(t, 0)
	f.server.wantParams(t, "/revoke", "token", "token_type_hint")
}

func TestFositePushedRequest(t *testing.T) {
	f := newGoFlow(t, fosite)
	f.login(t, "--par")
	f.wantFront(t, "client_id", "request_uri")
	f.wantRenewed(t, "")
}

// TestFositeReuse has somebody send a spent refresh token: the grant ends for all.
func TestFositeReuse(t *testing.T) {
	f := newGoFlow(t, fosite)
	f.login(t)
	copied := f.document(t).RefreshToken
	f.evergrant.run(t, "refresh", "work").wantExit(t, 0)
	if status, body := f.server.post(t, copied); status != http.StatusBadRequest || !strings.Contains(string(body), "invalid_grant") {
		t.Fatalf("a spent token: %d %s", status, body)
	}
	f.evergrant.run(t, "refresh", "work").wantExit(t, 3)
	f.evergrant.run(t, "refresh", "work").wantExit(t, 3)
}
