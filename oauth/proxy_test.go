package oauth_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/oauth"
)

func via(proxyURL string) func(*http.Request) (*url.URL, error) {
	return func(*http.Request) (*url.URL, error) { return url.Parse(proxyURL) }
}

// relay joins two connections until both are done.
func relay(a, b net.Conn) {
	done := make(chan bool)
	go func() { io.Copy(a, b); a.Close(); close(done) }()
	io.Copy(b, a)
	b.Close()
	<-done
}

// httpProxy asks for the password and tunnels to target, whatever was asked for.
func httpProxy(conf *tls.Config, target string) func(*server, net.Conn) {
	return func(s *server, c net.Conn) {
		if conf != nil {
			c = tls.Server(c, conf)
		}
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		s.reqs.Add(1)
		if r.Method != "CONNECT" || r.Host != "as.example:443" || r.Header.Get("Proxy-Authorization") != "Basic dTpwJUA=" {
			io.WriteString(c, "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
			return
		}
		out, err := net.Dial("tcp", target)
		if err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 Go\r\nX-Y: z\r\n\r\n")
		relay(c, out)
	}
}

// socksProxy speaks RFC 1928 with a password and tunnels to target.
func socksProxy(target string, code byte) func(*server, net.Conn) {
	return func(s *server, c net.Conn) {
		expect := func(want string) bool {
			b := make([]byte, 100) // each message comes in one piece here
			n, err := c.Read(b)
			return err == nil && string(b[:n]) == want
		}
		if !expect("\x05\x02\x00\x02") {
			io.WriteString(c, "\x05\xff")
			return
		}
		io.WriteString(c, "\x05\x02")
		if !expect("\x01\x01u\x03p%@") {
			io.WriteString(c, "\x01\x01")
			return
		}
		io.WriteString(c, "\x01\x00")
		if !expect("\x05\x01\x00\x03\x0aas.example\x01\xbb") {
			return
		}
		s.reqs.Add(1)
		out, err := net.Dial("tcp", target)
		if err != nil {
			return
		}
		io.WriteString(c, "\x05"+string(code)+"\x00\x03\x02ab\x00\x01")
		relay(c, out)
	}
}

func TestProxy(t *testing.T) {
	ca := newAuthority(t)
	target := serve(t, answering(ca.issue(t, "as.example", far), write(ok("{}"))))
	plain := serve(t, httpProxy(nil, target.addr)).addr
	secure := serve(t, httpProxy(ca.issue(t, "127.0.0.1", far), target.addr)).addr
	socks := serve(t, socksProxy(target.addr, 0)).addr
	says := func(text string) string {
		return "http://" + serve(t, func(_ *server, c net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				write(text)(c, c, "")
			}
		}).addr
	}
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	for _, tt := range []struct {
		name, proxy string
		want        want // the zero value: an answer
	}{
		{"http", "http://u:p%25%40@" + plain, want{}},
		{"https", "https://u:p%25%40@" + secure, want{}},
		{"socks5", "socks5://u:p%25%40@" + socks, want{}},
		{"socks5h", "socks5h://u:p%25%40@" + socks, want{}},
		{"no password", "http://" + plain, want{phase: "proxy", status: 407}},
		{"wrong password", "http://u:" + canary + "@" + plain, want{phase: "proxy", status: 407}},
		{"wrong password, socks", "socks5://u:abc@" + socks, want{phase: "proxy", status: 407}},
		{"socks without password", "socks5://" + socks, want{phase: "proxy"}},
		{"socks refuses", "socks5://u:p%25%40@" + serve(t, socksProxy(target.addr, 5)).addr, want{phase: "proxy"}},
		{"407", says("HTTP/1.1 407 " + canary + "\r\nContent-Length: 0\r\n\r\n"), want{phase: "proxy", status: 407}},
		{"503", says("HTTP/1.1 503 No\r\n\r\n" + canary), want{phase: "proxy", status: 503}},
		{"302", says("HTTP/1.1 302 No\r\nLocation: http://" + plain + "/\r\n\r\n"), want{phase: "proxy", status: 302}},
		{"not HTTP", says(canary + "\r\n\r\n"), want{phase: "proxy"}},
		{"cut", says("HTTP/1.1 20"), want{phase: "proxy"}},
		{"data too early", says("HTTP/1.1 200 OK\r\n\r\nxxxx"), want{phase: "proxy"}},
		{"refused", "http://" + dead.Addr().String(), want{phase: "proxy"}},
		{"proxy's certificate", "https://" + serve(t, httpProxy(newAuthority(t).issue(t, "127.0.0.1", far), target.addr)).addr, want{phase: "proxy", cert: true}},
		{"unknown kind", "ftp://127.0.0.1:" + plain[len("127.0.0.1:"):], want{phase: "proxy"}},
		{"no host", "http:///", want{phase: "proxy"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			line, _ := transcript(t)
			c := oauth.Client{RootCAs: ca.pool, Proxy: via(tt.proxy), Trace: line}
			calls := 0
			a, err := c.Send(t.Context(), refresh(t, "https://as.example/token"), func() error { calls++; return nil })
			if tt.want == (want{}) {
				if err != nil || a.Status != 200 || calls != 1 {
					t.Errorf("%v, %v, %d calls", a, err, calls)
				}
				return
			}
			check(t, a, err, tt.want)
			if calls != 0 {
				t.Error("sending called")
			}
		})
	}
}

func TestProxySettingUnreadable(t *testing.T) {
	c := oauth.Client{Proxy: func(*http.Request) (*url.URL, error) { return nil, errors.New("parse http://u:" + canary + "@x") }}
	a, err := c.Send(t.Context(), refresh(t, "https://as.example/"), nil)
	check(t, a, err, want{phase: "proxy"})
}

// TestLoopbackNotProxied: plain http goes to loopback, never through a proxy.
func TestLoopbackNotProxied(t *testing.T) {
	s := serve(t, answering(nil, write(ok("{}"))))
	c := oauth.Client{Proxy: func(*http.Request) (*url.URL, error) { t.Error("asked"); return nil, nil }}
	for _, host := range []string{s.addr, strings.Replace(s.addr, "127.0.0.1", "localhost", 1)} {
		if _, err := c.Send(t.Context(), refresh(t, "http://"+host+"/"), nil); err != nil {
			t.Error(err)
		}
	}
}
