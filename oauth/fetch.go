package oauth

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	maxURL  = 4 << 10 // bytes of a URL in a document
	maxList = 256     // entries of a list in a document that are read
)

// MetadataError says why a published document can't be used.
type MetadataError struct {
	// URL of the document, without user information and query.
	URL string
	// Status of the answer if it was not 200, else 0.
	Status int
	// Member at fault; "" if it is the document as a whole.
	Member string
	// Reason in words of ours.
	Reason string
}

func (e *MetadataError) Error() string {
	what := e.Reason
	if e.Member != "" {
		what = e.Member + " " + e.Reason
	}
	return "reading " + e.URL + ": " + what
}

// RetryError is the no of a server that is busy: what was asked for is not done
// and may be asked again.
type RetryError struct {
	// Status is 503 or 429.
	Status int
	// After is how long to wait at least; 0 if the server does not say.
	After time.Duration
}

func (e *RetryError) Error() string {
	s := fmt.Sprintf("the server is busy (status %d)", e.Status)
	if e.After > 0 {
		s += fmt.Sprintf(", and asks to wait %s", e.After)
	}
	return s
}

// busy makes a RetryError of an answer that is one (RFC 9110 §15.6.4, RFC 6585
// §4), else nil.
func busy(a *Answer) error {
	if a.Status != http.StatusServiceUnavailable && a.Status != http.StatusTooManyRequests {
		return nil
	}
	after, _ := a.RetryAfter()
	return &RetryError{Status: a.Status, After: after}
}

// FetchJWKS gets a JSON Web Key Set (RFC 7517 §5) as it is: a whole JSON object
// of at most 512 KiB. The keys in it are neither read nor kept. Errors are
// *[SendError] and *[MetadataError].
func (c *Client) FetchJWKS(ctx context.Context, jwksURL string) ([]byte, error) {
	a, err := c.fetch(ctx, jwksURL)
	if err != nil {
		return nil, fmt.Errorf("fetching keys: %w", err)
	}
	d := open(a, jwksURL, true)
	if d.err == nil && kind(d.value("keys")) != '[' {
		d.fault("keys", "is not a list")
	}
	if d.err != nil {
		return nil, fmt.Errorf("fetching keys: %w", d.err)
	}
	return a.Body, nil
}

// fetch gets a document that anybody may read: without credentials, client
// certificates among them, and without following a redirect.
func (c *Client) fetch(ctx context.Context, rawURL string) (*Answer, error) {
	anybody := *c
	anybody.Certificates = nil
	return anybody.Send(ctx, &Request{Method: http.MethodGet, URL: rawURL}, nil)
}

// document is a JSON object that somebody published. The first fault stays in
// err; reading goes on with zero values after it.
type document struct {
	url     string // as an error may show it
	members []Member
	local   bool // URLs in it may lead to this machine
	err     error
}

// open reads an answer as a document. local says that the one who published it
// runs on this machine.
func open(a *Answer, rawURL string, local bool) *document {
	d := &document{url: publicURL(rawURL), local: local}
	switch {
	case a.Status != http.StatusOK:
		d.err = &MetadataError{URL: d.url, Status: a.Status, Reason: fmt.Sprintf("the answer has status %d", a.Status)}
		return d
	case !published(a.Header.Get("Content-Type")):
		d.fault("", "the answer does not have the type application/json")
		return d
	case a.Truncated:
		d.fault("", "the document is longer than 512 KiB")
		return d
	}
	var err error
	if d.members, err = jsonMembers(a.Body); err != nil {
		d.fault("", err.Error())
	}
	return d
}

// published reports whether a document of this Content-Type may speak for its
// host. Text and pages are refused: hosts that serve what their users upload
// serve it as text, and an error page is none of our documents either.
func published(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return contentType == ""
	}
	switch media {
	case "application/json", "application/octet-stream", "binary/octet-stream": // the last two: file stores that know no better
		return true
	}
	return strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
}

func (d *document) fault(member, reason string) {
	if d.err == nil {
		d.err = &MetadataError{URL: d.url, Member: member, Reason: reason}
	}
}

// value is the member of this name; absent and null are nil. Two of one name
// are a fault: RFC 8259 §4 leaves open which of them counts.
func (d *document) value(name string) []byte {
	values := Dialect{}.find(d.members, name)
	switch {
	case len(values) > 1:
		d.fault(name, "is there more than once")
		return nil
	case len(values) == 0 || kind(values[0]) == 'n':
		return nil
	}
	return values[0]
}

// text is a string, cut to what people can read; anything else is a fault.
func (d *document) text(name string) string { return clean(d.exact(name), maxText) }

// exact is a string as it is, for comparing.
func (d *document) exact(name string) string {
	v := d.value(name)
	if v != nil && kind(v) != '"' {
		d.fault(name, "is not a string")
	}
	return text(v)
}

// list is an array of strings. A single string counts as one with spaces in
// between; what else is in the array is left out.
func (d *document) list(name string) []string {
	v := d.value(name)
	if kind(v) == '"' {
		return strings.Fields(clean(text(v), maxURL))
	}
	if kind(v) != '[' {
		return nil
	}
	var list []string
	for _, e := range elements(v) {
		if t := text(e); t != "" && len(list) < maxList {
			list = append(list, clean(t, maxURL))
		}
	}
	return list
}

// flag is true for true alone, written as a string too.
func (d *document) flag(name string) bool {
	v := d.value(name)
	return string(v) == "true" || text(v) == "true"
}

// link is a URL that a request or a browser will be sent to: https, or http
// where the document itself comes from this machine. A URL that is none of
// these is a fault even if nobody would use it: what names one is broken or
// means harm.
func (d *document) link(name string) string {
	raw := d.exact(name)
	if raw == "" {
		return ""
	}
	if reason := unfit(raw, d.local); reason != "" {
		d.fault(name, "can't be used: "+reason)
		return ""
	}
	return raw
}

// unfit says why nobody may be sent to a URL that a document names, or "".
func unfit(raw string, local bool) string {
	if len(raw) > maxURL || !plainASCII(raw) {
		return "the URL is too long or not ASCII"
	}
	u, err := endpoint(raw)
	var e *SendError
	if errors.As(err, &e) {
		return e.Err.Error()
	}
	if loopback(u.Hostname()) && !local {
		return "the URL leads to this machine, and the document comes from elsewhere"
	}
	return ""
}

// origin is scheme and host of a URL, as they are written.
func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

// wellKnown inserts a well-known path between host and path (RFC 8615; RFC 8414
// §3.1, RFC 9728 §3.1): a slash that ends the path goes.
func wellKnown(u *url.URL, name string) string {
	place := origin(u) + "/.well-known/" + name + strings.TrimSuffix(u.EscapedPath(), "/")
	if u.RawQuery != "" {
		place += "?" + u.RawQuery
	}
	return place
}
