package login_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/idptest"
	"github.com/evergrant/evergrant/login"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop")); err != nil && code == 0 {
		os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

// bed is a simulated server and what a login knows of it.
type bed struct {
	*testing.T
	idp  *idptest.Server
	base string
}

func newBed(t *testing.T, c idptest.Config) *bed {
	t.Helper()
	s := idptest.New(c)
	base, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &bed{t, s, base}
}

// habits makes a server with habits given as name, value pairs.
func habits(t *testing.T, pairs ...string) *bed {
	t.Helper()
	var h idptest.Habits
	for i := 0; i < len(pairs); i += 2 {
		if err := h.Set(pairs[i], pairs[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	return newBed(t, idptest.Config{Habits: h})
}

// server is what discovery would find.
func (b *bed) server() login.Server {
	return login.Server{Issuer: b.base, Authorize: b.base + "/authorize", Token: b.base + "/token",
		Device: b.base + "/device_authorization", Keys: b.base + "/jwks", IssRequired: true}
}

// config logs in to the bed with a browser that does what browsers do.
func (b *bed) config(u *user) login.Config {
	return login.Config{Server: b.server(), ClientID: "app", Scopes: []string{"read"}, Open: u.open, Show: u.show, Timeout: 10 * time.Second}
}

// user is a person with a browser: it follows redirects and remembers what was
// shown. The zero user is ready.
type user struct {
	t *testing.T
	// before, if set, gets the URL instead of the browser following it.
	before func(link string)

	mu    sync.Mutex
	wg    sync.WaitGroup
	shown []login.Prompt
	link  string
	pages []seen
}

type seen struct {
	status int
	url    *url.URL
	header http.Header
	body   string
}

func newUser(t *testing.T) *user {
	u := &user{t: t}
	t.Cleanup(u.wg.Wait)
	return u
}

func (u *user) show(p login.Prompt) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.shown = append(u.shown, p)
}

func (u *user) prompts() []login.Prompt {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]login.Prompt(nil), u.shown...)
}

func (u *user) open(link string) error {
	u.mu.Lock()
	u.link = link
	u.mu.Unlock()
	u.wg.Go(func() {
		if u.before != nil {
			u.before(link)
			return
		}
		u.get(link)
	})
	return nil
}

// get is the browser: it follows redirects and keeps the last page.
func (u *user) get(link string) seen {
	jar, _ := cookiejar.New(nil)
	c := http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(link)
	return u.keep(resp, err)
}

func (u *user) keep(resp *http.Response, err error) seen {
	if err != nil {
		u.t.Errorf("browser: %v", err)
		return seen{}
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	s := seen{resp.StatusCode, resp.Request.URL, resp.Header, string(body)}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pages = append(u.pages, s)
	return s
}

func (u *user) lastPage() seen {
	u.wg.Wait()
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.pages) == 0 {
		return seen{}
	}
	return u.pages[len(u.pages)-1]
}

func query(t *testing.T, link string) url.Values {
	t.Helper()
	x, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	return x.Query()
}

// callbackURL is where the server would send the browser, with these pairs.
func callbackURL(t *testing.T, link string, pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return query(t, link).Get("redirect_uri") + "?" + v.Encode()
}

func wantKind(t *testing.T, err error, kind login.Kind) *login.Error {
	t.Helper()
	var e *login.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("error is %v, want kind %s", err, kind)
	}
	return e
}

func members(t *testing.T, g *login.Grant) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(g.Document.Reveal()), &m); err != nil {
		t.Fatalf("reading document: %v", err)
	}
	return m
}

func grantOf(t *testing.T, g *login.Grant, err error) *login.Grant {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if g.Token.AccessToken.IsZero() || members(t, g)["access_token"] != g.Token.AccessToken.Reveal() {
		t.Fatalf("no access token in %v", g.Token)
	}
	return g
}

var bg = context.Background()

func has(s string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}

func sha256Base64(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

type ctx = context.Context

func sprint(v any) string { return fmt.Sprintf("%v %+v %#v", v, v, v) }
