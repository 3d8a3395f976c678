package evergrant

import (
	"maps"
	"slices"
	"time"

	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
)

// Grant says how an access token is had where no refresh token renews it: to
// refresh such a grant is to ask again. It is never in doubt, and no refusal
// ends it, because nothing of it can be used up. The zero Grant is one with a
// refresh token.
type Grant struct {
	// Type is client_credentials (RFC 6749 §4.4), jwt-bearer (RFC 7523 §2.1),
	// saml2-bearer (RFC 7522 §2.1), token-exchange (RFC 8693) or password (RFC
	// 6749 §4.3, which RFC 9700 §2.4 forbids for new systems).
	Type string
	// Scope asked for, space separated; "" asks for none.
	Scope string
	// Issuer and Subject are iss and sub of the assertion of a jwt-bearer grant:
	// "" means the client id, and the issuer. The subject of a password grant is
	// the user's name.
	Issuer, Subject string
	// Audience is aud of the assertion, "" means the token endpoint; of a
	// token-exchange it is the audience asked for.
	Audience string
	// Resources are the services the token is meant for (RFC 8707 §2).
	Resources []string
	// Source names, for ResolveSecret, what is traded in: a finished assertion
	// (for jwt-bearer instead of a key), the subject token, the password.
	Source string
	// SourceType is the type of a subject token (RFC 8693 §3); "" means an access
	// token.
	SourceType string
	// Claims are added to the assertion that is signed, such as scope for Google.
	Claims map[string]string
}

func (gr *Grant) members() []member {
	return []member{
		{"type", &gr.Type},
		{"scope", &gr.Scope},
		{"issuer", &gr.Issuer},
		{"subject", &gr.Subject},
		{"audience", &gr.Audience},
		{"resources", &gr.Resources},
		{"source_ref", &gr.Source},
		{"source_type", &gr.SourceType},
		{"claims", &gr.Claims},
	}
}

// grantRequests build the token request of each type of grant, "" for a refresh.
var grantRequests = map[string]func(refreshToken oauth.Secret, t terms, c credentials, auth oauth.ClientAuth) (*oauth.Request, error){
	"": func(refreshToken oauth.Secret, t terms, _ credentials, auth oauth.ClientAuth) (*oauth.Request, error) {
		return oauth.RefreshRequest(t.id.TokenURL, refreshToken, auth)
	},
	"client_credentials": func(_ oauth.Secret, t terms, _ credentials, auth oauth.ClientAuth) (*oauth.Request, error) {
		req, err := oauth.ClientCredentialsRequest(t.id.TokenURL, t.id.Grant.Scope, auth)
		return t.id.Grant.address(req, err)
	},
	"jwt-bearer": func(_ oauth.Secret, t terms, c credentials, auth oauth.ClientAuth) (*oauth.Request, error) {
		assertion, err := t.id.assertion(c)
		if err != nil {
			return nil, err
		}
		return oauth.JWTBearerRequest(t.id.TokenURL, assertion, t.id.Grant.Scope, auth)
	},
	"saml2-bearer": func(_ oauth.Secret, t terms, c credentials, auth oauth.ClientAuth) (*oauth.Request, error) {
		return oauth.SAMLBearerRequest(t.id.TokenURL, c.source, t.id.Grant.Scope, auth)
	},
	"token-exchange": func(_ oauth.Secret, t terms, c credentials, auth oauth.ClientAuth) (*oauth.Request, error) {
		gr := t.id.Grant
		e := oauth.Exchange{Subject: c.source, SubjectType: gr.SourceType, Resource: gr.Resources, Scope: gr.Scope}
		if gr.Audience != "" {
			e.Audience = []string{gr.Audience}
		}
		return oauth.ExchangeRequest(t.id.TokenURL, e, auth)
	},
	"password": func(_ oauth.Secret, t terms, c credentials, auth oauth.ClientAuth) (*oauth.Request, error) {
		req, err := oauth.PasswordRequest(t.id.TokenURL, t.id.Grant.Subject, c.source, auth)
		if err == nil && t.id.Grant.Scope != "" {
			req.Form.Set("scope", t.id.Grant.Scope)
		}
		return req, err
	},
}

// address adds where a token of the client's own is meant to be used.
func (gr *Grant) address(req *oauth.Request, err error) (*oauth.Request, error) {
	if err != nil {
		return nil, err
	}
	for _, r := range gr.Resources {
		req.Form.Add("resource", r) // RFC 8707 §2
	}
	if gr.Audience != "" {
		req.Form.Set("audience", gr.Audience)
	}
	return req, nil
}

// assertion is the JWT of a jwt-bearer grant: one made elsewhere, or one signed
// anew for this attempt.
func (id *identity) assertion(c credentials) (oauth.Secret, error) {
	if c.Key == nil {
		return c.source, nil
	}
	gr := &id.Grant
	a := jose.Assertion{
		Issuer: firstOf(gr.Issuer, c.Key.ServiceAccount().Email, id.ClientID), Subject: gr.Subject, NoSubject: gr.Subject == "",
		Audience: firstOf(gr.Audience, id.Issuer, id.TokenURL), Claims: map[string]any{},
	}
	for _, name := range slices.Sorted(maps.Keys(gr.Claims)) {
		if name == "scope" {
			a.Scope = gr.Claims[name]
		} else {
			a.Claims[name] = gr.Claims[name]
		}
	}
	return a.Sign(c.Key, time.Now())
}

// anonymous reports whether the grant needs no client beside it: an assertion
// names it (RFC 7521 §4.1).
func (id *identity) anonymous() bool {
	return id.Auth == "" && (id.Grant.Type == "jwt-bearer" || id.Grant.Type == "saml2-bearer")
}
