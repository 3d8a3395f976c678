package oauth_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/oauth"
)

func direct(*http.Request) (*url.URL, error) { return nil, nil }

// want is what a failed Send has to say.
type want struct {
	phase   string
	sent    bool
	status  int
	partial string
	cert    bool
}

func check(t *testing.T, a *oauth.Answer, err error, w want) {
	t.Helper()
	var e *oauth.SendError
	if !errors.As(err, &e) {
		t.Fatalf("answer %v, error %v, want a SendError", a, err)
	}
	got := want{e.Phase, e.Sent, e.Status, string(e.Partial), e.Certificate}
	if got != w {
		t.Errorf("got  %+v (%v)\nwant %+v", got, e, w)
	}
	leakCheck(t, "error", err.Error())
	if a != nil {
		t.Errorf("an answer beside the error: %v", a)
	}
}

func compressed(t testing.TB, coding, text string) string {
	var b bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "deflate":
		w = zlib.NewWriter(&b)
	default:
		w, _ = flate.NewWriter(&b, 6)
	}
	io.WriteString(w, text)
	w.(interface{ Flush() error }).Flush()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func coded(coding, body string) string {
	return "HTTP/1.1 200 OK\r\nContent-Encoding: " + coding + "\r\nContent-Length: " + itoa(len(body)) + "\r\n\r\n" + body
}

// TestFaults runs each fault of the wire after the request has arrived, over
// plain and over TLS connections.
func TestFaults(t *testing.T) {
	ca := newAuthority(t)
	body := `{"access_token":"` + secret("at") + `","refresh_token":"` + secret("rt") + `"}`
	half := body[:len(body)-5]
	zipped := compressed(t, "gzip", half+strings.Repeat(" ", 5000)+"}")
	flood := func(c, raw net.Conn, _ string) {
		for {
			if _, err := io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"); err != nil {
				return
			}
		}
	}
	for _, tt := range []struct {
		name string
		act  func(c, raw net.Conn, body string)
		want want
	}{
		{"closed without a word", write(""), want{phase: "read", sent: true}},
		{"reset after", func(_, raw net.Conn, _ string) { reset(raw) }, want{phase: "read", sent: true}},
		{"cut in the status line", write("HTTP/1.1 20"), want{phase: "read", sent: true}},
		{"cut in the header", write("HTTP/1.1 200 OK\r\nContent-Le"), want{phase: "read", sent: true}},
		{"reset in the header", func(c, raw net.Conn, _ string) { io.WriteString(c, "HTTP/1.1 200 OK\r\n"); reset(raw) }, want{phase: "read", sent: true}},
		{"short body", write("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + half), want{"read", true, 200, half, false}},
		{"short error body", write("HTTP/1.1 400 Bad\r\nContent-Length: 999\r\n\r\n{"), want{"read", true, 400, "{", false}},
		{"cut chunk", write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n" + half), want{"read", true, 200, half, false}},
		{"no last chunk", write(fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(half), half)), want{"read", true, 200, half, false}},
		{"bad chunk size", write(fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\nzz\r\n", len(half), half)), want{"read", true, 200, half, false}},
		{"cut gzip", write("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + zipped[:len(zipped)-9]), want{"read", true, 200, half + strings.Repeat(" ", 5000) + "}", false}},
		{"gzip with a bad sum", write(coded("gzip", zipped[:len(zipped)-8]+"12345678")), want{"read", true, 200, half + strings.Repeat(" ", 5000) + "}", false}},
		{"flood of 1xx", flood, want{phase: "read", sent: true}},
		{"header too long", write("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 70000) + "\r\n\r\n"), want{phase: "read", sent: true}},
		{"not HTTP", write(secret("banner") + "\r\n\r\n"), want{phase: "read", sent: true}},
		{"two lengths", write("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), want{phase: "read", sent: true}},
		{"HTTP/2 preface answer", write("\x00\x00\x00\x04\x00\x00\x00\x00\x00"), want{phase: "read", sent: true}},
	} {
		for _, scheme := range []string{"http", "https"} {
			t.Run(scheme+"/"+tt.name, func(t *testing.T) {
				var conf *tls.Config
				if scheme == "https" {
					conf = ca.issue(t, "127.0.0.1", far)
				}
				s := serve(t, answering(conf, tt.act))
				line, _ := transcript(t)
				c := &oauth.Client{RootCAs: ca.pool, Proxy: direct, Trace: line}
				calls := 0
				a, err := c.Send(t.Context(), refresh(t, scheme+"://"+s.addr+"/token"), func() error { calls++; return nil })
				check(t, a, err, tt.want)
				if calls != 1 || s.conns.Load() != 1 || s.reqs.Load() != 1 {
					t.Errorf("sending called %d times, %d connections, %d requests", calls, s.conns.Load(), s.reqs.Load())
				}
			})
		}
	}
}

// TestAnswers holds what is an answer, however odd.
func TestAnswers(t *testing.T) {
	long := strings.Repeat("x", 512<<10)
	for _, tt := range []struct {
		name, wire string
		status     int
		body       string
		truncated  bool
	}{
		{"length", ok("{}"), 200, "{}", false},
		{"until the end", "HTTP/1.1 200 OK\r\n\r\n{}", 200, "{}", false},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\n{}", 200, "{}", false},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", 200, "{}", false},
		{"1xx before", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + ok("{}"), 200, "{}", false},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", false},
		{"proxy authentication", "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n", 407, "", false},
		{"switching", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxx", 101, "", false},
		{"status 599", "HTTP/1.1 599 x\r\nContent-Length: 1\r\n\r\nx", 599, "x", false},
		{"gzip", coded("gzip", compressed(t, "gzip", "{}")), 200, "{}", false},
		{"x-gzip", coded("X-GZIP", compressed(t, "gzip", "{}")), 200, "{}", false},
		{"deflate", coded("deflate", compressed(t, "deflate", "{}")), 200, "{}", false},
		{"bare deflate", coded("deflate", compressed(t, "bare", "{}")), 200, "{}", false},
		{"gzip that is none", coded("gzip", "{}"), 200, "{}", false},
		{"deflate that is none", coded("deflate", "{}"), 200, "{}", false},
		{"gzip of nothing", coded("gzip", ""), 200, "", false},
		{"unknown coding", coded("br", "{}"), 200, "{}", false},
		{"512 KiB", ok(long), 200, long, false},
		{"more than 512 KiB", ok(long + "y"), 200, long, true},
		{"more after the end", ok("{}") + "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, "{}", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, answering(nil, write(tt.wire)))
			a, err := new(oauth.Client).Send(t.Context(), refresh(t, "http://"+s.addr+"/"), nil)
			if err != nil {
				t.Fatal(err)
			}
			if a.Status != tt.status || string(a.Body) != tt.body || a.Truncated != tt.truncated {
				t.Errorf("status %d, %d bytes %.20q, truncated %v", a.Status, len(a.Body), a.Body, a.Truncated)
			}
			if a.Sent.IsZero() || a.Received.Before(a.Sent) || !strings.Contains(a.Received.String(), "m=") || !strings.Contains(a.Sent.String(), "m=") {
				t.Errorf("sent %v, received %v", a.Sent, a.Received)
			}
		})
	}
}

func TestRequestOnTheWire(t *testing.T) {
	var got string
	s := serve(t, func(_ *server, c net.Conn) {
		buf := make([]byte, 4096)
		n, _ := c.Read(buf) // small requests leave in one write
		got = string(buf[:n])
		write(ok("{}"))(c, c, "")
	})
	r, err := oauth.RefreshRequest("http://"+s.addr+"/t?device_id=1", oauth.NewSecret("r t"), oauth.Basic("c", oauth.NewSecret("s")))
	if err != nil {
		t.Fatal(err)
	}
	r.Form.Add("resource", "https://api/")
	r.Header.Set("X-Extra", "1")
	if _, err := (&oauth.Client{UserAgent: "ua/1"}).Send(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	wantWire := "POST /t?device_id=1 HTTP/1.1\r\nHost: " + s.addr + "\r\nUser-Agent: ua/1\r\nConnection: close\r\nContent-Length: 79\r\n" +
		"Accept: application/json\r\nAuthorization: Basic Yzpz\r\nContent-Type: application/x-www-form-urlencoded\r\nX-Extra: 1\r\n\r\n" +
		"grant_type=refresh_token&refresh_token=r+t&resource=https%3A%2F%2Fapi%2F"
	wantWire = strings.Replace(wantWire, "Length: 79", "Length: "+itoa(len(wantWire)-strings.Index(wantWire, "\r\n\r\n")-4), 1)
	if got != wantWire {
		t.Errorf("got\n%q\nwant\n%q", got, wantWire)
	}
}

func TestHeadersRefused(t *testing.T) {
	for _, h := range []http.Header{
		{"Expect": {"100-continue"}}, {"transfer-encoding": {"chunked"}}, {"Host": {"x"}}, {"Accept-Encoding": {"gzip"}},
		{"X": {"a\r\nY: b"}}, {"X\r\nY": {"a"}}, {"": {"a"}}, {"X": {"\x00"}},
	} {
		r := refresh(t, "http://127.0.0.1:1/")
		for k, v := range h {
			r.Header[k] = v
		}
		dialed := false
		c := oauth.Client{Dial: func(context.Context, string, string) (net.Conn, error) { dialed = true; return nil, io.EOF }}
		a, err := c.Send(t.Context(), r, nil)
		check(t, a, err, want{phase: "url"})
		if dialed {
			t.Errorf("%v: dialed", h)
		}
	}
}

func TestPlainHTTPToAnotherHost(t *testing.T) {
	c := oauth.Client{Dial: func(context.Context, string, string) (net.Conn, error) {
		t.Error("dialed")
		return nil, io.EOF
	}}
	r := refresh(t, "http://127.0.0.1:1/")
	r.URL = "http://192.0.2.1/token"
	a, err := c.Send(t.Context(), r, func() error { t.Error("sending called"); return nil })
	check(t, a, err, want{phase: "url"})
}

// TestRedirects: a redirect is an answer, and the place it names hears nothing.
func TestRedirects(t *testing.T) {
	ca := newAuthority(t)
	conf := ca.issue(t, "127.0.0.1", far)
	heard := make(chan string, 100)
	other := serve(t, func(_ *server, c net.Conn) {
		b := make([]byte, 1)
		n, _ := c.Read(b)
		heard <- string(b[:n])
	})
	for _, status := range []int{300, 301, 302, 303, 305, 307, 308} {
		for _, location := range []string{"http://" + other.addr + "/?" + secret("location"), "https://" + other.addr + "/", "//" + other.addr + "/", "/same", "http://" + strings.Replace(other.addr, "127.0.0.1", "localhost", 1)} {
			s := serve(t, answering(conf, write(fmt.Sprintf("HTTP/1.1 %d x\r\nLocation: %s\r\nSet-Cookie: a=%s\r\nContent-Length: 0\r\n\r\n", status, location, secret("cookie")))))
			line, _ := transcript(t)
			c := oauth.Client{RootCAs: ca.pool, Proxy: direct, Trace: line}
			a, err := c.Send(t.Context(), refresh(t, "https://"+s.addr+"/"), nil)
			if err != nil || a.Status != status || a.Header.Get("Location") != location {
				t.Errorf("%d %s: %v %v", status, location, a, err)
			}
			if s.reqs.Load() != 1 {
				t.Errorf("%d %s: %d requests", status, location, s.reqs.Load())
			}
		}
	}
	if n := other.conns.Load(); n != 0 {
		t.Errorf("%d connections to the second host", n)
	}
}

func TestNotSent(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	tlsServer := func(conf *tls.Config) string {
		return "https://" + serve(t, answering(conf, write(ok("{}")))).addr
	}
	old := ca.issue(t, "127.0.0.1", far)
	old.MaxVersion = tls.VersionTLS11
	old.MinVersion = tls.VersionTLS10
	fails := func(err error) func(context.Context, string, string) (net.Conn, error) {
		return func(context.Context, string, string) (net.Conn, error) { return nil, err }
	}
	for _, tt := range []struct {
		name, url string
		dial      func(context.Context, string, string) (net.Conn, error)
		want      want
	}{
		{"refused", "http://" + dead.Addr().String(), nil, want{phase: "connect"}},
		{"refused, TLS", "https://" + dead.Addr().String(), nil, want{phase: "connect"}},
		{"not found", "https://as.example", fails(&net.OpError{Op: "dial", Err: &net.DNSError{IsNotFound: true}}), want{phase: "dns"}},
		{"no route", "https://as.example", fails(&net.OpError{Op: "dial", Err: errors.New("no route")}), want{phase: "connect"}},
		{"expired", tlsServer(ca.issue(t, "127.0.0.1", time.Unix(1e9, 0))), nil, want{phase: "tls", cert: true}},
		{"wrong name", tlsServer(ca.issue(t, "as.example", far)), nil, want{phase: "tls", cert: true}},
		{"unknown CA", tlsServer(stranger.issue(t, "127.0.0.1", far)), nil, want{phase: "tls", cert: true}},
		{"downgrade", tlsServer(old), nil, want{phase: "tls"}},
		{"no TLS", "https://" + serve(t, func(_ *server, c net.Conn) { io.WriteString(c, "SSH-2.0-"+secret("x")+"\r\n") }).addr, nil, want{phase: "tls"}},
		{"closed in the handshake", "https://" + serve(t, func(_ *server, c net.Conn) {}).addr, nil, want{phase: "tls"}},
		{"alert", tlsServer(&tls.Config{}), nil, want{phase: "tls"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			line, _ := transcript(t)
			c := oauth.Client{RootCAs: ca.pool, Proxy: direct, Dial: tt.dial, Trace: line}
			a, err := c.Send(t.Context(), refresh(t, tt.url+"/token"), func() error { t.Error("sending called"); return nil })
			check(t, a, err, tt.want)
		})
	}
}

// TestResetBeforeRequest waits in sending until the reset is there: the request
// then fails at its first byte, and that is certain.
func TestResetBeforeRequest(t *testing.T) {
	ca := newAuthority(t)
	conf := ca.issue(t, "127.0.0.1", far)
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			connected := make(chan bool, 1)
			s := serve(t, func(_ *server, raw net.Conn) {
				<-connected
				if scheme == "https" && tls.Server(raw, conf).Handshake() != nil {
					return
				}
				reset(raw)
			})
			var conn net.Conn
			c := oauth.Client{RootCAs: ca.pool, Proxy: direct, Dial: func(ctx context.Context, network, addr string) (_ net.Conn, err error) {
				conn, err = new(net.Dialer).DialContext(ctx, network, addr)
				connected <- true
				return conn, err
			}}
			a, err := c.Send(t.Context(), refresh(t, scheme+"://"+s.addr+"/"), func() error {
				io.Copy(io.Discard, conn) // ends with the reset
				return nil
			})
			check(t, a, err, want{phase: "write"})
		})
	}
}

func TestSendingRefuses(t *testing.T) {
	no := errors.New("the disk is full")
	got := make(chan int, 1)
	s := serve(t, func(_ *server, c net.Conn) {
		n, _ := io.Copy(io.Discard, c)
		got <- int(n)
	})
	calls := 0
	a, err := new(oauth.Client).Send(t.Context(), refresh(t, "http://"+s.addr+"/"), func() error { calls++; return no })
	check(t, a, err, want{phase: "write"})
	if !errors.Is(err, no) || calls != 1 {
		t.Errorf("error %v, %d calls", err, calls)
	}
	if n := <-got; n != 0 {
		t.Errorf("%d bytes arrived", n)
	}
}

// TestBombs: what a hostile server can cost.
func TestBombs(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	block := make([]byte, 1<<20)
	for range 64 {
		z.Write(block)
	}
	z.Close()
	endless := func(head, part string) func(c, raw net.Conn, body string) {
		return func(c, raw net.Conn, _ string) {
			_, err := io.WriteString(c, head)
			for again := []byte(part); err == nil; {
				_, err = c.Write(again)
			}
		}
	}
	empty := "\x00\x00\x00\xff\xff" // a stored deflate block of no bytes
	for _, tt := range []struct {
		name string
		act  func(c, raw net.Conn, body string)
		size int
	}{
		{"gzip", write(coded("gzip", bomb.String())), 512 << 10},
		{"endless", endless("HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("x", 4096)), 512 << 10},
		{"endless chunks", endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", strings.Repeat("1\r\nx\r\n", 1000)), 512 << 10},
		{"deflate to nothing", endless("HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n\r\n", strings.Repeat(empty, 1000)), 0},
		{"nesting", write(ok(strings.Repeat("[", 512<<10))), 512 << 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, answering(nil, tt.act))
			r := refresh(t, "http://"+s.addr+"/")
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			a, err := new(oauth.Client).Send(t.Context(), r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := oauth.ParseToken(a, oauth.Dialect{}); err == nil {
				t.Error("parsed")
			}
			runtime.ReadMemStats(&after)
			if len(a.Body) != tt.size || a.Truncated == (tt.name == "nesting") {
				t.Errorf("%d bytes, truncated %v", len(a.Body), a.Truncated)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 10<<20 { // what is alive at a time is less: faultmatrix measures that
				t.Errorf("allocated %d bytes in all", n)
			}
			if d := time.Since(start); d > 15*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	received := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	const date = "Mon, 23 Nov 2026 10:00:00 GMT" // the server's clock is two hours late
	for _, tt := range []struct {
		retry, date string
		want        time.Duration
		ok          bool
	}{
		{"", "", 0, false},
		{"120", "", 2 * time.Minute, true},
		{" 120 ", "", 2 * time.Minute, true},
		{"1.5", "", 1500 * time.Millisecond, true},
		{"0", "", 0, true},
		{"-5", "", 0, true},
		{"1000000000", "", time.Hour, true},
		{strings.Repeat("9", 400), "", time.Hour, true},
		{"soon", "", 0, false},
		{"Mon, 23 Nov 2026 12:01:00 GMT", "", time.Minute, true},
		{"Mon, 23 Nov 2026 10:01:00 GMT", date, time.Minute, true},
		{"Mon, 23 Nov 2026 09:00:00 GMT", date, 0, true},
		{"Mon, 23 Nov 2099 09:00:00 GMT", date, time.Hour, true},
		{"Monday, 23-Nov-26 10:02:00 GMT", date, 2 * time.Minute, true},
		{"Mon Nov 23 10:03:00 2026", date, 3 * time.Minute, true},
		{"Mon, 23 Nov 2026 12:01:00 GMT", "nonsense", time.Minute, true},
	} {
		a := &oauth.Answer{Received: received, Header: http.Header{"Retry-After": {tt.retry}, "Date": {tt.date}}}
		if got, ok := a.RetryAfter(); got != tt.want || ok != tt.ok {
			t.Errorf("%.30q, %q: %v %v, want %v %v", tt.retry, tt.date, got, ok, tt.want, tt.ok)
		}
	}
	if _, ok := new(oauth.Answer).RetryAfter(); ok {
		t.Error("zero answer has one")
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("120", "")
	f.Add("Mon, 23 Nov 2026 10:01:00 GMT", "Mon, 23 Nov 2026 10:00:00 GMT")
	f.Fuzz(func(t *testing.T, retry, date string) {
		a := &oauth.Answer{Header: http.Header{"Retry-After": {retry}, "Date": {date}}}
		if d, ok := a.RetryAfter(); d < 0 || d > time.Hour || !ok && d != 0 {
			t.Fatalf("%v %v", d, ok)
		}
	})
}
