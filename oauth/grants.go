package oauth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Grant types by their registered names.
const (
	grantJWTBearer  = "urn:ietf:params:oauth:grant-type:jwt-bearer"     // RFC 7523 §2.1
	grantSAMLBearer = "urn:ietf:params:oauth:grant-type:saml2-bearer"   // RFC 7522 §2.1
	grantExchange   = "urn:ietf:params:oauth:grant-type:token-exchange" // RFC 8693 §2.1
	grantDevice     = "urn:ietf:params:oauth:grant-type:device_code"    // RFC 8628 §3.4
)

// Token types of RFC 8693 §3.
const (
	TypeAccessToken  = "urn:ietf:params:oauth:token-type:access_token"
	TypeRefreshToken = "urn:ietf:params:oauth:token-type:refresh_token"
	TypeIDToken      = "urn:ietf:params:oauth:token-type:id_token"
	TypeSAML1        = "urn:ietf:params:oauth:token-type:saml1"
	TypeSAML2        = "urn:ietf:params:oauth:token-type:saml2"
	TypeJWT          = "urn:ietf:params:oauth:token-type:jwt"
)

// NoClient is the ClientAuth that adds nothing: for assertions that name the
// client themselves (RFC 7521 §4.1 makes client authentication optional
// there). Everywhere else the server will refuse the request.
func NoClient(*Request) error { return nil }

// Code is an authorization code and what must go with it.
type Code struct {
	// Code from the callback.
	Code Secret
	// RedirectURI exactly as in the authorization request; "" if that had none.
	RedirectURI string
	// Verifier is the PKCE code_verifier (RFC 7636 §4.5); zero only where the
	// provider refuses PKCE.
	Verifier Secret
	// Resource narrows the access token (RFC 8707 §2.2); nil asks for all.
	Resource []string
}

// CodeRequest makes the request that redeems an authorization code (RFC 6749
// §4.1.3). A code works once: a lost answer means that the person has to start
// again.
func CodeRequest(tokenURL string, c Code, auth ClientAuth) (*Request, error) {
	if c.Code.IsZero() {
		return nil, errors.New("making code request: the code is empty")
	}
	params := Form{{"grant_type", "authorization_code"}, {"code", c.Code.Reveal()}}
	params.addIf("redirect_uri", c.RedirectURI)
	params.addIf("code_verifier", c.Verifier.Reveal())
	params.addAll("resource", c.Resource)
	return tokenRequest(tokenURL, auth, params...)
}

// ClientCredentialsRequest asks for a token of the client's own (RFC 6749
// §4.4). An empty scope is not sent. There is no refresh token to come: ask
// again instead.
func ClientCredentialsRequest(tokenURL, scope string, auth ClientAuth) (*Request, error) {
	params := Form{{"grant_type", "client_credentials"}}
	params.addIf("scope", scope)
	return tokenRequest(tokenURL, auth, params...)
}

// PasswordRequest trades a user's password for tokens (RFC 6749 §4.3). It is
// for old servers that know nothing else: RFC 9700 §2.4 says it must not be
// used, and it fails with every second factor. Add a scope to the Form.
func PasswordRequest(tokenURL, username string, password Secret, auth ClientAuth) (*Request, error) {
	if username == "" || password.IsZero() {
		return nil, errors.New("making password request: the username or the password is empty")
	}
	return tokenRequest(tokenURL, auth,
		Param{"grant_type", "password"},
		Param{"username", username},
		Param{"password", password.Reveal()})
}

// JWTBearerRequest trades a signed JWT for an access token (RFC 7523 §2.1). An
// assertion may be refused the second time: make a fresh one for every request.
// An empty scope is not sent. auth is [NoClient] unless the provider wants the
// client identified beside the assertion.
func JWTBearerRequest(tokenURL string, assertion Secret, scope string, auth ClientAuth) (*Request, error) {
	if strings.Count(assertion.Reveal(), ".") != 2 {
		return nil, errors.New("making JWT bearer request: the assertion is not a signed JWT in compact form")
	}
	return assertionRequest(tokenURL, grantJWTBearer, assertion.Reveal(), scope, auth)
}

// SAMLBearerRequest trades a SAML 2.0 assertion for an access token (RFC 7522
// §2.1). The assertion is XML, or base64 of it in either alphabet; it is sent
// as base64url without padding and line breaks. Scope and auth as in
// [JWTBearerRequest].
func SAMLBearerRequest(tokenURL string, assertion Secret, scope string, auth ClientAuth) (*Request, error) {
	xml, ok := samlXML(assertion.Reveal())
	if !ok {
		return nil, errors.New("making SAML bearer request: the assertion is neither XML nor base64 of XML")
	}
	return assertionRequest(tokenURL, grantSAMLBearer, base64.RawURLEncoding.EncodeToString(xml), scope, auth)
}

func assertionRequest(tokenURL, grant, assertion, scope string, auth ClientAuth) (*Request, error) {
	params := Form{{"grant_type", grant}, {"assertion", assertion}}
	params.addIf("scope", scope)
	return tokenRequest(tokenURL, auth, params...)
}

func samlXML(text string) ([]byte, bool) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "<") {
		return []byte(text), true
	}
	url := strings.NewReplacer("+", "-", "/", "_", "=", "", "\n", "", "\r", "", " ", "").Replace(text)
	xml, err := base64.RawURLEncoding.DecodeString(url)
	return xml, err == nil && strings.HasPrefix(strings.TrimSpace(string(xml)), "<")
}

// Exchange is a token exchange (RFC 8693 §2.1).
type Exchange struct {
	// Subject is the token of the party on whose behalf is asked, SubjectType
	// its kind; "" means [TypeAccessToken].
	Subject     Secret
	SubjectType string
	// Actor is the token of the acting party, ActorType its kind ("" means
	// [TypeAccessToken]); a zero Actor means impersonation without one.
	Actor     Secret
	ActorType string
	// RequestedType is the kind of token wanted; "" leaves it to the server.
	RequestedType string
	// Audience and Resource say where the token is to be used; nil for none.
	Audience, Resource []string
	// Scope of the new token; "" is not sent.
	Scope string
	// Untyped takes an answer without issued_token_type, which RFC 8693 §2.2.1
	// requires and some servers (Salesforce) leave out.
	Untyped bool
}

// ExchangeRequest makes the request for e. Judge the answer with
// [Exchange.Check]. What comes back has a lifetime and an audience of its own:
// it never takes the place of the subject token.
func ExchangeRequest(tokenURL string, e Exchange, auth ClientAuth) (*Request, error) {
	if e.Subject.IsZero() {
		return nil, errors.New("making exchange request: the subject token is empty")
	}
	if e.Actor.IsZero() && e.ActorType != "" { // RFC 8693 §2.1 forbids it
		return nil, errors.New("making exchange request: an actor type is given without an actor token")
	}
	params := Form{{"grant_type", grantExchange},
		{"subject_token", e.Subject.Reveal()}, {"subject_token_type", orElse(e.SubjectType, TypeAccessToken)}}
	if !e.Actor.IsZero() {
		params.Add("actor_token", e.Actor.Reveal())
		params.Add("actor_token_type", orElse(e.ActorType, TypeAccessToken))
	}
	params.addIf("requested_token_type", e.RequestedType)
	params.addAll("audience", e.Audience)
	params.addAll("resource", e.Resource)
	params.addIf("scope", e.Scope)
	return tokenRequest(tokenURL, auth, params...)
}

// ErrIssuedType says that a token exchange gave another kind of token than was
// asked for, or did not say which.
var ErrIssuedType = errors.New("the exchange gave another kind of token")

// Check returns the issued_token_type of a good answer (RFC 8693 §2.2.1). The
// error is [ErrIssuedType] if it is not the requested one, or missing without
// Untyped. A token_type of "N_A" is no fault: what was issued may not be an
// access token at all.
func (e Exchange) Check(t *TokenAnswer) (issued string, err error) {
	values := Dialect{}.find(t.Members, "issued_token_type")
	switch {
	case len(values) > 1:
		return "", fmt.Errorf("checking exchange answer: %w: issued_token_type is there more than once", ErrIssuedType)
	case len(values) == 1:
		issued = clean(text(values[0]), maxText)
	}
	switch {
	case issued == "" && !e.Untyped:
		return "", fmt.Errorf("checking exchange answer: %w: it has no issued_token_type", ErrIssuedType)
	case issued != "" && e.RequestedType != "" && issued != e.RequestedType:
		return issued, fmt.Errorf("checking exchange answer: %w: %q", ErrIssuedType, issued)
	}
	return issued, nil
}

func (f *Form) addIf(name, value string) {
	if value != "" {
		f.Add(name, value)
	}
}

// addAll adds each value as a parameter of its own (RFC 8693 §2.1, RFC 8707 §2).
func (f *Form) addAll(name string, values []string) {
	for _, v := range slices.Compact(values) {
		f.addIf(name, v)
	}
}
