package evergrant

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
	"github.com/evergrant/evergrant/provider"
)

// Endpoints are addresses of an authorization server beside the token endpoint,
// where the catalog does not have them; "" means as remembered, else as in the
// catalog.
type Endpoints struct {
	Revoke     string // RFC 7009
	Introspect string // RFC 7662
	Userinfo   string // OpenID Connect Core §5.3
}

func (e *Endpoints) members() []member {
	return []member{{"revoke", &e.Revoke}, {"introspect", &e.Introspect}, {"userinfo", &e.Userinfo}}
}

// over lays e over what was known before.
func (e Endpoints) over(was Endpoints) Endpoints {
	return Endpoints{firstOf(e.Revoke, was.Revoke), firstOf(e.Introspect, was.Introspect), firstOf(e.Userinfo, was.Userinfo)}
}

// endpoints are the addresses for this grant.
func (t terms) endpoints() Endpoints {
	p := t.provider()
	if p == nil {
		return t.id.Endpoints
	}
	vars := t.id.Vars
	if len(vars) == 0 {
		vars = p.VarsIn(t.id.TokenURL)
	}
	own := t.tokenURLOf(p, vars)
	expand := func(template string) string {
		if !own && (strings.Contains(template, "{") || !slices.Contains(p.Endpoints.TokenAlso, t.id.TokenURL)) {
			return "" // a grant of another host: its tokens are not for this one
		}
		u, err := p.Expand(template, vars)
		if err != nil {
			return "" // a variable is missing: reported as a missing endpoint
		}
		return u
	}
	return t.id.Endpoints.over(Endpoints{expand(p.Endpoints.Revoke), expand(p.Endpoints.Introspect), expand(p.Endpoints.UserInfo)})
}

// tokenURLOf reports whether the token endpoint is what the catalog says for
// these variables.
func (t terms) tokenURLOf(p *provider.Provider, vars map[string]string) bool {
	for _, template := range []string{p.Endpoints.Token, p.Endpoints.Refresh} {
		if u, err := p.Expand(template, vars); err == nil && u != "" && u == t.id.TokenURL {
			return true
		}
	}
	return false
}

func noEndpoint(what, flag string) *Error {
	return &Error{Class: ErrUsage, Rule: "endpoint-missing", Says: "the provider's endpoint for " + what + " is not known",
		Do: "give it with " + flag + "; some providers have none"}
}

// Document is the grant's document as it stands, tokens and all.
func (s *Source) Document(ctx context.Context) (Secret, error) {
	h, err := s.engine.look(ctx)
	if err != nil {
		return Secret{}, err
	}
	return oauth.NewSecret(string(h.file.Bytes())), nil
}

// Revoke ends the grant at the provider (RFC 7009): its refresh token, else its
// access token. A grant that was revoked is not sent again, and nothing of it
// is deleted here. Where the provider is busy (503) the grant still lives and
// the error matches ErrTemporary; where it revokes access tokens only, the grant
// lives on and the error matches ErrMisconfigured.
func (s *Source) Revoke(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return interrupted(context.Cause(ctx))
	}
	err := s.engine.revoke(ctx)
	if err == nil {
		s.hot.Store(nil)
		s.engine.seen.Store(nil)
	}
	return err
}

func (g *engine) revoke(ctx context.Context) error {
	h, t, err := g.view(ctx)
	if err != nil {
		return err
	}
	c, err := g.cfg.credentials(ctx, t.id)
	if err != nil {
		return err
	}
	s, err := g.place.lock(ctx)
	if err != nil {
		return err
	}
	defer s.release()
	if h, err = s.read(ctx); err != nil {
		return err
	}
	if _, err := g.recover(ctx, s, &h, false); err != nil {
		return err
	}
	if t, err = g.terms(&h); err != nil {
		return err
	}
	if !c.fit(t.id) { // somebody logged in before the lock was had
		return &Error{Class: ErrTemporary, Rule: "grant-changed", Says: "somebody logged in with another client meanwhile; nothing was revoked", Do: "look at `evergrant status`, and run it again if it is still meant"}
	}
	ended, err := g.sendRevocation(ctx, &h, t, c)
	if err != nil {
		return err
	}
	if err := s.note(ctx, h, h.st.revoked(&h, t, ended)); err != nil {
		e := *asError(err)
		e.Says = "the provider revoked the grant, and that could not be noted here: " + e.Says
		return &e
	}
	if ended == oauth.HintAccessToken && h.file.RefreshToken() != "" {
		return &Error{Class: ErrMisconfigured, Rule: "revocation-partial", Says: "the provider ended the access token; it revokes no refresh tokens, so the grant lives on",
			Do: "end it on the provider's own pages"}
	}
	return nil
}

// sendRevocation asks for the end of the refresh token, which ends the access
// tokens with it (RFC 7009 §2.1); of the access token where there is no other,
// or the provider revokes only those (§2.2.1). It tells which one was ended.
func (g *engine) sendRevocation(ctx context.Context, h *holding, t terms, c credentials) (string, error) {
	at := t.endpoints().Revoke
	if at == "" {
		return "", noEndpoint("revocation", "--revoke-url")
	}
	auth, err := g.ownAuth(h, t, c)
	if err != nil {
		return "", err
	}
	client := g.client(c)
	token, hint := h.file.RefreshToken(), oauth.HintRefreshToken
	if token == "" {
		token, hint = h.file.AccessToken(), oauth.HintAccessToken
	}
	if token == "" {
		return "", &Error{Class: ErrUsage, Rule: "no-token", Says: "there is no token to revoke", Do: "see `evergrant status`"}
	}
	err = client.Revoke(ctx, at, oauth.NewSecret(token), hint, auth)
	var refused *oauth.ServerError
	if errors.As(err, &refused) && refused.Code == "unsupported_token_type" && hint == oauth.HintRefreshToken && h.file.AccessToken() != "" {
		hint = oauth.HintAccessToken
		err = client.Revoke(ctx, at, oauth.NewSecret(h.file.AccessToken()), hint, auth)
	}
	return hint, askFailure("revocation", err)
}

// revoked is the state of a grant of which we ended one token, by its hint.
func (st *state) revoked(h *holding, t terms, ended string) *state {
	now := *st
	at := time.Now().UTC().Round(0)
	if ended == oauth.HintRefreshToken {
		now.Doubt, now.Intent = nil, nil
		now.Dead = &verdict{Refresh: st.mark(h.file.RefreshToken()), TokenURL: t.id.TokenURL, ClientID: t.id.ClientID, At: at,
			Rule: "revoked-here", Says: "this grant was revoked with evergrant at " + clock(at), Do: "log in again to have a new one"}
	}
	now.Access = st.mark(h.file.AccessToken())
	now.Learned.IssuedAt, now.Learned.ExpiresAt, now.Learned.Source, now.Learned.RefreshAt = at, at, "revoked", time.Time{}
	return &now
}

// ownAuth is the client authentication for an endpoint that is not the token
// endpoint: as there, but never none of all.
func (g *engine) ownAuth(h *holding, t terms, c credentials) (oauth.ClientAuth, error) {
	if c.Secret.IsZero() {
		c.Secret = h.ownSecret()
	}
	if t.id.ClientID == "" {
		return oauth.NoClient, nil // the token alone; the server says if it wants more
	}
	return clientAuth(t, c.Credentials)
}

// client is the wire with the client's certificates.
func (g *engine) client(c credentials) *oauth.Client {
	client := g.cfg.HTTP
	if len(c.Certificates) > 0 {
		client.Certificates = c.Certificates
	}
	return &client
}

// askFailure is the error of a question to the server that is no token request.
func askFailure(what string, err error) error {
	if err == nil {
		return nil
	}
	e := &Error{Class: ErrMisconfigured, Rule: what + "-refused", Says: "the provider refused the " + what + ": " + err.Error(),
		Do: "check the client and its authentication; nothing was changed here", Err: err}
	var retry *oauth.RetryError
	var send *oauth.SendError
	var refused *oauth.ServerError
	switch {
	case errors.As(err, &retry):
		e.Class, e.Rule, e.Do, e.RetryAfter = ErrTemporary, what+"-busy", "nothing was changed; try again later", retry.After
	case errors.As(err, &send):
		e = unasked(what, err, send)
	case errors.As(err, &refused) && refused.Status >= 500:
		e.Class, e.Rule, e.Do = ErrTemporary, what+"-busy", "nothing was changed here; try again later"
	}
	return e
}

// unasked is the error of a question that got no answer.
func unasked(what string, err error, send *oauth.SendError) *Error {
	f := classifySend(err)
	e := f.failure()
	e.Says = "the " + what + " did not get an answer: " + f.Says
	switch {
	case send.Sent:
		e.Class, e.Do = ErrTemporary, "it may have arrived; ask again"
	case f.Rule == "unsent-url":
		e.Says, e.Do = "the endpoint for "+what+" is not a usable URL", "it must be https (plain http only to this machine); nothing was sent"
	case f.Outcome != Misconfigured:
		e.Class = ErrTemporary
	}
	e.Outcome = "" // of a refresh only
	return e
}

// Introspect asks the provider what it knows of the access token at hand, or of
// the refresh token (RFC 7662). Most servers want a client that authenticates.
func (s *Source) Introspect(ctx context.Context, refreshToken bool) (*oauth.Introspection, error) {
	g := &s.engine
	h, t, err := g.view(ctx)
	if err != nil {
		return nil, err
	}
	at := t.endpoints().Introspect
	if at == "" {
		return nil, noEndpoint("introspection", "--introspect-url")
	}
	c, err := g.cfg.credentials(ctx, t.id)
	if err != nil {
		return nil, err
	}
	auth, err := g.ownAuth(&h, t, c)
	if err != nil {
		return nil, err
	}
	token, hint := h.file.AccessToken(), oauth.HintAccessToken
	if refreshToken {
		token, hint = h.file.RefreshToken(), oauth.HintRefreshToken
	}
	if token == "" {
		return nil, &Error{Class: ErrUsage, Rule: "no-token", Says: "the grant has no such token", Do: "see `evergrant status`"}
	}
	i, err := g.client(c).Introspect(ctx, at, oauth.NewSecret(token), hint, auth)
	return i, askFailure("introspection", err)
}

// Userinfo asks the provider who the person behind the grant is (OpenID Connect
// Core §5.3), with a valid access token. Where the document has an identity URL
// on the host of the token endpoint or of the instance (Salesforce's id), that
// one is asked if there is no userinfo endpoint.
func (s *Source) Userinfo(ctx context.Context) (*oauth.Userinfo, error) {
	tok, err := s.Token(ctx)
	if err != nil {
		return nil, err
	}
	g := &s.engine
	h, t, err := g.view(ctx)
	if err != nil {
		return nil, err
	}
	at := t.endpoints().Userinfo
	if at == "" {
		at = identityURL(h.file.Text("id"), t.id.TokenURL, h.file.Text("instance_url"))
	}
	if at == "" {
		return nil, noEndpoint("userinfo", "--userinfo-url")
	}
	var c credentials
	if t.id.CertRef != "" || strings.Contains(t.id.Auth, "tls") { // the token may be bound to the certificate (RFC 8705 §3)
		if c, err = g.cfg.credentials(ctx, t.id); err != nil {
			return nil, err
		}
	}
	u, err := userinfo(ctx, g.client(c), at, tok)
	if refused := (*oauth.ServerError)(nil); errors.As(err, &refused) && refused.Status < 500 {
		if v := h.st.dead(h.file.RefreshToken(), t.id); v != nil { // the grant has ended, and its access token with it
			return nil, v.failure()
		}
	}
	if err != nil {
		return nil, askFailure("userinfo request", err)
	}
	if known := h.subject(); known != "" && u.Subject != "" && u.Subject != known { // OpenID Connect Core §5.3.2
		return nil, &Error{Class: ErrMisconfigured, Rule: "userinfo-subject", Says: "the provider's answer is about somebody else than the ID token of this grant; it was dropped",
			Do: "check the userinfo endpoint"}
	}
	return u, nil
}

// subject is whom the ID token in the document is about; "" if there is none.
// It was verified when it came.
func (h *holding) subject() string {
	u, err := jose.Inspect(oauth.NewSecret(h.file.Text("id_token")))
	if err != nil {
		return ""
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	if json.Unmarshal(u.Claims, &claims) != nil {
		return ""
	}
	return claims.Subject
}

func userinfo(ctx context.Context, client *oauth.Client, at string, tok *Token) (*oauth.Userinfo, error) {
	req, err := oauth.UserinfoRequest(at, tok.AccessToken)
	if err != nil {
		return nil, err
	}
	for again := tok.proofs.Retry(); ; {
		if err := tok.authorize(req.Header, http.MethodGet, at); err != nil {
			return nil, err
		}
		a, err := client.Send(ctx, req, nil)
		if err != nil {
			return nil, err
		}
		if !again(at, a.Status, a.Header, a.Body) {
			return oauth.ParseUserinfo(a, req)
		}
	}
}

// identityURL is a document's identity URL, if it leads to a host that is known
// to be the provider's: a token goes nowhere because a document says so.
func identityURL(id string, known ...string) string {
	u, err := url.Parse(id)
	if err != nil || u.Host == "" {
		return ""
	}
	for _, k := range known {
		if v, err := url.Parse(k); err == nil && v.Scheme == u.Scheme && v.Host == u.Host {
			return id
		}
	}
	return ""
}
