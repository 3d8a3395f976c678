package faultmatrix_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

func poolOf(tr *trial, ca []byte) *x509.CertPool {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		tr.t.Fatal("the simulator's certificate cannot be read")
	}
	return pool
}

// says is a wire that answers without the provider: status line, headers and
// body as they are given.
func says(status int, headers, body string) func(c *call) {
	return func(c *call) {
		c.write(fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s", status, headers, len(body), body))
	}
}

// refuses is a provider of the catalog that answers so.
func refuses(provider string, status int, body string) proof {
	return meets(func(tr *trial) {
		tr.wired(rotating, says(status, "", body))
		tr.cfg.Provider, tr.good.Provider = provider, provider
	})
}

func answerRows() []row {
	const (
		fresh, transient, uncertain   = evergrant.Fresh, evergrant.Transient, evergrant.Uncertain
		dead, misconfigured, blocked  = evergrant.Dead, evergrant.Misconfigured, evergrant.Blocked
		notRuledOut                   = "transient only where rotation is ruled out: the token may have been replaced behind the gateway"
		stored, keptRaw, retry, never = "stored first, then judged", "the raw answer is kept for a person", "the next run may send again", "no 5xx is a verdict on the grant"
	)
	return []row{
		{"3.2-1", "invalid_grant", []fault{
			{name: "400 invalid_grant", want: dead, says: "nothing is deleted, nothing more is sent", proof: sim("error=dead")},
			{name: "400 invalid_grant without a description", want: dead, proof: sim("error=no-description")},
			{name: "another program logged in meanwhile", want: fresh, says: "the verdict is read again against the file", proof: by(". TestP4VerdictIsReadAgainst")},
			{name: "the endpoint never worked for this grant", want: dead, says: "the hint names the host first", proof: by("cmd/evergrant TestScripts/needs-login")},
			{name: "invalid_grant that means busy", want: evergrant.Busy, says: "waits, reads again, adopts", proof: sim("error=busy")},
			{name: "interaction_required", want: dead, proof: refuses("", 400, `{"error":"interaction_required"}`)},
			{name: "Microsoft AADSTS700082 (idle too long)", want: dead, proof: refuses("microsoft", 400, `{"error":"invalid_grant","error_description":"AADSTS700082: The refresh token has expired"}`)},
			{name: "Microsoft AADSTS7000222 (client secret expired)", want: misconfigured, proof: refuses("microsoft", 401, `{"error":"invalid_client","error_description":"AADSTS7000222: The provided client secret keys are expired"}`)},
			{name: "GitHub bad_refresh_token with status 200", want: dead, proof: refuses("github", 200, `{"error":"bad_refresh_token","error_description":"The refresh token passed is incorrect or expired."}`)},
			{name: "Salesforce inactive user", want: blocked, proof: simSalesforce("error=inactive_user")},
			{name: "all refusals of the simulator", says: "each its exit code, words and next step", proof: by("cmd/evergrant TestRefusals")},
		}},
		{"3.2-2", "client and request", []fault{
			{name: "400 invalid_client", want: misconfigured, proof: sim("error=invalid_client")},
			{name: "401 invalid_client", want: misconfigured, proof: sim("error=invalid_client-401")},
			{name: "unauthorized_client", want: misconfigured, proof: sim("error=unauthorized_client")},
			{name: "unsupported_grant_type", want: misconfigured, proof: sim("error=unsupported_grant_type")},
			{name: "invalid_scope", want: misconfigured, proof: sim("error=invalid_scope")},
			{name: "an error code nobody has seen", want: misconfigured, proof: sim("error=unknown-code")},
		}},
		{"3.2-3", "400 for other reasons", []fault{
			{name: "invalid_request", want: misconfigured, proof: sim("error=invalid_request")},
			{name: "no body", want: misconfigured, proof: sim("400-empty")},
			{name: "an HTML page", want: misconfigured, proof: sim("status=400")},
			{name: "JSON without an error", want: misconfigured, proof: refuses("", 400, `{"message":"no"}`)},
		}},
		{"3.2-4", "use_dpop_nonce", []fault{
			{name: "a nonce is asked for and no key is bound", says: "no verdict: the token is unspent, and the next run may send", proof: shows(noKey)},
			{name: "the nonce is used, with a new proof", want: fresh, says: "one more request, which is no second try of a spent token", proof: shows(oneNonce)},
			{name: "a nonce is asked for again and again", says: "no verdict, no loop", proof: shows(endlessNonces)},
			{name: "the newest nonce of each server", says: "kept", proof: by("jose TestNonce9449_2", "jose TestWantsNonce9449_2")},
		}},
		{"3.2-5", "asked to wait", []fault{
			{name: "400 slow_down", want: transient, proof: sim("error=slow_down")},
			{name: "400 temporarily_unavailable", want: transient, proof: sim("error=temporarily_unavailable")},
			{name: "400 server_error", want: transient, proof: sim("error=server_error")},
			{name: "429 slow_down", want: transient, proof: refuses("", 429, `{"error":"slow_down"}`)},
			{name: "429 temporarily_unavailable", want: transient, proof: refuses("", 429, `{"error":"temporarily_unavailable"}`)},
			{name: "429 server_error", want: transient, proof: refuses("", 429, `{"error":"server_error"}`)},
		}},
		{"3.2-6", "4xx that say nothing", []fault{
			{name: "401 without a body", want: misconfigured, proof: sim("401-empty")},
			{name: "403 without a body", want: misconfigured, proof: sim("403-empty")},
			{name: "403 with a firewall's page", want: misconfigured, proof: sim("status=403")},
			{name: "403 that says when to come back", want: transient, proof: sim("403-rate")},
			{name: "404", want: misconfigured, proof: sim("status=404")},
			{name: "405", want: misconfigured, proof: sim("status=405")},
			{name: "410", want: misconfigured, proof: sim("status=410")},
			{name: "415", want: misconfigured, proof: sim("status=415")},
		}},
		{"3.2-7", "overload, and when to come back", slices7(transient, uncertain, notRuledOut)},
		{"3.2-8", "500", []fault{
			{name: "500 with a page", want: uncertain, says: never, proof: sim("500-before")},
			{name: "500 after processing", want: uncertain, says: never, proof: sim("500-after")},
			{name: "500 with the words of a dead grant", want: uncertain, says: never, proof: sim("500-json")},
			{name: "the same after processing", want: uncertain, says: never, proof: sim("500-json-after")},
			{name: "500 where the grant does not rotate", want: transient, says: retry, proof: static("500-after")},
			{name: "503 after processing", want: transient, says: "this server lies: 503 frees the token for another try, and no client could keep the grant", proof: by(". TestEveryFault/503-after")},
		}},
		{"3.2-9", "200 that is an error", []fault{
			{name: "a known code in 200", want: dead, says: "a lie where the server has processed it: no client could tell", proof: lying("error-200")},
			{name: "an unknown code in 200", want: uncertain, proof: cutBy(func(c *call) { c.process(); says(200, "", `{"error":"teapot"}`)(c) })},
			{name: "ok false at a server unknown for it", want: uncertain, proof: sim("ok-false")},
			{name: "ok false at Slack", want: dead, proof: refuses("slack", 200, `{"ok":false,"error":"invalid_refresh_token"}`)},
			{name: "tokens beside an error", want: uncertain, says: keptRaw, proof: sim("error-and-token")},
		}},
		{"3.2-10", "a refresh token and no access token", []fault{
			{name: "access_token missing", want: uncertain, says: "the new refresh token is stored: it is the newest", proof: storesAnyway("no-access")},
			{name: "access_token empty", want: uncertain, says: "the same", proof: storesAnyway("access-empty")},
			{name: "access_token is a number", want: uncertain, says: keptRaw, proof: sim("access-number")},
		}},
		{"3.2-11", "lifetimes", lifetimes()},
		{"3.2-12", "token_type", []fault{
			{name: "absent", want: fresh, proof: sim("type-absent")},
			{name: "in odd case", want: fresh, proof: sim("type-inverted")},
			{name: "mac", want: misconfigured, says: stored + "; the token is not handed out", proof: storesAnyway("type-mac")},
			{name: "DPoP unasked", want: misconfigured, says: stored + "; the token is not handed out", proof: storesAnyway("type-dpop")},
			{name: "Bearer for a grant that is bound to a key", want: misconfigured, says: stored + "; the token is not handed out", proof: shows(plainForBound)},
		}},
		{"3.2-13", "scope", []fault{
			{name: "narrower", want: fresh, says: "told", proof: shows(func(tr *trial) {
				tr.begin(idptest.Config{Habits: rotating})
				tr.always("scope-narrow")
				tr.meet()
				if !tr.heard("narrowed the scope") {
					tr.t.Error("nobody was told")
				}
			})},
			{name: "wider", want: fresh, proof: sim("scope-wide")},
			{name: "in another order", want: fresh, says: "no change", proof: sim("scope-order")},
			{name: "an array", want: fresh, proof: sim("scope-array")},
			{name: "absent", want: fresh, proof: sim("scope-absent")},
			{name: "narrower than is required", says: "fails", proof: notYet("no required scopes are kept with a grant yet")},
		}},
		{"3.2-14", "the new refresh token", []fault{
			{name: "the same as was sent", want: fresh, proof: sim("rt-same")},
			{name: "empty", want: fresh, says: "the old one is kept", proof: sim("rt-empty")},
			{name: "null", want: fresh, says: "the old one is kept", proof: sim("rt-null")},
			{name: "absent", want: fresh, says: "the old one is kept", proof: sim("rt-absent")},
			{name: "a number", want: uncertain, says: keptRaw, proof: rescues("rt-number")},
			{name: "of 1 MiB", want: uncertain, says: "more than an answer may have", proof: sim("rt-1mib")},
			{name: "of 256 KiB", want: fresh, proof: by("oauth TestRefusedTokens/rt largest")},
			{name: "with a NUL", want: uncertain, says: keptRaw, proof: rescues("rt-nul")},
			{name: "with a line end", want: uncertain, says: keptRaw, proof: rescues("rt-newline")},
			{name: "outside ASCII", want: uncertain, says: keptRaw, proof: rescues("rt-nonascii")},
		}},
		{"3.2-15", "broken and hostile JSON", []fault{
			{name: "access_token twice", want: uncertain, says: keptRaw, proof: rescues("dup-access")},
			{name: "refresh_token twice", want: uncertain, says: keptRaw, proof: rescues("dup-refresh")},
			{name: "names in other case", want: fresh, says: "only the exact name counts", proof: sim("case-keys")},
			{name: "byte order mark", want: fresh, proof: sim("bom")},
			{name: "bytes after the end", want: uncertain, says: keptRaw, proof: rescues("trailing")},
			{name: "nested 100,000 deep", want: uncertain, says: keptRaw, proof: sim("deep")},
			{name: "invalid UTF-8 elsewhere", want: fresh, proof: sim("bad-utf8")},
			{name: "gzip bomb of 64 MB", want: uncertain, says: "memory bounded", proof: sim("gzip-bomb")},
			{name: "a stream without end", want: uncertain, says: "memory and time bounded", proof: sim("endless")},
			{name: "honest gzip, asked for or not", want: fresh, proof: sim("gzip")},
			{name: "chunked", want: fresh, proof: sim("chunked")},
			{name: "memory at most 8 MiB above a plain refresh", says: "measured in a process of its own", proof: by("faultmatrix TestHostile")},
		}},
		{"3.2-16", "the answer of another grant", []fault{
			{name: "another Salesforce id", want: blocked, says: "kept aside; the file stays as it is", proof: otherAccount(idptest.Salesforce)},
			{name: "another sub", want: blocked, says: "kept aside; the file stays as it is", proof: by(". TestAnswerForAnotherAccountWaitsForAFolder")},
			{name: "instance_url on a host of somebody else", want: fresh, says: "stored and told: it is the provider's word, and no token is sent there unasked", proof: simSalesforce("instance-other")},
		}},
		{"3.2-17", "the old access token dies at the refresh", []fault{
			{name: "waiters get the new one", want: fresh, proof: shows(oldDies)},
			{name: "callers that still hold it", want: fresh, says: "a rejection renews once", proof: by(". TestClientRenewsOnRejection", ". TestRejectionNamesTheToken")},
		}},
	}
}

func simSalesforce(f idptest.Fault) proof {
	return meets(func(tr *trial) {
		tr.begin(idptest.Config{Persona: idptest.Salesforce, Habits: rotating})
		tr.always(f)
	})
}

// lying is sim at a server that says what is not so: the grant is lost, and the
// state must tell.
func lying(f idptest.Fault) proof {
	return meets(func(tr *trial) { tr.begin(idptest.Config{Habits: rotating}); tr.always(f) })
}

// slices7 are the statuses that ask to come back, and every form of
// Retry-After.
func slices7(transient, uncertain evergrant.Outcome, why string) []fault {
	all := []fault{
		{name: "408", want: transient, proof: sim("status=408")},
		{name: "425", want: transient, proof: sim("status=425")},
		{name: "429", want: transient, proof: sim("429-retry-none")},
		{name: "503", want: transient, proof: sim("503-before")},
		{name: "502", want: uncertain, says: why, proof: sim("502-before")},
		{name: "504", want: uncertain, says: why, proof: sim("504-after")},
		{name: "502 where the grant does not rotate", want: transient, proof: static("502-after")},
		{name: "504 where the grant does not rotate", want: transient, proof: static("504-after")},
	}
	now := time.Now().UTC()
	at := func(d time.Duration) string { return now.Add(d).Format("Mon, 02 Jan 2006 15:04:05 GMT") }
	for _, status := range []int{429, 503} {
		for _, w := range []struct {
			name, headers string
			least, most   time.Duration
		}{
			{"in seconds", "Retry-After: 7\r\n", 7 * time.Second, 7 * time.Second},
			{"as a date", "Date: " + at(0) + "\r\nRetry-After: " + at(9*time.Second) + "\r\n", 9 * time.Second, 9 * time.Second},
			{"as a date, the server's clock a day late", "Date: " + at(-24*time.Hour) + "\r\nRetry-After: " + at(9*time.Second-24*time.Hour) + "\r\n", 9 * time.Second, 9 * time.Second},
			{"as a date, the server's clock a year ahead", "Date: " + at(8766*time.Hour) + "\r\nRetry-After: " + at(8766*time.Hour+9*time.Second) + "\r\n", 9 * time.Second, 9 * time.Second},
			{"as a date that is past", "Date: " + at(0) + "\r\nRetry-After: " + at(-time.Hour) + "\r\n", 0, 0},
			{"negative", "Retry-After: -5\r\n", 0, 0},
			{"1,000,000,000", "Retry-After: 1000000000\r\n", time.Hour, time.Hour},
			{"a word", "Retry-After: soon\r\n", 0, 0},
		} {
			all = append(all, fault{
				name: fmt.Sprintf("%d, Retry-After %s", status, w.name), want: transient, says: fmt.Sprintf("come back after %v", w.most),
				proof: shows(func(tr *trial) { comesBack(tr, status, w.headers, w.least, w.most) }),
			})
		}
	}
	return all
}

// comesBack reads the wait out of the error, and keeps to one try in the call.
func comesBack(tr *trial, status int, headers string, least, most time.Duration) {
	tr.wired(rotating, says(status, headers, ""))
	_, e := tr.refresh()
	if e == nil || e.Outcome != tr.want || e.RetryAfter < least || e.RetryAfter > most {
		tr.t.Fatalf("got %+v, want a wait of %v to %v", e, least, most)
	}
	tr.served()
	tr.over()
	if r, e := tr.refresh(); outcomeOf(r, e) != evergrant.Fresh {
		tr.t.Errorf("the next run: %v", e)
	}
}

// lifetimes are the forms of expires_in, with the expiry that must come of each.
func lifetimes() []fault {
	hour := [2]time.Duration{time.Hour - time.Minute, time.Hour}
	due := [2]time.Duration{-time.Minute, 0}
	unknown := [2]time.Duration{}
	var all []fault
	for _, l := range []struct {
		name, says string
		fault      idptest.Fault
		want       [2]time.Duration // from now on; zero: not known
	}{
		{`"3600"`, "an hour", "exp-string", hour},
		{"3600.0", "an hour", "exp-float", hour},
		{"3600.5", "an hour", "exp-fraction", [2]time.Duration{time.Hour - time.Minute, time.Hour + time.Second}},
		{"1e3", "1000 s", "exp-exponent", [2]time.Duration{15 * time.Minute, 17 * time.Minute}},
		{`"1h"`, "not known", "exp-hour", unknown},
		{"null", "not known", "exp-null", unknown},
		{"empty text", "not known", "exp-empty", unknown},
		{"absent", "not known: served until an API rejects it", "exp-absent", unknown},
		{"0", "stored, and due at once", "exp-zero", due},
		{"-5", "stored, and due at once", "exp-negative", due},
		{"1e20", "cut to ten years", "exp-huge", [2]time.Duration{9 * 8766 * time.Hour, 11 * 8766 * time.Hour}},
		{"100,000 digits", "cut to ten years", "exp-digits", [2]time.Duration{9 * 8766 * time.Hour, 11 * 8766 * time.Hour}},
		{`"NaN"`, "not known", "exp-nan", unknown},
		{"true", "not known", "exp-bool", unknown},
		{"an array", "not known", "exp-array", unknown},
	} {
		all = append(all, fault{name: "expires_in " + l.name, want: evergrant.Fresh, says: l.says, proof: shows(func(tr *trial) { lifetime(tr, l.fault, l.want) })})
	}
	return append(all,
		fault{name: "expires in place of expires_in", want: evergrant.Fresh, says: "never costs the token", proof: sim("exp-expires")},
		fault{name: "expires_on in place of expires_in", want: evergrant.Fresh, says: "never costs the token", proof: sim("exp-expires-on")},
		fault{name: "issued_at in milliseconds", want: evergrant.Fresh, says: "recomputed, as Salesforce writes it", proof: by("internal/tokenfile TestMergeSalesforceInEveryFormat")},
	)
}

func lifetime(tr *trial, f idptest.Fault, want [2]time.Duration) {
	tr.begin(idptest.Config{Habits: rotating})
	tr.always(f)
	if r, e := tr.refresh(); outcomeOf(r, e) != tr.want {
		tr.t.Fatalf("got %v", e)
	}
	tr.always("")
	st := tr.status()
	if want == [2]time.Duration{} {
		if !st.ExpiresAt.IsZero() || st.State != evergrant.StateUnknown {
			tr.t.Errorf("it ends %v (%s), which nobody said", st.ExpiresAt, st.State)
		}
		return
	}
	if left := time.Until(st.ExpiresAt); left < want[0] || left > want[1] {
		tr.t.Errorf("it ends in %v, want %v to %v", left, want[0], want[1])
	}
}

// storesAnyway: the refresh is no success, and the refresh token that it
// brought is stored.
func storesAnyway(f idptest.Fault) proof {
	return shows(func(tr *trial) {
		tr.begin(idptest.Config{Habits: rotating})
		tr.always(f)
		r, e := tr.refresh()
		if got := outcomeOf(r, e); got != tr.want {
			tr.t.Errorf("the outcome is %q, want %q: %v", got, tr.want, e)
		}
		if g := tr.idp.GrantState(tr.grant.ID); g.Generation != 2 || g.RefreshToken != tr.stored() {
			tr.t.Error("the new refresh token is not stored")
		}
		tr.over()
		if r, e := tr.refresh(); outcomeOf(r, e) != evergrant.Fresh {
			tr.t.Errorf("the next run: %v", e)
		}
	})
}

// rescues: the answer cannot be taken for what it says, and is kept raw.
func rescues(f idptest.Fault) proof {
	return shows(func(tr *trial) {
		tr.begin(idptest.Config{Habits: rotating})
		tr.always(f)
		tr.meet()
		if !tr.rescued(`"refresh_token"`) {
			tr.t.Error("the answer is not kept")
		}
	})
}

func otherAccount(p idptest.Persona) proof {
	return shows(func(tr *trial) {
		tr.begin(idptest.Config{Persona: p, Habits: rotating})
		before := tr.stored()
		tr.always("id-other")
		_, e := tr.refresh()
		if e == nil || e.Outcome != tr.want || !errors.Is(e, evergrant.ErrBlocked) {
			tr.t.Fatalf("got %v", e)
		}
		if tr.stored() != before || !tr.rescued(tr.idp.GrantState(tr.grant.ID).RefreshToken) {
			tr.t.Error("the answer is not kept aside, or the file was changed")
		}
		tr.served()
	})
}

func oldDies(tr *trial) {
	tr.begin(idptest.Config{Habits: idptest.Habits{Rotation: true, OldAccessDies: true, AccessTTL: time.Second}})
	tr.idp.Advance(time.Minute)
	s := tr.open()
	defer s.Close()
	const callers = 8
	got := make(chan string, callers)
	for range callers {
		go func() {
			r, err := s.Refresh(tr.t.Context(), evergrant.RefreshOptions{})
			if err != nil {
				got <- err.Error()
				return
			}
			got <- r.Token.AccessToken.Reveal()
		}()
	}
	tokens := map[string]bool{}
	for range callers {
		tokens[<-got] = true
	}
	newest := tr.idp.GrantState(tr.grant.ID).Access
	if len(tokens) != 1 || len(newest) != 1 || !tokens[newest[0].Token] {
		tr.t.Errorf("%d different tokens were handed out for one refresh", len(tokens))
	}
}

// noKey: a grant that is bound to no key is asked for a proof.
func noKey(tr *trial) {
	tr.begin(idptest.Config{Habits: rotating})
	tr.always("dpop-nonce")
	if _, e := tr.refresh(); e == nil || e.Outcome != evergrant.Transient && e.Outcome != evergrant.Misconfigured {
		tr.t.Errorf("got %v", e)
	}
	tr.served()
	tr.over()
	if r, e := tr.refresh(); outcomeOf(r, e) != evergrant.Fresh {
		tr.t.Errorf("the next run: %v", e)
	}
}

// shapeRows are the forms of an honest answer that clients were measured
// against; the simulator has them by name.
func shapeRows() []row {
	says := map[string]string{
		"exp-absent": "lifetime not known", "exp-null": "lifetime not known", "exp-empty": "lifetime not known",
		"rt-absent": "the old one is kept", "rt-null": "the old one is kept", "rt-empty": "the old one is kept",
	}
	var all []fault
	for _, name := range strings.Fields("normal type-lower ctype-html exp-absent exp-string exp-float exp-null exp-empty type-absent type-odd rt-absent rt-null rt-empty scope-array ctype-text error-null status-201 bom") {
		all = append(all, fault{name: name, want: evergrant.Fresh, says: says[name], proof: sim(idptest.Fault(name))})
	}
	return []row{{"1c-1", "shape", all}}
}
