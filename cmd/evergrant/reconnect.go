package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/evergrant/evergrant"
)

// A grant that is logged in again, at the place it came from.

// again fills in what is remembered of a grant that is logged in again.
func (l *loginFlow) again(ctx context.Context, at string, cfg *evergrant.Config) (string, error) {
	if l.target0() == "" || !l.exists(ctx, l.u) {
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
		return at, nil // somewhere else: nothing of before counts
	}
	if at = l.sameServer(s, cfg); at == "" {
		return "", usageError{fmt.Errorf("where %s came from is not remembered", l.target0()), "name the provider or issuer: evergrant login TARGET"}
	}
	if s.GrantType != "" && l.ask.grant == "" {
		return "", usageError{fmt.Errorf("%s needs no login: it asks for each token anew (%s)", l.target0(), s.GrantType), "`evergrant refresh " + l.target0() + "` asks now; to set it up again, give --grant and what goes with it"}
	}
	if l.scope == "" && l.ask.grant == "" {
		l.scope = scopeOf(ctx, src)
	}
	l.dpop = l.dpop || s.Bound
	l.asBefore(s.Params, cfg)
	cfg.ClientID = cmp.Or(cfg.ClientID, s.ClientID)
	if cfg.SecretRef == "" && cfg.KeyRef == "" {
		cfg.SecretRef, cfg.KeyRef = s.SecretRef, s.KeyRef
	}
	return at, nil
}

// scopeOf is what was granted before, as the provider said it; "" if it did not.
func scopeOf(ctx context.Context, src *evergrant.Source) string {
	document, err := src.Document(ctx)
	if err != nil {
		return ""
	}
	var has struct {
		Scope   string `json:"scope"`
		IDToken string `json:"id_token"`
	}
	if json.Unmarshal([]byte(document.Reveal()), &has) != nil {
		return "" // Scope may be a list, or of any form
	}
	if has.IDToken != "" && !slices.Contains(strings.Fields(has.Scope), "openid") { // a token for a resource need not list it
		has.Scope = strings.TrimSpace("openid " + has.Scope)
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
				cfg.Vars = vars
			}
			return s.Provider
		}
	}
	if l.provider == "" && s.Issuer != "" {
		l.provider = s.Provider
	}
	return cmp.Or(s.Issuer, s.Provider)
}
