package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/login"
	"github.com/evergrant/evergrant/oauth"
	"github.com/evergrant/evergrant/provider"
)

// loginFlow is one run of login.
type loginFlow struct {
	*target
	keeping
	device, noBrowser, online, dpop, push, register bool

	resources, authParams                                      []string
	port, host, path, redirect, mode, prompt, hint, clientDoc  string
	requestKey, details, revokeURL, introspectURL, userinfoURL string
	ask                                                        asking
}

func loginCommand(u *ui) *cobra.Command {
	l := &loginFlow{target: &target{u: u}}
	cmd := &cobra.Command{
		Use:   "login TARGET",
		Short: "Get a grant: by browser, device code, key or secret",
		Long: `Get a grant and keep it. TARGET is a provider of the catalog (see evergrant
providers), the issuer URL of an authorization server, or the URL of an API or
MCP server that names its authorization server. For a kept grant TARGET may be
left out: it is logged in again, at the same place.

A person logs in by browser, with PKCE and a callback on this machine; with
--device by a code typed on another device; with --no-browser by pasting back the
address at which a browser anywhere ended. Without a person, --grant says how:
client_credentials, jwt-bearer, saml2-bearer, token-exchange.

The grant is kept in a token file (--file) or sealed in the store of this user
(--name; without either, under the name of the provider). What identifies it is
remembered, so the other commands need no flags.

` + exitCodes,
		Example: `  evergrant login salesforce --client-id 3MVG9… --name work-sf
  evergrant login google --client-id ID --client-secret file:secret.txt --scope https://www.googleapis.com/auth/drive
  evergrant login https://auth.example.com --client-id ID --device
  evergrant login https://api.example.com/mcp                  nothing but the URL, where the server registers clients
  evergrant login salesforce --grant jwt-bearer --client-id ID --key file:server.key --subject me@example.com --audience https://login.salesforce.com
  evergrant login --name work-sf                               again`,
		Args: takes(0, 1, "evergrant login TARGET"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return l.run(cmd.Context(), strings.Join(args, ""), cmd.Flags().Changed("timeout"))
		},
	}
	l.identify(cmd)
	l.keeping.flags(cmd)
	f := cmd.Flags()
	f.Lookup("scope").Usage = "`scopes` to ask for, separated by spaces; those that a refresh token needs are added"
	f.Lookup("timeout").Usage = "how long to wait for the person (default 5m)"
	f.BoolVar(&l.device, "device", false, "show a code to type on another device (RFC 8628)")
	f.BoolVar(&l.noBrowser, "no-browser", false, "print the URL, and take the address at which the browser ended from standard input")
	f.BoolVar(&l.online, "online", false, "ask for no refresh token")
	f.BoolVar(&l.dpop, "dpop", false, "bind the tokens to a key that is kept with them (RFC 9449)")
	f.BoolVar(&l.push, "par", false, "send the request by the back channel first (RFC 9126)")
	f.StringVar(&l.requestKey, "request-key", "", "`reference` to a private key that signs the request (RFC 9101)")
	f.BoolVar(&l.register, "register", true, "without --client-id, register a client where the server lets one (RFC 7591)")
	f.StringVar(&l.clientDoc, "client-document", "", "`URL` of a client id metadata document, for servers that take one")
	f.StringArrayVar(&l.resources, "resource", nil, "`URL` of a service the token is meant for (RFC 8707); repeatable")
	f.StringVar(&l.details, "details", "", "rich authorization request (RFC 9396): a `JSON` array, or @FILE")
	f.StringArrayVar(&l.authParams, "auth-param", nil, "`name=value` to add to the authorization request; repeatable")
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
	cmd.ValidArgsFunction = completeProvider
	cmd.RegisterFlagCompletionFunc("response-mode", cobra.FixedCompletions([]string{"query", "form_post", "fragment", "query.jwt", "form_post.jwt", "jwt"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (l *loginFlow) run(ctx context.Context, at string, timed bool) error {
	cfg, err := l.config()
	if err != nil {
		return err
	}
	cfg.Scope = "" // of the login, not of each refresh
	cfg.Endpoints = evergrant.Endpoints{Revoke: l.revokeURL, Introspect: l.introspectURL, Userinfo: l.userinfoURL}
	if at, err = l.again(ctx, at, &cfg); err != nil {
		return err
	}
	if err := l.place(ctx, at); err != nil {
		return err
	}
	if err := l.check(ctx, l.u); err != nil {
		return err
	}
	if l.ask.grant != "" {
		return l.runAsking(ctx, at, cfg)
	}
	c := login.Config{
		Vars: cfg.Vars, ClientID: cfg.ClientID, Scopes: strings.Fields(l.scope), Online: l.online, Resource: l.resources,
		Prompt: l.prompt, LoginHint: l.hint, ResponseMode: l.mode, Push: l.push, HTTP: cfg.HTTP,
		Redirect: login.Redirect{Host: l.host, Path: l.path, URI: l.redirect}, Show: l.show,
		Server: login.Server{Issuer: l.issuer, Token: l.tokenURL},
	}
	if timed {
		c.Timeout = l.timeout
	}
	if c.Provider, err = l.entry(at, cfg); err != nil {
		return err
	}
	if err := l.fill(ctx, &c, cfg); err != nil {
		return err
	}
	has, err := cfg.Credentials(ctx)
	if err != nil {
		return err
	}
	c.HTTP.Certificates = has.Certificates // first: with one other endpoints count (RFC 8705 §5)
	found, err := login.Discover(ctx, at, c, login.Client{DocumentURL: l.clientDoc, Register: l.register && cfg.ClientID == ""})
	if err != nil {
		return loginFailure(err)
	}
	c = found.Config
	if p := c.Provider; p != nil && len(c.Vars) == 0 {
		c.Vars = p.VarsIn(c.Server.Token) // the catalog's other endpoints are at the same place
	}
	if c.ClientID == "" {
		return usageError{errors.New("the client id of an app registration is needed here"), "register an app at the provider and give its --client-id"}
	}
	if err := l.authenticate(&c, &cfg, found, has); err != nil {
		return err
	}
	g, err := l.withPerson(ctx, c)
	if err != nil {
		return l.lost(ctx, err, cfg)
	}
	return l.finish(ctx, g, cfg, found)
}

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

func (l *loginFlow) target0() string { return l.keeping.target() }

// place chooses a name where none was given: that of the provider, or of the
// host.
func (l *loginFlow) place(ctx context.Context, at string) error {
	if l.target0() != "" {
		return nil
	}
	l.name = at
	if u, err := url.Parse(at); err == nil && u.Host != "" {
		l.name = u.Hostname()
	}
	if l.exists(ctx, l.u) {
		return usageError{fmt.Errorf("there is a kept grant called %s already", l.name), "log in again with --name " + l.name + ", or choose another --name for another account"}
	}
	return nil
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
	if err != nil {
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
		c.AuthParams.Add(name, value)
	}
	for _, p := range cfg.Params {
		c.TokenParams.Add(p[0], p[1])
	}
	c.Header, c.Catalog = cfg.Header, cfg.Catalog
	if c.Redirect.Port, c.Redirect.LastPort, err = ports(l.port); err != nil {
		return err
	}
	if c.Details, err = fromFile("--details", l.details); err != nil {
		return err
	}
	if l.dpop {
		if c.DPoPKey, err = jose.Generate("ES256"); err != nil {
			return err
		}
	}
	if l.requestKey != "" {
		if err := checkSecretRef("--request-key", l.requestKey); err != nil {
			return err
		}
		signer := evergrant.Config{KeyRef: l.requestKey, KeyPasswordRef: l.keyPassword, KeyAlg: l.keyAlg, ResolveSecret: resolveSecret}
		has, err := signer.Credentials(ctx)
		if err != nil {
			return fmt.Errorf("using --request-key: %w", err)
		}
		c.RequestKey = has.Key
	}
	return nil
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

// authenticate decides how the client authenticates: as it was registered, as
// asked, by what it has, else as the server takes a secret. Nothing is tried out.
func (l *loginFlow) authenticate(c *login.Config, cfg *evergrant.Config, found *login.Found, has evergrant.Credentials) (err error) {
	if c.Auth != nil || found.Registered != nil {
		return nil
	}
	method := cmp.Or(cfg.AuthMethod, has.Method())
	if method != "" {
		c.Auth, err = has.Auth(method, c.ClientID, cmp.Or(c.Server.Issuer, c.Server.Token))
	} else {
		c.Auth, method, err = login.ChooseAuth(methodsOf(c, found), c.ClientID, has.Secret)
	}
	c.AuthMethod, cfg.AuthMethod = method, method
	return loginFailure(err)
}

// methodsOf are the ways of client authentication that the server lists, or the
// catalog for it.
func methodsOf(c *login.Config, found *login.Found) []string {
	switch {
	case found.Server != nil:
		return found.Server.AuthMethods
	case c.Provider != nil:
		return c.Provider.ClientAuth
	}
	return nil
}

// withPerson runs the flow that was asked for.
func (l *loginFlow) withPerson(ctx context.Context, c login.Config) (*login.Grant, error) {
	switch {
	case l.device:
		return login.Device(ctx, c)
	case l.noBrowser:
		c.Paste = login.PasteFrom(os.Stdin)
		return login.Paste(ctx, c)
	}
	c.Open = login.Open
	if term.IsTerminal(int(os.Stdin.Fd())) {
		c.Paste = login.PasteFrom(os.Stdin)
	}
	return login.Browser(ctx, c)
}

// show tells the person what to do.
func (l *loginFlow) show(p login.Prompt) {
	if l.u.json {
		v := map[string]any{"open": p.URL, "user_code": p.UserCode, "expires_at": p.Expires, "opened": p.Opened}
		if p.Problem != nil {
			v = map[string]any{"warning": p.Problem.Error()}
		}
		l.u.jsonLine(v)
		return
	}
	if p.Problem != nil {
		l.u.warn(p.Problem.Error(), "")
		if p.URL == "" {
			return
		}
	}
	switch {
	case p.UserCode != "":
		l.u.line("open " + p.URL + " on any device and enter the code " + p.UserCode)
		l.drawCode(cmp.Or(p.URLComplete, p.URL))
	case p.Opened:
		l.u.line("your browser should show the login now; if not, open " + p.URL)
	default:
		l.u.line("open this URL in a browser:")
		l.u.line("  " + p.URL)
		l.drawCode(p.URL)
	}
	if !p.Listening && p.UserCode == "" {
		l.u.line("then paste the whole address at which the browser ended (the page itself may fail to load):")
	}
}

// drawCode shows a QR code on a terminal.
func (l *loginFlow) drawCode(text string) {
	if l.u.terminal() && len(text) < 600 { // a larger one does not fit a screen
		l.u.raw(login.QR(text))
	}
}

// loginKinds are the classes of a login's failures.
var loginKinds = map[login.Kind]error{
	login.Usage: evergrant.ErrUsage, login.Refused: evergrant.ErrNeedsLogin, login.Expired: evergrant.ErrTemporary,
	login.Temporary: evergrant.ErrTemporary, login.Misconfigured: evergrant.ErrMisconfigured, login.Untrusted: evergrant.ErrMisconfigured,
}

func loginFailure(err error) error {
	if errors.Is(err, context.Canceled) {
		return &evergrant.Error{Class: evergrant.ErrTemporary, Rule: "login-stopped", Says: "the login was stopped; nothing was kept", Do: "start it again", Err: err}
	}
	var e *login.Error
	if !errors.As(err, &e) { // nil, or said already
		return err
	}
	class := loginKinds[e.Kind]
	if class == nil {
		class = evergrant.ErrTemporary
	}
	return &evergrant.Error{Class: class, Rule: "login-" + string(e.Kind), Says: e.Error(), Do: cmp.Or(e.Do, "start the login again"), Err: e}
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
	failure := loginFailure(err)
	var e *evergrant.Error
	if answer == nil || answer.Status/100 != 2 || !errors.As(failure, &e) {
		return failure
	}
	var kept *evergrant.Error
	if errors.As(evergrant.KeepFile(ctx, os.DevNull+"/login", answer.Body, cfg), &kept) && kept.Path != "" {
		e.Path, e.Do = kept.Path, "the answer is kept in "+kept.Path+" for a person to look at; it holds secrets"
	}
	return e
}

// loggedIn is the result of login as JSON.
type loggedIn struct {
	File         string    `json:"file,omitempty"`
	Name         string    `json:"name,omitempty"`
	Provider     string    `json:"provider,omitempty"`
	Issuer       string    `json:"issuer,omitempty"`
	TokenURL     string    `json:"token_url"`
	ClientID     string    `json:"client_id"`
	Account      string    `json:"account,omitempty"`
	Scope        string    `json:"scope,omitempty"`
	RefreshToken bool      `json:"refresh_token"`
	ExpiresAt    time.Time `json:"expires_at,omitzero"`
	Kept         string    `json:"kept"`
}

// finish keeps the grant, with all that the next command needs.
func (l *loginFlow) finish(ctx context.Context, g *login.Grant, cfg evergrant.Config, found *login.Found) error {
	document := []byte(g.Document.Reveal())
	cfg.Provider, cfg.TokenURL, cfg.ClientID, cfg.AuthMethod, cfg.Issuer = g.Provider, g.TokenURL, g.ClientID, g.AuthMethod, g.Issuer
	for _, r := range found.Config.Resource {
		cfg.Params = append(cfg.Params, [2]string{"resource", r}) // a refresh asks for the same (RFC 8707 §2.2)
	}
	if m := found.Server; m != nil {
		e := &cfg.Endpoints
		e.Revoke, e.Introspect, e.Userinfo = cmp.Or(e.Revoke, m.Revocation), cmp.Or(e.Introspect, m.Introspection), cmp.Or(e.Userinfo, m.Userinfo)
	}
	if r := found.Registered; r != nil && !r.ClientSecret.IsZero() {
		var err error
		if document, err = l.keepSecret(document, r.ClientSecret, &cfg); err != nil {
			return err
		}
	}
	account := ""
	if g.Identity != nil {
		account = g.Identity.Subject
	}
	return l.kept(ctx, document, cfg, account, g.Scope)
}

// kept stores the grant and reports.
func (l *loginFlow) kept(ctx context.Context, document []byte, cfg evergrant.Config, account, scope string) error {
	if err := l.keep(ctx, l.u, document, cfg); err != nil {
		return err
	}
	src, err := l.openKept()
	if err != nil {
		return err
	}
	defer src.Close()
	s, err := src.Status(ctx)
	if err != nil {
		return err
	}
	v := loggedIn{
		File: l.file, Name: l.name, Provider: s.Provider, Issuer: s.Issuer, TokenURL: s.TokenURL, ClientID: s.ClientID, Account: cmp.Or(s.Account, account),
		Scope: scope, RefreshToken: s.HasRefreshToken, ExpiresAt: s.ExpiresAt, Kept: l.whereKept(),
	}
	if l.u.json {
		return l.u.value(v)
	}
	if !l.u.quiet {
		l.report(v)
	}
	return nil
}

func (l *loginFlow) report(v loggedIn) {
	row := func(name, value string) {
		if value != "" {
			l.u.printf("  %-14s  %s\n", name, printable(value))
		}
	}
	l.u.printf("%s: logged in\n", printable(l.target0()))
	row("provider", cmp.Or(v.Provider, v.Issuer, v.TokenURL))
	row("account", v.Account)
	row("scope", v.Scope)
	if v.ExpiresAt.IsZero() {
		row("valid until", "not known: the provider does not say; --session-lifetime does")
	} else {
		row("valid until", until(v.ExpiresAt))
	}
	switch {
	case v.RefreshToken:
		row("refresh token", "yes")
	case l.ask.grant != "":
		row("refresh token", "none needed: a new token is asked for each time")
	default:
		row("refresh token", "none: the grant ends with its access token; see `evergrant providers "+cmp.Or(v.Provider, "NAME")+"`")
	}
	row("kept", v.Kept)
}

// openKept opens the grant by what was remembered alone.
func (l *loginFlow) openKept() (*evergrant.Source, error) {
	cfg := evergrant.Config{ResolveSecret: resolveSecret}
	if l.name == "" {
		return evergrant.OpenFile(l.file, cfg)
	}
	store, err := l.store(l.u)
	if err != nil {
		return nil, err
	}
	return openIn(store, l.name, cfg)
}

// whereKept says it in words.
func (l *loginFlow) whereKept() string {
	if l.name == "" {
		return "in the file " + l.file
	}
	store, err := l.store(l.u)
	if err != nil {
		return "in the store"
	}
	return sealedWords(store)
}

// keepSecret keeps the secret of a client that was just registered: inside a
// sealed document, or in a file of its own beside a token file.
func (l *loginFlow) keepSecret(document []byte, secret evergrant.Secret, cfg *evergrant.Config) ([]byte, error) {
	if l.name != "" {
		return withMember(document, "client_secret", secret.Reveal())
	}
	path, err := secretBeside(l.file, secret)
	cfg.SecretRef = "file:" + path
	return document, err
}

// withMember adds a member to a JSON object.
func withMember(document []byte, name, value string) ([]byte, error) {
	b, err := json.Marshal(map[string]string{name: value})
	if err != nil {
		return nil, err
	}
	text := strings.TrimRight(string(document), " \t\r\n")
	text, ok := strings.CutSuffix(text, "}")
	if !ok {
		return nil, errors.New("the token answer is no JSON object")
	}
	comma := ","
	if strings.TrimSpace(text) == "{" {
		comma = ""
	}
	return slices.Concat([]byte(strings.TrimRight(text, " \t\r\n")), []byte(comma), b[1:], []byte("\n")), nil
}

// secretEnd is the end of the name of a file with a client's secret.
const secretEnd = ".client_secret"

// secretBeside writes a client's secret beside a token file, for this user
// alone.
func secretBeside(file string, secret evergrant.Secret) (string, error) {
	path, err := absolute(file)
	if err != nil {
		return "", err
	}
	path += secretEnd
	if err := os.WriteFile(path, []byte(secret.Reveal()+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keeping the client's secret: %w", err)
	}
	return path, os.Chmod(path, 0o600) // of a file that was there with another mode
}
