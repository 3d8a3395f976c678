package evergrant

import (
	"errors"
	"maps"
	"net/url"
	"slices"
	"sync"

	"github.com/evergrant/evergrant/internal/tokenfile"
	"github.com/evergrant/evergrant/oauth"
	"github.com/evergrant/evergrant/provider"
)

// terms puts together what identifies the grant: what the caller says, else
// what was remembered after the first success, else what the document says by
// a host the catalog lists exactly. What is still missing is an error only
// once something is to be sent.
func (g *engine) terms(h *holding) (terms, error) {
	id, cfg := h.st.remembered(), &g.cfg
	if cfg.Provider != "" && cfg.Provider != id.Provider {
		id.TokenURL = "" // remembered for another provider
	}
	lookUp := sync.OnceValue(func() *provider.Provider { // parsing an entry takes longer than serving a token
		p, err := g.provider(h, id.Provider, id.TokenURL)
		if err != nil {
			return nil // remembered, and no longer in the catalog: an unknown provider
		}
		return p
	})
	if cfg.Provider != "" || id.Provider == "" || id.TokenURL == "" {
		p, err := g.provider(h, firstOf(cfg.Provider, id.Provider), firstOf(cfg.TokenURL, id.TokenURL))
		if err != nil {
			return terms{}, err
		}
		if p != nil {
			id.Provider = p.Name
		}
		lookUp = func() *provider.Provider { return p }
	}
	id.TokenURL = firstOf(cfg.TokenURL, id.TokenURL)
	if id.TokenURL == "" {
		id.TokenURL = g.deriveTokenURL(h, lookUp())
	}
	id.ClientID = firstOf(cfg.ClientID, id.ClientID, h.file.Text("client_id"))
	id.Auth = firstOf(cfg.AuthMethod, id.Auth)
	id.Endpoints = cfg.Endpoints.over(id.Endpoints)
	if len(cfg.Vars) > 0 {
		id.Vars = cfg.Vars
		if p := lookUp(); p != nil && cfg.TokenURL == "" { // what the caller says goes before what is known
			id.TokenURL, _ = p.Moved(id.TokenURL, cfg.Vars)
		}
	}
	id.SecretRef = firstOf(cfg.SecretRef, id.SecretRef)
	id.Issuer = firstOf(cfg.Issuer, id.Issuer)
	if cfg.KeyRef != "" {
		id.KeyRef, id.KeyPasswordRef, id.KeyAlg, id.CertRef = cfg.KeyRef, cfg.KeyPasswordRef, cfg.KeyAlg, cfg.CertRef
	}
	if cfg.Grant.Type != "" {
		id.Grant = cfg.Grant
	}
	if len(cfg.Params) > 0 {
		id.Params = cfg.Params
	}
	if len(cfg.Fields) > 0 {
		id.Fields = cfg.Fields
	}
	if cfg.SessionLifetime > 0 {
		id.SessionLifetime = seconds(cfg.SessionLifetime)
	}
	t := terms{id: id, lookUp: lookUp, timeout: cfg.exchangeTimeout()}
	t.session = cfg.SessionLifetime
	if t.session == 0 {
		t.session = id.SessionLifetime.duration()
	}
	return t, nil
}

// provider finds the catalog entry: by name, by a host in the document, by the
// token endpoint. Nil without an error means an unknown provider.
func (g *engine) provider(h *holding, name, tokenURL string) (*provider.Provider, error) {
	if p := g.known.Load(); p != nil && p.Name == name {
		return p, nil
	}
	if name != "" {
		p, err := g.cfg.Catalog.Get(name)
		if err != nil {
			return nil, &Error{Class: ErrUsage, Rule: "provider-unknown", Says: err.Error(), Do: "`evergrant providers` lists them; --token-url works without one", Err: err}
		}
		g.known.Store(p)
		return p, nil
	}
	for _, host := range documentHosts(h.file) {
		if p, _, ok := g.cfg.Catalog.ForHost(host); ok {
			return p, nil
		}
	}
	if p, ok := g.cfg.Catalog.ForTokenURL(tokenURL); ok && tokenURL != "" {
		return p, nil
	}
	return nil, nil
}

// deriveTokenURL is for the first run only; after a success the endpoint is
// remembered and never derived again.
func (g *engine) deriveTokenURL(h *holding, p *provider.Provider) string {
	if uri := h.file.Text("token_uri"); uri != "" {
		if _, ok := g.cfg.Catalog.ForTokenURL(uri); ok {
			return uri
		}
	}
	if p == nil {
		return ""
	}
	for _, host := range documentHosts(h.file) {
		if q, u, ok := g.cfg.Catalog.ForHost(host); ok && q.Name == p.Name && u != "" {
			return u
		}
	}
	u, err := p.RefreshURL(g.cfg.Vars)
	if err != nil {
		return "" // a variable is missing: reported when something is to be sent
	}
	return u
}

// documentHosts are the hosts of the document's URL members, most telling
// first.
func documentHosts(f *tokenfile.File) []string {
	var hosts []string
	for _, name := range []string{"id", "token_uri", "token_url", "issuer", "instance_url"} {
		if u, err := url.Parse(f.Text(name)); err == nil && u.Scheme == "https" && u.Hostname() != "" {
			hosts = append(hosts, u.Hostname())
		}
	}
	return hosts
}

// request builds the token request: of a refresh exactly grant_type,
// refresh_token and client_id, plus what the catalog and the caller add.
func (g *engine) request(h *holding, t terms, c credentials) (*oauth.Request, error) {
	if t.id.TokenURL == "" {
		return nil, missingEndpoint(t.provider(), g.cfg.Vars)
	}
	if c.Secret.IsZero() { // of a Google file, and of a grant that was imported with its secret
		c.Secret = h.ownSecret()
	}
	if t.id.ClientID == "" && (!t.id.anonymous() || !c.Secret.IsZero()) {
		return nil, &Error{Class: ErrUsage, Rule: "client-id-missing", Says: "the client id of the app registration is not known", Do: "say it once with --client-id; it is remembered after the first success"}
	}
	make, ok := grantRequests[t.id.Grant.Type]
	if !ok {
		return nil, &Error{Class: ErrUsage, Rule: "grant-unknown", Says: "a grant of type " + t.id.Grant.Type + " is not known", Do: "use client_credentials, jwt-bearer, saml2-bearer, token-exchange or password"}
	}
	auth, err := clientAuth(t, c.Credentials)
	if err != nil {
		return nil, err
	}
	req, err := make(oauth.NewSecret(h.file.RefreshToken()), t, c, auth)
	var unusable *oauth.SendError
	if errors.As(err, &unusable) {
		return nil, classifySend(err).failure()
	}
	if err == nil {
		err = g.dress(req, h, t)
	}
	if err != nil {
		return nil, &Error{Class: ErrMisconfigured, Rule: "request", Says: "the token request cannot be built: " + err.Error(), Do: "check --token-url and --client-id, and what the grant was set up with", Err: err}
	}
	return req, nil
}

// ownSecret is the client's secret where the document itself holds it, and is
// made for that: in no other document a member of this name is used.
func (h *holding) ownSecret() oauth.Secret {
	if h.file.Layout() == tokenfile.LayoutGoogle || h.sealed {
		return oauth.NewSecret(h.file.Text("client_secret"))
	}
	return oauth.Secret{}
}

// dress adds what the catalog and the caller want in the request.
func (g *engine) dress(req *oauth.Request, h *holding, t terms) error {
	if p := t.provider(); p != nil {
		for _, name := range slices.Sorted(maps.Keys(p.Request.Params)) {
			req.Form.Set(name, p.Request.Params[name])
		}
		for name, value := range p.Request.Headers {
			req.Header.Set(name, value)
		}
		if p.Request.Scope && g.cfg.Scope == "" {
			req.Form.Set("scope", h.file.Text("scope"))
		}
	}
	if g.cfg.Scope != "" {
		req.Form.Set("scope", g.cfg.Scope) // RFC 6749 §6: must not go beyond the grant
	}
	for i, p := range t.id.Params {
		if slices.ContainsFunc(t.id.Params[:i], func(before [2]string) bool { return before[0] == p[0] }) {
			req.Form.Add(p[0], p[1]) // RFC 8707 §2 repeats resource
		} else {
			req.Form.Set(p[0], p[1])
		}
	}
	for name, values := range g.cfg.Header {
		req.Header[name] = slices.Clone(values)
	}
	if p := t.provider(); p != nil {
		req.Form = slices.DeleteFunc(req.Form, func(f oauth.Param) bool { return slices.Contains(p.Request.Omit, f.Name) })
		for i, f := range req.Form {
			if to := p.Request.Rename[f.Name]; to != "" {
				req.Form[i].Name = to
			}
		}
		return req.Encode(p.Request.Body)
	}
	return nil
}

// dialect is how the provider's answers differ from RFC 6749 §5.
func (g *engine) dialect(t terms) oauth.Dialect {
	p := t.provider()
	if p == nil {
		return oauth.Dialect{}
	}
	return oauth.Dialect{Form: p.Answer.Form, Pointer: p.Answer.Pointer, OKField: p.Answer.OKField, Rename: p.Answer.Renames()}
}

func missingEndpoint(p *provider.Provider, vars map[string]string) error {
	e := &Error{Class: ErrUsage, Rule: "token-url-missing", Says: "the token endpoint of this grant is not known",
		Do: "say it once with --provider NAME or --token-url URL; it is remembered after the first success"}
	if p != nil {
		if _, err := p.RefreshURL(vars); err != nil {
			e.Says, e.Do, e.Err = err.Error(), "say it with --token-url, or the variable with --var", err
		}
	}
	return e
}

func firstOf(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}
