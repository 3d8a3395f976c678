package jose

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/evergrant/evergrant/oauth"
)

// Unverified is what a JWT says of itself, for a person to read. Nothing was
// checked: anybody can write such a text. An access token is meant for its
// resource server alone and may change its form any day, so no decision may
// rest on this (RFC 9068 §6, OAuth 2.1 §1.4). Printing it shows no claims.
type Unverified struct {
	// Header and Claims are JSON objects.
	Header, Claims json.RawMessage
}

// Inspect decodes a signed JWT without checking it.
func Inspect(token oauth.Secret) (Unverified, error) {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 || len(token.Reveal()) > maxToken {
		return Unverified{}, errors.New("decoding token: this is no signed JWT; a token need not be one")
	}
	var u Unverified
	for i, to := range []*json.RawMessage{&u.Header, &u.Claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || len(text) == 0 || text[0] != '{' || !json.Valid(text) {
			return Unverified{}, errors.New("decoding token: this is no signed JWT; a token need not be one")
		}
		*to = text
	}
	return u, nil
}

// String says that nothing was checked.
func (u Unverified) String() string {
	return fmt.Sprintf("unverified claims [redacted, %d bytes]", len(u.Claims))
}

// Format writes what String returns, whatever the verb.
func (u Unverified) Format(f fmt.State, _ rune) { io.WriteString(f, u.String()) }

// LogValue returns what String returns.
func (u Unverified) LogValue() slog.Value { return slog.StringValue(u.String()) }
