package oauth

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// Introspection is what an authorization server knows of a token (RFC 7662
// §2.2). Only Active is always there. It is not to be logged: it tells about a
// person. Printing the Members shows names and sizes.
type Introspection struct {
	// Active is true for true alone: absent, "true" and anything else are not.
	// Not active is no proof that a grant is dead: Salesforce says so of tokens
	// that work, and every server does of tokens that are not the asker's.
	Active bool
	// Texts of the server, cleaned, at most 512 bytes each; Scope is whole.
	Scope, ClientID, Username, TokenType, Subject, Issuer string
	// Expires, IssuedAt and NotBefore in UTC; zero where the server does not
	// say or says it unreadably. No answer is to be kept beyond Expires.
	Expires, IssuedAt, NotBefore time.Time
	// Members are all that the answer holds.
	Members []Member
}

// IntrospectRequest asks what a token is (RFC 7662 §2.1). hint may be "". Most
// servers want a client that authenticates.
func IntrospectRequest(introspectURL string, token Secret, hint string, auth ClientAuth) (*Request, error) {
	return tokenAsked("introspection", introspectURL, token, hint, auth)
}

// Introspect sends an [IntrospectRequest] once and reads the answer by
// [ParseIntrospection].
func (c *Client) Introspect(ctx context.Context, introspectURL string, token Secret, hint string, auth ClientAuth) (*Introspection, error) {
	r, err := IntrospectRequest(introspectURL, token, hint, auth)
	if err != nil {
		return nil, err
	}
	a, err := c.Send(ctx, r, nil)
	if err != nil {
		return nil, fmt.Errorf("introspecting token: %w", err)
	}
	return ParseIntrospection(a, r)
}

// ParseIntrospection reads the answer to r. Errors are *[RetryError],
// *[ServerError] and *[MetadataError]; after an error nothing is known of the
// token. A signed answer (RFC 9701) is not read.
func ParseIntrospection(a *Answer, r *Request) (*Introspection, error) {
	if err := busy(a); err != nil {
		return nil, fmt.Errorf("introspecting token: %w", err)
	}
	if a.Status != http.StatusOK {
		return nil, fmt.Errorf("introspecting token: %w", wordyRefusal(a, r))
	}
	d := open(a, r.URL, true)
	i := &Introspection{
		Active:    string(d.value("active")) == "true",
		Scope:     clean(d.exact("scope"), maxToken),
		ClientID:  d.loose("client_id"),
		Username:  d.loose("username"),
		TokenType: d.loose("token_type"),
		Subject:   d.loose("sub"),
		Issuer:    d.loose("iss"),
		Expires:   d.date("exp"), IssuedAt: d.date("iat"), NotBefore: d.date("nbf"),
		Members: d.members,
	}
	if d.err != nil {
		return nil, fmt.Errorf("introspecting token: %w", d.err)
	}
	return i, nil
}

// loose is a text that nothing is decided by: a string or a number.
func (d *document) loose(name string) string {
	v := d.value(name)
	switch kind(v) {
	case '"':
		return clean(text(v), maxText)
	case '{', '[', 0:
		return ""
	}
	return clean(string(v), maxText)
}

// date is a NumericDate (RFC 7519 §2), in a string too; zero if there is none.
func (d *document) date(name string) time.Time {
	v := d.value(name)
	number := string(v)
	if kind(v) == '"' {
		number = text(v)
	}
	s, err := strconv.ParseFloat(number, 64)
	const last = 253402300799 // the end of the year 9999, where RFC 3339 ends
	if err != nil || !(s > 0) || s > last {
		return time.Time{}
	}
	whole, part := math.Modf(s)
	return time.Unix(int64(whole), int64(part*1e9)).UTC()
}
