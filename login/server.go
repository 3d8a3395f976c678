package login

import (
	"maps"
	"slices"

	"github.com/evergrant/evergrant/oauth"
	"github.com/evergrant/evergrant/provider"
)

// Server is what a login has to know of an authorization server. Zero fields
// are filled from the catalog entry.
type Server struct {
	// Issuer identifier (RFC 8414 §2), compared byte by byte with iss; "" if it
	// is not known: then iss is not judged and ID tokens are not read.
	Issuer string
	// Authorize, Token, Device, Push and Keys are the endpoints: authorization,
	// token, device authorization, pushed requests, JWKS.
	Authorize, Token, Device, Push, Keys string
	// IssRequired: every callback has an iss (RFC 9207 §3).
	IssRequired bool
	// PushRequired: only pushed requests are taken (RFC 9126 §5).
	PushRequired bool
	// ChallengeMethods are those of PKCE that the server lists; nil if it lists
	// none. A list without S256 is an error unless PKCE is off: there is no
	// weaker way here.
	ChallengeMethods []string
	// IDTokenAlgs are the signatures of ID tokens that the server lists; nil
	// if it lists none.
	IDTokenAlgs []string
}

// server merges what the caller says with the catalog entry.
func (c *Config) server() (Server, error) {
	s, p := c.Server, c.Provider
	if p == nil {
		return s, nil
	}
	vars := c.Vars
	if s.Token != "" { // the catalog's other endpoints are of the same server only if this one is
		told := p.VarsIn(s.Token)
		if told == nil {
			return s, nil
		}
		vars = told
	}
	for _, e := range []struct {
		to       *string
		template string
	}{{&s.Authorize, p.Endpoints.Authorize}, {&s.Token, p.Endpoints.Token}, {&s.Device, p.Endpoints.Device}} {
		if *e.to != "" {
			continue
		}
		u, err := p.Expand(e.template, vars)
		if err != nil {
			return s, &Error{Kind: Usage, Says: err.Error(), Do: "give the variable a value", Err: err}
		}
		*e.to = u
	}
	return s, nil
}

// scopes are those asked for and those that the catalog needs for a refresh
// token.
func (c *Config) scopes() []string {
	list := slices.Clone(c.Scopes)
	if c.Provider != nil && !c.Online {
		for _, s := range c.Provider.Offline.Scopes {
			if !slices.Contains(list, s) {
				list = append(list, s)
			}
		}
	}
	return list
}

// authParams are the catalog's for a login that lasts, then the caller's.
func (c *Config) authParams() (oauth.Form, error) {
	var f oauth.Form
	if p := c.Provider; p != nil {
		if !c.Online {
			if err := c.fill(&f, p.Offline.Params, c.AuthParams); err != nil {
				return nil, err
			}
		}
		if err := c.fill(&f, p.Login.Params, c.AuthParams); err != nil {
			return nil, err
		}
	}
	for _, p := range c.AuthParams {
		f.Set(p.Name, p.Value)
	}
	return f, nil
}

// fill sets the catalog's parameters, with their variables filled; those that
// the caller sets need no variable.
func (c *Config) fill(f *oauth.Form, params map[string]string, own oauth.Form) error {
	params = maps.Clone(params)
	maps.DeleteFunc(params, func(name, _ string) bool { return own.Has(name) })
	values, err := c.Provider.Params(params, c.Vars)
	if err != nil {
		return &Error{Kind: Usage, Says: err.Error(), Do: "give the variable a value", Err: err}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		f.Set(name, values[name])
	}
	return nil
}

// dress adds to a token request what the catalog and the caller want in it.
func (c *Config) dress(req *oauth.Request) error {
	var body string
	if p := c.Provider; p != nil {
		if err := c.fill(&req.Form, p.Login.TokenParams, c.TokenParams); err != nil {
			return err
		}
		for name, value := range p.Request.Headers {
			req.Header.Set(name, value)
		}
		if p.Request.Body == "json" { // a query is for refreshing alone
			body = "json"
		}
	}
	for _, p := range c.TokenParams {
		req.Form.Set(p.Name, p.Value)
	}
	c.rewrite(req.Form)
	return req.Encode(body)
}

// rewrite gives parameters the provider's names.
func (c *Config) rewrite(f oauth.Form) {
	for i, p := range f {
		if to := c.rename()[p.Name]; to != "" {
			f[i].Name = to
		}
	}
}

func (c *Config) separator() string {
	if c.Provider == nil || c.Provider.ScopeSeparator == "" {
		return " "
	}
	return c.Provider.ScopeSeparator
}

func (c *Config) rename() map[string]string {
	if c.Provider == nil {
		return nil
	}
	return c.Provider.Request.Rename
}

// dialect is how the provider's answers differ from RFC 6749 §5.
func (c *Config) dialect() oauth.Dialect {
	p := c.Provider
	if p == nil {
		return oauth.Dialect{}
	}
	return oauth.Dialect{Form: p.Answer.Form, Pointer: p.Answer.Pointer, OKField: p.Answer.OKField, Rename: p.Answer.Renames()}
}

// noPKCE says whether to leave PKCE out, and refuses to weaken it.
func (c *Config) noPKCE(s Server) (bool, error) {
	if c.PKCE == PKCENever {
		return true, nil
	}
	if c.PKCE == "" && c.Provider != nil && c.Provider.PKCE == "no" && !slices.Contains(s.ChallengeMethods, "S256") {
		return true, nil
	}
	if s.ChallengeMethods != nil && !slices.Contains(s.ChallengeMethods, "S256") {
		return false, &Error{Kind: Misconfigured, Says: "the server takes no PKCE challenge of the method S256", Do: "a weaker one is not sent; ask its operator to allow S256"}
	}
	return false, nil
}

// echo names the parameters of the callback that go with its code.
func echo(p *provider.Provider) []string {
	if p == nil {
		return nil
	}
	return p.Login.Echo
}

// keep names the parameters of the callback that belong into the document.
func keep(p *provider.Provider) []string {
	if p == nil {
		return nil
	}
	return p.Login.Callback
}
