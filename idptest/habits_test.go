package idptest_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

func trust(ca []byte) *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &tls.Config{RootCAs: pool}
}

// TestEveryHabit shows each habit off and on. A habit without a test fails.
func TestEveryHabit(t *testing.T) {
	for _, h := range idptest.HabitTable() {
		show := habitTests[h.Name]
		if show == nil {
			t.Errorf("habit %s has no test", h.Name)
			continue
		}
		t.Run(h.Name, func(t *testing.T) { synctest.Test(t, show) })
	}
}

// with makes a bed whose habits are given as name, value pairs.
func with(t *testing.T, persona idptest.Persona, pairs ...string) *bed {
	t.Helper()
	var h idptest.Habits
	for i := 0; i < len(pairs); i += 2 {
		if err := h.Set(pairs[i], pairs[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	return bubble(t, idptest.Config{Persona: persona, Habits: h})
}

const (
	gen = idptest.Generic
	sf  = idptest.Salesforce
)

var habitTests = map[string]func(t *testing.T){
	"rotation": func(t *testing.T) {
		b := with(t, sf)
		a := b.refresh(b.grant().RefreshToken)
		b.wantOK(a)
		if a.member("refresh_token") != "" {
			t.Error("a server that doesn't rotate gave a refresh token")
		}
		b = with(t, sf, "rotation", "true")
		g := b.grant()
		a = b.refresh(g.RefreshToken)
		if rt := a.member("refresh_token"); rt == "" || rt == g.RefreshToken || rt != b.s.GrantState(g.ID).RefreshToken {
			t.Errorf("refresh token = %q", rt)
		}
		b.wantOK(b.refresh(a.member("refresh_token")))
		if e := b.last(); e.Generation != 2 || e.NewGeneration != 3 {
			t.Errorf("entry %+v", e)
		}
	},
	"reuse": func(t *testing.T) {
		for _, tt := range []struct {
			value   string
			revoked bool
		}{{"revokes", true}, {"fails", false}, {"", true}} {
			b := with(t, gen, "rotation", "true", "reuse", tt.value)
			g := b.grant()
			a := b.refresh(g.RefreshToken)
			b.wantError(b.refresh(g.RefreshToken), "invalid_grant", dead)
			b.wantVerdict(idptest.Reuse)
			if e := b.last(); e.Processed != tt.revoked || e.Generation != 1 || e.NewGeneration != 0 {
				t.Errorf("entry %+v", e)
			}
			if got := b.s.GrantState(g.ID).Revoked; got != tt.revoked {
				t.Errorf("reuse=%s: revoked = %t", tt.value, got)
			}
			if _, _, living := b.s.FindAccess(a.member("access_token")); living == tt.revoked {
				t.Errorf("reuse=%s: access token living = %t", tt.value, living)
			}
		}
	},
	"grace": func(t *testing.T) {
		b := with(t, gen, "rotation", "true", "grace", "30s")
		g := b.grant()
		first := b.refresh(g.RefreshToken)
		time.Sleep(29 * time.Second)
		b.wantOK(b.refresh(g.RefreshToken))
		b.wantVerdict(idptest.Sibling)
		b.wantOK(b.refresh(first.member("refresh_token"))) // a successor is used: no grace any more
		b.wantError(b.refresh(g.RefreshToken), "invalid_grant", dead)
		b.wantVerdict(idptest.Reuse)

		g = b.grant()
		b.wantOK(b.refresh(g.RefreshToken))
		time.Sleep(31 * time.Second)
		b.wantError(b.refresh(g.RefreshToken), "invalid_grant", dead)
	},
	"grace_reply": func(t *testing.T) {
		b := with(t, gen, "rotation", "true", "grace", "30", "grace_reply", "same")
		g := b.grant()
		x, y := b.refresh(g.RefreshToken), b.refresh(g.RefreshToken)
		b.wantVerdict(idptest.SamePair)
		if x.body != y.body {
			t.Errorf("replay gave %s after %s", y.body, x.body)
		}
		b = with(t, gen, "rotation", "true", "grace", "30")
		g = b.grant()
		x, y = b.refresh(g.RefreshToken), b.refresh(g.RefreshToken)
		if x.member("refresh_token") == y.member("refresh_token") || len(b.s.GrantState(g.ID).Living) != 2 {
			t.Errorf("siblings: %s, %s", x.body, y.body)
		}
	},
	"in_flight": func(t *testing.T) {
		for _, tt := range []struct{ persona, value, want string }{
			{"salesforce", "", idptest.Busy}, {"generic", "", idptest.Issued}, {"generic", "busy", idptest.Busy}, {"salesforce", "off", idptest.Issued},
		} {
			b := with(t, idptest.Persona(tt.persona), "in_flight", tt.value, "delay_before", "1s")
			g := b.grant()
			go b.refresh(g.RefreshToken)
			synctest.Wait()
			a := b.refresh(g.RefreshToken)
			b.wantVerdict(tt.want)
			if tt.want == idptest.Busy {
				b.wantError(a, "invalid_grant", "token request is already being processed")
				time.Sleep(2 * time.Second)
				b.wantOK(b.refresh(g.RefreshToken)) // the lock is gone with the first answer
			}
			time.Sleep(time.Minute)
		}
	},
	"busy_next": func(t *testing.T) {
		b := with(t, sf, "busy_next", "2")
		g := b.grant()
		for range 2 {
			b.wantError(b.refresh(g.RefreshToken), "invalid_grant", "token request is already being processed")
			b.wantVerdict(idptest.Busy)
		}
		b.wantOK(b.refresh(g.RefreshToken))
	},
	"busy_for": func(t *testing.T) {
		b := with(t, sf, "busy_for", "3s", "rotation", "true")
		a := b.refresh(b.grant().RefreshToken)
		b.refresh(a.member("refresh_token"))
		b.wantVerdict(idptest.Busy)
		time.Sleep(3 * time.Second)
		b.wantOK(b.refresh(a.member("refresh_token")))
	},
	"delay_before": func(t *testing.T) {
		b := with(t, gen, "delay_before", "5s")
		g := b.grant()
		start := time.Now()
		go b.refresh(g.RefreshToken)
		time.Sleep(4 * time.Second)
		if e := b.last(); e.Processed || e.Verdict != idptest.InFlight {
			t.Errorf("entry after 4 s: %+v", e)
		}
		time.Sleep(2 * time.Second)
		if e := b.last(); !e.Processed || !e.Delivered || e.Time.Before(start) {
			t.Errorf("entry after 6 s: %+v", e)
		}
	},
	"delay_after": func(t *testing.T) {
		b := with(t, gen, "delay_after", "5s")
		g := b.grant()
		go b.refresh(g.RefreshToken)
		time.Sleep(4 * time.Second)
		if e := b.last(); !e.Processed || e.Delivered || e.Done {
			t.Errorf("entry after 4 s: %+v", e)
		}
		time.Sleep(2 * time.Second)
		if e := b.last(); !e.Delivered || !e.Done {
			t.Errorf("entry after 6 s: %+v", e)
		}
	},
	"fault": func(t *testing.T) {
		b := with(t, gen, "fault", "error=server_error")
		g := b.grant()
		b.s.Next("none")
		b.wantOK(b.refresh(g.RefreshToken)) // the queue comes first
		for range 2 {
			b.wantError(b.refresh(g.RefreshToken), "server_error", "unexpected error")
			b.wantVerdict("refused:server_error")
		}
	},
	"access_ttl": func(t *testing.T) {
		b := with(t, gen, "access_ttl", "10m")
		g := b.grant()
		if v := b.refresh(g.RefreshToken).json(t)["expires_in"]; v != 600.0 {
			t.Errorf("expires_in = %v", v)
		}
		b.s.Advance(10*time.Minute - time.Second)
		if a := b.get("/resource", g.AccessToken); a.status != 200 {
			t.Errorf("before the end: %d", a.status)
		}
		b.s.Advance(time.Second)
		a := b.get("/resource", g.AccessToken)
		if a.status != 401 || !strings.Contains(a.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
			t.Errorf("at the end: %d %v", a.status, a.header)
		}
	},
	"sliding": func(t *testing.T) {
		for _, tt := range []struct {
			value string
			use   time.Duration
			alive bool
		}{{"on", 50 * time.Minute, false}, {"on", 70 * time.Minute, true}, {"off", 70 * time.Minute, false}, {"", 70 * time.Minute, true}} {
			b := with(t, sf, "sliding", tt.value) // 2 h
			g := b.grant()
			b.s.Advance(tt.use)
			b.get("/services/data/v60.0/limits", g.AccessToken)
			b.s.Advance(2*time.Hour - tt.use + time.Minute)
			if a := b.get("/services/data/v60.0/limits", g.AccessToken); (a.status == 200) != tt.alive {
				t.Errorf("sliding=%s, used at %v: %d %s", tt.value, tt.use, a.status, a.body)
			}
		}
	},
	"expires_in": func(t *testing.T) {
		for _, tt := range []struct {
			persona idptest.Persona
			value   string
			present bool
		}{{gen, "", true}, {gen, "absent", false}, {sf, "", false}, {sf, "present", true}} {
			b := with(t, tt.persona, "expires_in", tt.value)
			if _, ok := b.refresh(b.grant().RefreshToken).json(t)["expires_in"]; ok != tt.present {
				t.Errorf("%s expires_in=%s: present = %t", tt.persona, tt.value, ok)
			}
		}
	},
	"omit": func(t *testing.T) {
		b := with(t, sf, "omit", "scope,token_type")
		m := b.refresh(b.grant().RefreshToken).json(t)
		if m["scope"] != nil || m["token_type"] != nil || m["id"] == nil {
			t.Errorf("answer %v", m)
		}
	},
	"jwt_access": func(t *testing.T) {
		b := with(t, sf, "jwt_access", "true")
		at := b.refresh(b.grant().RefreshToken).member("access_token")
		if strings.Count(at, ".") != 2 || b.get("/services/data/v60.0/limits", at).status != 200 {
			t.Errorf("access token %q", at)
		}
	},
	"old_access_dies": func(t *testing.T) {
		for _, on := range []string{"false", "true"} {
			b := with(t, gen, "old_access_dies", on)
			g := b.grant()
			a := b.refresh(g.RefreshToken)
			_, _, old := b.s.FindAccess(g.AccessToken)
			_, _, young := b.s.FindAccess(a.member("access_token"))
			if old != (on == "false") || !young {
				t.Errorf("old_access_dies=%s: old lives %t, new lives %t", on, old, young)
			}
		}
	},
	"early_refused": func(t *testing.T) {
		b := with(t, gen, "early_refused", "true")
		g := b.grant()
		b.wantError(b.refresh(g.RefreshToken), "invalid_request", "the access token is still fresh")
		b.s.Advance(31 * time.Minute)
		b.wantOK(b.refresh(g.RefreshToken))
	},
	"wrong_host": func(t *testing.T) {
		b := with(t, sf, "wrong_host", "true")
		far := b.s.NewGrant(idptest.GrantSpec{ClientID: "app", Host: "test.salesforce.example"})
		here := b.s.NewGrant(idptest.GrantSpec{ClientID: "app", Host: "sim.test"})
		b.wantError(b.refresh(far.RefreshToken), "invalid_grant", dead)
		if b.s.GrantState(far.ID).Revoked {
			t.Error("the wrong host revoked the grant")
		}
		b.wantOK(b.refresh(here.RefreshToken))
	},
	"require_secret": func(t *testing.T) {
		b := with(t, sf, "require_secret", "true")
		code := b.login("")
		b.wantError(b.redeem(code), "invalid_client", "invalid client credentials")
		b.wantOK(b.redeem(code, "client_secret", "s"))
	},
	"refresh_secret": func(t *testing.T) {
		b := with(t, sf, "refresh_secret", "true")
		g := b.grant()
		b.wantError(b.refresh(g.RefreshToken), "invalid_client", "invalid client credentials")
		b.wantOK(b.refresh(g.RefreshToken, "client_secret", "s"))
	},
	"require_pkce": func(t *testing.T) {
		b := with(t, sf, "require_pkce", "true")
		if v := b.authorize("response_type", "code"); v.Get("error") != "invalid_request" {
			t.Errorf("without challenge: %v", v)
		}
		if v := b.authorize("response_type", "code", "code_challenge", challenge); v.Get("code") == "" {
			t.Errorf("with challenge: %v", v)
		}
	},
	"refresh_idle": func(t *testing.T) {
		b := with(t, sf, "refresh_idle", "720h")
		g := b.grant()
		b.s.Advance(700 * time.Hour)
		b.wantOK(b.refresh(g.RefreshToken))
		b.s.Advance(700 * time.Hour)
		b.wantOK(b.refresh(g.RefreshToken)) // use counts anew
		b.s.Advance(721 * time.Hour)
		b.wantError(b.refresh(g.RefreshToken), "invalid_grant", dead)
	},
	"refresh_absolute": func(t *testing.T) {
		b := with(t, sf, "refresh_absolute", "720h")
		g := b.grant()
		b.s.Advance(700 * time.Hour)
		b.wantOK(b.refresh(g.RefreshToken))
		b.s.Advance(21 * time.Hour)
		b.wantError(b.refresh(g.RefreshToken), "invalid_grant", dead)
	},
	"refresh_at_once": func(t *testing.T) {
		b := with(t, sf, "refresh_at_once", "true")
		b.wantError(b.refresh(b.grant().RefreshToken), "invalid_grant", dead)
	},
	"max_approvals": func(t *testing.T) {
		for _, tt := range []struct {
			persona idptest.Persona
			value   string
			evicted bool
		}{{sf, "0", true}, {sf, "-1", false}, {gen, "0", false}, {gen, "5", true}} {
			b := with(t, tt.persona, "max_approvals", tt.value)
			var gs []idptest.Grant
			for range 6 {
				gs = append(gs, b.grant())
			}
			b.s.NewGrant(idptest.GrantSpec{ClientID: "app", Subject: "another@example.com"}) // counts apart
			for i, g := range gs {
				if want := tt.evicted && i == 0; b.s.GrantState(g.ID).Revoked != want {
					t.Errorf("%s max_approvals=%s: grant %d revoked = %t", tt.persona, tt.value, i, !want)
				}
			}
		}
	},
	"logins_per_hour": func(t *testing.T) {
		b := with(t, sf, "logins_per_hour", "2")
		g := b.grant()
		b.wantOK(b.refresh(g.RefreshToken))
		b.wantOK(b.refresh(g.RefreshToken))
		b.wantError(b.refresh(g.RefreshToken), "rate_limit_exceeded", "Number of logins exceeded")
		b.s.Advance(61 * time.Minute)
		b.wantOK(b.refresh(g.RefreshToken))
	},
	"callback_iss": func(t *testing.T) {
		for _, tt := range []struct {
			persona     idptest.Persona
			value, want string
		}{{gen, "", "http://sim.test"}, {gen, "wrong", "https://attacker.example"}, {gen, "absent", ""}, {sf, "", ""}} {
			b := with(t, tt.persona, "callback_iss", tt.value)
			if v := b.authorize("response_type", "code"); v.Get("iss") != tt.want {
				t.Errorf("%s callback_iss=%s: iss = %q", tt.persona, tt.value, v.Get("iss"))
			}
		}
	},
	"callback_state": func(t *testing.T) {
		for value, want := range map[string]string{"": "xyz", "right": "xyz", "wrong": "somebody-elses-state", "absent": ""} {
			b := with(t, gen, "callback_state", value)
			if v := b.authorize("response_type", "code", "state", "xyz"); v.Get("state") != want {
				t.Errorf("callback_state=%s: state = %q", value, v.Get("state"))
			}
		}
	},
	"dialect": func(t *testing.T) {
		b := with(t, gen, "dialect", "amazon-sp")
		a := b.get("/authorize?state=xyz&application_id=amzn1.sp.solution.app&redirect_uri="+url.QueryEscape(callback), "")
		to, _ := url.Parse(a.header.Get("Location"))
		if v := to.Query(); v.Get("spapi_oauth_code") == "" || v.Has("code") || v.Get("selling_partner_id") == "" {
			t.Errorf("%d, back with %v", a.status, v)
		}
		if a := b.get("/authorize?client_id=app&state=xyz&redirect_uri="+url.QueryEscape(callback), ""); a.status != 400 {
			t.Errorf("a standard name was answered with %d", a.status)
		}
		b = with(t, gen, "dialect", "aws-sso")
		g := b.grant()
		b.wantError(b.refresh(g.RefreshToken), "invalid_request", "the body is no JSON object of strings")
		tell := func(body string) answer {
			r, _ := http.NewRequest(http.MethodPost, b.base+b.token, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			return b.do(r)
		}
		a = tell(`{"grantType":"refresh_token","clientId":"app","refreshToken":"` + g.RefreshToken + `"}`)
		if a.status != 200 || a.member("accessToken") == "" || a.member("access_token") != "" {
			t.Errorf("%d %s", a.status, a.body)
		}
		if e := b.last(); e.GrantType != "refresh_token" || e.GrantID != g.ID || len(e.Params) != 3 || e.Params[0] == "grant_type" {
			t.Errorf("the ledger has %+v", e)
		}
		b.wantError(tell(`{"grant_type":"refresh_token","clientId":"app"}`), "invalid_request", "unknown parameter grant_type")
	},
	"callback_error": func(t *testing.T) {
		b := with(t, gen, "callback_error", "access_denied")
		if v := b.authorize("response_type", "code", "state", "xyz"); v.Get("error") != "access_denied" || v.Get("state") != "xyz" || v.Get("code") != "" {
			t.Errorf("back with %v", v)
		}
	},
	"device_ttl": func(t *testing.T) {
		for persona, want := range map[idptest.Persona]string{sf: "invalid_grant", gen: "expired_token"} {
			b := with(t, persona, "device_ttl", "1m")
			code := b.startDevice().member("device_code")
			b.s.Advance(61 * time.Second)
			if a := b.pollDevice(code); a.member("error") != want {
				t.Errorf("%s: %s", persona, a.body)
			}
		}
	},
	"device_polls": func(t *testing.T) {
		b := with(t, sf, "device_polls", "2")
		code := b.startDevice().member("device_code")
		for range 2 {
			time.Sleep(5 * time.Second)
			b.wantError(b.pollDevice(code), "authorization_pending", "user has not yet approved")
		}
		time.Sleep(5 * time.Second)
		b.wantOK(b.pollDevice(code))
	},
	"device_interval": func(t *testing.T) {
		b := with(t, gen, "device_interval", "7s", "device_polls", "1")
		a := b.startDevice()
		if v := a.json(t)["interval"]; v != 7.0 {
			t.Errorf("interval = %v", v)
		}
		code := a.member("device_code")
		b.pollDevice(code)
		time.Sleep(6 * time.Second)
		b.wantError(b.pollDevice(code), "slow_down", "polling too fast")
		time.Sleep(12 * time.Second)
		b.wantOK(b.pollDevice(code))
	},
	"revoke_status": func(t *testing.T) {
		b := with(t, gen, "revoke_status", "503")
		g := b.grant()
		a := b.post("/revoke", "token", g.RefreshToken, "client_id", "app")
		if a.status != 503 || a.header.Get("Retry-After") == "" || b.s.GrantState(g.ID).Revoked {
			t.Errorf("revocation: %d %v", a.status, a.header)
		}
	},
	"resource_status": func(t *testing.T) {
		for value, want := range map[string]int{"0": 200, "401": 401, "503": 503} {
			b := with(t, gen, "resource_status", value)
			if a := b.get("/resource", b.grant().AccessToken); a.status != want {
				t.Errorf("resource_status=%s: %d", value, a.status)
			}
		}
	},
}

func TestHabitsAsJSON(t *testing.T) {
	var h idptest.Habits
	if err := json.Unmarshal([]byte(`{"rotation":true,"grace":"30s","delay_after":1.5,"max_approvals":-1,"fault":"lost+delay-before=1s"}`), &h); err != nil {
		t.Fatal(err)
	}
	if !h.Rotation || h.Grace != 30*time.Second || h.DelayAfter != 1500*time.Millisecond || h.MaxApprovals != -1 || h.Fault != "lost+delay-before=1s" {
		t.Errorf("habits = %+v", h)
	}
	text, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var again idptest.Habits
	if err := json.Unmarshal(text, &again); err != nil || again != h {
		t.Errorf("%s gave %+v, %v", text, again, err)
	}
	for _, bad := range []string{`{"reuse":"maybe"}`, `{"rotation":true,"unknown":1}`, `{"fault":"nonsense"}`, `{"fault":"lost=3"}`, `{"grace":"soon"}`} {
		before := h
		if err := json.Unmarshal([]byte(bad), &h); err == nil || h != before {
			t.Errorf("%s: error %v, changed %t", bad, err, h != before)
		}
	}
	names := map[string]bool{}
	for _, row := range idptest.HabitTable() {
		if names[row.Name] || row.Doc == "" {
			t.Errorf("row %q is double or has no text", row.Name)
		}
		names[row.Name] = true
	}
}

const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" // RFC 7636 appendix B
	callback  = "http://localhost:1717/OauthRedirect"
)

// authorize returns what the redirect back carries.
func (b *bed) authorize(pairs ...string) url.Values {
	b.Helper()
	v := url.Values{"client_id": {"app"}, "redirect_uri": {callback}}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	a := b.get(strings.Replace(b.token, "token", "authorize", 1)+"?"+v.Encode(), "")
	to, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.status != 302 {
		b.Fatalf("authorize: %d %s, %v", a.status, a.body, err)
	}
	out := to.Query()
	if f, err := url.ParseQuery(to.Fragment); err == nil {
		for k := range f {
			out.Set(k, f.Get(k))
		}
	}
	return out
}

// login returns a code.
func (b *bed) login(challenge string) string {
	b.Helper()
	return b.authorize("response_type", "code", "code_challenge", challenge, "code_challenge_method", "S256").Get("code")
}

func (b *bed) redeem(code string, more ...string) answer {
	b.Helper()
	return b.post(b.token, append([]string{"grant_type", "authorization_code", "code", code, "client_id", "app", "redirect_uri", callback}, more...)...)
}

func (b *bed) startDevice() answer {
	if b.token == "/token" {
		return b.post("/device_authorization", "client_id", "app")
	}
	return b.post(b.token, "response_type", "device_code", "client_id", "app")
}

func (b *bed) pollDevice(code string) answer {
	if b.token == "/token" {
		return b.post(b.token, "grant_type", "urn:ietf:params:oauth:grant-type:device_code", "device_code", code, "client_id", "app")
	}
	return b.post(b.token, "grant_type", "device", "code", code, "client_id", "app")
}

func TestNoHabitTestIsLeftOver(t *testing.T) {
	var names []string
	for _, h := range idptest.HabitTable() {
		names = append(names, h.Name)
	}
	for name := range habitTests {
		if !slices.Contains(names, name) {
			t.Errorf("test for habit %s, which doesn't exist", name)
		}
	}
}
