package oauth_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evergrant/evergrant/oauth"
)

// piped is a client whose only server is handle, at the other end of a pipe,
// all inside a synctest bubble.
func piped(t *testing.T, handle func(net.Conn)) *oauth.Client {
	line, _ := transcript(t)
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	return &oauth.Client{Proxy: direct, Trace: line, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		wg.Go(func() {
			defer theirs.Close()
			handle(theirs)
		})
		return ours, nil
	}}
}

func readRequest(c net.Conn) error {
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r.Body)
	return err
}

func silent(c net.Conn) {
	if readRequest(c) == nil {
		io.Copy(io.Discard, c)
	}
}

func drip(c net.Conn) {
	if readRequest(c) != nil {
		return
	}
	text := "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"
	io.WriteString(c, text)
	for {
		if _, err := io.WriteString(c, "x"); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}

func TestDeadline(t *testing.T) {
	for _, tt := range []struct {
		name    string
		handle  func(net.Conn)
		scheme  string
		timeout time.Duration
		took    time.Duration
		want    want
	}{
		{"silent", silent, "http", 0, 30 * time.Second, want{phase: "deadline", sent: true}},
		{"silent, own timeout", silent, "http", 5 * time.Second, 5 * time.Second, want{phase: "deadline", sent: true}},
		{"drip", drip, "http", 3500 * time.Millisecond, 3500 * time.Millisecond, want{"deadline", true, 200, "xxxx", false}},
		{"no handshake", func(c net.Conn) { io.Copy(io.Discard, c) }, "https", 0, 30 * time.Second, want{phase: "deadline"}},
		{"request not taken", func(c net.Conn) { time.Sleep(time.Hour) }, "http", 0, 30 * time.Second, want{phase: "deadline"}},
		{"request half taken", func(c net.Conn) { c.Read(make([]byte, 9)); time.Sleep(time.Hour) }, "http", 0, 30 * time.Second, want{phase: "deadline", sent: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := piped(t, tt.handle)
				c.Timeout = tt.timeout
				start := time.Now()
				a, err := c.Send(t.Context(), refresh(t, tt.scheme+"://127.0.0.1/"), nil)
				if d := time.Since(start); d != tt.took {
					t.Errorf("took %v, want %v", d, tt.took)
				}
				check(t, a, err, tt.want)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}

// asleep is a context whose timer stands still, as all timers do while the
// machine sleeps: only its date can be compared with the wall clock.
type asleep struct {
	context.Context
	due time.Time
}

func (a asleep) Deadline() (time.Time, bool) { return a.due, true }

func TestWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := asleep{t.Context(), time.Now().Add(4500 * time.Millisecond)}
		start := time.Now()
		a, err := piped(t, silent).Send(ctx, refresh(t, "http://127.0.0.1/"), nil)
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("took %v, want the tick after 4.5 s", d)
		}
		check(t, a, err, want{phase: "deadline", sent: true})
	})
}

// TestWallClockBeforeSending: the machine slept while sending was running. The
// request would leave after its deadline, between two ticks.
func TestWallClockBeforeSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := asleep{t.Context(), time.Now().Add(500 * time.Millisecond)}
		a, err := piped(t, silent).Send(ctx, refresh(t, "http://127.0.0.1/"), func() error {
			time.Sleep(600 * time.Millisecond)
			return nil
		})
		check(t, a, err, want{phase: "deadline"})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

func TestCancel(t *testing.T) {
	for _, tt := range []struct {
		name   string
		scheme string
		cancel time.Duration // 0: before Send, 1 s: while dialing, 2 s: in sending, 3 s: after
		want   want
		called int
	}{
		{"before", "http", 0, want{phase: "connect"}, 0},
		{"dialing", "http", time.Second, want{phase: "connect"}, 0},
		{"in sending", "http", 2 * time.Second, want{phase: "write"}, 1},
		{"after", "http", 3 * time.Second, want{phase: "read", sent: true}, 1},
		{"in the handshake", "https", 2 * time.Second, want{phase: "tls"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.cancel == 0 {
					cancel()
				} else {
					time.AfterFunc(tt.cancel, cancel)
				}
				handle := silent
				if tt.scheme == "https" {
					handle = func(c net.Conn) { io.Copy(io.Discard, c) }
				}
				c := piped(t, handle)
				dial := c.Dial
				c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
					select {
					case <-ctx.Done():
						return nil, ctx.Err()
					case <-time.After(1500 * time.Millisecond):
						return dial(ctx, network, addr)
					}
				}
				called := 0
				a, err := c.Send(ctx, refresh(t, tt.scheme+"://127.0.0.1/"), func() error {
					called++
					time.Sleep(time.Second)
					return nil
				})
				check(t, a, err, tt.want)
				if !errors.Is(err, context.Canceled) || called != tt.called {
					t.Errorf("error %v, sending called %d times", err, called)
				}
			})
		})
	}
}

// TestSendingComesFirst: when sending runs, the server has seen a whole
// handshake and not one byte of the request.
func TestSendingComesFirst(t *testing.T) {
	ca := newAuthority(t)
	conf := ca.issue(t, "127.0.0.1", far)
	conf.Time = func() time.Time { return far.Add(-time.Hour) }
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got atomic.Int64
				var shaken atomic.Bool
				c := piped(t, func(conn net.Conn) {
					if scheme == "https" {
						tc := tls.Server(conn, conf)
						if err := tc.Handshake(); err != nil {
							t.Error(err)
							return
						}
						conn = tc
					}
					shaken.Store(true)
					r, w := io.Pipe()
					go func() {
						buf := make([]byte, 100)
						for {
							n, err := conn.Read(buf)
							got.Add(int64(n))
							if _, werr := w.Write(buf[:n]); err != nil || werr != nil {
								w.CloseWithError(io.EOF)
								return
							}
						}
					}()
					req, err := http.ReadRequest(bufio.NewReader(r))
					if err != nil {
						return
					}
					io.Copy(io.Discard, req.Body)
					io.WriteString(conn, ok("{}"))
					io.Copy(io.Discard, r)
				})
				c.RootCAs = ca.pool
				calls := 0
				a, err := c.Send(t.Context(), refresh(t, scheme+"://127.0.0.1/"), func() error {
					calls++
					synctest.Wait()
					if n := got.Load(); n != 0 || !shaken.Load() {
						t.Errorf("%d bytes of the request came early, handshake done: %v", n, shaken.Load())
					}
					return nil
				})
				if err != nil || a.Status != 200 || calls != 1 || got.Load() == 0 {
					t.Errorf("%v, %v, %d calls", a, err, calls)
				}
			})
		})
	}
}

type listening struct {
	net.Conn
	reads atomic.Int64
}

func (l *listening) Read(b []byte) (int, error) {
	l.reads.Add(1)
	return l.Conn.Read(b)
}

// TestHalfWritten: the connection broke inside the request.
func TestHalfWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := piped(t, func(c net.Conn) { c.Read(make([]byte, 9)) }).Send(t.Context(), refresh(t, "http://127.0.0.1/"), nil)
		check(t, a, err, want{phase: "write", sent: true})
	})
}

// TestSilentProxy: the deadline holds while a proxy is asked.
func TestSilentProxy(t *testing.T) {
	for _, proxy := range []string{"http://p.example", "https://p.example", "socks5://p.example"} {
		synctest.Test(t, func(t *testing.T) {
			c := piped(t, func(c net.Conn) { io.Copy(io.Discard, c) })
			c.Proxy = via(proxy)
			start := time.Now()
			a, err := c.Send(t.Context(), refresh(t, "https://as.example/"), nil)
			check(t, a, err, want{phase: "deadline"})
			if d := time.Since(start); d != 30*time.Second {
				t.Errorf("%s: took %v", proxy, d)
			}
		})
	}
}

// TestEarlyAnswer: a server that answers unasked is not read before the request
// has left, and does not get text into the process's log (see TestMain).
func TestEarlyAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := piped(t, func(c net.Conn) {
			go io.Copy(io.Discard, c)
			io.WriteString(c, ok(`{"early":true}`))
		})
		dial, conn := c.Dial, new(listening)
		c.Dial = func(ctx context.Context, network, addr string) (_ net.Conn, err error) {
			conn.Conn, err = dial(ctx, network, addr)
			return conn, err
		}
		a, err := c.Send(t.Context(), refresh(t, "http://127.0.0.1/"), func() error {
			synctest.Wait() // the answer stands in the pipe
			if conn.reads.Load() > 0 {
				t.Error("read before the request had left")
			}
			return nil
		})
		if err != nil || string(a.Body) != `{"early":true}` {
			t.Errorf("%v, %v", a, err)
		}
	})
}
