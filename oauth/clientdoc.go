package oauth

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// ClientDocument is a client that describes itself at the URL that is its
// client_id (draft-ietf-oauth-client-id-metadata-document).
type ClientDocument struct {
	// ClientID is the URL of the document.
	ClientID string
	// Name for people, cleaned.
	Name string
	// RedirectURIs has one entry at least.
	RedirectURIs []string
	// AuthMethod at the token endpoint; "" stands for none. Never one with a
	// shared secret.
	AuthMethod string
	JWKSURI    string
	// Members are all that the document holds.
	Members []Member
}

// CheckClientIDURL says whether a URL can be a client_id: https with a path, and
// without user information, query, fragment, and dot segments. The draft merely
// advises against a query; we have no use for one.
func CheckClientIDURL(clientID string) error {
	if len(clientID) > maxURL || !plainASCII(clientID) {
		return refuse("the client id URL is too long or not ASCII")
	}
	u, err := endpoint(clientID)
	switch {
	case err != nil:
		return err
	case u.Scheme != "https":
		return refuse("the client id URL is not https")
	case u.Path == "" || u.Path == "/":
		return refuse("the client id URL has no path")
	case strings.Contains(clientID, "?"):
		return refuse("the client id URL has a query")
	}
	for segment := range strings.SplitSeq(u.Path, "/") { // unescaped: %2e is a dot too
		if segment == "." || segment == ".." {
			return refuse("the client id URL has dot segments")
		}
	}
	return nil
}

// FetchClientDocument gets the document that a client id URL points to, to find
// faults in it before a server does. Errors are *[SendError] and
// *[MetadataError].
func (c *Client) FetchClientDocument(ctx context.Context, clientID string) (*ClientDocument, error) {
	if err := CheckClientIDURL(clientID); err != nil {
		return nil, err
	}
	a, err := c.fetch(ctx, clientID)
	if err != nil {
		return nil, fmt.Errorf("fetching client document: %w", err)
	}
	return ParseClientDocument(a, clientID)
}

// ParseClientDocument reads an answer that came from clientID: its client_id is
// that very URL, it has redirect URIs, and nothing in it is a shared secret.
func ParseClientDocument(a *Answer, clientID string) (*ClientDocument, error) {
	if err := CheckClientIDURL(clientID); err != nil {
		return nil, err
	}
	d := open(a, clientID, false)
	doc := &ClientDocument{
		ClientID:     clientID,
		Name:         d.text("client_name"),
		RedirectURIs: d.list("redirect_uris"),
		AuthMethod:   d.text("token_endpoint_auth_method"),
		JWKSURI:      d.link("jwks_uri"),
		Members:      d.members,
	}
	switch {
	case d.exact("client_id") != clientID:
		d.fault("client_id", "is not the URL of the document")
	case len(doc.RedirectURIs) == 0:
		d.fault("redirect_uris", "has no entry")
	case strings.HasPrefix(doc.AuthMethod, "client_secret_"):
		d.fault("token_endpoint_auth_method", "needs a secret, and the document is public")
	case d.value("client_secret") != nil || d.value("client_secret_expires_at") != nil:
		d.fault("client_secret", "stands in a public document")
	}
	if d.err != nil {
		return nil, d.err
	}
	return doc, nil
}

// Allows reports whether a server will take this redirect URI: it is in the
// document, or differs in the port of a loopback address only (RFC 8252 §7.3).
func (d *ClientDocument) Allows(redirectURI string) bool {
	return slices.Contains(d.RedirectURIs, redirectURI) ||
		slices.ContainsFunc(d.RedirectURIs, func(known string) bool {
			k, ok := anyPort(known)
			r, fits := anyPort(redirectURI)
			return ok && fits && k == r
		})
}

// anyPort is a loopback redirect without its port; false for another one.
func anyPort(raw string) (string, bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" || !loopback(u.Hostname()) || u.User != nil {
		return "", false
	}
	u.Host = u.Hostname()
	return u.String(), true
}
