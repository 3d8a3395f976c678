package idptest_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

// A sight is what a client sees of a fault, and what the server then knows.
type sight struct {
	*bed
	g idptest.Grant
	a answer
	e idptest.Entry
}

// TestEveryFault runs a refresh into each fault of the table. A fault without
// an expectation fails. What the ledger must say follows from the group.
func TestEveryFault(t *testing.T) {
	for _, row := range idptest.FaultTable() {
		t.Run(row.Name, func(t *testing.T) {
			check, f := expectation(row)
			if check == nil {
				t.Fatal("no expectation")
			}
			synctest.Test(t, func(t *testing.T) {
				b := bubble(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
				g := b.grant()
				b.s.Next(f)
				if strings.HasPrefix(row.Name, "hang") {
					b.http.Timeout = time.Minute
				}
				a := b.refresh(g.RefreshToken)
				b.s.WaitIdle(time.Hour)
				s := sight{b, g, a, b.last()}
				check(s)
				s.judge(row)
			})
		})
	}
}

// judge compares the ledger and the grant with what the group promises.
func (s sight) judge(row idptest.FaultRow) {
	s.Helper()
	e, st := s.e, s.s.GrantState(s.g.ID)
	if e.GrantID != s.g.ID || e.Generation != 1 || !e.Done || !strings.HasPrefix(e.Fault, row.Name) {
		s.Errorf("entry %+v", e)
	}
	processed := row.Group != idptest.Before
	if e.Processed != processed || (e.AccessNumber == 2) != processed || st.AccessNumber != e.AccessNumber && processed {
		s.Errorf("processed = %t, want %t; %+v", e.Processed, processed, e)
	}
	if delivered := row.Group != idptest.After && !slices.Contains(undelivered, row.Name); processed && e.Delivered != delivered {
		s.Errorf("delivered = %t, want %t", e.Delivered, delivered)
	}
	if !processed && e.Verdict == idptest.Issued {
		s.Errorf("verdict = %s", e.Verdict)
	}
	if _, _, living := s.s.Find(s.g.RefreshToken); living == (processed && !slices.Contains(kept, row.Name)) {
		s.Errorf("the old refresh token lives: %t", living)
	}
	if rt := s.a.member("refresh_token"); rt != "" && row.Name != "dup-refresh" && row.Name != "rt-number" {
		if _, _, living := s.s.Find(rt); !living {
			s.Errorf("the answer's refresh token %.20q doesn't live", rt)
		}
	}
}

// undelivered are the processed answers that carry no tokens, or end early.
var undelivered = []string{"html-200", "empty-200", "empty-204", "empty-object", "json-array", "error-200", "ok-false", "endless"}

// kept are the answers that leave the client with the token it sent.
var kept = []string{"rt-absent", "rt-null", "rt-empty", "rt-same"}

// expectation is the check for a row, and the fault to queue.
func expectation(row idptest.FaultRow) (func(sight), idptest.Fault) {
	f := idptest.Fault(row.Name)
	if row.Arg != "" {
		f += idptest.Fault("=" + faultArgs[row.Name])
	}
	if check := faultChecks[row.Name]; check != nil {
		return check, f
	}
	code, rest, found := strings.Cut(row.Name, "-")
	if n, err := strconv.Atoi(code); err == nil && found { // 503-before, 429-retry-date
		return func(s sight) {
			status(n)(s)
			_, has := s.a.header["Retry-After"]
			if want := strings.HasPrefix(rest, "retry-") && rest != "retry-none" || rest == "rate"; has != want {
				s.Errorf("Retry-After present: %t", has)
			}
		}, f
	}
	if m := strings.Split(row.Name, "-"); m[0] == "redirect" {
		return redirected(m[1], m[2]), f
	}
	return nil, f
}

var faultArgs = map[string]string{"delay-before": "3s", "delay-after": "3s", "error": "inactive_user", "status": "418", "status-after": "418", "exp": "77"}

func status(n int) func(sight) {
	return func(s sight) {
		s.Helper()
		if s.a.err != nil || s.a.status != n {
			s.Errorf("status = %d, %v; want %d", s.a.status, s.a.err, n)
		}
	}
}

func redirected(code, where string) func(sight) {
	return func(s sight) {
		n, _ := strconv.Atoi(code)
		status(n)(s)
		want := map[string]string{"same": "http://sim.test/", "other": "http://localhost/", "http": "http://sim.test/"}[where]
		to := s.a.header.Get("Location")
		if !strings.HasPrefix(to, want) {
			s.Errorf("Location = %q", to)
		}
	}
}

// broken: the exchange or the body fails, with this much of an answer seen.
func broken(status int) func(sight) {
	return func(s sight) {
		s.Helper()
		if s.a.err == nil || s.a.status != status {
			s.Errorf("answer %d %q, %v; want a broken exchange after status %d", s.a.status, s.a.body, s.a.err, status)
		}
	}
}

// has: a 200 whose body contains the text.
func has(text string) func(sight) {
	return func(s sight) {
		s.Helper()
		status(200)(s)
		if !strings.Contains(s.a.body, text) {
			s.Errorf("body %.200q lacks %q", s.a.body, text)
		}
	}
}

// lacks: a 200 whose body doesn't contain the text.
func lacks(text string) func(sight) {
	return func(s sight) {
		s.Helper()
		status(200)(s)
		if strings.Contains(s.a.body, text) {
			s.Errorf("body %.200q has %q", s.a.body, text)
		}
	}
}

func ctype(want string) func(sight) {
	return func(s sight) {
		status(200)(s)
		if got := s.a.header.Get("Content-Type"); got != want {
			s.Errorf("Content-Type = %q", got)
		}
	}
}

func took(d time.Duration) func(sight) {
	return func(s sight) {
		s.wantOK(s.a)
		if got := time.Since(s.e.Time); got != d {
			s.Errorf("took %v, want %v", got, d)
		}
	}
}

func refreshTokenIs(ok func(rt string) bool) func(sight) {
	return func(s sight) {
		if rt := s.a.member("refresh_token"); !ok(rt) {
			s.Errorf("refresh token = %.40q", rt)
		}
	}
}

var faultChecks = map[string]func(sight){
	"delay-before":   took(3 * time.Second),
	"delay-after":    took(3 * time.Second),
	"drop-before":    broken(0),
	"reset-before":   broken(0),
	"hang-before":    broken(0),
	"error":          func(s sight) { s.wantError(s.a, "inactive_user", "user is inactive") },
	"lost":           broken(0),
	"lost-reset":     broken(0),
	"hang-after":     broken(0),
	"lost-headers":   broken(0),
	"cut-body":       broken(200),
	"cut-chunk":      broken(200),
	"cut-gzip":       broken(200),
	"short-length":   func(s sight) { has(`{"access_token":"`)(s); lacks("}")(s) },
	"interim":        func(s sight) { s.wantOK(s.a) },
	"gzip":           func(s sight) { s.wantOK(s.a) },
	"chunked":        func(s sight) { s.wantOK(s.a); lengthless(s) },
	"status":         status(418),
	"status-after":   status(418),
	"500-json":       func(s sight) { status(500)(s); s.member("error", "invalid_grant") },
	"500-json-after": func(s sight) { status(500)(s); s.member("error", "invalid_grant") },
	"dpop-nonce": func(s sight) {
		s.wantError(s.a, "use_dpop_nonce", "Authorization server requires nonce in DPoP proof")
		if s.a.header.Get("DPoP-Nonce") == "" {
			s.Error("no nonce")
		}
	},

	"normal":         has(`"token_type":"Bearer","expires_in":3600,`),
	"type-lower":     has(`"token_type":"bearer"`),
	"ctype-html":     ctype("text/html"),
	"ctype-text":     ctype("text/plain"),
	"exp-absent":     lacks("expires"),
	"exp-string":     has(`"expires_in":"3600"`),
	"exp-float":      has(`"expires_in":3600.0,`),
	"exp-null":       has(`"expires_in":null`),
	"exp-empty":      has(`"expires_in":""`),
	"type-absent":    lacks("token_type"),
	"type-odd":       has(`"token_type":"BearerToken"`),
	"rt-absent":      lacks("refresh_token"),
	"rt-null":        has(`"refresh_token":null`),
	"rt-empty":       has(`"refresh_token":""`),
	"scope-array":    has(`"scope":["read","write","offline_access"]`),
	"error-null":     has(`"error":null`),
	"status-201":     status(201),
	"bom":            has("\ufeff{"),
	"exp-fraction":   has(`"expires_in":3600.5`),
	"exp-exponent":   has(`"expires_in":1e3`),
	"exp-hour":       has(`"expires_in":"1h"`),
	"exp-zero":       has(`"expires_in":0,`),
	"exp-negative":   has(`"expires_in":-5`),
	"exp-huge":       has(`"expires_in":1e20`),
	"exp-nan":        has(`"expires_in":"NaN"`),
	"exp-bool":       has(`"expires_in":true`),
	"exp-array":      has(`"expires_in":[3600]`),
	"exp-digits":     has(strings.Repeat("9", 100_000)),
	"exp":            has(`"expires_in":77,`),
	"exp-expires":    func(s sight) { has(`"expires":3600`)(s); lacks("expires_in")(s) },
	"exp-expires-on": func(s sight) { has(`"expires_on":"`)(s); lacks("expires_in")(s) },

	"rt-same":     func(s sight) { refreshTokenIs(func(rt string) bool { return rt == s.g.RefreshToken })(s) },
	"rt-number":   func(s sight) { has(`"refresh_token":1`)(s); s.numberLives() },
	"rt-1mib":     refreshTokenIs(func(rt string) bool { return len(rt) == 1<<20 }),
	"rt-nul":      refreshTokenIs(func(rt string) bool { return strings.Contains(rt, "\x00") }),
	"rt-newline":  refreshTokenIs(func(rt string) bool { return strings.Contains(rt, "\r\n") }),
	"rt-nonascii": refreshTokenIs(func(rt string) bool { return strings.Contains(rt, "é漢") }),

	"html-200":        has("<html>"),
	"empty-200":       func(s sight) { status(200)(s); s.empty() },
	"empty-204":       func(s sight) { status(204)(s); s.empty() },
	"empty-object":    has("{}"),
	"json-array":      has("[]"),
	"error-200":       has(`"error":"bad_refresh_token"`),
	"ok-false":        has(`"ok":false`),
	"error-and-token": func(s sight) { s.wantOK(s.a); s.member("error", "invalid_grant") },
	"no-access":       func(s sight) { lacks("access_token")(s); has("refresh_token")(s) },
	"access-number":   has(`"access_token":12345,`),
	"access-empty":    has(`"access_token":""`),
	"dup-access":      twice(`"access_token":`),
	"dup-refresh":     twice(`"refresh_token":`),
	"case-keys":       func(s sight) { has(`"Access_Token":`)(s); has(`"Refresh_Token":`)(s); twice(`efresh_`)(s) },
	"trailing":        has(`}{"access_token":"second"}`),
	"deep":            has(strings.Repeat("[", 100_000)),
	"bad-utf8":        has("\xff\xfe\xc3("),
	"form-body":       func(s sight) { ctype("text/plain")(s); has("access_token=")(s) },
	"type-mac":        has(`"token_type":"mac"`),
	"type-dpop":       has(`"token_type":"DPoP"`),
	"type-inverted":   has(`"token_type":"bEARER"`),
	"scope-absent":    lacks("scope"),
	"scope-narrow":    has(`"scope":"read"`),
	"scope-wide":      has(`"scope":"read write offline_access admin"`),
	"scope-order":     has(`"scope":"offline_access write read"`),
	"id-other":        has(`"sub":"somebody-else"`),
	"instance-other":  has(`"instance_url":"https://attacker.example"`),
	"gzip-bomb":       func(s sight) { s.size(64 << 20) },
	"endless":         func(s sight) { s.size(66<<20 - 1) },
	"drip":            func(s sight) { s.wantOK(s.a); s.slow() },
}

func twice(text string) func(sight) {
	return func(s sight) {
		if n := strings.Count(s.a.body, text); n != 2 {
			s.Errorf("%q occurs %d times in %q", text, n, s.a.body)
		}
	}
}

func lengthless(s sight) {
	if s.a.header.Get("Content-Length") != "" {
		s.Error("a chunked answer has a Content-Length")
	}
}

func (s sight) member(name, want string) {
	s.Helper()
	if got := s.a.member(name); got != want {
		s.Errorf("%s = %q, want %q", name, got, want)
	}
}

func (s sight) empty() {
	if s.a.body != "" {
		s.Errorf("body = %q", s.a.body)
	}
}

func (s sight) size(atLeast int) {
	if len(s.a.body) <= atLeast {
		s.Errorf("body has %d bytes, %v", len(s.a.body), s.a.err)
	}
}

func (s sight) slow() {
	if got, want := time.Since(s.e.Time), time.Duration(len(s.a.body)-1)*time.Second; got != want {
		s.Errorf("took %v for %d bytes", got, len(s.a.body))
	}
}

func (s sight) numberLives() {
	_, rest, _ := strings.Cut(s.a.body, `"refresh_token":`)
	digits, _, _ := strings.Cut(rest, ",")
	if _, generation, living := s.s.Find(digits); !living || generation != 2 {
		s.Errorf("refresh token %s: generation %d, living %t", digits, generation, living)
	}
}

// TestShapesOfTheWild: the eighteen shapes by name.
func TestShapesOfTheWild(t *testing.T) {
	want := strings.Fields("normal type-lower ctype-html exp-absent exp-string exp-float exp-null exp-empty type-absent type-odd rt-absent rt-null rt-empty scope-array ctype-text error-null status-201 bom")
	if len(want) != 18 {
		t.Fatal("not eighteen")
	}
	names := idptest.FaultNames(idptest.Shape)
	for _, name := range want {
		if !slices.Contains(names, name) {
			t.Errorf("no shape %s", name)
		}
	}
}

// TestSpoiledRefusal: a cut spoils refusals too; a shape leaves them alone.
func TestSpoiledRefusal(t *testing.T) {
	b := listen(t, idptest.Config{})
	b.s.Next("lost", "bom")
	if a := b.refresh("nonsense"); a.err == nil {
		t.Errorf("answer %d %s", a.status, a.body)
	}
	if e := b.last(); e.Delivered || e.Processed || e.Verdict != "refused:invalid_grant" {
		t.Errorf("entry %+v", e)
	}
	b.wantError(b.refresh("nonsense"), "invalid_grant", dead)
}

// TestRedirectTrap: a client that follows redirects is found out.
func TestRedirectTrap(t *testing.T) {
	b := listen(t, idptest.Config{})
	b.http.CheckRedirect = nil // follow
	g := b.grant()
	for _, tt := range []struct {
		fault  idptest.Fault
		leaked bool
	}{{"redirect-307-same", true}, {"redirect-308-other", true}, {"redirect-302-other", false}} {
		b.s.Next(tt.fault)
		b.refresh(g.RefreshToken)
		e := b.last()
		if e.Verdict != idptest.Trapped || (e.Generation == 1) != tt.leaked || e.Processed {
			t.Errorf("%s: entry %+v", tt.fault, e)
		}
		if strings.HasSuffix(string(tt.fault), "other") == strings.HasPrefix(e.Host, "127.") {
			t.Errorf("%s: host %s", tt.fault, e.Host)
		}
	}
	if _, _, living := b.s.Find(g.RefreshToken); !living {
		t.Error("a redirect spent the token")
	}
}

// TestResetOnTheWire: on a real socket a reset is one.
func TestResetOnTheWire(t *testing.T) {
	b := listen(t, idptest.Config{})
	for _, f := range []idptest.Fault{"reset-before", "lost-reset"} {
		b.s.Next(f)
		if a := b.refresh(b.grant().RefreshToken); a.err == nil || !strings.Contains(a.err.Error(), "reset") {
			t.Errorf("%s: %v", f, a.err)
		}
	}
}

// TestIdempotencyKey: net/http sends a POST again when a kept connection dies,
// if that header is there. The ledger must show both.
func TestIdempotencyKey(t *testing.T) {
	for _, key := range []string{"", "k"} {
		b := listen(t, idptest.Config{})
		tr := &http.Transport{}
		b.http.Transport = tr
		g := b.grant()
		b.wantOK(b.refresh(g.RefreshToken))
		b.s.Next("lost")
		r, _ := http.NewRequest(http.MethodPost, b.base+"/token", strings.NewReader("grant_type=refresh_token&client_id=app&refresh_token="+g.RefreshToken))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if key != "" {
			r.Header.Set("Idempotency-Key", key)
		}
		b.do(r)
		want := 2
		if key != "" {
			want = 3
		}
		if n := len(b.s.TokenRequests(g.ID)); n != want {
			t.Errorf("key %q: %d requests, want %d", key, n, want)
		}
		tr.CloseIdleConnections()
	}
}

// TestEveryError: each row of the error table is answered as it says, by name,
// and changes nothing.
func TestEveryError(t *testing.T) {
	b := listen(t, idptest.Config{Persona: idptest.Salesforce, Habits: idptest.Habits{Rotation: true}})
	g := b.grant()
	rows := idptest.ErrorTable()
	seen := map[string]bool{}
	for i, name := range idptest.ErrorNames() {
		row := rows[i]
		if seen[name] || name != row.Name {
			t.Errorf("error name %q is double or out of order", name)
		}
		seen[name] = true
		b.s.Next(idptest.Fault("error=" + name))
		a := b.refresh(g.RefreshToken)
		if a.status != row.Status || a.member("error") != row.Code || a.member("error_description") != row.Description {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if e := b.last(); e.Processed || !e.Delivered || e.Verdict != "refused:"+row.Code {
			t.Errorf("%s: entry %+v", name, e)
		}
	}
	b.wantOK(b.refresh(g.RefreshToken))
}

func TestBadFaultPanics(t *testing.T) {
	s := idptest.New(idptest.Config{})
	for _, f := range []idptest.Fault{"nonsense", "error=nonsense", "status=9", "delay-before=soon", "lost+nonsense"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Next(%q) didn't panic", f)
				}
			}()
			s.Next(f)
		}()
		if f.Valid() == nil {
			t.Errorf("%q is valid", f)
		}
	}
	for _, f := range []idptest.Fault{"", "none", "lost+delay-before=2s"} {
		if err := f.Valid(); err != nil {
			t.Error(err)
		}
	}
	var names []string
	for _, row := range idptest.FaultTable() {
		if slices.Contains(names, row.Name) || row.Doc == "" {
			t.Errorf("row %q is double or has no text", row.Name)
		}
		names = append(names, row.Name)
	}
	if !slices.Equal(idptest.FaultNames(), names) {
		t.Error("FaultNames differs from FaultTable")
	}
}
