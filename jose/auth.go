package jose

import (
	"errors"
	"fmt"
	"time"

	"github.com/evergrant/evergrant/oauth"
)

// clientAssertionType is the value of client_assertion_type (RFC 7523 §2.2).
const clientAssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// PrivateKeyJWT authenticates a client by its key (RFC 7523 §2.2,
// private_key_jwt). The audience is the issuer identifier of the server, as
// FAPI 2.0 wants it, unless the provider documents another, often its token
// endpoint. Every call makes another assertion: make the request anew for
// every attempt.
func PrivateKeyJWT(clientID string, key *Key, audience string) oauth.ClientAuth {
	return ClientAssertion(Assertion{Issuer: clientID, Subject: clientID, Audience: audience}, key)
}

// ClientAssertion is PrivateKeyJWT with an assertion of one's own, for servers
// that want further claims or a certificate in the header. Its Issuer and
// Subject are the client id (RFC 7523 §3).
func ClientAssertion(a Assertion, key *Key) oauth.ClientAuth {
	return func(r *oauth.Request) error {
		return authenticate(r, a, func(now time.Time) (oauth.Secret, error) { return a.Sign(key, now) })
	}
}

// ClientSecretJWT authenticates a client by an HMAC (HS256) under its secret
// (OpenID Connect Core §9, client_secret_jwt), which then doesn't travel. The
// secret needs 32 bytes. Prefer a key: the server holds the same secret.
func ClientSecretJWT(clientID string, secret oauth.Secret, audience string) oauth.ClientAuth {
	a := Assertion{Issuer: clientID, Subject: clientID, Audience: audience}
	return func(r *oauth.Request) error {
		return authenticate(r, a, func(now time.Time) (oauth.Secret, error) { return a.SignSecret(secret, now) })
	}
}

// authenticate puts the client id in as well: RFC 7521 §4.2 allows it, and
// pushed authorization requests and some servers need it.
func authenticate(r *oauth.Request, a Assertion, sign func(time.Time) (oauth.Secret, error)) error {
	if err := checkClient(r, a); err != nil {
		return fmt.Errorf("authenticating client: %w", err)
	}
	assertion, err := sign(time.Now())
	if err != nil {
		return fmt.Errorf("authenticating client: %w", err)
	}
	r.Form.Set("client_id", a.Subject)
	r.Form.Set("client_assertion_type", clientAssertionType)
	r.Form.Set("client_assertion", assertion.Reveal())
	return nil
}

// checkClient refuses an empty client id and a second method.
func checkClient(r *oauth.Request, a Assertion) error {
	switch {
	case a.Subject == "":
		return errors.New("the client id is empty")
	case a.Subject != a.Issuer:
		return errors.New("issuer and subject of a client's assertion are its client id, and here they differ (RFC 7523 §3)")
	case r.Header.Get("Authorization") != "":
		return errors.New("the request has an Authorization header already (RFC 6749 §2.3 allows one method)")
	case r.Form.Has("client_secret"):
		return errors.New("the request has a client_secret already (RFC 6749 §2.3 allows one method)")
	case r.Form.Has("client_assertion"):
		return errors.New("the request has a client_assertion already (RFC 6749 §2.3 allows one method)")
	case r.Form.Has("client_id") && r.Form.Get("client_id") != a.Subject:
		return errors.New("the request is of another client")
	}
	return nil
}
