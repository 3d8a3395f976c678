package oauth

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// counted counts the bytes that leave on the lowest layer once it is armed.
// Under TLS a failed Write alone doesn't tell whether anything left.
type counted struct {
	net.Conn
	armed atomic.Bool
	sent  atomic.Int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if c.armed.Load() {
		c.sent.Add(int64(n))
	}
	return n, err
}

// gate is the connection that HTTP is spoken over. It stands closed until the
// first byte of the request: then it asks once whether the request may leave.
// No reading before that, so that a connection which died early is noticed by
// writing, where it can be told that nothing was sent.
type gate struct {
	net.Conn          // plain, or TLS on top of raw
	raw      *counted // the lowest layer
	// allow is asked before and after sending is called: cancelled or late.
	allow   func() error
	sending func() error
	unwatch func() bool // ends the closing of raw by the context

	opened chan struct{} // closed when the first write was let through or the gate shut

	// mu is held over the write itself, an exception to "no I/O under a mutex":
	// shut has to wait for a write in progress before it counts. Closing raw
	// first ends such a write.
	mu       sync.Mutex
	asked    bool
	shutDown bool
	refusal  error // why the request was not let out
	writeErr error
	began    time.Time
	once     sync.Once
}

func (g *gate) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.openLocked(); err != nil {
		return 0, err
	}
	n, err := g.Conn.Write(b)
	if err != nil && g.writeErr == nil {
		g.writeErr = err
	}
	return n, err
}

func (g *gate) openLocked() error {
	if g.shutDown {
		return net.ErrClosed
	}
	if g.asked {
		return g.refusal
	}
	g.asked = true
	if g.refusal = g.allow(); g.refusal != nil {
		return g.refusal
	}
	if g.sending != nil {
		if err := g.sending(); err != nil {
			g.refusal = &sendingError{err}
			return g.refusal
		}
	}
	// sending may have taken long: it waits for a disk.
	if g.refusal = g.allow(); g.refusal != nil {
		return g.refusal
	}
	g.began = time.Now()
	g.raw.armed.Store(true)
	g.release()
	return nil
}

func (g *gate) Read(b []byte) (int, error) {
	<-g.opened
	return g.Conn.Read(b)
}

// Close closes the lowest layer without a TLS close_notify: nothing is to come
// after the answer, and an alert could block on a full buffer.
func (g *gate) Close() error {
	err := g.raw.Close()
	g.release()
	return err
}

func (g *gate) release() { g.once.Do(func() { close(g.opened) }) }

// shut ends all use of the connection. After it nothing can be written, and
// what sent and refused report is final.
func (g *gate) shut() {
	g.unwatch()
	g.Close()
	g.mu.Lock()
	g.shutDown = true
	g.mu.Unlock()
}

// sent reports whether bytes of the request may have left. Call it after shut.
func (g *gate) sent() bool { return g.raw.sent.Load() > 0 }

type sendingError struct{ err error }

func (e *sendingError) Error() string { return "preparing to send: " + e.err.Error() }
func (e *sendingError) Unwrap() error { return e.err }
