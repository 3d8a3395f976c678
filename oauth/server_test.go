package oauth_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/oauth"
)

func TestMain(m *testing.M) {
	var logged logBuffer
	log.SetOutput(&logged) // net/http writes there when a server misbehaves
	code := m.Run()
	if logged.n.Load() > 0 {
		os.Stderr.WriteString("something was written to the standard logger\n")
		code = 1
	}
	if err := goleak.Find(); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

type logBuffer struct{ n atomic.Int64 }

func (b *logBuffer) Write(p []byte) (int, error) { b.n.Add(int64(len(p))); return os.Stderr.Write(p) }

// authority issues certificates for test servers.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{cert: cert, key: key, pool: x509.NewCertPool()}
	a.pool.AddCert(cert)
	return a
}

// issue makes a server's TLS configuration. The validity starts in 1970 so that
// it holds in the year 2000 of a synctest bubble.
func (a *authority) issue(t testing.TB, host string, notAfter time.Time) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Unix(0, 0), NotAfter: notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		tmpl.IPAddresses = []net.IP{ip}
	} else {
		tmpl.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

var far = time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)

// server runs handle on each connection and waits for all at the end.
type server struct {
	addr  string
	conns atomic.Int64
	reqs  atomic.Int64
}

func serve(t testing.TB, handle func(*server, net.Conn)) *server {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			wg.Go(func() {
				defer c.Close()
				handle(s, c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return s
}

// answering reads one request, over TLS if conf is set, and lets act answer.
func answering(conf *tls.Config, act func(c, raw net.Conn, body string)) func(*server, net.Conn) {
	return func(s *server, raw net.Conn) {
		c := raw
		if conf != nil {
			tc := tls.Server(raw, conf)
			if tc.Handshake() != nil {
				return
			}
			c = tc
		}
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.reqs.Add(1)
		act(c, raw, string(body))
	}
}

// write is an act that writes and closes.
func write(text string) func(c, raw net.Conn, body string) {
	return func(c, raw net.Conn, _ string) { io.WriteString(c, text); hangUp(c) }
}

// hangUp closes for writing and waits for the other side, so that no reset
// overtakes the answer.
func hangUp(c net.Conn) {
	c.(interface{ CloseWrite() error }).CloseWrite()
	io.Copy(io.Discard, c)
}

func reset(raw net.Conn) {
	raw.(*net.TCPConn).SetLinger(0)
	raw.Close()
}

// ok is a whole HTTP answer.
func ok(body string) string {
	return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " + itoa(len(body)) + "\r\n\r\n" + body
}

func itoa(n int) string { return big.NewInt(int64(n)).String() }

func refresh(t testing.TB, tokenURL string) *oauth.Request {
	r, err := oauth.RefreshRequest(tokenURL, oauth.NewSecret(secret("sent-rt")), oauth.Post("client", oauth.NewSecret(secret("client-secret"))))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// transcript collects trace lines and searches them for secrets at the end.
func transcript(t testing.TB) (func(string), func() string) {
	var mu sync.Mutex
	var b strings.Builder
	all := func() string {
		mu.Lock()
		defer mu.Unlock()
		return b.String()
	}
	t.Cleanup(func() {
		if s := all(); strings.Contains(s, canary) {
			t.Errorf("the transcript leaks:\n%s", s)
		}
	})
	return func(line string) {
		mu.Lock()
		defer mu.Unlock()
		b.WriteString(line + "\n")
	}, all
}
