package faultmatrix_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

// sim is a fault of the simulator by its name, met by every token request until
// it is over.
func sim(f idptest.Fault) proof { return simAt(rotating, f) }

// hurried is sim with little time for the exchange.
func hurried(f idptest.Fault) proof {
	return meets(func(tr *trial) {
		tr.begin(idptest.Config{Habits: rotating})
		tr.hurry()
		tr.always(f)
	})
}

// static is sim at a server that does not rotate, and that is known for it.
func static(f idptest.Fault) proof {
	return meets(func(tr *trial) {
		tr.replays = true // the token is not spent by use
		tr.begin(idptest.Config{})
		tr.refresh() // its answer tells that the grant does not rotate
		tr.always(f)
	})
}

func simAt(h idptest.Habits, f idptest.Fault) proof {
	return meets(func(tr *trial) {
		tr.begin(idptest.Config{Habits: h})
		tr.always(f)
	})
}

// unsent is a fault that stops the request before a byte of it leaves.
func unsent(set func(tr *trial)) proof {
	return meets(func(tr *trial) {
		tr.unsent = true
		tr.begin(idptest.Config{Habits: rotating})
		set(tr)
	})
}

func networkRows() []row {
	return []row{
		{"3.1-1", "the server is not reached", []fault{
			{name: "connection refused", want: evergrant.Transient, proof: unsent(func(tr *trial) { tr.cfg.TokenURL = "http://" + closedPort(tr) + "/token" })},
			{name: "no route", want: evergrant.Transient, proof: unsent(func(tr *trial) { dialFails(tr, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.EHOSTUNREACH}) })},
			{name: "DNS: no such name", want: evergrant.Transient, proof: unsent(func(tr *trial) { resolved(tr, dnsNXDomain) })},
			{name: "DNS: server failure", want: evergrant.Transient, proof: unsent(func(tr *trial) { resolved(tr, dnsServFail) })},
			{name: "DNS: no answer", want: evergrant.Transient, says: "within the deadline", proof: unsent(func(tr *trial) { tr.hurry(); resolved(tr, dnsSilent) })},
		}},
		{"3.1-2", "TLS", []fault{
			{name: "certificate expired", want: evergrant.Misconfigured, proof: refusedTLS("expired")},
			{name: "certificate for another name", want: evergrant.Misconfigured, proof: refusedTLS("wrong-name")},
			{name: "unknown authority", want: evergrant.Misconfigured, proof: refusedTLS("")},
			{name: "downgrade to TLS 1.1", want: evergrant.Transient, proof: unsent(func(tr *trial) {
				config, pool := certificate(tr.t)
				config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
				tr.cfg.HTTP.RootCAs = pool
				tr.cfg.TokenURL = "https://" + tr.wire(config, nil).listener.Addr().String() + "/token"
			})},
			{name: "alert instead of a handshake", want: evergrant.Transient, proof: unsent(func(tr *trial) { rawTLS(tr, "\x15\x03\x03\x00\x02\x02\x28") })},
			{name: "closed in the handshake", want: evergrant.Transient, proof: unsent(func(tr *trial) { rawTLS(tr, "") })},
			{name: "no TLS at all", want: evergrant.Transient, proof: unsent(func(tr *trial) { rawTLS(tr, "HTTP/1.1 400 Bad Request\r\n\r\n") })},
		}},
		{"3.1-3", "proxy", []fault{
			{name: "407", want: evergrant.Misconfigured, proof: unsent(func(tr *trial) { proxied(tr, http.StatusProxyAuthRequired) })},
			{name: "CONNECT answered 503", want: evergrant.Transient, proof: unsent(func(tr *trial) { proxied(tr, http.StatusServiceUnavailable) })},
			{name: "proxy refuses the connection", want: evergrant.Transient, proof: unsent(func(tr *trial) {
				u := &url.URL{Scheme: "http", Host: closedPort(tr)}
				tr.cfg.TokenURL = "https://provider.invalid/token"
				tr.cfg.HTTP.Proxy = func(*http.Request) (*url.URL, error) { return u, nil }
			})},
			{name: "silent proxy", want: evergrant.Transient, says: "within the deadline", proof: by("oauth TestSilentProxy")},
			{name: "SOCKS refuses or wants a password", says: "not sent", proof: by("oauth TestProxy/socks refuses", "oauth TestProxy/wrong password, socks")},
		}},
		{"3.1-4", "reset", []fault{
			{name: "before the request was written", want: evergrant.Transient, proof: unsent(resetOnArrival)},
			{name: "inside the request", want: evergrant.Uncertain, proof: by("oauth TestHalfWritten", "oauth TestDeadline/request half taken")},
			{name: "after the request was written", want: evergrant.Uncertain, proof: sim("lost-reset")},
			{name: "closed without an answer", want: evergrant.Uncertain, proof: sim("lost")},
			{name: "closed before it was processed", want: evergrant.Uncertain, says: "nobody here can know", proof: sim("drop-before")},
			{name: "closed inside the header", want: evergrant.Uncertain, proof: sim("lost-headers")},
			{name: "reset inside the header", want: evergrant.Uncertain, proof: cutBy(func(c *call) { c.process(); c.reset("HTTP/1.1 200 OK\r\nContent-Ty") })},
			{name: "reset inside the body", want: evergrant.Uncertain, proof: cutBy(func(c *call) { c.reset(head(whole(c.process()), 12)) })},
		}},
		{"3.1-5", "the body is cut", []fault{
			{name: "Content-Length short, no refresh token yet", want: evergrant.Uncertain, proof: cutBy(func(c *call) { c.write(head(whole(c.process()), 12)) })},
			{name: "Content-Length short, refresh token whole", want: evergrant.Fresh, says: "stored: it is the grant's, whatever else is missing", proof: cutBy(cutAfterToken)},
			{name: "half of the body with an agreeing length", want: evergrant.Uncertain, proof: cutBy(func(c *call) { c.write(whole(c.process()[:20])) })},
			{name: "cut inside a chunk", want: evergrant.Uncertain, proof: cutBy(func(c *call) {
				c.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n" + string(c.process()[:20]))
			})},
			{name: "cut inside a chunk, refresh token whole", want: evergrant.Fresh, says: "stored", proof: cutBy(func(c *call) {
				c.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n" + tokensFirst(c))
			})},
			{name: "gzip that ends early", want: evergrant.Uncertain, proof: cutBy(func(c *call) {
				z := zipped(c.process())
				c.write(coded(string(z[:len(z)/3])))
			})},
			{name: "gzip with a wrong sum, refresh token whole", want: evergrant.Fresh, says: "stored", proof: cutBy(func(c *call) {
				z := zipped(c.process())
				c.write(coded(string(z[:len(z)-8]) + "12345678"))
			})},
			{name: "the simulator's cuts", says: "stored if the refresh token came whole, else in doubt", proof: by("conformance lost/cut-body-rotating", "conformance lost/cut-chunk-rotating", "conformance lost/cut-gzip-rotating", "conformance lost/short-length-rotating")},
		}},
		{"3.1-6", "an answer that is none", []fault{
			{name: "200 with a captive portal's page", want: evergrant.Uncertain, proof: sim("html-200")},
			{name: "the same where the grant does not rotate", want: evergrant.Uncertain, says: "healed by the next run", proof: by("conformance hostile/html-200")},
			{name: "200 without a body", want: evergrant.Uncertain, proof: sim("empty-200")},
			{name: "204", want: evergrant.Uncertain, proof: sim("empty-204")},
			{name: "200 with {}", want: evergrant.Uncertain, proof: sim("empty-object")},
			{name: "200 with an array", want: evergrant.Uncertain, proof: sim("json-array")},
			{name: "a form declared as text", want: evergrant.Uncertain, says: "the raw answer is kept; forms are read only where the provider is known for them", proof: sim("form-body")},
			{name: "a form from a provider that is known for it", want: evergrant.Fresh, proof: by("oauth TestDialects/form as text")},
		}},
		{"3.1-7", "slowness", []fault{
			{name: "connecting takes for ever", want: evergrant.Transient, says: "not sent, within the deadline", proof: unsent(func(tr *trial) {
				tr.hurry()
				tr.cfg.HTTP.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
			})},
			{name: "the header takes for ever", want: evergrant.Uncertain, says: "within the deadline", proof: hurried("hang-after")},
			{name: "never processed, never answered", want: evergrant.Uncertain, says: "within the deadline", proof: hurried("hang-before")},
			{name: "one byte a second", want: evergrant.Uncertain, says: "within the deadline", proof: hurried("drip")},
			{name: "slow, and within the deadline", want: evergrant.Fresh, proof: sim("delay-before=100ms+delay-after=100ms")},
			{name: "the default deadline is 30 s", says: "by the clock of a synctest bubble", proof: by("oauth TestDeadline/silent", "oauth TestWallClock")},
		}},
		{"3.1-8", "redirects", redirects()},
		{"3.1-9", "HTTP", []fault{
			{name: "HTTP/2 GOAWAY", want: evergrant.Uncertain, says: "HTTP/1.1 is spoken: nothing sends twice behind the journal", proof: cutBy(func(c *call) {
				c.process()
				c.write("\x00\x00\x08\x07\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00")
			})},
			{name: "HTTP/2 REFUSED_STREAM", want: evergrant.Uncertain, says: "the same", proof: cutBy(func(c *call) { c.write("\x00\x00\x04\x03\x00\x00\x00\x00\x01" + "\x00\x00\x00\x07") })},
			{name: "100 Continue unasked", want: evergrant.Fresh, proof: cutBy(func(c *call) { c.write("HTTP/1.1 100 Continue\r\n\r\n" + whole(c.process())) })},
			{name: "some 103", want: evergrant.Fresh, proof: sim("interim")},
			{name: "a flood of 1xx", want: evergrant.Uncertain, says: "memory and time bounded", proof: cutBy(flood)},
			{name: "101 Switching Protocols", want: evergrant.Uncertain, proof: cutBy(func(c *call) {
				c.process()
				c.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
			})},
			{name: "an answer before the request", want: evergrant.Fresh, says: "not read before the request has left", proof: by("oauth TestEarlyAnswer")},
			{name: "two lengths", want: evergrant.Uncertain, proof: cutBy(func(c *call) {
				c.process()
				c.write("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")
			})},
		}},
		{"3.1-10", "a kept connection that died", []fault{
			{name: "each request has a connection of its own", says: "not possible: two refreshes use two connections, and no Idempotency-Key invites a repeat", proof: shows(ownConnections)},
		}},
		{"3.1-11", "two families of addresses", []fault{
			{name: "IPv6 is a black hole", want: evergrant.Fresh, says: "by IPv4, within the deadline", proof: meets(blackHole)},
		}},
		{"3.1-12", "answers overtake each other", []fault{
			{name: "the late answer of a first try after that of a second", want: evergrant.Fresh, says: "inside the grace window: the newest stays", proof: shows(reordered)},
			{name: "a late writer that lost its lock", says: "gives way to a newer generation", proof: by(". TestP3NeverBackwards/store", ". TestLateWriterGoesNotBack")},
		}},
	}
}

func closedPort(tr *trial) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	tr.must(err)
	defer l.Close()
	return l.Addr().String()
}

func dialFails(tr *trial, err error) {
	tr.cfg.HTTP.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, err }
}

// refusedTLS is a provider with a bad certificate, or a good one of an unknown
// authority.
func refusedTLS(kind string) proof {
	return unsent(func(tr *trial) {
		bad := idptest.New(idptest.Config{Certificate: kind})
		base, ca, err := bad.ListenTLS("127.0.0.1:0")
		tr.must(err)
		tr.ends(func() { bad.Close() })
		tr.cfg.TokenURL = base + "/token"
		if kind != "" {
			tr.cfg.HTTP.RootCAs = poolOf(tr, ca)
		}
	})
}

// rawTLS is a server that reads the client's first words and says something.
func rawTLS(tr *trial, says string) {
	w := tr.rawWire(func(c net.Conn) {
		c.Read(make([]byte, 4096))
		io.WriteString(c, says)
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, c)
	})
	tr.cfg.TokenURL = "https://" + w.listener.Addr().String() + "/token"
}

// proxied sends the request through a proxy that refuses.
func proxied(tr *trial, status int) {
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	tr.ends(p.Close)
	u, err := url.Parse(p.URL)
	tr.must(err)
	u.User = url.UserPassword("u", "p-"+secretMark)
	tr.cfg.TokenURL = "https://provider.invalid/token"
	tr.cfg.HTTP.Proxy = func(*http.Request) (*url.URL, error) { return u, nil }
}

// resetOnArrival: the connection is reset before anything is written into it.
func resetOnArrival(tr *trial) {
	w := tr.rawWire(reset)
	tr.cfg.TokenURL = "http://" + w.listener.Addr().String() + "/token"
	tr.cfg.HTTP.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			io.Copy(io.Discard, c) // ends with the reset
		}
		return c, err
	}
}

// cutBy is a wire that spoils the answer.
func cutBy(act func(c *call)) proof {
	return meets(func(tr *trial) { tr.wired(rotating, act) })
}

// head is the HTTP header and the first n bytes of the body.
func head(answer string, n int) string {
	at := strings.Index(answer, "\r\n\r\n") + 4
	return answer[:at+n]
}

// tokensFirst is the beginning of an answer up to the end of both tokens.
func tokensFirst(c *call) string {
	body := c.process()
	return fmt.Sprintf(`{"access_token":%q,"refresh_token":%q,"sco`, member(c.w.tr.t, body, "access_token"), member(c.w.tr.t, body, "refresh_token"))
}

func cutAfterToken(c *call) {
	c.write("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n" + tokensFirst(c))
}

func coded(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func flood(c *call) {
	c.process()
	for {
		if _, err := io.WriteString(c.conn, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"); err != nil {
			return
		}
	}
}

// redirects: every status, to another path, to another host, and from https to
// http. The place it names hears nothing.
func redirects() []fault {
	var all []fault
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{"same host", "other host", "https to http"} {
			all = append(all, fault{
				name: fmt.Sprintf("%d, %s", status, to), want: evergrant.Misconfigured, says: "no byte reaches the place it names",
				proof: meets(func(tr *trial) { redirect(tr, status, to) }),
			})
		}
	}
	return append(all, fault{name: "by the simulator's trap", want: evergrant.Misconfigured, says: "the trap is never entered", proof: by("conformance redirects/307-other", "conformance redirects/303-same")})
}

func redirect(tr *trial, status int, to string) {
	var conns atomic.Int32
	second, err := net.Listen("tcp", "127.0.0.1:0")
	tr.must(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := second.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			c.Close()
		}
	}()
	tr.ends(func() {
		second.Close()
		<-done
		if n := conns.Load(); n != 0 {
			tr.t.Errorf("%d connections to the second host", n)
		}
	})
	scheme := map[string]string{"same host": "", "other host": "https://", "https to http": "http://"}[to]
	location := "/elsewhere"
	if scheme != "" {
		location = scheme + second.Addr().String() + "/token"
	}
	tr.wiredTLS(rotating, func(c *call) {
		if c.request.URL.Path != "/token" {
			tr.t.Errorf("%s was followed", c.request.URL.Path)
		}
		c.write(fmt.Sprintf("HTTP/1.1 %d Moved\r\nLocation: %s\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n", status, location))
	})
}

func ownConnections(tr *trial) {
	tr.begin(idptest.Config{Habits: rotating})
	s := tr.open()
	defer s.Close()
	conns := map[string]bool{}
	for range 3 {
		if _, err := s.Refresh(tr.t.Context(), evergrant.RefreshOptions{}); err != nil {
			tr.t.Fatal(err)
		}
	}
	for _, e := range tr.idp.TokenRequests(tr.grant.ID) {
		conns[e.Conn] = true
		if e.IdempotencyKey {
			tr.t.Error("the request carries an Idempotency-Key")
		}
	}
	if len(conns) != 3 {
		tr.t.Errorf("%d connections for 3 refreshes", len(conns))
	}
}

// blackHole: the provider's name has addresses of both families, and nothing
// comes back from the first.
func blackHole(tr *trial) {
	w := tr.wiredTLS(rotating, func(c *call) { c.write(whole(c.process())) })
	_, port, err := net.SplitHostPort(w.listener.Addr().String())
	tr.must(err)
	d := net.Dialer{Resolver: resolver(tr, dnsBoth), FallbackDelay: 50 * time.Millisecond}
	d.ControlContext = func(ctx context.Context, network, _ string, _ syscall.RawConn) error {
		if network == "tcp6" {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
	tr.cfg.TokenURL = "https://example.com:" + port + "/token"
	tr.cfg.HTTP.Dial = d.DialContext
}

// reordered: the answer of a first try comes after its deadline, when a replay
// inside the grace window has brought another.
func reordered(tr *trial) {
	tr.replays = true
	tr.begin(idptest.Config{Habits: idptest.Habits{Rotation: true, Grace: 10 * time.Minute}})
	tr.cfg.Provider = "atlassian" // known for its grace window
	tr.cfg.CallTimeout = 20 * time.Second
	tr.hurry()
	tr.idp.Next("delay-after=900ms", "none")
	r, e := tr.refresh()
	if got := outcomeOf(r, e); got != tr.want {
		tr.t.Errorf("the outcome is %q, want %q: %v", got, tr.want, e)
	}
	tr.settle()
	if n := tr.requests(); n != 2 {
		tr.t.Errorf("%d requests, want 2", n)
	}
}

// What the name server of these tests answers to every question.
const (
	dnsSilent = iota
	dnsServFail
	dnsNXDomain
	dnsBoth // 127.0.0.1 and an address in the documentation's IPv6 range
)

// resolved looks the provider up at a name server of this test.
func resolved(tr *trial, kind int) {
	d := net.Dialer{Resolver: resolver(tr, kind)}
	tr.cfg.TokenURL = "https://provider.example/token"
	tr.cfg.HTTP.Dial = d.DialContext
}

func resolver(tr *trial, kind int) *net.Resolver {
	tr.t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	tr.must(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		answerNames(pc, kind)
	}()
	tr.ends(func() { pc.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "udp", pc.LocalAddr().String())
		if err == nil {
			tr.ends(func() { c.Close() }) // the resolver would read on after its caller has left
		}
		return c, err
	}}
}

func answerNames(pc net.PacketConn, kind int) {
	buf := make([]byte, 1500)
	for {
		n, from, err := pc.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < 17 || kind == dnsSilent {
			continue
		}
		pc.WriteTo(nameAnswer(buf[:n], kind), from)
	}
}

// nameAnswer turns a query into its answer (RFC 1035 §4.1), without the
// additional records that it came with.
func nameAnswer(q []byte, kind int) []byte {
	end := 12
	for q[end] != 0 {
		end += int(q[end]) + 1
	}
	end += 5 // the root label, type and class
	a := append([]byte(nil), q[:end]...)
	a[2], a[3] = a[2]|0x80, 0x80
	a[10], a[11] = 0, 0
	switch kind {
	case dnsServFail:
		a[3] |= 2
	case dnsNXDomain:
		a[3] |= 3
	case dnsBoth:
		address := net.IPv4(127, 0, 0, 1).To4()
		if q[end-3] == 28 { // AAAA
			address = net.ParseIP("2001:db8::1")
		}
		a[7] = 1
		a = append(a, 0xc0, 12, 0, q[end-3], 0, 1, 0, 0, 0, 60, 0, byte(len(address)))
		a = append(a, address...)
	}
	return a
}
