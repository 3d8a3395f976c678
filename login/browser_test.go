package login_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/idptest"
	"github.com/evergrant/evergrant/login"
	"github.com/evergrant/evergrant/oauth"
	"github.com/evergrant/evergrant/provider"
)

// TestBrowser is the whole way against the simulator.
func TestBrowser(t *testing.T) {
	b := newBed(t, idptest.Config{Clients: []idptest.Client{{ID: "app", Secret: "se cret"}}, Habits: idptest.Habits{RequirePKCE: true, RequireSecret: true}})
	u := newUser(t)
	c := b.config(u)
	c.Auth, c.AuthMethod = oauth.Basic("app", oauth.NewSecret("se cret")), "basic"
	g, err := login.Browser(bg, c)
	grantOf(t, g, err)
	if g.Scope != "read" || g.TokenURL != b.base+"/token" || g.Issuer != b.base || g.ClientID != "app" || g.AuthMethod != "basic" || g.Token.RefreshToken.IsZero() || g.Received.IsZero() {
		t.Errorf("%+v", g)
	}
	if p := u.lastPage(); p.status != 200 || !has(p.body, "Logged in", `class="done"`) {
		t.Errorf("the browser ended at %v: %d %s", p.url, p.status, p.body)
	}
	var paths []string
	for _, e := range b.idp.Ledger() {
		paths = append(paths, e.Method+" "+e.Path)
	}
	if got := strings.Join(paths, ", "); got != "GET /authorize, POST /token" {
		t.Errorf("requests: %s", got)
	}
	if ps := u.prompts(); len(ps) != 1 || !ps[0].Opened || !ps[0].Listening || ps[0].URL == "" || ps[0].Problem != nil || time.Until(ps[0].Expires) > 10*time.Second {
		t.Errorf("prompts %+v", ps)
	}
}

// TestLoopback_8252_1: the IP literal, a port of the system's choice, and open
// only while the login runs.
func TestLoopback_8252_1(t *testing.T) {
	b := newBed(t, idptest.Config{})
	u := newUser(t)
	if _, err := login.Browser(bg, b.config(u)); err != nil {
		t.Fatal(err)
	}
	back, err := url.Parse(query(t, u.link).Get("redirect_uri"))
	if err != nil || back.Hostname() != "127.0.0.1" || back.Scheme != "http" || back.Port() == "" || back.Path != "/callback" {
		t.Errorf("redirect_uri %v", back)
	}
	if conn, err := net.Dial("tcp", back.Host); err == nil {
		conn.Close()
		t.Error("the listener is still open")
	}
}

// TestRedirects: every form of the listener's address is where the callback is
// taken.
func TestRedirects(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := taken.Addr().(*net.TCPAddr).Port
	for _, tt := range []struct {
		name  string
		r     login.Redirect
		match string
	}{
		{"path", login.Redirect{Path: "/OauthRedirect"}, `^http://127\.0\.0\.1:\d+/OauthRedirect$`},
		{"root", login.Redirect{Path: "/"}, `^http://127\.0\.0\.1:\d+/$`},
		{"IPv6", login.Redirect{Host: "::1"}, `^http://\[::1\]:\d+/callback$`},
		{"localhost", login.Redirect{Host: "localhost"}, `^http://localhost:\d+/callback$`},
		{"range past a taken port", login.Redirect{Port: busy, LastPort: busy + 50}, `^http://127\.0\.0\.1:\d+/callback$`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if strings.Contains(tt.match, "::1") && !ipv6() {
				t.Skip("this machine has no IPv6")
			}
			b := newBed(t, idptest.Config{})
			u := newUser(t)
			c := b.config(u)
			c.Redirect = tt.r
			g, err := login.Browser(bg, c)
			grantOf(t, g, err)
			if got := query(t, u.link).Get("redirect_uri"); !regexp.MustCompile(tt.match).MatchString(got) || strings.Contains(got, fmt.Sprintf(":%d/", busy)) {
				t.Errorf("redirect_uri %s", got)
			}
		})
	}
	u := newUser(t)
	for name, r := range map[string]login.Redirect{
		"taken port": {Port: busy}, "other host": {Host: "0.0.0.0"}, "name": {Host: "evil.example"}, "port": {Port: 70000}, "range": {Port: 5, LastPort: 4},
		"range without start": {LastPort: 9}, "path": {Path: "callback"}, "query": {Path: "/a?b"}, "dots escaped": {Path: "/%2e"}, "http page": {URI: "http://me.example/cb", Port: 1717},
		"page without port": {URI: "https://me.example/cb"},
	} {
		c := newBed(t, idptest.Config{}).config(u)
		c.Redirect = r
		_, err := login.Browser(bg, c)
		var e *login.Error
		if !errors.As(err, &e) || e.Kind != login.Usage {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func ipv6() bool {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// TestAppCallback_incumbent_17: an https page of the user's own is the redirect
// URI, and sends the browser on to the loopback address.
func TestAppCallback_incumbent_17(t *testing.T) {
	b := newBed(t, idptest.Config{})
	u := newUser(t)
	port := freePort(t)
	u.before = func(link string) {
		// The page is not there: do what it would do.
		c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		resp, err := c.Get(link)
		if err != nil {
			t.Error(err)
			return
		}
		resp.Body.Close()
		to := resp.Header.Get("Location")
		rest, ok := strings.CutPrefix(to, "https://me.example/oauth/cb")
		if !ok {
			t.Errorf("the server redirects to %s", to)
		}
		u.get(fmt.Sprintf("http://127.0.0.1:%d/callback%s", port, rest))
	}
	c := b.config(u)
	c.Redirect = login.Redirect{URI: "https://me.example/oauth/cb", Port: port}
	g, err := login.Browser(bg, c)
	grantOf(t, g, err) // the code exchange repeats the https URI, else the simulator refuses
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestStray_8252_2: what is not the answer is turned away, and the login goes on.
func TestStray_8252_2(t *testing.T) {
	b := newBed(t, idptest.Config{})
	u := newUser(t)
	u.before = func(link string) {
		back := query(t, link).Get("redirect_uri")
		host := strings.TrimSuffix(strings.TrimPrefix(back, "http://"), "/callback")
		state := query(t, link).Get("state")
		for _, s := range []struct {
			name, method, path, host, ctype, body string
			status                                int
		}{
			{"9700-2 wrong state", "GET", "/callback?code=x&state=wrong", "", "", "", 400},
			{"9700-2 no state", "GET", "/callback?code=x", "", "", "", 400},
			{"error with wrong state", "GET", "/callback?error=access_denied&state=wrong", "", "", "", 400},
			{"bare", "GET", "/callback", "", "", "", 400},
			{"2.1-10 state twice", "GET", "/callback?code=x&state=" + state + "&state=" + state, "", "", "", 400},
			{"2.1-10 broken", "GET", "/callback?code=%zz&state=" + state, "", "", "", 400},
			{"9700-1 other page", "GET", "/favicon.ico", "", "", "", 404},
			{"9700-1 no open redirector", "GET", "/?url=https://evil.example", "", "", "", 404},
			{"method", "PUT", "/callback?code=x&state=" + state, "", "", "", 405},
			{"HEAD", "HEAD", "/callback?code=x&state=" + state, "", "", "", 405},
			{"rebound name", "GET", "/callback?code=x&state=" + state, "evil.example:80", "", "", 421},
			{"rebound name with our port", "GET", "/callback?code=x&state=" + state, "evil.example" + host[strings.LastIndex(host, ":"):], "", "", 421},
			{"JSON", "POST", "/callback", "", "application/json", `{"code":"x","state":"` + state + `"}`, 415},
			{"posted with wrong state", "POST", "/callback", "", "application/x-www-form-urlencoded", "code=x&state=wrong", 400},
			{"posted, too long", "POST", "/callback", "", "application/x-www-form-urlencoded", strings.Repeat("a", 300<<10), 413},
		} {
			r, err := http.NewRequest(s.method, "http://"+host+s.path, strings.NewReader(s.body))
			if err != nil {
				t.Error(s.name, err)
				continue
			}
			r.Host = s.host
			r.Header.Set("Content-Type", s.ctype)
			r.Close = true
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Error(s.name, err)
				continue
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != s.status || resp.Header.Get("Location") != "" {
				t.Errorf("%s: status %d, want %d", s.name, resp.StatusCode, s.status)
			}
			if resp.Header.Get("Referrer-Policy") != "no-referrer" || strings.Contains(string(body), state) {
				t.Errorf("%s: header %v, body %s", s.name, resp.Header, body)
			}
		}
		u.get(link)
	}
	g, err := login.Browser(bg, b.config(u))
	grantOf(t, g, err)
	strays := 0
	for _, p := range u.prompts() {
		if errors.Is(p.Problem, oauth.ErrStray) {
			strays++
		}
	}
	if strays != 7 {
		t.Errorf("%d strays were shown, want 7", strays)
	}
}

// TestOneCallback_8252_1: one good callback is taken, and its code goes out once.
func TestOneCallback_8252_1(t *testing.T) {
	s := newRogue(t)
	release := make(chan struct{})
	s.token = func(http.ResponseWriter, *http.Request) bool { <-release; return false }
	u := newUser(t)
	u.before = func(link string) {
		c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Transport: &http.Transport{DisableKeepAlives: true}}
		good := callbackURL(t, link, "code", "one", "state", query(t, link).Get("state"))
		var status []int
		var location string
		for range 3 {
			resp, err := c.Get(good)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			status = append(status, resp.StatusCode)
			if l := resp.Header.Get("Location"); l != "" {
				location = l
			}
		}
		if fmt.Sprint(status) != "[303 409 409]" || location != "/login-result" {
			t.Errorf("statuses %v, location %q", status, location)
		}
		close(release)
	}
	g, err := login.Browser(bg, s.config(u))
	grantOf(t, g, err)
	if n := len(s.requests("/token")); n != 1 {
		t.Errorf("%d token requests", n)
	}
}

// TestHabitsOfCallback: the simulator's own wrong callbacks.
func TestHabitsOfCallback(t *testing.T) {
	for _, tt := range []struct {
		name, habit, value string
		kind               login.Kind
		redeemed           bool
	}{
		{"FAPI2SPFinalClientTestHappyPath", "callback_iss", "right", "", true},
		{"9207-1 FAPI2SPFinalClientTestInvalidAuthorizationResponseIss", "callback_iss", "wrong", login.Untrusted, false},
		{"9207-1 FAPI2SPFinalClientTestRemoveAuthorizationResponseIss", "callback_iss", "absent", login.Untrusted, false},
		{"9700-2 FAPI2SPFinalClientTestEnsureAuthorizationResponseWithInvalidStateFails", "callback_state", "wrong", login.Expired, false},
		{"9700-2 FAPI2SPFinalClientTestEnsureAuthorizationResponseWithInvalidMissingStateFails", "callback_state", "absent", login.Expired, false},
		{"refused by the person", "callback_error", "access_denied", login.Refused, false},
		{"refused for another reason", "callback_error", "unauthorized_client", login.Misconfigured, false},
		{"out of order", "callback_error", "temporarily_unavailable", login.Temporary, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := habits(t, tt.habit, tt.value)
			u := newUser(t)
			c := b.config(u)
			if tt.kind == login.Expired {
				c.Timeout = 300 * time.Millisecond
			}
			g, err := login.Browser(bg, c)
			if tt.kind == "" {
				grantOf(t, g, err)
			} else {
				wantKind(t, err, tt.kind)
			}
			if redeemed := len(b.idp.Ledger()) > 1; redeemed != tt.redeemed {
				t.Errorf("the code was redeemed: %v", redeemed)
			}
			if p := u.lastPage(); tt.kind != "" && (strings.Contains(p.body, "Logged in") || p.body == "") {
				t.Errorf("page: %s", p.body)
			}
		})
	}
}

// TestMixUp_9700_3: the person was sent to one server, and the answer is
// another's: the code goes nowhere.
func TestMixUp_9700_3(t *testing.T) {
	honest, attacker := newBed(t, idptest.Config{}), newRogue(t)
	attacker.callback = func(v, _ url.Values) { v.Set("iss", honest.base) }
	u := newUser(t)
	_, err := login.Browser(bg, attacker.config(u))
	e := wantKind(t, err, login.Untrusted)
	if !errors.Is(e, oauth.ErrIssuer) || len(attacker.requests("/token")) != 0 || len(honest.idp.Ledger()) != 0 {
		t.Errorf("%v, %d token requests", err, len(attacker.requests("/token")))
	}
}

// TestFormPost: the answer in a body.
func TestFormPost(t *testing.T) {
	s := newRogue(t)
	u := newUser(t)
	u.before = func(link string) {
		resp, err := http.Get(link)
		if err != nil {
			t.Error(err)
			return
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		to, form, _ := strings.Cut(strings.TrimPrefix(string(body), "post to "), "\n")
		u.keep(http.Post(to, "application/x-www-form-urlencoded", strings.NewReader(form)))
	}
	c := s.config(u)
	c.ResponseMode = "form_post"
	g, err := login.Browser(bg, c)
	grantOf(t, g, err)
	if p := u.lastPage(); !has(p.body, "Logged in") {
		t.Errorf("%d %s", p.status, p.body)
	}
}

// TestPage_9700_10: the last page has nothing from elsewhere, tells nobody where
// it came from, and leaves neither code nor state in the history.
func TestPage_9700_10(t *testing.T) {
	s := newRogue(t)
	s.callback = func(v, asked url.Values) {
		v.Del("code")
		v.Set("error", "server_error")
		v.Set("error_description", `</p><script src="https://evil.example/x.js"></script><img src=x onerror=alert(1)>`)
	}
	u := newUser(t)
	_, err := login.Browser(bg, s.config(u))
	wantKind(t, err, login.Temporary)
	p := u.lastPage()
	if p.url.RawQuery != "" || p.url.Path != "/login-result" {
		t.Errorf("the browser ended at %v", p.url)
	}
	for _, bad := range []string{"<script", "<img", "<a ", "<link", "url(", "@import", s.asked.Get("state")} {
		if strings.Contains(p.body, bad) {
			t.Errorf("the page has %q:\n%s", bad, p.body)
		}
	}
	if !has(p.body, "&lt;script") {
		t.Errorf("the reason is not on the page:\n%s", p.body)
	}
	for name, want := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"} {
		if p.header.Get(name) != want {
			t.Errorf("%s: %q", name, p.header.Get(name))
		}
	}
	csp := p.header.Get("Content-Security-Policy")
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(p.body)
	if len(style) != 2 || !has(csp, "default-src 'none'", "style-src 'sha256-"+sha256Base64(style[1])+"'", "frame-ancestors 'none'") {
		t.Errorf("policy %q", csp)
	}
}

func TestCancel(t *testing.T) {
	b := newBed(t, idptest.Config{})
	u := newUser(t)
	ctx, cancel := context.WithCancelCause(bg)
	interrupted := errors.New("interrupted")
	u.before = func(string) { cancel(interrupted) }
	start := time.Now()
	_, err := login.Browser(ctx, b.config(u))
	if !errors.Is(err, interrupted) || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	back, _ := url.Parse(query(t, u.link).Get("redirect_uri"))
	if conn, err := net.Dial("tcp", back.Host); err == nil {
		conn.Close()
		t.Error("the listener is still open")
	}
}

// TestStoppedTooLate: once the code has left, what it brings is waited for. Until
// then nothing is sent any more.
func TestStoppedTooLate(t *testing.T) {
	interrupted := errors.New("interrupted")
	for name, late := range map[string]bool{"while redeeming": true, "while dialing": false} {
		t.Run(name, func(t *testing.T) {
			s := newRogue(t)
			s.jwks = map[string]any{"kty": "oct", "k": "AAAA"} // changed while the person is away
			ctx, cancel := context.WithCancelCause(bg)
			c := s.config(newUser(t))
			c.Scopes, c.Open = []string{"openid"}, nil
			c.Show = func(p login.Prompt) { s.mu.Lock(); s.asked = query(t, p.URL); s.mu.Unlock() }
			c.Paste = func(context.Context) (string, error) {
				s.mu.Lock()
				defer s.mu.Unlock()
				return "the-code#" + s.asked.Get("state"), nil
			}
			c.HTTP.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				if !late && len(s.requests("/jwks")) > 0 { // all that comes before the code
					cancel(interrupted)
				}
				return new(net.Dialer).DialContext(context.WithoutCancel(ctx), network, address)
			}
			s.token = func(http.ResponseWriter, *http.Request) bool {
				s.jwks = nil
				cancel(interrupted)
				time.Sleep(50 * time.Millisecond) // for whoever would hang up
				return false
			}
			g, err := login.Paste(ctx, c)
			if !late {
				if !errors.Is(err, interrupted) || len(s.requests("/token")) != 0 {
					t.Errorf("%v, %d requests", err, len(s.requests("/token")))
				}
				return
			}
			if grantOf(t, g, err); g.Identity == nil {
				t.Error("the ID token was not read")
			}
		})
	}
}

// TestNoBrowser: a browser that can't be opened does not end the login.
func TestNoBrowser(t *testing.T) {
	b := newBed(t, idptest.Config{})
	u := newUser(t)
	c := b.config(u)
	c.Open = func(link string) error { u.open(link); return login.ErrNoBrowser }
	g, err := login.Browser(bg, c)
	grantOf(t, g, err)
	if p := u.prompts()[0]; p.Opened || !errors.Is(p.Problem, login.ErrNoBrowser) || p.URL == "" {
		t.Errorf("%+v", p)
	}
}

// TestPKCE_7636_1: S256 always, new for each request, never weaker.
func TestPKCE_7636_1(t *testing.T) {
	s := newRogue(t)
	seen := map[string]bool{}
	for range 3 {
		u := newUser(t)
		g, err := login.Browser(bg, s.config(u))
		grantOf(t, g, err)
		u.wg.Wait()
		q := query(t, u.link)
		for _, name := range []string{"state", "code_challenge"} {
			if v := q.Get(name); len(v) != 43 || seen[v] {
				t.Errorf("%s %q, used before: %v", name, v, seen[v])
			}
			seen[q.Get(name)] = true
		}
		if q.Get("code_challenge_method") != "S256" {
			t.Errorf("method %q", q.Get("code_challenge_method"))
		}
	}
	for _, r := range s.requests("/token") {
		v := r.PostForm.Get("code_verifier")
		if len(v) != 43 || seen[v] {
			t.Errorf("verifier %q", v)
		}
		seen[v] = true
	}
	no := &provider.Provider{Name: "x", PKCE: "no"}
	for _, tt := range []struct {
		name    string
		change  func(*login.Config)
		sent    bool
		refused bool
	}{
		{"the server lists plain only", func(c *login.Config) { c.Server.ChallengeMethods = []string{"plain"} }, false, true},
		{"the server lists none", func(c *login.Config) { c.Server.ChallengeMethods = []string{} }, false, true},
		{"the catalog says no", func(c *login.Config) { c.Provider = no }, false, false},
		{"the catalog says no, the person always", func(c *login.Config) { c.Provider, c.PKCE = no, login.PKCEAlways }, true, false},
		{"the catalog says no, the server yes", func(c *login.Config) { c.Provider, c.Server.ChallengeMethods = no, []string{"plain", "S256"} }, true, false},
		{"never", func(c *login.Config) { c.PKCE = login.PKCENever }, false, false},
	} {
		u := newUser(t)
		c := s.config(u)
		tt.change(&c)
		_, err := login.Browser(bg, c)
		u.wg.Wait()
		if (err != nil) != tt.refused {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err == nil && query(t, u.link).Has("code_challenge") != tt.sent {
			t.Errorf("%s: %s", tt.name, u.link)
		}
	}
	// A server that refuses the challenge gets no second request without one.
	s.callback = func(v, asked url.Values) {
		v.Del("code")
		v.Set("error", "invalid_request")
	}
	before := len(s.requests("/authorize"))
	_, err := login.Browser(bg, s.config(newUser(t)))
	wantKind(t, err, login.Misconfigured)
	if n := len(s.requests("/authorize")) - before; n != 1 {
		t.Errorf("%d authorization requests", n)
	}
}

// TestCatalog: what an entry says about a login is done.
func TestCatalog(t *testing.T) {
	s := newRogue(t)
	s.callback = func(v, _ url.Values) {
		v.Set("realmId", "4620<8>")
		v.Set("other", "x")
		v.Set("books_code", v.Get("code"))
		v.Del("code")
	}
	s.token = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "{\n  \"z\": 1,\n  \"accessToken\": \"at\",\n  \"refresh_token\": \"rt\"\n}\n")
		return true
	}
	p := &provider.Provider{Name: "books", ScopeSeparator: ",",
		Endpoints: provider.Endpoints{Authorize: s.base + "/{x}", Token: s.base + "/token"},
		Vars:      map[string]provider.Var{"x": {}},
		Offline:   provider.Offline{Scopes: []string{"offline"}, Params: map[string]string{"access_type": "offline", "prompt": "consent"}},
		Login:     provider.Login{Params: map[string]string{"audience": "api"}, Callback: []string{"realmId"}, CodeParam: "books_code", TokenParams: map[string]string{"expiring": "1"}},
		Request:   provider.Request{Body: "json", Headers: map[string]string{"X-Version": "7"}, Rename: map[string]string{"client_id": "client_key"}},
		Answer:    provider.Answer{Members: map[string]string{"access_token": "accessToken"}},
	}
	u := newUser(t)
	c := login.Config{Provider: p, Vars: map[string]string{"x": "authorize"}, ClientID: "app", Scopes: []string{"a", "b"}, Prompt: "login", Open: u.open, Timeout: 10 * time.Second}
	g, err := login.Browser(bg, c)
	if err != nil {
		t.Fatal(err)
	}
	u.wg.Wait()
	q := query(t, u.link)
	for name, want := range map[string]string{"scope": "a,b,offline", "access_type": "offline", "prompt": "login", "audience": "api", "client_key": "app", "client_id": ""} {
		if q.Get(name) != want {
			t.Errorf("%s = %q, want %q", name, q.Get(name), want)
		}
	}
	r := s.requests("/token")[0]
	body := s.bodies[len(s.bodies)-1]
	if r.Header.Get("X-Version") != "7" || r.Header.Get("Content-Type") != "application/json" || !has(body, `"expiring":"1"`, `"client_key":"app"`, `"code":"the-code"`) {
		t.Errorf("token request %v %s", r.Header, body)
	}
	want := `{"z":1,"access_token":"at","refresh_token":"rt","realmId":"4620<8>"}` // the commands look for the standard's names
	if g.Document.Reveal() != want || g.Token.AccessToken.Reveal() != "at" || g.Provider != "books" || g.Scope != "a b offline" {
		t.Errorf("document %q, grant %+v", g.Document.Reveal(), g)
	}
	c.Online, c.Provider.Request.Body = true, ""
	if _, err := login.Browser(bg, c); err != nil {
		t.Fatal(err)
	}
	if q := query(t, u.link); q.Get("scope") != "a,b" || q.Has("access_type") {
		t.Errorf("online: %v", q)
	}
	c.Vars = nil
	_, err = login.Browser(bg, c)
	wantKind(t, err, login.Usage)
}

// TestTokenAnswers: what comes instead of tokens, and what a person should do.
func TestTokenAnswers(t *testing.T) {
	say := func(status int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			io.WriteString(w, body)
			return true
		}
	}
	for _, tt := range []struct {
		name string
		act  func(http.ResponseWriter, *http.Request) bool
		kind login.Kind
	}{
		{"refused", say(400, `{"error":"invalid_grant"}`), login.Misconfigured},
		{"client refused", say(401, `{"error":"invalid_client"}`), login.Misconfigured},
		{"error in 200", say(200, `{"error":"bad_verification_code"}`), login.Misconfigured},
		{"out of order", say(503, `<html>`), login.Temporary},
		{"page", say(200, `<html>`), login.Misconfigured},
		{"no token", say(200, `{"token_type":"Bearer"}`), login.Misconfigured},
		{"two tokens", say(200, `{"access_token":"a","access_token":"b"}`), login.Misconfigured},
		{"redirect", say(307, ``), login.Misconfigured},
		{"cut", func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, login.Temporary},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newRogue(t)
			s.token = tt.act
			u := newUser(t)
			_, err := login.Browser(bg, s.config(u))
			wantKind(t, err, tt.kind)
			if strings.Contains(err.Error(), "the-code") {
				t.Errorf("the error shows the code: %v", err)
			}
			if n := len(s.requests("/token")); n != 1 {
				t.Errorf("the code was sent %d times", n)
			}
			if p := u.lastPage(); !has(p.body, "Not logged in") {
				t.Errorf("page: %s", p.body)
			}
		})
	}
}

// TestNestedAnswer: tokens that stand deeper in the answer stand at the top of
// the document, where the other commands look for them.
func TestNestedAnswer(t *testing.T) {
	s := newRogue(t)
	s.token = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"code": 0, "data": {"access_token": "at", "refresh_token": "rt", "advertiser_ids": [7]}}`)
		return true
	}
	u := newUser(t)
	c := s.config(u)
	c.Provider = &provider.Provider{Name: "ads", Answer: provider.Answer{Pointer: "/data"}}
	g, err := login.Browser(bg, c)
	if err != nil {
		t.Fatal(err)
	}
	u.wg.Wait()
	if want := `{"access_token":"at","refresh_token":"rt","advertiser_ids":[7]}`; g.Document.Reveal() != want {
		t.Errorf("document %q, want %q", g.Document.Reveal(), want)
	}
}
