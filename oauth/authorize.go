package oauth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// NewNonce returns 256 random bits as 43 characters of base64url: a state (RFC
// 6749 §10.12), an OpenID nonce, or a PKCE verifier. Make a new one for each
// authorization request and each purpose.
func NewNonce() Secret {
	var b [32]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return NewSecret(base64.RawURLEncoding.EncodeToString(b[:]))
}

// S256 is the code_challenge of a PKCE verifier by the method S256 (RFC
// 7636 §4.2). There is no way to ask for plain here: it protects nothing once
// somebody reads the request. The verifier must be 43 to 128 unreserved
// characters (§4.1).
func S256(verifier Secret) (string, error) {
	v := verifier.Reveal()
	if len(v) < 43 || len(v) > 128 || strings.IndexFunc(v, func(r rune) bool { return !unreserved(r) }) >= 0 {
		return "", errors.New("making code challenge: the verifier is not 43 to 128 unreserved characters (RFC 7636 §4.1)")
	}
	sum := sha256.Sum256([]byte(v))
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// unreserved as in RFC 3986 §2.3.
func unreserved(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return true
	}
	return strings.ContainsRune("-._~", r)
}

// Authorization is an authorization request (RFC 6749 §4.1.1). The zero value
// of a field is not sent unless it says otherwise.
type Authorization struct {
	// ResponseType; "" means code. The types that put tokens into the redirect
	// are refused (RFC 9700 §2.1.2).
	ResponseType string
	ClientID     string
	// RedirectURI as the callback will come back to; "" leaves it to the
	// registration.
	RedirectURI string
	// Scope is joined by ScopeSeparator; "" means a space (RFC 6749 §3.3).
	Scope          []string
	ScopeSeparator string
	// State must be there and new: it alone ties the callback to this request
	// where a server ignores PKCE (RFC 9700 §2.1).
	State Secret
	// Verifier is the PKCE verifier, of which the S256 challenge is sent. It
	// may be zero only with NoPKCE.
	Verifier Secret
	// NoPKCE is for providers known to refuse requests with a code_challenge.
	NoPKCE bool
	// Nonce ties an ID token to this request (OpenID Connect Core §3.1.2.1);
	// needed if the scope has openid.
	Nonce Secret
	// ResponseMode, Prompt and LoginHint as in OpenID Connect Core §3.1.2.1.
	ResponseMode, Prompt, LoginHint string
	// Resource says where the tokens will be used (RFC 8707 §2).
	Resource []string
	// Details is the JSON array authorization_details (RFC 9396 §2).
	Details string
	// DPoPThumbprint binds the code to a DPoP key (RFC 9449 §10).
	DPoPThumbprint string
	// Params are further ones, in their order. They can't replace what protects
	// the request.
	Params Form
	// Rename maps a standard name to the provider's, such as client_id to
	// client_key.
	Rename map[string]string
	// Omit leaves out standard parameters that a provider does not take:
	// response_type, client_id, redirect_uri or scope.
	Omit []string
}

// Form checks a and returns its parameters, for the front channel ([FrontURL]),
// a pushed request ([PushRequest]) or the claims of a request object.
func (a Authorization) Form() (Form, error) {
	if err := a.check(); err != nil {
		return nil, fmt.Errorf("making authorization request: %w", err)
	}
	f := Form{{"response_type", orElse(a.ResponseType, "code")}, {"client_id", a.ClientID}}
	f.addIf("redirect_uri", a.RedirectURI)
	f.addIf("scope", strings.Join(a.Scope, orElse(a.ScopeSeparator, " ")))
	f.Add("state", a.State.Reveal())
	if !a.NoPKCE {
		challenge, err := S256(a.Verifier)
		if err != nil {
			return nil, err
		}
		f.Add("code_challenge", challenge)
		f.Add("code_challenge_method", "S256")
	}
	f.addIf("nonce", a.Nonce.Reveal())
	f.addIf("response_mode", a.ResponseMode)
	f.addIf("prompt", a.Prompt)
	f.addIf("login_hint", a.LoginHint)
	f.addAll("resource", a.Resource)
	f.addIf("authorization_details", a.Details)
	f.addIf("dpop_jkt", a.DPoPThumbprint)
	f = slices.DeleteFunc(f, func(p Param) bool { return slices.Contains(a.Omit, p.Name) })
	for _, p := range a.Params {
		f.Set(p.Name, p.Value)
	}
	for i := range f {
		f[i].Name = orElse(a.Rename[f[i].Name], f[i].Name)
	}
	return f, nil
}

// fixed are the parameters that no extra one may replace: with another value
// the callback could not be checked, or a token could come in the open.
var fixed = []string{"response_type", "client_id", "redirect_uri", "state", "nonce",
	"code_challenge", "code_challenge_method", "resource", "request", "request_uri", "dpop_jkt"}

// spare are the parameters that a request is no less safe without.
var spare = []string{"response_type", "client_id", "redirect_uri", "scope"}

func (a Authorization) check() error {
	types := strings.Fields(orElse(a.ResponseType, "code"))
	switch {
	case slices.Contains(types, "token") || !slices.ContainsFunc(types, func(t string) bool { return t != "id_token" }):
		return errors.New("the response type would put a token into the redirect (RFC 9700 §2.1.2)")
	case a.ClientID == "":
		return errors.New("the client id is empty")
	case len(a.State.Reveal()) < 22: // 128 bits, RFC 6749 §10.10
		return errors.New("the state is missing or short of 128 bits")
	case slices.Contains(a.Scope, "openid") && a.Nonce.IsZero():
		return errors.New("the scope has openid, and there is no nonce")
	case a.Details != "" && !(jsontext.Value(a.Details).IsValid() && jsontext.Value(a.Details).Kind() == '['):
		return errors.New("authorization_details is not a JSON array (RFC 9396 §2)")
	}
	for _, s := range a.Scope { // RFC 6749 §3.3; a space would be two scopes
		if s == "" || !plainASCII(s) || strings.ContainsAny(s, `"\`) {
			return fmt.Errorf("%q is not one scope", clean(s, 64))
		}
	}
	for _, r := range a.Resource { // RFC 8707 §2
		if u, err := url.Parse(r); err != nil || !u.IsAbs() || strings.Contains(r, "#") {
			return fmt.Errorf("%q is not an absolute URL without fragment (RFC 8707 §2)", clean(r, 128))
		}
	}
	for _, name := range a.Omit {
		if !slices.Contains(spare, name) {
			return fmt.Errorf("%s can't be left out", clean(name, 64))
		}
	}
	for _, p := range a.Params {
		if slices.Contains(fixed, p.Name) {
			return fmt.Errorf("%s can't be set as an extra parameter", p.Name)
		}
	}
	return nil
}

// URL is the address to open in the person's browser.
func (a Authorization) URL(authorizeURL string) (string, error) {
	f, err := a.Form()
	if err != nil {
		return "", err
	}
	return FrontURL(authorizeURL, f)
}

// FrontURL puts parameters on the authorization endpoint's URL, whose own query
// is kept (RFC 6749 §3.1). A parameter that the endpoint has already is an
// error: it must not be there twice.
func FrontURL(authorizeURL string, params Form) (string, error) {
	u, err := endpoint(authorizeURL)
	if err != nil {
		return "", err
	}
	have, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "", refuse("the query of the authorization endpoint can't be read")
	}
	for _, p := range params {
		if have.Has(p.Name) {
			return "", fmt.Errorf("making authorization request: the endpoint's URL has %s already", clean(p.Name, 64))
		}
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += params.Encode()
	return u.String(), nil
}
