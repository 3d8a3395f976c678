package jose

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"github.com/evergrant/evergrant/oauth"
)

// IDTokenRequest is what is known of the request that an ID token answers.
type IDTokenRequest struct {
	// Now is the time to check against; the zero time is an error.
	Now time.Time
	// Nonce is what the authorization request carried; "" if it had none, then
	// the claim is not looked at.
	Nonce string
	// Refresh says that the token came with a refresh: it need not repeat the
	// nonce, and Subject has to be given (OpenID Connect Core §12.2).
	Refresh bool
	// Subject is who it has to be about; "" accepts anybody.
	Subject string
	// AccessToken and Code came with the ID token. at_hash and c_hash are
	// checked against them where both are there.
	AccessToken, Code oauth.Secret
	// AuthenticatedAfter demands that the user proved who they are since then:
	// the time of the request less its max_age. Zero demands nothing.
	AuthenticatedAfter time.Time
	// ACR lists the context classes that were demanded as essential; the token
	// has to name one of them. nil demands nothing (RFC 9470 §5).
	ACR []string
}

// IDToken holds the claims of a token that passed all checks. Printing it shows
// issuer and subject only.
type IDToken struct {
	// Issuer and Subject identify the user, together (§2).
	Issuer, Subject string
	Audience        []string
	// Expires and IssuedAt are in UTC; AuthTime is zero if the token has none.
	Expires, IssuedAt, AuthTime time.Time
	// ACR is the authentication context class, or "".
	ACR string

	claims map[string]json.RawMessage
}

// Claim decodes another claim into v. It reports false if the token doesn't
// have it or it is of another type.
func (t *IDToken) Claim(name string, v any) bool {
	raw, ok := t.claims[name]
	return ok && json.Unmarshal(raw, v) == nil
}

// String shows issuer and subject.
func (t IDToken) String() string {
	return fmt.Sprintf("ID token of %.80q for %.80q", t.Subject, t.Issuer)
}

// Format writes what String returns, whatever the verb.
func (t IDToken) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// VerifyIDToken checks an ID token (OpenID Connect Core §3.1.3.7; §12.2 for one
// that came with a refresh). A token that breaks a rule is refused with a
// [RefusedError]; if its reason is [NoKey], the server may have new keys: fetch
// the set again, once.
func (p Provider) VerifyIDToken(token string, want IDTokenRequest) (*IDToken, error) {
	if p.Issuer == "" || p.ClientID == "" || want.Now.IsZero() {
		return nil, errors.New("checking ID token: issuer, client id and time have to be known")
	}
	if want.Refresh && want.Subject == "" {
		return nil, errors.New("checking ID token: after a refresh the subject has to be known (OpenID Connect Core §12.2)")
	}
	t, err := p.idToken(token, want)
	if err != nil {
		return nil, named(err, "ID token")
	}
	return t, nil
}

func (p Provider) idToken(token string, want IDTokenRequest) (*IDToken, error) {
	o, err := p.open(token)
	if err != nil {
		return nil, err
	}
	for _, check := range []func() error{
		func() error { return p.checkIssuer(o) },
		func() error { return p.checkAudience(o) },
		func() error { return p.checkParty(o) },
		func() error { return checkSubject(o, want) },
		func() error { return p.checkExpiry(o, want.Now) },
		func() error { return p.checkIssued(o, want.Now) },
		func() error { return checkNonce(o, want) },
		func() error { return checkHash(o, "at_hash", BadTokenHash, want.AccessToken) },
		func() error { return checkHash(o, "c_hash", BadCodeHash, want.Code) },
		func() error { return p.checkAuthentication(o, want) },
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	t := &IDToken{claims: o.claims}
	t.Issuer, _ = o.text("iss")
	t.Subject, _ = o.text("sub")
	t.Audience, _ = o.texts("aud")
	t.Expires, _ = o.time("exp")
	t.IssuedAt, _ = o.time("iat")
	t.AuthTime, _ = o.time("auth_time")
	t.ACR, _ = o.text("acr")
	return t, nil
}

// checkParty: with several audiences azp is needed, and where it is there it
// has to be us (items 4 and 5).
func (p Provider) checkParty(o *opened) error {
	list, _ := o.texts("aud")
	azp, ok := o.text("azp")
	if _, has := o.claims["azp"]; !has && len(list) > 1 {
		return refuse(BadParty, "it is for several, and doesn't say whom it was issued to")
	} else if has && (!ok || azp != p.ClientID) {
		return refuse(BadParty, "it was issued to another client")
	}
	return nil
}

func checkSubject(o *opened, want IDTokenRequest) error {
	sub, ok := o.text("sub")
	switch {
	case !ok || sub == "":
		return refuse(BadSubject, "it doesn't say whom it is about")
	case want.Subject != "" && sub != want.Subject:
		return refuse(BadSubject, "it is about another user")
	}
	return nil
}

func (p Provider) checkIssued(o *opened, now time.Time) error {
	iat, ok := o.time("iat")
	if !ok {
		return refuse(BadIssued, "it doesn't say when it was issued")
	}
	if iat.After(now.Add(p.leeway())) {
		return refuse(BadIssued, "it was issued in the future: one of the clocks is wrong")
	}
	return nil
}

func checkNonce(o *opened, want IDTokenRequest) error {
	if want.Nonce == "" {
		return nil
	}
	nonce, ok := o.text("nonce")
	if _, has := o.claims["nonce"]; !has && want.Refresh {
		return nil
	}
	if !ok || subtle.ConstantTimeCompare([]byte(nonce), []byte(want.Nonce)) != 1 {
		return refuse(BadNonce, "it doesn't answer this request")
	}
	return nil
}

// checkHash compares the left half of a hash with what came beside the token
// (§3.1.3.6, §3.3.2.11).
func checkHash(o *opened, claim string, reason Reason, value oauth.Secret) error {
	if _, has := o.claims[claim]; !has || value.IsZero() {
		return nil
	}
	got, ok := o.text(claim)
	h := hashOf(o.alg)
	io.WriteString(h, value.Reveal())
	sum := h.Sum(nil)
	if !ok || strings.TrimRight(got, "=") != base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2]) {
		return refuse(reason, "what came beside it was not issued with it")
	}
	return nil
}

// hashOf is the hash of a signature algorithm. Ed25519 hashes with SHA-512
// inside (RFC 8032 §5.1), which is what providers take for it.
func hashOf(alg string) hash.Hash {
	switch {
	case strings.HasSuffix(alg, "256"):
		return sha256.New()
	case strings.HasSuffix(alg, "384"):
		return sha512.New384()
	}
	return sha512.New()
}

func (p Provider) checkAuthentication(o *opened, want IDTokenRequest) error {
	if !want.AuthenticatedAfter.IsZero() {
		at, ok := o.time("auth_time")
		if !ok || at.Before(want.AuthenticatedAfter.Add(-p.leeway())) {
			return refuse(BadAuthTime, "it doesn't say that the user proved who they are since the time demanded")
		}
	}
	if acr, _ := o.text("acr"); want.ACR != nil && !slices.Contains(want.ACR, acr) {
		return refuse(BadContext, "it doesn't name any of the context classes demanded")
	}
	return nil
}
