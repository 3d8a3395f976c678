// Package provider is the catalog of OAuth providers: where their endpoints
// are, how their refresh tokens behave, how long things live, and what their
// error answers mean. All of it is data (one JSON file a provider, see
// SCHEMA.md); no code here or elsewhere branches on a provider's name.
//
// Start with [Get] when the user names a provider, or with [ForTokenURL] and
// [ForHost] when a token file says where it came from. Then ask the entry:
// [Provider.TokenURL] builds the address, [Provider.Rotation] says what may be
// relied on when a reply was lost, [Match] turns an error answer into an
// outcome and plain words. [Load] adds the user's own entries.
//
// # Promises
//
// Get reads one embedded file and nothing else, so a short command does not
// pay for the whole catalog. Each call returns a fresh value that the caller
// may change.
//
// A fact carries its source and date ([Provider.Facts]). It counts as verified
// only when a page of the provider itself states it. Facts that make a client
// bolder ("does not rotate", a grace window) are handed out by the resolved
// accessors only when verified; facts that make it more careful are handed out
// always.
//
// # Limits
//
// Facts are a dated reading of public pages, not a measurement. A lifetime is
// a hint: what the provider's answer says wins. Nothing here sends anything.
package provider

// Provider is one entry of the catalog. The zero value knows nothing, and all
// accessors answer with the cautious case.
type Provider struct {
	// Name is the key: lower case, digits and hyphens.
	Name string `json:"name"`
	// Title is the name people use.
	Title string `json:"title"`
	// Aliases are other names Get accepts.
	Aliases []string `json:"aliases,omitempty"`
	// Domains are the web domains, each with an optional path prefix, on which
	// the provider itself speaks. A source there can verify a fact.
	Domains []string `json:"domains,omitempty"`

	Endpoints Endpoints `json:"endpoints,omitzero"`
	// Vars explains each {var} of the endpoints.
	Vars map[string]Var `json:"vars,omitempty"`
	// Hosts are exact hosts which, found in a URL of a token file, identify
	// the provider. No host belongs to two entries.
	Hosts []Host `json:"hosts,omitempty"`

	// ClientAuth lists the ways a client may identify itself, best first:
	// none, post, basic (RFC 6749 §2.3.1), query, private_key_jwt (RFC 7523),
	// tls_client_auth (RFC 8705), custom. Empty: unknown.
	ClientAuth []string `json:"client_auth,omitempty"`
	// PKCE says whether RFC 7636 is understood: yes, no, required, or empty
	// for unknown.
	PKCE string `json:"pkce,omitempty"`
	// ScopeSeparator joins scopes; empty means a space (RFC 6749 §3.3).
	ScopeSeparator string `json:"scope_separator,omitempty"`

	Offline Offline `json:"offline,omitzero"`
	Login   Login   `json:"login,omitzero"`
	Access  Access  `json:"access,omitzero"`
	Refresh Refresh `json:"refresh,omitzero"`
	Request Request `json:"request,omitzero"`
	Answer  Answer  `json:"answer,omitzero"`

	// Errors are the provider's own error rows; [Match] falls back to
	// [Generic].
	Errors []ErrorRule `json:"errors,omitempty"`
	// Quirks are sentences for people.
	Quirks []string `json:"quirks,omitempty"`

	// Sources says where the facts were read. Never empty in the built-in
	// catalog.
	Sources []Source `json:"sources,omitempty"`
	// Unverified lists fields (or prefixes of fields) that rest on general
	// knowledge or a weak source, whatever Sources says.
	Unverified []string `json:"unverified,omitempty"`
}

// Endpoints are URL templates; {name} stands for a variable in Vars. An empty
// string means that there is none or that it is unknown. Revoke and Introspect
// are listed only where they follow RFC 7009 and RFC 7662; other ways are told
// in Quirks.
type Endpoints struct {
	Authorize string `json:"authorize,omitempty"`
	Token     string `json:"token,omitempty"`
	// Refresh is set where refreshing has an address of its own.
	Refresh    string `json:"refresh,omitempty"`
	Device     string `json:"device,omitempty"`
	Revoke     string `json:"revoke,omitempty"`
	Introspect string `json:"introspect,omitempty"`
	UserInfo   string `json:"userinfo,omitempty"`
	Discovery  string `json:"discovery,omitempty"`
	// TokenAlso holds other forms the token URL takes, such as an older host.
	// They serve to recognise a URL, never to build one.
	TokenAlso []string `json:"token_also,omitempty"`
}

// Var explains one variable of the endpoint templates and of the parameters of
// a login.
type Var struct {
	// Hint tells a person what to put there.
	Hint string `json:"hint"`
	// Default is used when no value is given; empty: a value must be given,
	// unless the variable is Optional.
	Default string `json:"default,omitempty"`
	// Optional: without a value, the parameters that name the variable are left
	// out. No endpoint can have such a one.
	Optional bool `json:"optional,omitempty"`
	// Pattern is a regular expression the whole value must match. Empty
	// allows anything that the place does: in an endpoint letters, digits, dot,
	// hyphen and underscore, in a parameter all that can be printed.
	Pattern string `json:"pattern,omitempty"`
}

// Host is an exact host name that identifies the provider.
type Host struct {
	Host string `json:"host"`
	// Vars are the template variables this host stands for.
	Vars map[string]string `json:"vars,omitempty"`
}

// Offline is what a login must ask for to be given a refresh token. Values of
// Params may have variables in them, as those of [Login] may.
type Offline struct {
	Scopes []string          `json:"scopes,omitempty"`
	Params map[string]string `json:"params,omitempty"`
}

// Login holds what else the first login needs. {name} in a value of Params or
// TokenParams stands for a variable in Vars.
type Login struct {
	// Params go on the authorization URL.
	Params map[string]string `json:"params,omitempty"`
	// Omit lists standard parameters to leave out of the authorization request:
	// response_type, client_id, redirect_uri or scope. What protects the request
	// can't be left out.
	Omit []string `json:"omit,omitempty"`
	// Callback names parameters beside code and state that the redirect
	// brings once and that are worth keeping.
	Callback []string `json:"callback,omitempty"`
	// CodeParam names the parameter of the redirect that holds the code; empty
	// means code (RFC 6749 §4.1.2).
	CodeParam string `json:"code_param,omitempty"`
	// TokenParams go with the exchange of the code.
	TokenParams map[string]string `json:"token_params,omitempty"`
	// Echo names parameters of the redirect that go with the exchange of its
	// code, as they came.
	Echo []string `json:"echo,omitempty"`
}

// Access says how access tokens behave.
type Access struct {
	// Lifetime is what the provider is known to give; 0: unknown or endless.
	Lifetime Duration `json:"lifetime,omitempty"`
	// DefaultLifetime is to be assumed when an answer has no expires_in; 0:
	// assume nothing.
	DefaultLifetime Duration `json:"default_lifetime,omitempty"`
	// Endless is yes where access tokens do not expire.
	Endless Tri `json:"endless,omitempty"`
	// SurvivesRefresh is no where a refresh ends the access token before it.
	SurvivesRefresh Tri `json:"survives_refresh,omitempty"`
	// RefreshWithin: a refresh is accepted only in this last part of the
	// token's life; 0: at any time.
	RefreshWithin Duration `json:"refresh_within,omitempty"`
	// RefreshAfter: a refresh is accepted only once the token is this old; 0:
	// at any time.
	RefreshAfter Duration `json:"refresh_after,omitempty"`
	// Limit is a sentence about how many may be live or minted.
	Limit string `json:"limit,omitempty"`
}

// Refresh says how refresh tokens behave. Read it through
// [Provider.Rotation] where a decision hangs on it.
type Refresh struct {
	// Rotates is one of the Rotates… words; empty means unknown.
	Rotates string `json:"rotates,omitempty"`
	// Grace is how long the replaced token is still taken; 0: none known.
	Grace Duration `json:"grace,omitempty"`
	// GraceReply says what a replay within Grace brings: same (the same pair
	// again), sibling (a further pair), or empty for unknown.
	GraceReply string `json:"grace_reply,omitempty"`
	// Reuse says what presenting a replaced token later does: fails, revokes
	// (the whole family dies), or empty for unknown.
	Reuse string `json:"reuse,omitempty"`
	// Idle: a token unused this long dies; 0: no such limit known.
	Idle Duration `json:"idle,omitempty"`
	// Absolute: the grant dies this long after consent, used or not; 0: no
	// such limit known.
	Absolute Duration `json:"absolute,omitempty"`
	// Limit is a sentence about how many may be live, or another end.
	Limit string `json:"limit,omitempty"`
}

// Words for Refresh.Rotates.
const (
	// RotatesNo: the refresh token stays the same.
	RotatesNo = "no"
	// RotatesAlways: each refresh replaces it.
	RotatesAlways = "always"
	// RotatesSoft: each refresh brings a new one and the old one stays good.
	RotatesSoft = "soft"
	// RotatesSometimes: the provider decides from case to case.
	RotatesSometimes = "sometimes"
	// RotatesOptional: a setting at the provider decides.
	RotatesOptional = "optional"
	// RotatesNone: no refresh tokens are issued at all.
	RotatesNone = "none"
)

// Request says how a refresh request differs from RFC 6749 §6.
type Request struct {
	// Params and Headers are added.
	Params  map[string]string `json:"params,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	// Body is form (also when empty), json, or query.
	Body string `json:"body,omitempty"`
	// Rename maps a standard parameter to the name used here.
	Rename map[string]string `json:"rename,omitempty"`
	// Omit lists standard parameters to leave out.
	Omit []string `json:"omit,omitempty"`
	// Scope: the scope must be repeated on a refresh.
	Scope bool `json:"scope,omitempty"`
}

// Answer says how a token answer differs from RFC 6749 §5.
type Answer struct {
	// Form: answers may be form-encoded instead of JSON.
	Form bool `json:"form,omitempty"`
	// Pointer is the JSON pointer (RFC 6901) to the object that holds the
	// tokens; empty: the answer itself.
	Pointer string `json:"pointer,omitempty"`
	// OKField names a boolean member of the answer that is false on failure.
	OKField string `json:"ok_field,omitempty"`
	// ErrorIn200: failures come with HTTP 200.
	ErrorIn200 bool `json:"error_in_200,omitempty"`
	// Members maps a standard member (access_token, refresh_token,
	// expires_in, expires_at, refresh_token_expires_in, scope, error,
	// error_description) to the one used here: a member name, or a JSON
	// pointer from the root when it begins with a slash.
	Members map[string]string `json:"members,omitempty"`
}

// Tri is yes, no, or empty for unknown.
type Tri string

// The two known values of Tri.
const (
	Yes Tri = "yes"
	No  Tri = "no"
)

// Outcomes an ErrorRule can name.
const (
	// Busy: another refresh of this token is running at the provider. Wait,
	// read the store again, adopt.
	Busy = "busy"
	// Transient: try again later; the refresh token was not used.
	Transient = "transient"
	// Dead: the grant is gone; somebody must log in.
	Dead = "dead"
	// Misconfigured: the client, address or request is wrong; the grant is
	// kept.
	Misconfigured = "misconfigured"
	// Blocked: a policy of the provider stands in the way; the grant is kept
	// and probed slowly.
	Blocked = "blocked"
	// Uncertain: the provider may or may not have acted.
	Uncertain = "uncertain"
)

// ErrorRule says what one error answer means. All given conditions must hold.
type ErrorRule struct {
	// ID names the row: kebab case, unique in its entry.
	ID string `json:"id"`
	// Status is the HTTP status; 5 stands for any 5xx, 3 for any 3xx, 0 for
	// any at all.
	Status int `json:"status,omitempty"`
	// Error is the error code, compared without case; empty: any.
	Error string `json:"error,omitempty"`
	// Description must occur in the description, compared without case;
	// empty: any.
	Description string `json:"description,omitempty"`
	// Outcome is Busy, Transient, Dead, Misconfigured, Blocked or Uncertain.
	Outcome string `json:"outcome"`
	// RetryAfter is how long to wait when the answer has no Retry-After; 0:
	// the caller's usual back-off.
	RetryAfter Duration `json:"retry_after,omitempty"`
	// Says tells what happened, in plain words.
	Says string `json:"says"`
	// Do tells the user the next step.
	Do string `json:"do"`
	// Unverified rows rest on general knowledge; [Match] never lets one
	// declare a grant dead.
	Unverified bool `json:"unverified,omitempty"`
}
