package oauth_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/oauth"
)

const tokenEndpoint = "https://as.example.com/token"

var s = oauth.NewSecret

// TestGrants: every body, byte for byte.
func TestGrants(t *testing.T) {
	auth := oauth.Post("app", s("se"))
	for _, tt := range []struct {
		name, want string
		make       func() (*oauth.Request, error)
	}{
		{"code", "grant_type=authorization_code&code=c&redirect_uri=http%3A%2F%2F127.0.0.1%3A5%2Fcb&code_verifier=v&resource=https%3A%2F%2Fa.example&client_id=app&client_secret=se", func() (*oauth.Request, error) {
			return oauth.CodeRequest(tokenEndpoint, oauth.Code{Code: s("c"), RedirectURI: "http://127.0.0.1:5/cb", Verifier: s("v"), Resource: []string{"https://a.example"}}, auth)
		}},
		{"code alone", "grant_type=authorization_code&code=c&client_id=app", func() (*oauth.Request, error) {
			return oauth.CodeRequest(tokenEndpoint, oauth.Code{Code: s("c")}, oauth.None("app"))
		}},
		{"client credentials", "grant_type=client_credentials&scope=a+b&client_id=app&client_secret=se", func() (*oauth.Request, error) {
			return oauth.ClientCredentialsRequest(tokenEndpoint, "a b", auth)
		}},
		{"password", "grant_type=password&username=u&password=p%26&client_id=app&client_secret=se", func() (*oauth.Request, error) {
			return oauth.PasswordRequest(tokenEndpoint, "u", s("p&"), auth)
		}},
		{"JWT bearer", "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c&scope=x", func() (*oauth.Request, error) {
			return oauth.JWTBearerRequest(tokenEndpoint, s("a.b.c"), "x", oauth.NoClient)
		}},
		{"SAML bearer 7522-1", "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Asaml2-bearer&assertion=PGE-Pz8_PC9hPg", func() (*oauth.Request, error) {
			return oauth.SAMLBearerRequest(tokenEndpoint, s("<a>???</a>"), "", oauth.NoClient)
		}},
		{"exchange", "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=st&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token" +
			"&actor_token=at&actor_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt&requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt&audience=one&audience=two&resource=https%3A%2F%2Fa.example&scope=x&client_id=app", func() (*oauth.Request, error) {
			return oauth.ExchangeRequest(tokenEndpoint, oauth.Exchange{Subject: s("st"), Actor: s("at"), ActorType: oauth.TypeJWT, RequestedType: oauth.TypeJWT,
				Audience: []string{"one", "two"}, Resource: []string{"https://a.example"}, Scope: "x"}, oauth.None("app"))
		}},
	} {
		r, err := tt.make()
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if got := r.Form.Encode(); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

func TestGrantsRefused(t *testing.T) {
	none := oauth.None("app")
	for name, make := range map[string]func() (*oauth.Request, error){
		"no code": func() (*oauth.Request, error) { return oauth.CodeRequest(tokenEndpoint, oauth.Code{}, none) },
		"no auth": func() (*oauth.Request, error) { return oauth.ClientCredentialsRequest(tokenEndpoint, "", nil) },
		"http": func() (*oauth.Request, error) {
			return oauth.ClientCredentialsRequest("http://as.example.com", "", none)
		},
		"no password": func() (*oauth.Request, error) { return oauth.PasswordRequest(tokenEndpoint, "u", s(""), none) },
		"not a JWT":   func() (*oauth.Request, error) { return oauth.JWTBearerRequest(tokenEndpoint, s("a.b"), "", none) },
		"not SAML":    func() (*oauth.Request, error) { return oauth.SAMLBearerRequest(tokenEndpoint, s("hello"), "", none) },
		"no subject":  func() (*oauth.Request, error) { return oauth.ExchangeRequest(tokenEndpoint, oauth.Exchange{}, none) },
		"actor type, alone": func() (*oauth.Request, error) {
			return oauth.ExchangeRequest(tokenEndpoint, oauth.Exchange{Subject: s("x"), ActorType: oauth.TypeJWT}, none)
		},
	} {
		if r, err := make(); err == nil {
			t.Errorf("%s: made %v", name, r)
		}
	}
}

// TestSAMLForms_7522_1: XML and both alphabets of base64 give the same bytes.
func TestSAMLForms_7522_1(t *testing.T) {
	xml := "<a>\xff\xfe???</a>"
	want := base64.RawURLEncoding.EncodeToString([]byte(xml))
	for name, text := range map[string]string{"xml": xml, "standard": base64.StdEncoding.EncodeToString([]byte(xml)), "url": want,
		"wrapped": want[:8] + "\n" + want[8:] + "\n"} {
		r, err := oauth.SAMLBearerRequest(tokenEndpoint, s(text), "", oauth.NoClient)
		if err != nil || r.Form.Get("assertion") != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestIssuedType_8693_1: what was issued is looked at.
func TestIssuedType_8693_1(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		e          oauth.Exchange
		want       string
		ok         bool
	}{
		{"as asked", `{"access_token":"x","issued_token_type":"` + oauth.TypeJWT + `","token_type":"N_A"}`, oauth.Exchange{RequestedType: oauth.TypeJWT}, oauth.TypeJWT, true},
		{"left to the server", `{"access_token":"x","issued_token_type":"` + oauth.TypeSAML2 + `"}`, oauth.Exchange{}, oauth.TypeSAML2, true},
		{"another kind", `{"access_token":"x","issued_token_type":"` + oauth.TypeRefreshToken + `"}`, oauth.Exchange{RequestedType: oauth.TypeAccessToken}, oauth.TypeRefreshToken, false},
		{"missing", `{"access_token":"x"}`, oauth.Exchange{}, "", false},
		{"missing where allowed", `{"access_token":"x"}`, oauth.Exchange{Untyped: true, RequestedType: oauth.TypeAccessToken}, "", true},
		{"wrong where it may be missing", `{"access_token":"x","issued_token_type":"` + oauth.TypeJWT + `"}`, oauth.Exchange{Untyped: true, RequestedType: oauth.TypeAccessToken}, oauth.TypeJWT, false},
		{"twice", `{"access_token":"x","issued_token_type":"a","issued_token_type":"a"}`, oauth.Exchange{}, "", false},
	} {
		a, err := oauth.ParseToken(&oauth.Answer{Status: 200, Body: []byte(tt.body), Header: http.Header{}}, oauth.Dialect{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := tt.e.Check(a)
		if got != tt.want || (err == nil) != tt.ok || err != nil && !errors.Is(err, oauth.ErrIssuedType) {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
}

// TestGrantSecrets: nothing of a request shows, whatever the grant.
func TestGrantSecrets(t *testing.T) {
	r, err := oauth.ExchangeRequest(tokenEndpoint, oauth.Exchange{Subject: s(secret("subject")), Actor: s(secret("actor"))}, oauth.None("app"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(r.String(), canary) {
		t.Errorf("%s", r)
	}
	if e := oauth.Refusal(&oauth.Answer{Status: 400, Body: []byte(`{"error":"invalid_grant","error_description":"bad ` + secret("subject") + `"}`), Header: http.Header{}}, r); strings.Contains(e.Error(), canary) || e.Code != "invalid_grant" || e.Status != 400 {
		t.Errorf("%v", e)
	}
}
