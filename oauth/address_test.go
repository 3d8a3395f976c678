package oauth_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/oauth"
)

// TestPublicOnly is the SSRF gate of 9728-1: each row is an address by its kind.
func TestPublicOnly(t *testing.T) {
	for kind, list := range map[string]string{
		"public":        "1.1.1.1 8.8.8.8 172.15.0.1 172.32.0.1 100.63.255.255 100.128.0.1 192.0.1.1 223.255.255.255 2606:4700::1111 2a00:1450:4001:81b::200e ::ffff:8.8.8.8 64:ff9b::808:808",
		"loopback":      "127.0.0.1 127.255.0.9 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1",
		"this network":  "0.0.0.0 0.1.2.3 :: ::ffff:0.0.0.0",
		"private":       "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 ::ffff:10.1.2.3 64:ff9b::c0a8:101",
		"unique local":  "fc00::1 fd12:3456::1",
		"shared":        "100.64.0.1 100.127.255.255",
		"link-local":    "169.254.0.1 fe80::1 fe80::1%eth0 fec0::1",
		"metadata":      "169.254.169.254 168.63.129.16 100.100.100.200 fd00:ec2::254 fd20:ce::254 192.0.0.192 ::ffff:169.254.169.254",
		"multicast":     "224.0.0.1 239.255.255.255 ff02::1",
		"reserved":      "240.0.0.1 255.255.255.255 192.0.0.8 192.88.99.1 100::1 5f00::1",
		"documentation": "192.0.2.1 198.51.100.7 203.0.113.9 2001:db8::1 3fff::1",
		"benchmarking":  "198.18.0.1 198.19.255.255 2001:2::1",
		"embedding":     "::7f00:1 2002:7f00:1::1 2002:808:808::1 2001::1 64:ff9b:1::1 2606:4700::1111%eth0",
	} {
		for text := range strings.FieldsSeq(list) {
			err := oauth.PublicOnly(netip.MustParseAddr(text))
			if (err == nil) != (kind == "public") {
				t.Errorf("%s %s: error %v", kind, text, err)
			}
		}
	}
	if oauth.PublicOnly(netip.Addr{}) == nil {
		t.Error("the zero address passes")
	}
}

func TestGateFor(t *testing.T) {
	for _, tt := range []struct{ typed, pass, stop string }{
		{"https://1.1.1.1/", "8.8.8.8", "127.0.0.1 10.0.0.1 ::1 fd00::1 169.254.169.254"},
		{"http://127.0.0.1:80/", "8.8.8.8 127.0.0.1 ::1", "10.0.0.1 169.254.169.254"},
		{"http://localhost/", "8.8.8.8 127.0.0.1", "10.0.0.1"},
		{"https://192.168.1.1/", "8.8.8.8 10.0.0.1 fd12::1 100.64.0.1", "127.0.0.1 169.254.169.254 100.100.100.200 fd00:ec2::254 fe80::1"},
		{"https://169.254.169.254/", "8.8.8.8", "169.254.169.254"},
		{"https://nowhere.invalid/", "8.8.8.8", "127.0.0.1 10.0.0.1"},
		{"://", "8.8.8.8", "127.0.0.1"},
	} {
		gate := oauth.GateFor(t.Context(), tt.typed)
		for ip := range strings.FieldsSeq(tt.pass) {
			if err := gate(netip.MustParseAddr(ip)); err != nil {
				t.Errorf("%s: %v", tt.typed, err)
			}
		}
		for ip := range strings.FieldsSeq(tt.stop) {
			if gate(netip.MustParseAddr(ip)) == nil {
				t.Errorf("%s: %s passes", tt.typed, ip)
			}
		}
	}
}

// TestGate: the address is judged after the name was resolved and before
// anything is sent, on every way to it.
func TestGate(t *testing.T) {
	s := serve(t, answering(nil, write(ok("{}"))))
	_, port, _ := net.SplitHostPort(s.addr)
	viaUs := func(*http.Request) (*url.URL, error) { return url.Parse("http://" + s.addr) }
	pipe := func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		t.Cleanup(func() { far.Close() })
		return near, nil
	}
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.addr)
	}
	for _, tt := range []struct {
		name   string
		client oauth.Client
		url    string
	}{
		{"address", oauth.Client{}, "http://" + s.addr + "/"},
		{"name", oauth.Client{}, "http://localhost:" + port + "/"},
		{"https", oauth.Client{Proxy: direct}, "https://" + s.addr + "/"},
		{"own dialer", oauth.Client{Proxy: direct, Dial: dial}, "https://as.example/"},
		{"own dialer without an address", oauth.Client{Dial: pipe}, "http://localhost/"},
		{"behind a proxy", oauth.Client{Proxy: viaUs}, "https://10.0.0.1/"},
		{"name behind a proxy", oauth.Client{Proxy: viaUs}, "https://localhost/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			line, _ := transcript(t)
			before := s.reqs.Load()
			tt.client.Gate, tt.client.Trace = oauth.PublicOnly, line
			asked := 0
			a, err := tt.client.Send(t.Context(), refresh(t, tt.url), func() error { asked++; return nil })
			check(t, a, err, want{phase: "gate"})
			contains(t, err, "the address is refused")
			if asked != 0 || s.reqs.Load() != before {
				t.Errorf("sending called %d times, %d requests", asked, s.reqs.Load()-before)
			}
		})
	}
	refused := errors.New("no")
	c := oauth.Client{Gate: func(netip.Addr) error { return refused }}
	if _, err := c.Send(t.Context(), refresh(t, "http://"+s.addr), nil); !errors.Is(err, refused) {
		t.Errorf("error %v does not hold the gate's own", err)
	}
	c.Gate = func(ip netip.Addr) error {
		if ip != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("asked about %s", ip)
		}
		return nil
	}
	if _, err := c.Send(t.Context(), refresh(t, "http://"+s.addr), nil); err != nil {
		t.Errorf("an open gate: %v", err)
	}
}

// TestGateProxyPasses: the proxy that a person configured may be anywhere.
func TestGateProxyPasses(t *testing.T) {
	s := serve(t, answering(nil, write("HTTP/1.1 403 No\r\n\r\n")))
	c := oauth.Client{Gate: oauth.PublicOnly, Proxy: func(*http.Request) (*url.URL, error) { return url.Parse("http://" + s.addr) }}
	a, err := c.Send(t.Context(), refresh(t, "https://1.1.1.1/"), nil)
	check(t, a, err, want{phase: "proxy", status: 403})
}
