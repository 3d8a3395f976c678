package oauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// CheckEndpoint says whether a request may go to this URL: https, or http on a
// loopback host (127.0.0.0/8, ::1, localhost), without user information and
// fragment (RFC 6749 §3.2, §10.9). The error is a *[SendError] of PhaseURL.
func CheckEndpoint(rawURL string) error {
	_, err := endpoint(rawURL)
	return err
}

func endpoint(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// The error of url.Parse quotes the URL, with what may be in its query.
		return nil, refuse("the URL can't be read")
	}
	host := u.Hostname()
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, refuse("the URL is not https")
	case host == "" || u.Opaque != "":
		return nil, refuse("the URL has no host")
	case !plainASCII(host):
		return nil, refuse("the host is not written in ASCII (use its xn-- form)")
	case u.User != nil:
		return nil, refuse("the URL holds user information")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return nil, refuse("the URL has a fragment")
	case u.Scheme == "http" && !loopback(host):
		return nil, refuse("the URL is http on a host that is not loopback")
	}
	return u, nil
}

func refuse(reason string) error {
	return &SendError{Phase: PhaseURL, Err: errors.New(reason)}
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func plainASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// hostPort is the address to dial.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// open connects to the endpoint: through the proxy, TLS included, up to but
// without the first byte of the request. Errors are *SendError, not sent.
func (c *Client) open(ctx context.Context, u *url.URL, t *tracer) (*gate, error) {
	via, err := c.proxy(u)
	if err != nil {
		return nil, unsent(PhaseProxy, err)
	}
	first, phase := u, ""
	if via != nil {
		first, phase = via, PhaseProxy
	}
	if via != nil {
		if err := c.gateBehindProxy(ctx, u.Hostname()); err != nil {
			return nil, unsent(PhaseGate, err)
		}
	}
	conn, err := c.dial(t.watch(ctx), first, via == nil)
	if err != nil {
		return nil, unsent(dialPhase(err, phase), err)
	}
	raw := &counted{Conn: conn}
	g := &gate{Conn: raw, raw: raw, opened: make(chan struct{})}
	g.unwatch = context.AfterFunc(ctx, func() { raw.Close() })
	if err := c.raise(ctx, g, u, via, t); err != nil {
		g.shut()
		return nil, err
	}
	return g, nil
}

// raise puts the tunnel and TLS on a fresh connection.
func (c *Client) raise(ctx context.Context, g *gate, u, via *url.URL, t *tracer) error {
	if via != nil {
		conn, err := c.tunnel(ctx, g.Conn, via, hostPort(u))
		if err != nil {
			return unsent(PhaseProxy, err)
		}
		g.Conn = conn
		t.printf("* tunnel to %s through %s proxy %s", hostPort(u), via.Scheme, hostPort(via))
	}
	if u.Scheme == "http" {
		// localhost is a name: a resolver could point it anywhere.
		if a, ok := g.raw.RemoteAddr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
			return unsent(PhaseURL, errors.New("the loopback name leads to another host, and the URL is not https"))
		}
		return nil
	}
	conn, err := c.secure(ctx, g.Conn, u.Hostname(), c.clientCertificate())
	if err != nil {
		return unsent(PhaseTLS, err)
	}
	g.Conn = conn
	s := conn.ConnectionState()
	t.printf("* %s %s, certificate of %s verified", tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite), u.Hostname())
	return nil
}

// proxy names the proxy for an endpoint, nil for none. Plain http goes to
// loopback hosts only, which from the proxy would be other hosts.
func (c *Client) proxy(u *url.URL) (*url.URL, error) {
	if u.Scheme == "http" {
		return nil, nil
	}
	choose := c.Proxy
	if choose == nil {
		choose = http.ProxyFromEnvironment
	}
	via, err := choose(&http.Request{Method: http.MethodPost, URL: u, Host: u.Host})
	if err != nil {
		// The text may quote a proxy URL with a password in it.
		return nil, errors.New("the proxy setting can't be read")
	}
	if via != nil && via.Hostname() == "" {
		return nil, errors.New("the proxy setting has no host")
	}
	return via, nil
}

// dial opens a connection; gated says whether the Gate is asked.
func (c *Client) dial(ctx context.Context, u *url.URL, gated bool) (net.Conn, error) {
	gated = gated && c.Gate != nil
	if c.Dial != nil {
		conn, err := c.Dial(ctx, "tcp", hostPort(u))
		if err == nil && gated {
			err = c.gateConn(conn)
		}
		return conn, err
	}
	// The dialer parts the time that ctx has left among the addresses of the
	// host, so that one black hole does not eat it all.
	var d net.Dialer
	if gated {
		d.Control = c.gateSocket
	}
	return d.DialContext(ctx, "tcp", hostPort(u))
}

func dialPhase(err error, phase string) string {
	var dns *net.DNSError
	var gate *gateError
	switch {
	case errors.As(err, &gate):
		return PhaseGate
	case phase != "":
		return phase
	case errors.As(err, &dns):
		return PhaseDNS
	}
	return PhaseConnect
}

// certificateChoice is what [tls.Config] calls GetClientCertificate.
type certificateChoice func(*tls.CertificateRequestInfo) (*tls.Certificate, error)

// clientCertificate chooses the certificate for a server, nil for none to send.
func (c *Client) clientCertificate() certificateChoice {
	if len(c.Certificates) == 0 {
		return nil
	}
	return func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		for i := range c.Certificates {
			if asked.SupportsCertificate(&c.Certificates[i]) == nil {
				return &c.Certificates[i], nil
			}
		}
		// A self-signed certificate (RFC 8705 §2.2) is in no list of authorities.
		return &c.Certificates[0], nil
	}
}

// secure does a TLS handshake. Verification can't be turned off.
func (c *Client) secure(ctx context.Context, conn net.Conn, host string, own certificateChoice) (*tls.Conn, error) {
	t := tls.Client(conn, &tls.Config{
		RootCAs:              c.RootCAs,
		ServerName:           host,
		MinVersion:           tls.VersionTLS12, // RFC 9325 §3.1.1
		NextProtos:           []string{"http/1.1"},
		GetClientCertificate: own,
	})
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

func unsent(phase string, err error) error {
	e := &SendError{Phase: phase, Err: err}
	var p *proxyError
	if errors.As(err, &p) {
		e.Status = p.status
	}
	e.Certificate = certificateFault(err)
	return e
}

func certificateFault(err error) bool {
	var (
		verify  *tls.CertificateVerificationError
		host    x509.HostnameError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
	)
	return errors.As(err, &verify) || errors.As(err, &host) || errors.As(err, &unknown) || errors.As(err, &invalid)
}

// watch adds lines about DNS and connecting to the transcript.
func (t *tracer) watch(ctx context.Context) context.Context {
	if t == nil {
		return ctx
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSDone: func(i httptrace.DNSDoneInfo) {
			list := make([]string, len(i.Addrs))
			for n, a := range i.Addrs {
				list[n] = a.String()
			}
			t.printf("* DNS: %s", orElse(strings.Join(list, ", "), "no address"))
		},
		ConnectDone: func(_, addr string, err error) {
			t.printf("* connect to %s: %s", addr, map[bool]string{true: "done", false: "failed"}[err == nil])
		},
	})
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// limit bounds ctx by the timeout, and by the wall clock as well: the monotonic
// clock stands still while a machine sleeps, and a request that wakes up after
// its deadline may meet the replay of somebody else. It returns the check for
// right now, and what ends the watching.
func (c *Client) limit(ctx context.Context) (context.Context, func() error, func()) {
	ctx, cancelTimer := context.WithTimeout(ctx, c.timeout())
	ctx, cancel := context.WithCancelCause(ctx)
	due, _ := ctx.Deadline()
	due = due.Round(0) // drops the monotonic reading: compares wall time
	late := func() error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if time.Now().Round(0).After(due) {
			cancel(errWall)
			return errWall
		}
		return nil
	}
	// Most exchanges are over before this runs once.
	var watch *time.Timer
	watch = time.AfterFunc(c.timeout(), func() {
		if late() == nil {
			watch.Reset(time.Second)
		}
	})
	watch.Reset(time.Second)
	return ctx, late, func() {
		cancel(nil)
		cancelTimer()
		watch.Stop()
	}
}

// errWall is a [context.DeadlineExceeded] by the wall clock.
var errWall error = wallError{}

type wallError struct{}

func (wallError) Error() string { return context.DeadlineExceeded.Error() + " by the wall clock" }
func (wallError) Unwrap() error { return context.DeadlineExceeded }
