package foreign

import "strings"

// claudeCode is Claude Code's credential file. The vendor does not document
// it; the shape is what other programs that read it rely on.
var claudeCode = Format{
	Name: "claude-code", Title: "Claude Code credentials (its own login, and its MCP servers)",
	Files:   []string{"~/.claude/.credentials.json"},
	Source:  "not documented by the vendor: read in third-party programs (anthropics/claude-code issues; members of mcpOAuth not verified beyond serverName, serverUrl, clientId, clientSecret, discoveryState)",
	Note:    "on macOS the same JSON is in the keychain item \"Claude Code-credentials\"; an export holds the one login, so take care not to write over the file with the others; token endpoints are not in the file",
	holds:   []string{partAccess, partRefresh, partExpiry, partScope},
	members: claudeMembers,
	is:      func(t *text) bool { return t.root.object("claudeAiOauth") != nil || t.root.object("mcpOAuth") != nil },
	read:    readClaudeCode,
	write: func(g Grant) ([]byte, error) {
		if g.AccessToken.IsZero() {
			return nil, &Error{"Claude Code needs an access token, and the grant has none", "refresh the grant first"}
		}
		m := addSecret(nil, "accessToken", g.AccessToken)
		m = addSecret(m, "refreshToken", g.RefreshToken)
		if !g.Expiry.IsZero() {
			m = addRaw(m, "expiresAt", millis(g.Expiry))
		}
		m = addList(m, "scopes", g.Scope)
		inner, err := encodeLine(append(m, g.others(claudeMembers)...))
		if err != nil {
			return nil, err
		}
		return encode(addRaw(nil, claudeLogin, string(inner)))
	},
}

const claudeLogin = "claudeAiOauth"

var claudeMembers = []string{"subscriptionType", "rateLimitTier", "refreshTokenExpiresAt"}

func readClaudeCode(t *text) ([]Grant, error) {
	var list []Grant
	if o := t.root.object(claudeLogin); o != nil {
		r := o.reader()
		g := r.camelCase()
		g.Label, g.Scope = claudeLogin, r.words("scopes")
		g.Other = r.rest()
		if r.err != nil {
			return nil, r.err
		}
		list = append(list, g)
	}
	for _, m := range t.root.object("mcpOAuth") {
		r := m.object().reader()
		g := r.camelCase()
		g.ClientID, g.ClientSecret = r.text("clientId"), r.secret("clientSecret")
		key, _, _ := strings.Cut(m.name, "|")
		g.Label, g.Account, g.Scope = first(r.text("serverName"), key), r.text("serverUrl"), r.words("scope")
		g.Other = addText(nil, "issuer", r.object.object("discoveryState").plain("authorizationServerUrl"))
		if r.err != nil {
			return nil, r.err
		}
		list = append(list, g)
	}
	return list, nil
}

// camelCase takes the members that JavaScript programs name alike.
func (r *reader) camelCase() Grant {
	return Grant{AccessToken: r.secret("accessToken"), RefreshToken: r.secret("refreshToken"), Expiry: r.time("expiresAt")}
}
