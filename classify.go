package evergrant

import (
	"errors"
	"net/http"
	"time"

	"github.com/evergrant/evergrant/oauth"
	"github.com/evergrant/evergrant/provider"
)

// Outcome is what one try to refresh came to. The zero value means no try was
// made.
type Outcome string

const (
	Fresh         Outcome = "fresh"         // a new access token is stored
	Busy          Outcome = "busy"          // another refresh of this grant runs at the provider: wait, read again, adopt
	Transient     Outcome = "transient"     // refused for now, or never sent: the refresh token is unspent
	Uncertain     Outcome = "uncertain"     // sent, and no usable answer came back: the refresh token may be spent
	Dead          Outcome = "dead"          // the provider's word that the grant has ended
	Misconfigured Outcome = "misconfigured" // the client, scope or endpoint is wrong; the grant is kept
	Blocked       Outcome = "blocked"       // a policy of the provider stands in the way; the grant is kept
)

// finding is the outcome of a try with what a person should know about it.
type finding struct {
	Outcome    Outcome
	Rule       string // id of the row that decided
	Code       string // the provider's error code, cleaned; "" if none
	Detail     string // the provider's own description, cleaned
	Says       string // what happened, in plain words
	Do         string // the next step
	Kept       string // the file in which an unusable answer is kept; "" if none
	RetryAfter time.Duration
	Broke      bool // a server error: some servers say so and have handled the request
}

// unsentRows decide what a request that never left means, by the phase it
// stopped in.
var unsentRows = map[string]finding{
	"url":      {Outcome: Misconfigured, Rule: "unsent-url", Says: "the token endpoint is not a usable URL", Do: "check --token-url: it must be https (plain http only to this machine)"},
	"gate":     {Outcome: Misconfigured, Rule: "unsent-gate", Says: "the provider's host name leads to an address that is not allowed", Do: "check the token endpoint; nothing was sent"},
	"dns":      {Outcome: Transient, Rule: "unsent-dns", Says: "the provider's host name could not be resolved", Do: "check the network and the host name; nothing was sent"},
	"proxy":    {Outcome: Transient, Rule: "unsent-proxy", Says: "the proxy did not let the request through", Do: "check HTTPS_PROXY and the proxy; nothing was sent"},
	"connect":  {Outcome: Transient, Rule: "unsent-connect", Says: "the provider could not be reached", Do: "check the network, and the host and port of the endpoint; nothing was sent, so trying again is safe"},
	"tls":      {Outcome: Transient, Rule: "unsent-tls", Says: "no secure connection to the provider came about", Do: "check the network, and that the endpoint is one for https; nothing was sent, so trying again is safe"},
	"deadline": {Outcome: Transient, Rule: "unsent-deadline", Says: "no connection to the provider came about in time", Do: "check the network; nothing was sent, so trying again is safe"},
}

// certificateRow replaces the tls row where the certificate was refused: no
// waiting mends that.
var certificateRow = finding{Outcome: Misconfigured, Rule: "unsent-certificate",
	Says: "the provider's certificate could not be verified",
	Do:   "check the clock, the host name and --ca-cert; verification cannot be switched off"}

// statusRow is one row of the table for answers without a known error code.
type statusRow struct {
	from, to int
	finding
}

// statusRows decide by the HTTP status alone; the first row that holds the
// status wins. 5xx is never a verdict on the grant.
var statusRows = []statusRow{
	{200, 299, finding{Outcome: Uncertain, Rule: "status-200-unusable", Says: "the provider answered without a usable token", Do: "if it goes on, look at the answer with -v; a captive portal or proxy may stand in between"}},
	{300, 399, finding{Outcome: Misconfigured, Rule: "status-redirect", Says: "the token endpoint answered with a redirect, which is never followed with a secret", Do: "set --token-url to the address that answers itself"}},
	{408, 408, finding{Outcome: Transient, Rule: "status-408", Says: "the provider gave up waiting for the request", Do: "try again"}},
	{425, 425, finding{Outcome: Transient, Rule: "status-425", Says: "the provider asks to try again", Do: "try again"}},
	{429, 429, finding{Outcome: Transient, Rule: "status-429", Says: "the provider limits the number of requests", Do: "wait; make fewer refreshes"}},
	{503, 503, finding{Outcome: Transient, Rule: "status-503", Says: "the provider is not available right now", Do: "wait and try again"}},
	{500, 599, finding{Outcome: Uncertain, Rule: "status-5xx", Says: "the provider failed while it handled the request", Do: "wait; if the grant rotates, the refresh token may be spent"}},
	{400, 499, finding{Outcome: Misconfigured, Rule: "status-4xx", Says: "the token endpoint refused the request without saying why", Do: "check --token-url, --client-id and the client's secret; the grant is kept"}},
	{0, 999, finding{Outcome: Uncertain, Rule: "status-odd", Says: "the answer was no token answer", Do: "look at it with -v"}},
}

// lostRow is a request that was sent and whose answer did not come back whole.
var lostRow = finding{Outcome: Uncertain, Rule: "reply-lost", Says: "the request was sent and the reply was lost", Do: "wait; the next run finds out what became of it"}

// classifySend decides what a failed exchange means.
func classifySend(err error) finding {
	var se *oauth.SendError
	if !errors.As(err, &se) {
		return finding{Outcome: Transient, Rule: "unsent-other", Says: "the request could not be made", Detail: err.Error(), Do: "nothing was sent; look at the cause and try again"}
	}
	f := lostRow
	if !se.Sent {
		row, ok := unsentRows[se.Phase]
		if !ok {
			row = unsentRows["connect"]
		}
		f = row
		if se.Certificate {
			f = certificateRow
		}
		if se.Phase == "proxy" && se.Status == http.StatusProxyAuthRequired {
			f.Outcome, f.Rule, f.Do = Misconfigured, "unsent-proxy-auth", "give the proxy its credentials in HTTPS_PROXY; nothing was sent"
		}
	}
	f.Detail = se.Error()
	return f
}

// classifyAnswer decides what an answer means that is not a usable token. Only
// an error code in a row of the tables can end a grant, and never with a 5xx.
func classifyAnswer(p *provider.Provider, a *oauth.Answer, t *oauth.TokenAnswer) finding {
	f := byStatus(a.Status)
	if t != nil && t.Error != "" {
		f.Code, f.Detail = t.Error, t.ErrorDescription
		if rule, ok := provider.Match(p, a.Status, t.Error, t.ErrorDescription); ok {
			f = fromRule(rule, t)
		} else if a.Status < 500 && (a.Status/100 != 2 || saysErrorsIn200(p)) {
			f.Outcome, f.Rule = Misconfigured, "error-unknown"
			f.Says = "the provider refused with an error this program has no row for: " + t.Error
			f.Do = "look the code up at the provider; the grant is kept"
		}
	}
	if a.Status >= 500 && f.Outcome == Dead || t != nil && !t.RefreshToken.IsZero() {
		f.Outcome = Uncertain // an error beside a token is no verdict either
	}
	f.Broke = a.Status >= 500
	if d, ok := a.RetryAfter(); ok {
		f.RetryAfter = d
		if a.Status == http.StatusForbidden && f.Code == "" { // some limit by 403 and say when to come back
			f.Outcome, f.Rule = Transient, "status-403-limit"
			f.Says, f.Do = "the provider limits the number of requests", "wait; make fewer refreshes"
		}
	}
	return f
}

// saysErrorsIn200 reports whether an unknown error code under a status of
// success is a refusal, and not an answer that is odd in another way.
func saysErrorsIn200(p *provider.Provider) bool {
	return p != nil && (p.Answer.ErrorIn200 || p.Answer.OKField != "")
}

func byStatus(status int) finding {
	for _, r := range statusRows {
		if status >= r.from && status <= r.to {
			return r.finding
		}
	}
	return lostRow
}

func fromRule(r provider.ErrorRule, t *oauth.TokenAnswer) finding {
	return finding{
		Outcome: Outcome(r.Outcome), Rule: r.ID, Code: t.Error, Detail: t.ErrorDescription,
		Says: r.Says, Do: r.Do, RetryAfter: time.Duration(r.RetryAfter),
	}
}

// usable reports whether an answer brings a token that can be stored: at least
// one of the two, with no error beside it. An error beside tokens is no answer
// one may trust either way (a 5xx with tokens neither).
func usable(a *oauth.Answer, t *oauth.TokenAnswer) bool {
	return t != nil && t.Error == "" && a.Status >= 200 && a.Status <= 299 &&
		(!t.AccessToken.IsZero() || !t.RefreshToken.IsZero())
}
