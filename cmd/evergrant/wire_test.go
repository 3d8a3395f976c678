package main

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spf13/cobra"
)

// entry is a catalog entry for the door, in a file of the user's own.
func (d *door) entry(members string) []string {
	d.Helper()
	d.write("own.json", `{"name":"own","title":"Own","client_auth":["none"],"endpoints":{"authorize":"`+d.base+`/authorize","token":"`+d.base+`/token"},`+members+`}`)
	return []string{"--catalog", "own.json"}
}

// loginOwn logs in to the catalog's entry.
func (d *door) loginOwn(catalog []string, args ...string) {
	d.Helper()
	if r := d.run(d.with("login", "own", append(catalog, args...))...); r.code != 0 {
		d.Fatalf("login: %+v", r)
	}
}

// TestRequestFeatures: what the requests have in them, by the numbers in
// docs/features.md.
func TestRequestFeatures(t *testing.T) {
	t.Run("#23 flags", func(t *testing.T) {
		d := newDoor(t)
		d.login("--auth-param", "access_type=offline", "--param", "team=7")
		d.refresh()
		d.refresh("--param", "extra=1")
		d.wants("authorization", d.asked, "access_type", "offline", "team", "")
		d.wants("exchange", d.token(1).form, "team", "7", "access_type", "")
		d.wants("refresh", d.token(2).form, "team", "7", "access_type", "")
		d.wants("refresh", d.token(3).form, "extra", "1")
	})
	t.Run("#23 three maps", func(t *testing.T) {
		d := newDoor(t)
		catalog := d.entry(`"login":{"params":{"a":"1"},"token_params":{"b":"2"}},"request":{"params":{"c":"3"}}`)
		d.loginOwn(catalog)
		d.refresh(catalog...)
		d.wants("authorization", d.asked, "a", "1", "b", "", "c", "")
		d.wants("exchange", d.token(1).form, "a", "", "b", "2", "c", "")
		d.wants("refresh", d.token(2).form, "a", "", "b", "", "c", "3")
	})
	t.Run("#23 variables", func(t *testing.T) { // what is left open is left out, not sent as {api}
		d := newDoor(t)
		catalog := d.entry(`"vars":{"api":{"hint":"an API","optional":true}},"offline":{"params":{"audience":"{api}"}},"login":{"token_params":{"api":"{api}"}}`)
		d.loginOwn(catalog)
		d.wants("authorization", d.asked, "audience", "")
		d.loginOwn(catalog, "--var", "api=https://api.example/v1")
		d.wants("authorization", d.asked, "audience", "https://api.example/v1")
		d.wants("exchange", d.token(2).form, "api", "https://api.example/v1")
	})
	t.Run("#24 catalog", func(t *testing.T) {
		d := newDoor(t)
		catalog := d.entry(`"request":{"headers":{"X-Api-Version":"7"}}`)
		d.loginOwn(catalog)
		d.refresh(catalog...)
		for n, s := range d.seen {
			if s.Header.Get("X-Api-Version") != "7" {
				t.Errorf("request %d: %v", n, s.Header)
			}
		}
	})
	t.Run("#24 --header", func(t *testing.T) {
		d := newDoor(t)
		d.env = append(d.env, "SECRET=s")
		d.login("--header", "X-Team=7")
		d.refresh("--header", "X-Team=7")
		d.run(d.with("login", d.base, []string{"--grant", "client_credentials", "--client-secret", "env:SECRET", "--header", "X-Team=7"})...)
		for n := 1; n <= 3; n++ {
			if s := d.token(n); s.Header.Get("X-Team") != "7" {
				t.Errorf("request %d: %v", n, s.Header)
			}
		}
	})
	t.Run("#25 JSON body", func(t *testing.T) {
		d := newDoor(t)
		catalog := d.entry(`"request":{"body":"json"}`)
		d.loginOwn(catalog)
		d.refresh(catalog...)
		for n, want := range []string{`"code":"the-code"`, `"refresh_token":"rt-1"`} {
			if s := d.token(n + 1); s.Header.Get("Content-Type") != "application/json" || !strings.Contains(s.body, want) || !json.Valid([]byte(s.body)) {
				t.Errorf("request %d: %v %s", n, s.Header, s.body)
			}
		}
	})
	t.Run("#26 scope", func(t *testing.T) {
		d := newDoor(t)
		d.answer = func(*http.Request) (string, string) {
			return "application/json", `{"access_token":"a","refresh_token":"r","scope":"a b"}`
		}
		d.login("--scope", "a b")
		d.refresh()
		d.refresh("--scope", "a")
		d.wants("authorization", d.asked, "scope", "a b")
		d.wants("exchange", d.token(1).form, "scope", "")
		d.wants("refresh", d.token(2).form, "scope", "")
		d.wants("refresh with --scope", d.token(3).form, "scope", "a")
	})
	t.Run("#26 scope where the provider wants it", func(t *testing.T) {
		d := newDoor(t)
		d.answer = func(*http.Request) (string, string) {
			return "application/json", `{"access_token":"a","refresh_token":"r","scope":"a b"}`
		}
		catalog := d.entry(`"login":{"token_params":{"scope":"a"}},"request":{"scope":true}`)
		d.loginOwn(catalog, "--scope", "a b")
		d.refresh(catalog...)
		d.wants("exchange", d.token(1).form, "scope", "a")
		d.wants("refresh", d.token(2).form, "scope", "a b")
	})
	t.Run("#28 resources and audience", func(t *testing.T) {
		d := newDoor(t)
		d.login("--resource", "https://a.example", "--resource", "https://b.example", "--auth-param", "audience=api")
		d.refresh()
		const both = "https://a.example | https://b.example"
		d.wants("authorization", d.asked, "resource", both, "audience", "api")
		d.wants("exchange", d.token(1).form, "resource", both)
		d.wants("refresh", d.token(2).form, "resource", both)
	})
	t.Run("#29 realmId", func(t *testing.T) {
		d := newDoor(t)
		d.callback = func(v url.Values) { v.Set("realmId", "4620"); v.Set("other", "x") }
		catalog := d.entry(`"login":{"callback":["realmId"]}`)
		d.loginOwn(catalog)
		d.refresh(catalog...)
		if m := d.members("t.json"); m["realmId"] != "4620" || m["other"] != nil {
			t.Errorf("%v", m)
		}
	})
}

// TestAnswerFeatures: #30 and #31, what is made of an answer.
func TestAnswerFeatures(t *testing.T) {
	const form = "access_token=at-f&refresh_token=rt-f&expires_in=3600&expires=5"
	for name, row := range map[string]struct{ kind, body string }{
		"form, declared": {"application/x-www-form-urlencoded", form},
		"JSON as text":   {"text/plain", `{"access_token":"at-f","refresh_token":"rt-f"}`},
		"JSON as page":   {"text/html; charset=utf-8", `{"access_token":"at-f","refresh_token":"rt-f"}`},
		"JSON as form":   {"application/x-www-form-urlencoded", `{"access_token":"at-f","refresh_token":"rt-f"}`},
		"JSON, no type":  {"", `{"access_token":"at-f","refresh_token":"rt-f"}`},
	} {
		t.Run("#30 "+name, func(t *testing.T) {
			d := newDoor(t)
			d.answer = func(*http.Request) (string, string) { return row.kind, row.body }
			d.login()
			d.refresh()
			if m := d.members("t.json"); m["access_token"] != "at-f" || m["refresh_token"] != "rt-f" {
				t.Errorf("%v", m)
			}
		})
	}
	t.Run("#30 form as text, where the catalog says so", func(t *testing.T) {
		d := newDoor(t)
		d.answer = func(*http.Request) (string, string) { return "text/plain", form }
		catalog := d.entry(`"answer":{"form":true}`)
		d.loginOwn(catalog)
		d.refresh(catalog...)
		if m := d.members("t.json"); m["access_token"] != "at-f" || m["refresh_token"] != "rt-f" {
			t.Errorf("%v", m)
		}
	})
	t.Run("#31 every member", func(t *testing.T) {
		d := newDoor(t)
		d.login()
		if team, _ := d.members("t.json")["team"].(map[string]any); team["id"] != 7.0 {
			t.Errorf("%v", d.members("t.json"))
		}
		r := d.run("refresh", "t.json", "--ca-cert", "ca.pem", "--json", "-v")
		if r.code != 0 || !json.Valid([]byte(r.stdout)) || !strings.Contains(r.stderr, "team") || strings.Contains(r.stdout+r.stderr, "at-1") {
			t.Errorf("%+v", r)
		}
	})
}

// TestClientAuthFeatures: #27, each way a client authenticates, in the exchange
// of a code and in a refresh by what is remembered; 2.1-2, one way at a time.
func TestClientAuthFeatures(t *testing.T) {
	key := []string{"--key", "file:key.pem"}
	secret := []string{"--client-secret", "env:SECRET"}
	const password = "s c%r+t, long enough for HS256 to take it" // RFC 7518 §3.2
	for method, row := range map[string]struct {
		args  []string
		check func(s sight) bool
	}{
		"none": {nil, func(s sight) bool { return s.form.Get("client_id") == "app" }},
		"post": {secret, func(s sight) bool { return s.form.Get("client_secret") == password }},
		"basic": {secret, func(s sight) bool { // form-encoded before base64 (RFC 6749 §2.3.1)
			user, pass, _ := s.BasicAuth()
			return user == "app" && pass == url.QueryEscape(password) && !s.form.Has("client_id")
		}},
		"private_key_jwt":   {key, func(s sight) bool { return signedBy(s, "ES256") }},
		"client_secret_jwt": {secret, func(s sight) bool { return signedBy(s, "HS256") }},
		"tls_client_auth": {append(key, "--cert", "file:cert.pem"), func(s sight) bool {
			return s.form.Get("client_id") == "app" && len(s.TLS.PeerCertificates) == 1
		}},
	} {
		t.Run("#27 2.1-2 "+method, func(t *testing.T) {
			d := newDoor(t)
			d.env = append(d.env, "SECRET="+password)
			certificate(d)
			d.login(append(row.args, "--client-auth", method)...)
			d.refresh()
			for n := 1; n <= 2; n++ {
				s := d.token(n)
				ways := 0
				for _, there := range []bool{s.form.Has("client_secret"), s.form.Has("client_assertion"), s.Header.Get("Authorization") != ""} {
					if there {
						ways++
					}
				}
				if !row.check(s) || ways > 1 {
					t.Errorf("request %d: %v %v", n, s.Header, s.form)
				}
			}
			if method == "private_key_jwt" && d.token(1).form.Get("client_assertion") == d.token(2).form.Get("client_assertion") {
				t.Error("an assertion was sent twice")
			}
		})
	}
}

// TestMutualTLSEndpoints: 8705-1, the endpoints for clients with a certificate
// where the server has some, else its only ones.
func TestMutualTLSEndpoints(t *testing.T) {
	args := []string{"--key", "file:key.pem", "--cert", "file:cert.pem", "--client-auth", "tls_client_auth"}
	for name, want := range map[string]string{
		"8705-1 alias": "/mtls/token",
		"FAPI2SPFinalClientTestHappyPathNoMtlsEndpointAliases": "/token",
	} {
		t.Run(name, func(t *testing.T) {
			d := newDoor(t)
			certificate(d)
			if want != "/token" {
				d.metadata = map[string]any{"mtls_endpoint_aliases": map[string]any{"token_endpoint": d.base + want}}
			}
			d.login(args...)
			d.refresh()
			for n := 1; n <= 2; n++ {
				if s := d.token(n); s.URL.Path != want || len(s.TLS.PeerCertificates) != 1 {
					t.Errorf("request %d: %s with %d certificates", n, s.URL, len(s.TLS.PeerCertificates))
				}
			}
		})
	}
}

// TestMutualTLSWithAnEncryptedKey: a key in any of its forms goes with a
// certificate, in the login as in the refreshes after it.
func TestMutualTLSWithAnEncryptedKey(t *testing.T) {
	d := newDoor(t)
	certificate(d)
	d.write("sealed.pem", keyFile(t, "enc.aes256.pem"))
	d.env = append(d.env, "PASSWORD=horse-Battery9")
	d.login("--key", "file:sealed.pem", "--key-password", "env:PASSWORD", "--cert", "file:cert.pem")
	d.refresh()
	for n := 1; n <= 2; n++ {
		if s := d.token(n); len(s.TLS.PeerCertificates) != 1 || s.form.Get("client_id") != "app" {
			t.Errorf("request %d: %d certificates, %v", n, len(s.TLS.PeerCertificates), s.form)
		}
	}
}

// TestClientAuthDefault: what a client does that was given a key or a secret and
// no method.
func TestClientAuthDefault(t *testing.T) {
	t.Run("9700-8 a key signs", func(t *testing.T) {
		d := newDoor(t)
		certificate(d)
		d.login("--key", "file:key.pem")
		d.refresh()
		for n := 1; n <= 2; n++ {
			if s := d.token(n); !signedBy(s, "ES256") {
				t.Errorf("request %d: %v %v", n, s.Header, s.form)
			}
		}
	})
	t.Run("9700-9 a secret goes as the server says", func(t *testing.T) {
		d := newDoor(t)
		d.env = append(d.env, "SECRET=s")
		d.metadata = map[string]any{"token_endpoint_auth_methods_supported": []string{"client_secret_post"}}
		d.login("--client-secret", "env:SECRET")
		d.refresh()
		for n := 1; n <= 2; n++ {
			d.wants("request", d.token(n).form, "client_secret", "s")
		}
	})
}

// signedBy looks at the client's assertion.
func signedBy(s sight, alg string) bool {
	parts := strings.Split(s.form.Get("client_assertion"), ".")
	if len(parts) != 3 || s.form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		return false
	}
	var head struct{ Alg string }
	var claims struct{ Iss, Sub, Jti, Aud string } // 7521/7523-1: the issuer alone, as a text
	return decodePart(parts[0], &head) && decodePart(parts[1], &claims) &&
		head.Alg == alg && claims.Iss == "app" && claims.Sub == "app" && claims.Jti != "" && claims.Aud == "https://"+s.Host
}

func decodePart(text string, into any) bool {
	b, err := base64.RawURLEncoding.DecodeString(text)
	return err == nil && json.Unmarshal(b, into) == nil
}

func decodeJWT(t *testing.T, token string) (head, claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 || !decodePart(parts[0], &head) || !decodePart(parts[1], &claims) {
		t.Fatalf("%q is no JWT", token)
	}
	return head, claims
}

// TestSecretFeatures: #50 and #51, where a secret comes from, and what a lookup
// that fails says.
func TestSecretFeatures(t *testing.T) {
	long := strings.Repeat("s3cr3t", 1000) // past the 2,560 bytes that a keyring may take
	t.Run("#50 long", func(t *testing.T) {
		d := newDoor(t)
		d.write("secret", long+"\n")
		d.login("--client-secret", "file:secret", "--client-auth", "post")
		d.refresh()
		for n := 1; n <= 2; n++ {
			d.wants("request", d.token(n).form, "client_secret", long)
		}
	})
	t.Run("#50 json", func(t *testing.T) {
		d := newDoor(t)
		d.write("registration.json", `{"web":{"a/b":"of-a-member"}}`)
		d.login("--client-secret", "json:registration.json#/web/a~1b", "--client-auth", "post")
		d.refresh()
		for n := 1; n <= 2; n++ {
			d.wants("request", d.token(n).form, "client_secret", "of-a-member")
		}
	})
	for _, ref := range []string{"json:not-there#/a", "json:ca.pem#/a", "json:own.json#/web", "env:NOT_THERE", "file:not-there", "cmd:no-such-program", "env:EMPTY"} {
		t.Run("#51 "+ref, func(t *testing.T) {
			d := newDoor(t)
			d.env = append(d.env, "EMPTY=")
			d.write("own.json", `{"web":{}}`)
			r := d.run(d.with("login", d.base, []string{"--client-secret", ref})...)
			_, name, _ := strings.Cut(ref, ":")
			name, _, _ = strings.Cut(name, "#")
			if r.wantHint(t); r.code != exitUsage || len(d.seen) != 0 || !strings.Contains(r.stderr, name) && name != "EMPTY" {
				t.Errorf("login: %+v", r)
			}
			d.login()
			r = d.run("refresh", "t.json", "--ca-cert", "ca.pem", "--client-secret", ref)
			if r.wantHint(t); r.code != exitUsage || len(d.seen) != 1 {
				t.Errorf("refresh: %d requests, %+v", len(d.seen), r)
			}
		})
	}
}

// TestProxyFromEnvironment: #45. The host does not exist: only the proxy can
// lead to it.
func TestProxyFromEnvironment(t *testing.T) {
	const host = "as.example.com" // in the certificate of httptest
	for name, row := range map[string]struct {
		env  []string
		code int
		used bool
	}{
		"HTTPS_PROXY": {[]string{"HTTPS_PROXY=http://PROXY"}, exitOK, true},
		"https_proxy": {[]string{"https_proxy=http://PROXY"}, exitOK, true},
		"SOCKS5":      {[]string{"HTTPS_PROXY=socks5h://SOCKS"}, exitOK, true},
		"NO_PROXY":    {[]string{"HTTPS_PROXY=http://PROXY", "NO_PROXY=.example.com"}, exitTemporary, false},
	} {
		t.Run("#45 "+name, func(t *testing.T) {
			d := newDoor(t)
			d.write("t.json", `{"access_token":"a","refresh_token":"r"}`)
			target := strings.TrimPrefix(d.base, "https://")
			var used atomic.Int32
			address := func(serve func(net.Conn, string)) string {
				return tunnel(t, func(c net.Conn) { used.Add(1); serve(c, target) })
			}
			proxies := strings.NewReplacer("//PROXY", "//"+address(serveConnect), "//SOCKS", "//"+address(serveSOCKS))
			for _, e := range row.env {
				d.env = append(d.env, proxies.Replace(e))
			}
			r := d.run("refresh", "t.json", "--client-id", "app", "--token-url", "https://"+host+"/token", "--ca-cert", "ca.pem", "--timeout", "3s")
			if r.code != row.code || used.Load() > 0 != row.used || len(d.seen) > 0 != row.used {
				t.Errorf("the proxy was used %d times; %+v", used.Load(), r)
			}
		})
	}
}

// tunnel listens for what goes through a proxy.
func tunnel(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().String()
}

// serveConnect is an HTTP proxy (RFC 9110 §9.3.6) with one way out.
func serveConnect(c net.Conn, target string) {
	readUntil(c, "\r\n\r\n")
	io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
	join(c, target)
}

// serveSOCKS is a SOCKS 5 proxy (RFC 1928) that wants no password.
func serveSOCKS(c net.Conn, target string) {
	b := make([]byte, 256)
	io.ReadFull(c, b[:2])
	io.ReadFull(c, b[:b[1]])
	c.Write([]byte{5, 0})
	io.ReadFull(c, b[:5])      // version, command, reserved, kind of address, length of the name
	io.ReadFull(c, b[:b[4]+2]) // name and port
	c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	join(c, target)
}

func readUntil(c net.Conn, end string) {
	var all []byte
	for b := make([]byte, 1); !strings.HasSuffix(string(all), end); all = append(all, b[0]) {
		if _, err := c.Read(b); err != nil {
			return
		}
	}
}

func join(c net.Conn, target string) {
	defer c.Close()
	to, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer to.Close()
	go func() { io.Copy(to, c); to.Close() }()
	io.Copy(c, to)
}

// TestNoWayRoundTLS: #47, there is no flag that leaves verification out.
func TestNoWayRoundTLS(t *testing.T) {
	flag := regexp.MustCompile(`--([a-z0-9-]+)`)
	n := 0
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, found := range flag.FindAllStringSubmatch(c.Flags().FlagUsages(), -1) {
			n++
			for _, word := range []string{"insecure", "skip", "no-verify", "no-check", "no-tls"} {
				if strings.Contains(found[1], word) && found[1] != "insecure-legacy" { // about passwords of people, not about TLS
					t.Errorf("%s --%s", c.Name(), found[1])
				}
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(newUI(os.Stdout, os.Stderr), nil))
	if n < 100 {
		t.Errorf("only %d flags were looked at", n)
	}
}

// certificate writes a key and a certificate for it.
func certificate(d *door) {
	d.Helper()
	for from, to := range map[string]string{"ec.prime256v1.pkcs8.pem": "key.pem", "ec.prime256v1.pkcs8.crt": "cert.pem"} {
		d.write(to, keyFile(d.T, from))
	}
}

// keyFile is one of the keys that package jose is tested with.
func keyFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "jose", "testdata", "keys", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
