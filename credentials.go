package evergrant

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
)

// Credentials are what a client authenticates with, as [Config.Credentials]
// fetched it. The zero Credentials are those of a public client. However they
// are printed nothing of them shows.
type Credentials struct {
	// Secret of the client; zero if it has none.
	Secret Secret
	// Key of the client; nil if it has none.
	Key *jose.Key
	// Certificates are the key with its chain, for mutual TLS (RFC 8705 §2); nil
	// if there is none.
	Certificates []tls.Certificate
}

// Credentials fetches what SecretRef, KeyRef, KeyPasswordRef and CertRef name; a
// ClientSecret goes before SecretRef. Errors match ErrUsage, or ErrTemporary
// where ResolveSecret says that it may work later.
func (c *Config) Credentials(ctx context.Context) (Credentials, error) {
	return c.clientOf(ctx, identity{SecretRef: c.SecretRef, KeyRef: c.KeyRef, KeyPasswordRef: c.KeyPasswordRef, KeyAlg: c.KeyAlg, CertRef: c.CertRef})
}

// Format writes what String returns, whatever the verb.
func (c Credentials) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// String says nothing of them.
func (Credentials) String() string { return "[redacted]" }

// LogValue returns what String returns.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText returns what String returns.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// authMethods are the ways of client authentication, by their names in the
// registry of RFC 8414 §2 and shorter ones.
var authMethods = map[string]func(c Credentials, clientID, audience string) oauth.ClientAuth{
	"none":                        identified,
	"post":                        posted,
	"client_secret_post":          posted,
	"basic":                       basic,
	"client_secret_basic":         basic,
	"tls_client_auth":             identified, // the certificate stands in the handshake
	"self_signed_tls_client_auth": identified,
	"private_key_jwt": func(c Credentials, clientID, audience string) oauth.ClientAuth {
		return jose.PrivateKeyJWT(clientID, c.Key, audience)
	},
	"client_secret_jwt": func(c Credentials, clientID, audience string) oauth.ClientAuth {
		return jose.ClientSecretJWT(clientID, c.Secret, audience)
	},
}

func identified(_ Credentials, clientID, _ string) oauth.ClientAuth { return oauth.None(clientID) }

func posted(c Credentials, clientID, _ string) oauth.ClientAuth {
	return oauth.Post(clientID, c.Secret)
}

func basic(c Credentials, clientID, _ string) oauth.ClientAuth {
	return oauth.Basic(clientID, c.Secret)
}

// Method is how a client authenticates that was not told how: without a secret
// by mutual TLS or by its key, else not at all ("none"). It is "" with a secret:
// then what the server takes decides. Nothing is ever tried out.
func (c Credentials) Method() string {
	switch {
	case !c.Secret.IsZero():
		return ""
	case len(c.Certificates) > 0:
		return "tls_client_auth"
	case c.Key != nil:
		return "private_key_jwt"
	}
	return "none"
}

// Auth is the client authentication of this name, one of those that
// Config.AuthMethod takes. The audience is whom an assertion of the client is
// made out to: the issuer identifier where it is known (FAPI 2.0 §5.3.2.1), else
// the token endpoint. A name that is not known, or one that needs what is not
// there, is an error that matches ErrUsage.
func (c Credentials) Auth(method, clientID, audience string) (oauth.ClientAuth, error) {
	make, ok := authMethods[method]
	if !ok {
		return nil, &Error{Class: ErrUsage, Rule: "client-auth-unknown", Says: "client authentication " + method + " is not known", Do: "use none, post, basic, private_key_jwt, client_secret_jwt or tls_client_auth"}
	}
	if err := c.lacking(method); err != nil {
		return nil, err
	}
	return make(c, clientID, audience), nil
}

// shortestHMAC is the least length in bytes of a secret that signs with HS256
// (RFC 7518 §3.2).
const shortestHMAC = 32

// lacking says what a way of client authentication needs and does not have,
// before a person is bothered or a request is made.
func (c Credentials) lacking(method string) error {
	miss := func(rule, what, do string) error {
		return &Error{Class: ErrUsage, Rule: rule, Says: fmt.Sprintf("client authentication %s needs %s", method, what), Do: do}
	}
	switch method {
	case "none":
		return nil
	case "private_key_jwt":
		if c.Key == nil {
			return miss("client-key-missing", "a private key", "give a reference with --key, such as file:PATH")
		}
	case "tls_client_auth", "self_signed_tls_client_auth":
		if len(c.Certificates) == 0 {
			return miss("client-cert-missing", "a key with a certificate", "give references with --key and --cert")
		}
	default:
		if c.Secret.IsZero() {
			return miss("client-secret-missing", "a client secret", "give a reference with --client-secret, such as env:NAME")
		}
		if method == "client_secret_jwt" && len(c.Secret.Reveal()) < shortestHMAC {
			return miss("client-secret-short", "a client secret of at least 32 bytes", "give another with --client-secret, or use post or basic")
		}
	}
	return nil
}

// Elsewhere is put before a reference that is remembered and not followed, because
// it was not said for the side file that it stands in: that one was copied,
// unpacked, checked out or restored, or is another user's. A reference may name any
// file of this user and run a command, so that what came with a token file from
// somebody else must not be followed. It is never resolved; once the same reference
// is said again, that one is remembered in its place.
const Elsewhere = "elsewhere:"

// A reference says where a secret is fetched from.
type reference struct {
	at   *string // "" is none
	what string  // the secret is, for messages
	flag string  // that sets it
}

// The references of a grant by their place in its list. Those of its login come
// last: no token request needs them.
const (
	ofSecret = iota
	ofKey
	ofKeyPassword
	ofCert
	ofSource
	ofRequestKey
	ofRequestKeyPassword
)

func (id *identity) references() []reference {
	return []reference{
		ofSecret:             {&id.SecretRef, "the client secret", "--client-secret"},
		ofKey:                {&id.KeyRef, "the private key", "--key"},
		ofKeyPassword:        {&id.KeyPasswordRef, "the password of the private key", "--key-password"},
		ofCert:               {&id.CertRef, "the client's certificate", "--cert"},
		ofSource:             {&id.Grant.Source, "what is traded for the token", "--source"},
		ofRequestKey:         {&id.Login.RequestKeyRef, "the key that signs a login", "--request-key"},
		ofRequestKeyPassword: {&id.Login.RequestKeyPasswordRef, "the password of the key that signs a login", "--request-key-password"},
	}
}

// unfollowed is why a token request cannot be made with these references: what is
// remembered is not followed. It shows all that has to be said again, and where
// it would be sent: whoever wrote the one may have written the other. Nil if
// there is nothing of the kind.
func (c *Config) unfollowed(id identity) *Error {
	if !c.ClientSecret.IsZero() {
		id.SecretRef = ""
	}
	var what, flags []string
	for _, r := range id.references()[:ofRequestKey] {
		if ref, ok := strings.CutPrefix(*r.at, Elsewhere); ok {
			what, flags = append(what, fmt.Sprintf("%s (%q)", r.what, ref)), append(flags, r.flag)
		}
	}
	if len(what) == 0 {
		return nil
	}
	if id.KeyAlg != "" && slices.Contains(flags, "--key") {
		flags = append(flags, "--key-alg "+id.KeyAlg)
	}
	do := "if you trust it, say it once more with " + strings.Join(flags, ", ")
	if id.TokenURL != "" {
		do = "if it may go to " + id.TokenURL + ", say it once more with " + strings.Join(flags, ", ")
	}
	if strings.HasPrefix(id.Grant.Source, Elsewhere) {
		do = "set the grant up again, with `evergrant login --grant " + id.Grant.Type + "`"
	}
	return &Error{Class: ErrUsage, Rule: "reference-elsewhere", Do: do,
		Says: "what is remembered of " + strings.Join(what, " and ") + " is not followed: the side file was copied, unpacked or restored, or is another user's"}
}

// credentials are what the references of a grant name. They are fetched before
// the lock is taken, because a command may ask a person.
type credentials struct {
	Credentials
	of     identity     // whose references they are
	source oauth.Secret // what is traded in
}

// credentials fetches what the references name, those of the caller first, else
// the remembered ones.
func (c *Config) credentials(ctx context.Context, id identity) (credentials, error) {
	got := credentials{of: id}
	var err error
	if got.Credentials, err = c.clientOf(ctx, id); err != nil {
		return got, err
	}
	got.source, err = c.fetch(ctx, id.references()[ofSource])
	return got, err
}

// clientOf fetches what the references of the client name.
func (c *Config) clientOf(ctx context.Context, id identity) (got Credentials, err error) {
	if err := c.unfollowed(id); err != nil {
		return got, err
	}
	if got.Secret = c.ClientSecret; got.Secret.IsZero() {
		if got.Secret, err = c.fetch(ctx, id.references()[ofSecret]); err != nil {
			return got, err
		}
	}
	if id.KeyRef == "" {
		return got, nil
	}
	if got.Key, err = c.key(ctx, id); err != nil {
		return got, err
	}
	if cert, ok := got.Key.TLSCertificate(); ok {
		got.Certificates = []tls.Certificate{cert}
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

// fetch resolves one reference.
func (c *Config) fetch(ctx context.Context, r reference) (oauth.Secret, error) {
	if *r.at == "" {
		return oauth.Secret{}, nil
	}
	if c.ResolveSecret == nil {
		return oauth.Secret{}, &Error{Class: ErrUsage, Rule: "secret-unresolved", Says: "nothing here can resolve the reference to " + r.what + ", " + *r.at, Do: "set Config.ResolveSecret"}
	}
	s, err := c.ResolveSecret(ctx, *r.at)
	if err != nil {
		class := ErrTemporary // a password manager that is locked, a daemon that restarts
		if errors.Is(err, ErrUsage) {
			class = ErrUsage
		}
		return oauth.Secret{}, &Error{Class: class, Rule: "secret-unresolved", Says: r.what + " could not be fetched: " + err.Error(), Do: "check the reference given with " + r.flag, Err: err}
	}
	return s, nil
}

// key fetches the client's private key, with a certificate beside it as its
// chain.
func (c *Config) key(ctx context.Context, id identity) (*jose.Key, error) {
	refs := id.references()
	data, err := c.fetch(ctx, refs[ofKey])
	if err != nil {
		return nil, err
	}
	password, err := c.fetch(ctx, refs[ofKeyPassword])
	if err != nil {
		return nil, err
	}
	cert, err := c.fetch(ctx, refs[ofCert])
	if err != nil {
		return nil, err
	}
	pem := data.Reveal()
	if !cert.IsZero() {
		pem += "\n" + cert.Reveal()
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

// audience is whom the client's own assertion is made out to.
func (id *identity) audience() string { return firstOf(id.Issuer, id.TokenURL) }

// clientAuth picks the way the client authenticates: as asked; without a secret
// as its credentials allow; with one the catalog's first way, else Basic, which
// RFC 6749 §2.3.1 obliges every server to take.
func clientAuth(t terms, c Credentials) (oauth.ClientAuth, error) {
	if c.Secret.IsZero() && t.id.anonymous() {
		return oauth.NoClient, nil
	}
	method := firstOf(t.id.Auth, c.Method())
	if p := t.provider(); method == "" && p != nil {
		i := slices.IndexFunc(p.ClientAuth, func(m string) bool { return m == "post" || m == "basic" })
		if i >= 0 {
			method = p.ClientAuth[i]
		}
	}
	return c.Auth(firstOf(method, "basic"), t.id.ClientID, t.id.audience())
}

// standIns take the place of the credentials in a request that is not sent:
// fetching the real ones may run a command.
func (c *Config) standIns(id identity) credentials {
	stand := credentials{Credentials: Credentials{Secret: c.ClientSecret}}
	if id.SecretRef != "" {
		stand.Secret = oauth.NewSecret("by reference, and long enough for any method")
	}
	if id.Grant.Source != "" {
		stand.source = oauth.NewSecret(map[string]string{"jwt-bearer": "a.b.c", "saml2-bearer": "<Assertion/>"}[id.Grant.Type] + " ")
	}
	if id.KeyRef != "" {
		stand.Key, _ = jose.Generate("ES256") // without one the plan says what is missing
		if id.CertRef != "" {
			stand.Certificates = []tls.Certificate{{}}
		}
	}
	return stand
}
