package jose_test

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
)

func proofs(t *testing.T, name string) *jose.Proofs {
	t.Helper()
	p, err := jose.NewProofs(load(t, name).WithID("not for the header"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func proof(t *testing.T, p *jose.Proofs, method, url, token string) object {
	t.Helper()
	text, err := p.Header(method, url, oauth.NewSecret(token), at)
	if err != nil {
		t.Fatal(err)
	}
	_, claims := split(t, text, publicOf(t, p.Key()))
	return claims
}

// TestProof9449_1: row "9449-1".
func TestProof9449_1(t *testing.T) {
	seen := map[any]bool{}
	for _, name := range []string{"rsa.pkcs8.pem", "ec.prime256v1.sec1.pem", "ec.secp521r1.sec1.pem", "ed25519.pem"} {
		p := proofs(t, name)
		public := publicOf(t, p.Key())
		for range 3 {
			text, err := p.Header("POST", "https://Server.Example:443/token?a=1#f", oauth.Secret{}, at)
			if err != nil {
				t.Fatal(err)
			}
			head, claims := split(t, text, public)
			want := object{"typ": "dpop+jwt", "alg": p.Key().Algorithm(), "jwk": map[string]any(jwk(t, public, nil))}
			if !reflect.DeepEqual(head, want) {
				t.Errorf("%s: header\n got %v\nwant %v", name, head, want)
			}
			jti, _ := claims["jti"].(string)
			if claims["htm"] != "POST" || claims["htu"] != "https://server.example/token" || num(t, claims, "iat") != at.Unix() || len(claims) != 4 || len(jti) < 22 || seen[jti] {
				t.Errorf("%s: %v", name, claims)
			}
			seen[jti] = true
		}
	}
}

// TestProof9449_1Ath: the hash of RFC 9449 figure 13.
func TestProof9449_1Ath(t *testing.T) {
	claims := proof(t, proofs(t, "ec.prime256v1.sec1.pem"), "GET", "https://resource.example.org/protectedresource", "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU")
	if claims["ath"] != "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo" || claims["htu"] != "https://resource.example.org/protectedresource" || claims["htm"] != "GET" {
		t.Errorf("%v", claims)
	}
}

func TestProof9449_1Target(t *testing.T) {
	p := proofs(t, "ed25519.pem")
	for url, want := range map[string]string{
		"https://a.example":                 "https://a.example/",
		"HTTPS://A.example/x/":              "https://a.example/x/",
		"https://a.example:8443/x?q#f":      "https://a.example:8443/x",
		"http://127.0.0.1:80/x":             "http://127.0.0.1/x",
		"http://[::1]:9/x":                  "http://[::1]:9/x",
		"https://a.example:80/":             "https://a.example:80/",
		"https://a.example/a%2Fb%20c":       "https://a.example/a%2Fb%20c",
		"https://a.example/é":               "https://a.example/%C3%A9",
		"https://user:pass-word@a.example/": "https://a.example/",
	} {
		if got := proof(t, p, "GET", url, "")["htu"]; got != want {
			t.Errorf("%s: %v, want %s", url, got, want)
		}
	}
	for _, url := range []string{"", "/x", "a.example", "ftp://a.example/", "https:///x", "https://a.example/%zz-canary-canary"} {
		_, err := p.Header("GET", url, oauth.Secret{}, at)
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := p.Header("", "https://a.example/", oauth.Secret{}, at); err == nil {
		t.Error("no method, and no error")
	}
}

// TestNonce9449_2: row "9449-2": the newest nonce of each server, and nobody
// else's.
func TestNonce9449_2(t *testing.T) {
	p := proofs(t, "ec.prime256v1.sec1.pem")
	const as, rs = "https://as.example/token", "https://rs.example/api"
	answer := func(nonces ...string) http.Header { return http.Header{"Dpop-Nonce": nonces} }
	for i, step := range []struct {
		url    string
		header http.Header
		new    bool
		as, rs any // what proofs carry afterwards
	}{
		{as, http.Header{}, false, nil, nil},
		{as, answer("n1"), true, "n1", nil},
		{as, answer("n1"), false, "n1", nil},
		{rs, answer("n2"), true, "n1", "n2"},
		{"https://AS.example:443/other?x", answer("n3"), true, "n3", "n2"},
		{"http://as.example/token", answer("n4"), true, "n3", "n2"}, // another origin
		{as, answer(""), false, "n3", "n2"},
		{as, answer("n5", "n6"), false, "n3", "n2"},
		{as, answer("with space"), false, "n3", "n2"},
		{as, answer(`qu"ote`), false, "n3", "n2"},
		{as, answer("é"), false, "n3", "n2"},
		{as, answer(strings.Repeat("n", 1025)), false, "n3", "n2"},
		{"%", answer("n7"), false, "n3", "n2"},
	} {
		if got := p.Learn(step.url, step.header); got != step.new {
			t.Errorf("step %d: Learn says %v", i, got)
		}
		if got := proof(t, p, "POST", as, "")["nonce"]; got != step.as {
			t.Errorf("step %d: nonce %v at the authorization server, want %v", i, got, step.as)
		}
		if got := proof(t, p, "GET", rs, "at")["nonce"]; got != step.rs {
			t.Errorf("step %d: nonce %v at the resource server, want %v", i, got, step.rs)
		}
	}
}

// TestWantsNonce9449_2: which answers ask for another try.
func TestWantsNonce9449_2(t *testing.T) {
	const body = `{"error":"use_dpop_nonce","error_description":"x"}`
	for _, tt := range []struct {
		name            string
		status          int
		challenge, body string
		nonce           string
		want            bool
	}{
		{"authorization server", 400, "", body, "n", true},
		{"authorization server, 401", 401, "", body, "n", true},
		{"resource server", 401, `DPoP error="use_dpop_nonce", error_description="x"`, "", "n", true},
		{"after Bearer", 401, `Bearer realm="x", error="invalid_token", DPoP algs="ES256", error="use_dpop_nonce"`, "", "n", true},
		{"case", 401, `dpop error=use_dpop_nonce`, "", "n", true},
		{"no nonce", 400, "", body, "", false},
		{"no nonce, 401", 401, `DPoP error="use_dpop_nonce"`, "", "", false},
		{"another error", 400, "", `{"error":"invalid_dpop_proof"}`, "n", false},
		{"dead grant", 400, "", `{"error":"invalid_grant"}`, "n", false},
		{"success", 200, "", body, "n", false},
		{"500", 500, `DPoP error="use_dpop_nonce"`, body, "n", false},
		{"error of Bearer", 401, `Bearer error="use_dpop_nonce"`, "", "n", false},
		{"in a text", 401, `DPoP realm="error=use_dpop_nonce"`, "", "n", false},
		{"HTML", 400, "", "<html>use_dpop_nonce", "n", false},
		{"two nonces", 400, "", body, "n, m", false},
	} {
		h := http.Header{}
		if tt.challenge != "" {
			h.Set("WWW-Authenticate", tt.challenge)
		}
		if tt.nonce != "" {
			h["Dpop-Nonce"] = strings.Split(tt.nonce, ", ")
		}
		if got := jose.WantsNonce(tt.status, h, []byte(tt.body)); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// TestRetry9449_2: a request is sent once more for a nonce, one that another
// request brought meanwhile included, and never twice more.
func TestRetry9449_2(t *testing.T) {
	const as = "https://as.example/token"
	wants := func(nonce string) (string, int, http.Header, []byte) {
		return as, 400, http.Header{"Dpop-Nonce": {nonce}}, []byte(`{"error":"use_dpop_nonce"}`)
	}
	key, err := jose.Generate("ES256")
	if err != nil {
		t.Fatal(err)
	}
	p, err := jose.NewProofs(key)
	if err != nil {
		t.Fatal(err)
	}
	again := p.Retry()
	if !again(wants("n1")) {
		t.Error("the nonce that was asked for is not sent")
	}
	if again(wants("n2")) {
		t.Error("a second answer that asks for a nonce is no failure")
	}
	if got := proof(t, p, "POST", as, "")["nonce"]; got != "n2" {
		t.Errorf("the next proof has the nonce %v", got)
	}
	again = p.Retry()
	if !again(wants("n2")) {
		t.Error("a nonce that is known by now is not sent")
	}
	again = p.Retry()
	if again(as, 200, http.Header{"Dpop-Nonce": {"n3"}}, nil) {
		t.Error("an answer that is good is asked for again")
	}
	if got := proof(t, p, "POST", as, "")["nonce"]; got != "n3" {
		t.Errorf("the nonce of a good answer is not kept: %v", got)
	}
	if none := (*jose.Proofs)(nil).Retry(); none(wants("n1")) {
		t.Error("without proofs a request is sent again")
	}
}

// TestTokenType9449_3: row "9449-3", and the client module
// fapi2-security-profile-final-client-test-token-type-case-insensitivity.
func TestTokenType9449_3(t *testing.T) {
	for typ, want := range map[string]bool{"DPoP": true, "dpop": true, "dPoP": true, "Bearer": false, "": false, "DPoP ": false} {
		if jose.IsDPoP(typ) != want {
			t.Errorf("%q: %v", typ, !want)
		}
	}
}

func TestAttach(t *testing.T) {
	p := proofs(t, "ed25519.pem")
	r := request()
	var last string
	for range 2 {
		if err := p.Attach(r, at); err != nil {
			t.Fatal(err)
		}
		fields := r.Header.Values("DPoP")
		if len(fields) != 1 || fields[0] == last {
			t.Fatalf("%d DPoP fields, the same as before: %v", len(fields), fields[0] == last)
		}
		last = fields[0]
		_, claims := split(t, last, publicOf(t, p.Key()))
		if claims["htm"] != "POST" || claims["htu"] != "https://as.example/token" || claims["ath"] != nil {
			t.Errorf("%v", claims)
		}
	}
	if p.Thumbprint() != p.Key().Thumbprint() || p.Thumbprint() == "" {
		t.Error("the thumbprint is not the key's")
	}
	if err := p.Attach(&oauth.Request{}, at); err == nil {
		t.Error("no URL, and no error")
	}
}

// TestProofsBound: a client that meets server after server forgets early ones.
func TestProofsBound(t *testing.T) {
	p := proofs(t, "ed25519.pem")
	for i := range 257 {
		p.Learn(fmt.Sprintf("https://s%d.example/", i), http.Header{"Dpop-Nonce": {"n"}})
	}
	if first, last := proof(t, p, "GET", "https://s0.example/", "")["nonce"], proof(t, p, "GET", "https://s256.example/", "")["nonce"]; first != nil || last != "n" {
		t.Errorf("nonces %v and %v", first, last)
	}
}

func TestProofsTogether(t *testing.T) {
	p := proofs(t, "ed25519.pem")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 100 { // more servers than it keeps
				url := fmt.Sprintf("https://s%d-%d.example/", i, j)
				p.Learn(url, http.Header{"Dpop-Nonce": {url}})
				if _, err := p.Header("GET", url, oauth.Secret{}, at); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := proof(t, p, "GET", "https://s0-0.example/", "")["nonce"]; got != nil && got != "https://s0-0.example/" {
		t.Errorf("nonce %v of another server", got)
	}
}
