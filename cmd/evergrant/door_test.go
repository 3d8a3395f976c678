package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A door is an authorization server that writes down what comes in and answers
// what a test asks for, and a person who goes through it with a browser. It is
// for what a request has in it; whether a grant lives is the simulator's part.
type door struct {
	*testing.T
	base, dir string
	env       []string

	callback func(v url.Values)                        // changes what the browser brings back
	visit    func(link string)                         // what the person does in place of following the link
	answer   func(r *http.Request) (kind, body string) // of the token endpoint; nil: a grant
	metadata map[string]any                            // added to the document of discovery
	clients  int                                       // registered so far; each has a secret

	mu     sync.Mutex
	asked  url.Values // of the last authorization request, as it was meant
	pushed url.Values // by the back channel, of the last one; nil if it was not
	seen   []sight
}

// A sight is one request to the token endpoint.
type sight struct {
	*http.Request
	body string
	form url.Values
}

func newDoor(t *testing.T) *door {
	t.Helper()
	t.Parallel()
	d := &door{T: t, dir: t.TempDir()}
	srv := httptest.NewUnstartedServer(d)
	srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	d.base = srv.URL
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	d.write("ca.pem", string(ca))
	d.env = append(os.Environ(), "HOME="+d.dir, "XDG_STATE_HOME="+d.dir, "XDG_DATA_HOME="+d.dir, "TMPDIR="+d.dir, "BROWSER=none",
		"HTTP_PROXY=", "HTTPS_PROXY=", "http_proxy=", "https_proxy=", "NO_PROXY=", "no_proxy=")
	return d
}

func (d *door) write(name, text string) string {
	d.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		d.Fatal(err)
	}
	return path
}

// members are those of a token file.
func (d *door) members(name string) map[string]any {
	d.Helper()
	b, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil {
		d.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		d.Fatalf("%v in %s", err, b)
	}
	return m
}

// agree lets the race detector see the order of test and handlers, which comes
// by way of another process.
func (d *door) agree() {
	d.mu.Lock()
	defer d.mu.Unlock()
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.agree()
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ParseForm()
	switch r.URL.Path {
	case "/.well-known/oauth-authorization-server":
		m := map[string]any{"issuer": d.base, "authorization_endpoint": d.base + "/authorize", "token_endpoint": d.base + "/token",
			"code_challenge_methods_supported": []string{"S256"}}
		for name, v := range d.metadata {
			m[name] = v
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(m)
	case "/authorize":
		d.authorize(w, r)
	case "/par":
		w.Header().Set("Content-Type", "application/json")
		d.mu.Lock()
		d.pushed = r.PostForm
		d.mu.Unlock()
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"request_uri":"urn:example:1","expires_in":60}`)
	case "/token", "/mtls/token":
		d.mu.Lock()
		d.seen = append(d.seen, sight{r, string(body), r.PostForm})
		d.mu.Unlock()
		kind, text := "application/json", `{"access_token":"at-1","refresh_token":"rt-1","token_type":"Bearer","expires_in":3600,"team":{"id":7}}`
		if d.answer != nil {
			kind, text = d.answer(r)
		}
		w.Header().Set("Content-Type", kind)
		io.WriteString(w, text)
	case "/register":
		d.mu.Lock()
		d.clients++
		text := fmt.Sprintf(`{"client_id":"client-%d","client_secret":"secret-%[1]d","token_endpoint_auth_method":"client_secret_post"}`, d.clients)
		d.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, text)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// authorize approves at once. A form to be posted is a page of two lines: where
// to, and the form.
func (d *door) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	d.mu.Lock()
	if q.Has("request_uri") {
		q = d.pushed
	} else {
		d.pushed = nil
	}
	if signed := q.Get("request"); signed != "" { // RFC 9101: all that counts is in it
		_, claims := decodeJWT(d.T, signed)
		q = url.Values{"alg": {"signed"}}
		for name, v := range claims {
			if s, ok := v.(string); ok {
				q.Set(name, s)
			}
		}
	}
	d.asked = q
	d.mu.Unlock()
	v := url.Values{"code": {"the-code"}, "state": {q.Get("state")}}
	if d.callback != nil {
		d.callback(v)
	}
	if q.Get("response_mode") == "form_post" {
		io.WriteString(w, q.Get("redirect_uri")+"\n"+v.Encode())
		return
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+v.Encode(), http.StatusFound)
}

// follow does what a browser would.
func (d *door) follow(link string) {
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // the certificate is not what is looked at
	resp, err := c.Get(link)
	if err != nil {
		d.Error(err)
		return
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if to, form, ok := strings.Cut(string(body), "\n"); ok && resp.Request.URL.Path == "/authorize" {
		if resp, err = c.Post(to, "application/x-www-form-urlencoded", strings.NewReader(form)); err != nil {
			d.Error(err)
			return
		}
		resp.Body.Close()
	}
}

// redirectOf is where the door sends a browser, without going there.
func (d *door) redirectOf(link string) string {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Get(link)
	if err != nil {
		d.Error(err)
		return ""
	}
	resp.Body.Close()
	return resp.Header.Get("Location")
}

// run runs the program; if it shows the authorization URL, the person goes
// there. What visit returns to paste goes to its standard input.
func (d *door) run(args ...string) ran {
	d.Helper()
	d.agree()
	defer d.agree()
	ctx, cancel := context.WithTimeout(d.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "evergrant", args...)
	c.Dir, c.Env = d.dir, d.env
	var stdout, stderr bytes.Buffer
	c.Stdout = &stdout
	told, err := c.StderrPipe()
	if err != nil {
		d.Fatal(err)
	}
	paste, err := c.StdinPipe()
	if err != nil {
		d.Fatal(err)
	}
	defer paste.Close()
	if err := c.Start(); err != nil {
		d.Fatal(err)
	}
	var person sync.WaitGroup
	lines := bufio.NewScanner(told)
	for went := false; lines.Scan(); {
		stderr.WriteString(lines.Text() + "\n")
		link := strings.TrimSpace(lines.Text())
		if went || !strings.HasPrefix(link, d.base+"/authorize?") {
			continue
		}
		went = true // it is shown again after a stray callback
		person.Go(func() {
			switch {
			case d.visit != nil:
				d.visit(link)
			case contains(args, "--no-browser"):
				io.WriteString(paste, d.redirectOf(link)+"\n")
			default:
				d.follow(link)
			}
		})
	}
	person.Wait()
	var exit *exec.ExitError
	if err := c.Wait(); err != nil && !errors.As(err, &exit) {
		d.Fatal(err)
	}
	return ran{c.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// login gets a grant into t.json.
func (d *door) login(args ...string) {
	d.Helper()
	if r := d.run(d.with("login", d.base, args)...); r.code != 0 {
		d.Fatalf("login: %+v", r)
	}
}

// refresh renews what is in t.json, by what is remembered and args.
func (d *door) refresh(args ...string) {
	d.Helper()
	if r := d.run(append([]string{"refresh", "t.json", "--ca-cert", "ca.pem"}, args...)...); r.code != 0 {
		d.Fatalf("refresh: %+v", r)
	}
}

// with are the arguments of a login that keeps t.json.
func (d *door) with(command, target string, args []string) []string {
	return append([]string{command, target, "--client-id", "app", "--file", "t.json", "--ca-cert", "ca.pem", "--timeout", "20s"}, args...)
}

// token is the nth request to the token endpoint, from 1.
func (d *door) token(n int) sight {
	d.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.seen) < n {
		d.Fatalf("%d token requests, want %d", len(d.seen), n)
	}
	return d.seen[n-1]
}

// wants compares parameters; "" means that there is none.
func (d *door) wants(what string, got url.Values, pairs ...string) {
	d.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if have := strings.Join(got[pairs[i]], " | "); have != pairs[i+1] {
			d.Errorf("%s: %s is %q, want %q", what, pairs[i], have, pairs[i+1])
		}
	}
}
