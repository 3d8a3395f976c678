package evergrant

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// The classes of failure a caller can branch on with errors.Is. Each error of
// this package's refresh path is an *Error that matches exactly one of them.
var (
	// ErrNeedsLogin: the grant has ended or is in doubt past recovery; a
	// person has to log in again.
	ErrNeedsLogin = errors.New("evergrant: a new login is needed")
	// ErrTemporary: it did not work now, and nothing is lost; the grant may be
	// in doubt with recovery left (see Error.InDoubt).
	ErrTemporary = errors.New("evergrant: temporary failure")
	// ErrMisconfigured: the client, its secret, the scope or the endpoint is
	// wrong. The grant is kept.
	ErrMisconfigured = errors.New("evergrant: misconfigured")
	// ErrBlocked: a policy of the provider or an alarm of ours stands in the
	// way. The grant is kept.
	ErrBlocked = errors.New("evergrant: blocked")
	// ErrStorage: the store cannot take a new token, so nothing was sent; or
	// an answer is held outside it (see Error.Path).
	ErrStorage = errors.New("evergrant: storage failure")
	// ErrFile: the token file is missing, or not one JSON object with the
	// token members once.
	ErrFile = errors.New("evergrant: unusable token file")
	// ErrUsage: something that only the caller can supply is missing.
	ErrUsage = errors.New("evergrant: incomplete configuration")
	// ErrClosed: the Source was closed before anything was sent.
	ErrClosed = errors.New("evergrant: closed")
)

// Error is a failure to obtain an access token.
type Error struct {
	Class      error         // one of the sentinels above; never nil
	Outcome    Outcome       // of the last try; "" if none was made
	Rule       string        // id of the table row that decided; stable, for programs
	Code       string        // the provider's error code; "" if none
	Says       string        // what happened, in plain words
	Detail     string        // the provider's or the system's own words, cleaned; may be ""
	Do         string        // the next step for a person
	RetryAfter time.Duration // how long to wait before trying again; 0 if not known
	InDoubt    time.Time     // when the request was sent whose reply was lost; zero if none
	Path       string        // file concerned: the rescue file for a held answer, else the token file
	Err        error         // the cause; may be nil
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Says)
	if !e.InDoubt.IsZero() && !strings.Contains(e.Says, clock(e.InDoubt)) {
		fmt.Fprintf(&b, " (sent at %s)", clock(e.InDoubt))
	}
	if e.Code != "" {
		fmt.Fprintf(&b, " [%s", e.Code)
		if e.Detail != "" {
			fmt.Fprintf(&b, ": %s", e.Detail)
		}
		b.WriteString("]")
	} else if e.Detail != "" {
		fmt.Fprintf(&b, ": %s", e.Detail)
	}
	return b.String()
}

// Unwrap gives the class and the cause, so that errors.Is finds either.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Class}
	}
	return []error{e.Class, e.Err}
}

// Hint is the next step for a person.
func (e *Error) Hint() string { return e.Do }

// clock prints a time as a person reads it in a log.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }

// failure makes the error of a finding.
func (f finding) failure() *Error {
	class := ErrTemporary
	switch f.Outcome {
	case Dead:
		class = ErrNeedsLogin
	case Misconfigured:
		class = ErrMisconfigured
	case Blocked:
		class = ErrBlocked
	}
	return &Error{Class: class, Outcome: f.Outcome, Rule: f.Rule, Code: f.Code, Says: f.Says, Detail: f.Detail, Do: f.Do, RetryAfter: f.RetryAfter}
}

// fileError is the error of a document that cannot be used as it is.
func fileError(path, says, do string, err error) *Error {
	return &Error{Class: ErrFile, Rule: "file", Says: says, Do: do, Path: path, Err: err}
}

// storageError is a refusal before anything was sent.
func storageError(rule, path, says, do string, err error) *Error {
	e := &Error{Class: ErrStorage, Rule: rule, Says: says, Do: do, Path: path, Err: err}
	if err != nil && !strings.Contains(says, err.Error()) {
		e.Detail = err.Error()
	}
	var knows interface{ Hint() string } // a store that says the next step knows better
	if errors.As(err, &knows) && knows.Hint() != "" {
		e.Do = knows.Hint()
	}
	return e
}
