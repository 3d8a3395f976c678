package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/idptest"
)

// TestProxyRenewsOnce: many requests with an ended token make one refresh, and
// each is made again once, whole.
func TestProxyRenewsOnce(t *testing.T) {
	a := newAPI(t, "", nil, echo)
	a.expire()
	const callers = 30
	want := strings.Repeat("body ", 1000)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			resp, err := a.http.Post(a.url+"/x", "text/plain", strings.NewReader(want))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(got) != want || err != nil {
				t.Errorf("status %d, %d bytes, %v", resp.StatusCode, len(got), err)
			}
		})
	}
	wg.Wait()
	a.wantSent(1, callers+a.fails.Load())
}

// TestProxySecondRejection: a token that is refused although it is new is not
// renewed again, and the second 401 is the client's.
func TestProxySecondRejection(t *testing.T) {
	a := newAPI(t, "", nil, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, "and this one too")
	})
	a.expire()
	if resp := a.get("/"); resp.StatusCode != 401 || a.text(resp) != "and this one too" {
		t.Errorf("status %d", resp.StatusCode)
	}
	a.wantSent(1, 2)
	if resp := a.get("/"); resp.StatusCode != 401 {
		t.Errorf("status %d", resp.StatusCode)
	}
	a.wantSent(1, 3)
}

// TestProxyOtherRefusals: a 401 that another token does not mend costs nothing.
func TestProxyOtherRefusals(t *testing.T) {
	a := newAPI(t, "", nil, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	if resp := a.get("/"); resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("status %d, %v", resp.StatusCode, resp.Header)
	}
	a.wantSent(0, 1)
}

func TestProxyLargeBodyIsNotReplayed(t *testing.T) {
	a := newAPI(t, "", nil, echo)
	a.up.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // a 401 that comes sooner finds less than the bound read
		r.Body = io.NopCloser(bytes.NewReader(body))
		a.guarded(echo).ServeHTTP(w, r)
	})
	a.expire()
	large := strings.Repeat("x", replayBound+1)
	resp := a.do(http.NewRequest("POST", a.url+"/", strings.NewReader(large)))
	if resp.StatusCode != 401 || a.text(resp) != "this token has ended" {
		t.Errorf("status %d", resp.StatusCode)
	}
	a.wantSent(1, 1)
	resp = a.do(http.NewRequest("POST", a.url+"/", strings.NewReader(large)))
	if got := a.text(resp); resp.StatusCode != 200 || got != large {
		t.Errorf("the next request: status %d, %d bytes", resp.StatusCode, len(got))
	}
	a.wantSent(1, 2)

	a.expire() // too young to be renewed: a body of exactly the bound shows in the calls alone
	a.do(http.NewRequest("POST", a.url+"/", strings.NewReader(large[:replayBound])))
	a.wantSent(1, 3)
}

// TestProxyReplaysUpToTheBound: what fits is sent again to the last byte,
// whether its length was announced or not.
func TestProxyReplaysUpToTheBound(t *testing.T) {
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"announced": func(r io.Reader) io.Reader { return r },
		"chunked":   func(r io.Reader) io.Reader { return struct{ io.Reader }{r} },
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, "", nil, echo)
			a.up.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(body))
				a.guarded(echo).ServeHTTP(w, r)
			})
			a.expire()
			want := strings.Repeat("0123456789abcdef", replayBound/16)
			resp := a.do(http.NewRequest("PUT", a.url+"/", wrap(strings.NewReader(want))))
			if got := a.text(resp); resp.StatusCode != 200 || got != want {
				t.Errorf("status %d, %d bytes of %d", resp.StatusCode, len(got), len(want))
			}
			a.wantSent(1, 2)
		})
	}
}

// TestProxyStreamsBothWays: what the client writes arrives before it has
// written all, and so does the answer; also where the first try was refused in
// the middle of the request.
func TestProxyStreamsBothWays(t *testing.T) {
	for _, ended := range []bool{false, true} {
		t.Run(fmt.Sprintf("ended token %v", ended), func(t *testing.T) {
			a := newAPI(t, "", nil, func(w http.ResponseWriter, r *http.Request) {
				for s := bufio.NewScanner(r.Body); s.Scan(); {
					fmt.Fprintf(w, "got %s\n", s.Text())
					http.NewResponseController(w).Flush()
				}
			})
			if ended {
				a.expire()
			}
			body, write := io.Pipe()
			go fmt.Fprintln(write, "one")
			resp := a.do(http.NewRequest("POST", a.url+"/", body))
			answers := bufio.NewScanner(resp.Body)
			for _, word := range []string{"one", "two", "three"} {
				if !answers.Scan() || answers.Text() != "got "+word {
					t.Fatalf("%q, %v", answers.Text(), answers.Err())
				}
				if word != "three" {
					fmt.Fprintln(write, map[string]string{"one": "two", "two": "three"}[word])
				}
			}
			write.Close()
			if answers.Scan() {
				t.Errorf("more came: %q", answers.Text())
			}
			if ended {
				a.wantSent(1, 2)
			}
		})
	}
}

// TestProxyStreamsAnnounced: an answer whose length is known is not collected
// either.
func TestProxyStreamsAnnounced(t *testing.T) {
	on := make(chan struct{})
	a := newAPI(t, "", nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "6")
		io.WriteString(w, "one")
		http.NewResponseController(w).Flush()
		select {
		case <-on:
			io.WriteString(w, "two")
		case <-r.Context().Done():
		}
	})
	resp := a.get("/")
	first := make([]byte, 3)
	if _, err := io.ReadFull(resp.Body, first); string(first) != "one" || err != nil {
		t.Fatalf("%q, %v", first, err)
	}
	close(on)
	if rest := a.text(resp); rest != "two" {
		t.Errorf("%q", rest)
	}
}

// TestProxyServerSentEvents: each event arrives before the next is made.
func TestProxyServerSentEvents(t *testing.T) {
	next := make(chan struct{})
	a := newAPI(t, "", nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			http.NewResponseController(w).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	})
	a.expire()
	resp := a.get("/events")
	events := bufio.NewReader(resp.Body)
	for i := range 3 {
		if line, err := events.ReadString('\n'); line != fmt.Sprintf("data: %d\n", i) || err != nil {
			t.Fatalf("%q, %v", line, err)
		}
		events.ReadString('\n')
		next <- struct{}{}
	}
	if resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("header %v", resp.Header)
	}
	a.wantSent(1, 2)
}

// TestProxyEarlyAnswers: an answer that comes before the request is read gets
// through to its end, with what the client still sends thrown away, and the
// connection serves the next request where the request did end.
func TestProxyEarlyAnswers(t *testing.T) {
	for name, row := range map[string]struct {
		body func() io.Reader
		kept bool
	}{
		"small":       {func() io.Reader { return strings.NewReader(strings.Repeat("x", 100<<10)) }, true},
		"chunked":     {func() io.Reader { return struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 100<<10))} }, true},
		"large":       {func() io.Reader { return strings.NewReader(strings.Repeat("x", 32<<20)) }, false},
		"endless":     {func() io.Reader { return endless{} }, false},
		"no more now": {func() io.Reader { return io.MultiReader(strings.NewReader("x"), stuck{t.Context()}) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, "", nil, echo)
			want := strings.Repeat("too much ", 1000)
			a.up.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.NewResponseController(w).EnableFullDuplex()
				w.Header().Set("Connection", "close")
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				io.WriteString(w, want)
			})
			var kept atomic.Int64 // requests on a connection that had served one
			trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
				if i.Reused {
					kept.Add(1)
				}
			}}
			for range 5 {
				resp := a.do(http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "POST", a.url+"/", row.body()))
				if got := a.text(resp); resp.StatusCode != 413 || got != want {
					t.Fatalf("status %d, %d bytes", resp.StatusCode, len(got))
				}
				if !row.kept {
					break
				}
			}
			if row.kept != (kept.Load() > 0) {
				t.Errorf("the connection served another request: %v", !row.kept)
			}
			a.stop()
			if log := a.log.String(); strings.Contains(log, "panic") {
				t.Error(log)
			}
		})
	}
}

// TestProxyHangsUp: a client that has its answer and neither ends its request
// nor goes is let go.
func TestProxyHangsUp(t *testing.T) {
	a := newAPI(t, "", nil, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Connection", "close") })
	c, err := net.Dial("tcp", strings.TrimPrefix(a.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", strings.TrimPrefix(a.url, "http://"))
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if b, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 200 ") {
		t.Errorf("%q, %v", b, err)
	}
}

// endless is a body that does not end, and stuck one that brings nothing more.
type (
	endless struct{}
	stuck   struct{ until context.Context }
)

func (endless) Read(b []byte) (int, error) { return len(b), nil }
func (s stuck) Read([]byte) (int, error)   { <-s.until.Done(); return 0, io.EOF }

func TestProxyTrailers(t *testing.T) {
	a := newAPI(t, "", nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Sum")
		io.Copy(w, r.Body)
		w.Header().Set("Sum", "of "+r.Trailer.Get("Part"))
	})
	a.expire()
	r, err := http.NewRequest("POST", a.url+"/", struct{ io.Reader }{strings.NewReader("body")})
	if err == nil {
		r.Trailer = http.Header{"Part": {"seven"}}
	}
	resp := a.do(r, err)
	if got := a.text(resp); got != "body" || resp.Trailer.Get("Sum") != "of seven" {
		t.Errorf("%q, trailer %v", got, resp.Trailer)
	}
}

// TestProxyWebSocket: the upgrade carries the token, is made again with a new
// one after a 401, and has the API's origin where a page of the proxy asked.
func TestProxyWebSocket(t *testing.T) {
	a := newAPI(t, "/ws", nil, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil) // refuses a foreign Origin
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, text, err := c.Read(r.Context())
			if err != nil {
				return
			}
			c.Write(r.Context(), kind, append([]byte("got "), text...))
		}
	})
	a.expire()
	for _, header := range []http.Header{nil, {"Origin": {a.url}}} {
		c, resp, err := websocket.Dial(t.Context(), a.url+"/chat", &websocket.DialOptions{HTTPClient: a.http, HTTPHeader: header})
		if err != nil {
			t.Fatal(err, resp)
		}
		for _, word := range []string{"one", "two"} {
			c.Write(t.Context(), websocket.MessageText, []byte(word))
			if _, got, err := c.Read(t.Context()); string(got) != "got "+word || err != nil {
				t.Fatalf("%q, %v", got, err)
			}
		}
		c.Close(websocket.StatusNormalClosure, "")
	}
	a.wantSent(1, 3)
}

// TestProxyDPoP: a token that is bound to a key goes out with a proof for the
// request to the upstream, as RFC9449 §7.1 wants it; the client's own is dropped.
func TestProxyDPoP(t *testing.T) {
	a := newAPI(t, "/v1", nil, nil)
	a.stop()
	a.write([]byte(strings.NewReplacer(`"Bearer"`, `"DPoP"`).Replace(strings.Replace(a.read(), "{", `{"dpop_jwk":`+newJWK(t)+",", 1))))
	var claims struct{ HTM, HTU string }
	a.up.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if proof := r.Header.Get("DPoP"); r.Header.Get("Authorization") == "DPoP "+a.grant.AccessToken && strings.Count(proof, ".") == 2 {
			b, _ := base64.RawURLEncoding.DecodeString(strings.Split(proof, ".")[1])
			json.Unmarshal(b, &claims)
		}
	})
	a.listen("/v1", nil)
	r, err := http.NewRequest("POST", a.url+"/things?x=1", strings.NewReader("body"))
	if err == nil {
		r.Header.Set("DPoP", "mine")
	}
	a.do(r, err)
	if claims.HTM != "POST" || claims.HTU != a.up.URL+"/v1/things" {
		t.Errorf("the proof is for %+v", claims)
	}
}

// TestProxyHTTP2: clients that speak HTTP/2 without TLS (gRPC) are served.
func TestProxyHTTP2(t *testing.T) {
	a := newAPI(t, "", nil, echo)
	var only http.Protocols
	only.SetUnencryptedHTTP2(true)
	two := &http.Transport{Protocols: &only}
	defer two.CloseIdleConnections()
	a.http.Transport = two
	resp := a.do(http.NewRequest("POST", a.url+"/", strings.NewReader("body")))
	if got := a.text(resp); resp.ProtoMajor != 2 || got != "body" {
		t.Errorf("%s, %q", resp.Proto, got)
	}
}

// TestProxyRefuses: requests that a web page could have made, or that mean
// another host, reach neither the API nor the provider.
func TestProxyRefuses(t *testing.T) {
	a := newAPI(t, "/v1", []string{"http://localhost:5173"}, echo)
	port := a.url[strings.LastIndex(a.url, ":"):]
	for name, row := range map[string]struct {
		host, path string
		header     []string
		want       int
	}{
		"own host":                        {"", "/", nil, 200},
		"localhost":                       {"LocalHost" + port, "/", nil, 200},
		"IPv6 loopback":                   {"[::1]" + port, "/", nil, 200},
		"DNS rebinding":                   {"evil.example" + port, "/", nil, 403},
		"host without port":               {"127.0.0.1", "/", nil, 403},
		"host of another port":            {"127.0.0.1:1", "/", nil, 403},
		"the upstream's own name":         {strings.TrimPrefix(a.up.URL, "http://"), "/", nil, 403},
		"own origin":                      {"", "/", []string{"Origin", a.url}, 200},
		"own origin by name":              {"", "/", []string{"Origin", "http://localhost" + port}, 200},
		"allowed origin":                  {"", "/", []string{"Origin", "http://localhost:5173", "Sec-Fetch-Site", "same-site"}, 200},
		"foreign origin":                  {"", "/", []string{"Origin", "https://evil.example"}, 403},
		"own name, other scheme":          {"", "/", []string{"Origin", "https://127.0.0.1" + port}, 403},
		"sandboxed page":                  {"", "/", []string{"Origin", "null"}, 403},
		"two origins":                     {"", "/", []string{"Origin", a.url, "Origin", "https://evil.example"}, 403},
		"image of a foreign page":         {"", "/", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		"page of another port":            {"", "/", []string{"Sec-Fetch-Site", "same-site"}, 403},
		"typed address":                   {"", "/", []string{"Sec-Fetch-Site", "none"}, 200},
		"path that leads out":             {"", "/../admin", nil, 403},
		"path that leads out, encoded":    {"", "/%2e%2E/admin", nil, 403},
		"path that leads out, backslash":  {"", `/x\..\..\admin`, nil, 403},
		"path that leads out, parameters": {"", "/..;a=b/admin", nil, 403},
		"dots that lead nowhere":          {"", "/a..b/...", nil, 200},
	} {
		t.Run(name, func(t *testing.T) {
			before := a.calls.Load()
			r, err := http.NewRequest("GET", a.url, nil)
			if err == nil {
				r.URL.Opaque, r.Host = row.path, row.host
				for i := 0; i < len(row.header); i += 2 {
					r.Header.Add(row.header[i], row.header[i+1])
				}
			}
			if row.path == "/" {
				r.URL.Opaque = ""
			}
			resp := a.do(r, err)
			if resp.StatusCode != row.want {
				t.Errorf("status %d, want %d: %s", resp.StatusCode, row.want, a.text(resp))
			}
			if reached := a.calls.Load() > before; reached != (row.want == 200) {
				t.Errorf("the API was reached: %v", reached)
			}
		})
	}
	a.wantSent(0, a.calls.Load())
}

// TestProxyForward: as a forward proxy it serves nobody, and no target gets past
// the upstream's path, names another host to it, or shows the token.
func TestProxyForward(t *testing.T) {
	a := newAPI(t, "/v1", nil, echo)
	for _, ask := range []string{
		"GET http:http://other.example/admin HTTP/1.1\r\nHost: " + strings.TrimPrefix(a.url, "http://") + "\r\n\r\n",
		"GET x:admin HTTP/1.1\r\nHost: " + strings.TrimPrefix(a.url, "http://") + "\r\n\r\n",
		"GET http://other.example/ HTTP/1.1\r\nHost: other.example\r\n\r\n",
		"GET http://other.example/ HTTP/1.1\r\nHost: " + strings.TrimPrefix(a.url, "http://") + "\r\n\r\n",
		"CONNECT other.example:443 HTTP/1.1\r\nHost: other.example:443\r\n\r\n",
		"TRACE / HTTP/1.1\r\nHost: " + strings.TrimPrefix(a.url, "http://") + "\r\n\r\n",
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(a.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, ask)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 403 {
			t.Errorf("%q: %v, %v", ask, resp, err)
		}
		c.Close()
	}
	a.wantSent(0, 0)
}

// TestProxyKeepsTheToken: a redirect is the client's to follow, without the
// token.
func TestProxyKeepsTheToken(t *testing.T) {
	var seen atomic.Value
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen.Store(fmt.Sprint(r.Header)) }))
	defer other.Close()
	a := newAPI(t, "", nil, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/there", http.StatusTemporaryRedirect)
	})
	resp := a.get("/")
	if resp.StatusCode != 307 || resp.Header.Get("Location") != other.URL+"/there" {
		t.Errorf("status %d, %v", resp.StatusCode, resp.Header)
	}
	if seen.Load() != nil {
		t.Error("the proxy followed the redirect")
	}
	a.http.CheckRedirect = nil
	a.get("/")
	if text, _ := seen.Load().(string); text == "" || strings.Contains(text, mark) {
		t.Errorf("the client brought there: %s", text)
	}
}

// TestProxyPassesOn is what the API sees: everything as the client sent it but
// for the token, and 9700-11: no header that only a reverse proxy may set.
func TestProxyPassesOn(t *testing.T) {
	var seen *http.Request
	a := newAPI(t, "/base/", nil, func(w http.ResponseWriter, r *http.Request) {
		seen = r
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2; Secure")
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(http.StatusTeapot)
	})
	r, err := http.NewRequest("PATCH", a.url+"/x%2Fy//z?a=1;b=%zz&&c", nil)
	if err != nil {
		t.Fatal(err)
	}
	sent := map[string]string{
		"Authorization": "Bearer mine", "Dpop": "proof", "Cookie": "session=1", "Accept": "text/x", "User-Agent": "me", "X-Api-Version": "7",
		"Forwarded": "for=10.0.0.1", "X-Forwarded-For": "10.0.0.1", "X-Forwarded-Host": "h", "X-Forwarded-Proto": "https",
		"X-Forwarded-Client-Cert": "c", "X-Real-Ip": "10.0.0.1", "Client-Cert": ":MII=:", "Proxy-Authorization": "Basic x",
	}
	for name, value := range sent {
		r.Header.Set(name, value)
	}
	resp := a.do(r, nil)
	if resp.StatusCode != 418 || len(resp.Header.Values("Set-Cookie")) != 2 || resp.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("status %d, %v", resp.StatusCode, resp.Header)
	}
	up, _ := url.Parse(a.up.URL)
	if seen.Method != "PATCH" || seen.RequestURI != "/base/x%2Fy//z?a=1;b=%zz&&c" || seen.Host != up.Host {
		t.Errorf("%s %s at %s", seen.Method, seen.RequestURI, seen.Host)
	}
	for _, name := range []string{"Cookie", "Accept", "User-Agent", "X-Api-Version"} {
		if seen.Header.Get(name) != sent[name] {
			t.Errorf("%s: %q", name, seen.Header.Get(name))
		}
		delete(sent, name)
	}
	if !strings.Contains(seen.Header.Get("Authorization"), mark) {
		t.Error("the client's own Authorization was kept")
	}
	delete(sent, "Authorization")
	for name := range sent {
		if v := seen.Header.Values(name); len(v) > 0 {
			t.Errorf("%s was passed on: %q", name, v)
		}
	}
}

// TestProxyWithoutToken: the client learns in words why there is no token, and
// whether waiting helps.
func TestProxyWithoutToken(t *testing.T) {
	for name, row := range map[string]struct {
		prepare func(*api)
		want    int
		says    string
	}{
		"the provider is away": {func(a *api) { a.SetHabits(func(h *idptest.Habits) { h.Fault = "status=503" }) }, 503, "hint: "},
		"a login is needed":    {func(a *api) { a.Revoke(a.id, "user") }, 502, "no longer accepts this login"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, "", nil, echo)
			a.stop()
			text := a.read()
			a.write([]byte(strings.Replace(text, `"access_token"`, `"old_access_token"`, 1)))
			row.prepare(a)
			a.bed.env = append(a.bed.env, "NO_PROXY=*")
			p := a.proxy("--upstream", a.up.URL, "--timeout", "300ms")
			a.url = p.url
			resp := a.get("/")
			if got := a.text(resp); resp.StatusCode != row.want || !strings.Contains(got, row.says) || strings.Contains(got, mark) {
				t.Errorf("status %d: %s", resp.StatusCode, got)
			}
			if r := p.end(); r.code != 0 && runtime.GOOS != "windows" || !strings.Contains(r.stderr, "hint: ") || strings.Contains(r.stderr, mark) {
				t.Errorf("%+v", r)
			}
			if a.calls.Load() != 0 {
				t.Error("the API was asked without a token")
			}
		})
	}
}

// TestProxyEnds: a signal ends the program when what is in flight has ended,
// and nothing new is taken meanwhile.
func TestProxyEnds(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be signalled there")
	}
	a := newAPI(t, "", nil, func(w http.ResponseWriter, r *http.Request) { echo(w, r) })
	a.stop()
	at, on := make(chan struct{}), make(chan struct{})
	a.up.Config.Handler = a.guarded(func(w http.ResponseWriter, _ *http.Request) {
		close(at)
		<-on
		io.WriteString(w, "done")
	})
	p := a.proxy("--upstream", a.up.URL, "-v")
	a.url = p.url
	got := make(chan string, 1)
	go func() {
		resp, err := a.http.Get(p.url + "/slow?secret=" + mark)
		if err != nil {
			got <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		got <- fmt.Sprint(string(b), err)
	}()
	<-at
	ended := make(chan ran, 1)
	go func() { ended <- p.end() }()
	for { // until it takes no more connections
		c, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			break
		}
		c.Close()
	}
	close(on)
	if text := <-got; text != "done<nil>" {
		t.Errorf("the request in flight came to %q", text)
	}
	r := <-ended
	if r.code != 0 || !strings.Contains(r.stderr, "GET /slow 200 4 bytes ") || strings.Contains(r.stderr, mark) || strings.Contains(r.stderr, "secret") {
		t.Errorf("%+v", r)
	}
}

// TestProxyLeavesNothing: after the end no goroutine is left of streams and
// upgraded connections, which get their time and no more.
func TestProxyLeavesNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("streams", func(t *testing.T) {
		a := newAPI(t, "", nil, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Upgrade") == "" {
				w.Write([]byte("first"))
				http.NewResponseController(w).Flush()
				<-r.Context().Done()
				return
			}
			if c, err := websocket.Accept(w, r, nil); err == nil {
				c.Read(context.Background())
				c.CloseNow()
			}
		})
		c, _, err := websocket.Dial(t.Context(), a.url, &websocket.DialOptions{HTTPClient: a.http})
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		resp := a.get("/")
		io.ReadFull(resp.Body, make([]byte, 5))
		began := time.Now()
		a.stop()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		if _, _, err := c.Read(t.Context()); err == nil {
			t.Error("the WebSocket is still open")
		}
	})
	t.Run("upgraded alone", func(t *testing.T) {
		a := newAPI(t, "", nil, func(w http.ResponseWriter, r *http.Request) {
			if c, err := websocket.Accept(w, r, nil); err == nil {
				c.Read(context.Background())
				c.CloseNow()
			}
		})
		c, _, err := websocket.Dial(t.Context(), a.url, &websocket.DialOptions{HTTPClient: a.http})
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		began := time.Now()
		a.stop()
		if took := time.Since(began); took < 100*time.Millisecond {
			t.Errorf("it was given %v", took)
		}
	})
	goleak.VerifyNone(t, before)
}

// TestProxyOwnHosts: the names of a listening address.
func TestProxyOwnHosts(t *testing.T) {
	for _, row := range []struct {
		at   string
		want string
	}{
		{"127.0.0.1:8080", "127.0.0.1:8080 127.0.0.1:8080 [::1]:8080 localhost:8080"},
		{"[::1]:8080", "[::1]:8080 127.0.0.1:8080 [::1]:8080 localhost:8080"},
		{"127.0.0.2:80", "127.0.0.2:80 127.0.0.2 127.0.0.1:80 127.0.0.1 [::1]:80 [::1] localhost:80 localhost"},
	} {
		host, port, _ := net.SplitHostPort(row.at)
		n, _ := strconv.Atoi(port)
		if got := strings.Join(ownHosts(&net.TCPAddr{IP: net.ParseIP(host), Port: n}), " "); got != row.want {
			t.Errorf("%s: %s", row.at, got)
		}
	}
}
