package foreign_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/evergrant/evergrant/internal/foreign"
	"github.com/evergrant/evergrant/oauth"
)

func format(verb string, v any) string { return fmt.Sprintf(verb, v) }

func oauthName(i int) string { return "account " + strconv.Itoa(i) }

// full is a grant of which everything is known.
func full(provider, tokenURL string) foreign.Grant {
	return foreign.Grant{
		Provider: provider, TokenURL: tokenURL, ClientID: "the-client.example", ClientSecret: oauth.NewSecret("SECRET-client"), Scope: "a b",
		Account: "ann@example.com", AccessToken: oauth.NewSecret("SECRET-äccess \"<&"), RefreshToken: oauth.NewSecret("SECRET-refresh.=="), IDToken: oauth.NewSecret("SECRET-id"),
		Expiry: time.Unix(1795395268, 0).UTC(), TokenType: "Bearer",
		Other: []foreign.Member{
			{"instance_url", oauth.NewSecret(`"https://acme.my.salesforce.com"`)}, {"deep", oauth.NewSecret(`{"n":1.50,"list":["x"]}`)},
			{"quota_project_id", oauth.NewSecret(`"acme"`)}, {"subscriptionType", oauth.NewSecret(`"team"`)},
		},
	}
}

// grants are a full grant for each format that can be written.
var grants = map[string]foreign.Grant{
	"token-response":         full("", "https://issuer.example/token"),
	"x-oauth2":               full("", "https://issuer.example/token"),
	"mcp-remote":             full("", "https://issuer.example/token"),
	"kubelogin":              full("", "https://issuer.example/token"),
	"claude-code":            full("", "https://issuer.example/token"),
	"aws-sso":                full("aws-sso", "https://oidc.cn-north-1.amazonaws.com.cn/token"),
	"google-authorized-user": full("google", "https://oauth2.googleapis.com/token"),
	"google-auth":            full("google", "https://oauth2.googleapis.com/token"),
	"rclone":                 full("google", "https://oauth2.googleapis.com/token"),
	"force-url":              full("salesforce", "https://acme.my.salesforce.com/services/oauth2/token"),
}

// without is the grant without the parts that Leaves named.
func without(g foreign.Grant, leaves []string) foreign.Grant {
	for part, clear := range map[string]func(){
		"token endpoint": func() { g.TokenURL = "" }, "client id": func() { g.ClientID = "" }, "client secret": func() { g.ClientSecret = oauth.Secret{} },
		"scope": func() { g.Scope = "" }, "account": func() { g.Account = "" }, "access token": func() { g.AccessToken = oauth.Secret{} },
		"refresh token": func() { g.RefreshToken = oauth.Secret{} }, "ID token": func() { g.IDToken = oauth.Secret{} },
		"expiry": func() { g.Expiry = time.Time{} }, "token type": func() { g.TokenType = "" },
	} {
		if slices.Contains(leaves, part) {
			clear()
		}
	}
	g.Other = slices.DeleteFunc(slices.Clone(g.Other), func(m foreign.Member) bool { return slices.Contains(leaves, m.Name) })
	return g
}

// TestRoundTrip: what a format does not leave out comes back, and what it
// leaves out is said.
func TestRoundTrip(t *testing.T) {
	for _, f := range foreign.Formats() {
		if !f.Writes {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			g, ok := grants[f.Name]
			if !ok {
				t.Fatal("no grant to write")
			}
			data, err := foreign.Write(f, g)
			if err != nil {
				t.Fatal(err)
			}
			name := map[string]string{"mcp-remote": "ab_tokens.json"}[f.Name]
			if d, err := foreign.Detect(data, name); err != nil || d.Name != f.Name {
				t.Fatalf("it is read as %q, %v:\n%s", d.Name, err, data)
			}
			list, err := foreign.Read(data, foreign.Options{Name: name})
			if err != nil || len(list) != 1 {
				t.Fatal(list, err)
			}
			want := without(g, f.Leaves(g))
			want.Label = list[0].Label
			a, b := flatten(want), flatten(list[0])
			if diff := cmp.Diff(compact(a), compact(b)); diff != "" {
				t.Errorf("-want +got\n%s\n%s", diff, data)
			}
		})
	}
}

func compact(f flat) flat {
	for i, m := range f.Other {
		f.Other[i][1] = strings.Join(strings.Fields(m[1]), "")
	}
	return f
}

// TestWriteAsTheToolDoes compares with what the tools write, set down by hand.
func TestWriteAsTheToolDoes(t *testing.T) {
	g := foreign.Grant{
		Label: "gdrive", Provider: "google", ClientID: "1234.apps.googleusercontent.com", ClientSecret: oauth.NewSecret("SECRET-client"), Scope: "openid email",
		AccessToken: oauth.NewSecret("SECRET-access"), RefreshToken: oauth.NewSecret("SECRET-refresh"), IDToken: oauth.NewSecret("SECRET-id"), TokenType: "Bearer", Expiry: time.Unix(1795395268, 519779000).UTC(),
	}
	sf := foreign.Grant{TokenURL: "https://acme.my.salesforce.com/services/oauth2/token", ClientID: "PlatformCLI", RefreshToken: oauth.NewSecret("5Aep861.tok_en==")}
	for name, c := range map[string]struct {
		grant foreign.Grant
		want  string
	}{
		"rclone": {g, `[gdrive]
type = drive
client_id = 1234.apps.googleusercontent.com
client_secret = SECRET-client
token = {"access_token":"SECRET-access","token_type":"Bearer","refresh_token":"SECRET-refresh","expiry":"2026-11-23T00:54:28.519779Z"}
`},
		"aws-sso": {foreign.Grant{
			Account: "https://acme.awsapps.com/start", TokenURL: "https://oidc.eu-central-1.amazonaws.com/token", ClientID: "aws-client", ClientSecret: oauth.NewSecret("SECRET-client"),
			AccessToken: oauth.NewSecret("SECRET-access"), RefreshToken: oauth.NewSecret("SECRET-refresh"), Expiry: time.Unix(1795395268, 0), TokenType: "Bearer",
			Other: []foreign.Member{{"registrationExpiresAt", oauth.NewSecret(`"2027-01-01T00:00:00Z"`)}},
		}, `{
  "startUrl": "https://acme.awsapps.com/start",
  "region": "eu-central-1",
  "accessToken": "SECRET-access",
  "expiresAt": "2026-11-23T00:54:28Z",
  "clientId": "aws-client",
  "clientSecret": "SECRET-client",
  "registrationExpiresAt": "2027-01-01T00:00:00Z",
  "refreshToken": "SECRET-refresh"
}
`},
		"x-oauth2": {g, `{
  "access_token": "SECRET-access",
  "token_type": "Bearer",
  "refresh_token": "SECRET-refresh",
  "expiry": "2026-11-23T00:54:28.519779Z"
}
`},
		"google-authorized-user": {g, `{
  "client_id": "1234.apps.googleusercontent.com",
  "client_secret": "SECRET-client",
  "refresh_token": "SECRET-refresh",
  "type": "authorized_user"
}
`},
		"google-auth": {g, `{
  "token": "SECRET-access",
  "refresh_token": "SECRET-refresh",
  "token_uri": "https://oauth2.googleapis.com/token",
  "client_id": "1234.apps.googleusercontent.com",
  "client_secret": "SECRET-client",
  "scopes": [
    "openid",
    "email"
  ],
  "expiry": "2026-11-23T00:54:28.519779Z"
}
`},
		"kubelogin": {g, `{"id_token":"SECRET-id","refresh_token":"SECRET-refresh"}`},
		"mcp-remote": {g, `{
  "access_token": "SECRET-access",
  "id_token": "SECRET-id",
  "token_type": "Bearer",
  "scope": "openid email",
  "refresh_token": "SECRET-refresh"
}
`},
		"claude-code": {g, `{
  "claudeAiOauth": {
    "accessToken": "SECRET-access",
    "refreshToken": "SECRET-refresh",
    "expiresAt": 1795395268519,
    "scopes": [
      "openid",
      "email"
    ]
  }
}
`},
		"force-url": {sf, "force://PlatformCLI::5Aep861.tok_en==@acme.my.salesforce.com\n"},
	} {
		f, err := foreign.Named(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := foreign.Write(f, c.grant)
		if diff := cmp.Diff(c.want, string(got)); err != nil || diff != "" {
			t.Errorf("%s: %v, -want +got\n%s", name, err, diff)
		}
	}
}

func TestWriteRefused(t *testing.T) {
	with := func(change func(*foreign.Grant), provider, tokenURL string) foreign.Grant {
		g := full(provider, tokenURL)
		change(&g)
		return g
	}
	nothing := func(*foreign.Grant) {}
	bind := func(g *foreign.Grant) {
		g.Other = append(g.Other, foreign.Member{Name: "dpop_jwk", Value: oauth.NewSecret(`{"kty":"EC","d":"SECRET"}`)})
	}
	for name, c := range map[string]struct {
		format string
		grant  foreign.Grant
		says   string
	}{
		"only read":                 {"msal", full("", ""), "only be read"},
		"no token":                  {"token-response", foreign.Grant{ClientID: "a"}, "no token"},
		"not UTF-8":                 {"token-response", with(func(g *foreign.Grant) { g.AccessToken = oauth.NewSecret("SECRET\xff") }, "", ""), "not UTF-8"},
		"another provider's":        {"google-auth", full("", "https://evil.example/token"), "for Google"},
		"looks like Google's":       {"google-auth", full("", "https://evilgoogleapis.com/token"), "for Google"},
		"google without secret":     {"google-authorized-user", with(func(g *foreign.Grant) { g.ClientSecret = oauth.Secret{} }, "google", ""), "client's id and secret"},
		"google without refresh":    {"google-authorized-user", with(func(g *foreign.Grant) { g.RefreshToken = oauth.Secret{} }, "google", ""), "refresh token"},
		"force: not Salesforce":     {"force-url", full("", "https://issuer.example/token"), "Salesforce"},
		"force: plain http":         {"force-url", full("", "http://localhost/services/oauth2/token"), "token endpoint of this grant is http"},
		"force: no client":          {"force-url", with(func(g *foreign.Grant) { g.ClientID = "" }, "", "https://a.example/services/oauth2/token"), "client id and a refresh token"},
		"force: secret with a mark": {"force-url", with(func(g *foreign.Grant) { g.ClientSecret = oauth.NewSecret("SECRET@x") }, "", "https://a.example/services/oauth2/token"), "letters, digits"},
		"rclone: unknown provider":  {"rclone", full("", ""), "no backend"},
		"rclone: line break":        {"rclone", with(func(g *foreign.Grant) { g.ClientSecret = oauth.NewSecret("SECRET\n[evil]") }, "box", ""), "client_secret has a line break"},
		"kubelogin: no ID token":    {"kubelogin", with(func(g *foreign.Grant) { g.IDToken = oauth.Secret{} }, "", ""), "ID token"},
		"mcp-remote: no access":     {"mcp-remote", with(func(g *foreign.Grant) { g.AccessToken = oauth.Secret{} }, "", ""), "access token"},
		"claude: no access":         {"claude-code", with(func(g *foreign.Grant) { g.AccessToken = oauth.Secret{} }, "", ""), "access token"},
		"fine":                      {"token-response", with(nothing, "", ""), ""},
		"RFC9449 bound, with key":   {"token-response", with(bind, "", ""), ""},
		"RFC9449 bound, no place":   {"x-oauth2", with(bind, "", ""), "bound to a key"},
	} {
		f, err := foreign.Named(c.format)
		if err != nil {
			t.Fatal(err)
		}
		data, err := foreign.Write(f, c.grant)
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || data != nil || hint(err) == ""):
			t.Errorf("%s: %v, want %q", name, err, c.says)
		case err != nil && strings.Contains(err.Error()+hint(err), mark):
			t.Errorf("%s: a secret is in %v", name, err)
		}
	}
}

// A label can't leave the section header of an rclone.conf.
func TestRcloneSectionName(t *testing.T) {
	f, _ := foreign.Named("rclone")
	for label, want := range map[string]string{"work]\n[evil": "[work_evil]", "ann@example.com": "[ann@example.com]", "": "[drive]", "-": "[imported]", "…": "[_]"} {
		g := full("google", "")
		g.Label = label
		data, err := foreign.Write(f, g)
		if line, _, _ := strings.Cut(string(data), "\n"); err != nil || line != want {
			t.Errorf("%q: %q, %v; want %q", label, line, err, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, c := range files {
		f.Add(testdata(f, c.file), c.file, "")
	}
	for _, file := range []string{"sf-encrypted.json", "sf-redacted.json", "0123abcd_client_info.json"} {
		f.Add(testdata(f, file), file, "sf")
	}
	f.Fuzz(func(t *testing.T, data []byte, name, formatName string) {
		format, err := foreign.Detect(data, name)
		list, readErr := foreign.Read(data, foreign.Options{Name: name, Format: formatName})
		if formatName == "" && err != nil && readErr == nil {
			t.Fatalf("Read took what Detect refused: %v", err)
		}
		if readErr != nil && hint(readErr) == "" {
			t.Fatalf("%v has no hint, or is no Error", readErr)
		}
		labels := map[string]bool{}
		for _, g := range list {
			if labels[g.Label] || g.Label == "" {
				t.Fatalf("two grants or none have the label %q", g.Label)
			}
			labels[g.Label] = true
			doc, err := g.Document()
			if err != nil {
				t.Fatalf("%s: a grant that was read can't be kept: %v", format.Name, err)
			}
			again, err := foreign.Read(doc, foreign.Options{Format: "token-response"})
			if err != nil || !again[0].RefreshToken.Equal(g.RefreshToken) || !again[0].AccessToken.Equal(g.AccessToken) {
				t.Fatalf("the document does not hold the tokens: %v\n%s", err, doc)
			}
		}
	})
}
