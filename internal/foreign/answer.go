package foreign

import (
	"strconv"
	"strings"
	"time"

	"github.com/evergrant/evergrant/internal/tokenfile"
)

// tokenResponse is the answer of a token endpoint kept as it came (RFC 6749
// §5.1), with the members that tools add to it: Chilkat's samples add
// expires_on (Microsoft v1, text of seconds) and tokenCreateTimeUtc (PayPal),
// QuickBooks answers x_refresh_token_expires_in.
var tokenResponse = Format{
	Name: "token-response", Title: "Token endpoint's answer as JSON (Chilkat and most scripts)",
	Files:  []string{"token.json", "tokens.json"},
	Source: "RFC 6749 §5.1; chilkatsoft.com, reference samples of Chilkat.OAuth2",
	holds: []string{partAccess, partRefresh, partID, partType, partScope, partClientID, partTokenURL, partAccount,
		partExpiry},
	members: []string{"*"},
	is:      func(t *text) bool { return t.root.has("access_token") || t.root.has("refresh_token") },
	read:    readAnswer,
	write:   Grant.Document,
}

// xOAuth2 is what encoding/json makes of golang.org/x/oauth2's Token.
var xOAuth2 = Format{
	Name: "x-oauth2", Title: "golang.org/x/oauth2 Token as JSON",
	Files:  []string{"token.json"},
	Source: "golang/oauth2, token.go (type Token)",
	Note:   "without an expiry, x/oauth2 uses the access token for ever and never refreshes",
	holds:  []string{partAccess, partRefresh, partType, partExpiry},
	is: func(t *text) bool {
		_, err := time.Parse(time.RFC3339Nano, t.root.plain("expiry"))
		return err == nil && t.root.has("access_token")
	},
	read:  readAnswer,
	write: func(g Grant) ([]byte, error) { return encode(xOAuth2Members(g)) },
}

func xOAuth2Members(g Grant) []Member {
	var m []Member
	m = addSecret(m, "access_token", g.AccessToken)
	if g.AccessToken.IsZero() {
		m = addRaw(m, "access_token", `""`) // the one member without omitempty
	}
	m = addText(m, "token_type", g.TokenType)
	m = addSecret(m, "refresh_token", g.RefreshToken)
	if !g.Expiry.IsZero() {
		m = addText(m, "expiry", g.Expiry.UTC().Format(time.RFC3339Nano))
	}
	return m
}

// clientInfo ends the name of the file with the client beside mcp-remote's
// tokens.
const clientInfo = "_client_info.json"

const mcpTokens = "_tokens.json"

// mcpRemote keeps tokens and client in two files whose names begin with the
// same hash of the server's URL.
var mcpRemote = Format{
	Name: "mcp-remote", Title: "mcp-remote tokens",
	Files:  []string{"~/.mcp-auth/*/*_tokens.json"},
	Source: "geelen/mcp-remote, src/lib/mcp-auth-config.ts and src/lib/node-oauth-client-provider.ts; modelcontextprotocol/typescript-sdk, shared/auth (OAuthTokens)",
	Note:   "the token endpoint is not in the files: say it with --token-url; the client stands in the …_client_info.json beside it",
	holds:  []string{partAccess, partRefresh, partID, partType, partScope},
	is: func(t *text) bool {
		return strings.HasSuffix(t.base(), mcpTokens) && t.root.has("access_token")
	},
	read: readMCPRemote,
	write: func(g Grant) ([]byte, error) {
		if g.AccessToken.IsZero() {
			return nil, &Error{"mcp-remote needs an access token, and the grant has none", "refresh the grant first"}
		}
		m := addSecret(nil, "access_token", g.AccessToken)
		m = addSecret(m, "id_token", g.IDToken)
		m = addText(m, "token_type", first(g.TokenType, "Bearer")) // it is required there
		m = addText(m, "scope", g.Scope)
		return encode(addSecret(m, "refresh_token", g.RefreshToken))
	},
}

// kubelogin caches an ID token and the refresh token, no access token, in a
// file named by a hash.
var kubelogin = Format{
	Name: "kubelogin", Title: "kubelogin (kubectl oidc-login) token cache",
	Files:  []string{"~/.kube/cache/oidc-login/*"},
	Source: "int128/kubelogin, pkg/tokencache/repository/repository.go (type entity)",
	Note:   "the token endpoint is not in the file: say it with --token-url",
	holds:  []string{partRefresh, partID},
	is: func(t *text) bool {
		for _, m := range t.root {
			if m.name != "id_token" && m.name != "refresh_token" {
				return false
			}
		}
		return t.root.has("id_token")
	},
	read: readAnswer,
	write: func(g Grant) ([]byte, error) {
		if g.IDToken.IsZero() {
			return nil, &Error{"kubelogin needs an ID token, and the grant has none", "log in again with the scope openid"}
		}
		return encodeLine(addSecret(addSecret(nil, "id_token", g.IDToken), "refresh_token", g.RefreshToken))
	},
}

// execCredential is what a kubectl credential plugin prints. It never holds a
// refresh token.
var execCredential = Format{
	Name: "exec-credential", Title: "kubectl ExecCredential (what a credential plugin prints)",
	Source: "kubernetes/client-go, pkg/apis/clientauthentication/v1 (type ExecCredential)",
	holds:  []string{partAccess, partExpiry},
	is:     func(t *text) bool { return t.root.plain("kind") == "ExecCredential" },
	read: func(t *text) ([]Grant, error) {
		r := t.root.object("status").reader()
		g := Grant{AccessToken: r.secret("token"), Expiry: r.time("expirationTimestamp")}
		return []Grant{g}, r.err
	},
}

// readAnswer reads a token answer and everything laid out like one.
func readAnswer(t *text) ([]Grant, error) {
	r := t.root.reader()
	g := Grant{
		AccessToken: r.secret("access_token"), RefreshToken: r.secret("refresh_token"), IDToken: r.secret("id_token"),
		TokenType: r.text("token_type"), Scope: r.words("scope"),
		ClientID: r.text("client_id"), ClientSecret: r.secret("client_secret"),
		TokenURL: first(r.text("token_url"), r.plain("token_uri")), Account: r.text("username"),
	}
	if r.err != nil {
		return nil, r.err
	}
	if f, err := tokenfile.Open(t.data, nil); err == nil {
		g.Expiry = expiry(f.Times())
	}
	r.takeExpiry(g.Expiry)
	g.Other = r.rest()
	return []Grant{g}, nil
}

// takeExpiry takes the members for the expiry that Document writes just so.
// Others stay as they are: their tool knows its own convention.
func (r *reader) takeExpiry(t time.Time) {
	if v := r.get("expires_at"); v.Kind() == '0' && string(v) == strconv.FormatInt(t.Unix(), 10) {
		r.taken["expires_at"] = true
	}
	if e, err := time.Parse(time.RFC3339Nano, r.plain("expiry")); err == nil && (e.Equal(t) || e.Year() <= 1) {
		r.taken["expiry"] = true
	}
}

func readMCPRemote(t *text) ([]Grant, error) {
	list, err := readAnswer(t)
	name, ok := strings.CutSuffix(t.base(), mcpTokens)
	if err != nil || t.beside == nil || !ok {
		return list, err
	}
	data, err := t.beside(name + clientInfo)
	if err != nil {
		return list, nil // the client can be given by hand
	}
	info, err := parseFile(data)
	if err != nil {
		return nil, &Error{"the client beside the tokens cannot be read: " + err.Error(), "look at the file …" + clientInfo}
	}
	r := info.reader()
	list[0].ClientID, list[0].ClientSecret = r.text("client_id"), r.secret("client_secret")
	return list, r.err
}

// first returns the first text that is not empty.
func first(texts ...string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return ""
}
