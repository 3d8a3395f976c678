// Package login gets a grant from a person: by a browser on this machine, by a
// browser elsewhere with the address pasted back, or by a code typed on another
// device.
//
// Start with [Browser], or with [Device] where this machine can't show a page.
// [Discover] finds out what a server needs from no more than its URL. All take
// a [Config] and give a [Grant], which is for the caller to store:
//
//	grant, err := login.Browser(ctx, login.Config{Provider: p, ClientID: id, Open: login.Open, Show: show})
//
// Promises:
//
//   - Every authorization request has PKCE S256 and a state of 256 bits of its
//     own; PKCE is left out only where the catalog says that the provider does
//     not take it, and no answer of a server makes it weaker.
//   - A callback counts only with the right state and, where the server names
//     its issuer, the right iss (RFC 9207). Whatever else reaches the listener
//     is turned away and the login goes on.
//   - The listener is on a loopback address, and open only while a login runs.
//   - A code is redeemed once. An ID token is believed only once verified, and
//     the keys for that are had before the person is asked to log in.
//   - Once a request has left that may bring the tokens, the end of ctx does not
//     stop it: a login that was stopped too late gives its grant.
//   - Nothing opens in a browser but https, and http on loopback.
//
// Limits: a grant is not stored here. A code that was redeemed and whose answer
// was lost is gone: the person has to log in again.
package login

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
	"github.com/evergrant/evergrant/provider"
)

// Config says how to log in. A Provider and a ClientID are enough, or a Server
// and a ClientID.
type Config struct {
	// Provider is the catalog entry; nil for a server that is not in it.
	Provider *provider.Provider
	// Catalog is where [Discover] looks names and endpoints up; nil means the
	// built-in one.
	Catalog *provider.Catalog
	// Vars fill the variables of the provider's endpoints, such as a shop.
	Vars map[string]string
	// Server says what the catalog does not, or overrides it field by field.
	Server Server

	// ClientID of the app registration.
	ClientID string
	// Auth authenticates the client; nil means a public client.
	Auth oauth.ClientAuth
	// AuthMethod is the name of Auth, for Grant; "" means none if Auth is nil.
	AuthMethod string

	// Scopes to ask for. Those that the catalog needs for a refresh token are
	// added.
	Scopes []string
	// Online asks for no refresh token: what the catalog has for that is left out.
	Online bool
	// Resource, Details, Prompt and LoginHint as in [oauth.Authorization].
	Resource                   []string
	Details, Prompt, LoginHint string
	// AuthParams and TokenParams go with the authorization request (and the
	// start of a device login), and with the token request. They win over the
	// catalog's.
	AuthParams, TokenParams oauth.Form
	// Header is added to the requests to the server's token endpoint, and to those
	// that start a device login or push a request. It may hold secrets.
	Header http.Header
	// PKCE is [PKCEAlways], [PKCENever], or "" for what the catalog says.
	PKCE string
	// ResponseMode is query, form_post, fragment (for [Paste] alone), or one of
	// these with .jwt for a signed callback (JARM); "" leaves it to the server.
	ResponseMode string
	// Push sends the authorization request by the back channel first (RFC
	// 9126). A server that demands it gets it in any case.
	Push bool
	// RequestKey signs the authorization request (RFC 9101); nil for a plain
	// one. Server.Issuer must be known.
	RequestKey *jose.Key
	// DPoPKey binds the tokens to a key (RFC 9449), which goes into the
	// Document; nil for bearer tokens. [jose.Generate] makes one.
	DPoPKey *jose.Key

	// Redirect says where the browser comes back to.
	Redirect Redirect
	// Timeout bounds the wait for the person; 0 means 5 min, or as long as a
	// device code lives.
	Timeout time.Duration
	// HTTP sends requests to the server.
	HTTP oauth.Client

	// Show tells the person what to do and what went wrong on the way, one call
	// at a time. nil shows nothing.
	Show func(Prompt)
	// Open opens a browser, such as the function [Open]; nil leaves it to the
	// person, who needs Show then. Its error is shown and does not end the
	// login.
	Open func(url string) error
	// Paste reads an address that the person copied from the browser, until ctx
	// ends; nil takes none. [Paste] needs it; [Browser] listens meanwhile.
	// An error other than ctx's stops the asking, not the login by listener.
	Paste PasteFunc
}

// Values of Config.PKCE.
const (
	PKCEAlways = "always"
	PKCENever  = "never"
)

// Prompt is something to tell the person. All texts are fit for a terminal.
type Prompt struct {
	// URL to open.
	URL string
	// Opened: a browser has been started with it.
	Opened bool
	// UserCode to type there; "" in a browser login.
	UserCode string
	// URLComplete has the code in it, for a QR code; "" if there is none.
	URLComplete string
	// Expires is when the wait ends, in UTC.
	Expires time.Time
	// Listening is false if the address the browser ends at must be pasted.
	Listening bool
	// Problem says that no browser could be opened, or that a callback or
	// pasted text was turned away. The login goes on.
	Problem error
}

// Grant is what a login gave.
type Grant struct {
	// Document is the token answer as a JSON object, its members as they came
	// and in their order, with what only the login could know after them: the
	// parameters of the callback that the catalog names, and dpop_jwk.
	Document oauth.Secret
	// Token is the same, read.
	Token *oauth.TokenAnswer
	// Received is when the answer was complete, with the monotonic reading.
	Received time.Time
	// Provider is the name of the catalog entry, or "".
	Provider string
	// Issuer, TokenURL, ClientID and AuthMethod are needed for a refresh.
	Issuer, TokenURL, ClientID, AuthMethod string
	// Scope as granted, or as asked for where the answer does not say (RFC 6749
	// §5.1).
	Scope string
	// Identity holds the claims of a verified ID token; nil if none came or
	// the server's issuer and keys are not known.
	Identity *jose.IDToken
}

// Kind says who has to act on an [Error].
type Kind string

// The kinds of errors.
const (
	// Usage: the Config can't work.
	Usage Kind = "usage"
	// Refused: the person or the server said no.
	Refused Kind = "refused"
	// Expired: nobody came back in time.
	Expired Kind = "expired"
	// Temporary: the network or the server is out of order; try again.
	Temporary Kind = "temporary"
	// Misconfigured: client, endpoint or server are not set up right.
	Misconfigured Kind = "misconfigured"
	// Untrusted: an answer could not be believed; nothing of it was kept.
	Untrusted Kind = "untrusted"
)

// Error is why a login did not give a grant. The end of ctx comes as ctx's own
// error, not as an Error.
type Error struct {
	Kind Kind
	// Says what happened; Do says the next step, and may be empty.
	Says, Do string
	// Err is the cause, or nil: [oauth.ServerError], [oauth.SendError],
	// [oauth.ErrIssuer] and others. The errors of [oauth.ParseToken] hold the
	// answer, which may have tokens in it worth rescuing.
	Err error
}

// Error says what happened, with the cause.
func (e *Error) Error() string {
	if e.Err == nil || e.Err.Error() == e.Says {
		return e.Says
	}
	return e.Says + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

func usage(says, do string) error { return &Error{Kind: Usage, Says: says, Do: do} }

// failure wraps what went wrong while doing something with a server.
func failure(says string, err error) error {
	var ours *Error
	if err == nil || errors.As(err, &ours) {
		return err
	}
	e := &Error{Kind: Misconfigured, Says: says, Err: err}
	var refused *oauth.ServerError
	var unsent *oauth.SendError
	var busy *oauth.RetryError
	var document *oauth.MetadataError
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &busy), errors.As(err, &document) && (document.Status >= 500 || document.Status == 429):
		e.Kind, e.Do = Temporary, "try again later"
	case errors.As(err, &refused):
		e.Kind, e.Err = refusedKind(refused), refused // the steps between say nothing more
	case errors.As(err, &unsent):
		if !unsent.Certificate && unsent.Phase != oauth.PhaseURL && unsent.Phase != oauth.PhaseGate {
			e.Kind, e.Do = Temporary, "check the network and try again"
		}
	}
	return e
}

func refusedKind(e *oauth.ServerError) Kind {
	switch {
	case e.Code == "temporarily_unavailable", e.Code == "server_error", e.Status >= 500, e.Status == 429:
		return Temporary
	case e.Code == "access_denied", e.Code == "login_required", e.Code == "consent_required",
		e.Code == "interaction_required", e.Code == "account_selection_required":
		return Refused
	}
	return Misconfigured
}

func (c *Config) timeout() time.Duration { return cmp.Or(c.Timeout, 5*time.Minute) }

func (c *Config) show(p Prompt) {
	if c.Show != nil {
		c.Show(p)
	}
}

func (c *Config) auth() oauth.ClientAuth {
	if c.Auth != nil {
		return c.Auth
	}
	return oauth.None(c.ClientID)
}

func (c *Config) authMethod() string {
	if c.AuthMethod == "" && c.Auth == nil {
		return "none"
	}
	return c.AuthMethod
}

// check refuses what can't work whatever the server says.
func (c *Config) check() error {
	switch {
	case c.ClientID == "":
		return usage("the client id of the app registration is missing", "register an app at the provider and give its client id")
	case c.PKCE != "" && c.PKCE != PKCEAlways && c.PKCE != PKCENever:
		return usage(fmt.Sprintf("PKCE %q is not known", c.PKCE), "use always or never, or leave it out")
	}
	return nil
}
