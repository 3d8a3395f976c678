package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/login"
	"github.com/evergrant/evergrant/store/keyring"
)

// A keeping says where a grant is to be kept: in a file, or under a name.
type keeping struct {
	file, name string
	opened     *keyring.Store // once it was: nobody is asked twice for a passphrase
}

// store opens the store of named grants, once.
func (k *keeping) store(u *ui) (*keyring.Store, error) {
	if k.opened != nil {
		return k.opened, nil
	}
	var err error
	k.opened, err = openStore(u)
	return k.opened, err
}

func (k *keeping) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&k.file, "file", "", "keep the grant in this token `file`")
	cmd.Flags().StringVar(&k.name, "name", "", "keep the grant in the store under this `name`")
	exclusive(cmd, "file", "name")
}

// target is how the next command names the grant.
func (k *keeping) target() string {
	if k.name != "" {
		return k.name
	}
	return k.file
}

// check finds out before a person is bothered whether the grant can be kept
// there.
func (k *keeping) check(ctx context.Context, u *ui) error {
	if k.name != "" {
		if err := checkName("--name", k.name); err != nil {
			return err
		}
		store, err := k.store(u)
		if err != nil {
			return err
		}
		if err := keyHint(store, store.Unlock(ctx)); err != nil {
			return err
		}
		return begin(ctx, store, keyring.Key{})
	}
	if _, err := os.Stat(k.file); errors.Is(err, fs.ErrNotExist) {
		dir, err := os.Stat(filepath.Dir(k.file))
		if err == nil && !dir.IsDir() {
			return usageError{fmt.Errorf("%s is no folder", filepath.Dir(k.file)), "choose another --file"}
		}
		return nil
	}
	src, err := evergrant.OpenFile(k.file, evergrant.Config{OnEvent: u.event})
	if err != nil {
		return err
	}
	defer src.Close()
	plan, err := src.Plan(ctx)
	if err == nil && plan.Storage != nil {
		err = plan.Storage
	}
	return err
}

// keep stores a grant that was just obtained.
func (k *keeping) keep(ctx context.Context, u *ui, document []byte, cfg evergrant.Config) error {
	if k.name == "" {
		return evergrant.KeepFile(ctx, k.file, document, cfg)
	}
	store, err := k.store(u)
	if err != nil {
		return err
	}
	return evergrant.Keep(ctx, store, k.name, document, cfg)
}

// exists reports whether there is a grant already.
func (k *keeping) exists(ctx context.Context, u *ui) bool {
	if k.name == "" {
		_, err := os.Stat(k.file)
		return err == nil
	}
	store, err := k.store(u)
	if err != nil {
		return false
	}
	_, err = store.Get(ctx, k.name)
	return !errors.Is(err, evergrant.ErrNotFound)
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
	ctx, end := outlasting(ctx, keepingTime)
	defer end()
	ctx, cancel := context.WithTimeout(ctx, l.timeout) // for whoever holds the lock and does not move
	defer cancel()
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
			return secretUnkept(ctx, err, document, r.ClientSecret, cfg)
		}
	}
	account := ""
	if g.Identity != nil {
		account = g.Identity.Subject
	}
	former := l.formerSecret(ctx, !g.Token.RefreshToken.IsZero())
	if err := l.kept(ctx, document, cfg, account, g.Scope); err != nil {
		return err // what was written of a secret goes with the grant in the rescue folder
	}
	if former != "" && "file:"+former != cfg.SecretRef {
		os.Remove(former) // nobody needs it; if it stays it does no harm
	}
	return nil
}

// keepingTime is how long after a signal a grant that was had is still put in
// its place; then it goes into a rescue folder.
const keepingTime = 5 * time.Second

// outlasting is ctx whose end comes a while later: a person has agreed by now,
// and some providers give a refresh token once.
func outlasting(ctx context.Context, by time.Duration) (context.Context, func()) {
	late, end := context.WithCancelCause(context.WithoutCancel(ctx))
	forget := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(by, func() { end(context.Cause(ctx)) })
		context.AfterFunc(late, func() { t.Stop() })
	})
	return late, func() { forget(); end(nil) }
}

// kept stores the grant and reports.
func (l *loginFlow) kept(ctx context.Context, document []byte, cfg evergrant.Config, account, scope string) error {
	if err := l.keep(ctx, l.u, document, cfg); err != nil {
		return err
	}
	l.u.done = "the login was made and is kept as " + l.target0()
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
