package login

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/evergrant/evergrant/oauth"
)

// Found is where a name or a URL led to.
type Found struct {
	// Config is the one given with what was found: it is ready for [Browser],
	// or for [Device] where Server.Device is not empty. What the caller had set
	// stands. ClientID is empty if nothing but a person can get one.
	Config Config
	// Server and Resource are the documents that were read; nil for none.
	Server   *oauth.ServerMetadata
	Resource *oauth.ResourceMetadata
	// Registered is the client that was made on the way, with a secret if it
	// has one: keep it for the next login, with Config.Redirect. nil for none.
	Registered *oauth.Registered
}

// Client says how to get a client id where none is given.
type Client struct {
	// DocumentURL is a client id metadata document of ours, used with servers
	// that take one; "" for none.
	DocumentURL string
	// Name is shown to the person who consents; "" means Evergrant.
	Name string
	// Register allows dynamic registration (RFC 7591) with a server that offers
	// it: a client is made there at each call.
	Register bool
}

// Discover finds out what a login needs. target is a name of the catalog; the
// URL of an API or MCP server, which names its authorization server (RFC 9728);
// or an issuer (RFC 8414, OpenID Connect Discovery). A URL is taken for an API
// if it says that it is one.
//
// Every URL that a document names is https and leads to a public address, or to
// the kind of network that the target itself is on; Config.HTTP.Gate, unless
// set, is set so, and stays for the login. Errors are *[Error], or the cause of
// ctx's end.
func Discover(ctx context.Context, target string, c Config, client Client) (*Found, error) {
	f := &Found{Config: c}
	if !strings.Contains(target, "://") {
		return f, f.named(target)
	}
	if err := oauth.CheckEndpoint(target); err != nil {
		return nil, &Error{Kind: Usage, Says: "this URL can't be asked", Do: "give an https URL", Err: err}
	}
	if f.Config.HTTP.Gate == nil {
		f.Config.HTTP.Gate = oauth.GateFor(ctx, target)
	}
	if err := f.ask(ctx, target); err != nil {
		return nil, err
	}
	f.fill()
	return f, f.client(ctx, client)
}

// named looks a provider up.
func (f *Found) named(name string) error {
	c := &f.Config
	if c.Provider == nil {
		p, err := c.Catalog.Get(name)
		if err != nil {
			return &Error{Kind: Usage, Says: err.Error(), Do: "`evergrant providers` lists them; the URL of an issuer or API works too", Err: err}
		}
		c.Provider = p
	}
	return nil
}

// ask gets the documents: of the resource if it is one, then of the server.
func (f *Found) ask(ctx context.Context, target string) error {
	h := &f.Config.HTTP
	issuer, _, known := strings.Cut(target, "/.well-known/")
	if !known {
		r, err := h.DiscoverResource(ctx, target)
		switch {
		case err == nil && len(r.AuthorizationServers) > 0:
			f.Resource = r
			if issuer = r.AuthorizationServers[0]; slices.Contains(r.AuthorizationServers, f.Config.Server.Issuer) {
				issuer = f.Config.Server.Issuer
			}
		case err != nil && !errors.Is(err, oauth.ErrNotPublished):
			return discovery(ctx, err)
		}
	}
	m, err := f.server(ctx, issuer)
	if errors.Is(err, oauth.ErrNotPublished) && f.Resource == nil && !known {
		if u, e := url.Parse(target); e == nil && strings.Trim(u.Path, "/") != "" { // MCP authorization 2025-03-26
			m, err = f.server(ctx, u.Scheme+"://"+u.Host)
		}
	}
	if errors.Is(err, oauth.ErrNotPublished) {
		return &Error{Kind: Misconfigured, Says: "nothing at this URL says how to log in", Do: "check the URL, or name a provider of the catalog, or give authorization and token URL", Err: err}
	}
	f.Server = m
	return discovery(ctx, err)
}

// server asks an issuer. A slash at the end more or less is a slip of who typed
// or configured the name, and the server's own spelling is asked once.
func (f *Found) server(ctx context.Context, issuer string) (*oauth.ServerMetadata, error) {
	m, err := f.Config.HTTP.Discover(ctx, issuer)
	var other *oauth.IssuerError
	if errors.As(err, &other) && other.SlashOnly() {
		return f.Config.HTTP.Discover(ctx, other.Got)
	}
	return m, err
}

func discovery(ctx context.Context, err error) error {
	var issuer *oauth.IssuerError
	var resource *oauth.ResourceError
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &issuer), errors.As(err, &resource):
		return &Error{Kind: Untrusted, Says: "a document found speaks for somebody else", Do: "check the URL; nothing was sent", Err: err}
	}
	return failure("finding out how to log in", err)
}

// fill takes over what the documents say and the caller did not.
func (f *Found) fill() {
	c, m := &f.Config, f.Server
	c.Server = c.Server.or(ServerOf(m, len(c.HTTP.Certificates) > 0))
	if p, ok := c.Catalog.ForTokenURL(c.Server.Token); ok && c.Provider == nil {
		c.Provider = p
	}
	if f.Resource != nil {
		if len(c.Resource) == 0 {
			c.Resource = []string{f.Resource.Resource}
		}
		if len(c.Scopes) == 0 {
			c.Scopes = f.Resource.Scopes
			if s := strings.Fields(f.Resource.ChallengeScope); len(s) > 0 {
				c.Scopes = s
			}
		}
	}
	f.offline()
}

// offline asks for a refresh token where the server has a scope for it (OpenID
// Connect Core §11) and no catalog entry says how.
func (f *Found) offline() {
	c, m := &f.Config, f.Server
	if c.Online || c.Provider != nil && len(c.Provider.Offline.Scopes) > 0 || !slices.Contains(m.Scopes, "offline_access") {
		return
	}
	if len(c.Scopes) == 0 && slices.Contains(m.Scopes, "openid") {
		c.Scopes = []string{"openid"}
	}
	if !slices.Contains(c.Scopes, "offline_access") {
		c.Scopes = append(slices.Clone(c.Scopes), "offline_access")
	}
	if c.Prompt == "" && slices.Contains(c.Scopes, "openid") {
		c.Prompt = "consent" // else the scope is ignored
	}
}

// client gets a client id if there is none yet.
func (f *Found) client(ctx context.Context, how Client) error {
	c, m := &f.Config, f.Server
	switch {
	case c.ClientID != "":
	case m.ClientIDDocuments && how.DocumentURL != "":
		c.ClientID, c.Auth, c.AuthMethod = how.DocumentURL, nil, "none"
	case how.Register && m.Registration != "":
		return f.register(ctx, how)
	}
	return nil
}

func (f *Found) register(ctx context.Context, how Client) error {
	c := &f.Config
	if err := c.Redirect.settle(); err != nil {
		return err
	}
	uri, err := c.Redirect.unheard()
	if err != nil {
		return err
	}
	name := how.Name
	if name == "" {
		name = "Evergrant"
	}
	reg := oauth.Registration{RedirectURIs: []string{uri}, Name: name, ApplicationType: "native", AuthMethod: "none",
		GrantTypes: f.grantTypes(), ResponseTypes: []string{"code"}, Scope: strings.Join(c.scopes(), " "), DPoPBound: c.DPoPKey != nil}
	if ms := f.Server.AuthMethods; ms != nil && !slices.Contains(ms, "none") {
		reg.AuthMethod = secretMethod(ms)
	}
	made, err := c.HTTP.Register(ctx, f.Server.Registration, reg, oauth.Secret{})
	if err != nil {
		return discovery(ctx, err)
	}
	if c.Auth, err = made.Auth(); err != nil {
		return &Error{Kind: Misconfigured, Says: "the server registered a client that can't be used", Err: err}
	}
	f.Registered, c.ClientID, c.AuthMethod = made, made.ClientID, made.AuthMethod
	return nil
}

// grantTypes to register for: a refresh token has to be asked for (RFC 7591 §2).
func (f *Found) grantTypes() []string {
	list := []string{"authorization_code", "refresh_token"}
	if f.Config.Server.Device != "" {
		list = append(list, "urn:ietf:params:oauth:grant-type:device_code")
	}
	if has := f.Server.GrantTypes; has != nil {
		list = slices.DeleteFunc(list, func(g string) bool { return !slices.Contains(has, g) })
	}
	return list
}

// settle chooses a port now, since some servers compare the whole redirect URI
// though RFC 8252 §7.3 has them accept any port.
func (r *Redirect) settle() error {
	if r.Port != 0 && r.LastPort == 0 {
		return nil
	}
	l, err := listen(*r)
	if err != nil {
		return err
	}
	r.Port, r.LastPort = l.port, 0
	l.close()
	return nil
}

// ServerOf takes what a login needs from a server's metadata: with mutualTLS
// the endpoints for clients with a certificate (RFC 8705 §5).
func ServerOf(m *oauth.ServerMetadata, mutualTLS bool) Server {
	e := m.Endpoints
	if mutualTLS {
		e = m.MutualTLS()
	}
	return Server{Issuer: m.Issuer, Authorize: e.Authorization, Token: e.Token, Device: e.DeviceAuthorization,
		Push: e.PushedAuthorization, Keys: m.JWKSURI, IssRequired: m.IssParameter, PushRequired: m.RequirePushed,
		ChallengeMethods: m.CodeChallengeMethods, IDTokenAlgs: m.IDTokenAlgs}
}

// or fills the zero fields of s.
func (s Server) or(m Server) Server {
	for _, f := range []struct {
		to   *string
		from string
	}{{&s.Issuer, m.Issuer}, {&s.Authorize, m.Authorize}, {&s.Token, m.Token}, {&s.Device, m.Device}, {&s.Push, m.Push}, {&s.Keys, m.Keys}} {
		if *f.to == "" {
			*f.to = f.from
		}
	}
	s.IssRequired = s.IssRequired || m.IssRequired
	s.PushRequired = s.PushRequired || m.PushRequired
	if s.ChallengeMethods == nil {
		s.ChallengeMethods = m.ChallengeMethods
	}
	if s.IDTokenAlgs == nil {
		s.IDTokenAlgs = m.IDTokenAlgs
	}
	return s
}

// ChooseAuth is the client authentication for a secret: none without one, else
// what the server lists (by the names of RFC 8414 §2, or those of the catalog),
// Basic before the body, and Basic where it lists nothing (RFC 6749 §2.3.1).
// method is its name for [Config].AuthMethod. Nothing is ever tried out.
func ChooseAuth(methods []string, clientID string, secret oauth.Secret) (auth oauth.ClientAuth, method string, err error) {
	if secret.IsZero() {
		return oauth.None(clientID), "none", nil
	}
	switch method := secretMethod(methods); method {
	case "client_secret_basic":
		return oauth.Basic(clientID, secret), method, nil
	case "client_secret_post":
		return oauth.Post(clientID, secret), method, nil
	}
	return nil, "", &Error{Kind: Usage, Says: "the server takes no client secret", Do: fmt.Sprintf("it takes: %s", strings.Join(methods, ", "))}
}

func secretMethod(methods []string) string {
	if len(methods) == 0 {
		return "client_secret_basic"
	}
	for _, names := range [][2]string{{"client_secret_basic", "basic"}, {"client_secret_post", "post"}} {
		if slices.Contains(methods, names[0]) || slices.Contains(methods, names[1]) {
			return names[0]
		}
	}
	return ""
}

// learn asks a provider of the catalog for its metadata, where it publishes
// them: what they promise about callbacks and keys makes the login safer. They
// add to the catalog's endpoints only if they are about the same ones, and a
// provider that does not answer is logged in to without.
func (c *Config) learn(ctx context.Context, s Server) Server {
	if s.Issuer != "" || c.Provider == nil || c.Provider.Endpoints.Discovery == "" {
		return s
	}
	place, err := c.Provider.Expand(c.Provider.Endpoints.Discovery, c.Vars)
	if err != nil {
		return s
	}
	issuer, _, _ := strings.Cut(place, "/.well-known/")
	m, err := c.HTTP.Discover(ctx, issuer)
	if err != nil {
		return s
	}
	found := ServerOf(m, len(c.HTTP.Certificates) > 0)
	if found.Token != s.Token || found.Authorize != s.Authorize {
		return s
	}
	if c.HTTP.Gate == nil {
		c.HTTP.Gate = oauth.GateFor(ctx, s.Token) // its keys are at an address that the document names
	}
	return s.or(found)
}
