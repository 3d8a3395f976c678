package main

import (
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestLoginAgain: a grant is logged in again as it was, without a flag, and
// otherwise where a flag says so.
func TestLoginAgain(t *testing.T) {
	d := newDoor(t)
	certificate(d)
	d.metadata = map[string]any{"pushed_authorization_request_endpoint": d.base + "/par"}
	port := freePort(t)
	d.login("--par", "--request-key", "file:key.pem", "--response-mode", "form_post", "--auth-param", "a=1", "--auth-param", "b=2", "--scope", "read",
		"--details", `[{"type":"payment"}]`, "--redirect-port", port, "--redirect-path", "/back", "--redirect-host", "localhost", "--login-hint", "ann", "--param", "team=7",
		"--client-auth", "private_key_jwt", "--key", "file:key.pem")
	first, sent := constant(d.asked), d.pushed
	if sent == nil || first.Get("alg") != "signed" || first.Get("a") != "1" || !strings.Contains(first.Get("redirect_uri"), "localhost:"+port+"/back") {
		t.Fatalf("the first request: pushed %v, %v", sent, first)
	}
	again := []string{"login", "--file", "t.json", "--ca-cert", "ca.pem", "--timeout", "20s"}
	if r := d.run(again...); r.code != 0 {
		t.Fatalf("again: %+v", r)
	}
	if second := constant(d.asked); d.pushed == nil || fmt.Sprint(second) != fmt.Sprint(first) {
		t.Errorf("again: pushed %t\n%v, want\n%v", d.pushed != nil, second, first)
	}
	if d.wants("exchange", d.token(2).form, "team", "7"); !signedBy(d.token(2), "ES256") {
		t.Errorf("the client did not sign: %v", d.token(2).form)
	}
	if r := d.run(append(again, "--par=false", "--request-key", "", "--auth-param", "c=3", "--response-mode", "")...); r.code != 0 {
		t.Fatalf("otherwise: %+v", r)
	}
	if d.pushed != nil {
		t.Error("it was pushed")
	}
	d.wants("otherwise", d.asked, "alg", "", "a", "", "b", "", "c", "3", "response_mode", "", "authorization_details", `[{"type":"payment"}]`, "login_hint", "ann")
	if r := d.run(again...); r.code != 0 || d.pushed != nil || d.asked.Get("c") != "3" {
		t.Errorf("the last way is the one that counts: %+v, %v", r, d.asked)
	}
}

// TestLoginAgainVariables: what a provider's entry needs is remembered.
func TestLoginAgainVariables(t *testing.T) {
	d := newDoor(t)
	catalog := d.entry(`"vars":{"app":{"hint":"the app"}},"login":{"params":{"application":"{app}"}}`)
	d.loginOwn(catalog, "--var", "app=x-1")
	if r := d.run("login", "--file", "t.json", "--ca-cert", "ca.pem", "--timeout", "20s", "--catalog", "own.json"); r.code != 0 {
		t.Fatalf("again: %+v", r)
	}
	d.wants("again", d.asked, "application", "x-1", "client_id", "app")
}

// TestLoginAgainRegistered: the secret of a client that was registered for the
// grant is where it was put.
func TestLoginAgainRegistered(t *testing.T) {
	for _, into := range []string{"file", "name"} {
		t.Run(into, func(t *testing.T) {
			d := newDoor(t)
			d.metadata = map[string]any{"registration_endpoint": d.base + "/register", "token_endpoint_auth_methods_supported": []string{"client_secret_post"}}
			d.env = append(d.env, "EVERGRANT_STORE="+filepath.Join(d.dir, "grants"), "EVERGRANT_KEY_FILE="+filepath.Join(d.dir, "key"))
			if r := d.run("store", "init", "--key-file", filepath.Join(d.dir, "key")); r.code != 0 {
				t.Fatal(r)
			}
			where := []string{"--" + into, map[string]string{"file": "t.json", "name": "mine"}[into], "--ca-cert", "ca.pem", "--timeout", "20s"}
			for _, args := range [][]string{{"login", d.base}, {"login"}} {
				if r := d.run(append(args, where...)...); r.code != 0 {
					t.Fatalf("%s: %+v", args, r)
				}
			}
			for n := 1; n <= 2; n++ {
				d.wants("exchange", d.token(n).form, "client_id", "client-1", "client_secret", "secret-1")
			}
		})
	}
}

// TestLoginAuthParamSecret: what goes into an address is no place for a secret.
func TestLoginAuthParamSecret(t *testing.T) {
	d := newDoor(t)
	r := d.run(d.with("login", d.base, []string{"--auth-param", "client_secret=hush"})...)
	if r.wantHint(t); r.code != exitUsage || strings.Contains(r.stderr, "hush") || d.asked != nil {
		t.Errorf("%+v, asked %v", r, d.asked)
	}
}

// constant are the parameters that are not new each time.
func constant(v url.Values) url.Values {
	v = maps.Clone(v)
	maps.DeleteFunc(v, func(name string, _ []string) bool {
		return slices.Contains([]string{"state", "nonce", "code_challenge", "jti", "iat", "exp", "nbf"}, name)
	})
	return v
}
