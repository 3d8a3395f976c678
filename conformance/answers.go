package conformance

import (
	"net"
	"slices"
	"strings"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

// basicCases show that the program refreshes at all.
func basicCases() []Case {
	return []Case{
		{"refresh", "basic", "a program that fails this one is run in the wrong way, and the other cases say nothing", idptest.Habits{}, func(t *trial) {
			t.refreshes("the run")
			if n := t.sent(); n != 1 && len(t.problems) == 0 {
				t.failf("%s for one refresh", plural(n, "request"))
			}
		}},
		{"keeps-token", "basic", "most servers send no refresh token with a refresh: the old one stays (RFC 6749 §6)", idptest.Habits{}, func(t *trial) {
			t.idp.SetHabits(func(h *idptest.Habits) { h.Omit = "refresh_token" })
			twice(t)
		}},
		{"rotation", "basic", "servers that rotate give a new refresh token each time; the next run must send that one", rotating, twice},
		{"many", "basic", "a slip in one of ten refreshes ends a grant within a day", rotating, func(t *trial) {
			for range 10 {
				t.refreshes("one of ten runs")
			}
		}},
		{"expired", "basic", "a night's break: the access token has ended, the refresh token has not", rotating, func(t *trial) {
			if err := t.idp.Expire(t.grant.ID); err != nil {
				t.fault(err)
			}
			twice(t)
		}},
		{"plain-request", "basic", "a request in any other form is refused by some server (RFC 6749 §6 and appendix B)", idptest.Habits{}, func(t *trial) {
			t.refreshes("the run")
			for _, e := range t.idp.TokenRequests(t.grant.ID) {
				if e.Method != "POST" || e.ContentType != "application/x-www-form-urlencoded" {
					t.failf("the request is %s %s, not POST application/x-www-form-urlencoded", e.Method, e.ContentType)
				}
				if e.ClientID != clientID {
					t.failf("the request does not carry the client id")
				}
				if e.IdempotencyKey {
					t.failf("the request has an Idempotency-Key, by which HTTP libraries take it for safe to repeat")
				}
			}
		}},
	}
}

// twice runs the program two times.
func twice(t *trial) {
	t.refreshes("the first run")
	t.refreshes("the second run")
}

// shapes are the eighteen forms of an honest answer, with what each is for.
var shapes = [][2]string{
	{"normal", "the plain case, against which the others are read"},
	{"type-lower", "token_type is case-insensitive (RFC 6749 §5.1)"},
	{"ctype-html", "some gateways declare every answer as text/html"},
	{"ctype-text", "some servers declare JSON as text/plain"},
	{"exp-absent", "Salesforce and others send no expires_in"},
	{"exp-string", "Microsoft, PayPal and Apigee have sent expires_in as a string"},
	{"exp-float", "3600.0 is what servers in languages without integers send"},
	{"exp-null", "null is how some serializers write what is not set"},
	{"exp-empty", "an empty string is how others do"},
	{"type-absent", "servers leave token_type out"},
	{"type-odd", "Apigee says BearerToken"},
	{"rt-absent", "no new refresh token means: keep the old one"},
	{"rt-null", "null means the same; stored, it ends the grant"},
	{"rt-empty", "an empty string means the same; stored, it ends the grant"},
	{"scope-array", "some servers send scopes as a list"},
	{"error-null", "some serializers write every member of their type"},
	{"status-201", "some frameworks answer a POST with 201"},
	{"bom", "some frameworks begin every answer with a byte order mark"},
}

func shapeCases() []Case {
	var out []Case
	for _, s := range shapes {
		out = append(out, Case{s[0], "shapes", s[1], rotating, func(t *trial) {
			t.idp.Next(idptest.Fault(s[0]))
			twice(t)
		}})
	}
	return out
}

// refusals are answers to a request that was not processed, and says so.
var refusals = []struct {
	name  string
	fault idptest.Fault
	why   string
}{
	{"429", "429-retry-none", "a rate limit is no verdict on the grant"},
	{"429-seconds", "429-retry-seconds", "a rate limit with Retry-After in seconds"},
	{"429-date", "429-retry-date", "a rate limit with Retry-After as a date"},
	{"429-junk", "429-retry-junk", "a Retry-After that nobody can read"},
	{"503", "503-before", "an overloaded front end is no verdict on the grant"},
	{"503-negative", "503-retry-negative", "a Retry-After below zero"},
	{"401-empty", "401-empty", "a 401 without an OAuth error is a gateway's word, not the server's"},
	{"403-page", "status=403", "a firewall's page is no verdict on the grant"},
	{"403-rate", "403-rate", "403 is how some limit the rate; programs took it for a revocation"},
	{"404-page", "status=404", "a wrong route during a deployment"},
	{"408-page", "status=408", "a timeout in front of the server"},
	{"400-empty", "400-empty", "a 400 without an OAuth error"},
	{"busy", "error=busy", "Salesforce says invalid_grant when another refresh is under way"},
	{"temporarily_unavailable", "error=temporarily_unavailable", "an error code that says to try again"},
	{"server_error", "error=server_error", "an error code that says to try again"},
	{"slow_down", "error=slow_down", "an error code that says to wait"},
	{"rate_limit_exceeded", "error=rate_limit_exceeded", "a limit on logins ends within the hour"},
	{"system_down", "error=system_down", "maintenance"},
	{"inactive_org", "error=inactive_org", "an organisation can be switched on again"},
	{"app_blocked", "error=app_blocked", "an administrator can allow the app again"},
	{"invalid_client", "error=invalid_client-401", "a client secret that expired says nothing about the grant"},
	{"invalid_client_id", "error=invalid_client_id", "a slip in the configuration must not cost the grant"},
	{"invalid_scope", "error=invalid_scope", "a slip in the configuration must not cost the grant"},
	{"unknown-code", "error=unknown-code", "an error code nobody has seen yet"},
	{"use_dpop_nonce", "dpop-nonce", "a server that begins to ask for more has not ended the grant"},
}

func refusalCases() []Case {
	var out []Case
	for _, r := range refusals {
		out = append(out, Case{r.name, "refusals", r.why, rotating, func(t *trial) {
			t.idp.Next(r.fault)
			transient(t)
		}})
	}
	return append(out,
		Case{"connection-refused", "refusals", "a server that is down for a minute", rotating, func(t *trial) {
			right := t.url
			if t.url = nobodyListens(t); t.url == "" {
				return
			}
			before := t.read()
			t.refused(t.run(), before)
			t.url = right
			t.refreshes("a later run")
		}},
		Case{"two-outages", "refusals", "an outage lasts longer than one try", rotating, func(t *trial) {
			for range 2 {
				t.idp.SetHabits(func(h *idptest.Habits) { h.Fault = "status=429" })
				before, p := t.read(), t.start()
				t.eventually(patience, func() bool { return t.sent() > 0 })
				t.idp.SetHabits(func(h *idptest.Habits) { h.Fault = "" })
				t.judgeTransient(t.wait(p), before)
			}
			t.refreshes("a later run")
		}},
		Case{"revoked", "refusals", "a dead grant is for a person to renew: what the file holds is needed to see why", rotating, func(t *trial) {
			t.revoke()
			before := t.read()
			t.refused(t.run(), before)
		}},
		Case{"revoked-stops", "refusals", "a dead refresh token sent every minute for a night locked a person out of the login", rotating, func(t *trial) {
			t.revoke()
			t.run()
			first := t.sent()
			t.run()
			if more := t.sent() - first; more > 0 {
				t.failf("the second run sent the refresh token again that the server had declared dead")
			}
		}},
		Case{"login-again", "refusals", "after a verdict somebody logs in, and the program must take the new grant", rotating, func(t *trial) {
			t.revoke()
			t.run()
			t.login()
			t.refreshes("the run after a new login")
		}},
	)
}

func (t *trial) revoke() {
	if err := t.idp.Revoke(t.grant.ID, "a person took the approval back"); err != nil {
		t.fault(err)
	}
}

// transient: the first request is refused for a while. The program may wait and
// try again in the same run, or leave it to the next.
func transient(t *trial) {
	before := t.read()
	t.judgeTransient(t.run(), before)
	t.refreshes("a later run")
}

func (t *trial) judgeTransient(p *process, before []byte) {
	if p.ok() {
		t.succeeded(p, before, "the run")
		return
	}
	t.untouched(before)
}

// nobodyListens is the URL of a port that was free a moment ago.
func nobodyListens(t *trial) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.fault(err)
		return ""
	}
	defer l.Close()
	return "http://" + l.Addr().String() + "/token"
}

// replies are ways to lose an answer, and answers that don't tell whether the
// request was processed. 503 is not among them: it says that the request was not
// handled (RFC 9110 §15.6.4), and is taken at its word.
var replies = [][2]string{
	{"lost", "the connection ends before any answer"},
	{"lost-reset", "the connection is reset"},
	{"lost-headers", "the connection ends inside the headers"},
	{"cut-body", "the connection ends inside the body"},
	{"cut-chunk", "the connection ends inside a chunk"},
	{"cut-gzip", "a compressed body ends early"},
	{"short-length", "a proxy passes on half of the body as if it were whole"},
	{"500-after", "500 after the token was replaced"},
	{"502-after", "a gateway gives up on a server that went on"},
	{"504-after", "a gateway's timeout is shorter than the server's work"},
	{"500-json-after", "500 with the words of a dead grant"},
}

// lostCases lose the answer of a request that the server has processed. On a
// server that rotates, nobody can keep the refresh token then; what can be kept
// is the good access token, and the chance of finding out.
func lostCases() []Case {
	var out []Case
	for _, r := range replies {
		fault := idptest.Fault(r[0])
		out = append(out, Case{r[0] + "-rotating", "lost", r[1] + "; sending the spent token again ends the grant and the good access token", rotating, func(t *trial) {
			t.idp.Next(fault)
			lostReply(t)
		}})
	}
	for _, name := range []string{"lost", "cut-body", "502-after"} {
		out = append(out,
			Case{name + "-static", "lost", "a server that does not rotate has taken nothing away: the grant must be there afterwards", idptest.Habits{}, func(t *trial) {
				t.idp.Next(idptest.Fault(name))
				before := t.read()
				t.judgeTransient(t.run(), before)
				t.run()
				t.alive()
				t.accessAlive()
			}},
			Case{name + "-grace", "lost", "a server with a grace window takes the old token for a while; the grant must not end in it", idptest.Habits{Rotation: true, Grace: 10 * time.Minute}, func(t *trial) {
				t.idp.Next(idptest.Fault(name))
				t.run()
				t.run()
				t.served()
			}})
	}
	return append(out,
		Case{"unprocessed", "lost", "the connection ends, and only the server knows that it had not begun", rotating, func(t *trial) {
			t.idp.Next("drop-before")
			lostReply(t)
			t.alive()
		}},
		Case{"500-unprocessed", "lost", "500 does not say whether the token was replaced", rotating, func(t *trial) {
			t.idp.Next("500-before")
			lostReply(t)
			t.alive()
		}},
		Case{"hang", "lost", "a server that never answers must not block a program for ever", rotating, func(t *trial) {
			t.idp.Next("hang-after")
			lostReply(t)
		}},
		Case{"second-reply", "lost", "a good run before does not make a lost reply harmless", rotating, func(t *trial) {
			t.refreshes("the first run")
			t.idp.Next("lost")
			lostReply(t)
		}},
		Case{"login-again", "lost", "after a lost reply somebody logs in, and the program must take the new grant", rotating, func(t *trial) {
			t.idp.Next("lost")
			t.run()
			t.login()
			t.refreshes("the run after a new login")
		}},
	)
}

// lostReply: a run whose answer does not arrive, and one after it.
func lostReply(t *trial) {
	before := t.read()
	p := t.run()
	t.judgeTransient(p, before)
	if p.overtime {
		return // a second one would only take as long
	}
	t.run()
	t.served()
}

// hostiles are answers that lie, attack or babble. Where static is set the
// answer hides the token, so the server keeps the old one.
var hostiles = []struct {
	fault  idptest.Fault
	static bool
	why    string
}{
	{"html-200", true, "the page of a captive portal, with status 200"},
	{"empty-200", true, "an empty answer overwrote token files"},
	{"empty-204", true, "no content"},
	{"empty-object", true, "an empty object overwrote token files"},
	{"json-array", true, "JSON of another kind"},
	{"error-200", true, "GitHub and others send errors with status 200"},
	{"ok-false", true, "Slack sends errors with status 200"},
	{"error-and-token", true, "an answer that says both yes and no"},
	{"access-empty", true, "an empty access token is none"},
	{"access-number", true, "an access token that is no string"},
	{"dup-access", true, "the access token twice: one of them is not the server's"},
	{"case-keys", false, "Refresh_Token is another member: libraries that ignore case store the wrong one"},
	{"trailing", true, "a second object behind the first"},
	{"deep", true, "nesting that ends the stack of a parser"},
	{"bad-utf8", true, "bytes that are no text"},
	{"no-access", false, "the new refresh token came, the access token did not: the refresh token is the one to keep"},
	{"exp-zero", false, "a strange lifetime must not cost the refresh token that came with it"},
	{"exp-negative", false, "a strange lifetime must not cost the refresh token that came with it"},
	{"exp-huge", false, "a strange lifetime must not cost the refresh token that came with it"},
	{"exp-fraction", false, "a strange lifetime must not cost the refresh token that came with it"},
	{"exp-hour", false, "a strange lifetime must not cost the refresh token that came with it"},
	{"exp-nan", false, "a strange lifetime must not cost the refresh token that came with it"},
	{"exp-array", false, "a strange lifetime must not cost the refresh token that came with it"},
	{"type-mac", false, "a token of an unasked kind: the refresh token that came with it is still the one to keep"},
	{"scope-narrow", false, "fewer scopes than before: to be told, not to be lost"},
	{"gzip", false, "a compressed answer, asked for or not"},
	{"chunked", false, "an answer without a length"},
	{"interim", false, "103 answers before the final one"},
}

func hostileCases() []Case {
	var out []Case
	for _, h := range hostiles {
		habits := rotating
		if h.static {
			habits = idptest.Habits{}
		}
		out = append(out, Case{string(h.fault), "hostile", h.why, habits, func(t *trial) {
			t.idp.Next(h.fault)
			before := t.read()
			if p := t.run(); p.ok() {
				t.succeeded(p, before, "the run")
			}
			t.alive()
		}})
	}
	return slices.Concat(out, doubtfulCases(), bombCases())
}

// doubtfulCases leave it open which refresh token is meant, or whether it is one:
// a program may take it or refuse it, and must not call the wrong one a success.
func doubtfulCases() []Case {
	var out []Case
	for _, d := range [][2]string{
		{"dup-refresh", "the refresh token twice: one of them is not the server's"},
		{"rt-nonascii", "a refresh token outside the grammar (RFC 6749 §A.17), cut or changed on the way to the file"},
		{"rt-newline", "a refresh token with a line end inside, cut on the way to the file"},
		{"rt-number", "a refresh token that is a number, rounded on the way to the file"},
	} {
		out = append(out, Case{d[0], "hostile", d[1], rotating, func(t *trial) {
			t.idp.Next(idptest.Fault(d[0]))
			before := t.read()
			if p := t.run(); p.ok() {
				t.succeeded(p, before, "the run")
			}
			t.served()
		}})
	}
	return out
}

// bound is how much more memory than in a plain refresh a program may take for
// an answer of any size.
const bound = 48 << 20

func bombCases() []Case {
	bomb := func(t *trial) {
		if !seesProcesses {
			t.skip("memory can be watched on Linux only")
			return
		}
		p := t.watched(t.program.usual() + bound)
		if p.bloated {
			t.failf("the run took more than %d MiB beyond a plain refresh, and was killed", bound>>20)
		}
		t.alive()
	}
	return []Case{
		{"gzip-bomb", "hostile", "64 MB out of 64 KB: a thousand of them take a machine down", idptest.Habits{}, func(t *trial) {
			t.idp.Next("gzip-bomb")
			bomb(t)
		}},
		{"endless", "hostile", "an answer without end fills the memory of the machine", idptest.Habits{}, func(t *trial) {
			t.idp.Next("endless")
			bomb(t)
		}},
		{"drip", "hostile", "a byte a second keeps a program busy for ever: each read succeeds", idptest.Habits{}, func(t *trial) {
			t.idp.Next("drip")
			before := t.read()
			if p := t.run(); !p.ok() {
				t.untouched(before)
			}
			t.alive()
		}},
	}
}

func redirectCases() []Case {
	var out []Case
	for _, fault := range idptest.FaultNames(idptest.Before) {
		name, found := strings.CutPrefix(fault, "redirect-")
		if !found || name == "307-http" { // that one needs https
			continue
		}
		why := "whoever can answer with a redirect can hand in a token of his own"
		if strings.HasSuffix(name, "-other") {
			why = "the secret goes to a host nobody chose, and its token is believed"
		}
		out = append(out, Case{name, "redirects", why, rotating, func(t *trial) {
			t.idp.Next(idptest.Fault(fault))
			transient(t)
		}})
	}
	return out
}
