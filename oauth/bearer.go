package oauth

import (
	"iter"
	"net/http"
	"strings"
)

// Challenge is what a resource server says about a token it refused
// (RFC 6750 §3). The zero Challenge means that it said nothing of the kind.
// All texts come from the server, cleaned of control characters and at most
// 512 bytes long.
type Challenge struct {
	// Scheme is "Bearer" or "DPoP", or "" if neither was offered.
	Scheme string
	// Realm, Error, ErrorDescription, ErrorURI and Scope as in RFC 6750 §3.
	Realm, Error, ErrorDescription, ErrorURI, Scope string
	// ResourceMetadata is the URL of RFC 9728 §5.1. Not checked.
	ResourceMetadata string
	// ACRValues and MaxAge are the step-up demands of RFC 9470 §3.
	ACRValues, MaxAge string
}

// ParseChallenge reads the WWW-Authenticate fields of an answer. Of several
// challenges it takes the first Bearer one with an error, else the first Bearer
// one, else the same for DPoP (RFC 9449 §7.1). It never fails: what can't be
// read is skipped (RFC 9110 §11.6.1 allows many forms).
func ParseChallenge(header http.Header) Challenge {
	var best Challenge
	for _, line := range header.Values("Www-Authenticate") {
		for c := range challenges(line) {
			if c.rank() > best.rank() {
				best = c
			}
		}
	}
	return best
}

// Refreshable reports whether a new access token may cure an answer of this
// status: a 401 that is bare, says invalid_token or something unknown. It is
// false where another token of the same grant can't help: insufficient_scope
// (RFC 6750 §3.1), step-up (RFC 9470), a DPoP proof (RFC 9449). The caller has
// to see to it that it refreshes once only.
func (c Challenge) Refreshable(status int) bool {
	if status != http.StatusUnauthorized {
		return false
	}
	switch c.Error {
	case "invalid_request", "insufficient_scope", "insufficient_user_authentication",
		"use_dpop_nonce", "invalid_dpop_proof":
		return false
	}
	return true
}

func (c Challenge) rank() int {
	n := 0
	switch c.Scheme {
	case "Bearer":
		n = 3
	case "DPoP":
		n = 1
	default:
		return 0
	}
	if c.Error != "" {
		n++
	}
	return n
}

func (c *Challenge) set(name, value string) {
	var field *string
	switch strings.ToLower(name) { // names match without case (RFC 9110 §11.2)
	case "realm":
		field = &c.Realm
	case "error":
		field = &c.Error
	case "error_description":
		field = &c.ErrorDescription
	case "error_uri":
		field = &c.ErrorURI
	case "scope":
		field = &c.Scope
	case "resource_metadata":
		field = &c.ResourceMetadata
	case "acr_values":
		field = &c.ACRValues
	case "max_age":
		field = &c.MaxAge
	default:
		return
	}
	if *field == "" { // it may occur once: the first wins
		*field = clean(value, maxText)
	}
}

// challenges splits one field value. A comma parts both challenges and
// parameters; what tells them apart is whether the word before it is followed
// by "=" (RFC 9110 §11.6.1).
func challenges(line string) iter.Seq[Challenge] {
	return func(yield func(Challenge) bool) {
		var c Challenge
		for s := skip(line); s != ""; s = skip(s) {
			name, rest := word(s)
			if name == "" { // not a token: drop one byte, a quoted string as a whole
				_, s = quoted(s)
				continue
			}
			after := strings.TrimLeft(rest, " \t")
			if value, ok := strings.CutPrefix(after, "="); ok && !strings.HasPrefix(value, "=") {
				var v string
				v, s = paramValue(strings.TrimLeft(value, " \t"))
				c.set(name, v)
				continue
			}
			if !yield(c) {
				return
			}
			c = Challenge{Scheme: scheme(name)}
			s = token68(after)
		}
		yield(c)
	}
}

func scheme(name string) string {
	switch {
	case strings.EqualFold(name, "Bearer"):
		return "Bearer"
	case strings.EqualFold(name, "DPoP"):
		return "DPoP"
	}
	return ""
}

// token68 drops the credentials-like text some schemes put after their name
// (Negotiate, NTLM): a run that ends the challenge instead of naming a parameter.
func token68(s string) string {
	n := 0
	for n < len(s) && (tokenByte(s[n]) || s[n] == '/') {
		n++
	}
	pad := n
	for pad < len(s) && s[pad] == '=' {
		pad++
	}
	rest := strings.TrimLeft(s[pad:], " \t")
	if n > 0 && (rest == "" || rest[0] == ',') {
		return rest
	}
	return s
}

func skip(s string) string { return strings.TrimLeft(s, " \t,") }

// word takes an RFC 9110 token off the front.
func word(s string) (token, rest string) {
	n := 0
	for n < len(s) && tokenByte(s[n]) {
		n++
	}
	return s[:n], s[n:]
}

func paramValue(s string) (value, rest string) {
	if strings.HasPrefix(s, `"`) {
		return quoted(s)
	}
	// Wider than a token: servers send scopes and URLs without quotes.
	n := strings.IndexAny(s, ", \t")
	if n < 0 {
		n = len(s)
	}
	return s[:n], s[n:]
}

// quoted takes a quoted string off the front (RFC 9110 §5.6.4), or one byte if
// there is none. A missing end quote ends at the end.
func quoted(s string) (text, rest string) {
	if s == "" || s[0] != '"' {
		return "", s[min(1, len(s)):]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:]
		case '\\':
			if i++; i == len(s) {
				return b.String(), ""
			}
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

// tokenByte is tchar of RFC 9110 §5.6.2.
func tokenByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
