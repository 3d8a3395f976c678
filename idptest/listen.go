package idptest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// listeners is what Close has to end.
type listeners struct {
	mu      sync.Mutex
	closed  bool
	servers []*http.Server
	hosts   []string // host:port of each
	conns   map[*watchedConn]bool
	nextID  int
	wg      sync.WaitGroup
}

// Listen serves the server on addr ("127.0.0.1:0" picks a port; ":0" is
// loopback too) and returns its base URL, without a slash at the end.
func (s *Server) Listen(addr string) (string, error) {
	ln, err := s.listen(addr)
	if err != nil {
		return "", err
	}
	return s.serve(ln, "http", nil)
}

// ListenTLS is Listen over TLS with a certificate for localhost, 127.0.0.1 and
// ::1, signed by the authority it returns in PEM. HTTP/1.1 only, so that every
// fault can be shown.
func (s *Server) ListenTLS(addr string) (string, []byte, error) {
	cert, caPEM, err := selfSigned(time.Now(), s.config.Certificate)
	if err != nil {
		return "", nil, err
	}
	ln, err := s.listen(addr)
	if err != nil {
		return "", nil, err
	}
	base, err := s.serve(ln, "https", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}})
	return base, caPEM, err
}

func (s *Server) listen(addr string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.Listen("tcp", net.JoinHostPort(host, port))
}

func (s *Server) serve(ln net.Listener, scheme string, tc *tls.Config) (string, error) {
	l := &s.serving
	hs := &http.Server{Handler: s, ErrorLog: log.New(panicsOnly{}, "", 0), ConnContext: func(ctx context.Context, c net.Conn) context.Context {
		if t, ok := c.(*tls.Conn); ok {
			c = t.NetConn()
		}
		w := c.(*watchedConn) // our listener makes nothing else
		return context.WithValue(context.WithValue(ctx, connKey{}, strconv.Itoa(w.id)), watchKey{}, w)
	}}
	base := scheme + "://" + ln.Addr().String()
	s.mu.Lock()
	if s.base == "" {
		s.base = base
	}
	s.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		ln.Close()
		return "", http.ErrServerClosed
	}
	l.servers = append(l.servers, hs)
	l.hosts = append(l.hosts, ln.Addr().String())
	watched := net.Listener(&watchedListener{Listener: ln, s: s, plain: tc == nil})
	if tc != nil {
		watched = tls.NewListener(watched, tc)
	}
	l.wg.Go(func() { hs.Serve(watched) }) // ends with ErrServerClosed
	return base, nil
}

// Close ends the listeners and every connection, releases what is held back,
// and returns when all goroutines of the server are gone.
func (s *Server) Close() error {
	l := &s.serving
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		l.wg.Wait()
		return nil
	}
	l.closed = true
	servers := l.servers
	close(s.closing)
	l.mu.Unlock()
	s.Release()
	var errs []error
	for _, hs := range servers {
		errs = append(errs, hs.Close())
	}
	l.mu.Lock()
	for c := range l.conns {
		c.Conn.Close() // lingering ones
	}
	l.mu.Unlock()
	l.wg.Wait()
	for !s.WaitIdle(time.Minute) { // handlers outlive http.Server.Close
	}
	return errors.Join(errs...)
}

// panicsOnly lets net/http report bugs of this package, and keeps quiet about
// handshakes that tests break on purpose.
type panicsOnly struct{}

func (panicsOnly) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("panic")) {
		return os.Stderr.Write(p)
	}
	return len(p), nil
}
