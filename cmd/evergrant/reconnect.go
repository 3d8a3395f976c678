package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/login"
)

// A grant that is there is logged in again as it was before, but for what the
// command line says now.

// again fills in what is remembered of a grant that is logged in again.
func (l *loginFlow) again(ctx context.Context, at string, cfg *evergrant.Config, said func(flag string) bool) (string, error) {
	if l.file != "" {
		if err := targetKind(l.file); err != nil {
			return "", err
		}
	}
	if l.target0() == "" || !l.exists(ctx, l.u) {
		if at == "" && l.target0() != "" {
			return "", l.notThere()
		}
		if at == "" {
			return "", usageError{errors.New("`evergrant login` needs to know where"), "name a provider, an issuer URL or the URL of an API; `evergrant providers` lists the catalog"}
		}
		return at, nil
	}
	src, err := l.openKept()
	if err != nil {
		return at, err
	}
	defer src.Close()
	s, err := src.Status(ctx)
	if err != nil {
		return at, err
	}
	if at != "" && at != s.Provider && at != s.Issuer {
		l.replaces(s)
		return at, nil // somewhere else: nothing of before counts
	}
	if cfg.ClientID != "" && s.ClientID != "" && cfg.ClientID != s.ClientID || l.movesTo(s, cfg) {
		l.replaces(s)
	}
	if at = l.sameServer(s, cfg); at == "" {
		return "", usageError{fmt.Errorf("where %s came from is not remembered", l.target0()), "name the provider or issuer: evergrant login TARGET"}
	}
	if s.GrantType != "" && l.ask.grant == "" {
		return "", usageError{fmt.Errorf("%s needs no login: it asks for each token anew (%s)", l.target0(), s.GrantType), "`evergrant refresh " + l.target0() + "` asks now; to set it up again, give --grant and what goes with it"}
	}
	if l.scope == "" && l.ask.grant == "" {
		l.scope = cmp.Or(s.Login.Scope, scopeOf(ctx, src))
	}
	l.dpop = l.dpop || s.Bound
	l.asBefore(s.Params, cfg)
	if l.ask.grant == "" {
		l.likeBefore(s.Login, said)
	}
	if cfg.ClientID == "" || cfg.ClientID == s.ClientID {
		l.sameClient(ctx, src, s, cfg)
	}
	return at, nil
}

// notThere is the error of a login again of what is not there.
func (l *loginFlow) notThere() error {
	if l.name == "" {
		return usageError{fmt.Errorf("there is no token file %s to log in again", l.file), "for a new one name a provider or issuer: evergrant login TARGET --file " + l.file}
	}
	hint := "for a new one name a provider or issuer: evergrant login TARGET --name " + l.name
	if store, err := l.store(l.u); err == nil {
		if near := nearest(l.name, namesIn(store)); near != "" {
			hint = "did you mean " + near + "? " + hint
		}
	}
	return usageError{fmt.Errorf("there is no kept grant called %s to log in again", l.name), hint}
}

// replaces warns, before a person is bothered, that another grant is there: the
// login puts the new one in its place, and no server is told.
func (l *loginFlow) replaces(s evergrant.Status) {
	of := ""
	if from := comesFrom(s); from != "-" {
		of += " of " + from
	}
	if s.ClientID != "" {
		of += " (client " + s.ClientID + ")"
	}
	other := "--name"
	if l.name == "" {
		other = "--file"
	}
	l.u.warn("the grant"+of+" that is kept as "+l.target0()+" will be replaced by this login, and not revoked",
		"to keep both, stop here and choose another "+other+"; to end the one that is there, run `evergrant revoke "+l.target0()+"` before")
}

// movesTo reports whether --var leads to another place than the grant is from,
// such as from production to a sandbox.
func (l *loginFlow) movesTo(s evergrant.Status, cfg *evergrant.Config) bool {
	p, err := cfg.Catalog.Get(s.Provider)
	if s.Provider == "" || err != nil {
		return false
	}
	_, moved := p.Moved(s.TokenURL, cfg.Vars)
	return moved
}

// sameClient takes over how the client authenticated, unless the command line
// says how; the secret of one that was registered for the grant stands sealed
// beside the tokens.
func (l *loginFlow) sameClient(ctx context.Context, src *evergrant.Source, s evergrant.Status, cfg *evergrant.Config) {
	cfg.ClientID = s.ClientID
	if cfg.SecretRef != "" || cfg.KeyRef != "" {
		return
	}
	cfg.SecretRef, cfg.KeyRef, cfg.KeyPasswordRef, cfg.KeyAlg, cfg.CertRef = s.SecretRef, s.KeyRef, s.KeyPasswordRef, s.KeyAlg, s.CertRef
	cfg.AuthMethod = cmp.Or(cfg.AuthMethod, s.AuthMethod)
	if l.name != "" && s.SecretRef == "" {
		cfg.ClientSecret = documentOf(ctx, src).ClientSecret
	}
}

// likeBefore takes over how the person logged in, but for the flags that are
// said now.
func (l *loginFlow) likeBefore(was evergrant.LoginTerms, said func(flag string) bool) {
	for flag, text := range map[string]struct {
		to  *string
		was string
	}{
		"response-mode": {&l.mode, was.ResponseMode}, "details": {&l.details, was.Details}, "login-hint": {&l.hint, was.Hint},
		"redirect-uri": {&l.redirect, was.RedirectURI}, "redirect-host": {&l.host, was.RedirectHost},
		"redirect-port": {&l.port, was.RedirectPort}, "redirect-path": {&l.path, was.RedirectPath},
	} {
		if !said(flag) {
			*text.to = text.was
		}
	}
	if !said("par") {
		l.push = was.Pushed
	}
	if !said("online") {
		l.online = was.Online
	}
	if !said("request-key") {
		l.requestKey, l.requestKeyPassword, l.requestKeyAlg = was.RequestKeyRef, was.RequestKeyPasswordRef, was.RequestKeyAlg
	}
	if !said("auth-param") {
		for _, p := range was.Params {
			l.authParams = append(l.authParams, p[0]+"="+p[1])
		}
	}
}

// terms are how the person logs in now, for the next time.
func (l *loginFlow) terms(c login.Config) evergrant.LoginTerms {
	t := evergrant.LoginTerms{
		Pushed: l.push, Online: l.online, ResponseMode: l.mode, Details: c.Details, Hint: l.hint, Scope: l.scope,
		RedirectURI: l.redirect, RedirectHost: l.host, RedirectPort: l.port, RedirectPath: l.path,
	}
	if l.requestKey != "" {
		t.RequestKeyRef, t.RequestKeyPasswordRef, t.RequestKeyAlg = lasting(l.requestKey), lasting(l.requestKeyPassword), l.requestKeyAlg
	}
	for _, p := range c.AuthParams {
		t.Params = append(t.Params, [2]string{p.Name, p.Value})
	}
	return t
}

// ofDocument are the members of a document that the next login needs.
type ofDocument struct {
	Scope        string
	IDToken      string
	ClientSecret evergrant.Secret
}

// documentOf reads them; a document of another form has none.
func documentOf(ctx context.Context, src *evergrant.Source) ofDocument {
	document, err := src.Document(ctx)
	if err != nil {
		return ofDocument{}
	}
	var has map[string]any
	if json.Unmarshal([]byte(document.Reveal()), &has) != nil {
		return ofDocument{}
	}
	text := func(name string) string { // Scope may be a list, or of any form
		s, _ := has[name].(string)
		return s
	}
	return ofDocument{text("scope"), text("id_token"), evergrant.NewSecret(text("client_secret"))}
}

// scopeOf is what was granted before, as the provider said it; "" if it did not.
func scopeOf(ctx context.Context, src *evergrant.Source) string {
	has := documentOf(ctx, src)
	if has.IDToken != "" && !slices.Contains(strings.Fields(has.Scope), "openid") { // a token for a resource need not list it
		return strings.TrimSpace("openid " + has.Scope)
	}
	return has.Scope
}

// asBefore takes over the parameters of each token request, and the resources
// among them, where the command line says none.
func (l *loginFlow) asBefore(params [][2]string, cfg *evergrant.Config) {
	said := len(l.resources) > 0
	for _, p := range params {
		switch {
		case p[0] == "resource" && !said:
			l.resources = append(l.resources, p[1])
		case p[0] != "resource" && len(l.params) == 0:
			cfg.Params = append(cfg.Params, p)
		}
	}
}

// sameServer is where a grant came from: a provider with the variables that its
// token endpoint tells, else the issuer, in the provider's dialect.
func (l *loginFlow) sameServer(s evergrant.Status, cfg *evergrant.Config) string {
	if p, err := cfg.Catalog.Get(s.Provider); err == nil && s.Provider != "" {
		if vars := p.VarsIn(s.TokenURL); vars != nil || s.Issuer == "" {
			if len(cfg.Vars) == 0 {
				cfg.Vars = maps.Clone(s.Vars)
				if cfg.Vars == nil {
					cfg.Vars = map[string]string{}
				}
				maps.Copy(cfg.Vars, vars) // where the grant is now
			}
			return s.Provider
		}
	}
	if l.provider == "" && s.Issuer != "" {
		l.provider = s.Provider
	}
	return cmp.Or(s.Issuer, s.Provider)
}
