package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

// An api is an upstream that wants a living access token, and a proxy to it.
type api struct {
	*bed
	url   string // of the proxy
	up    *httptest.Server
	calls atomic.Int64
	fails atomic.Int64 // calls that were answered 401

	log  lockedBuffer // of the proxy in this process, with -v
	http *http.Client // with connections of its own, that follows no redirect
	stop func()       // ends the proxy and waits
}

// newAPI starts an upstream with a handler for authorized requests, and a proxy
// inside this process. path is put behind the upstream's address.
func newAPI(t *testing.T, path string, origins []string, serve http.HandlerFunc) *api {
	t.Helper()
	a := &api{bed: newBedOf(t, idptest.Generic, idptest.Habits{Rotation: true})}
	a.up = httptest.NewServer(a.guarded(serve))
	t.Cleanup(a.up.Close)
	a.listen(path, origins)
	a.http = &http.Client{
		Transport:     &http.Transport{DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(a.http.CloseIdleConnections)
	return a
}

// guarded lets requests with a living token through; others do without their
// body being read.
func (a *api) guarded(serve http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.calls.Add(1)
		if r.ContentLength < 0 { // a stream: net/http should not wait for its end before the 401 leaves
			http.NewResponseController(w).EnableFullDuplex()
		}
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if _, _, living := a.FindAccess(token); !living {
			a.fails.Add(1)
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			if r.ContentLength < 0 {
				w.Header().Set("Connection", "close")
			}
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, "this token has ended")
			return
		}
		serve(w, r)
	})
}

func (a *api) listen(path string, origins []string) {
	t := a.t
	t.Helper()
	src, err := evergrant.OpenFile(a.path, evergrant.Config{ClientID: clientID, TokenURL: a.base + a.route})
	if err != nil {
		t.Fatal(err)
	}
	l, err := listenLoopback("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to, err := upstreamURL(a.up.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	base := &http.Transport{DisableCompression: true}
	p := newProxy(src.Client(evergrant.ClientOptions{Hosts: []string{to.Host}, Base: base}).Transport, to, l.Addr(), origins)
	p.u, p.verbose, p.parting = newUI(io.Discard, &a.log), true, 100*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- p.serve(ctx, l) }()
	a.url = "http://" + l.Addr().String()
	a.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serving: %v", err)
		}
		base.CloseIdleConnections()
		src.Close()
	})
	t.Cleanup(a.stop)
}

// lockedBuffer is a buffer for several writers.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// expire ends the access token at the provider, unknown to the proxy.
func (a *api) expire() {
	a.t.Helper()
	if err := a.Expire(a.id); err != nil {
		a.t.Fatal(err)
	}
}

func (a *api) do(r *http.Request, err error) *http.Response {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
	resp, err := a.http.Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func (a *api) get(path string) *http.Response {
	a.t.Helper()
	return a.do(http.NewRequest("GET", a.url+path, nil))
}

func (a *api) text(resp *http.Response) string {
	a.t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Errorf("reading the answer: %v", err)
	}
	return string(b)
}

// wantSent checks how many refreshes and calls there were.
func (a *api) wantSent(refreshes int, calls int64) {
	a.t.Helper()
	a.WaitIdle(5 * time.Second)
	if n := a.sent(); n != refreshes || a.calls.Load() != calls {
		a.t.Errorf("%d refreshes and %d calls, want %d and %d", n, a.calls.Load(), refreshes, calls)
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body) // net/http forgets what is not read when the answer begins
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Write(b)
}

// proxyProcess is a running `evergrant proxy`.
type proxyProcess struct {
	url string
	end func() ran // SIGTERM, and its end
}

// proxy starts the program as a proxy for the bed's token file.
func (b *bed) proxy(args ...string) *proxyProcess {
	b.t.Helper()
	c := b.command(append(append([]string{"proxy", b.path}, b.identity()...), args...)...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	p := &proxyProcess{}
	p.end = sync.OnceValue(func() ran {
		if err := c.Process.Signal(os.Interrupt); err != nil { // there is no such thing on Windows
			c.Process.Kill()
		}
		rest, _ := io.ReadAll(lines)
		c.Wait()
		return ran{c.ProcessState.ExitCode(), first + string(rest), stderr.String()}
	})
	b.t.Cleanup(func() { p.end() })
	at, ok := strings.CutPrefix(strings.TrimSpace(first), "listening on ")
	if !ok || err != nil {
		b.t.Fatalf("it printed %q, %v, %+v", first, err, p.end())
	}
	p.url = at
	return p
}

// command is the program, not started yet.
func (b *bed) command(args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	b.t.Cleanup(cancel)
	c := exec.CommandContext(ctx, "evergrant", args...)
	c.Env, c.Dir = b.env, b.dir
	return c
}
