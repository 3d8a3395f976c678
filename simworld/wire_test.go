package simworld_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

var (
	errRefused = errors.New("connection refused")
	errReset   = errors.New("connection reset by peer")
)

// listener is the server's end of the network of one life.
type listener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (n *listener) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.done:
		return nil, net.ErrClosed
	}
}

func (n *listener) Close() error   { close(n.done); return nil }
func (n *listener) Addr() net.Addr { return address("server") }

type address string

func (a address) Network() string { return "pipe" }
func (a address) String() string  { return string(a) }

// serverEnd has an address by which the ledger knows the wire.
type serverEnd struct {
	net.Conn
	from string
}

func (c serverEnd) RemoteAddr() net.Addr { return address(c.from) }

// wire is the keeper's end of one connection, and the evidence of what went
// over it.
type wire struct {
	net.Conn
	k      *keeper
	id     string
	fault  wireFault
	server idptest.Fault
	closed chan struct{}
	once   sync.Once

	// Guarded by l.mu.
	out, in   []byte
	gen       int // generation of the refresh token that left; 0: none yet
	at        time.Time
	broken    bool // the keeper cannot know the outcome
	slowed    bool
	concluded bool // its keeper has journalled an outcome
	got       int  // highest generation of a refresh token that arrived whole
}

// dial connects a keeper to the server, if the network lets it.
func (k *keeper) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if err := k.pass(atDial); err != nil {
		return nil, err
	}
	l := k.l
	l.mu.Lock()
	f, server := k.plan.wire, k.plan.server
	if k.plan.conns--; k.plan.conns <= 0 {
		k.plan.wire.kind, k.plan.server = "", ""
	}
	out := l.netOut
	if out != "" {
		f.kind = out
		l.firedLocked("")
	} else if f.kind == "refused" || f.kind == "blackhole" {
		l.firedLocked(f.kind)
	}
	if f.latency > time.Second {
		l.firedLocked("latency")
	}
	l.noteLocked(k, "dial %s", f.kind)
	l.mu.Unlock()
	switch f.kind {
	case "refused":
		return nil, errRefused
	case "blackhole":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	select {
	case <-time.After(f.latency):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return k.connect(ctx, f, server)
}

func (k *keeper) connect(ctx context.Context, f wireFault, server idptest.Fault) (net.Conn, error) {
	l := k.l
	here, there := net.Pipe()
	w := &wire{Conn: here, k: k, fault: f, server: server, closed: make(chan struct{})}
	l.mu.Lock()
	if k.dead {
		l.mu.Unlock()
		return nil, errCrashed
	}
	w.id = fmt.Sprintf("w%d", len(l.wires)+1)
	l.wires[w.id] = w
	k.wires = append(k.wires, w)
	l.mu.Unlock()
	select {
	case l.net.conns <- serverEnd{there, w.id}:
		return w, nil
	case <-ctx.Done():
		w.Close()
		return nil, ctx.Err()
	}
}

func (w *wire) Close() error {
	w.once.Do(func() {
		close(w.closed)
		l := w.k.l
		l.mu.Lock()
		w.k.wires = without(w.k.wires, w)
		l.mu.Unlock()
	})
	return w.Conn.Close()
}

func without(ws []*wire, w *wire) []*wire {
	var out []*wire
	for _, x := range ws {
		if x != w {
			out = append(out, x)
		}
	}
	return out
}

// breaks notes that the outcome cannot reach the keeper.
func (w *wire) breaks(fault string) {
	l := w.k.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if !w.broken {
		w.broken = true
		l.firedLocked(fault)
		l.noteLocked(w.k, "%s %s", w.id, fault)
	}
}

// Write is the request on its way.
func (w *wire) Write(b []byte) (int, error) {
	if err := w.k.passing(atSend, false); err != nil {
		return 0, err
	}
	if err := w.leaves(b); err != nil {
		return 0, err
	}
	switch w.fault.kind {
	case "request-swallowed":
		w.breaks(w.fault.kind)
		return len(b), nil
	case "request-halved":
		w.breaks(w.fault.kind)
		w.Conn.Write(b[:len(b)/2]) // broken anyway
		w.Close()
		return len(b), nil
	}
	n, err := w.Conn.Write(b)
	if err != nil {
		return n, err
	}
	if err := w.k.passing(atSent, false); err != nil {
		return n, err
	}
	return n, nil
}

var tokenParam = regexp.MustCompile(`refresh_token=([^&\s]+)`)

// leaves judges the request as its bytes leave.
func (w *wire) leaves(b []byte) error {
	l := w.k.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.k.dead {
		return errCrashed
	}
	w.out = append(w.out, b...)
	if m := tokenParam.FindSubmatch(w.out); m != nil && w.gen == 0 {
		_, w.gen, _ = l.idp.Find(unescape(string(m[1])))
		w.at = time.Now()
		l.judgeSendLocked(w)
	}
	return nil
}

// Read is the reply arriving.
func (w *wire) Read(b []byte) (int, error) {
	switch w.fault.kind {
	case "request-swallowed", "reply-swallowed":
		w.breaks(w.fault.kind)
		<-w.closed
		return 0, net.ErrClosed
	case "reply-reset":
		w.Conn.Read(make([]byte, 1)) // when the server has begun to answer
		w.breaks(w.fault.kind)
		w.Close()
		return 0, errReset
	}
	if err := w.k.passing(atRead, true); err != nil {
		return 0, err
	}
	limit, call, crash := w.limit(len(b))
	if err := w.drips(&limit); err != nil {
		return 0, err
	}
	n, err := w.Conn.Read(b[:limit])
	w.arrives(b[:n])
	if n > 0 && w.whole() {
		switch {
		case crash:
			w.k.crashIn(call, atReply)
		case w.fault.kind == "reply-cut":
			w.breaks(w.fault.kind)
			w.Close()
			return n, errReset
		}
	}
	if w.k.isDead() {
		return 0, errCrashed
	}
	return n, err
}

// limit is how many bytes arrive at once, in which call, and whether the
// keeper ends with the last of them.
func (w *wire) limit(n int) (limit, call int, crash bool) {
	l := w.k.l
	l.mu.Lock()
	defer l.mu.Unlock()
	crash = w.k.plan.crash == atReply
	if crash || w.fault.kind == "reply-cut" {
		n = min(n, max(1, w.fault.at-len(w.in)))
	}
	return n, w.k.call, crash
}

// whole reports whether all bytes have arrived that are to arrive.
func (w *wire) whole() bool {
	l := w.k.l
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(w.in) >= w.fault.at
}

// drips lets a little arrive after a while: within the keeper's time, or so
// slowly that it gives up in the middle.
func (w *wire) drips(limit *int) error {
	var d time.Duration
	switch w.fault.kind {
	case "drip":
		d = w.fault.drip
	case "drip-slow":
		d = 3 * time.Second
		w.slows()
	default:
		return nil
	}
	*limit = min(*limit, 16)
	select {
	case <-time.After(d):
		return nil
	case <-w.closed:
		return net.ErrClosed
	}
}

// slows counts a drip once. What is short may come whole all the same.
func (w *wire) slows() {
	w.k.l.mu.Lock()
	defer w.k.l.mu.Unlock()
	if !w.slowed {
		w.slowed = true
		w.k.l.firedLocked(w.fault.kind)
	}
}

var (
	tokenMember  = regexp.MustCompile(`"refresh_token":\s*"([^"]+)"`)
	accessMember = regexp.MustCompile(`"access_token":\s*"([^"]+)"`)
)

// arrives looks for the new refresh token in what the keeper was given.
func (w *wire) arrives(b []byte) {
	l := w.k.l
	l.mu.Lock()
	defer l.mu.Unlock()
	w.in = append(w.in, b...)
	if m := accessMember.FindSubmatch(w.in); m != nil && strings.Contains(string(w.in), `"expires_in":`) && l.arrived[string(m[1])].IsZero() {
		l.arrived[string(m[1])] = w.at
	}
	if w.got > 0 || !strings.Contains(string(w.in), " 200 OK") {
		return
	}
	if m := tokenMember.FindSubmatch(w.in); m != nil {
		if _, gen, _ := l.idp.Find(string(m[1])); gen > 0 {
			w.got = gen
			l.pending = append(l.pending, w)
			l.noteLocked(w.k, "%s token %d arrives", w.id, gen)
		}
	}
}

func (k *keeper) isDead() bool {
	k.l.mu.Lock()
	defer k.l.mu.Unlock()
	return k.dead
}
