package login

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
)

// attempt is one authorization request from its secrets to its grant.
type attempt struct {
	cfg      *Config
	wire     *wire
	srv      Server
	request  oauth.Authorization
	want     oauth.Expected
	redirect string
	signer   *jose.Provider // of callbacks; nil where they are not signed

	mu     sync.Mutex // over prompt and Config.Show
	prompt Prompt
}

// newAttempt makes fresh secrets: none is ever used for a second request.
func newAttempt(c *Config, srv Server, redirectURI string) (*attempt, error) {
	w, err := newWire(c)
	if err != nil {
		return nil, err
	}
	if srv.Authorize == "" || srv.Token == "" {
		return nil, usage("the authorization or token endpoint is not known", "name a provider of the catalog, an issuer to discover, or both URLs")
	}
	noPKCE, err := c.noPKCE(srv)
	if err != nil {
		return nil, err
	}
	a := &attempt{cfg: c, wire: w, srv: srv, redirect: redirectURI}
	a.want = oauth.Expected{State: oauth.NewNonce(), Issuer: srv.Issuer, IssRequired: srv.IssRequired}
	if p := c.Provider; p != nil {
		a.want.CodeParam = p.Login.CodeParam
	}
	r := &a.request
	*r = oauth.Authorization{ClientID: c.ClientID, RedirectURI: redirectURI, Scope: c.scopes(), State: a.want.State,
		NoPKCE: noPKCE, ResponseMode: c.ResponseMode, Prompt: c.Prompt, LoginHint: c.LoginHint,
		Resource: c.Resource, Details: c.Details, Rename: c.rename()}
	if c.Provider != nil {
		r.ScopeSeparator, r.Omit = c.Provider.ScopeSeparator, c.Provider.Login.Omit
	}
	if !noPKCE {
		r.Verifier = oauth.NewNonce()
	}
	if slices.Contains(r.Scope, "openid") {
		r.Nonce = oauth.NewNonce()
	}
	if c.DPoPKey != nil {
		r.DPoPThumbprint = c.DPoPKey.Thumbprint()
	}
	return a, a.addParams()
}

// addParams sorts the extra parameters: those that have a field of their own
// are set there, and only where the caller said nothing.
func (a *attempt) addParams() error {
	r := &a.request
	params, err := a.cfg.authParams()
	if err != nil {
		return err
	}
	for _, p := range params {
		switch {
		case p.Name == "response_type":
			r.ResponseType = p.Value
		case p.Name == "prompt" && r.Prompt != "", p.Name == "login_hint" && r.LoginHint != "":
		default:
			r.Params.Set(p.Name, p.Value)
		}
	}
	if strings.Contains(r.ResponseType, "id_token") && r.ResponseMode == "" && !r.Params.Has("response_mode") {
		r.ResponseMode = "form_post" // else it comes in the fragment, which no listener sees
	}
	return nil
}

// prepare fetches the server's keys: for signed callbacks, since when one comes
// there is nobody who could wait for that, and for the ID token.
func (a *attempt) prepare(ctx context.Context) error {
	if err := a.wire.fetchKeys(ctx, a.srv, a.request.Scope); err != nil {
		return err
	}
	mode := cmp.Or(a.request.ResponseMode, a.request.Params.Get("response_mode"))
	if mode != "jwt" && !strings.HasSuffix(mode, ".jwt") {
		return nil
	}
	if a.srv.Issuer == "" || a.srv.Keys == "" {
		return usage("signed callbacks need the server's issuer and keys", "log in by discovery, or without .jwt in the response mode")
	}
	keys, err := a.cfg.HTTP.FetchJWKS(ctx, a.srv.Keys)
	if err != nil {
		return failure("fetching the server's keys", err)
	}
	// Algorithms of ID tokens are not those of responses.
	a.signer = &jose.Provider{Issuer: a.srv.Issuer, ClientID: a.cfg.ClientID, JWKS: keys}
	return nil
}

// frontURL is what to open. A pushed request is sent for it.
func (a *attempt) frontURL(ctx context.Context) (string, error) {
	params, err := a.request.Form()
	if err != nil {
		return "", &Error{Kind: Usage, Says: "the authorization request can't be made", Err: err}
	}
	if a.cfg.RequestKey != nil {
		o := jose.RequestObject{ClientID: a.cfg.ClientID, Audience: a.srv.Issuer, Params: params}
		signed, err := o.Sign(a.cfg.RequestKey, time.Now())
		if err != nil {
			return "", &Error{Kind: Usage, Says: "the authorization request can't be signed", Err: err}
		}
		params = jose.Front(a.cfg.ClientID, signed)
	}
	if a.cfg.Push || a.srv.PushRequired {
		if params, err = a.push(ctx, params); err != nil {
			return "", err
		}
	}
	u, err := oauth.FrontURL(a.srv.Authorize, params)
	return u, failure("making the authorization URL", err)
}

func (a *attempt) push(ctx context.Context, params oauth.Form) (oauth.Form, error) {
	if a.srv.Push == "" {
		return nil, usage("the server has no endpoint for pushed requests", "log in without")
	}
	answer, req, err := a.wire.send(ctx, func() (*oauth.Request, error) { return oauth.PushRequest(a.srv.Push, params, a.cfg.auth()) })
	if err != nil {
		return nil, failure("pushing the authorization request", err)
	}
	pushed, err := oauth.ParsePushed(answer, req)
	if err != nil {
		return nil, failure("pushing the authorization request", err)
	}
	return pushed.Front(a.cfg.ClientID), nil
}

// redeem spends the code, once: a second try would make the server revoke what
// the first one gave (RFC 6749 §4.1.2).
func (a *attempt) redeem(ctx context.Context, cb *oauth.Callback) (*Grant, error) {
	if err := a.wire.hybrid(ctx, cb, granted{srv: a.srv, nonce: a.request.Nonce}); err != nil {
		return nil, err
	}
	answer, req, err := a.wire.spend(ctx, func() (*oauth.Request, error) {
		r, err := oauth.CodeRequest(a.srv.Token, oauth.Code{Code: cb.Code, RedirectURI: a.redirect, Verifier: a.request.Verifier, Resource: a.cfg.Resource}, a.cfg.auth())
		if err != nil {
			return nil, err
		}
		for _, name := range echo(a.cfg.Provider) {
			if cb.Params.Has(name) {
				r.Form.Set(name, cb.Params.Get(name))
			}
		}
		return r, a.cfg.dress(r)
	})
	if err != nil {
		return nil, failure("redeeming the code", err)
	}
	return a.wire.grant(context.WithoutCancel(ctx), answer, req, granted{srv: a.srv, scope: a.request.Scope, nonce: a.request.Nonce, code: cb.Code, callback: cb.Params})
}
