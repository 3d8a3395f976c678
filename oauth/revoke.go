package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// The registered hints (RFC 7009 §4.1.2). A hint spares the server a search; a
// wrong or unknown one does no harm.
const (
	HintAccessToken  = "access_token"
	HintRefreshToken = "refresh_token"
)

// RevokeRequest makes a request that ends a token (RFC 7009 §2.1). hint may be
// "". A refresh token takes its access tokens with it, at most servers; the
// other way round it mostly doesn't, so revoke that one first. The token goes
// into the body, never into the URL, although some servers take it there.
func RevokeRequest(revokeURL string, token Secret, hint string, auth ClientAuth) (*Request, error) {
	return tokenAsked("revocation", revokeURL, token, hint, auth)
}

// tokenAsked is the request about a token that RFC 7009 and RFC 7662 share.
func tokenAsked(what, rawURL string, token Secret, hint string, auth ClientAuth) (*Request, error) {
	if token.IsZero() {
		return nil, errors.New("making " + what + " request: the token is empty")
	}
	params := Form{{"token", token.Reveal()}}
	if hint != "" {
		params.Add("token_type_hint", hint)
	}
	return tokenRequest(rawURL, auth, params...)
}

// Revoke sends a [RevokeRequest] once and reads the answer by [ParseRevocation].
func (c *Client) Revoke(ctx context.Context, revokeURL string, token Secret, hint string, auth ClientAuth) error {
	r, err := RevokeRequest(revokeURL, token, hint, auth)
	if err != nil {
		return err
	}
	a, err := c.Send(ctx, r, nil)
	if err != nil {
		return fmt.Errorf("revoking token: %w", err)
	}
	return ParseRevocation(a, r)
}

// ParseRevocation reads the answer to r (RFC 7009 §2.2). nil means that the
// token is no good any more: revoked now, or unknown to the server, which
// answers the same; a server that says invalid_token (Salesforce, Google) means
// that too. After an error the token has to be thought of as good: *[RetryError]
// if asking again later may help, *[ServerError] otherwise, among them
// unsupported_token_type (§2.2.1). Errors may come form-encoded (Salesforce).
func ParseRevocation(a *Answer, r *Request) error {
	if a.Status/100 == 2 {
		return nil // the body says nothing (§2.2)
	}
	if err := busy(a); err != nil {
		return fmt.Errorf("revoking token: %w", err)
	}
	e := wordyRefusal(a, r)
	if a.Status == http.StatusBadRequest && e.Code == "invalid_token" {
		return nil
	}
	return fmt.Errorf("revoking token: %w", e)
}

// wordyRefusal is Refusal for endpoints that are less strict about the form of
// their errors: a form under any type, a challenge, or one bare word.
func wordyRefusal(a *Answer, r *Request) *ServerError {
	t, _ := ParseToken(a, Dialect{Form: true}) // never nil, and as much as was readable
	e := t.refusal(a, r)
	if e.Code != "" {
		return e
	}
	if c := ParseChallenge(a.Header); c.Error != "" {
		e.Code, e.Description = Scrub(c.Error, r.Secrets()...), Scrub(c.ErrorDescription, r.Secrets()...)
		return e
	}
	if w := strings.TrimSpace(string(a.Body)); len(w) <= 64 && strings.Trim(w, wordLetters) == "" {
		e.Code = Scrub(w, r.Secrets()...) // Salesforce: Bad_OAuth_Token
	}
	return e
}

const wordLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
