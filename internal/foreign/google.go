package foreign

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// googleToken is the endpoint that Google's libraries use whatever the file
// says (google-auth: "always overrides").
const googleToken = "https://oauth2.googleapis.com/token"

// googleMembers are what Google's files say beyond the grant.
var googleMembers = []string{"quota_project_id", "universe_domain", "rapt_token", "trust_boundary"}

// authorizedUser is what gcloud leaves for its client libraries. It has no
// access token: every process gets its own.
var authorizedUser = Format{
	Name: "google-authorized-user", Title: "Google application default credentials (authorized_user)",
	Files: []string{
		"~/.config/gcloud/application_default_credentials.json",
		"%APPDATA%/gcloud/application_default_credentials.json",
	},
	Source:  "googleapis/google-auth-library-python, google/oauth2/credentials.py (from_authorized_user_info)",
	holds:   []string{partClientID, partSecret, partRefresh, partAccount},
	members: googleMembers,
	is:      func(t *text) bool { return t.root.plain("type") == "authorized_user" && !t.root.has("token") },
	read:    readGoogle,
	write: func(g Grant) ([]byte, error) {
		if err := g.fitsGoogle(); err != nil {
			return nil, err
		}
		m := addText(nil, "account", g.Account)
		m = addText(m, "client_id", g.ClientID)
		m = addSecret(m, "client_secret", g.ClientSecret)
		m = addSecret(m, "refresh_token", g.RefreshToken)
		m = addText(m, "type", "authorized_user")
		return encode(append(m, g.others(googleMembers)...))
	},
}

// googleAuth is what Credentials.to_json writes, the token.json of Google's
// quick starts.
var googleAuth = Format{
	Name: "google-auth", Title: "google-auth for Python (Credentials.to_json)",
	Files:  []string{"token.json"},
	Source: "googleapis/google-auth-library-python, google/oauth2/credentials.py (to_json)",
	Note:   "google-auth reads the expiry to the second, as UTC",
	holds: []string{partAccess, partRefresh, partTokenURL, partClientID, partSecret, partScope, partExpiry,
		partAccount},
	members: googleMembers,
	is: func(t *text) bool {
		return t.root.has("token") && !t.root.has("access_token") &&
			(t.root.has("token_uri") || t.root.has("client_id") && t.root.has("refresh_token") || t.root.plain("type") == "authorized_user")
	},
	read:  readGoogle,
	write: writeGoogleAuth,
}

func writeGoogleAuth(g Grant) ([]byte, error) {
	if err := g.fitsGoogle(); err != nil {
		return nil, err
	}
	m := addSecret(nil, "token", g.AccessToken)
	m = addSecret(m, "refresh_token", g.RefreshToken)
	m = addText(m, "token_uri", first(g.TokenURL, googleToken))
	m = addText(m, "client_id", g.ClientID)
	m = addSecret(m, "client_secret", g.ClientSecret)
	m = addList(m, "scopes", g.Scope)
	m = append(m, g.others(googleMembers)...)
	m = addText(m, "account", g.Account)
	if !g.Expiry.IsZero() {
		m = addText(m, "expiry", g.Expiry.UTC().Format("2006-01-02T15:04:05.999999")+"Z")
	}
	return encode(m)
}

// readGoogle reads both: they differ in the members that are there. The expiry
// has no zone in files of old versions; google-auth means UTC.
func readGoogle(t *text) ([]Grant, error) {
	r := t.root.reader()
	g := Grant{
		AccessToken: r.secret("token"), RefreshToken: r.secret("refresh_token"), IDToken: r.secret("id_token"),
		TokenURL: r.text("token_uri"), ClientID: r.text("client_id"), ClientSecret: r.secret("client_secret"),
		Scope: r.words("scopes"), Account: r.text("account"),
	}
	if naive, err := time.Parse("2006-01-02T15:04:05.999999999", r.plain("expiry")); err == nil {
		g.Expiry, r.taken["expiry"] = naive.UTC(), true
	} else {
		g.Expiry = r.time("expiry")
	}
	if r.text("type"); g.isGoogle() {
		g.Provider = "google"
	}
	g.Other = r.rest()
	return []Grant{g}, r.err
}

// GoogleLayout reports whether the grant belongs in a file of Google's layout,
// which holds the client's secret too.
func (g Grant) GoogleLayout() bool { return g.isGoogle() }

// isGoogle reports whether the grant is Google's; no endpoint at all means
// Google in its own format.
func (g Grant) isGoogle() bool {
	if g.TokenURL == "" {
		return g.Provider == "" || g.Provider == "google"
	}
	u, err := url.Parse(g.TokenURL)
	return err == nil && (strings.HasSuffix(u.Host, ".googleapis.com") || u.Host == "accounts.google.com")
}

// fitsGoogle says whether Google's libraries could use a file with the grant.
func (g Grant) fitsGoogle() error {
	switch {
	case !g.isGoogle():
		return &Error{"the format is for Google's grants: its readers send the refresh token to Google, whatever the file says", "use token-response or x-oauth2"}
	case g.RefreshToken.IsZero():
		return &Error{"the format needs a refresh token, and the grant has none", "log in again with offline access"}
	case g.ClientID == "" || g.ClientSecret.IsZero():
		return &Error{"the format needs the client's id and secret", "give them with --client-id and --client-secret (a reference such as env:NAME)"}
	}
	return nil
}

// others are the members of Other with one of the names.
func (g Grant) others(names []string) []Member {
	var out []Member
	for _, m := range g.Other {
		if slices.Contains(names, m.Name) {
			out = append(out, m)
		}
	}
	return out
}
