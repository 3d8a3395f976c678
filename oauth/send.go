// Package oauth is the wire under OAuth 2.0: it makes requests, sends each
// exactly once and reads the answers. It keeps no state and never decides about
// another try.
//
// Start with [RefreshRequest], send with [Client.Send], read with [ParseToken]:
//
//	req, err := oauth.RefreshRequest(tokenURL, refreshToken, oauth.None(clientID))
//	answer, err := new(oauth.Client).Send(ctx, req, writeIntent)
//	token, err := oauth.ParseToken(answer, oauth.Dialect{})
//
// What a server or a resource publishes is found by [Client.Discover] and
// [Client.DiscoverResource], a client is made by [Client.Register], and a token
// is ended or looked at by [Client.Revoke], [Client.Introspect] and
// [Client.Userinfo]. These too send each request once.
//
// Promises:
//
//   - One Send is at most one request on a connection of its own. No redirect
//     is followed, nothing is repeated, no cookie is kept.
//   - The caller is asked (the sending argument) before the first byte of the
//     request leaves, and a [SendError] says whether anything may have left.
//   - TLS is verified, always. Plain http goes to loopback hosts only.
//   - The time and the memory that a server can cost are bounded.
//   - No error, log line or formatted value holds a secret, an answer's body,
//     or the user information and query of a URL.
//
// Limits: HTTP/1.1 only; answers of 512 KiB. Secrets stay in memory until the
// garbage collector takes them. fmt does not see the
// methods of what is in an unexported field: there a [Secret] stays safe, but a
// [Request], [Answer] or [Member] is printed in full.
package oauth

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

const (
	defaultTimeout = 30 * time.Second
	maxHeader      = 64 << 10 // bytes of an answer's header, 1xx answers included
)

// Client sends requests. The zero Client is ready to use; it keeps nothing
// between calls and may be used by several goroutines.
type Client struct {
	// RootCAs verify servers; nil means those of the system.
	RootCAs *x509.CertPool
	// Proxy chooses a proxy (http, https or socks5 URL, nil for none) for an
	// https endpoint; a nil func asks the environment
	// ([http.ProxyFromEnvironment]). Plain http is never proxied.
	Proxy func(*http.Request) (*url.URL, error)
	// UserAgent is sent unless the request has one; "" means "evergrant".
	UserAgent string
	// Timeout bounds a Send from dialing to the last byte, by the monotonic and
	// by the wall clock; 0 means 30 s. An earlier deadline of ctx wins.
	Timeout time.Duration
	// Trace gets the lines of a transcript without secrets, one at a time and
	// none after Send has returned; nil means none.
	Trace func(line string)
	// Certificates authenticate the client by mutual TLS (RFC 8705 §2): the first
	// that fits what the server asks for is sent, else the very first, as most
	// servers ask for nothing in particular. A proxy never gets one. nil means none.
	Certificates []tls.Certificate
	// Gate is asked about the address of each connection, after the name was
	// resolved and before anything is sent; its error ends the Send in
	// [PhaseGate]. Use [PublicOnly] for URLs that somebody else named. The
	// address of a proxy is not asked about; what is behind it is, as far as the
	// name resolves here. nil lets all pass.
	Gate func(netip.Addr) error
	// Dial opens connections; nil means a [net.Dialer]. Tests use it.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

func (c *Client) timeout() time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return defaultTimeout
}

// The phases of a request, in their order.
const (
	PhaseURL     = "url"     // the URL or the header was refused
	PhaseDNS     = "dns"     // the host was not found
	PhaseProxy   = "proxy"   // the proxy could not be reached or refused
	PhaseConnect = "connect" // the server could not be reached
	PhaseGate    = "gate"    // [Client].Gate refused the address
	PhaseTLS     = "tls"     // the handshake failed
	PhaseWrite   = "write"   // sending was refused, or the request did not get through
	PhaseRead    = "read"    // the answer did not come whole
	// PhaseDeadline: time was up, in whatever phase; Sent tells on which side.
	PhaseDeadline = "deadline"
)

// SendError says why a request has no answer. Its text never holds a secret.
type SendError struct {
	// Sent is true if the request, or a part of it, may have reached the
	// server. False is certain: it did not.
	Sent bool
	// Phase is one of the Phase constants.
	Phase string
	// Certificate is true if the server's (or proxy's) certificate was refused:
	// a matter for an operator, not for another try.
	Certificate bool
	// Status is the HTTP status of a proxy that refused, or of an answer whose
	// body was cut; else 0.
	Status int
	// Partial is the body as far as it came, inflated. It may hold tokens (see
	// [FindTokens]) and must not be printed.
	Partial []byte
	// Err is the cause: context.Canceled, context.DeadlineExceeded, the error
	// of the sending function, or a network error.
	Err error
}

func (e *SendError) Error() string {
	state := "not sent"
	if e.Sent {
		state = "may have been sent"
	}
	cause := ""
	if e.Err != nil {
		cause = clean(e.Err.Error(), maxText) // a certificate's names are the server's words
	}
	return fmt.Sprintf("sending request (%s, %s): %s", e.Phase, state, cause)
}

// Unwrap returns Err.
func (e *SendError) Unwrap() error { return e.Err }

// Format writes what Error returns, whatever the verb: Partial stays out.
func (e *SendError) Format(f fmt.State, _ rune) { io.WriteString(f, e.Error()) }

// LogValue returns what Error returns.
func (e *SendError) LogValue() slog.Value { return slog.StringValue(e.Error()) }

// MarshalText returns what Error returns.
func (e *SendError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// Send sends r once and returns the answer, whatever its status. It does not
// change r.
//
// sending, unless nil, is called at most once: when the connection stands, TLS
// included, and before the first byte of the request leaves. It is the place to
// make durable that a request is under way. If it returns an error nothing is
// sent and the error is in the chain of what Send returns.
//
// The end of ctx stops the exchange at any time. A caller that wants the answer
// once the request has left passes a context that does not end then.
//
// Errors are *[SendError].
func (c *Client) Send(ctx context.Context, r *Request, sending func() error) (*Answer, error) {
	req, err := c.prepare(r)
	if err != nil {
		return nil, err
	}
	ctx, late, stop := c.limit(ctx)
	defer stop()
	t := newTracer(c.Trace, r)
	defer t.close()
	if err := late(); err != nil {
		return nil, timed(ctx, unsent(PhaseConnect, err))
	}
	g, err := c.open(ctx, req.URL, t)
	if err != nil {
		return nil, t.failed(timed(ctx, err))
	}
	g.allow, g.sending = late, sending
	t.request(req, r)
	a, err := exchange(g, req)
	if err != nil {
		return nil, t.failed(timed(ctx, err))
	}
	t.answer(a)
	return a, nil
}

// exchange writes the request and reads the answer, then shuts the connection.
// It does so by itself and in turn: an [http.Transport] would start three
// goroutines for a connection that is used once.
func exchange(g *gate, req *http.Request) (*Answer, error) {
	defer g.shut()
	if err := req.Write(g); err != nil {
		g.shut()
		return nil, g.failed(0, nil, err)
	}
	resp, err := readHead(g, req)
	if err != nil {
		g.shut()
		return nil, g.failed(0, nil, err)
	}
	body, truncated, err := readBody(resp) // never closed: that would read an endless one to its end
	if err != nil {
		g.shut()
		return nil, g.failed(resp.StatusCode, body, err)
	}
	return &Answer{
		Status:    resp.StatusCode,
		Header:    resp.Header,
		Body:      body,
		Truncated: truncated,
		Received:  time.Now(),
		Sent:      g.began,
	}, nil
}

// readHead reads the head of the answer, and those of 1xx answers before it
// (RFC 9110 §15.2). Together they have maxHeader bytes.
func readHead(g *gate, req *http.Request) (*http.Response, error) {
	head := &io.LimitedReader{R: g, N: maxHeader}
	r := bufio.NewReader(head)
	for {
		resp, err := http.ReadResponse(r, req)
		if err != nil && head.N <= 0 {
			return nil, errors.New("the header is too long")
		}
		if err != nil {
			return nil, err
		}
		if resp.StatusCode/100 != 1 || resp.StatusCode == http.StatusSwitchingProtocols {
			head.N = math.MaxInt64 // readBody has its own limit
			return resp, nil
		}
	}
}

// failed says what a failed exchange means. The gate is shut.
func (g *gate) failed(status int, partial []byte, err error) error {
	e := &SendError{Sent: g.sent(), Phase: PhaseRead, Status: status, Partial: partial}
	switch {
	case g.refusal != nil:
		e.Phase, e.Err = PhaseWrite, g.refusal
	case g.writeErr != nil && status == 0:
		e.Phase, e.Err = PhaseWrite, g.writeErr
	case !e.Sent:
		e.Phase = PhaseWrite
	}
	if e.Err == nil {
		e.Err = plainReadError(err)
	}
	return e
}

// timed gives an error its true cause if ctx ended: closing the connection made
// it look like a network error.
func timed(ctx context.Context, err error) error {
	var e *SendError
	cause := context.Cause(ctx)
	if cause == nil || !errors.As(err, &e) {
		return err
	}
	var refused *sendingError
	if errors.As(e.Err, &refused) {
		return err // the caller's own no came first
	}
	if e.Certificate || e.Phase == PhaseProxy && e.Status != 0 {
		return err // a clear word that came just before the end
	}
	e.Err = cause
	if errors.Is(cause, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded) { // the caller may have named the cause
		e.Phase = PhaseDeadline
	}
	return err
}

// plainReadError replaces errors that quote what the other side sent, as those
// of net/http do.
func plainReadError(err error) error {
	for _, known := range []error{io.ErrUnexpectedEOF, io.EOF, io.ErrClosedPipe, net.ErrClosed} {
		if errors.Is(err, known) {
			return known
		}
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op
	}
	return errors.New("the answer is not well-formed, or its header is too long")
}

// framing are the header fields that belong to the transport.
func framing(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Te", "Trailer",
		"Upgrade", "Expect", "Accept-Encoding", "Proxy-Authorization", "Proxy-Connection":
		return true
	}
	return false
}

// prepare checks r and turns it into an HTTP request.
func (c *Client) prepare(r *Request) (*http.Request, error) {
	u, err := endpoint(r.URL)
	if err != nil {
		return nil, err
	}
	body, err := r.payload()
	if err != nil {
		return nil, err
	}
	h := http.Header{
		"Accept":     {"application/json"},
		"User-Agent": {orElse(c.UserAgent, "evergrant")},
	}
	if r.Body == nil && r.method() == http.MethodPost {
		h.Set("Content-Type", formType)
	}
	for name, values := range r.Header {
		if framing(name) {
			return nil, refuse("the header field " + clean(name, 64) + " can't be set")
		}
		if n, _ := word(name); n == "" || n != name {
			return nil, refuse("a header field has a name that can't be sent")
		}
		for _, v := range values {
			if clean(v, len(v)) != v {
				return nil, refuse("the header field " + name + " has a control character in its value")
			}
		}
		h[http.CanonicalHeaderKey(name)] = values
	}
	req := &http.Request{
		Method: r.method(), URL: u, Host: u.Host, Header: h, Close: true,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if len(body) > 0 {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	return req, nil
}

// payload is what r has for a body. A parameter that would be dropped without
// a word is an error.
func (r *Request) payload() ([]byte, error) {
	switch r.method() {
	case http.MethodPost:
		if r.Body != nil {
			return r.Body, nil
		}
		return []byte(r.Form.Encode()), nil
	case http.MethodGet:
		if len(r.Body) > 0 || r.Body == nil && len(r.Form) > 0 {
			return nil, refuse("a GET has no body (encode the form into the query)")
		}
		return nil, nil
	}
	return nil, refuse("the method is neither POST nor GET")
}
