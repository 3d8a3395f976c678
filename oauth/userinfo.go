package oauth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"net/http"
)

// Userinfo is what a server tells about the person behind an access token
// (OpenID Connect Core §5.3, or Salesforce's identity URL).
type Userinfo struct {
	// Subject is sub; "" if the answer has none, as Salesforce's identity URL.
	// Where there was an ID token it must be the same as there (§5.3.2): compare
	// before anything in here is believed.
	Subject string
	// Members are all claims; empty if the answer is signed. Printing them
	// shows names and sizes.
	Members []Member
	// Signed is the whole answer if it is a JWT (§5.3.2), not verified; else
	// zero.
	Signed Secret
}

// UserinfoRequest asks who the person is: a GET with the token in the
// Authorization header (RFC 6750 §2.1), never in the URL. userinfoURL may be
// Salesforce's identity URL, the id of its token answers: check that its host
// is one the token was issued for, an answer could name any. For a token bound
// to a key, replace the header by the DPoP one.
func UserinfoRequest(userinfoURL string, token Secret) (*Request, error) {
	if token.IsZero() {
		return nil, errors.New("making userinfo request: the access token is empty")
	}
	if _, err := endpoint(userinfoURL); err != nil {
		return nil, err
	}
	return &Request{Method: http.MethodGet, URL: userinfoURL, Header: bearer(token)}, nil
}

func bearer(token Secret) http.Header {
	return http.Header{
		"Accept":        {"application/json"},
		"Authorization": {"Bearer " + token.Reveal()},
	}
}

// Userinfo sends a [UserinfoRequest] once and reads the answer by
// [ParseUserinfo].
func (c *Client) Userinfo(ctx context.Context, userinfoURL string, token Secret) (*Userinfo, error) {
	r, err := UserinfoRequest(userinfoURL, token)
	if err != nil {
		return nil, err
	}
	a, err := c.Send(ctx, r, nil)
	if err != nil {
		return nil, fmt.Errorf("asking for userinfo: %w", err)
	}
	return ParseUserinfo(a, r)
}

// ParseUserinfo reads the answer to r. Errors are *[RetryError],
// *[MetadataError] and *[ServerError], whose Code is that of the challenge
// (invalid_token) or of the body (Salesforce: Bad_OAuth_Token, with a 403).
func ParseUserinfo(a *Answer, r *Request) (*Userinfo, error) {
	if err := busy(a); err != nil {
		return nil, fmt.Errorf("asking for userinfo: %w", err)
	}
	if a.Status != http.StatusOK {
		return nil, fmt.Errorf("asking for userinfo: %w", wordyRefusal(a, r))
	}
	media, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if media == "application/jwt" && !a.Truncated {
		return &Userinfo{Signed: NewSecret(string(a.Body))}, nil
	}
	d := open(a, r.URL, true)
	u := &Userinfo{Subject: d.exact("sub"), Members: d.members}
	if d.err != nil {
		return nil, fmt.Errorf("asking for userinfo: %w", d.err)
	}
	return u, nil
}

// VerifySalesforceSignature reports whether the signature member of a
// Salesforce token answer fits its id and issued_at: base64 of
// HMAC-SHA256(consumer secret, id + issued_at). It proves that the identity URL
// was not changed on the way, and nothing about the tokens. issuedAt is the
// text as received, in milliseconds. A client without a secret can't check.
func VerifySalesforceSignature(id, issuedAt, signature string, consumerSecret Secret) bool {
	got, err := base64.StdEncoding.DecodeString(signature)
	if err != nil || consumerSecret.IsZero() {
		return false
	}
	mac := hmac.New(sha256.New, []byte(consumerSecret.Reveal()))
	mac.Write([]byte(id + issuedAt))
	return hmac.Equal(got, mac.Sum(nil))
}
