package foreign

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evergrant/evergrant/internal/tokenfile"
	"github.com/evergrant/evergrant/oauth"
)

// A Grant is what a file says about one grant. Fields are zero where it says
// nothing.
type Grant struct {
	// Label tells the grants of one file apart: an account, a section, a server.
	Label string
	// Provider is a name of the catalog, set only where the format is one
	// provider's own.
	Provider string
	// TokenURL is the token endpoint (RFC 6749 §3.2). It comes from the file and
	// is not checked.
	TokenURL string
	// ClientID and ClientSecret are of the app registration the grant is for.
	ClientID     string
	ClientSecret oauth.Secret
	// SecretAt is where ClientSecret stands in the file, as a JSON pointer (RFC
	// 6901), if its tool keeps it there as long as the grant lives; else "".
	SecretAt string
	// Scope is a list separated by spaces (RFC 6749 §3.3).
	Scope string
	// Account is whose grant it is: a user name, an e-mail address or a server.
	Account string

	AccessToken, RefreshToken, IDToken oauth.Secret
	// Expiry is when the access token expires, in UTC.
	Expiry time.Time
	// TokenType is as in RFC 6749 §7.1; "" mostly means Bearer.
	TokenType string

	// Other is what else the file says of the grant, under the names that token
	// answers use: instance_url, id, times in another tool's convention.
	Other []Member
	// Note says what stands in the way of refreshing the grant; "" if nothing.
	Note string
}

// A Member is a member of a token file. Its Value is JSON; it counts as a
// secret, for nobody knows what other tools put there.
type Member struct {
	Name  string
	Value oauth.Secret
}

func (g Grant) hasToken() bool {
	return !g.AccessToken.IsZero() || !g.RefreshToken.IsZero() || !g.IDToken.IsZero()
}

// The parts of a grant, in words for people.
const (
	partTokenURL = "token endpoint"
	partClientID = "client id"
	partSecret   = "client secret"
	partScope    = "scope"
	partAccount  = "account"
	partAccess   = "access token"
	partRefresh  = "refresh token"
	partID       = "ID token"
	partExpiry   = "expiry"
	partType     = "token type"
)

// parts are those of the above that are not zero.
func (g Grant) parts() []string {
	var out []string
	for _, p := range []struct {
		name string
		set  bool
	}{
		{partTokenURL, g.TokenURL != ""}, {partClientID, g.ClientID != ""}, {partSecret, !g.ClientSecret.IsZero()},
		{partScope, g.Scope != ""}, {partAccount, g.Account != ""}, {partAccess, !g.AccessToken.IsZero()},
		{partRefresh, !g.RefreshToken.IsZero()}, {partID, !g.IDToken.IsZero()}, {partExpiry, !g.Expiry.IsZero()},
		{partType, g.TokenType != ""},
	} {
		if p.set {
			out = append(out, p.name)
		}
	}
	return out
}

// Document returns the token file to keep: the members of a token answer
// (RFC 6749 §5.1) with what else is known of the grant, indented by two spaces.
// The client secret is not in it: it belongs to the client, not to the grant.
// It fails for text that is not UTF-8.
func (g Grant) Document() ([]byte, error) {
	doc, err := encode(g.answer())
	if err != nil || g.Expiry.IsZero() || tellsExpiry(doc, g.Expiry) {
		return doc, err
	}
	return encode(addRaw(g.answer(), "expires_at", strconv.FormatInt(g.Expiry.Unix(), 10)))
}

// Sealed returns the document with the client secret in it, as client_secret
// (RFC 6749 §2.3.1). It is for a store that encrypts.
func (g Grant) Sealed() ([]byte, error) {
	g.Other = addSecret(slices.Clone(g.Other), "client_secret", g.ClientSecret)
	return g.Document()
}

// answer are the members of the document without a time of expiry of our own.
func (g Grant) answer() []Member {
	var m []Member
	m = addSecret(m, "access_token", g.AccessToken)
	m = addSecret(m, "refresh_token", g.RefreshToken)
	m = addSecret(m, "id_token", g.IDToken)
	m = addText(m, "token_type", g.TokenType)
	m = addText(m, "scope", g.Scope)
	m = addText(m, "client_id", g.ClientID)
	m = addText(m, "token_url", g.TokenURL)
	m = addText(m, "username", g.Account)
	return append(m, g.Other...)
}

// tellsExpiry reports whether the document has the time in a convention of its
// own already.
func tellsExpiry(doc []byte, want time.Time) bool {
	f, err := tokenfile.Open(doc, nil)
	return err == nil && expiry(f.Times()).Unix() == want.Unix()
}

// expiry is what the times of a token file come to; zero if nobody knows since
// when a lifetime counts.
func expiry(t tokenfile.Times) time.Time {
	switch {
	case !t.ExpiresAt.IsZero():
		return t.ExpiresAt
	case !t.IssuedAt.IsZero() && t.ExpiresIn > 0:
		return t.IssuedAt.Add(t.ExpiresIn)
	}
	return time.Time{}
}

// complete fills what the ID token says (OpenID Connect Core §2) and the file
// does not. The token is not verified: account and client are shown to a person
// and tried, no more.
func (g *Grant) complete(f Format) {
	claims := claimsOf(g.IDToken)
	for _, name := range []string{"email", "preferred_username", "upn", "sub"} {
		if g.Account == "" {
			g.Account = claims.plain(name)
		}
	}
	for _, name := range []string{"azp", "aud"} {
		if g.ClientID == "" {
			g.ClientID = claims.plain(name)
		}
	}
	if g.Label == "" {
		g.Label = g.Account
	}
	if g.Label == "" {
		g.Label = f.Name
	}
	if g.RefreshToken.IsZero() && g.Note == "" {
		g.Note = "there is no refresh token in it: the access token cannot be renewed"
	}
}

// claimsOf reads the payload of a JWT (RFC 7519 §3); nil if it is none.
func claimsOf(token oauth.Secret) object {
	part := strings.Split(token.Reveal(), ".")
	if len(part) != 3 {
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(part[1], "="))
	if err != nil {
		return nil
	}
	claims, _ := parseObject(raw)
	return claims
}

// distinguish makes labels unique: by the client first, which is what differs
// in a cache of one user, then by number.
func distinguish(list []Grant) {
	counts := map[string]int{}
	for _, g := range list {
		counts[g.Label]++
	}
	for i, g := range list {
		if counts[g.Label] > 1 && g.ClientID != "" {
			list[i].Label += " " + g.ClientID
		}
	}
	clear(counts)
	taken := map[string]bool{}
	for i := range list {
		label := list[i].Label
		for taken[list[i].Label] {
			counts[label]++
			list[i].Label = fmt.Sprintf("%s #%d", label, counts[label]+1)
		}
		taken[list[i].Label] = true
	}
}

// Choose returns the grant with the label, or the only one if label is "".
// Labels compare exactly; else the only one that contains the label counts.
func Choose(list []Grant, label string) (Grant, error) {
	if label == "" && len(list) == 1 {
		return list[0], nil
	}
	var near []Grant
	for _, g := range list {
		if g.Label == label {
			return g, nil
		}
		if label != "" && strings.Contains(strings.ToLower(g.Label), strings.ToLower(label)) {
			near = append(near, g)
		}
	}
	if len(near) == 1 {
		return near[0], nil
	}
	says := "the file holds several grants"
	if label != "" && len(near) == 0 {
		says = "the file holds no grant of that account"
	}
	return Grant{}, &Error{says, "choose one with --account: " + strings.Join(labels(list), ", ")}
}

func labels(list []Grant) []string {
	var out []string
	for _, g := range list {
		out = append(out, strconv.Quote(g.Label))
	}
	slices.Sort(out)
	return out
}
