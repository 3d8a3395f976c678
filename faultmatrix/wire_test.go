package faultmatrix_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/evergrant/evergrant/idptest"
)

// A wire is a raw server before the provider. It reads one request from each
// connection and answers as its act says, until it is healthy.
type wire struct {
	tr       *trial
	listener net.Listener
	config   *tls.Config // nil: plain
	act      func(c *call)
	raw      func(c net.Conn) // takes the connection before a byte was read; nil: it reads a request
	requests atomic.Int32
	written  atomic.Int64 // bytes of a stream
	healthy  atomic.Bool
	over     chan struct{} // closed when the first act is done

	once    sync.Once
	working sync.WaitGroup
	mu      sync.Mutex
	conns   map[net.Conn]bool
	closed  bool
}

// A call is one request on a wire.
type call struct {
	w       *wire
	conn    net.Conn // over TLS, if the wire has it
	raw     net.Conn
	request *http.Request
	body    []byte
}

// wired starts a provider with a wire before it, which does act.
func (tr *trial) wired(h idptest.Habits, act func(c *call)) *wire {
	tr.t.Helper()
	tr.prepare(idptest.Config{Habits: h})
	w := tr.wire(nil, act)
	tr.serveAt("http://" + w.listener.Addr().String())
	return w
}

// wiredTLS is wired over TLS.
func (tr *trial) wiredTLS(h idptest.Habits, act func(c *call)) *wire {
	tr.t.Helper()
	tr.prepare(idptest.Config{Habits: h})
	config, pool := certificate(tr.t)
	w := tr.wire(config, act)
	tr.cfg.HTTP.RootCAs = pool
	tr.serveAt("https://" + w.listener.Addr().String())
	return w
}

func (tr *trial) wire(config *tls.Config, act func(c *call)) *wire {
	tr.t.Helper()
	return tr.start(&wire{config: config, act: act})
}

// rawWire is a wire whose connections are taken by raw.
func (tr *trial) rawWire(raw func(c net.Conn)) *wire {
	tr.t.Helper()
	return tr.start(&wire{raw: raw})
}

func (tr *trial) start(w *wire) *wire {
	tr.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	tr.must(err)
	w.tr, w.listener, w.conns, w.over = tr, l, map[net.Conn]bool{}, make(chan struct{})
	tr.wires = append(tr.wires, w)
	w.working.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if w.keep(c) {
				w.working.Go(func() { defer w.drop(c); w.serve(c) })
			}
		}
	})
	return w
}

func (w *wire) keep(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		c.Close()
		return false
	}
	w.conns[c] = true
	return true
}

func (w *wire) drop(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c.Close()
	delete(w.conns, c)
}

// close ends the wire and all that it still does.
func (w *wire) close() {
	w.listener.Close()
	w.mu.Lock()
	w.closed = true
	for c := range w.conns {
		c.Close()
	}
	w.mu.Unlock()
	w.working.Wait()
}

func (w *wire) serve(raw net.Conn) {
	if w.raw != nil && !w.healthy.Load() {
		w.raw(raw)
		return
	}
	conn := raw
	if w.config != nil {
		c := tls.Server(raw, w.config)
		if c.Handshake() != nil {
			return
		}
		conn = c
	}
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.requests.Add(1)
	c := &call{w: w, conn: conn, raw: raw, request: r, body: body}
	if w.healthy.Load() {
		c.write(whole(c.process()))
		return
	}
	w.act(c)
	w.once.Do(func() { close(w.over) })
}

// process lets the provider handle the request, and returns its answer's body.
func (c *call) process() []byte {
	r := c.request.Clone(c.request.Context())
	r.Body, r.RemoteAddr = io.NopCloser(bytes.NewReader(c.body)), c.raw.RemoteAddr().String()
	rec := httptest.NewRecorder()
	c.w.tr.idp.ServeHTTP(rec, r)
	return rec.Body.Bytes()
}

// write writes and closes in order, so that no reset overtakes the bytes.
func (c *call) write(text string) {
	if _, err := io.WriteString(c.conn, text); err != nil {
		return
	}
	c.conn.(interface{ CloseWrite() error }).CloseWrite()
	io.Copy(io.Discard, c.conn)
}

// reset writes, and resets the connection once the client has had the time to
// read.
func (c *call) reset(text string) {
	io.WriteString(c.conn, text)
	reset(c.raw)
}

func reset(c net.Conn) {
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// whole is an honest HTTP answer.
func whole(body []byte) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// with changes members of an answer: raw JSON by name, "" takes the member out.
func with(t *testing.T, body []byte, members ...string) []byte {
	t.Helper()
	var all map[string]json.RawMessage
	if err := json.Unmarshal(body, &all); err != nil {
		t.Error(err) // this runs beside the test
		return body
	}
	for i := 0; i+1 < len(members); i += 2 {
		delete(all, members[i])
		if members[i+1] != "" {
			all[members[i]] = json.RawMessage(members[i+1])
		}
	}
	out, err := json.Marshal(all)
	if err != nil {
		t.Error(err) // this runs beside the test
		return body
	}
	return out
}

// member is a text member of a JSON object.
func member(t *testing.T, doc []byte, name string) string {
	t.Helper()
	var all map[string]json.RawMessage
	if err := json.Unmarshal(doc, &all); err != nil {
		t.Errorf("I1: %v", err)
	}
	var text string
	if err := json.Unmarshal(all[name], &text); err != nil {
		t.Errorf("I1: %s: %v", name, err)
	}
	return text
}

func zipped(body []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(body) // a Buffer takes all
	z.Close()
	return b.Bytes()
}

// certificate is one for 127.0.0.1 and example.com, and who trusts it.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates}, pool
}
