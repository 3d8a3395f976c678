package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/provider"
)

// target is what the commands on token files have in common.
type target struct {
	u *ui

	provider, tokenURL, clientID, secret, auth, scope, caCert, catalog string
	key, keyPassword, keyAlg, cert, issuer                             string
	params, headers, fields, vars                                      []string
	timeout, session                                                   time.Duration
	verbose                                                            bool
}

// identify adds the flags that say whose grant it is and how to reach the
// provider. What identifies it is remembered after the first success.
func (t *target) identify(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.clientID, "client-id", "", "client `id` of the app registration")
	f.StringVar(&t.secret, "client-secret", "", "`reference` to the client's secret: env:NAME, file:PATH, json:PATH#/MEMBER, keyring:SERVICE/ACCOUNT or cmd:PROGRAM ARG…")
	f.StringVar(&t.auth, "client-auth", "", "client authentication `method`: none, post, basic, private_key_jwt, client_secret_jwt or tls_client_auth (default: by the catalog)")
	f.StringVar(&t.key, "key", "", "`reference` to the client's private key: PEM, PKCS#12, JWK or a Google key file")
	f.StringVar(&t.keyPassword, "key-password", "", "`reference` to the password of the key")
	f.StringVar(&t.keyAlg, "key-alg", "", "`algorithm` the key signs with, such as PS256 (default: the key's own)")
	f.StringVar(&t.cert, "cert", "", "`reference` to the certificate chain (PEM) that goes with the key, for mutual TLS")
	f.StringVar(&t.issuer, "issuer", "", "issuer `URL` of the authorization server: the audience of what the key signs")
	f.StringVar(&t.provider, "provider", "", "`name` of the provider in the catalog, such as salesforce (default: as the file says)")
	f.StringVar(&t.tokenURL, "token-url", "", "`URL` of the token endpoint; overrides the provider's, not its dialect")
	f.StringVar(&t.scope, "scope", "", "`scope` to send with the refresh (default: none)")
	f.Var((*list)(&t.params), "param", "`name=value` to add to the token request; repeatable, remembered")
	f.Var((*list)(&t.headers), "header", "`name=value` to add to the token request; repeatable, not remembered")
	f.Var((*list)(&t.fields), "field", "`name=/pointer` of a member that the file has elsewhere; repeatable, remembered")
	f.Var((*list)(&t.vars), "var", "`name=value` of a variable that the provider's entry names; repeatable")
	f.DurationVar(&t.session, "session-lifetime", 0, "how long an access token is valid where the provider does not say; remembered")
	f.DurationVar(&t.timeout, "timeout", time.Minute, "bound of the command, waits and retries included; a request that has left is given its whole time")
	f.StringVar(&t.caCert, "ca-cert", "", "PEM `file` of certificate authorities to trust instead of the system's")
	f.StringVar(&t.catalog, "catalog", "", "`file` or folder with providers of your own (default: $EVERGRANT_CATALOG, else evergrant/providers in the folder of configurations)")
	f.BoolVarP(&t.verbose, "verbose", "v", false, "print a transcript of the exchange to stderr, without secrets")
	cmd.RegisterFlagCompletionFunc("provider", completeProvider)
	cmd.RegisterFlagCompletionFunc("client-auth", cobra.FixedCompletions(clientAuths, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("client-secret", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"env:", "file:", "cmd:", "keyring:"}, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
	})
}

// clientAuths are the ways of client authentication that --client-auth takes.
var clientAuths = []string{"none", "post", "basic", "private_key_jwt", "client_secret_jwt", "tls_client_auth", "self_signed_tls_client_auth"}

// secretParams are parameters that are never given as literals: they would
// stand in the shell's history and the process list.
var secretParams = []string{"client_secret", "refresh_token", "access_token", "password", "client_assertion", "assertion", "code"}

// config turns the flags into a Config.
func (t *target) config() (evergrant.Config, error) {
	cfg := evergrant.Config{
		Provider: t.provider, TokenURL: t.tokenURL, ClientID: t.clientID, SecretRef: t.secret, AuthMethod: t.auth, Scope: t.scope,
		KeyRef: t.key, KeyPasswordRef: t.keyPassword, KeyAlg: t.keyAlg, CertRef: t.cert, Issuer: t.issuer,
		SessionLifetime: t.session, CallTimeout: t.timeout, ExchangeTimeout: min(t.timeout, 30*time.Second), ResolveSecret: resolveSecret, OnEvent: t.u.event,
	}
	cfg.HTTP.UserAgent = "evergrant/" + version()
	if t.verbose {
		cfg.HTTP.Trace = func(line string) { t.u.line(line) }
	}
	if t.timeout <= 0 {
		return cfg, usageError{fmt.Errorf("--timeout %s is no time at all", t.timeout), "give a positive duration such as 30s"}
	}
	if t.session < 0 {
		return cfg, usageError{fmt.Errorf("--session-lifetime %s is negative", t.session), "give a duration such as 2h"}
	}
	if err := scopeFits(t.scope); err != nil {
		return cfg, err
	}
	if t.auth != "" && !slices.Contains(clientAuths, t.auth) {
		return cfg, usageError{fmt.Errorf("--client-auth %s is not known", t.auth), "use one of " + strings.Join(clientAuths, ", ")}
	}
	for flag, ref := range map[string]*string{"--client-secret": &cfg.SecretRef, "--key": &cfg.KeyRef, "--key-password": &cfg.KeyPasswordRef, "--cert": &cfg.CertRef} {
		if err := checkSecretRef(flag, *ref); err != nil {
			return cfg, err
		}
		*ref = lasting(*ref)
	}
	for _, p := range t.params {
		name, value, err := pair("--param", p)
		if err != nil {
			return cfg, err
		}
		if slices.Contains(secretParams, strings.ToLower(name)) {
			return cfg, usageError{fmt.Errorf("--param %s would put a secret on the command line", name), "use --client-secret with a reference such as env:NAME"}
		}
		cfg.Params = append(cfg.Params, [2]string{name, value})
	}
	for _, h := range t.headers {
		name, value, err := pair("--header", h)
		if err != nil {
			return cfg, err
		}
		if cfg.Header == nil {
			cfg.Header = http.Header{}
		}
		cfg.Header.Add(name, value)
	}
	var err error
	if cfg.Fields, err = pairs("--field", t.fields); err != nil {
		return cfg, err
	}
	if cfg.Vars, err = pairs("--var", t.vars); err != nil {
		return cfg, err
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Vars)) {
		if cfg.Vars[name] == "" { // it would count as not given, and the default leads elsewhere
			return cfg, usageError{fmt.Errorf("--var %s= gives no value", name), "give a value, or leave it out for the default"}
		}
	}
	if cfg.HTTP.RootCAs, err = readCAs(t.caCert); err != nil {
		return cfg, err
	}
	if at := catalogAt(t.catalog); at != "" {
		if cfg.Catalog, err = provider.Load(at); err != nil {
			return cfg, usageError{fmt.Errorf("reading the catalog: %w", err), "see provider/SCHEMA.md for the form"}
		}
	}
	return cfg, nil
}

// catalogAt is where this user's own providers are: as said, else in
// EVERGRANT_CATALOG, else in the folder of configurations; "" if there are none.
func catalogAt(said string) string {
	if at := cmp.Or(said, os.Getenv("EVERGRANT_CATALOG")); at != "" {
		return at
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	at := filepath.Join(dir, "evergrant", "providers")
	if info, err := os.Stat(at); err != nil || !info.IsDir() {
		return ""
	}
	return at
}

// open opens a token file or a kept grant. It is ended by the first signal: what
// was not sent is not sent, and a request that left is waited for.
func (t *target) open(ctx context.Context, grant string, change func(*evergrant.Config)) (*evergrant.Source, error) {
	cfg, err := t.config()
	if err != nil {
		return nil, err
	}
	if change != nil {
		change(&cfg)
	}
	var src *evergrant.Source
	if err := targetKind(grant); err != nil {
		return nil, err
	}
	if isName(grant) {
		src, err = openNamed(ctx, t.u, grant, cfg)
	} else {
		src, err = evergrant.OpenFile(grant, cfg)
	}
	if err != nil {
		return nil, err
	}
	if err := varsFit(ctx, src, cfg); err != nil {
		return nil, errors.Join(err, src.Close())
	}
	context.AfterFunc(ctx, func() { src.Close() })
	return src, nil
}

// targetKind refuses what cannot be a grant, and says what it is.
func targetKind(grant string) error {
	if grant == "" {
		return usageError{errors.New("TARGET is empty"), "name a token file or a kept grant; a variable of a script may be unset"}
	}
	if isName(grant) {
		return nil
	}
	info, err := os.Stat(grant)
	switch {
	case err != nil || info.Mode().IsRegular():
		return nil
	case info.IsDir():
		return usageError{fmt.Errorf("%s is a folder, not a token file", grant), "name a file in it"}
	case info.Mode()&os.ModeNamedPipe != 0:
		return usageError{fmt.Errorf("%s is a pipe, not a token file", grant), "name a regular file: a refresh writes it back"}
	}
	return usageError{fmt.Errorf("%s is no regular file", grant), "name a token file: a refresh writes it back"}
}

// scopeFits refuses what no scope can have (RFC 6749 §3.3).
func scopeFits(scope string) error {
	strange := func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }
	if i := strings.IndexFunc(scope, strange); i >= 0 {
		return usageError{fmt.Errorf("--scope %q has a character that no scope has", scope), "correct --scope: words separated by spaces, without quotes and backslashes"}
	}
	return nil
}

func pair(flag, text string) (name, value string, err error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return "", "", usageError{fmt.Errorf("%s wants name=value", flag), "write it as " + flag + " name=value"}
	}
	return name, value, nil
}

func pairs(flag string, list []string) (map[string]string, error) {
	m := map[string]string{}
	for _, text := range list {
		name, value, err := pair(flag, text)
		if err != nil {
			return nil, err
		}
		m[name] = value
	}
	if len(m) == 0 {
		return nil, nil
	}
	return maps.Clone(m), nil
}

func readCAs(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, usageError{fmt.Errorf("reading --ca-cert: %w", err), "give a PEM file"}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, usageError{fmt.Errorf("--ca-cert %s holds no certificate", path), "give a PEM file"}
	}
	return pool, nil
}

// oneFile is the argument rule of a command on one token file or kept grant.
func oneFile(command string) cobra.PositionalArgs {
	return takes(1, 1, "evergrant "+command+" TARGET")
}

// exclusive refuses flags that contradict each other, as the usage error that it
// is.
func exclusive(cmd *cobra.Command, names ...string) {
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		var given []string
		for _, n := range names {
			if cmd.Flags().Changed(n) {
				given = append(given, "--"+n)
			}
		}
		if len(given) > 1 {
			return usageError{errors.New(strings.Join(given, " and ") + " exclude each other"), "give one of them"}
		}
		if before == nil {
			return nil
		}
		return before(cmd, args)
	}
}

// list is a flag that may be given several times. pflag's own writes and reads
// CSV for its default, at every start.
type list []string

func (l *list) String() string { return strings.Join(*l, ", ") }

// Type is that of pflag's own: completions offer such a flag again.
func (*list) Type() string { return "stringArray" }

func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}
