package jose

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/evergrant/evergrant/oauth"
)

// RequestObject is an authorization request to be signed (RFC 9101), so that
// nobody on its way through the browser can change it.
type RequestObject struct {
	// ClientID and Audience are required. Audience is the issuer identifier of
	// the server (§4).
	ClientID, Audience string
	// Params are the parameters of the request, response_type and redirect_uri
	// included; client_id may be among them. Of several with the same name a
	// list is made (resource, RFC 8707).
	Params oauth.Form
	// Lifetime runs to exp: 0 means 4 min, at most 5 min.
	Lifetime time.Duration
}

// reserved are claims of the object itself, and parameters that may not be in
// one (§4; "sub" would let it pass for a client assertion, §10.8).
var reserved = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "request", "request_uri", "client_secret", "client_assertion", "client_assertion_type"}

// Sign returns the object, with its own typ (§10.8) and a new jti. Send it as
// "request", to the pushed authorization request endpoint or the browser, with
// nothing but client_id beside it; the server takes the parameters out of the
// object only (§5). See [Front].
func (o RequestObject) Sign(key *Key, now time.Time) (oauth.Secret, error) {
	c, err := o.claims(now)
	if err != nil {
		return oauth.Secret{}, fmt.Errorf("signing request object: %w", err)
	}
	text, err := key.sign(header{"typ": "oauth-authz-req+jwt"}, c, false)
	if err != nil {
		return oauth.Secret{}, fmt.Errorf("signing request object: %w", err)
	}
	return oauth.NewSecret(text), nil
}

func (o RequestObject) claims(now time.Time) (claims, error) {
	switch {
	case o.ClientID == "" || o.Audience == "":
		return nil, errors.New("client id and audience have to be known")
	case o.Lifetime < 0 || o.Lifetime > maxAssertion:
		return nil, fmt.Errorf("the lifetime %v is not within %v", o.Lifetime, maxAssertion)
	case o.Params.Has("client_id") && o.Params.Get("client_id") != o.ClientID:
		return nil, errors.New("the parameters are of another client")
	}
	c := claims{}
	for _, p := range o.Params {
		if slices.Contains(reserved, p.Name) {
			return nil, fmt.Errorf("%q can't be a parameter of a request object", p.Name)
		}
		value, err := paramValue(p)
		if err != nil {
			return nil, err
		}
		switch have := c[p.Name].(type) {
		case nil:
			c[p.Name] = value
		case []any:
			c[p.Name] = append(have, value)
		default:
			c[p.Name] = []any{have, value}
		}
	}
	iat, exp := Assertion{Lifetime: o.Lifetime}.times(now)
	c["client_id"], c["iss"], c["aud"], c["jti"] = o.ClientID, o.ClientID, o.Audience, newID()
	c["iat"], c["nbf"], c["exp"] = iat.Unix(), iat.Unix(), exp.Unix()
	return c, nil
}

// paramValue: strings stay strings; numbers and JSON become what they are (§4).
func paramValue(p oauth.Param) (any, error) {
	switch p.Name {
	case "max_age", "claims", "authorization_details":
		if !json.Valid([]byte(p.Value)) {
			return nil, fmt.Errorf("the parameter %s is not JSON", p.Name)
		}
		return json.RawMessage(p.Value), nil
	}
	return p.Value, nil
}

// Front returns what goes through the browser or into a pushed request beside
// nothing else: client_id and the signed object (RFC 9101 §5.1).
func Front(clientID string, object oauth.Secret) oauth.Form {
	return oauth.Form{{Name: "client_id", Value: clientID}, {Name: "request", Value: object.Reveal()}}
}
