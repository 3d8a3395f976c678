package oauth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/oauth"
)

func TestEncode(t *testing.T) {
	rt := secret("rt")
	form := oauth.Form{{"grant_type", "refresh_token"}, {"refresh_token", rt}, {"resource", "a"}, {"q", "\"<é"}, {"resource", "b"}}
	const query = "grant_type=refresh_token&refresh_token=RT&resource=a&q=%22%3C%C3%A9&resource=b"
	for _, tt := range []struct{ name, method, style, path, uri, kind, body string }{
		{"form", "", "", "/t", "/t", "application/x-www-form-urlencoded", query},
		{"form by name", "POST", "form", "/t?k=v", "/t?k=v", "application/x-www-form-urlencoded", query},
		{"json", "", "json", "/t", "/t", "application/json", `{"grant_type":"refresh_token","refresh_token":"RT","resource":["a","b"],"q":"\"<é"}`},
		{"query", "", "query", "/t", "/t?" + query, "", ""},
		{"query after another", "", "query", "/t?k=v", "/t?k=v&" + query, "", ""},
		{"query by GET", "GET", "query", "/t", "/t?" + query, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, map[string]page{"/t": {body: "{}"}})
			r := &oauth.Request{Method: tt.method, URL: s.url + tt.path, Form: append(oauth.Form{}, form...)}
			if err := r.Encode(tt.style); err != nil {
				t.Fatal(err)
			}
			line, all := transcript(t)
			if _, err := (&oauth.Client{Trace: line}).Send(t.Context(), r, nil); err != nil {
				t.Fatal(err)
			}
			fill := func(s string) string { return strings.ReplaceAll(s, "RT", rt) }
			got := s.last(t)
			if got.uri != fill(tt.uri) || got.body != fill(tt.body) || got.header.Get("Content-Type") != tt.kind {
				t.Errorf("got %s, body %s, type %s", got.uri, got.body, got.header.Get("Content-Type"))
			}
			if want := map[string]string{"": "POST"}[tt.method]; got.method != want && got.method != tt.method {
				t.Errorf("method %s", got.method)
			}
			if !strings.Contains(all(), "> "+got.method+" /t") {
				t.Errorf("transcript:\n%s", all())
			}
			for _, p := range printings(*r) {
				leakCheck(t, "request", p)
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	r := &oauth.Request{URL: "https://as.example/"}
	contains(t, r.Encode("xml"), "none of form, json and query")
	r = &oauth.Request{URL: "https://as.example/%zz" + canary}
	contains(t, r.Encode("query"), "can't be read")
}

func TestFormJSON(t *testing.T) {
	for _, tt := range []struct {
		form oauth.Form
		want string
	}{
		{nil, `{}`},
		{oauth.Form{{"a", ""}}, `{"a":""}`},
		{oauth.Form{{"a", "1"}, {"a", "2"}, {"a", "3"}}, `{"a":["1","2","3"]}`},
		{oauth.Form{{"b", "1"}, {"a", "2"}, {"b", "3"}, {"c", "4"}}, `{"b":["1","3"],"a":"2","c":"4"}`},
		{oauth.Form{{"a\"", "\x00\xff"}}, "{\"a\\\"\":\"\\u0000\ufffd\"}"},
	} {
		if got := string(tt.form.JSON()); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

func TestSendMethodAndBody(t *testing.T) {
	s := newSite(t, map[string]page{"/t": {body: "{}"}})
	send := func(r *oauth.Request) error {
		r.URL = s.url + "/t"
		a, err := new(oauth.Client).Send(t.Context(), r, nil)
		if err != nil && a != nil {
			t.Error("an answer beside the error")
		}
		return err
	}
	for _, tt := range []struct {
		name string
		r    oauth.Request
		want string
	}{
		{"PUT", oauth.Request{Method: "PUT"}, "neither POST nor GET"},
		{"get", oauth.Request{Method: "get"}, "neither POST nor GET"},
		{"smuggled", oauth.Request{Method: "GET / HTTP/1.1\r\nX: y"}, "neither POST nor GET"},
		{"GET with a form", oauth.Request{Method: "GET", Form: oauth.Form{{"a", canary}}}, "a GET has no body"},
		{"GET with a body", oauth.Request{Method: "GET", Body: []byte(canary)}, "a GET has no body"},
	} {
		contains(t, send(&tt.r), tt.want)
	}
	if n := len(s.paths()); n != 0 {
		t.Fatalf("something was sent: %s", s.paths())
	}
	body := &oauth.Request{Body: []byte("{}"), Form: oauth.Form{{"hidden", secret("x")}}, Header: http.Header{"Content-Type": {"application/json"}}}
	if err := send(body); err != nil || s.last(t).body != "{}" {
		t.Errorf("error %v, body %q", err, s.last(t).body)
	}
	if !strings.Contains(body.String(), "body [redacted, 2 bytes]") {
		t.Errorf("shown as %s", body)
	}
}

// TestSendLength: a POST says that it has no body, which many servers demand; a
// GET has nothing to say.
func TestSendLength(t *testing.T) {
	for _, tt := range []struct {
		r    oauth.Request
		want bool
	}{
		{oauth.Request{Body: []byte{}, Form: oauth.Form{{"a", "b"}}}, true},
		{oauth.Request{}, true},
		{oauth.Request{Method: "GET"}, false},
	} {
		head := make(chan string, 1)
		s := serve(t, func(_ *server, c net.Conn) {
			b := make([]byte, 4096)
			n, _ := c.Read(b)
			head <- string(b[:n])
			io.WriteString(c, ok("{}"))
			hangUp(c)
		})
		tt.r.URL = "http://" + s.addr
		if _, err := new(oauth.Client).Send(t.Context(), &tt.r, nil); err != nil {
			t.Fatal(err)
		}
		if got := <-head; strings.Contains(got, "\r\nContent-Length: 0\r\n") != tt.want {
			t.Errorf("%s: sent %q", &tt.r, got)
		}
	}
}

// selfSigned is a client certificate that no authority knows (RFC 8705 §2.2).
func selfSigned(t testing.TB, serial int64) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: far}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestRFC8705Certificate: the server sees the certificate, a server that does
// not ask for one is answered all the same, and without one a demand fails.
func TestRFC8705Certificate(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	known := ca.issue(t, "client.example", far).Certificates[0]
	lone := selfSigned(t, 7)
	lone2 := selfSigned(t, 8)
	leaf := func(c tls.Certificate) string {
		x, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return string(x.Raw)
	}
	for _, tt := range []struct {
		name  string
		ask   tls.ClientAuthType
		from  *authority
		certs []tls.Certificate
		want  string
	}{
		{"not asked", tls.NoClientCert, nil, []tls.Certificate{lone}, ""},
		{"any", tls.RequireAnyClientCert, nil, []tls.Certificate{lone, known}, leaf(lone)},
		{"of the authority", tls.RequireAnyClientCert, ca, []tls.Certificate{lone, known}, leaf(known)},
		{"none fits", tls.RequireAnyClientCert, other, []tls.Certificate{lone2, lone}, leaf(lone2)},
		{"none there", tls.RequestClientCert, ca, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conf := ca.issue(t, "127.0.0.1", far)
			conf.ClientAuth = tt.ask
			if tt.from != nil {
				conf.ClientCAs = tt.from.pool
			}
			seen := make(chan string, 1)
			s := serve(t, answering(conf, func(c, _ net.Conn, _ string) {
				got := ""
				if peers := c.(*tls.Conn).ConnectionState().PeerCertificates; len(peers) > 0 {
					got = string(peers[0].Raw)
				}
				seen <- got
				io.WriteString(c, ok("{}"))
				hangUp(c)
			}))
			c := &oauth.Client{RootCAs: ca.pool, Proxy: direct, Certificates: tt.certs}
			if _, err := c.Send(t.Context(), refresh(t, "https://"+s.addr+"/"), nil); err != nil {
				t.Fatal(err)
			}
			if got := <-seen; got != tt.want {
				t.Error("the server saw another certificate, or none")
			}
		})
	}
	conf := ca.issue(t, "127.0.0.1", far)
	conf.ClientAuth = tls.RequestClientCert
	shown := make(chan int, 1)
	public := serve(t, answering(conf, func(c, _ net.Conn, _ string) {
		shown <- len(c.(*tls.Conn).ConnectionState().PeerCertificates)
		io.WriteString(c, ok(`{"keys":[]}`))
		hangUp(c)
	}))
	anybody := &oauth.Client{RootCAs: ca.pool, Proxy: direct, Certificates: []tls.Certificate{lone}}
	if _, err := anybody.FetchJWKS(t.Context(), "https://"+public.addr+"/"); err != nil || <-shown != 0 {
		t.Errorf("a public document was asked for with a certificate, or %v", err)
	}
	conf = ca.issue(t, "127.0.0.1", far)
	conf.ClientAuth = tls.RequireAnyClientCert
	s := serve(t, answering(conf, write(ok("{}"))))
	c := &oauth.Client{RootCAs: ca.pool, Proxy: direct}
	if _, err := c.Send(t.Context(), refresh(t, "https://"+s.addr+"/"), nil); err == nil {
		t.Error("a server that demands a certificate answered without")
	}
}
