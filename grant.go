package evergrant

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
)

// Grant says how an access token is had where no refresh token renews it: to
// refresh such a grant is to ask again. It is never in doubt, and no refusal
// ends it, because nothing of it can be used up. The zero Grant is one with a
// refresh token.
type Grant struct {
	// Type is client_credentials (RFC 6749 §4.4), jwt-bearer (RFC 7523 §2.1),
	// saml2-bearer (RFC 7522 §2.1), token-exchange (RFC 8693) or password (RFC
	// 6749 §4.3, which RFC 9700 §2.4 forbids for new systems).
	Type string
	// Scope asked for, space separated; "" asks for none.
	Scope string
	// Issuer and Subject are iss and sub of the assertion of a jwt-bearer grant:
	// "" means the client id, and the issuer. The subject of a password grant is
	// the user's name.
	Issuer, Subject string
	// Audience is aud of the assertion, "" means the token endpoint; of a
	// token-exchange it is the audience asked for.
	Audience string
	// Resources are the services the token is meant for (RFC 8707 §2).
	Resources []string
	// Source names, for ResolveSecret, what is traded in: a finished assertion
	// (for jwt-bearer instead of a key), the subject token, the password.
	Source string
	// SourceType is the type of a subject token (RFC 8693 §3); "" means an access
	// token.
	SourceType string
	// Claims are added to the assertion that is signed, such as scope for Google.
	Claims map[string]string
}

func (gr *Grant) members() []member {
	return []member{
		{"type", &gr.Type},
		{"scope", &gr.Scope},
		{"issuer", &gr.Issuer},
		{"subject", &gr.Subject},
		{"audience", &gr.Audience},
		{"resources", &gr.Resources},
		{"source_ref", &gr.Source},
		{"source_type", &gr.SourceType},
		{"claims", &gr.Claims},
	}
}

// dropReferences forgets where secrets are fetched from.
func (id *identity) dropReferences() {
	id.SecretRef, id.KeyRef, id.KeyPasswordRef, id.CertRef, id.Grant.Source = "", "", "", "", ""
}

// credentials are what the references of a grant name. They are fetched before
// the lock is taken, because a command may ask a person.
type credentials struct {
	of     identity // whose references they are
	secret oauth.Secret
	key    *jose.Key // nil if there is none
	certs  []tls.Certificate
	source oauth.Secret
}

// credentials fetches what the references name, those of the caller first, else
// the remembered ones.
func (c *Config) credentials(ctx context.Context, id identity) (credentials, error) {
	got := credentials{of: id, secret: c.ClientSecret}
	var err error
	if got.secret.IsZero() {
		if got.secret, err = c.fetch(ctx, id.SecretRef, "the client secret", "--client-secret"); err != nil {
			return got, err
		}
	}
	if got.source, err = c.fetch(ctx, id.Grant.Source, "what is traded for the token", "--source"); err != nil {
		return got, err
	}
	if id.KeyRef == "" {
		return got, nil
	}
	if got.key, err = c.key(ctx, id); err != nil {
		return got, err
	}
	if cert, ok := got.key.TLSCertificate(); ok {
		got.certs = []tls.Certificate{cert}
	}
	return got, nil
}

// fit reports whether they are still those of the grant: another process may
// have logged in with another client since, whose server must not see them.
func (c *credentials) fit(id identity) bool {
	was := &c.of
	return was.SecretRef == id.SecretRef && was.KeyRef == id.KeyRef && was.KeyPasswordRef == id.KeyPasswordRef &&
		was.KeyAlg == id.KeyAlg && was.CertRef == id.CertRef && was.Grant.Source == id.Grant.Source
}

// fetch resolves one reference; "" is none.
func (c *Config) fetch(ctx context.Context, ref, what, flag string) (oauth.Secret, error) {
	if ref == "" {
		return oauth.Secret{}, nil
	}
	if c.ResolveSecret == nil {
		return oauth.Secret{}, &Error{Class: ErrUsage, Rule: "secret-unresolved", Says: "nothing here can resolve the reference to " + what + ", " + ref, Do: "set Config.ResolveSecret"}
	}
	s, err := c.ResolveSecret(ctx, ref)
	if err != nil {
		class := ErrTemporary // a password manager that is locked, a daemon that restarts
		if errors.Is(err, ErrUsage) {
			class = ErrUsage
		}
		return oauth.Secret{}, &Error{Class: class, Rule: "secret-unresolved", Says: what + " could not be fetched: " + err.Error(), Do: "check the reference given with " + flag, Err: err}
	}
	return s, nil
}

func (c *Config) key(ctx context.Context, id identity) (*jose.Key, error) {
	data, err := c.fetch(ctx, id.KeyRef, "the private key", "--key")
	if err != nil {
		return nil, err
	}
	password, err := c.fetch(ctx, id.KeyPasswordRef, "the password of the private key", "--key-password")
	if err != nil {
		return nil, err
	}
	cert, err := c.fetch(ctx, id.CertRef, "the client's certificate", "--cert")
	if err != nil {
		return nil, err
	}
	pem := data.Reveal()
	if !cert.IsZero() {
		pem += "\n" + cert.Reveal() // a certificate beside the key becomes its chain
	}
	k, err := jose.ParseKey([]byte(pem), password)
	if err != nil {
		return nil, &Error{Class: ErrUsage, Rule: "key-unusable", Says: "the private key cannot be used: " + err.Error(), Do: "give PEM, PKCS#12, JWK or a Google key file with --key; its password with --key-password", Err: err}
	}
	if id.KeyAlg == "" {
		return k, nil
	}
	if k, err = k.WithAlgorithm(id.KeyAlg); err != nil {
		return nil, &Error{Class: ErrUsage, Rule: "key-unusable", Says: err.Error(), Do: "give --key-alg an algorithm of the key's kind", Err: err}
	}
	return k, nil
}

// grantRequests build the token request of each type of grant, "" for a refresh.
var grantRequests = map[string]func(refreshToken oauth.Secret, t terms, c credentials, auth oauth.ClientAuth) (*oauth.Request, error){
	"": func(refreshToken oauth.Secret, t terms, _ credentials, auth oauth.ClientAuth) (*oauth.Request, error) {
		return oauth.RefreshRequest(t.id.TokenURL, refreshToken, auth)
	},
	"client_credentials": func(_ oauth.Secret, t terms, _ credentials, auth oauth.ClientAuth) (*oauth.Request, error) {
		req, err := oauth.ClientCredentialsRequest(t.id.TokenURL, t.id.Grant.Scope, auth)
		return t.id.Grant.address(req, err)
	},
	"jwt-bearer": func(_ oauth.Secret, t terms, c credentials, auth oauth.ClientAuth) (*oauth.Request, error) {
		assertion, err := t.id.assertion(c)
		if err != nil {
			return nil, err
		}
		return oauth.JWTBearerRequest(t.id.TokenURL, assertion, t.id.Grant.Scope, auth)
	},
	"saml2-bearer": func(_ oauth.Secret, t terms, c credentials, auth oauth.ClientAuth) (*oauth.Request, error) {
		return oauth.SAMLBearerRequest(t.id.TokenURL, c.source, t.id.Grant.Scope, auth)
	},
	"token-exchange": func(_ oauth.Secret, t terms, c credentials, auth oauth.ClientAuth) (*oauth.Request, error) {
		gr := t.id.Grant
		e := oauth.Exchange{Subject: c.source, SubjectType: gr.SourceType, Resource: gr.Resources, Scope: gr.Scope}
		if gr.Audience != "" {
			e.Audience = []string{gr.Audience}
		}
		return oauth.ExchangeRequest(t.id.TokenURL, e, auth)
	},
	"password": func(_ oauth.Secret, t terms, c credentials, auth oauth.ClientAuth) (*oauth.Request, error) {
		req, err := oauth.PasswordRequest(t.id.TokenURL, t.id.Grant.Subject, c.source, auth)
		if err == nil && t.id.Grant.Scope != "" {
			req.Form.Set("scope", t.id.Grant.Scope)
		}
		return req, err
	},
}

// address adds where a token of the client's own is meant to be used.
func (gr *Grant) address(req *oauth.Request, err error) (*oauth.Request, error) {
	if err != nil {
		return nil, err
	}
	for _, r := range gr.Resources {
		req.Form.Add("resource", r) // RFC 8707 §2
	}
	if gr.Audience != "" {
		req.Form.Set("audience", gr.Audience)
	}
	return req, nil
}

// assertion is the JWT of a jwt-bearer grant: one made elsewhere, or one signed
// anew for this attempt.
func (id *identity) assertion(c credentials) (oauth.Secret, error) {
	if c.key == nil {
		return c.source, nil
	}
	gr := &id.Grant
	a := jose.Assertion{
		Issuer: firstOf(gr.Issuer, c.key.ServiceAccount().Email, id.ClientID), Subject: gr.Subject, NoSubject: gr.Subject == "",
		Audience: firstOf(gr.Audience, id.Issuer, id.TokenURL), Claims: map[string]any{},
	}
	for _, name := range slices.Sorted(maps.Keys(gr.Claims)) {
		if name == "scope" {
			a.Scope = gr.Claims[name]
		} else {
			a.Claims[name] = gr.Claims[name]
		}
	}
	return a.Sign(c.key, time.Now())
}

// anonymous reports whether the grant needs no client beside it: an assertion
// names it (RFC 7521 §4.1).
func (id *identity) anonymous() bool {
	return id.Auth == "" && (id.Grant.Type == "jwt-bearer" || id.Grant.Type == "saml2-bearer")
}

// clientAuths are the ways of client authentication, by their names in the
// registry of RFC 8414 §2 and shorter ones.
var clientAuths = map[string]func(id identity, c credentials) oauth.ClientAuth{
	"none":                func(id identity, _ credentials) oauth.ClientAuth { return oauth.None(id.ClientID) },
	"post":                func(id identity, c credentials) oauth.ClientAuth { return oauth.Post(id.ClientID, c.secret) },
	"client_secret_post":  func(id identity, c credentials) oauth.ClientAuth { return oauth.Post(id.ClientID, c.secret) },
	"basic":               func(id identity, c credentials) oauth.ClientAuth { return oauth.Basic(id.ClientID, c.secret) },
	"client_secret_basic": func(id identity, c credentials) oauth.ClientAuth { return oauth.Basic(id.ClientID, c.secret) },
	"private_key_jwt": func(id identity, c credentials) oauth.ClientAuth {
		return jose.PrivateKeyJWT(id.ClientID, c.key, id.audience())
	},
	"client_secret_jwt": func(id identity, c credentials) oauth.ClientAuth {
		return jose.ClientSecretJWT(id.ClientID, c.secret, id.audience())
	},
	"tls_client_auth":             func(id identity, _ credentials) oauth.ClientAuth { return oauth.None(id.ClientID) },
	"self_signed_tls_client_auth": func(id identity, _ credentials) oauth.ClientAuth { return oauth.None(id.ClientID) },
}

// audience is whom the client's own assertion is made out to: the issuer
// identifier where it is known (FAPI 2.0 §5.3.2.1), else the token endpoint.
func (id *identity) audience() string { return firstOf(id.Issuer, id.TokenURL) }

// clientAuth picks the way the client authenticates: as asked; without a secret
// by its key if there is one, else not at all; with one the catalog's first
// way, else Basic, which RFC 6749 §2.3.1 obliges every server to take. It is
// never probed.
func clientAuth(t terms, c credentials) (oauth.ClientAuth, error) {
	method := t.id.Auth
	switch {
	case method != "" || !c.secret.IsZero():
	case t.id.anonymous():
		return oauth.NoClient, nil
	case len(c.certs) > 0:
		method = "tls_client_auth"
	case c.key != nil:
		method = "private_key_jwt"
	default:
		method = "none"
	}
	if p := t.provider(); method == "" && p != nil {
		i := slices.IndexFunc(p.ClientAuth, func(m string) bool { return m == "post" || m == "basic" })
		if i >= 0 {
			method = p.ClientAuth[i]
		}
	}
	method = firstOf(method, "basic")
	make, ok := clientAuths[method]
	if !ok {
		return nil, &Error{Class: ErrUsage, Rule: "client-auth-unknown", Says: "client authentication " + method + " is not known", Do: "use none, post, basic, private_key_jwt, client_secret_jwt or tls_client_auth"}
	}
	if err := lacking(method, c); err != nil {
		return nil, err
	}
	return make(t.id, c), nil
}

// lacking says what a way of client authentication needs and does not have.
func lacking(method string, c credentials) error {
	miss := func(rule, what, do string) error {
		return &Error{Class: ErrUsage, Rule: rule, Says: fmt.Sprintf("client authentication %s needs %s", method, what), Do: do}
	}
	switch method {
	case "none":
		return nil
	case "private_key_jwt":
		if c.key == nil {
			return miss("client-key-missing", "a private key", "give a reference with --key, such as file:PATH")
		}
	case "tls_client_auth", "self_signed_tls_client_auth":
		if len(c.certs) == 0 {
			return miss("client-cert-missing", "a key with a certificate", "give references with --key and --cert")
		}
	default:
		if c.secret.IsZero() {
			return miss("client-secret-missing", "a client secret", "give a reference with --client-secret, such as env:NAME")
		}
	}
	return nil
}

// standIns take the place of the credentials in a request that is not sent:
// fetching the real ones may run a command.
func (c *Config) standIns(id identity) credentials {
	stand := credentials{secret: c.ClientSecret}
	if id.SecretRef != "" {
		stand.secret = oauth.NewSecret("by reference, and long enough for any method")
	}
	if id.Grant.Source != "" {
		stand.source = oauth.NewSecret(map[string]string{"jwt-bearer": "a.b.c", "saml2-bearer": "<Assertion/>"}[id.Grant.Type] + " ")
	}
	if id.KeyRef != "" {
		stand.key, _ = jose.Generate("ES256") // without one the plan says what is missing
		if id.CertRef != "" {
			stand.certs = []tls.Certificate{{}}
		}
	}
	return stand
}
