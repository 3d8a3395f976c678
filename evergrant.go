// Package evergrant keeps OAuth 2.0 grants alive: it refreshes access tokens,
// keeps refresh tokens through rotation, crashes, races and outages, and hands
// out access tokens.
//
// Start with [OpenFile] on a JSON token file, or with [Open] on a record of a
// [Store]. The [Source] that comes back answers [Source.Token] with a valid
// access token from memory and refreshes only when needed; [Source.Client]
// gives an http.Client that adds the token to requests and renews it when the
// API rejects it; [Source.OAuth2] is the same as an oauth2.TokenSource.
//
// What it promises, for all processes that share the file or the store:
//
//   - at most one request whose outcome is success or unknown carries a given
//     refresh token, except a deliberate, journalled replay;
//   - a new refresh token is durable before anybody sees the access token;
//   - a late writer never overwrites a newer token;
//   - only the provider's own word ends a grant, and no failure deletes
//     anything;
//   - a request whose reply was lost is known as such and sent again only
//     where that is safe;
//   - a valid token is served while refreshing fails.
//
// The limits: a plain file that other programs write without its lock is
// protected as far as the system can exchange two names at once (Linux,
// macOS); a reply that is lost on a server that rotates without a grace window
// ends the grant, because no client could have kept it.
//
// Errors are of type [*Error] and match one of the Err… classes. Secrets are
// of type [Secret] and print as "[redacted]".
package evergrant

import (
	"context"
	"net/http"
	"path/filepath"
	"time"

	"github.com/evergrant/evergrant/internal/tokenfile"
	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
	"github.com/evergrant/evergrant/provider"
)

// Secret is a token or client secret that does not show itself in logs; its
// method Reveal does.
type Secret = oauth.Secret

// NewSecret wraps a secret.
func NewSecret(text string) Secret { return oauth.NewSecret(text) }

// Config says what a Source needs to know. The zero Config is enough for a
// grant that was refreshed before: what identifies it is remembered.
type Config struct {
	// Provider is a name of the catalog; "" means as remembered, else as the
	// document says by a host the catalog lists.
	Provider string
	// TokenURL overrides the token endpoint only, not the provider's dialect.
	TokenURL string
	// Endpoints beside the token endpoint, where the catalog has none.
	Endpoints Endpoints
	// Vars fill the variables of the provider's endpoints, such as a shop.
	Vars map[string]string
	// Login is what [KeepFile] and [Keep] remember of how the person logged in.
	Login LoginTerms
	// Issuer identifies the authorization server (RFC 8414 §2): assertions of the
	// client are made out to it; "" means as remembered, else the token endpoint.
	Issuer string
	// ClientID of the app registration; "" means as remembered, else as in the
	// document.
	ClientID string
	// ClientSecret authenticates a confidential client; zero means a public
	// client, or SecretRef.
	ClientSecret Secret
	// SecretRef names the secret for ResolveSecret, such as env:NAME. It is
	// remembered; the secret is not.
	SecretRef string
	// KeyRef names the client's private key for ResolveSecret, as PEM, PKCS#12,
	// JWK or a Google key file: for private_key_jwt, for the assertions of a
	// Grant, and with CertRef for mutual TLS. It is remembered; the key is not.
	KeyRef string
	// KeyPasswordRef names the password of an encrypted key; "" means none.
	KeyPasswordRef string
	// KeyAlg is what the key signs with (RFC 7518 §3.1), such as PS256; "" means
	// the key's own.
	KeyAlg string
	// CertRef names the certificate chain (PEM) that goes with the key for mutual
	// TLS (RFC 8705); "" means none, or the one in a PKCS#12 file. Remembered.
	CertRef string
	// Grant says how an access token is had where no refresh token renews it;
	// the zero Grant has one. It is remembered.
	Grant Grant
	// ResolveSecret fetches the secret a reference names, before any lock is
	// taken. Its errors count as temporary unless they match ErrUsage. Nil
	// refuses references.
	ResolveSecret func(ctx context.Context, ref string) (Secret, error)
	// AuthMethod is none, post or basic (RFC 6749 §2.3.1), private_key_jwt or
	// client_secret_jwt (RFC 7523 §2.2), tls_client_auth or
	// self_signed_tls_client_auth (RFC 8705 §2), by these names or those of RFC
	// 8414 §2; "" means none without a secret, else the catalog's.
	AuthMethod string
	// Scope is sent with the refresh (RFC 6749 §6); "" sends none.
	Scope string
	// Params are added to the token request, in order, and remembered.
	Params [][2]string
	// Header is added to the token request. It is not remembered: it may hold
	// secrets, and a Config that is printed shows it.
	Header http.Header
	// Fields maps canonical member names, such as access_token, to JSON
	// pointers (RFC 6901) where the file has them elsewhere.
	Fields map[string]string
	// SessionLifetime is how long an access token is valid where the answer
	// does not say; 0: as remembered, else the catalog's default.
	SessionLifetime time.Duration
	// ExchangeTimeout bounds one request to the provider; 0 means 30 s.
	ExchangeTimeout time.Duration
	// CallTimeout bounds a refresh with all its waits and retries; 0 means one
	// minute. A request that has left is given its ExchangeTimeout in any case.
	// A caller's context bounds only how long that caller waits.
	CallTimeout time.Duration
	// HTTP sends the token requests: certificates, proxy, transcript. The zero
	// Client is ready to use.
	HTTP oauth.Client
	// Catalog of providers; nil means the built-in one.
	Catalog *provider.Catalog
	// RescueDirs are folders for an answer that the store did not take, tried
	// in order; nil means the user's state folder, then the temporary one.
	RescueDirs []string
	// OnEvent is told what happens, one event at a time: what was stored after
	// it is durable, what is about to happen (Identified, Retrying, Waiting)
	// before. It must not call the Source. Nil means nobody.
	OnEvent func(Event)
}

func (c *Config) exchangeTimeout() time.Duration {
	if c.ExchangeTimeout > 0 {
		return c.ExchangeTimeout
	}
	return 30 * time.Second
}

func (c *Config) callTimeout() time.Duration {
	if c.CallTimeout > 0 {
		return c.CallTimeout
	}
	return time.Minute
}

func (c *Config) rescueDirs() []string {
	if c.RescueDirs != nil {
		return c.RescueDirs
	}
	return rescueFolders()
}

// Token is an access token with what is known about it.
type Token struct {
	AccessToken Secret
	Type        string    // as the provider wrote it; Bearer where it wrote nothing
	Expiry      time.Time // UTC; zero: not known, valid until an API rejects it
	Generation  uint64    // counts the refreshes of this grant

	proofs *jose.Proofs // of the key the token is bound to; nil for a plain one
}

// Change says what a refresh did with one member of the document.
type Change struct {
	Name string // canonical name
	Path string // JSON pointer of the member in the document
	Kind string // updated, added, kept, recomputed, left or unchanged
	Old  string // value before; "" for secrets
	New  string // value now; "" for secrets
}

// Result is what a call that may refresh came to.
type Result struct {
	Token     *Token
	Outcome   Outcome  // Fresh if this call refreshed; "" if the token was there
	Adopted   bool     // another process or program had refreshed or logged in meanwhile
	Recovered bool     // the answer of an interrupted refresh was put back first
	Rotated   bool     // the refresh token was replaced
	Replayed  bool     // a reply had been lost before and sending again healed it
	Changes   []Change // of the document; nil unless Outcome is Fresh
	Warning   *Error   // why the token was not renewed although it should be; nil if all is well

	due time.Time // when the token should be renewed
}

// OpenFile opens the JSON token file at path, which may be a symbolic link.
// The file need not be writable as long as its token is valid. It returns an
// error that matches ErrFile where the file is missing or not a token file.
// Close the Source to end what it started.
func OpenFile(path string, cfg Config) (*Source, error) {
	s := newSource(cfg)
	abs, err := filepath.Abs(path) // the program may change its folder later
	if err != nil {
		return nil, fileError(path, "the token file "+path+" cannot be found from here", "give an absolute path", err)
	}
	s.engine.place = &filePlace{
		path: path, abs: abs, fields: cfg.Fields, rescue: cfg.rescueDirs(),
		warn: func(says, do string) { s.emit(Noted{Grant: path, Says: says, Do: do}) },
	}
	return s, s.begin()
}

// Open opens the record id of a store. See [Create] for the first record.
func Open(store Store, id string, cfg Config) (*Source, error) {
	s := newSource(cfg)
	s.engine.place = &storePlace{store: store, key: id, fields: cfg.Fields, rescueDirs: cfg.rescueDirs()}
	return s, s.begin()
}

// changed converts the merge's report.
func changed(cs []tokenfile.Change) []Change {
	out := make([]Change, len(cs))
	for i, c := range cs {
		out[i] = Change{Name: c.Name, Path: c.Pointer, Kind: c.Kind, Old: c.Old, New: c.New}
	}
	return out
}
