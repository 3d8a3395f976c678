package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/login"
	"github.com/evergrant/evergrant/provider"
)

func (l *loginFlow) flags(cmd *cobra.Command) {
	l.identify(cmd)
	l.keeping.flags(cmd)
	f := cmd.Flags()
	f.Lookup("scope").Usage = "`scopes` to ask for, separated by spaces; those that a refresh token needs are added"
	f.Lookup("timeout").Usage, f.Lookup("timeout").DefValue = "how long to wait for the person", "5m"
	f.BoolVar(&l.device, "device", false, "show a code to type on another device (RFC 8628)")
	f.BoolVar(&l.noBrowser, "no-browser", false, "print the URL, and take the address at which the browser ended from standard input")
	f.BoolVar(&l.online, "online", false, "ask for no refresh token")
	f.BoolVar(&l.dpop, "dpop", false, "bind the tokens to a key that is kept with them (RFC 9449)")
	f.BoolVar(&l.push, "par", false, "send the request by the back channel first (RFC 9126)")
	f.StringVar(&l.requestKey, "request-key", "", "`reference` to a private key that signs the request (RFC 9101)")
	f.BoolVar(&l.register, "register", true, "without --client-id, register a client where the server lets one (RFC 7591)")
	f.StringVar(&l.clientDoc, "client-document", "", "`URL` of a client id metadata document, for servers that take one")
	f.Var((*list)(&l.resources), "resource", "`URL` of a service the token is meant for (RFC 8707); repeatable")
	f.StringVar(&l.details, "details", "", "rich authorization request (RFC 9396): a `JSON` array, or @FILE")
	f.Var((*list)(&l.authParams), "auth-param", "`name=value` to add to the authorization request; repeatable")
	f.StringVar(&l.port, "redirect-port", "", "`port` of the callback on this machine, or a range such as 8400-8410 (default: any)")
	f.StringVar(&l.host, "redirect-host", "", "`host` of the callback: 127.0.0.1, ::1 or localhost")
	f.StringVar(&l.path, "redirect-path", "", "`path` of the callback (default /callback)")
	f.StringVar(&l.redirect, "redirect-uri", "", "`URL` registered instead, of an https page that sends the browser on to the callback here")
	f.StringVar(&l.mode, "response-mode", "", "`mode` of the callback: query, form_post, fragment, jwt …")
	f.StringVar(&l.prompt, "prompt", "", "`what` the provider should ask again: login, consent, select_account")
	f.StringVar(&l.hint, "login-hint", "", "`account` to propose")
	f.StringVar(&l.revokeURL, "revoke-url", "", "`URL` for revocation, where neither catalog nor discovery has it")
	f.StringVar(&l.introspectURL, "introspect-url", "", "`URL` for introspection, likewise")
	f.StringVar(&l.userinfoURL, "userinfo-url", "", "`URL` for userinfo, likewise")
	l.ask.flags(cmd)
	exclusive(cmd, "device", "no-browser", "grant")
	cmd.RegisterFlagCompletionFunc("response-mode", cobra.FixedCompletions([]string{"query", "form_post", "fragment", "query.jwt", "form_post.jwt", "jwt"}, cobra.ShellCompDirectiveNoFileComp))
}

// possible refuses a provider of which the catalog knows no way to log in,
// before anything is asked for.
func (l *loginFlow) possible(at string, cfg evergrant.Config) error {
	p, err := l.entry(at, cfg)
	if err != nil || p == nil {
		return err
	}
	for name := range cfg.Vars {
		if _, ok := p.Vars[name]; !ok && l.sets(name) { // a slip would lead to another place without a word
			return noSuchVar(p, name)
		}
	}
	if l.ask.grant != "" || strings.Contains(at, "://") || l.issuer != "" {
		return nil
	}
	if e := p.Endpoints; e.Authorize+e.Device+e.Discovery == "" {
		return usageError{errors.New("the catalog knows no login at " + p.Title), "`evergrant providers " + p.Name + "` says how a grant is made there; an issuer's URL works too"}
	}
	return nil
}

// sets reports whether the command line sets a variable.
func (l *loginFlow) sets(name string) bool {
	return slices.ContainsFunc(l.vars, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
}

// entry is the catalog's entry for the login: the one that was named with
// --provider, else the one that TARGET names; nil for a URL.
func (l *loginFlow) entry(at string, cfg evergrant.Config) (*provider.Provider, error) {
	name := l.provider
	if name == "" && !strings.Contains(at, "://") {
		name = at
	}
	if name == "" {
		return nil, nil
	}
	p, err := cfg.Catalog.Get(name)
	switch {
	case err != nil && strings.Contains(name, "."):
		return nil, usageError{err, "write the address of an issuer or API as a URL: https://" + name}
	case err != nil:
		return nil, usageError{err, "`evergrant providers` lists them; the URL of an issuer or API works too"}
	}
	return p, nil
}

// fill adds what needs parsing or a secret.
func (l *loginFlow) fill(ctx context.Context, c *login.Config, cfg evergrant.Config) (err error) {
	for _, p := range l.authParams {
		name, value, err := pair("--auth-param", p)
		if err != nil {
			return err
		}
		if slices.Contains(secretParams, strings.ToLower(name)) {
			return usageError{fmt.Errorf("--auth-param %s would put a secret into an address, and into what is remembered", name), "leave it out: no authorization request has one"}
		}
		c.AuthParams.Add(name, value)
	}
	for _, p := range cfg.Params {
		c.TokenParams.Add(p[0], p[1])
	}
	c.Header, c.Catalog = cfg.Header, cfg.Catalog
	if c.Redirect.Port, c.Redirect.LastPort, err = ports(l.port); err != nil {
		return err
	}
	c.Details = l.details
	if l.dpop {
		if c.DPoPKey, err = jose.Generate("ES256"); err != nil {
			return err
		}
	}
	if l.requestKey != "" {
		if c.RequestKey, err = l.signer(ctx); err != nil {
			return err
		}
	}
	return nil
}

// signer is the key that signs the login, as said now or remembered.
func (l *loginFlow) signer(ctx context.Context) (*jose.Key, error) {
	if ref, ok := strings.CutPrefix(l.requestKey, evergrant.Elsewhere); ok {
		return nil, usageError{fmt.Errorf("what is remembered of the key that signs the login (%q) is not followed: the side file was copied, unpacked or restored, or is another user's", ref),
			"if you trust it, say it once more with --request-key, and its password with --key-password"}
	}
	if err := checkSecretRef("--request-key", l.requestKey); err != nil {
		return nil, err
	}
	keyed := evergrant.Config{KeyRef: l.requestKey, KeyPasswordRef: l.requestKeyPassword, KeyAlg: l.requestKeyAlg, ResolveSecret: resolveSecret}
	has, err := keyed.Credentials(ctx)
	if e := (*evergrant.Error)(nil); errors.As(err, &e) {
		its := *e
		its.Do = strings.NewReplacer("--key-", "--key-", "--key", "--request-key").Replace(e.Do)
		err = &its
	}
	if err != nil {
		return nil, fmt.Errorf("using --request-key: %w", err)
	}
	return has.Key, nil
}

// fromFile reads the value of a flag from a file if it starts with @.
func fromFile(flag, value string) (string, error) {
	path, ok := strings.CutPrefix(value, "@")
	if !ok {
		return value, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", usageError{fmt.Errorf("reading %s: %w", flag, err), "give a file that is there, or the value itself"}
	}
	return strings.TrimSpace(string(b)), nil
}

// ports reads 8400 or 8400-8410.
func ports(text string) (first, last int, err error) {
	if text == "" {
		return 0, 0, nil
	}
	a, b, ranged := strings.Cut(text, "-")
	first, err = strconv.Atoi(a)
	if last = first; err == nil && ranged {
		last, err = strconv.Atoi(b)
	}
	if err != nil || first < 1 || last < first || last > 65535 {
		return 0, 0, usageError{fmt.Errorf("--redirect-port %s is no port", text), "give a port such as 8400, or a range such as 8400-8410"}
	}
	if last == first {
		last = 0
	}
	return first, last, nil
}
