package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/login"
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

	requestKeyPassword, requestKeyAlg string // of requestKey: those of --key, else as remembered

	dialect *provider.Provider // whose words a refusal is in; nil if that is not known
}

func loginCommand(u *ui) *cobra.Command {
	l := &loginFlow{target: &target{u: u}}
	cmd := &cobra.Command{
		Use:   "login [TARGET]",
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
remembered, so the other commands need no flags, and neither does the next login:
it is made as this one was, but for what its own flags say (--auth-param and
--resource replace all of before). How the person gets there (--device,
--no-browser), --prompt and headers are not remembered.

` + exitCodes,
		Example: `  evergrant login salesforce --client-id 3MVG9… --redirect-host localhost --redirect-port 8400 --name work-sf
  evergrant login salesforce --var host=test.salesforce.com --client-id 3MVG9… --device --name sandbox
  evergrant login google --client-id ID --client-secret file:secret.txt --scope https://www.googleapis.com/auth/drive
  evergrant login https://auth.example.com --client-id ID --device
  evergrant login https://api.example.com/mcp                  nothing but the URL, where the server registers clients
  evergrant login salesforce --grant jwt-bearer --client-id ID --key file:server.key --subject me@example.com --audience https://login.salesforce.com
  evergrant login --name work-sf                               again`,
		Args: takes(0, 1, "evergrant login [TARGET]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return l.run(cmd.Context(), strings.Join(args, ""), cmd.Flags().Changed)
		},
	}
	l.flags(cmd)
	cmd.ValidArgsFunction = completeProvider
	return cmd
}

func (l *loginFlow) run(ctx context.Context, at string, said func(flag string) bool) error {
	cfg, err := l.config()
	if err != nil {
		return err
	}
	cfg.Scope = "" // of the login, not of each refresh
	cfg.Endpoints = evergrant.Endpoints{Revoke: l.revokeURL, Introspect: l.introspectURL, Userinfo: l.userinfoURL}
	l.requestKeyPassword, l.requestKeyAlg = l.keyPassword, l.keyAlg
	if l.details, err = fromFile("--details", l.details); err != nil { // before what is remembered is added, which names no file
		return err
	}
	if at, err = l.again(ctx, at, &cfg, said); err != nil {
		return err
	}
	if err := l.possible(at, cfg); err != nil {
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
	if said("timeout") {
		c.Timeout = l.timeout
	}
	if c.Provider, err = l.entry(at, cfg); err != nil {
		return err
	}
	l.dialect = c.Provider
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
		return l.failure(err)
	}
	c = found.Config
	l.dialect = c.Provider
	if p := c.Provider; p != nil && len(c.Vars) == 0 {
		c.Vars = p.VarsIn(c.Server.Token) // the catalog's other endpoints are at the same place
	}
	if c.ClientID == "" {
		return usageError{errors.New("the client id of an app registration is needed here"), "register an app at the provider and give its --client-id"}
	}
	if err := l.authenticate(&c, &cfg, found, has); err != nil {
		return err
	}
	cfg.Login = l.terms(c)
	g, err := l.withPerson(ctx, c)
	if err != nil {
		return l.lost(ctx, err, cfg)
	}
	return l.finish(ctx, g, cfg, found)
}
