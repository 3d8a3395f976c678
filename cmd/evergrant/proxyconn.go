package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// An upstream may answer before it has read the request's body. net/http then
// reads on after the handler, for as long as the client likes; and where the
// body does end there, with full duplex on, a read that it started meanwhile
// collides with the next request's. So the proxy itself sees to it that a body
// has ended when the handler ends, or that nothing more is read.

const (
	// politeTime and politeBytes bound what is read of a body that nobody
	// wants, to keep the connection.
	politeTime  = 50 * time.Millisecond
	politeBytes = 256 << 10

	// lingerTime is how long a connection is read after the answer, so that
	// what the client still sends does not make its system drop the answer
	// (RFC 9112 §9.6).
	lingerTime = 500 * time.Millisecond
)

// lingerListener makes lingerConns.
type lingerListener struct{ *net.TCPListener }

// Accept implements net.Listener.
func (l lingerListener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return &lingerConn{TCPConn: c}, nil
}

// lingerConn can be told to read no more: the request at hand is the last.
type lingerConn struct {
	*net.TCPConn
	deaf atomic.Bool
}

// Read implements net.Conn.
func (c *lingerConn) Read(b []byte) (int, error) {
	if c.deaf.Load() {
		return 0, io.EOF
	}
	n, err := c.TCPConn.Read(b)
	if err != nil && c.deaf.Load() {
		return n, io.EOF
	}
	return n, err
}

// hearNoMore ends reading, also one that is under way.
func (c *lingerConn) hearNoMore() {
	c.deaf.Store(true)
	c.TCPConn.SetReadDeadline(time.Unix(1, 0))
}

// Close implements net.Conn.
func (c *lingerConn) Close() error {
	if c.deaf.Load() {
		c.CloseWrite()
		c.TCPConn.SetReadDeadline(time.Now().Add(lingerTime))
		io.Copy(io.Discard, c.TCPConn)
	}
	return c.TCPConn.Close()
}

type connKey struct{}

// withConn is http.Server.ConnContext.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// incoming is the body of a client's request.
type incoming struct {
	io.ReadCloser
	ended atomic.Bool
}

// Read implements io.Reader.
func (b *incoming) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.ended.Store(true)
	}
	return n, err
}

// settle is called when the answer is written, and the body may not be read.
func (b *incoming) settle(r *http.Request) {
	c, ok := r.Context().Value(connKey{}).(*lingerConn)
	if !ok || r.ProtoMajor != 1 || b.ended.Load() {
		return
	}
	c.SetReadDeadline(time.Now().Add(politeTime))
	io.CopyN(io.Discard, b, politeBytes)
	if b.ended.Load() {
		c.SetReadDeadline(time.Time{})
		return
	}
	c.hearNoMore()
	b.ReadCloser.Close() // what is buffered may hold the body's end
}
