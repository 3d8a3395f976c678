package jose

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/evergrant/evergrant/oauth"
)

const (
	maxAssertion     = 5 * time.Minute
	defaultAssertion = 4 * time.Minute
	maxBackdate      = time.Minute
	defaultBackdate  = 20 * time.Second
)

// CertHeader says how the header of an assertion names the certificate of the
// key. Values can be combined with |; 0 names none.
type CertHeader int

// What a header can say of a certificate.
const (
	X5TS256 CertHeader = 1 << iota // x5t#S256, the SHA-256 hash (RFC 7515 §4.1.8)
	X5T                            // x5t, the SHA-1 hash, where a server knows no other (§4.1.7)
	X5C                            // x5c, the whole chain (§4.1.6)
)

// Assertion describes the JWT that a client signs about itself or a user
// (RFC 7521 §5, RFC 7523 §3): as grant (JWT bearer) or to authenticate. It is
// signed afresh for every attempt, retries too: servers remember the jti.
//
// Providers differ in a few fields only. Salesforce: Issuer is the consumer
// key, Subject the user name, Audience the login host
// ("https://login.salesforce.com"), Lifetime 3 min. DocuSign: the integration
// key, the user's GUID, the bare host "account.docusign.com", Scope
// "signature impersonation". Google: see [ServiceAccount.Assertion].
type Assertion struct {
	// Issuer and Audience are required. Audience goes out as one string, as
	// FAPI 2.0 wants it: usually the issuer identifier of the server.
	Issuer, Audience string
	// Subject is whom the assertion is about; "" is an error unless NoSubject
	// leaves the claim out (RFC 7523 §3 demands it, Google doesn't).
	Subject   string
	NoSubject bool
	// AudienceList is sent, as an array, instead of Audience: for servers that
	// take nothing else.
	AudienceList []string
	// Scope is sent as the claim "scope" unless "".
	Scope string
	// Lifetime runs from now to exp: 0 means 4 min, at most 5 min. With
	// Backdate it stays within 5 min by default, which some servers check.
	Lifetime time.Duration
	// Backdate is how far iat lies before now, for servers whose clock is
	// behind: 0 means 20 s, at most 1 min, negative means none.
	Backdate time.Duration
	// Claims and Header are added. They can't replace what the fields above
	// set, nor jti, alg, crit; a header "typ" replaces "JWT".
	Claims, Header map[string]any
	// Certificate names the key's certificate in the header.
	Certificate CertHeader
}

// Sign returns the assertion with a new jti, signed by the key. It is a
// credential until it expires. now comes from the caller, so that a known
// clock error can be taken out.
func (a Assertion) Sign(key *Key, now time.Time) (oauth.Secret, error) {
	h, c, err := a.parts(now)
	if err == nil {
		err = key.certHeader(h, a.Certificate)
	}
	if err != nil {
		return oauth.Secret{}, fmt.Errorf("signing assertion: %w", err)
	}
	text, err := key.sign(h, c, false)
	if err != nil {
		return oauth.Secret{}, fmt.Errorf("signing assertion: %w", err)
	}
	return oauth.NewSecret(text), nil
}

// SignSecret is Sign with a client secret of at least 32 bytes (HS256).
func (a Assertion) SignSecret(secret oauth.Secret, now time.Time) (oauth.Secret, error) {
	h, c, err := a.parts(now)
	if err == nil && a.Certificate != 0 {
		err = errors.New("a client secret has no certificate")
	}
	if err != nil {
		return oauth.Secret{}, fmt.Errorf("signing assertion: %w", err)
	}
	text, err := signSecret(secret, h, c)
	if err != nil {
		return oauth.Secret{}, fmt.Errorf("signing assertion: %w", err)
	}
	return oauth.NewSecret(text), nil
}

func (a Assertion) parts(now time.Time) (header, claims, error) {
	if err := a.check(); err != nil {
		return nil, nil, err
	}
	iat, exp := a.times(now)
	c := claims{"iss": a.Issuer, "aud": a.Audience, "iat": iat.Unix(), "exp": exp.Unix(), "jti": newID()}
	if a.AudienceList != nil {
		c["aud"] = a.AudienceList
	}
	if !a.NoSubject {
		c["sub"] = a.Subject
	}
	if a.Scope != "" {
		c["scope"] = a.Scope
	}
	for name, value := range a.Claims {
		if _, ok := c[name]; ok || name == "sub" {
			return nil, nil, fmt.Errorf("the extra claim %.40q is set already", name)
		}
		c[name] = value
	}
	h := header{"typ": "JWT"}
	for name, value := range a.Header {
		if slices.Contains([]string{"alg", "crit", "b64", "jwk"}, name) {
			return nil, nil, fmt.Errorf("the header parameter %q can't be set", name)
		}
		h[name] = value
	}
	return h, c, nil
}

func (a Assertion) check() error {
	switch {
	case a.Issuer == "":
		return errors.New("the issuer is empty")
	case a.Subject == "" && !a.NoSubject:
		return errors.New("the subject is empty (RFC 7523 §3)")
	case a.Subject != "" && a.NoSubject:
		return errors.New("there is a subject, and it is to be left out")
	case a.Audience == "" && len(a.AudienceList) == 0:
		return errors.New("the audience is empty (RFC 7523 §3)")
	case a.Audience != "" && a.AudienceList != nil:
		return errors.New("the audience is given twice")
	case a.Lifetime < 0 || a.Lifetime > maxAssertion:
		return fmt.Errorf("the lifetime %v is not within %v", a.Lifetime, maxAssertion)
	case a.Backdate > maxBackdate:
		return fmt.Errorf("the issue time would lie %v back, %v at most", a.Backdate, maxBackdate)
	}
	return nil
}

func (a Assertion) times(now time.Time) (iat, exp time.Time) {
	life, back := a.Lifetime, a.Backdate
	if life == 0 {
		life = defaultAssertion
	}
	if back == 0 {
		back = defaultBackdate
	}
	return now.Add(-max(back, 0)), now.Add(life)
}

// ServiceAccount is what a Google service-account file says beside the key.
type ServiceAccount struct {
	// Email is client_email, the issuer of its assertions.
	Email string
	// TokenURI is token_uri: the endpoint and the audience. It comes from a
	// file; check it like any other endpoint.
	TokenURI string
	// Project is project_id, or "".
	Project string
}

// Assertion describes the grant of a service account: the scopes, separated by
// spaces, go into the assertion, and user, unless "", is whom it acts for
// (domain-wide delegation).
func (s ServiceAccount) Assertion(scope, user string) Assertion {
	return Assertion{Issuer: s.Email, Audience: s.TokenURI, Subject: user, NoSubject: user == "", Scope: scope}
}
