package oauth

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"sort"
	"strings"
)

const redacted = "[redacted]"

// Secret is a token, client secret or anything else that must not be printed.
// Every way to format, log or marshal it gives "[redacted]" (or "" for the zero
// value); only [Secret.Reveal] gives the text. Secrets are not comparable with
// ==: use [Secret.Equal].
type Secret struct {
	_ [0]func() // makes == a compile error: it would compare addresses
	// A pointer, because fmt prints unexported fields of a struct that holds a
	// Secret without asking our Format: it then shows an address, not the text.
	p *string
}

// NewSecret wraps text. NewSecret("") is the zero Secret.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{p: &text}
}

// Reveal returns the secret text: the one place where it comes out.
func (s Secret) Reveal() string {
	if s.p == nil {
		return ""
	}
	return *s.p
}

// IsZero reports whether there is no secret; encoding/json's omitzero uses it.
func (s Secret) IsZero() bool { return s.p == nil }

// Equal compares in a time that depends on the lengths only.
func (s Secret) Equal(o Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(o.Reveal())) == 1
}

// String returns "[redacted]", or "" for the zero Secret.
func (s Secret) String() string {
	if s.p == nil {
		return ""
	}
	return redacted
}

// GoString returns what String returns.
func (s Secret) GoString() string { return s.String() }

// Format writes what String returns, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue returns what String returns.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns what String returns. There is no UnmarshalText, so that
// nobody reads a redacted text back as a token.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON returns what String returns, quoted.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// Scrub replaces every occurrence of the secrets in text, plain or
// form-encoded, by "[redacted]". Use it on texts a server wrote, such as an
// error_description: some servers quote the token they refuse. Secrets shorter
// than four bytes are left, they would match anywhere.
func Scrub(text string, secrets ...Secret) string {
	var plain []string
	for _, s := range secrets {
		if t := s.Reveal(); len(t) >= 4 {
			plain = append(plain, t)
			if e := url.QueryEscape(t); e != t {
				plain = append(plain, e)
			}
		}
	}
	// Longest first: a secret that contains another one goes as a whole.
	sort.Slice(plain, func(i, j int) bool { return len(plain[i]) > len(plain[j]) })
	for _, p := range plain {
		text = strings.ReplaceAll(text, p, redacted)
	}
	return text
}

// sized is how the value of a named parameter is shown: its size helps to see
// a cut or empty token.
func sized(n int) string { return fmt.Sprintf("[redacted, %d bytes]", n) }
