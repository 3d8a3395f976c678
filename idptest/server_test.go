package idptest_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

// A bed is one server and a client that talks to it as a program would: a new
// connection for each request, no redirects.
type bed struct {
	*testing.T
	s     *idptest.Server
	base  string
	token string // path of the token endpoint
	http  *http.Client
}

// listen starts a server on a loopback socket.
func listen(t *testing.T, c idptest.Config) *bed {
	t.Helper()
	s := idptest.New(c)
	base, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return newBed(t, c, s, base, &http.Transport{DisableKeepAlives: true})
}

// listenTLS is listen over TLS.
func listenTLS(t *testing.T, c idptest.Config) *bed {
	t.Helper()
	s := idptest.New(c)
	base, ca, err := s.ListenTLS("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return newBed(t, c, s, base, &http.Transport{DisableKeepAlives: true, TLSClientConfig: trust(ca)})
}

func newBed(t *testing.T, c idptest.Config, s *idptest.Server, base string, tr *http.Transport) *bed {
	b := &bed{T: t, s: s, base: base, token: "/token"}
	if c.Persona == idptest.Salesforce {
		b.token = "/services/oauth2/token"
	}
	b.http = &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(tr.CloseIdleConnections)
	return b
}

// bubble starts a server on pipes, for use inside a synctest bubble.
func bubble(t *testing.T, c idptest.Config) *bed {
	t.Helper()
	s := idptest.New(c)
	ln := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	hs := &http.Server{Handler: s}
	var wg sync.WaitGroup
	wg.Go(func() { hs.Serve(ln) })
	t.Cleanup(func() { s.Close(); hs.Close(); wg.Wait() })
	return newBed(t, c, s, "http://sim.test", &http.Transport{DisableKeepAlives: true, DialContext: ln.dial})
}

type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case l.conns <- b:
		return a, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// An answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
	err    error // of the exchange or of reading the body
}

func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatalf("reading answer %d %q: %v", a.status, a.body, err)
	}
	return m
}

func (a answer) member(name string) string {
	var m map[string]any
	json.Unmarshal([]byte(a.body), &m) // members of something else are ""
	v, _ := m[name].(string)
	return v
}

func (b *bed) do(r *http.Request) answer {
	resp, err := b.http.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 66<<20))
	return answer{resp.StatusCode, resp.Header, string(body), err}
}

func (b *bed) post(path string, pairs ...string) answer {
	b.Helper()
	return b.postContext(b.Context(), path, pairs...)
}

func (b *bed) postContext(ctx context.Context, path string, pairs ...string) answer {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	r, _ := http.NewRequestWithContext(ctx, http.MethodPost, b.base+path, strings.NewReader(v.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(r)
}

func (b *bed) get(path, bearer string) answer {
	r, _ := http.NewRequestWithContext(b.Context(), http.MethodGet, b.base+path, nil)
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	return b.do(r)
}

// refresh presents a refresh token.
func (b *bed) refresh(rt string, more ...string) answer {
	b.Helper()
	return b.post(b.token, append([]string{"grant_type", "refresh_token", "refresh_token", rt, "client_id", "app"}, more...)...)
}

func (b *bed) grant() idptest.Grant {
	return b.s.NewGrant(idptest.GrantSpec{ClientID: "app"})
}

// last is the newest entry of the ledger.
func (b *bed) last() idptest.Entry {
	b.Helper()
	l := b.s.Ledger()
	if len(l) == 0 {
		b.Fatal("the ledger is empty")
	}
	return l[len(l)-1]
}

func (b *bed) wantVerdict(want string) {
	b.Helper()
	if got := b.last().Verdict; got != want {
		b.Errorf("verdict = %q, want %q", got, want)
	}
}

func (b *bed) wantError(a answer, code, description string) {
	b.Helper()
	if a.status != 400 || a.member("error") != code || a.member("error_description") != description {
		b.Errorf("answer = %d %s, want 400 %s / %s", a.status, a.body, code, description)
	}
}

func (b *bed) wantOK(a answer) {
	b.Helper()
	if a.err != nil || a.status != 200 || a.member("access_token") == "" {
		b.Fatalf("answer = %d %q, %v; want tokens", a.status, a.body, a.err)
	}
}

const dead = "expired access/refresh token"

// TestLedger checks every member of an entry against one request.
func TestLedger(t *testing.T) {
	b := listen(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
	g := b.grant()
	r, _ := http.NewRequest(http.MethodPost, b.base+"/token?z=1", strings.NewReader("grant_type=refresh_token&foo=2&refresh_token="+g.RefreshToken+"&client_id=app"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded;charset=UTF-8")
	r.Header.Set("Idempotency-Key", "x")
	r.Header.Set("Accept", "application/json")
	r.SetBasicAuth("app", "")
	b.wantOK(b.do(r))
	e := b.last()
	if strings.Join(e.Params, " ") != "z grant_type foo refresh_token client_id" {
		t.Errorf("params = %q", e.Params)
	}
	if !e.IdempotencyKey || e.AuthScheme != "Basic" || e.Accept != "application/json" || e.ContentType != "application/x-www-form-urlencoded" {
		t.Errorf("headers wrong in %+v", e)
	}
	if e.GrantID != g.ID || e.Generation != 1 || e.NewGeneration != 2 || e.AccessNumber != 2 || e.Verdict != idptest.Issued || !e.Processed || !e.Delivered || e.Status != 200 {
		t.Errorf("judgement wrong in %+v", e)
	}
	if e.Path != "/token" || e.Method != "POST" || e.ClientID != "app" || e.GrantType != "refresh_token" || e.Conn == "" || e.Seq != 1 || e.TLS {
		t.Errorf("request wrong in %+v", e)
	}
	text, _ := json.Marshal(b.s.Ledger())
	if strings.Contains(string(text), g.RefreshToken) || strings.Contains(string(text), g.AccessToken) {
		t.Error("the ledger holds a token")
	}
}

func TestSameSeedSameTokens(t *testing.T) {
	tokens := func(seed string) string {
		s := idptest.New(idptest.Config{Seed: seed, Mark: "CANARY", Persona: idptest.Salesforce})
		g := s.NewGrant(idptest.GrantSpec{})
		return g.AccessToken + " " + g.RefreshToken
	}
	a, b, c := tokens("1"), tokens("1"), tokens("2")
	if a != b {
		t.Error("one seed gave different tokens")
	}
	if a == c {
		t.Error("two seeds gave the same tokens")
	}
	if strings.Count(a, "CANARY") != 2 {
		t.Errorf("tokens %q lack the mark", a)
	}
}

func TestTokenFile(t *testing.T) {
	s := idptest.New(idptest.Config{Persona: idptest.Salesforce, IdentityBase: "https://login.salesforce.com"})
	g := s.NewGrant(idptest.GrantSpec{InstanceURL: "https://x.my.salesforce.com", Scope: "refresh_token id"})
	lines := strings.Split(string(g.TokenFile()), "\r\n")
	want := []string{"{", `  "access_token": "`, `  "refresh_token": "5Aep`, `  "signature": "`, `  "scope": "refresh_token id",`,
		`  "instance_url": "https://x.my.salesforce.com",`, `  "id": "https://login.salesforce.com/id/00D`, `  "token_type": "Bearer",`, `  "issued_at": "`, "}"}
	if len(lines) != len(want) {
		t.Fatalf("file has %d lines, want %d:\n%s", len(lines), len(want), g.TokenFile())
	}
	for i, w := range want {
		if !strings.HasPrefix(lines[i], w) {
			t.Errorf("line %d = %q, want %q…", i, lines[i], w)
		}
	}
	if strings.Contains(string(g.TokenJSON()), "\r") {
		t.Error("TokenJSON has CR")
	}
}

// TestOneOfManyWins is rotation under concurrency: of 64 requests with one
// refresh token, held until all wait, one is processed.
func TestOneOfManyWins(t *testing.T) {
	const n = 64
	for _, tt := range []struct {
		name     string
		persona  idptest.Persona
		verdict  string // of the losers
		survives bool
	}{
		{"salesforce busy", idptest.Salesforce, idptest.Busy, true},
		{"generic reuse", idptest.Generic, idptest.Reuse, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := listen(t, idptest.Config{Persona: tt.persona, Habits: idptest.Habits{Rotation: true}})
			g := b.grant()
			b.s.Hold(n)
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() { b.refresh(g.RefreshToken) })
			}
			wg.Wait()
			b.s.WaitIdle(5 * time.Second)
			count := map[string]int{}
			processed := 0
			for _, e := range b.s.TokenRequests(g.ID) {
				if e.Generation != 1 || !e.Delivered || !e.Done {
					t.Errorf("entry %+v", e)
				}
				count[e.Verdict]++
				if e.Processed && e.Verdict == idptest.Issued {
					processed++
				}
			}
			switch {
			case processed != 1 || count[idptest.Issued] != 1:
				t.Errorf("issued %d times, %v", processed, count)
			case tt.survives && count[tt.verdict] != n-1:
				t.Errorf("verdicts %v, want %d × %s", count, n-1, tt.verdict)
			case !tt.survives && count[tt.verdict] < 1:
				t.Errorf("verdicts %v, want a %s", count, tt.verdict)
			}
			if st := b.s.GrantState(g.ID); st.Revoked == tt.survives {
				t.Errorf("revoked = %t (%s)", st.Revoked, st.Why)
			}
		})
	}
}

// TestClientLeaves: what a client that went away never got is not delivered,
// and was processed all the same.
func TestClientLeaves(t *testing.T) {
	for _, start := range []func(*testing.T, idptest.Config) *bed{listen, listenTLS} {
		t.Run("while waiting", func(t *testing.T) {
			b := start(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
			g := b.grant()
			b.s.HoldUntilReleased()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				b.postContext(ctx, b.token, "grant_type", "refresh_token", "refresh_token", g.RefreshToken, "client_id", "app")
				close(done)
			}()
			for b.s.Waiting() == 0 {
				time.Sleep(time.Millisecond)
			}
			cancel()
			<-done
			time.Sleep(50 * time.Millisecond) // the end travels through TLS and net/http
			b.s.Release()
			if !b.s.WaitIdle(5 * time.Second) {
				t.Fatal("never idle")
			}
			if e := b.last(); !e.Processed || e.Delivered || e.Verdict != idptest.Issued || !e.Done {
				t.Errorf("entry %+v, want processed and not delivered", e)
			}
			if st := b.s.GrantState(g.ID); st.Generation != 2 {
				t.Errorf("generation = %d, want 2", st.Generation)
			}
		})
	}
	for _, keepAlive := range []string{"", "Connection: close\r\n"} {
		t.Run("without reading "+keepAlive, func(t *testing.T) {
			b := listen(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
			g := b.grant()
			body := "grant_type=refresh_token&client_id=app&refresh_token=" + g.RefreshToken
			conn, err := net.Dial("tcp", strings.TrimPrefix(b.base, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(conn, "POST /token HTTP/1.1\r\nHost: 127.0.0.1\r\n"+keepAlive+"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: "+itoa(len(body))+"\r\n\r\n"+body)
			for len(b.s.Ledger()) == 0 || !b.last().Done {
				time.Sleep(time.Millisecond)
			}
			if !b.last().Delivered {
				t.Error("not delivered while the client is still there")
			}
			conn.Close() // with the answer unread: the system resets
			if !b.s.WaitIdle(5 * time.Second) {
				t.Fatal("never idle")
			}
			if e := b.last(); !e.Processed || e.Delivered {
				t.Errorf("entry %+v, want processed and not delivered", e)
			}
		})
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

// TestDeliveredStays: clients that read their answers and leave in an orderly
// way keep Delivered, on fresh and on kept connections, many at once.
func TestDeliveredStays(t *testing.T) {
	b := listen(t, idptest.Config{Persona: idptest.Salesforce, Habits: idptest.Habits{MaxApprovals: -1}})
	kept := &http.Transport{}
	defer kept.CloseIdleConnections()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			c := *b
			if i%2 == 0 {
				c.http = &http.Client{Transport: kept}
			}
			g := c.grant()
			for range 25 {
				c.refresh(g.RefreshToken)
			}
		})
	}
	wg.Wait()
	kept.CloseIdleConnections()
	if !b.s.WaitIdle(5 * time.Second) {
		t.Fatal("never idle")
	}
	for _, e := range b.s.Ledger() {
		if !e.Delivered || e.Verdict != idptest.Issued {
			t.Fatalf("entry %+v", e)
		}
	}
}

func TestCloseEndsEverything(t *testing.T) {
	s := idptest.New(idptest.Config{Habits: idptest.Habits{Fault: "endless"}})
	base, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := newBed(t, idptest.Config{}, s, base, &http.Transport{DisableKeepAlives: true})
	var wg sync.WaitGroup
	for _, f := range []idptest.Fault{"none", "delay-before=1h", "delay-after=1h", "hang-before", "drip", "endless"} {
		s.Next(f)
		wg.Go(func() {
			r, _ := http.NewRequest(http.MethodPost, base+"/token", strings.NewReader("grant_type=client_credentials&client_id=app&client_secret=x"))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if resp, err := b.http.Do(r); err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
	for len(s.Ledger()) < 6 {
		time.Sleep(time.Millisecond)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	for _, e := range s.Ledger() {
		if !e.Done {
			t.Errorf("after Close: %+v", e)
		}
	}
	if _, err := s.Listen("127.0.0.1:0"); err == nil {
		t.Error("Listen after Close succeeded")
	}
}

func TestTLS(t *testing.T) {
	for _, tt := range []struct {
		flaw string
		ok   bool
	}{{"", true}, {"expired", false}, {"wrong-name", false}} {
		t.Run(tt.flaw, func(t *testing.T) {
			s := idptest.New(idptest.Config{Certificate: tt.flaw})
			base, ca, err := s.ListenTLS("127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			b := newBed(t, idptest.Config{}, s, base, &http.Transport{DisableKeepAlives: true, TLSClientConfig: trust(ca)})
			a := b.refresh(b.grant().RefreshToken)
			if (a.err == nil) != tt.ok {
				t.Errorf("error = %v", a.err)
			}
			if l := len(s.Ledger()); (l == 1) != tt.ok {
				t.Errorf("%d requests in the ledger", l)
			}
			if tt.ok && (!b.last().TLS || !b.last().Delivered) {
				t.Errorf("entry %+v", b.last())
			}
		})
	}
}
