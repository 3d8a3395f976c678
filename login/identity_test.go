package login_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/idptest"
	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/login"
	"github.com/evergrant/evergrant/oauth"
)

// TestIdentity: who logged in, by the simulator's signature.
func TestIdentity(t *testing.T) {
	b := newBed(t, idptest.Config{})
	u := newUser(t)
	c := b.config(u)
	c.Scopes = []string{"openid", "read"}
	g, err := login.Browser(bg, c)
	grantOf(t, g, err)
	if g.Identity == nil || g.Identity.Subject == "" || g.Identity.Issuer != b.base {
		t.Errorf("identity %v", g.Identity)
	}
	if q := query(t, u.link); len(q.Get("nonce")) != 43 || q.Get("nonce") == q.Get("state") {
		t.Errorf("nonce %q, state %q", q.Get("nonce"), q.Get("state"))
	}
	c.Server.Keys = "" // claims that can't be checked are not handed on
	if g, err = login.Browser(bg, c); err != nil || g.Identity != nil {
		t.Errorf("unchecked identity %v, %v", g, err)
	}
}

// TestIDTokenRefused: a token that breaks a rule ends the login without a grant.
// Names are those of
// the modules in OpenID's conformance suite, where it has one.
func TestIDTokenRefused(t *testing.T) {
	claim := func(name string, v any) func(*rogue) {
		return func(s *rogue) {
			s.claims = func(m map[string]any) {
				if v == nil {
					delete(m, name)
				} else {
					m[name] = v
				}
			}
		}
	}
	now := time.Now().Unix()
	for _, tt := range []struct {
		name   string
		change func(*rogue)
		reason jose.Reason
	}{
		{"FAPI2SPFinalClientTestInvalidAud", claim("aud", "other"), jose.BadAudience},
		{"FAPI2SPFinalClientTestInvalidSecondaryAud", claim("aud", []string{"app", "other"}), jose.BadAudience},
		{"FAPI2SPFinalClientTestInvalidNullAlg", func(s *rogue) { s.header["alg"] = "none" }, jose.BadAlgorithm},
		{"FAPI2SPFinalClientTestInvalidAlternateAlg", func(s *rogue) { s.algs = []string{"PS256"} }, jose.BadAlgorithm},
		{"alg HS256 with the public key", func(s *rogue) { s.header["alg"] = "HS256" }, jose.BadAlgorithm},
		{"FAPI2SPFinalClientTestInvalidExpiredExp", claim("exp", now-3600), jose.Expired},
		{"FAPI2SPFinalClientTestInvalidMissingExp", claim("exp", nil), jose.Expired},
		{"FAPI2SPFinalClientTestInvalidIss", claim("iss", "https://evil.example"), jose.BadIssuer},
		{"FAPI2SPFinalClientTestInvalidMissingIss", claim("iss", nil), jose.BadIssuer},
		{"FAPI2SPFinalClientTestInvalidMissingAud", claim("aud", nil), jose.BadAudience},
		{"FAPI2SPFinalClientTestInvalidNonce", claim("nonce", "another"), jose.BadNonce},
		{"FAPI2SPFinalClientTestInvalidMissingNonce", claim("nonce", nil), jose.BadNonce},
		{"sub missing", claim("sub", nil), jose.BadSubject},
		{"iat missing", claim("iat", nil), jose.BadIssued},
		{"at_hash of another token", claim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"), jose.BadTokenHash},
		{"c_hash of another code", claim("c_hash", "AAAAAAAAAAAAAAAAAAAAAA"), jose.BadCodeHash},
		{"a key nobody knows", func(s *rogue) { s.header["kid"] = "unknown" }, jose.NoKey},
		{"a signature that is cut", func(s *rogue) {
			s.answer = func(m map[string]any) { m["id_token"] = strings.TrimRight(m["id_token"].(string), "A") + "AAAA" }
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newRogue(t)
			tt.change(s)
			c := s.config(newUser(t))
			c.Scopes = []string{"openid"}
			g, err := login.Browser(bg, c)
			wantKind(t, err, login.Untrusted)
			if tt.reason != "" && jose.ReasonOf(err) != tt.reason || g != nil {
				t.Errorf("refused for %q: %v", jose.ReasonOf(err), err)
			}
		})
	}
}

// TestKeysComeFirst: where the server's keys cannot be had nothing is spent: its
// answer would have to be dropped, and some providers give a refresh token once.
func TestKeysComeFirst(t *testing.T) {
	s := newRogue(t)
	u := newUser(t)
	c := s.config(u)
	c.Scopes, c.Server.Keys = []string{"openid"}, s.base+"/down"
	s.other = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	for name, in := range map[string]func(ctx, login.Config) (*login.Grant, error){"browser": login.Browser, "device": login.Device} {
		_, err := in(bg, c)
		if e := wantKind(t, err, login.Temporary); !has(e.Error(), "keys") {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(s.requests("/token")) + len(s.requests("/authorize")) + len(s.requests("/device")); n != 0 {
			t.Errorf("%s: %d requests were made", name, n)
		}
	}
}

// TestKeysChangedMeanwhile: keys that the server takes into use while the person
// is away are found.
func TestKeysChangedMeanwhile(t *testing.T) {
	s := newRogue(t)
	s.jwks = map[string]any{"kty": "oct", "k": "AAAA"}
	s.callback = func(url.Values, url.Values) { s.jwks = nil }
	c := s.config(newUser(t))
	c.Scopes = []string{"openid"}
	g, err := login.Browser(bg, c)
	if grantOf(t, g, err); g.Identity == nil {
		t.Error("no identity")
	}
}

// TestFAPIHappy: what odd but honest servers do is taken. Names as above.
func TestFAPIHappy(t *testing.T) {
	for name, change := range map[string]func(*rogue){
		"FAPI2SPFinalClientTestHappyPath":                             func(*rogue) {},
		"FAPI2SPFinalClientTestTokenEndpointResponseWithoutExpiresIn": func(s *rogue) { s.answer = func(m map[string]any) { delete(m, "expires_in") } },
		"FAPI2SPFinalClientTestTokenTypeCaseInsenstivity":             func(s *rogue) { s.answer = func(m map[string]any) { m["token_type"] = "bEARER" } },
		"FAPI2SPFinalClientTestValidAudAsArray":                       func(s *rogue) { s.claims = func(m map[string]any) { m["aud"] = []string{"app"} } },
		"no kid, and one key":                                         func(s *rogue) { delete(s.header, "kid") },
		"a clock four minutes slow": func(s *rogue) {
			s.claims = func(m map[string]any) { m["iat"], m["exp"] = time.Now().Unix()+240, time.Now().Unix()+540 }
		},
		"a clock four minutes fast": func(s *rogue) {
			s.claims = func(m map[string]any) { m["iat"], m["exp"] = time.Now().Unix()-300, time.Now().Unix()-240 }
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRogue(t)
			change(s)
			c := s.config(newUser(t))
			c.Scopes = []string{"openid"}
			g, err := login.Browser(bg, c)
			grantOf(t, g, err)
			if g.Identity == nil || g.Identity.Subject != "user-1" {
				t.Errorf("identity %v", g.Identity)
			}
		})
	}
}

// TestPushed_9126_1: the browser carries client_id and request_uri alone, and
// a server that demands it gets it unasked.
func TestPushed_9126_1(t *testing.T) {
	for name, change := range map[string]func(*login.Config){
		"asked":    func(c *login.Config) { c.Push = true },
		"demanded": func(c *login.Config) { c.Server.PushRequired = true },
	} {
		s := newRogue(t)
		u := newUser(t)
		c := s.config(u)
		c.Auth = oauth.Post("app", oauth.NewSecret("secret"))
		change(&c)
		g, err := login.Browser(bg, c)
		grantOf(t, g, err)
		u.wg.Wait()
		q := query(t, u.link)
		if len(q) != 2 || q.Get("client_id") != "app" || !strings.HasPrefix(q.Get("request_uri"), "urn:pushed:") {
			t.Errorf("%s: front channel %v", name, q)
		}
		f := s.requests("/par")[0].PostForm
		if f.Get("code_challenge_method") != "S256" || f.Get("state") == "" || f.Get("client_secret") != "secret" || f.Get("redirect_uri") == "" {
			t.Errorf("%s: pushed %v", name, f)
		}
	}
	s := newRogue(t)
	c := s.config(newUser(t))
	c.Push, c.Server.Push = true, ""
	_, err := login.Browser(bg, c)
	wantKind(t, err, login.Usage)
	c.Server.Push = s.base + "/nothing"
	_, err = login.Browser(bg, c)
	wantKind(t, err, login.Misconfigured)
	if n := len(s.requests("/authorize")); n != 0 {
		t.Errorf("%d authorization requests after a refused push: there is no other way", n)
	}
}

// TestRequestObject_9101_1: the browser carries a signed request and nothing
// that could be changed on the way.
func TestRequestObject_9101_1(t *testing.T) {
	key, err := jose.Generate("")
	if err != nil {
		t.Fatal(err)
	}
	for _, push := range []bool{false, true} {
		s := newRogue(t)
		u := newUser(t)
		c := s.config(u)
		c.RequestKey, c.Push = key, push
		g, err := login.Browser(bg, c)
		grantOf(t, g, err)
		u.wg.Wait()
		front := query(t, u.link)
		if push {
			front = s.requests("/par")[0].PostForm
		}
		in := claimsOf(t, front.Get("request"))
		if len(front) != 2 || in.Get("aud") != s.base || in.Get("iss") != "app" || in.Get("code_challenge_method") != "S256" || in.Get("state") == "" {
			t.Errorf("pushed %v: %v, in it %v", push, front, in)
		}
	}
	s := newRogue(t)
	c := s.config(newUser(t))
	c.RequestKey, c.Server.Issuer = key, ""
	_, err = login.Browser(bg, c)
	wantKind(t, err, login.Usage)
}

// TestSignedCallback: JARM. Names as above.
func TestSignedCallback(t *testing.T) {
	signed := func(s *rogue, change func(m map[string]any)) {
		s.callback = func(v, asked url.Values) {
			m := map[string]any{"iss": s.base, "aud": "app", "exp": time.Now().Unix() + 60, "code": "the-code", "state": asked.Get("state")}
			change(m)
			for name := range v {
				v.Del(name)
			}
			v.Set("response", s.sign(s.header, m))
		}
	}
	for _, tt := range []struct {
		name   string
		change func(s *rogue)
		ok     bool
	}{
		{"FAPI2SPFinalClientTestHappyPath signed", func(s *rogue) { signed(s, func(map[string]any) {}) }, true},
		{"FAPI2SPFinalClientTestEnsureJarmWithInvalidAudFails", func(s *rogue) { signed(s, func(m map[string]any) { m["aud"] = "other" }) }, false},
		{"FAPI2SPFinalClientTestEnsureJarmWithInvalidIssFails", func(s *rogue) { signed(s, func(m map[string]any) { m["iss"] = "https://evil.example" }) }, false},
		{"FAPI2SPFinalClientTestEnsureJarmWithoutIssFails", func(s *rogue) { signed(s, func(m map[string]any) { delete(m, "iss") }) }, false},
		{"FAPI2SPFinalClientTestEnsureJarmWithoutAudFails", func(s *rogue) { signed(s, func(m map[string]any) { delete(m, "aud") }) }, false},
		{"FAPI2SPFinalClientTestEnsureJarmWithExpiredExpFails", func(s *rogue) { signed(s, func(m map[string]any) { m["exp"] = 1 }) }, false},
		{"FAPI2SPFinalClientTestEnsureJarmWithoutExpFails", func(s *rogue) { signed(s, func(m map[string]any) { delete(m, "exp") }) }, false},
		{"FAPI2SPFinalClientTestEnsureJarmSignatureAlgIsNotNone", func(s *rogue) { s.header["alg"] = "none"; signed(s, func(map[string]any) {}) }, false},
		{"FAPI2SPFinalClientTestEnsureJarmWithInvalidSigFails", func(s *rogue) {
			signed(s, func(map[string]any) {})
			s.key = newRogue(s.T).key
			s.jwks = s.publicKey()
			s.key = newRogue(s.T).key
		}, false},
		{"wrong state", func(s *rogue) { signed(s, func(m map[string]any) { m["state"] = "x" }) }, false},
		{"not signed", func(*rogue) {}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newRogue(t)
			tt.change(s)
			c := s.config(newUser(t))
			c.ResponseMode = "query.jwt"
			if !tt.ok {
				c.Timeout = 200 * time.Millisecond
			}
			g, err := login.Browser(bg, c)
			if tt.ok {
				grantOf(t, g, err)
				return
			}
			wantKind(t, err, login.Expired)
			if n := len(s.requests("/token")); n != 0 {
				t.Errorf("%d token requests", n)
			}
		})
	}
}

// TestDPoP_9449: a proof for each request, one more try for the nonce, and the
// key in the document.
func TestDPoP_9449(t *testing.T) {
	key, err := jose.Generate("")
	if err != nil {
		t.Fatal(err)
	}
	s := newRogue(t)
	s.answer = func(m map[string]any) { m["token_type"], m["dpop_jwk"] = "DPoP", map[string]any{"kty": "not ours"} }
	s.token = func(w http.ResponseWriter, r *http.Request) bool {
		if claimsOf(s.T, r.Header.Get("DPoP")).Get("nonce") == "n-1" {
			return false
		}
		w.Header().Set("DPoP-Nonce", "n-1")
		reply(w, 400, map[string]any{"error": "use_dpop_nonce"})
		return true
	}
	u := newUser(t)
	c := s.config(u)
	c.DPoPKey = key
	g, err := login.Browser(bg, c)
	grantOf(t, g, err)
	u.wg.Wait()
	jwk, err := key.JWK()
	if err != nil || !has(g.Document.Reveal(), `"dpop_jwk":`+jwk.Reveal()) || has(g.Document.Reveal(), "not ours") { // 9449-4
		t.Error("the key is not in the document", err)
	}
	if query(t, u.link).Get("dpop_jkt") != key.Thumbprint() {
		t.Error("dpop_jkt is missing")
	}
	var ids []string
	for _, r := range s.requests("/token") { // 9449-1, 9449-2
		p := claimsOf(t, r.Header.Get("DPoP"))
		if p.Get("htm") != "POST" || p.Get("htu") != s.base+"/token" {
			t.Errorf("proof %v", p)
		}
		ids = append(ids, p.Get("jti"))
	}
	if len(ids) != 2 || ids[0] == ids[1] {
		t.Errorf("proofs %v", ids)
	}

	s.token = nil // FAPI2SPFinalClientTestHappyPathNoDpopNonce
	g, err = login.Browser(bg, c)
	grantOf(t, g, err)
	s.answer = nil // 9449-3: Bearer comes instead
	_, err = login.Browser(bg, c)
	wantKind(t, err, login.Untrusted)

	tries := len(s.requests("/token"))
	s.token = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("DPoP-Nonce", "n-"+r.Header.Get("DPoP")[:9])
		reply(w, 400, map[string]any{"error": "use_dpop_nonce"})
		return true
	}
	_, err = login.Browser(bg, c)
	wantKind(t, err, login.Misconfigured)
	if n := len(s.requests("/token")) - tries; n != 2 {
		t.Errorf("%d tries with nonces that never please", n)
	}
}

// TestPaste_incumbent_18: nothing listens, and the address is pasted.
func TestPaste_incumbent_18(t *testing.T) {
	s := newRogue(t)
	texts := make(chan func(u *user) string, 8)
	for _, f := range []func(u *user) string{
		func(*user) string { return "hello" },
		func(*user) string { return "http://127.0.0.1:8080/callback?code=x&state=wrong" },
		func(u *user) string { return u.link }, // the address to open, not the one it ended at
		func(u *user) string { return "the-code#" + query(t, u.link).Get("state") },
	} {
		texts <- f
	}
	u := newUser(t)
	c := s.config(u)
	c.Open = nil
	c.Show = func(p login.Prompt) { u.show(p); u.mu.Lock(); u.link = p.URL; u.mu.Unlock() }
	c.Paste = pasting(u, texts)
	g, err := login.Paste(bg, c)
	grantOf(t, g, err)
	problems := 0
	for _, p := range u.prompts() {
		if p.Listening {
			t.Error("something listens")
		}
		if errors.Is(p.Problem, oauth.ErrStray) {
			problems++
		}
	}
	if problems != 3 {
		t.Errorf("%d problems shown, want 3", problems)
	}
	if q := query(t, u.link); q.Get("redirect_uri") != "http://127.0.0.1:8080/callback" {
		t.Errorf("redirect_uri %q", q.Get("redirect_uri"))
	}
	close(texts) // the end of what can be read ends the login
	_, err = login.Paste(bg, c)
	wantKind(t, err, login.Usage)
	c.Paste = nil
	_, err = login.Paste(bg, c)
	wantKind(t, err, login.Usage)
}

// TestPasteFrom: lines of a terminal, and the end of them.
func TestPasteFrom(t *testing.T) {
	s := newRogue(t)
	r, w := io.Pipe()
	var link string
	c := login.Config{Server: s.server(), ClientID: "app", Paste: login.PasteFrom(r), Timeout: 10 * time.Second}
	c.Show = func(p login.Prompt) {
		if link == "" {
			link = p.URL
			go io.WriteString(w, "nonsense\n"+callbackURL(t, link, "code", "c", "state", query(t, link).Get("state"))+"\n")
		}
	}
	g, err := login.Paste(bg, c)
	grantOf(t, g, err)
	w.Close()
	for range 2 {
		if _, err := c.Paste(bg); err != io.EOF {
			t.Error(err)
		}
	}
}

// pasting hands out texts, then says that there are no more, or waits.
func pasting(u *user, texts <-chan func(*user) string) login.PasteFunc {
	return func(ctx ctx) (string, error) {
		select {
		case f, ok := <-texts:
			if !ok {
				return "", errors.New("end of input")
			}
			u.mu.Lock()
			defer u.mu.Unlock()
			return f(u), nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// TestEitherWay: a listener and pasting at once; whichever comes first, and the
// other is told to stop.
func TestEitherWay(t *testing.T) {
	s := newRogue(t)
	for _, way := range []string{"browser", "paste", "browser after the end of input"} {
		u := newUser(t)
		texts := make(chan func(*user) string, 1)
		switch way {
		case "paste":
			u.before = func(string) {
				texts <- func(u *user) string {
					return callbackURL(t, u.link, "code", "c", "state", query(t, u.link).Get("state"))
				}
			}
		case "browser after the end of input":
			close(texts)
		}
		c := s.config(u)
		c.Paste = pasting(u, texts)
		start := time.Now()
		g, err := login.Browser(bg, c)
		grantOf(t, g, err)
		if d := time.Since(start); d > time.Second {
			t.Errorf("%s took %v", way, d)
		}
	}
}

// TestSecretsStayIn: neither prompts nor errors nor a printed grant show one.
func TestSecretsStayIn(t *testing.T) {
	b := newBed(t, idptest.Config{Mark: "CANARY"})
	u := newUser(t)
	g, err := login.Browser(bg, b.config(u))
	grantOf(t, g, err)
	if s := sprint(g) + sprint(*g) + sprint(u.prompts()); strings.Contains(s, "CANARY") {
		t.Errorf("shown: %s", s)
	}
	if !slices.ContainsFunc(g.Token.Members, func(m oauth.Member) bool { return strings.Contains(string(m.Value), "CANARY") }) {
		t.Error("the mark is not in the tokens")
	}
}

// TestHybridCallback: an ID token in the callback says who answered in the place
// of iss, and that the code is theirs (OpenID Connect Core §3.3.2, incumbent
// feature #22). It is believed before the code is redeemed, or the code is not.
func TestHybridCallback(t *testing.T) {
	half := func(code string) string {
		sum := sha256.Sum256([]byte(code))
		return base64.RawURLEncoding.EncodeToString(sum[:16])
	}
	for _, tt := range []struct {
		name   string
		change func(claims map[string]any)
		reason jose.Reason // "": the login goes well
	}{
		{"good", func(map[string]any) {}, ""},
		{"of another server", func(c map[string]any) { c["iss"] = "https://evil.example" }, jose.BadIssuer},
		{"with another code", func(c map[string]any) { c["c_hash"] = half("another") }, jose.BadCodeHash},
		{"of another login", func(c map[string]any) { c["nonce"] = "another" }, jose.BadNonce},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, u := newRogue(t), newUser(t)
			s.callback = func(v, asked url.Values) {
				now := time.Now().Unix()
				claims := map[string]any{"iss": s.base, "sub": "user-1", "aud": "app", "iat": now, "exp": now + 300, "nonce": asked.Get("nonce"), "c_hash": half(v.Get("code"))}
				tt.change(claims)
				v.Del("iss")
				v.Set("id_token", s.sign(s.header, claims))
			}
			c := s.config(u)
			c.Scopes, c.Server.IssRequired = []string{"openid"}, true
			c.AuthParams.Set("response_type", "code id_token")
			c.ResponseMode = "query" // the bed's browser posts no forms
			g, err := login.Browser(bg, c)
			if tt.reason == "" {
				grantOf(t, g, err)
				return
			}
			if e := wantKind(t, err, login.Untrusted); jose.ReasonOf(e) != tt.reason {
				t.Errorf("reason %q, want %q", jose.ReasonOf(e), tt.reason)
			}
			if n := len(s.requests("/token")); n > 0 {
				t.Errorf("the code was redeemed")
			}
		})
	}
	s, u := newRogue(t), newUser(t) // without keys nothing says who answered
	s.callback = func(v, _ url.Values) { v.Del("iss"); v.Set("id_token", "x.y.z") }
	c := s.config(u)
	c.Server.IssRequired, c.Server.Keys = true, ""
	_, err := login.Browser(bg, c)
	wantKind(t, err, login.Untrusted)
}
