package login

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
)

// wire sends the requests of one login.
type wire struct {
	cfg    *Config
	proofs *jose.Proofs // nil for bearer tokens
	keys   []byte       // the server's, had before anything was spent; nil if none are needed
}

func newWire(c *Config) (*wire, error) {
	if c.DPoPKey == nil {
		return &wire{cfg: c}, nil
	}
	p, err := jose.NewProofs(c.DPoPKey)
	if err != nil {
		return nil, &Error{Kind: Usage, Says: "the DPoP key can't be used", Err: err}
	}
	return &wire{cfg: c, proofs: p}, nil
}

// send builds a request and sends it, a second time only if the server asked
// for a DPoP nonce: that answer says that nothing was done (RFC 9449 §8).
func (w *wire) send(ctx context.Context, build func() (*oauth.Request, error)) (*oauth.Answer, *oauth.Request, error) {
	return w.sendBy(build, func(req *oauth.Request) (*oauth.Answer, error) { return w.cfg.HTTP.Send(ctx, req, nil) })
}

// spend is send for what is good once and brings the tokens: the end of ctx
// stops it until the request leaves, and from then on its answer is waited for.
func (w *wire) spend(ctx context.Context, build func() (*oauth.Request, error)) (*oauth.Answer, *oauth.Request, error) {
	return w.sendBy(build, func(req *oauth.Request) (*oauth.Answer, error) {
		own, end := context.WithCancelCause(context.WithoutCancel(ctx))
		defer end(nil)
		letGo := context.AfterFunc(ctx, func() { end(context.Cause(ctx)) })
		defer letGo()
		return w.cfg.HTTP.Send(own, req, func() error {
			if !letGo() {
				return context.Cause(ctx)
			}
			return nil
		})
	})
}

func (w *wire) sendBy(build func() (*oauth.Request, error), send func(*oauth.Request) (*oauth.Answer, error)) (*oauth.Answer, *oauth.Request, error) {
	for again := w.proofs.Retry(); ; {
		req, err := build() // anew each time: an assertion is good once
		if err == nil {
			for name, values := range w.cfg.Header {
				req.Header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
			}
		}
		if err == nil && w.proofs != nil {
			err = w.proofs.Attach(req, time.Now())
		}
		if err != nil {
			return nil, nil, err
		}
		answer, err := send(req)
		if err != nil {
			return nil, nil, err
		}
		if !again(req.URL, answer.Status, answer.Header, answer.Body) {
			return answer, req, nil
		}
	}
}

// granted is what is known beside a token answer.
type granted struct {
	srv      Server
	scope    []string
	nonce    oauth.Secret
	code     oauth.Secret
	callback oauth.Form // parameters of the redirect
}

// grant judges the answer of the token endpoint.
func (w *wire) grant(ctx context.Context, a *oauth.Answer, req *oauth.Request, k granted) (*Grant, error) {
	t, err := oauth.ParseToken(a, w.cfg.dialect())
	switch {
	case err == nil && (t.Error != "" || a.Status/100 != 2):
		return nil, failure("the server gave no tokens", w.refusal(a, t, req))
	case err != nil && a.Status/100 != 2:
		return nil, failure("the server gave no tokens", oauth.Refusal(a, req))
	case err != nil:
		return nil, failure("the server's answer can't be read", err)
	case t.AccessToken.IsZero():
		return nil, &Error{Kind: Misconfigured, Says: "the server's answer has no access token"}
	case w.proofs != nil && !jose.IsDPoP(t.TokenType): // RFC 9449 §5
		return nil, &Error{Kind: Untrusted, Says: "the tokens are not bound to the DPoP key", Do: "the server does not speak DPoP; log in without it"}
	}
	g := w.cfg.describe(t, k)
	g.Received = a.Received
	if g.Identity, err = w.identity(ctx, t, k); err != nil {
		return nil, err
	}
	if g.Document, err = w.document(a, t, k); err != nil {
		return nil, err
	}
	return g, nil
}

// refusal is the server's no, read by the provider's dialect.
func (w *wire) refusal(a *oauth.Answer, t *oauth.TokenAnswer, req *oauth.Request) error {
	e := oauth.Refusal(a, req)
	if e.Code == "" {
		e.Code = oauth.Scrub(t.Error, req.Secrets()...)
		e.Description = oauth.Scrub(t.ErrorDescription, req.Secrets()...)
	}
	return e
}

func (c *Config) describe(t *oauth.TokenAnswer, k granted) *Grant {
	g := &Grant{Token: t, Issuer: k.srv.Issuer, TokenURL: k.srv.Token, ClientID: c.ClientID, AuthMethod: c.authMethod(), Scope: t.Scope}
	if c.Provider != nil {
		g.Provider = c.Provider.Name
	}
	if !t.HasScope {
		g.Scope = strings.Join(k.scope, " ")
	}
	return g
}
