package provider

import (
	"slices"
	"strings"
)

// Match finds what an error answer means. status is the HTTP status; code and
// description are the error members of the answer, empty when it has none or
// could not be read. p may be nil for an unknown provider.
//
// Rows that ask for a description win over rows that don't, so that "already
// being processed" is never read as plain invalid_grant; among them the
// provider's rows win over [Generic], then the longer description, then the
// row that also asks for a status or a code, then the order in the file.
//
// A 5xx is decided by rows for its status and never dead: whoever answered may
// not be the provider. Neither is a redirect, 407, 408, 425 or 429 ever dead.
// An unreadable 400 matches nothing: it is no verdict, and ok is false.
func Match(p *Provider, status int, code, description string) (rule ErrorRule, ok bool) {
	var own []ErrorRule
	if p != nil {
		own = p.Errors
	}
	a := answer{status, strings.TrimSpace(code), strings.ToLower(description)}
	for _, described := range []bool{true, false} {
		for _, rows := range [][]ErrorRule{own, generic} {
			if rule, ok = best(rows, a, described); ok {
				return rule.cautious(), true
			}
		}
	}
	return ErrorRule{}, false
}

type answer struct {
	status            int
	code, description string // description in lower case
}

// best picks the most specific matching row among those with a description,
// or among those without.
func best(rows []ErrorRule, a answer, described bool) (rule ErrorRule, ok bool) {
	top := -1
	for _, r := range rows {
		if (r.Description != "") == described && r.matches(a) && r.weight() > top {
			rule, ok, top = r, true, r.weight()
		}
	}
	return rule, ok
}

func (r ErrorRule) matches(a answer) bool {
	if !r.matchesStatus(a.status) {
		return false
	}
	if r.Error != "" && !strings.EqualFold(r.Error, a.code) {
		return false
	}
	return strings.Contains(a.description, strings.ToLower(r.Description))
}

// matchesStatus: on a 5xx only rows made for that status speak. Dead is said
// only with a status by which a provider answers for the token itself: not by
// a proxy, a limiter, a redirect or a failing server.
func (r ErrorRule) matchesStatus(status int) bool {
	switch {
	case r.Outcome == Dead && !speaksOfToken(status):
		return false
	case status >= 500:
		return r.Status == status || r.Status == 5
	}
	return r.Status == 0 || r.Status == status || r.Status == status/100
}

func speaksOfToken(status int) bool {
	switch status {
	case 407, 408, 425, 429:
		return false
	}
	return status >= 200 && status < 300 || status >= 400 && status < 500
}

// weight orders matching rows: description length, then code, then status.
func (r ErrorRule) weight() int {
	w := len(r.Description) * 8
	if r.Error != "" {
		w += 4
	}
	switch {
	case r.Status >= 100:
		w += 2
	case r.Status > 0:
		w++
	}
	return w
}

// cautious keeps a row that rests on general knowledge from ending a grant:
// the answer is shown, the grant is kept and probed slowly.
func (r ErrorRule) cautious() ErrorRule {
	if r.Unverified && r.Outcome == Dead {
		r.Outcome = Blocked
	}
	return r
}

// Generic returns the rows that hold for any provider: RFC 6749 §5.2, RFC 8628
// §3.5, and the dialects seen at many.
func Generic() []ErrorRule { return slices.Clone(generic) }
