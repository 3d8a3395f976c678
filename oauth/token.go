package oauth

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxToken     = 256 << 10 // bytes in a token; HubSpot and JWT tokens have no fixed size
	maxText      = 512       // bytes of a text that is for people
	maxExpiresIn = 10 * 365 * 24 * time.Hour
)

// RefreshRequest makes the request that spends a refresh token (RFC 6749 §6).
// The body is grant_type, refresh_token, then what auth adds, and nothing else:
// a scope is not sent, many servers refuse it; add to the Form what a provider
// asks for.
func RefreshRequest(tokenURL string, refreshToken Secret, auth ClientAuth) (*Request, error) {
	if refreshToken.IsZero() {
		return nil, errors.New("making refresh request: the refresh token is empty")
	}
	return tokenRequest(tokenURL, auth,
		Param{"grant_type", "refresh_token"},
		Param{"refresh_token", refreshToken.Reveal()})
}

// tokenRequest is the core under every grant (RFC 6749 §3.2).
func tokenRequest(tokenURL string, auth ClientAuth, params ...Param) (*Request, error) {
	if auth == nil {
		return nil, errors.New("making token request: no client authentication given (use None for a public client)")
	}
	if _, err := endpoint(tokenURL); err != nil {
		return nil, err
	}
	r := &Request{
		URL:  tokenURL,
		Form: append(make(Form, 0, len(params)+2), params...),
		Header: http.Header{
			"Accept":       {"application/json"},
			"Content-Type": {formType},
		},
	}
	if err := auth(r); err != nil {
		return nil, err
	}
	return r, nil
}

// Dialect says where a provider departs from RFC 6749 §5. The zero Dialect is
// the RFC.
type Dialect struct {
	// Form accepts a form-encoded answer whatever its Content-Type says. An
	// answer of type application/x-www-form-urlencoded is always read as a form
	// unless it begins like a JSON object.
	Form bool
	// Pointer (RFC 6901, such as "/authed_user") names the object that holds
	// the tokens. Where an answer has none, the whole answer is read instead:
	// error answers are flat, and a token in an odd place is better than lost.
	Pointer string
	// OKField names a boolean member that is false in an error answer (Slack:
	// "ok").
	OKField string
	// Rename maps a provider's member name to the RFC's, such as
	// "accessToken" to "access_token".
	Rename map[string]string
}

// Plain reports whether the tokens of a good answer stand where RFC 6749 §5.1 has
// them, under its names.
func (d Dialect) Plain() bool {
	for _, standard := range d.Rename {
		if standard == "access_token" || standard == "refresh_token" {
			return false
		}
	}
	return d.Pointer == ""
}

// Member is one member of an answer. Printing it shows the name and the size.
type Member struct {
	// Name as the server wrote it, without escapes, before any Rename.
	Name string
	// Value is the JSON text of the value, byte for byte as received. The
	// values of a form are strings.
	Value []byte
}

// String shows the name and the size of the value.
func (m Member) String() string { return clean(m.Name, maxText) + ": " + sized(len(m.Value)) }

// Format writes what String returns, whatever the verb.
func (m Member) Format(f fmt.State, _ rune) { io.WriteString(f, m.String()) }

// LogValue returns what String returns.
func (m Member) LogValue() slog.Value { return slog.StringValue(m.String()) }

// MarshalText returns what String returns.
func (m Member) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// ExpiresInState says what an answer had to say about the lifetime.
type ExpiresInState int

const (
	// ExpiresInAbsent: no expires_in, or null or "".
	ExpiresInAbsent ExpiresInState = iota
	// ExpiresInUnreadable: something else than a number, or two of them.
	ExpiresInUnreadable
	// ExpiresInOK: a positive number.
	ExpiresInOK
	// ExpiresInZeroOrNegative: the token is due already.
	ExpiresInZeroOrNegative
)

var expiresInNames = [...]string{"absent", "unreadable", "ok", "zero-or-negative"}

// String returns absent, unreadable, ok or zero-or-negative.
func (s ExpiresInState) String() string {
	if s < 0 || int(s) >= len(expiresInNames) {
		return fmt.Sprintf("ExpiresInState(%d)", int(s))
	}
	return expiresInNames[s]
}

// TokenAnswer is the answer of a token endpoint (RFC 6749 §5), good or bad:
// which of the two it is, is for the caller to say from Error, the tokens and
// the status. Printing it shows names and sizes only.
type TokenAnswer struct {
	// Members of the object that holds the tokens, in the answer's order, to be
	// merged into a record.
	Members []Member
	// AccessToken and RefreshToken are zero where the answer has none, null or
	// "". No new refresh token means: keep the old one (RFC 6749 §6).
	AccessToken, RefreshToken Secret
	// TokenType as the server wrote it; compare without case (RFC 6749 §5.1).
	// "" is best read as Bearer.
	TokenType string
	// ExpiresIn counts from Answer.Received, at most 10 years; it is set only
	// with ExpiresInOK.
	ExpiresIn      time.Duration
	ExpiresInState ExpiresInState
	// Scope is space separated; a list is joined. HasScope is false if it is
	// absent, which means: as asked (RFC 6749 §5.1).
	Scope    string
	HasScope bool
	// Error, ErrorDescription and ErrorURI (RFC 6749 §5.2) are the server's
	// words without control and direction characters, at most 512 bytes each.
	// They may quote a token: print them through [Scrub]. An error that is an
	// object gives its code and message.
	Error, ErrorDescription, ErrorURI string
}

// String shows names and sizes.
func (t TokenAnswer) String() string {
	list := make([]string, len(t.Members))
	for i, m := range t.Members {
		list[i] = m.String()
	}
	return "{" + strings.Join(list, ", ") + "}"
}

// Format writes what String returns, whatever the verb.
func (t TokenAnswer) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// LogValue returns what String returns.
func (t TokenAnswer) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText returns what String returns.
func (t TokenAnswer) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// ParseToken reads the answer of a token endpoint. It takes the tokens out
// first and is strict about them alone; whatever else is odd is read as far as
// it goes, because a strange lifetime must not cost a rotated refresh token.
//
// Errors are *[AmbiguousError], *[TokenError] and *[FormatError]. Each holds
// the answer: an answer to a 200 that can't be read belongs into a rescue file,
// it may be the only copy of the next refresh token. The TokenAnswer returned
// with an error holds what was readable, without the member that was refused;
// it is never nil.
func ParseToken(a *Answer, d Dialect) (*TokenAnswer, error) {
	t := &TokenAnswer{}
	top, broken := answerMembers(a, d)
	held := top
	if inner, ok := pointed(top, d.Pointer); ok {
		held = inner
	}
	t.Members = held
	err := t.takeTokens(held, d, a)
	t.describe(held, d)
	t.readError(top, held, d)
	switch {
	case broken != nil:
		return t, &FormatError{Reason: broken.Error(), Answer: a}
	case err == nil:
		err = duplicate(top, d, a, "error")
	}
	return t, err
}

// FindTokens looks for whole tokens in the first part of an answer that was
// cut ([SendError].Partial). What it finds is for a rescue file: an answer that
// did not arrive whole proves nothing else.
func FindTokens(partial []byte, d Dialect) (access, refresh Secret) {
	members, _ := jsonMembers(partial) // an error is expected: the end is missing
	if inner, ok := pointed(members, d.Pointer); ok {
		members = inner
	}
	t := &TokenAnswer{}
	t.takeTokens(members, d, nil)
	return t.AccessToken, t.RefreshToken
}

// securityMembers decide over a grant: two of one name could mean one thing
// here and another thing to who wrote them.
var securityMembers = [...]string{"access_token", "refresh_token", "token_type", "error"}

func (t *TokenAnswer) takeTokens(members []Member, d Dialect, a *Answer) error {
	var first error
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	for _, name := range securityMembers {
		note(duplicate(members, d, a, name))
	}
	take := func(name string) Secret {
		values := d.find(members, name)
		if len(values) != 1 {
			return Secret{}
		}
		text, reason := token(values[0])
		if reason != "" {
			note(&TokenError{Member: name, Reason: reason, Answer: a})
		}
		return NewSecret(text)
	}
	t.RefreshToken = take("refresh_token")
	t.AccessToken = take("access_token")
	return first
}

// describe reads what is not a token. Nothing in here can fail.
func (t *TokenAnswer) describe(members []Member, d Dialect) {
	if v := d.find(members, "token_type"); len(v) == 1 {
		t.TokenType = clean(text(v[0]), maxText)
	}
	t.ExpiresIn, t.ExpiresInState = expiresIn(d.find(members, "expires_in"))
	if v := d.find(members, "scope"); len(v) > 0 {
		t.Scope, t.HasScope = scope(v[len(v)-1])
	}
}

// readError takes the error from beside the tokens, else from the top.
func (t *TokenAnswer) readError(top, held []Member, d Dialect) {
	for _, members := range [][]Member{held, top} {
		if t.Error != "" {
			break
		}
		if v := d.find(members, "error"); len(v) > 0 {
			t.Error, t.ErrorDescription = errorText(v[0])
		}
		if v := d.find(members, "error_description"); len(v) > 0 && t.ErrorDescription == "" {
			t.ErrorDescription = clean(text(v[0]), maxText)
		}
		if v := d.find(members, "error_uri"); len(v) > 0 && t.ErrorURI == "" {
			t.ErrorURI = clean(text(v[0]), maxText)
		}
	}
	if d.OKField == "" || t.Error != "" {
		return
	}
	if v := d.find(top, d.OKField); len(v) > 0 && string(v[0]) != "true" {
		t.Error = "not_" + clean(d.OKField, maxText)
	}
}

// find returns the values of all members that have this name, or have it by
// Rename. Names match exactly: Access_Token is somebody else's member.
func (d Dialect) find(members []Member, name string) [][]byte {
	var values [][]byte
	for _, m := range members {
		if m.Name == name || d.Rename[m.Name] == name {
			values = append(values, m.Value)
		}
	}
	return values
}

func duplicate(members []Member, d Dialect, a *Answer, name string) error {
	if len(d.find(members, name)) > 1 {
		return &AmbiguousError{Member: name, Answer: a}
	}
	return nil
}

// token reads a token: a string of 1 to 256 Ki VSCHAR (RFC 6749 A.12, A.17).
// Null and "" are no token and no error. A reason says why it was refused.
func token(value []byte) (t, reason string) {
	switch kind(value) {
	case 'n':
		return "", ""
	case '"':
	default:
		return "", "is not a string"
	}
	t = text(value)
	if len(t) > maxToken {
		return "", "is longer than 256 KiB"
	}
	// Invalid UTF-8 was decoded to U+FFFD and ends here too.
	if i := strings.IndexFunc(t, func(r rune) bool { return r < 0x20 || r > 0x7e }); i >= 0 {
		return "", fmt.Sprintf("has a character outside printable ASCII at byte %d", i)
	}
	return t, ""
}

func expiresIn(values [][]byte) (time.Duration, ExpiresInState) {
	if len(values) == 0 {
		return 0, ExpiresInAbsent
	}
	if len(values) > 1 {
		return 0, ExpiresInUnreadable
	}
	number := string(values[0])
	switch kind(values[0]) {
	case 'n':
		return 0, ExpiresInAbsent
	case '"':
		if number = strings.TrimSpace(text(values[0])); number == "" {
			return 0, ExpiresInAbsent
		}
	}
	d, ok := seconds(number, maxExpiresIn)
	switch {
	case !ok:
		return 0, ExpiresInUnreadable
	case d <= 0:
		return 0, ExpiresInZeroOrNegative
	}
	return d, ExpiresInOK
}

func scope(value []byte) (string, bool) {
	switch kind(value) {
	case '"':
		return clean(text(value), maxToken), true
	case '[':
		var list []string
		for _, v := range elements(value) {
			if kind(v) == '"' {
				list = append(list, clean(text(v), maxToken))
			}
		}
		return strings.Join(list, " "), true
	}
	return "", false
}

// errorText reads error in the forms seen: a string, a number, an object with
// code or type and message.
func errorText(value []byte) (code, description string) {
	switch kind(value) {
	case '"':
		return clean(text(value), maxText), ""
	case 'n', 'f':
		return "", ""
	case '0':
		if n, err := strconv.ParseFloat(string(value), 64); err == nil && n == 0 {
			return "", "" // an error code of nought is none
		}
	case '{':
		members, _ := jsonMembers(value)
		if len(members) == 0 {
			return "", ""
		}
		for _, m := range members {
			switch {
			case m.Name == "message":
				description = clean(text(m.Value), maxText)
			case code == "" && slices.Contains([]string{"code", "type", "status"}, m.Name):
				code, _ = errorText(m.Value)
			}
		}
		if code == "" {
			code = "object"
		}
		return code, description
	case '[':
		if strings.TrimSpace(string(value[1:len(value)-1])) == "" {
			return "", ""
		}
		return "array", ""
	}
	return clean(string(value), maxText), ""
}

// AmbiguousError says that an answer holds a member twice that decides over the
// grant. RFC 8259 §4 leaves open which one counts, so neither is taken.
type AmbiguousError struct {
	Member string
	// Answer is the raw answer; the tokens in it are not in the error text.
	Answer *Answer
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("reading token answer: %s is there more than once", e.Member)
}

// TokenError says that a token in an answer can't be one.
type TokenError struct {
	Member string
	Reason string
	// Answer is the raw answer; the tokens in it are not in the error text.
	Answer *Answer
}

func (e *TokenError) Error() string {
	return fmt.Sprintf("reading token answer: %s %s", e.Member, e.Reason)
}

// FormatError says that an answer is not a JSON object, or not a whole one.
type FormatError struct {
	Reason string
	// Answer is the raw answer; nothing of it is in the error text.
	Answer *Answer
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("reading token answer: %s", e.Reason)
}
