package evergrant

import (
	"fmt"
	"strings"
	"time"
)

// The failures that are decided without asking the provider.

func noRefreshToken(layout string) *Error {
	return &Error{Class: ErrFile, Rule: "no-refresh-token",
		Says: "the token file has no refresh token (read as " + layout + ")",
		Do:   "log in again with offline access, or name the member with --field refresh_token=/path"}
}

func setBack() *Error {
	return &Error{Class: ErrNeedsLogin, Rule: "set-back",
		Says: "another program put a replaced refresh token back into the file; it is not sent, because that can end the grant",
		Do:   "restore the newest token file, or log in again"}
}

func unknownLifetime() *Error {
	return &Error{Class: ErrTemporary, Rule: "lifetime-unknown",
		Says: "nobody says how long this access token is valid, so the minimum asked for cannot be promised",
		Do:   "say it with --session-lifetime, or ask without --min-ttl"}
}

func tooShort(min, left time.Duration) *Error {
	return &Error{Class: ErrTemporary, Rule: "lifetime-short",
		Says: fmt.Sprintf("the provider's access tokens are valid for less than the %s asked for (%s left)", span(min), span(left)),
		Do:   "ask for less with --min-ttl"}
}

// span prints a duration without the zeros at its end.
func span(d time.Duration) string {
	s := d.Round(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// tooYoung is for a token that an API rejects at once.
func tooYoung() *Error {
	return &Error{Class: ErrTemporary, Rule: "rejected-young",
		Says: "an access token was rejected less than a minute after it was received, so a newer one would not help",
		Do:   "check what the API wants: scope, audience or host; a refresh is made again in a minute"}
}

func heldElsewhere(in *intent, grant string) *Error {
	return &Error{Class: ErrStorage, Outcome: Uncertain, Rule: "answer-elsewhere", Path: in.Rescue,
		Says: "the new token of " + grant + " is held in a rescue file that this run does not find" + in.where(),
		Do:   "run it as the user and with the home folder of the run that said so; if that file is gone, make a last try with --replay"}
}

func quiet(until time.Time) *Error {
	return &Error{Class: ErrTemporary, Rule: "quiet", Outcome: Uncertain,
		Says: "a request whose reply was lost may still be on its way; nothing is sent before " + clock(until),
		Do:   "try again after that time", RetryAfter: time.Until(until)}
}

func interrupted(cause error) *Error {
	return &Error{Class: ErrTemporary, Rule: "interrupted", Says: "stopped before anything was sent", Do: "run it again", Err: cause}
}

func needsProof(tokenType string) *Error {
	return &Error{Class: ErrMisconfigured, Outcome: Misconfigured, Rule: "token-type",
		Says: "the access token is of type " + tokenType + ", which was not asked for; it is stored and not handed out",
		Do:   "check the client's registration at the provider"}
}

func lostBinding() *Error {
	return &Error{Class: ErrMisconfigured, Outcome: Misconfigured, Rule: "token-unbound",
		Says: "a token bound to this grant's key was asked for, and the provider gave a plain one; it is stored and not handed out",
		Do:   "log in again without DPoP if the provider does not know it"}
}

func unusableKey(err error) *Error {
	return &Error{Class: ErrFile, Rule: "proof-key", Says: "the key that the grant is bound to (dpop_jwk) cannot be used: " + err.Error(),
		Do: "restore the document, or log in again", Err: err}
}

func outOfTime(last *Error, cause error) *Error {
	if last == nil {
		return interrupted(cause)
	}
	e := *last
	if e.Err == nil {
		e.Err = cause
	}
	return &e
}

func (a *aside) failure() *Error {
	return &Error{Class: ErrBlocked, Rule: "other-account", Says: a.Says, Path: a.Path,
		Do: "find out who logged in with another account; the answer is kept in " + a.Path + "; log in again to go on"}
}

func (v *verdict) failure() *Error {
	e := &Error{Class: ErrNeedsLogin, Outcome: Dead, Rule: v.Rule, Code: v.Code, Says: v.Says, Do: v.Do, InDoubt: v.LostAt}
	if !v.LostAt.IsZero() {
		e.Says = "the reply to a refresh was lost at " + clock(v.LostAt) + ", and its refresh token is no longer accepted"
		e.Do = "log in again; the provider replaced the token in the reply that never arrived"
	}
	return e
}

func (d *doubt) failure(e expiry) *Error {
	err := &Error{Class: ErrTemporary, Outcome: Uncertain, Rule: "in-doubt", InDoubt: d.Since.At,
		Says: "the reply to a refresh was lost at " + clock(d.Since.At) + "; sending the refresh token again could end the grant"}
	if e.At.IsZero() {
		err.Do = "the access token at hand may still be good; once it is rejected, make a last try with --replay"
	} else {
		err.Do = "the access token is good until " + clock(e.At) + "; a last try follows when it has ended, or now with --replay"
	}
	if d.Cause != "" {
		err.Detail = d.Cause
	}
	return err
}

func (d *doubt) retryLater(now time.Time) *Error {
	return &Error{Class: ErrTemporary, Outcome: Uncertain, Rule: "in-doubt-wait", InDoubt: d.Since.At,
		Says: fmt.Sprintf("the reply to a refresh was lost at %s, and %d tries since brought no verdict", clock(d.Since.At), d.Tries-1),
		Do:   "the next try is due at " + clock(d.RetryAt) + "; --replay makes it now", RetryAfter: d.RetryAt.Sub(now)}
}

func (l lastTry) failure(now time.Time) *Error {
	f := finding{Outcome: l.Outcome, Rule: l.Rule, Says: l.Says, RetryAfter: l.RetryAt.Sub(now),
		Do: "the next try is due at " + clock(l.RetryAt) + "; `evergrant refresh` makes it now"}
	return f.failure()
}
