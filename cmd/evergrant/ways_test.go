package main

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestLoginFeatures: the ways in, by their numbers in docs/features.md.
func TestLoginFeatures(t *testing.T) {
	t.Run("#11 browser", func(t *testing.T) {
		d := newDoor(t)
		d.login()
		d.refresh()
		d.wants("exchange", d.token(1).form, "grant_type", "authorization_code", "code", "the-code", "client_id", "app", "client_secret", "")
		d.wants("refresh", d.token(2).form, "grant_type", "refresh_token", "refresh_token", "rt-1", "client_id", "app", "client_secret", "", "scope", "")
	})
	t.Run("#12 9700-4 PKCE", func(t *testing.T) {
		d := newDoor(t)
		d.login()
		d.wants("authorization", d.asked, "code_challenge_method", "S256", "response_type", "code")
		if v := d.token(1).form.Get("code_verifier"); len(v) != 43 {
			t.Errorf("verifier %q", v)
		}
		d.metadata = map[string]any{"code_challenge_methods_supported": []string{"plain"}}
		r := d.run(d.with("login", d.base, nil)...)
		if r.wantHint(t); r.code != exitMisconfigured {
			t.Errorf("plain: %+v", r)
		}
	})
	t.Run("#13 8252-2 wrong state", func(t *testing.T) {
		d := newDoor(t)
		d.visit = func(link string) {
			u, _ := url.Parse(link)
			if resp, err := http.Get(u.Query().Get("redirect_uri") + "?code=stolen&state=other"); err == nil {
				resp.Body.Close()
			}
			d.follow(link)
		}
		d.login()
		d.wants("exchange", d.token(1).form, "code", "the-code")
	})
	t.Run("#13 9207-1 iss of another", func(t *testing.T) {
		d := newDoor(t)
		d.callback = func(v url.Values) { v.Set("iss", "https://evil.example") }
		r := d.run(d.with("login", d.base, nil)...)
		if r.wantHint(t); r.code != exitMisconfigured || len(d.seen) != 0 {
			t.Errorf("%d token requests, %+v", len(d.seen), r)
		}
	})
	t.Run("#18 paste", func(t *testing.T) {
		d := newDoor(t)
		d.login("--no-browser", "--redirect-port", "8400")
		d.wants("authorization", d.asked, "redirect_uri", "http://127.0.0.1:8400/callback")
	})
	t.Run("#21 form_post", func(t *testing.T) {
		d := newDoor(t)
		d.login("--response-mode", "form_post")
		d.wants("authorization", d.asked, "response_mode", "form_post")
	})
	t.Run("#22 code id_token", func(t *testing.T) {
		d := newDoor(t)
		d.callback = func(v url.Values) { v.Set("id_token", "not-to-be-read") }
		d.login("--auth-param", "response_type=code id_token")
		d.wants("authorization", d.asked, "response_type", "code id_token", "response_mode", "form_post")
		if d.members("t.json")["id_token"] != nil {
			t.Error("the ID token of the front channel was kept")
		}
		r := d.run(d.with("login", d.base, []string{"--auth-param", "response_type=token"})...)
		if r.wantHint(t); r.code != exitUsage {
			t.Errorf("implicit: %+v", r)
		}
	})
	t.Run("RFC9396 details", func(t *testing.T) {
		d := newDoor(t)
		const details = `[{"type":"payment"}]`
		d.login("--details", details)
		d.wants("authorization", d.asked, "authorization_details", details)
		d.write("details.json", details+"\n")
		d.login("--details", "@details.json")
		d.wants("authorization", d.asked, "authorization_details", details)
		r := d.run(d.with("login", d.base, []string{"--details", "{}"})...)
		if r.wantHint(t); r.code != exitUsage {
			t.Errorf("no array: %+v", r)
		}
	})
}

// TestCallbackPlace: #15 and #16, where the browser comes back to.
func TestCallbackPlace(t *testing.T) {
	t.Run("#15 port in use", func(t *testing.T) {
		d := newDoor(t)
		port := takenPort(t)
		r := d.run(d.with("login", d.base, []string{"--redirect-port", port})...)
		if r.wantHint(t); r.code != exitUsage || !strings.Contains(r.stderr, port) {
			t.Errorf("port %s: %+v", port, r)
		}
		n, _ := strconv.Atoi(port)
		d.login("--redirect-port", fmt.Sprintf("%s-%d", port, min(n+50, 65535)))
		u, _ := url.Parse(d.asked.Get("redirect_uri"))
		if got, _ := strconv.Atoi(u.Port()); got <= n || got > n+50 {
			t.Errorf("redirect_uri %v", u)
		}
	})
	t.Run("#15 IPv6", func(t *testing.T) {
		l, err := net.Listen("tcp", "[::1]:0")
		if err != nil {
			t.Skip("this machine has no IPv6")
		}
		l.Close()
		d := newDoor(t)
		d.login("--redirect-host", "::1")
		if got := d.asked.Get("redirect_uri"); !strings.HasPrefix(got, "http://[::1]:") {
			t.Error(got)
		}
	})
	t.Run("#16 path", func(t *testing.T) {
		d := newDoor(t)
		d.login("--redirect-path", "/oauth/sf", "--redirect-host", "localhost")
		if got := d.asked.Get("redirect_uri"); !strings.HasPrefix(got, "http://localhost:") || !strings.HasSuffix(got, "/oauth/sf") {
			t.Error(got)
		}
	})
	t.Run("#16 https page", func(t *testing.T) {
		d := newDoor(t)
		port := freePort(t)
		d.visit = func(link string) {
			d.follow("http://127.0.0.1:" + port + "/callback" + strings.TrimPrefix(d.redirectOf(link), "https://me.example/cb"))
		}
		d.login("--redirect-uri", "https://me.example/cb", "--redirect-port", port)
		d.wants("exchange", d.token(1).form, "redirect_uri", "https://me.example/cb")
	})
}

// TestCallbackElsewhere: #16 and #18, addresses that nothing here can listen on.
func TestCallbackElsewhere(t *testing.T) {
	for name, uri := range map[string]string{
		"#16 an app's own scheme": "com.example.app:/oauth",
		"#16 its own host":        "msal-app://auth",
		"#18 out of band":         "urn:ietf:wg:oauth:2.0:oob",
	} {
		t.Run(name, func(t *testing.T) {
			d := newDoor(t)
			d.login("--no-browser", "--redirect-uri", uri)
			d.wants("authorization", d.asked, "redirect_uri", uri)
			d.wants("exchange", d.token(1).form, "redirect_uri", uri, "code", "the-code")
		})
	}
	t.Run("#16 not in a browser", func(t *testing.T) {
		d := newDoor(t)
		for _, args := range [][]string{{"--redirect-uri", "com.example.app:/oauth"}, {"--no-browser", "--redirect-uri", "javascript:alert(1)"}} {
			r := d.run(d.with("login", d.base, args)...)
			if r.wantHint(t); r.code != exitUsage {
				t.Errorf("%v: %+v", args, r)
			}
		}
	})
}

func takenPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// TestNobodyLogsIn: #32 to #36, and the references of #50.
func TestNobodyLogsIn(t *testing.T) {
	noRefresh := func(*http.Request) (string, string) {
		return "application/json", `{"access_token":"at-1","token_type":"Bearer","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","expires_in":1}`
	}
	for name, row := range map[string]struct {
		args []string
		form []string
	}{
		"#32 7523-2 client credentials": {
			[]string{"--grant", "client_credentials", "--client-secret", "env:SECRET", "--client-auth", "post", "--scope", "a b"},
			[]string{"grant_type", "client_credentials", "scope", "a b", "client_secret", "s3cr3t"}},
		"#33 7523-2 finished assertion": {
			[]string{"--grant", "jwt-bearer", "--source", "file:assertion"},
			[]string{"grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion", "a.b.c"}},
		"#34 password": {
			[]string{"--grant", "password", "--insecure-legacy", "--subject", "ana", "--source", "file:password"},
			[]string{"grant_type", "password", "username", "ana", "password", "p&w"}},
		"#36 8693-1 token exchange": {
			[]string{"--grant", "token-exchange", "--source", "file:assertion", "--audience", "api"},
			[]string{"grant_type", "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token", "a.b.c",
				"subject_token_type", "urn:ietf:params:oauth:token-type:access_token", "audience", "api"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDoor(t)
			d.answer = noRefresh
			d.env = append(d.env, "SECRET=s3cr3t")
			d.write("assertion", "a.b.c\n")
			d.write("password", "p&w\n")
			d.login(row.args...)
			d.refresh()
			d.wants("login", d.token(1).form, row.form...)
			d.wants("asked again", d.token(2).form, row.form...)
			if r := d.run("status", "t.json"); r.code == exitNeedsLogin {
				t.Errorf("it is said to need a login: %+v", r)
			}
			if b, err := os.ReadFile(filepath.Join(d.dir, "assertion")); err != nil || string(b) != "a.b.c\n" {
				t.Errorf("what was traded in is %q now, %v", b, err)
			}
		})
	}
	t.Run("#34 password without the flag", func(t *testing.T) {
		d := newDoor(t)
		d.write("password", "p&w\n")
		r := d.run(d.with("login", d.base, []string{"--grant", "password", "--subject", "ana", "--source", "file:password"})...)
		if r.wantHint(t); r.code != exitUsage || len(d.seen) != 0 || !strings.Contains(r.stderr, "RFC 9700") {
			t.Errorf("%d requests, %+v", len(d.seen), r)
		}
	})
}

// TestKeyForms: #33, the forms a key is handed out in, and what signs with it.
func TestKeyForms(t *testing.T) {
	for name, row := range map[string]struct{ file, alg, want string }{
		"PEM RSA":     {"rsa.pkcs8.pem", "", "RS256"},
		"PEM RSA, PS": {"rsa.pkcs8.pem", "PS256", "PS256"},
		"PEM EC":      {"ec.prime256v1.sec1.pem", "", "ES256"},
		"PEM Ed25519": {"ed25519.pem", "", "EdDSA"},
	} {
		t.Run("#33 7523-1 "+name, func(t *testing.T) {
			d := newDoor(t)
			d.write("key", keyFile(t, row.file))
			args := []string{"--grant", "jwt-bearer", "--key", "file:key", "--subject", "ana", "--audience", "https://login.example"}
			if row.alg != "" {
				args = append(args, "--key-alg", row.alg)
			}
			d.login(args...)
			d.refresh()
			first, again := d.token(1).form.Get("assertion"), d.token(2).form.Get("assertion")
			head, claims := decodeJWT(t, first)
			if head["alg"] != row.want || claims["iss"] != "app" || claims["sub"] != "ana" || claims["aud"] != "https://login.example" {
				t.Errorf("%v %v", head, claims)
			}
			if first == again {
				t.Error("an assertion was sent twice")
			}
		})
	}
}

// TestRegisteredSecret: the secret of a client that a login registers stays with
// the grant it is for. A login that is not kept leaves the grant of before its
// own, and one that is leaves no other behind.
func TestRegisteredSecret(t *testing.T) {
	d := newDoor(t)
	d.metadata = map[string]any{"registration_endpoint": d.base + "/register", "token_endpoint_auth_methods_supported": []string{"client_secret_post"}}
	file, twin := filepath.Join(d.dir, "t.json"), filepath.Join(d.dir, "twin.json")
	again := []string{"login", d.base + "/api", "--file", "t.json", "--ca-cert", "ca.pem", "--timeout", "20s"} // the name of an API: who issued is found out anew
	secrets := func() []string {
		list, _ := filepath.Glob(file + "*" + secretEnd)
		return list
	}
	if r := d.run(again...); r.code != 0 || len(secrets()) != 1 {
		t.Fatalf("login: %+v, %q", r, secrets())
	}
	d.refresh()
	d.wants("refresh", d.token(2).form, "client_id", "client-1", "client_secret", "secret-1")

	answer := `{"access_token":"at-2","refresh_token":"rt-2","token_type":"Bearer","expires_in":3600}`
	d.answer = func(*http.Request) (string, string) {
		if err := os.Link(file, twin); err != nil { // such a file cannot be replaced
			t.Error(err)
		}
		return "application/json", answer
	}
	if r := d.run(again...); r.code != exitStorage {
		t.Fatalf("login that cannot be kept: %+v", r)
	}
	d.answer = nil
	if err := os.Remove(twin); err != nil {
		t.Fatal(err)
	}
	d.refresh()
	d.wants("refresh after it", d.token(4).form, "client_id", "client-1", "client_secret", "secret-1")

	if r := d.run(again...); r.code != 0 {
		t.Fatalf("login: %+v", r)
	}
	d.refresh()
	d.wants("refresh of the next", d.token(6).form, "client_id", "client-3", "client_secret", "secret-3")
	if r := d.run("delete", "t.json", "--yes", "--no-revoke"); r.code != 0 {
		t.Fatalf("delete: %+v", r)
	}
	for _, path := range secrets() {
		if b, err := os.ReadFile(path); err != nil || string(b) != "secret-2\n" { // of the grant in the rescue folder
			t.Errorf("left behind: %s with %q, %v", path, b, err)
		}
	}
}

// TestUnkeptSecret: where the secret of the registered client cannot be kept, the
// grant is not dropped.
func TestUnkeptSecret(t *testing.T) {
	d := newDoor(t)
	d.metadata = map[string]any{"registration_endpoint": d.base + "/register", "token_endpoint_auth_methods_supported": []string{"client_secret_post"}}
	name := strings.Repeat("n", 236) + ".json" // no longer one fits
	r := d.run("login", d.base, "--file", name, "--ca-cert", "ca.pem", "--timeout", "20s")
	r.wantHint(t)
	_, path, _ := strings.Cut(r.stderr, "hint: the grant is kept in ")
	path, _, _ = strings.Cut(path, ", ")
	if b, err := os.ReadFile(path); err != nil || r.code != exitStorage || !strings.Contains(string(b), "rt-1") || !strings.Contains(string(b), "secret-1") {
		t.Errorf("%+v, %q holds %q, %v", r, path, b, err)
	}
}
