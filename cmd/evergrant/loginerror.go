package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/login"
	"github.com/evergrant/evergrant/oauth"
	"github.com/evergrant/evergrant/provider"
)

// loginKinds are the classes of a login's failures.
var loginKinds = map[login.Kind]error{
	login.Usage: evergrant.ErrUsage, login.Refused: evergrant.ErrNeedsLogin, login.Expired: evergrant.ErrTemporary,
	login.Temporary: evergrant.ErrTemporary, login.Misconfigured: evergrant.ErrMisconfigured, login.Untrusted: evergrant.ErrMisconfigured,
}

// failure gives what went wrong in a login its class, and its words: those that
// the catalog has for a refusal.
func (l *loginFlow) failure(err error) error {
	if errors.Is(err, context.Canceled) {
		return &evergrant.Error{Class: evergrant.ErrTemporary, Rule: "login-stopped", Says: "the login was stopped; nothing was kept", Do: "start it again", Err: err}
	}
	var e *login.Error
	if !errors.As(err, &e) {
		return err
	}
	class := loginKinds[e.Kind]
	if class == nil {
		class = evergrant.ErrTemporary
	}
	f := &evergrant.Error{Class: class, Rule: "login-" + string(e.Kind), Says: e.Error(), Do: cmp.Or(e.Do, "start the login again"), Err: e}
	var op *net.OpError
	switch {
	case e.Kind == login.Usage && l.noBrowser && errors.Is(e, io.EOF):
		f.Says, f.Do = "standard input ended before the address was pasted", "--no-browser reads the address from standard input: run it on a terminal, or pipe the address into it"
	case e.Kind == login.Usage && errors.As(e, &op) && op.Op == "listen":
		f.Do = "give another --redirect-port, or a range such as 8400-8410, that the app registration lists; without it any free port is taken"
	}
	var variable *provider.VarError
	if errors.As(err, &variable) {
		f.Do = variableHint(variable)
	}
	var refused *oauth.ServerError
	if errors.As(err, &refused) {
		l.translate(f, refused)
	}
	return f
}

// translate says a refusal in the words of the catalog. Words for a grant that
// has ended, or that another program renews, are about none that begins.
func (l *loginFlow) translate(f *evergrant.Error, e *oauth.ServerError) {
	rule, ok := provider.Match(l.dialect, e.Status, e.Code, e.Description)
	if !ok || e.Code == "" || rule.Outcome == provider.Dead || rule.Outcome == provider.Busy || rule.Outcome == provider.Uncertain {
		return
	}
	f.Says, f.Do, f.Code, f.Detail = rule.Says, withoutKept(rule.Do), e.Code, e.Description
	if f.Class != evergrant.ErrMisconfigured {
		return
	}
	switch rule.Outcome {
	case provider.Blocked:
		f.Class = evergrant.ErrBlocked
	case provider.Transient:
		f.Class = evergrant.ErrTemporary
	}
}

// withoutKept leaves out that the login is kept: there is none yet.
func withoutKept(do string) string {
	for _, end := range []string{" Your login is kept.", " Your key and login are kept.", " Your login is kept and tried again from time to time."} {
		do = strings.TrimSuffix(do, end)
	}
	return do
}

// variableHint is what to do about a variable of a provider.
func variableHint(v *provider.VarError) string {
	list := "; `evergrant providers " + v.Provider + "` says more"
	switch {
	case strings.Contains(v.Value, "://"):
		return "give the name alone, without https:// and without a path" + list
	case v.Value != "":
		return "give another --var " + v.Var + list
	}
	return "add --var " + v.Var + "=VALUE" + list
}

// lost turns a failed login into its error. An answer that could not be read may
// hold a grant that a person made: it is kept for them.
func (l *loginFlow) lost(ctx context.Context, err error, cfg evergrant.Config) error {
	var ambiguous *oauth.AmbiguousError
	var token *oauth.TokenError
	var format *oauth.FormatError
	var answer *oauth.Answer
	switch {
	case errors.As(err, &ambiguous):
		answer = ambiguous.Answer
	case errors.As(err, &token):
		answer = token.Answer
	case errors.As(err, &format):
		answer = format.Answer
	}
	failure := l.failure(err)
	var e *evergrant.Error
	if answer == nil || answer.Status/100 != 2 || !errors.As(failure, &e) {
		return failure
	}
	if path := rescue(ctx, answer.Body, cfg); path != "" {
		e.Path, e.Do = path, "the answer is kept in "+path+" for a person to look at; it holds secrets"
	}
	return e
}

// rescue puts what a login brought into a rescue folder, and says where; "" if
// none took it.
func rescue(ctx context.Context, document []byte, cfg evergrant.Config) string {
	var kept *evergrant.Error
	if errors.As(evergrant.KeepFile(ctx, os.DevNull+"/login", document, cfg), &kept) {
		return kept.Path
	}
	return ""
}
