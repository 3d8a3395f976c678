package idptest

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

type watchKey struct{}

type watchedListener struct {
	net.Listener
	s     *Server
	plain bool // no TLS above, so that a reset tells that data was not read
}

func (l *watchedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	v := &l.s.serving
	v.mu.Lock()
	defer v.mu.Unlock()
	v.nextID++
	w := &watchedConn{Conn: c, s: l.s, id: v.nextID, plain: l.plain}
	if v.conns == nil {
		v.conns = map[*watchedConn]bool{}
	}
	v.conns[w] = true
	return w, nil
}

// A watchedConn remembers the last token answer written to it until the client
// shows that it took it, by another request or an orderly end. A reset instead
// means that the client's system threw the answer away unread.
type watchedConn struct {
	net.Conn
	s     *Server
	id    int
	plain bool

	mu      sync.Mutex
	entry   *Entry // of the answer; nil: nothing to learn
	written bool   // the answer was written in full
	ended   bool   // the client has ended its side
	closed  bool
}

// lingerTime bounds the wait for the client's end of an answered connection.
const lingerTime = 2 * time.Second

// watched is the request's connection if resets on it mean anything.
func (q *request) watched() *watchedConn {
	c, ok := q.r.Context().Value(watchKey{}).(*watchedConn)
	if !ok || !c.plain || !q.token {
		return nil
	}
	return c
}

// expect begins the watch, just before an answer is written. It tells whether
// the client is still there.
func (c *watchedConn) expect(e *Entry) bool {
	if c == nil {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entry, c.written = e, false
	return !c.ended
}

// wrote tells that the answer is out.
func (c *watchedConn) wrote() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written = true
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.saw(n, err)
	return n, err
}

// saw judges what came from the client after the answer.
func (c *watchedConn) saw(n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case n > 0:
		c.entry = nil
	case err == io.EOF:
		c.ended = true // it may have left before the answer came: probe tells
	case isReset(err):
		c.undeliveredLocked()
	}
}

func (c *watchedConn) undeliveredLocked() {
	if c.entry != nil {
		c.s.note(c.entry, func(e *Entry) { e.Delivered = false })
		c.entry = nil
	}
}

// probe asks the system, by a write of nothing, whether the connection was
// reset: a client that was gone when the answer came resets it.
func (c *watchedConn) probe() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entry == nil || !c.written || c.closed {
		return
	}
	if _, err := c.Conn.Write(nil); isReset(err) {
		c.undeliveredLocked()
	}
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// settle brings Delivered up to date with what the system knows.
func (s *Server) settle() {
	v := &s.serving
	v.mu.Lock()
	defer v.mu.Unlock()
	for c := range v.conns {
		c.probe()
	}
}

// Close keeps reading for a moment where an answer is still unconfirmed; the
// client sees the end at once.
func (c *watchedConn) Close() error {
	c.probe()
	c.mu.Lock()
	again := c.closed
	c.closed = true
	pending := c.entry != nil && c.written && !c.ended
	c.mu.Unlock()
	if again {
		return net.ErrClosed
	}
	tcp, ok := c.Conn.(*net.TCPConn)
	v := &c.s.serving
	v.mu.Lock()
	defer v.mu.Unlock()
	if !pending || !ok || v.closed {
		delete(v.conns, c)
		return c.Conn.Close()
	}
	c.s.begin()
	v.wg.Go(func() { c.linger(tcp) })
	return tcp.CloseWrite()
}

func (c *watchedConn) linger(tcp *net.TCPConn) {
	defer c.s.end()
	tcp.SetReadDeadline(time.Now().Add(lingerTime))
	var b [512]byte
	for {
		n, err := tcp.Read(b[:])
		c.saw(n, err)
		if err != nil {
			break
		}
	}
	tcp.Close()
	v := &c.s.serving
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.conns, c)
}
