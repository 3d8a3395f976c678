package evergrant

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"

	"github.com/evergrant/evergrant/oauth"
)

// peek is how much of a 401's body is read to tell what it is about.
const peek = 4 << 10

// ClientOptions shape what Client adds to requests. The zero value adds the
// token to every request over https, or to this machine.
type ClientOptions struct {
	// Hosts the token is meant for, as host or host:port; nil means every
	// host. A token goes only where it was issued for (RFC 9700 §2.3).
	Hosts []string
	// Base makes the requests; nil means http.DefaultTransport.
	Base http.RoundTripper
}

// Client returns an http.Client that adds the access token to each request.
// Where the API rejects the token (401, not for another reason than the
// token), the grant is refreshed, once per generation however many requests
// are rejected, and the request is made once more if its body can be had again
// (http.Request.GetBody). Redirects to other hosts go without the token.
func (s *Source) Client(o ClientOptions) *http.Client {
	if o.Base == nil {
		o.Base = http.DefaultTransport
	}
	return &http.Client{Transport: &transport{s: s, o: o}}
}

// transport adds the token and renews it when it is rejected.
type transport struct {
	s *Source
	o ClientOptions
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !t.mayCarry(req) {
		return t.o.Base.RoundTrip(req)
	}
	tok, err := t.s.Token(req.Context())
	if err != nil {
		closeBody(req)
		return nil, err
	}
	resp, err := t.send(req, tok, req.Body)
	if err != nil || !t.rejected(resp) {
		return resp, err
	}
	newer, err := t.s.Rejected(req.Context(), tok)
	if err != nil || newer.AccessToken.Equal(tok.AccessToken) {
		return resp, nil
	}
	body, ok := again(req)
	if !ok {
		return resp, nil // the caller gets the 401; its next request has the new token
	}
	discard(resp)
	return t.send(req, newer, body)
}

// send makes the request with the token, and once more where the API only asks
// for a nonce in the proof. Where the body cannot be had again the caller gets
// the 401; its next request has the nonce.
func (t *transport) send(req *http.Request, tok *Token, body io.ReadCloser) (*http.Response, error) {
	renonced := tok.proofs.Retry()
	for {
		r, err := withToken(req, tok, body)
		if err != nil {
			if body != nil {
				body.Close()
			}
			return nil, err
		}
		resp, err := t.o.Base.RoundTrip(r)
		if err != nil || !renonced(r.URL.String(), resp.StatusCode, resp.Header, nil) {
			return resp, err
		}
		var ok bool
		if body, ok = again(req); !ok {
			return resp, nil
		}
		discard(resp)
	}
}

func discard(resp *http.Response) {
	io.Copy(io.Discard, io.LimitReader(resp.Body, peek))
	resp.Body.Close()
}

// mayCarry reports whether the token may go where the request goes. The
// original request of a redirect chain says which host was meant.
func (t *transport) mayCarry(req *http.Request) bool {
	if req.URL.Scheme != "https" && !loopback(req.URL.Hostname()) || req.Header.Get("Authorization") != "" {
		return false
	}
	for first := req; first.Response != nil; {
		if first = first.Response.Request; first.URL.Host != req.URL.Host {
			return false
		}
	}
	if t.o.Hosts == nil {
		return true
	}
	for _, h := range t.o.Hosts {
		if strings.EqualFold(h, req.URL.Host) || strings.EqualFold(h, req.URL.Hostname()) {
			return true
		}
	}
	return false
}

// rejected reports whether a 401 is about the token (RFC 6750 §3.1): a
// challenge that says otherwise, or a body with one of the texts that
// Salesforce sends for sessions of another kind, is not.
func (t *transport) rejected(resp *http.Response) bool {
	if resp.StatusCode != http.StatusUnauthorized || !oauth.ParseChallenge(resp.Header).Refreshable(resp.StatusCode) {
		return false
	}
	head, err := io.ReadAll(io.LimitReader(resp.Body, peek))
	resp.Body = replay{io.MultiReader(bytes.NewReader(head), resp.Body), resp.Body}
	if err != nil && !errors.Is(err, io.EOF) {
		return false
	}
	for _, other := range otherRejections {
		if bytes.Contains(head, []byte(other)) {
			return false
		}
	}
	return true
}

// otherRejections are bodies of a 401 that no new token mends.
var otherRejections = []string{
	"This session is not valid for use with the REST API",
	"Connected app is not attached to Agent",
}

// replay is a body whose beginning was read already.
type replay struct {
	io.Reader
	io.Closer
}

// withToken is a copy of the request with the token: a RoundTripper must not
// change the caller's.
func withToken(req *http.Request, tok *Token, body io.ReadCloser) (*http.Request, error) {
	r := req.Clone(req.Context())
	r.Body, r.Trailer = body, req.Trailer // the caller fills the trailer while the body is read
	return r, tok.Authorize(r)
}

// again gives the request's body once more; ok is false where it cannot be had.
func again(req *http.Request) (body io.ReadCloser, ok bool) {
	if req.Body == nil || req.Body == http.NoBody {
		return req.Body, true
	}
	if req.GetBody == nil {
		return nil, false
	}
	body, err := req.GetBody()
	return body, err == nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
