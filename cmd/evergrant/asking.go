package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/login"
)

// asking is a login without a person: the client, an assertion or another token
// speaks for itself. Refreshing such a grant asks again.
type asking struct {
	grant, subject, audience, assertionIssuer, source, sourceType string
	claims                                                        []string
	legacy                                                        bool
}

// grantTypes are the values of --grant.
var grantTypes = []string{"client_credentials", "jwt-bearer", "saml2-bearer", "token-exchange", "password"}

func (a *asking) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&a.grant, "grant", "", "log in without a person: `type` client_credentials, jwt-bearer, saml2-bearer, token-exchange or password")
	f.StringVar(&a.subject, "subject", "", "`user` whom a jwt-bearer or password grant is about")
	f.StringVar(&a.audience, "audience", "", "`audience` of the assertion, or of the token asked for")
	f.StringVar(&a.assertionIssuer, "assertion-issuer", "", "`iss` of the assertion (default: the client id, or the account of a Google key)")
	f.StringVar(&a.source, "source", "", "`reference` to what is traded in: a finished assertion, the subject token, the password")
	f.StringVar(&a.sourceType, "source-type", "", "`type` of the subject token (RFC 8693 §3; default: an access token)")
	f.Var((*list)(&a.claims), "claim", "`name=value` to add to the assertion, such as scope=…; repeatable")
	f.BoolVar(&a.legacy, "insecure-legacy", false, "allow --grant password, which hands a person's password to this program (RFC 9700 §2.4 forbids it)")
	cmd.RegisterFlagCompletionFunc("grant", cobra.FixedCompletions(grantTypes, cobra.ShellCompDirectiveNoFileComp))
}

// check refuses what cannot work before anything is sent.
func (a *asking) check() error {
	switch {
	case !slices.Contains(grantTypes, a.grant):
		return usageError{fmt.Errorf("--grant %s is not known", a.grant), "use one of " + strings.Join(grantTypes, ", ")}
	case a.grant == "password" && !a.legacy:
		return usageError{errors.New("--grant password hands a person's password to a program; RFC 9700 §2.4 says it must not be used"), "use another grant, or add --insecure-legacy where the server knows nothing else"}
	case a.source == "" && slices.Contains([]string{"saml2-bearer", "token-exchange", "password"}, a.grant):
		return usageError{fmt.Errorf("--grant %s needs something to trade in", a.grant), "give a reference with --source, such as file:PATH or cmd:PROGRAM"}
	}
	return checkSecretRef("--source", a.source)
}

// runAsking makes the first request with the engine that makes the later ones,
// on a record in memory, and keeps what came of it.
func (l *loginFlow) runAsking(ctx context.Context, at string, cfg evergrant.Config) error {
	if err := l.ask.check(); err != nil {
		return err
	}
	if l.ask.grant == "jwt-bearer" && l.ask.source == "" && cfg.KeyRef == "" {
		return usageError{errors.New("--grant jwt-bearer needs a key to sign with, or a finished assertion"), "give a reference with --key, such as file:server.key, or with --source"}
	}
	claims, err := pairs("--claim", l.ask.claims)
	if err != nil {
		return err
	}
	if err := l.locate(ctx, at, &cfg); err != nil {
		return err
	}
	cfg.Grant = evergrant.Grant{
		Type: l.ask.grant, Scope: l.scope, Issuer: l.ask.assertionIssuer, Subject: l.ask.subject, Audience: l.ask.audience,
		Resources: l.resources, Source: lasting(l.ask.source), SourceType: l.ask.sourceType, Claims: claims,
	}
	first := []byte(`{"access_token": null}`)
	if l.dpop {
		if first, err = boundDocument(); err != nil {
			return err
		}
	}
	document, err := askOnce(ctx, first, cfg)
	if err != nil {
		return l.unasked(err, cfg)
	}
	return l.kept(ctx, document, cfg, l.ask.subject, l.scope)
}

// unasked is why there is no grant; nothing is kept of it.
func (l *loginFlow) unasked(err error, cfg evergrant.Config) error {
	var e *evergrant.Error
	if !errors.As(err, &e) {
		return err
	}
	f := *e
	f.Do = withoutKept(f.Do)
	switch {
	case l.ask.grant == "jwt-bearer" && l.ask.subject == "" && l.ask.source == "":
		f.Do = clause(f.Do) + ". If the assertion is to be about a user, add --subject."
	case l.ask.grant == "client_credentials" && cfg.SecretRef == "" && cfg.KeyRef == "" && errors.Is(err, evergrant.ErrMisconfigured):
		f.Do = clause(f.Do) + ". The client speaks for itself here: give its secret with --client-secret, such as env:NAME, or its --key."
	}
	return &f
}

// askOnce asks for a token, and gives the document with it.
func askOnce(ctx context.Context, first []byte, cfg evergrant.Config) ([]byte, error) {
	var memory evergrant.Memory
	if err := evergrant.Keep(ctx, &memory, "login", first, cfg); err != nil {
		return nil, err
	}
	src, err := evergrant.Open(&memory, "login", cfg)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	if _, err := src.Refresh(ctx, evergrant.RefreshOptions{}); err != nil {
		return nil, err
	}
	d, err := src.Document(ctx)
	return []byte(d.Reveal()), err
}

// locate finds the token endpoint: by the catalog, by discovery, or as said.
func (l *loginFlow) locate(ctx context.Context, at string, cfg *evergrant.Config) error {
	p, err := l.entry(at, *cfg)
	if err != nil {
		return err
	}
	if p != nil {
		cfg.Provider = p.Name
	}
	if cfg.TokenURL != "" {
		return nil
	}
	c := login.Config{Provider: p, Vars: cfg.Vars, ClientID: cfg.ClientID, HTTP: cfg.HTTP}
	keyed := *cfg
	keyed.SecretRef = "" // the engine fetches it
	has, err := keyed.Credentials(ctx)
	if err != nil {
		return err
	}
	c.HTTP.Certificates = has.Certificates // first, as for a person: with one other endpoints may count
	found, err := login.Discover(ctx, at, c, login.Client{})
	if err != nil {
		return l.failure(err)
	}
	cfg.TokenURL = found.Config.Server.Token
	if p := found.Config.Provider; p != nil {
		cfg.Provider = p.Name
		if cfg.TokenURL == "" {
			if cfg.TokenURL, err = p.TokenURL(cfg.Vars); err != nil {
				return usageError{err, "give it with --var or --token-url"}
			}
		}
	}
	if m := found.Server; m != nil {
		cfg.Issuer = m.Issuer
		cfg.Endpoints.Revoke, cfg.Endpoints.Introspect = m.Revocation, m.Introspection
	}
	return nil
}

// boundDocument is a document with a new key that the tokens will be bound to.
func boundDocument() ([]byte, error) {
	k, err := jose.Generate("ES256")
	if err != nil {
		return nil, err
	}
	jwk, err := k.JWK()
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]json.RawMessage{"access_token": []byte("null"), "dpop_jwk": []byte(jwk.Reveal())})
}

func absolute(path string) (string, error) { return filepath.Abs(path) }
