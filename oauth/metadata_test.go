package oauth_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/oauth"
)

const (
	placeOAuth  = "/.well-known/oauth-authorization-server"
	placeOpenID = "/.well-known/openid-configuration"
)

// metadata is a good document of an issuer below the site, with more members.
func metadata(issuer string, more ...string) page {
	members := append([]string{
		`"issuer":"BASE` + issuer + `"`, `"authorization_endpoint":"BASE/authorize?tenant=1"`, `"token_endpoint":"BASE/token"`,
	}, more...)
	return page{body: "{" + strings.Join(members, ",") + "}"}
}

// TestRFC8414Places (8414-1): the well-known path goes between host and path,
// OpenID's places are asked next, and the first good document ends the search.
func TestRFC8414Places(t *testing.T) {
	page404 := page{status: 404, body: "{}"}
	for _, tt := range []struct {
		name, issuer string
		pages        map[string]page
		asked        string
	}{
		{"no path", "", map[string]page{placeOAuth: metadata("")}, placeOAuth},
		{"no path, slash", "/", map[string]page{placeOAuth: metadata("/")}, placeOAuth},
		{"OpenID alone", "", map[string]page{placeOpenID: metadata("")}, placeOAuth + " " + placeOpenID},
		{"path", "/t1/x", map[string]page{placeOAuth + "/t1/x": metadata("/t1/x")}, placeOAuth + "/t1/x"},
		{"path with a slash", "/t1/", map[string]page{placeOAuth + "/t1": metadata("/t1/")}, placeOAuth + "/t1"},
		{"escaped path", "/a%2Fb", map[string]page{placeOAuth + "/a%2Fb": metadata("/a%2Fb")}, placeOAuth + "/a%2Fb"},
		{"OpenID inserted", "/t1", map[string]page{placeOpenID + "/t1": metadata("/t1")}, placeOAuth + "/t1 " + placeOpenID + "/t1"},
		{"OpenID appended", "/t1", map[string]page{"/t1" + placeOpenID: metadata("/t1")}, placeOAuth + "/t1 " + placeOpenID + "/t1 /t1" + placeOpenID},
		{"not the root's", "/t1", map[string]page{placeOAuth: metadata(""), "/t1" + placeOpenID: metadata("/t1")}, placeOAuth + "/t1 " + placeOpenID + "/t1 /t1" + placeOpenID},
		{"another's first, ours next", "/t1", map[string]page{placeOAuth + "/t1": metadata(""), placeOpenID + "/t1": metadata("/t1")}, placeOAuth + "/t1 " + placeOpenID + "/t1"},
		{"a page, then ours", "", map[string]page{placeOAuth: {kind: "text/html", body: "<html>"}, placeOpenID: metadata("")}, placeOAuth + " " + placeOpenID},
		{"an error, then ours", "", map[string]page{placeOAuth: page404, placeOpenID: metadata("")}, placeOAuth + " " + placeOpenID},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, tt.pages)
			m, err := new(oauth.Client).Discover(t.Context(), s.url+tt.issuer)
			if err != nil {
				t.Fatal(err)
			}
			if s.paths() != tt.asked {
				t.Errorf("asked %s", s.paths())
			}
			if m.Issuer != s.url+tt.issuer || m.Token != s.url+"/token" || m.Authorization != s.url+"/authorize?tenant=1" {
				t.Errorf("got %+v", m)
			}
			if last := s.last(t); last.method != "GET" || last.header.Get("Accept") != "application/json" || last.header.Get("Authorization") != "" {
				t.Errorf("asked with %+v", last)
			}
		})
	}
}

// TestRFC8414Issuer (8414-1, and the discovery-endpoint-verification cases of
// FAPI 2.0): identical means byte for byte.
func TestRFC8414Issuer(t *testing.T) {
	for _, tt := range []struct{ asked, got string }{
		{"", "https://as.example"},
		{"", "BASE/"},
		{"/", "BASE"},
		{"/t", "BASE/T"},
		{"/t", "BASE"},
		{"/t", "BASE/t/../t"},
		{"/a%2fb", "BASE/a%2Fb"},
		{"", "HTTP://127.0.0.1"},
		{"", ""},
	} {
		s := newSite(t, map[string]page{})
		base := s.url
		doc := strings.ReplaceAll(`{"issuer":"`+tt.got+`","token_endpoint":"BASE/token"}`, "BASE", base)
		_, err := oauth.ParseServerMetadata(plain(200, "application/json", doc), base, base+tt.asked)
		var e *oauth.IssuerError
		if !errors.As(err, &e) || e.Asked != base+tt.asked || e.Got != strings.ReplaceAll(tt.got, "BASE", base) {
			t.Errorf("asked %s, got %s: %v", tt.asked, tt.got, err)
			continue
		}
		if slash := tt.asked == "" && tt.got == "BASE/" || tt.asked == "/" && tt.got == "BASE"; e.SlashOnly() != slash || strings.Contains(err.Error(), "slash") != slash {
			t.Errorf("asked %q, got %q: slash %t, %v", tt.asked, tt.got, e.SlashOnly(), err)
		}
	}
	s := newSite(t, map[string]page{placeOAuth: metadata("/other"), placeOpenID: metadata("/other")})
	var e *oauth.IssuerError
	if _, err := new(oauth.Client).Discover(t.Context(), s.url); !errors.As(err, &e) {
		t.Errorf("error %v", err)
	}
}

func TestRFC8414CheckIssuer(t *testing.T) {
	for issuer, want := range map[string]string{
		"https://as.example":                     "",
		"https://as.example/t/":                  "",
		"http://127.0.0.1:80/t":                  "",
		"http://[::1]":                           "",
		"http://as.example":                      "not loopback",
		"https://as.example?":                    "query",
		"https://as.example/?x=" + canary:        "query",
		"https://as.example/#" + canary:          "fragment",
		"https://as.example#":                    "fragment",
		"https://u:p@as.example":                 "user information",
		"javascript:alert(1)":                    "not https",
		"file:///etc/passwd":                     "not https",
		"https:///x":                             "no host",
		"as.example":                             "not https",
		"https://as.example/é":                   "ASCII",
		"https://as.example/ x":                  "ASCII",
		"https://a/" + strings.Repeat("x", 5000): "too long",
		"":                                       "not https",
	} {
		_, err := oauth.CheckIssuer(issuer)
		if want == "" && err != nil {
			t.Errorf("%s: %v", issuer, err)
		} else if want != "" {
			contains(t, err, want)
		}
		if want != "" {
			if _, err := new(oauth.Client).Discover(t.Context(), issuer); err == nil {
				t.Errorf("%s was asked", issuer)
			}
		}
	}
}

// TestHostileMetadata (8414-1): documents that must not be used, and what is
// said about them. Nothing of them is in the error but a member's name.
func TestHostileMetadata(t *testing.T) {
	for _, tt := range []struct {
		name string
		page page
		want string
	}{
		{"nothing there", page{status: 404}, "no metadata document is published"},
		{"server error", page{status: 500, body: "{}"}, "status 500"},
		{"redirect", page{status: 302, header: map[string]string{"Location": "BASE/good"}}, "status 302"},
		{"redirect for good", page{status: 308, header: map[string]string{"Location": "BASE/good"}}, "status 308"},
		{"html", page{kind: "text/html", body: metadata("").body}, "type application/json"},
		{"text", page{kind: "text/plain", body: metadata("").body}, "type application/json"},
		{"svg", page{kind: "image/svg+xml", body: metadata("").body}, "type application/json"},
		{"form", page{kind: "application/x-www-form-urlencoded", body: "issuer=BASE"}, "type application/json"},
		{"list", page{body: "[]"}, "not a JSON object"},
		{"empty", page{body: ""}, "not a JSON object"},
		{"cut", page{body: `{"issuer":"BASE","token_endpoint":"` + canary}, "broken or cut"},
		{"tail", page{body: metadata("").body + "x"}, "something follows"},
		{"huge", page{body: `{"issuer":"BASE","x":"` + strings.Repeat(canary, 1<<18) + `"}`}, "longer than 512 KiB"},
		{"deep", page{body: `{"issuer":"BASE","x":` + strings.Repeat("[", 1<<18)}, "broken or cut"},
		{"issuer twice", metadata("", `"issuer":"BASE"`), "issuer is there more than once"},
		{"token endpoint twice", metadata("", `"token_endpoint":"BASE/other"`), "token_endpoint is there more than once"},
		{"token endpoint twice, escaped", metadata("", `"token\u005fendpoint":"BASE/other"`), "token_endpoint is there more than once"},
		{"flag twice", metadata("", `"authorization_response_iss_parameter_supported":true,"authorization_response_iss_parameter_supported":false`), "more than once"},
		{"issuer no string", page{body: `{"issuer":["BASE"]}`}, "issuer is not a string"},
		{"issuer missing", page{body: `{"token_endpoint":"BASE/token"}`}, "the document is that of issuer"},
		{"javascript", metadata("", `"device_authorization_endpoint":"javascript:alert('`+canary+`')"`), "device_authorization_endpoint can't be used: the URL is not https"},
		{"file", metadata("", `"revocation_endpoint":"file:///etc/`+canary+`"`), "revocation_endpoint can't be used"},
		{"data", metadata("", `"jwks_uri":"data:application/json,{}"`), "jwks_uri can't be used"},
		{"plain http", metadata("", `"jwks_uri":"http://as.example/`+canary+`"`), "jwks_uri can't be used"},
		{"relative", metadata("", `"userinfo_endpoint":"/userinfo"`), "userinfo_endpoint can't be used"},
		{"without a scheme", metadata("", `"userinfo_endpoint":"//as.example/userinfo"`), "userinfo_endpoint can't be used"},
		{"user", metadata("", `"introspection_endpoint":"https://u:`+canary+`@as.example/"`), "user information"},
		{"fragment", metadata("", `"registration_endpoint":"https://as.example/#`+canary+`"`), "fragment"},
		{"line break", metadata("", `"pushed_authorization_request_endpoint":"https://as.example/\r\nHost: x"`), "not ASCII"},
		{"lookalike", metadata("", `"userinfo_endpoint":"https://аs.example/"`), "not ASCII"},
		{"long", metadata("", `"userinfo_endpoint":"https://as.example/`+strings.Repeat("x", 5000)+`"`), "too long"},
		{"number", metadata("", `"userinfo_endpoint":1`), "userinfo_endpoint is not a string"},
		{"alias", metadata("", `"mtls_endpoint_aliases":{"token_endpoint":"file:///`+canary+`"}`), "token_endpoint can't be used"},
		{"alias twice", metadata("", `"mtls_endpoint_aliases":{"token_endpoint":"BASE/1","token_endpoint":"BASE/2"}`), "token_endpoint is there more than once"},
		{"alias no object", metadata("", `"mtls_endpoint_aliases":"BASE"`), "is not an object"},
	} {
		t.Run("8414-1 "+tt.name, func(t *testing.T) {
			s := newSite(t, map[string]page{placeOAuth: tt.page, placeOpenID: tt.page, "/good": metadata("")})
			m, err := new(oauth.Client).Discover(t.Context(), s.url)
			if m != nil {
				t.Errorf("got %+v", m)
			}
			contains(t, err, tt.want)
			if strings.Contains(s.paths(), "/good") {
				t.Error("the redirect was followed")
			}
			absent := tt.page.status != 0
			if errors.Is(err, oauth.ErrNotPublished) != absent {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestMetadataLoopback (SSRF, 8414-1): a server elsewhere can't name this
// machine, one on this machine may.
func TestMetadataLoopback(t *testing.T) {
	for _, tt := range []struct {
		issuer, endpoint string
		ok               bool
	}{
		{"https://as.example", "https://as.example/token", true},
		{"https://as.example", "https://other.example/token", true},
		{"https://as.example", "http://127.0.0.1/token", false},
		{"https://as.example", "https://127.0.0.1/token", false},
		{"https://as.example", "https://localhost/token", false},
		{"https://as.example", "https://[::1]/token", false},
		{"https://as.example", "https://[::ffff:127.0.0.1]/token", false},
		{"http://127.0.0.1", "http://localhost/token", true},
		{"http://127.0.0.1", "http://as.example/token", false},
		{"http://127.0.0.1", "https://as.example/token", true},
	} {
		doc := fmt.Sprintf(`{"issuer":%q,"token_endpoint":%q}`, tt.issuer, tt.endpoint)
		_, err := oauth.ParseServerMetadata(plain(200, "application/json", doc), tt.issuer, tt.issuer)
		if (err == nil) != tt.ok {
			t.Errorf("%s names %s: %v", tt.issuer, tt.endpoint, err)
		}
	}
	s := newSite(t, map[string]page{placeOAuth: metadata("")})
	_, err := (&oauth.Client{Gate: oauth.PublicOnly}).Discover(t.Context(), s.url)
	contains(t, err, "the address is refused")
	if s.paths() != "" {
		t.Errorf("asked %s", s.paths())
	}
}

func TestServerMetadata(t *testing.T) {
	const all = `"jwks_uri":"BASE/keys","scopes_supported":["openid","a b"],"response_types_supported":["code"],
		"response_modes_supported":["query","form_post"],"grant_types_supported":["authorization_code","refresh_token"],
		"token_endpoint_auth_methods_supported":["none",7,null,"private_key_jwt"],"token_endpoint_auth_signing_alg_values_supported":["ES256"],
		"revocation_endpoint_auth_methods_supported":["none"],"introspection_endpoint_auth_methods_supported":["client_secret_basic"],
		"code_challenge_methods_supported":"S256 plain","authorization_response_iss_parameter_supported":true,
		"require_pushed_authorization_requests":"true","require_signed_request_object":true,"request_parameter_supported":true,
		"request_object_signing_alg_values_supported":["PS256"],"id_token_signing_alg_values_supported":["RS256"],
		"authorization_details_types_supported":["pay"],"dpop_signing_alg_values_supported":["ES256","EdDSA"],
		"tls_client_certificate_bound_access_tokens":true,"client_id_metadata_document_supported":true,
		"pushed_authorization_request_endpoint":"BASE/par","device_authorization_endpoint":"BASE/device","revocation_endpoint":"BASE/revoke",
		"introspection_endpoint":"BASE/introspect","registration_endpoint":"BASE/register","userinfo_endpoint":"BASE/userinfo",
		"mtls_endpoint_aliases":{"token_endpoint":"https://mtls.example/token","unknown":"javascript:1"},
		"unknown":{"a":1},"unknown":2,"grant_management_endpoint":null`
	s := newSite(t, map[string]page{placeOAuth: metadata("", all)})
	m, err := new(oauth.Client).Discover(t.Context(), s.url)
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2][]string{
		"scopes":         {m.Scopes, {"openid", "a b"}},
		"types":          {m.ResponseTypes, {"code"}},
		"modes":          {m.ResponseModes, {"query", "form_post"}},
		"grants":         {m.GrantTypes, {"authorization_code", "refresh_token"}},
		"auth":           {m.AuthMethods, {"none", "private_key_jwt"}},
		"auth algs":      {m.AuthAlgs, {"ES256"}},
		"revoke auth":    {m.RevocationAuthMethods, {"none"}},
		"introspect":     {m.IntrospectionAuthMethods, {"client_secret_basic"}},
		"pkce":           {m.CodeChallengeMethods, {"S256", "plain"}},
		"objects":        {m.RequestObjectAlgs, {"PS256"}},
		"id token":       {m.IDTokenAlgs, {"RS256"}},
		"details":        {m.AuthorizationTypes, {"pay"}},
		"dpop":           {m.DPoPAlgs, {"ES256", "EdDSA"}},
		"endpoints":      {{m.JWKSURI, m.PushedAuthorization, m.DeviceAuthorization, m.Revocation, m.Introspection, m.Registration, m.Userinfo}, {s.url + "/keys", s.url + "/par", s.url + "/device", s.url + "/revoke", s.url + "/introspect", s.url + "/register", s.url + "/userinfo"}},
		"8705-1 aliases": {{m.MutualTLS().Token, m.MutualTLS().Revocation, m.Token}, {"https://mtls.example/token", s.url + "/revoke", s.url + "/token"}},
	} {
		if !slices.Equal(pair[0], pair[1]) {
			t.Errorf("%s: got %q, want %q", name, pair[0], pair[1])
		}
	}
	if !m.IssParameter || !m.RequirePushed || !m.RequireRequestObject || !m.RequestParameter || !m.CertificateBound || !m.ClientIDDocuments {
		t.Errorf("a flag is missing: %+v", m)
	}
	if len(m.Members) < 30 {
		t.Errorf("%d members", len(m.Members))
	}
	bare, err := oauth.ParseServerMetadata(plain(200, "", `{"issuer":"https://as.example"}`), "", "https://as.example")
	if err != nil || bare.Scopes != nil || bare.IssParameter || bare.RequirePushed || bare.MutualTLS() != (oauth.Endpoints{}) {
		t.Errorf("a bare document: %+v, %v", bare, err)
	}
}

func TestPublishedTypes(t *testing.T) {
	for kind, good := range map[string]bool{
		"application/json": true, "application/json;charset=UTF-8": true, "Application/JSON": true,
		"application/jwk-set+json": true, "": true, "application/octet-stream": true, "binary/octet-stream": true,
		"text/plain": false, "text/html; charset=utf-8": false, "application/xml": false, "application/javascript": false,
		"text/x+json": false, ";;": false,
	} {
		_, err := oauth.ParseServerMetadata(plain(200, kind, `{"issuer":"https://as.example"}`), "https://as.example", "https://as.example")
		if (err == nil) != good {
			t.Errorf("%q: %v", kind, err)
		}
	}
}

func TestFetchJWKS(t *testing.T) {
	keys := `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}], "more": 1}`
	s := newSite(t, map[string]page{
		"/keys":  {kind: "application/jwk-set+json", body: keys},
		"/away":  {status: 302, header: map[string]string{"Location": "BASE/keys"}},
		"/page":  {kind: "text/html", body: keys},
		"/none":  {body: `{"key":[]}`},
		"/null":  {body: `{"keys":null}`},
		"/twice": {body: `{"keys":[],"keys":[]}`},
		"/huge":  {body: `{"keys":["` + strings.Repeat("x", 1<<20) + `"]}`},
	})
	var c oauth.Client
	if got, err := c.FetchJWKS(t.Context(), s.url+"/keys"); err != nil || string(got) != keys {
		t.Errorf("got %s, %v", got, err)
	}
	for path, want := range map[string]string{"/away": "status 302", "/page": "type", "/none": "not a list", "/null": "not a list", "/twice": "more than once", "/huge": "512 KiB", "/gone": "status 404"} {
		got, err := c.FetchJWKS(t.Context(), s.url+path)
		if got != nil {
			t.Errorf("%s: got %s", path, got)
		}
		contains(t, err, want)
	}
	_, err := c.FetchJWKS(t.Context(), "http://as.example/keys?"+canary)
	contains(t, err, "not loopback")
	_, err = (&oauth.Client{Gate: oauth.PublicOnly}).FetchJWKS(t.Context(), s.url+"/keys")
	contains(t, err, "the address is refused")
}

func FuzzServerMetadata(f *testing.F) {
	f.Add("application/json", `{"issuer":"https://as.example","token_endpoint":"https://as.example/token","mtls_endpoint_aliases":{"token_endpoint":"https://m.example"}}`)
	f.Add("", `{"issuer":"https://as.example","scopes_supported":["a",1,null],"jwks_uri":"javascript:1"}`)
	f.Add("text/html", `<html>`)
	f.Fuzz(func(t *testing.T, kind, body string) {
		const issuer = "https://as.example"
		m, err := oauth.ParseServerMetadata(plain(http.StatusOK, kind, body), issuer, issuer)
		if (m == nil) == (err == nil) {
			t.Fatalf("got %v and %v", m, err)
		}
		if err != nil {
			return
		}
		if m.Issuer != issuer {
			t.Errorf("issuer %q", m.Issuer)
		}
		x := m.MutualTLS()
		for _, u := range []string{m.Authorization, m.Token, m.PushedAuthorization, m.DeviceAuthorization, m.Revocation, m.Introspection, m.Registration, m.Userinfo, m.JWKSURI, x.Token, x.Userinfo} {
			if u != "" && (!strings.HasPrefix(strings.ToLower(u), "https://") || oauth.CheckEndpoint(u) != nil) {
				t.Errorf("endpoint %q", u)
			}
		}
	})
}
