package oauth

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

const (
	maxCallback       = 256 << 10 // bytes of a callback; codes that are JWTs have some KiB
	maxCallbackParams = 64
)

// ServerError is an authorization server's no, in its own words (RFC 6749
// §4.1.2.1, §5.2). The texts are cleaned of control characters and at most 512
// bytes long.
type ServerError struct {
	// Status is the HTTP status of the answer, 0 for a callback.
	Status int
	// Code is the error code, such as access_denied; "" if there was none.
	Code string
	// Description and URI are for people, and may be empty.
	Description, URI string
}

// Error gives code and description.
func (e *ServerError) Error() string {
	s := "the server refused: " + orElse(e.Code, "no error code")
	if e.Status != 0 {
		s += fmt.Sprintf(" (status %d)", e.Status)
	}
	if e.Description != "" {
		s += ": " + e.Description
	}
	return s
}

// Refusal reads the error out of an answer that is not a success, with the
// request's secrets taken out of its texts.
func Refusal(a *Answer, r *Request) *ServerError {
	t, _ := ParseToken(a, Dialect{}) // never nil, and as much as was readable
	return t.refusal(a, r)
}

func (t *TokenAnswer) refusal(a *Answer, r *Request) *ServerError {
	return &ServerError{Status: a.Status, Code: Scrub(t.Error, r.Secrets()...),
		Description: Scrub(t.ErrorDescription, r.Secrets()...), URI: Scrub(t.ErrorURI, r.Secrets()...)}
}

// Expected is what the callback of one authorization request must fit.
type Expected struct {
	// State that was sent.
	State Secret
	// Issuer of the server the person was sent to, as its metadata says; ""
	// if it is not known, and then an iss is not judged.
	Issuer string
	// IssRequired: the metadata say authorization_response_iss_parameter_supported
	// (RFC 9207 §3), so that a callback without iss is not from this server. One
	// with an id_token may lack it: then the caller verifies that one, with the
	// code's hash, before it redeems the code.
	IssRequired bool
	// CodeParam names the parameter that holds the code; "" means code.
	CodeParam string
}

// Callback is a good answer of an authorization endpoint.
type Callback struct {
	// Code to redeem with [CodeRequest].
	Code Secret
	// Params are all parameters in the order they came: hostile input, the code
	// and the state among them.
	Params Form
}

// Errors of a callback. Neither holds anything of the callback.
var (
	// ErrStray: it is not the answer to this request: state is missing, wrong
	// or there twice, or there is no answer in it. Anybody can send such a one
	// to a listener, so it must not end the flow.
	ErrStray = errors.New("not the callback of this login")
	// ErrIssuer: the state is right, and the answer is another server's (RFC
	// 9207 §2.4, a mix-up) or does not say whose it is though it must. It ends
	// the flow, and its code is not to be redeemed anywhere.
	ErrIssuer = errors.New("the callback comes from another authorization server")
)

// ParseCallback reads the query of a redirect or the body of a form_post. Its
// errors are [ErrStray], [ErrIssuer], and *[ServerError] if the server or the
// person said no; of these only ErrStray leaves the flow open.
func ParseCallback(form string, want Expected) (*Callback, error) {
	params, err := callbackParams(form)
	if err != nil {
		return nil, err
	}
	state := params.Get("state")
	if want.State.IsZero() || subtle.ConstantTimeCompare([]byte(state), []byte(want.State.Reveal())) != 1 {
		return nil, stray("state is missing or wrong")
	}
	if err := want.checkIssuer(params); err != nil {
		return nil, err // before the error parameter: a mix-up may carry one too (RFC 9207 §2.4)
	}
	code, refusal := params.Get(orElse(want.CodeParam, "code")), params.Get("error")
	switch {
	case code != "" && refusal != "":
		return nil, stray("it has a code and an error")
	case refusal != "":
		return nil, &ServerError{Code: clean(refusal, maxText),
			Description: clean(params.Get("error_description"), maxText), URI: clean(params.Get("error_uri"), maxText)}
	case code == "":
		return nil, stray("it has no code")
	case strings.IndexFunc(code, func(r rune) bool { return r < 0x20 || r > 0x7e }) >= 0: // RFC 6749 A.11
		return nil, stray("its code has characters that no code has")
	}
	return &Callback{Code: NewSecret(code), Params: params}, nil
}

// ParsePasted is [ParseCallback] of what [PastedForm] finds in a text.
func ParsePasted(text string, want Expected) (*Callback, error) {
	form, err := PastedForm(text)
	if err != nil {
		return nil, err
	}
	return ParseCallback(form, want)
}

// PastedForm finds the parameters in what a person copied: the whole address
// the browser ended at, with the answer in its query or its fragment, the query
// alone, or "code#state" as some providers show on a page. A bare code is not
// enough: nothing would tie it to this login. The error is [ErrStray].
func PastedForm(text string) (string, error) {
	text = strings.TrimSpace(text)
	rest, fragment, _ := strings.Cut(text, "#")
	base, query, asked := strings.Cut(rest, "?")
	switch {
	case hasAnswer(query):
		return query, nil // browsers add fragments such as #_=_
	case hasAnswer(fragment):
		return fragment, nil // response_mode=fragment
	case !asked && hasAnswer(base):
		return base, nil
	case !asked && fragment != "" && base != "" && !strings.ContainsAny(rest, "=&/: \t"):
		return Form{{"code", base}, {"state", fragment}}.Encode(), nil
	}
	return "", stray("it is not the whole address")
}

// hasAnswer tells a callback's parameters from others; response is that of a
// signed one.
func hasAnswer(form string) bool {
	for pair := range strings.SplitSeq(form, "&") {
		if strings.HasPrefix(pair, "state=") || strings.HasPrefix(pair, "response=") {
			return true
		}
	}
	return false
}

func (e Expected) checkIssuer(params Form) error {
	iss := params.Get("iss")
	switch {
	case !params.Has("iss") && e.IssRequired && !params.Has("id_token"): // a verified ID token says it too (RFC 9207 §2)
		return fmt.Errorf("%w: it lacks the iss that this server promises", ErrIssuer)
	case params.Has("iss") && e.Issuer != "" && iss != e.Issuer: // simple string comparison, RFC 9207 §2.4
		return fmt.Errorf("%w: iss is %q", ErrIssuer, clean(iss, 128))
	}
	return nil
}

// callbackParams splits strictly: a name twice, or a pair that can't be decoded,
// makes the whole unreadable (RFC 6749 §3.1).
func callbackParams(form string) (Form, error) {
	if len(form) > maxCallback || strings.Count(form, "&") >= maxCallbackParams {
		return nil, stray("it is too long")
	}
	var params Form
	for pair := range strings.SplitSeq(form, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		n, err1 := url.QueryUnescape(name)
		v, err2 := url.QueryUnescape(value)
		switch {
		case err1 != nil || err2 != nil:
			return nil, stray("it has a broken escape")
		case params.Has(n):
			return nil, stray("it has a parameter twice")
		}
		params.Add(n, v)
	}
	return slices.Clip(params), nil
}

func stray(reason string) error { return fmt.Errorf("%w: %s", ErrStray, reason) }
