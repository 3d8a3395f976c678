package evergrant

// LoginTerms are what a login by a person was made with beyond what a refresh
// needs, so that it can be made again without a word. They are remembered and
// handed back by [Source.Status], and nothing here acts upon them. Keys are named
// by reference for the caller to resolve; no secret belongs in here. The zero
// value is a login without anything special.
type LoginTerms struct {
	// Pushed: the request went by the back channel first (RFC 9126). Online: no
	// refresh token was asked for.
	Pushed, Online bool
	// RequestKeyRef names the key that signed the request (RFC 9101), the others
	// its password and its algorithm; "" where there was none.
	RequestKeyRef, RequestKeyPasswordRef, RequestKeyAlg string
	// ResponseMode, Details (RFC 9396) and Hint (login_hint) as they were sent.
	ResponseMode, Details, Hint string
	// Scope as it was asked for, space separated; an answer need not repeat it
	// (RFC 6749 §5.1), and may grant less.
	Scope string
	// Params were added to the authorization request, in their order.
	Params [][2]string
	// RedirectURI was registered, for a page that leads on to the callback, which
	// was at RedirectHost, RedirectPort (a port or a range) and RedirectPath; ""
	// means the usual one.
	RedirectURI, RedirectHost, RedirectPort, RedirectPath string
}

func (lt *LoginTerms) members() []member {
	return []member{
		{"pushed", &lt.Pushed},
		{"online", &lt.Online},
		{"request_key_ref", &lt.RequestKeyRef},
		{"request_key_password_ref", &lt.RequestKeyPasswordRef},
		{"request_key_alg", &lt.RequestKeyAlg},
		{"response_mode", &lt.ResponseMode},
		{"details", &lt.Details},
		{"hint", &lt.Hint},
		{"scope", &lt.Scope},
		{"params", &lt.Params},
		{"redirect_uri", &lt.RedirectURI},
		{"redirect_host", &lt.RedirectHost},
		{"redirect_port", &lt.RedirectPort},
		{"redirect_path", &lt.RedirectPath},
	}
}
