package oauth_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/oauth"
)

func TestRFC7591Request(t *testing.T) {
	s := newSite(t, map[string]page{"/register": {status: 201, body: `{"client_id":"c1","unknown":{"x":1}}`}})
	reg := oauth.Registration{
		RedirectURIs: []string{"http://127.0.0.1/cb", "http://[::1]/cb"}, Name: "Ever \"grant\"", URI: "https://app.example",
		GrantTypes: []string{"authorization_code", "refresh_token"}, ResponseTypes: []string{"code"}, AuthMethod: "none",
		Scope: "a b", ApplicationType: "native", JWKS: []byte(`{"keys":[]}`), SoftwareID: "id", SoftwareVersion: "1",
		SoftwareStatement: oauth.NewSecret(secret("statement")), DPoPBound: true, Extra: []oauth.Member{{Name: "contacts", Value: []byte(`["x@y"]`)}},
	}
	line, _ := transcript(t)
	got, err := (&oauth.Client{Trace: line}).Register(t.Context(), s.url+"/register", reg, oauth.NewSecret(secret("initial")))
	if err != nil || got.ClientID != "c1" || got.AuthMethod != "none" || !got.ClientSecret.IsZero() || len(got.Members) != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
	want := `{"redirect_uris":["http://127.0.0.1/cb","http://[::1]/cb"],"client_name":"Ever \"grant\"","client_uri":"https://app.example",` +
		`"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none","scope":"a b","application_type":"native",` +
		`"jwks":{"keys":[]},"software_id":"id","software_version":"1","software_statement":"` + secret("statement") + `","dpop_bound_access_tokens":true,"contacts":["x@y"]}`
	last := s.last(t)
	if last.body != want || last.method != "POST" || last.header.Get("Content-Type") != "application/json" || last.header.Get("Authorization") != "Bearer "+secret("initial") {
		t.Errorf("sent %+v\nwant %s", last, want)
	}
	if _, err := new(oauth.Client).Register(t.Context(), s.url+"/register", oauth.Registration{}, oauth.Secret{}); err != nil || s.last(t).body != "{}" || s.last(t).header.Get("Authorization") != "" {
		t.Errorf("bare: %v, %+v", err, s.last(t))
	}
}

func TestRFC7591RequestRefuses(t *testing.T) {
	for _, tt := range []struct {
		url  string
		reg  oauth.Registration
		want string
	}{
		{"http://as.example/", oauth.Registration{}, "not loopback"},
		{"https://as.example/", oauth.Registration{JWKS: []byte("{")}, "no JSON"},
		{"https://as.example/", oauth.Registration{JWKS: []byte("{}"), JWKSURI: "https://x"}, "twice"},
		{"https://as.example/", oauth.Registration{Extra: []oauth.Member{{Name: "x", Value: []byte(`1},{`)}}}, "no JSON"},
	} {
		_, err := oauth.RegisterRequest(tt.url, tt.reg, oauth.Secret{})
		contains(t, err, tt.want)
	}
}

func TestRFC7591Answer(t *testing.T) {
	r := &oauth.Request{URL: "https://as.example/register"}
	full := `{"client_id":"c","client_secret":"` + secret("cs") + `","client_id_issued_at":1700000000,"client_secret_expires_at":"1800000000",
		"token_endpoint_auth_method":"client_secret_post","redirect_uris":["http://127.0.0.1/cb"],"registration_client_uri":"https://as.example/register/c","registration_access_token":"` + secret("rat") + `"}`
	got, err := oauth.ParseRegistered(plain(201, "application/json", full), r)
	if err != nil {
		t.Fatal(err)
	}
	if got.ClientSecret.Reveal() != secret("cs") || got.ManagementToken.Reveal() != secret("rat") || got.ManagementURI != "https://as.example/register/c" ||
		!got.IssuedAt.Equal(time.Unix(1700000000, 0)) || !got.SecretExpires.Equal(time.Unix(1800000000, 0)) || got.SecretExpires.Location() != time.UTC ||
		!slices.Equal(got.RedirectURIs, []string{"http://127.0.0.1/cb"}) {
		t.Errorf("got %+v", got)
	}
	for _, p := range printings(*got) {
		leakCheck(t, "registered", p)
	}
	for _, tt := range []struct{ name, body, method string }{
		{"no method, a secret", `{"client_id":"c","client_secret":"s"}`, "client_secret_basic"},
		{"no method, no secret", `{"client_id":"c"}`, "none"},
		{"empty secret", `{"client_id":"c","client_secret":"","client_secret_expires_at":0}`, "none"},
		{"keys", `{"client_id":"c","token_endpoint_auth_method":"private_key_jwt"}`, "private_key_jwt"},
	} {
		got, err := oauth.ParseRegistered(plain(200, "application/json", tt.body), r)
		if err != nil || got.AuthMethod != tt.method || !got.SecretExpires.IsZero() {
			t.Errorf("%s: got %+v, %v", tt.name, got, err)
			continue
		}
		auth, err := got.Auth()
		if (err == nil) != (tt.method != "private_key_jwt") {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err == nil {
			if _, err := oauth.RefreshRequest(r.URL, oauth.NewSecret("x"), auth); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
	}
}

func TestHostileRegistration(t *testing.T) {
	r, err := oauth.RegisterRequest("https://as.example/register", oauth.Registration{SoftwareStatement: oauth.NewSecret(secret("st"))}, oauth.NewSecret(secret("iat")))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name       string
		status     int
		kind, body string
		want       string
	}{
		{"refused", 400, "application/json", `{"error":"invalid_redirect_uri","error_description":"not ` + secret("st") + `"}`, "invalid_redirect_uri (status 400): not [redacted]"},
		{"no access", 401, "text/plain", secret("iat"), "no error code (status 401)"},
		{"closed", 403, "text/html", "<html>", "status 403"},
		{"redirect", 302, "text/html", "", "status 302"},
		{"busy", 503, "", "", "the server is busy"},
		{"page", 200, "text/html", `{"client_id":"c"}`, "type application/json"},
		{"no id", 201, "application/json", `{}`, "client_id is missing"},
		{"empty id", 201, "application/json", `{"client_id":""}`, "client_id is missing"},
		{"number", 201, "application/json", `{"client_id":5}`, "client_id is not a string"},
		{"id twice", 201, "application/json", `{"client_id":"a","client_id":"b"}`, "more than once"},
		{"secret twice", 201, "application/json", `{"client_id":"a","client_secret":"a","client_secret":"b"}`, "more than once"},
		{"line break", 201, "application/json", `{"client_id":"a\r\nHost: x"}`, "outside printable ASCII"},
		{"secret outside ASCII", 201, "application/json", `{"client_id":"a","client_secret":"é` + canary + `"}`, "outside printable ASCII"},
		{"promised secret", 201, "application/json", `{"client_id":"a","token_endpoint_auth_method":"client_secret_basic"}`, "client_secret is missing"},
		{"management by file", 201, "application/json", `{"client_id":"a","registration_client_uri":"file:///` + canary + `"}`, "registration_client_uri can't be used"},
		{"management here", 201, "application/json", `{"client_id":"a","registration_client_uri":"http://127.0.0.1/"}`, "this machine"},
		{"cut", 201, "application/json", `{"client_id":"a"`, "broken or cut"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := oauth.ParseRegistered(plain(tt.status, tt.kind, tt.body), r)
			if got != nil {
				t.Errorf("got %+v", got)
			}
			contains(t, err, tt.want)
		})
	}
}

func TestClientIDURL(t *testing.T) {
	for u, want := range map[string]string{
		"https://app.example/client.json":        "",
		"https://app.example:8443/a/b":           "",
		"https://app.example/x/":                 "",
		"https://app.example":                    "no path",
		"https://app.example/":                   "no path",
		"http://app.example/c":                   "not loopback",
		"http://127.0.0.1/c":                     "not https",
		"https://u@app.example/c":                "user information",
		"https://app.example/c#":                 "fragment",
		"https://app.example/c?v=1":              "query",
		"https://app.example/c?":                 "query",
		"https://app.example/a/../c":             "dot segments",
		"https://app.example/./c":                "dot segments",
		"https://app.example/%2E%2e/c":           "dot segments",
		"https://app.example/" + string('é'):     "ASCII",
		"https://a/" + strings.Repeat("x", 5000): "too long",
		"my-client":                              "not https",
	} {
		err := oauth.CheckClientIDURL(u)
		if want == "" && err != nil {
			t.Errorf("%s: %v", u, err)
		} else if want != "" {
			contains(t, err, want)
		}
	}
}

func TestClientDocument(t *testing.T) {
	const id = "https://app.example/client.json"
	good := `{"client_id":"` + id + `","client_name":"An app","redirect_uris":["http://127.0.0.1:3000/cb","https://app.example/cb"],"token_endpoint_auth_method":"none"}`
	doc, err := oauth.ParseClientDocument(plain(200, "application/json", good), id)
	if err != nil || doc.Name != "An app" || doc.AuthMethod != "none" || len(doc.RedirectURIs) != 2 {
		t.Fatalf("got %+v, %v", doc, err)
	}
	for uri, want := range map[string]bool{
		"http://127.0.0.1:3000/cb":    true,
		"http://127.0.0.1:49152/cb":   true,
		"http://127.0.0.1/cb":         true,
		"http://127.0.0.1:1/other":    false,
		"http://localhost:3000/cb":    false,
		"http://[::1]:3000/cb":        false,
		"http://x@127.0.0.1:3000/cb":  false,
		"https://app.example/cb":      true,
		"https://app.example:8443/cb": false,
	} {
		if doc.Allows(uri) != want {
			t.Errorf("%s: allowed %t", uri, !want)
		}
	}
	for _, tt := range []struct{ name, body, want string }{
		{"another's", strings.Replace(good, "client.json", "other.json", 1), "is not the URL of the document"},
		{"no id", `{"redirect_uris":["https://app.example/cb"]}`, "is not the URL of the document"},
		{"no redirects", `{"client_id":"` + id + `"}`, "redirect_uris has no entry"},
		{"a secret", strings.Replace(good, `"client_name"`, `"client_secret":"`+canary+`","client_name"`, 1), "stands in a public document"},
		{"an expiry", strings.Replace(good, `"client_name"`, `"client_secret_expires_at":0,"client_name"`, 1), "stands in a public document"},
		{"a shared secret", strings.Replace(good, `"none"`, `"client_secret_post"`, 1), "needs a secret"},
		{"id twice", strings.Replace(good, `"client_name"`, `"client_id":"x","client_name"`, 1), "more than once"},
		{"keys by http", strings.Replace(good, `"client_name"`, `"jwks_uri":"http://app.example/keys","client_name"`, 1), "jwks_uri can't be used"},
	} {
		_, err := oauth.ParseClientDocument(plain(200, "application/json", tt.body), id)
		contains(t, err, tt.want)
	}
	_, err = oauth.ParseClientDocument(plain(200, "text/html", good), id)
	contains(t, err, "type application/json")
	if _, err := new(oauth.Client).FetchClientDocument(t.Context(), "http://127.0.0.1/c"); err == nil {
		t.Error("a client id of http was fetched")
	}
}

func TestFetchClientDocument(t *testing.T) {
	ca := newAuthority(t)
	s := serve(t, answering(ca.issue(t, "127.0.0.1", far), func(c, _ net.Conn, _ string) {
		io.WriteString(c, ok(`{"client_id":"https://`+c.LocalAddr().String()+`/c.json","redirect_uris":["http://127.0.0.1/cb"]}`))
		hangUp(c)
	}))
	c := &oauth.Client{RootCAs: ca.pool, Proxy: direct}
	id := "https://" + s.addr + "/c.json"
	if doc, err := c.FetchClientDocument(t.Context(), id); err != nil || doc.ClientID != id || doc.AuthMethod != "" {
		t.Errorf("got %+v, %v", doc, err)
	}
	c.Gate = oauth.PublicOnly
	_, err := c.FetchClientDocument(t.Context(), id)
	contains(t, err, "the address is refused")
}

func FuzzRegistered(f *testing.F) {
	f.Add(201, "application/json", `{"client_id":"c","client_secret":"s","client_secret_expires_at":1e300}`)
	f.Add(400, "", `{"error":{"code":"x"}}`)
	f.Add(200, "text/html", `<html>`)
	f.Fuzz(func(t *testing.T, status int, kind, body string) {
		r := &oauth.Request{URL: "https://as.example/register"}
		got, err := oauth.ParseRegistered(plain(status, kind, body), r)
		if (got == nil) == (err == nil) {
			t.Fatalf("got %v and %v", got, err)
		}
		if err != nil {
			var s *oauth.ServerError
			var m *oauth.MetadataError
			var b *oauth.RetryError
			if !errors.As(err, &s) && !errors.As(err, &m) && !errors.As(err, &b) {
				t.Errorf("error %T", err)
			}
			return
		}
		if got.ClientID == "" || strings.ContainsFunc(got.ClientID+got.ClientSecret.Reveal(), func(c rune) bool { return c < 0x20 || c > 0x7e }) {
			t.Errorf("client %q", got.ClientID)
		}
		if auth, err := got.Auth(); err == nil {
			if _, err := oauth.RefreshRequest(r.URL, oauth.NewSecret("x"), auth); err != nil {
				t.Errorf("%s: %v", got.AuthMethod, err)
			}
		}
		if status != http.StatusOK && status != http.StatusCreated {
			t.Errorf("status %d", status)
		}
	})
}
