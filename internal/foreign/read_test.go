package foreign_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/evergrant/evergrant/internal/foreign"
)

// mark stands in every secret of testdata.
const mark = "SECRET"

// flat is a grant with its secrets shown, for comparison.
type flat struct {
	Label, Provider, TokenURL, ClientID, Secret, Scope, Account, Access, Refresh, ID, Expiry, Type string
	Other                                                                                          [][2]string
	Noted                                                                                          bool
}

func flatten(g foreign.Grant) flat {
	f := flat{
		g.Label, g.Provider, g.TokenURL, g.ClientID, g.ClientSecret.Reveal(), g.Scope, g.Account,
		g.AccessToken.Reveal(), g.RefreshToken.Reveal(), g.IDToken.Reveal(), "", g.TokenType, nil, g.Note != "",
	}
	if !g.Expiry.IsZero() {
		f.Expiry = g.Expiry.Format(time.RFC3339Nano)
	}
	for _, m := range g.Other {
		f.Other = append(f.Other, [2]string{m.Name, m.Value.Reveal()})
	}
	return f
}

func flattened(list []foreign.Grant) []flat {
	var out []flat
	for _, g := range list {
		out = append(out, flatten(g))
	}
	return out
}

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func beside(base string) ([]byte, error) { return os.ReadFile(filepath.Join("testdata", base)) }

const (
	inAnHour = "2026-11-23T00:54:28Z" // 1795395268
	idToken  = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoia3ViZXJuZXRlcyIsInN1YiI6InUxIiwiZW1haWwiOiJhbm5AZXhhbXBsZS5jb20ifQ.SECRET"
	tenant   = "11111111-1111-1111-1111-111111111111"
)

// files are what each file of testdata holds.
var files = []struct {
	file, format string
	want         []flat
}{
	{"token-response.json", "token-response", []flat{{
		Label: "token-response", Access: "SECRET-access", Refresh: "SECRET-refresh", Type: "Bearer", Scope: "api refresh_token", Expiry: inAnHour,
		Other: [][2]string{{"expires_in", "3600"}, {"instance_url", `"https://acme.my.salesforce.com"`}, {"id", `"https://login.salesforce.com/id/00D000000000001EAA/005000000000001AAA"`}},
	}}},
	{"chilkat-expires-on.json", "token-response", []flat{{
		Label: "token-response", Access: "SECRET-access", Refresh: "SECRET-refresh", Type: "Bearer", Expiry: inAnHour,
		Other: [][2]string{{"expires_in", `"3599"`}, {"expires_on", `"1795395268"`}, {"resource", `"https://graph.microsoft.com"`}},
	}}},
	{"chilkat-paypal.json", "token-response", []flat{{
		Label: "token-response", Access: "SECRET-access", Refresh: "SECRET-refresh", Type: "Bearer", Scope: "openid https://uri.paypal.com/services/invoicing", Expiry: inAnHour,
		Other: [][2]string{{"expires_in", "28800"}, {"tokenCreateTimeUtc", "1795366468"}},
	}}},
	{"chilkat-quickbooks.json", "token-response", []flat{{
		Label: "token-response", Access: "SECRET-access", Refresh: "SECRET-refresh", Type: "bearer",
		Other: [][2]string{{"expires_in", "3600"}, {"x_refresh_token_expires_in", "8726400"}, {"realmId", `"4620816365018880000"`}},
	}}},
	{"x-oauth2.json", "x-oauth2", []flat{{
		Label: "x-oauth2", Access: "SECRET-access", Refresh: "SECRET-refresh", Type: "Bearer", Expiry: "2026-11-23T00:54:28.519779432Z",
	}}},
	{"google-authorized-user.json", "google-authorized-user", []flat{{
		Label: "google-authorized-user", Provider: "google", ClientID: "764086051850-example.apps.googleusercontent.com", Secret: "SECRET-client", Refresh: "SECRET-refresh",
		Other: [][2]string{{"quota_project_id", `"acme-prod"`}, {"universe_domain", `"googleapis.com"`}},
	}}},
	{"google-auth.json", "google-auth", []flat{{
		Label: "ann@example.com", Provider: "google", TokenURL: "https://oauth2.googleapis.com/token", ClientID: "1234.apps.googleusercontent.com", Secret: "SECRET-client",
		Access: "SECRET-access", Refresh: "SECRET-refresh", Scope: "https://www.googleapis.com/auth/drive.readonly openid", Account: "ann@example.com", Expiry: "2026-11-23T00:54:28.519779Z",
		Other: [][2]string{{"universe_domain", `"googleapis.com"`}},
	}}},
	{"msal.json", "msal", []flat{
		{
			Label: "ann@example.com app-1", Provider: "microsoft", TokenURL: "https://login.microsoftonline.com/" + tenant + "/oauth2/v2.0/token", ClientID: "app-1", Account: "ann@example.com",
			Access: "SECRET-access-long", Refresh: "SECRET-refresh-1", ID: "SECRET-id", Scope: "Mail.Read User.Read", Type: "Bearer", Expiry: "2026-11-23T01:54:28Z",
		},
		{
			Label: "ann@example.com app-2", Provider: "microsoft", TokenURL: "https://login.microsoftonline.com/" + tenant + "/oauth2/v2.0/token", ClientID: "app-2", Account: "ann@example.com",
			Refresh: "SECRET-refresh-2", Scope: "Calendars.Read",
		},
		{
			Label: "bob@contoso.example", Provider: "microsoft", TokenURL: "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token", ClientID: "app-1", Account: "bob@contoso.example",
			Refresh: "SECRET-refresh-3",
		},
	}},
	{"sf-display.json", "sf", []flat{{
		Label: "ann@acme.example", Provider: "salesforce", TokenURL: "https://acme.my.salesforce.com/services/oauth2/token", ClientID: "PlatformCLI", Account: "ann@acme.example",
		Access: "00D000000000001!SECRET.access", Refresh: "5Aep861SECRETrefresh.tok_en==", Other: [][2]string{{"instance_url", `"https://acme.my.salesforce.com"`}},
	}}},
	{"force-url.txt", "force-url", []flat{{
		Label: "force-url", Provider: "salesforce", TokenURL: "https://acme--dev.sandbox.my.salesforce.com/services/oauth2/token", ClientID: "3MVG9example", Secret: "SECRET123", Refresh: "5Aep861SECRETrefresh.tok_en==",
	}}},
	{"rclone.conf", "rclone", []flat{
		{
			Label: "gdrive", Provider: "google", ClientID: "1234.apps.googleusercontent.com", Secret: "SECRET-client",
			Access: "SECRET-access", Refresh: "SECRET-refresh", Type: "Bearer", Expiry: "2026-11-23T00:54:28.519779Z",
		},
		{Label: "old box", Provider: "box", Access: "SECRET-access-2", Refresh: "SECRET-refresh-2", Expiry: "2014-03-16T13:57:58.955387075Z", Noted: true},
	}},
	{"kubelogin", "kubelogin", []flat{{
		Label: "ann@example.com", Account: "ann@example.com", ClientID: "kubernetes", Refresh: "SECRET-refresh", ID: idToken,
	}}},
	{"exec-credential.json", "exec-credential", []flat{{Label: "exec-credential", Access: "SECRET-access", Expiry: inAnHour, Noted: true}}},
	{"0123abcd_tokens.json", "mcp-remote", []flat{{
		Label: "mcp-remote", ClientID: "registered-client", Secret: "SECRET-client", Access: "SECRET-access", Refresh: "SECRET-refresh", Type: "Bearer", Scope: "mcp:tools",
		Other: [][2]string{{"expires_in", "3600"}},
	}}},
	{"claude-code.json", "claude-code", []flat{
		{
			Label: "claudeAiOauth", Access: "SECRET-access", Refresh: "SECRET-refresh", Scope: "user:inference user:profile", Expiry: "2026-11-23T00:54:28.123Z",
			Other: [][2]string{{"subscriptionType", `"team"`}},
		},
		{
			Label: "linear", ClientID: "mcp-client", Account: "https://mcp.linear.app/mcp", Access: "SECRET-access-2", Refresh: "SECRET-refresh-2", Scope: "read write", Expiry: inAnHour,
			Other: [][2]string{{"issuer", `"https://mcp.linear.app"`}},
		},
	}},
	{"aws-sso.json", "aws-sso", []flat{{
		Label: "https://acme.awsapps.com/start", Account: "https://acme.awsapps.com/start", ClientID: "aws-client", Secret: "SECRET-client",
		Access: "SECRET-access", Refresh: "SECRET-refresh", Expiry: inAnHour, Provider: "aws-sso", TokenURL: "https://oidc.eu-central-1.amazonaws.com/token",
		Other: [][2]string{{"registrationExpiresAt", `"2027-01-01T00:00:00Z"`}},
	}}},
}

// TestReadIncumbent60 covers the import of incumbent feature "#60" and the
// formats beyond it.
func TestReadIncumbent60(t *testing.T) {
	for _, f := range files {
		t.Run(f.file, func(t *testing.T) {
			data := testdata(t, f.file)
			format, err := foreign.Detect(data, "some/where/"+f.file)
			if err != nil || format.Name != f.format {
				t.Fatalf("Detect: %q, %v; want %q", format.Name, err, f.format)
			}
			got, err := foreign.Read(data, foreign.Options{Name: f.file, Beside: beside})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(f.want, flattened(got)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestEveryReadableFormatHasAFile(t *testing.T) {
	have := map[string]bool{}
	for _, f := range files {
		have[f.format] = true
	}
	for _, f := range foreign.Formats() {
		if f.Reads && !have[f.Name] {
			t.Errorf("no file of testdata is of the format %s", f.Name)
		}
		if f.Title == "" || f.Source == "" || strings.ContainsAny(f.Name, " /") {
			t.Errorf("%+v: a title, a source and a name to type are missing", f.Name)
		}
	}
}

func TestDocument(t *testing.T) {
	for _, c := range []struct{ file, label, want string }{
		{"chilkat-expires-on.json", "", `{
  "access_token": "SECRET-access",
  "refresh_token": "SECRET-refresh",
  "token_type": "Bearer",
  "expires_in": "3599",
  "expires_on": "1795395268",
  "resource": "https://graph.microsoft.com"
}
`},
		{"x-oauth2.json", "", `{
  "access_token": "SECRET-access",
  "refresh_token": "SECRET-refresh",
  "token_type": "Bearer",
  "expires_at": 1795395268
}
`},
		{"sf-display.json", "", `{
  "access_token": "00D000000000001!SECRET.access",
  "refresh_token": "5Aep861SECRETrefresh.tok_en==",
  "client_id": "PlatformCLI",
  "token_url": "https://acme.my.salesforce.com/services/oauth2/token",
  "username": "ann@acme.example",
  "instance_url": "https://acme.my.salesforce.com"
}
`},
		{"claude-code.json", "linear", `{
  "access_token": "SECRET-access-2",
  "refresh_token": "SECRET-refresh-2",
  "scope": "read write",
  "client_id": "mcp-client",
  "username": "https://mcp.linear.app/mcp",
  "issuer": "https://mcp.linear.app",
  "expires_at": 1795395268
}
`},
		{"google-authorized-user.json", "", `{
  "refresh_token": "SECRET-refresh",
  "client_id": "764086051850-example.apps.googleusercontent.com",
  "quota_project_id": "acme-prod",
  "universe_domain": "googleapis.com"
}
`},
	} {
		list, err := foreign.Read(testdata(t, c.file), foreign.Options{})
		if err != nil {
			t.Fatal(err)
		}
		g, err := foreign.Choose(list, c.label)
		if err != nil {
			t.Fatal(err)
		}
		got, err := g.Document()
		if diff := cmp.Diff(c.want, string(got)); err != nil || diff != "" {
			t.Errorf("%s: %v, -want +got\n%s", c.file, err, diff)
		}
	}
}

func TestChoose(t *testing.T) {
	list, err := foreign.Read(testdata(t, "msal.json"), foreign.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for label, want := range map[string]string{
		"bob@contoso.example": "SECRET-refresh-3", "BOB": "SECRET-refresh-3", "ann@example.com app-2": "SECRET-refresh-2", "app-2": "SECRET-refresh-2",
		"": "", "ann": "", "nobody": "",
	} {
		g, err := foreign.Choose(list, label)
		if g.RefreshToken.Reveal() != want || (err == nil) != (want != "") {
			t.Errorf("%q: %s, %v", label, g.RefreshToken.Reveal(), err)
		}
		if err != nil && !strings.Contains(hint(err), `"bob@contoso.example"`) {
			t.Errorf("%q: the hint %q does not list the accounts", label, hint(err))
		}
	}
}

// Labels are unique, also where a name looks like a number of ours.
func TestLabelsAreUnique(t *testing.T) {
	list, err := foreign.Read([]byte(`{"mcpOAuth":{
		"a|1":{"accessToken":"t1"}, "a|2":{"accessToken":"t2"}, "a #2|3":{"accessToken":"t3"}, "a|4":{"accessToken":"t4"}}}`), foreign.Options{})
	var got []string
	for _, g := range list {
		got = append(got, g.Label)
	}
	if want := []string{"a", "a #2", "a #2 #2", "a #3"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}

// Times come in the ways that tools write them; what is not understood is kept
// as it is and guessed at by nobody.
func TestTimes(t *testing.T) {
	for _, c := range []struct{ data, want string }{
		{`{"token":"a","token_uri":"https://oauth2.googleapis.com/token","expiry":"2026-11-23T00:54:28.5"}`, "2026-11-23T00:54:28.5Z"}, // old google-auth: UTC without saying so
		{`{"token":"a","token_uri":"https://oauth2.googleapis.com/token","expiry":null}`, ""},
		{`{"accessToken":"a","startUrl":"u","expiresAt":"2026-11-23T00:54:28Z"}`, inAnHour},
		{`{"accessToken":"a","startUrl":"u","expiresAt":"soon"}`, ""},
		{`{"access_token":"a","token_type":"b","expiry":"0001-01-01T00:00:00Z"}`, ""}, // Go's zero time
		{`{"access_token":"a","expires_in":3600}`, ""},                                // nobody knows since when
		{`{"access_token":"a","expires_in":3600,"issued_at":"1795391668000"}`, inAnHour},
		{`{"access_token":"a","expires_on":1795395268}`, inAnHour},
		{`{"access_token":"a","expires_at":1795395268.25}`, "2026-11-23T00:54:28.25Z"},
		{`{"claudeAiOauth":{"accessToken":"a","expiresAt":1795395268000}}`, inAnHour},
		{`{"claudeAiOauth":{"accessToken":"a","expiresAt":1795395268}}`, inAnHour},
		{`{"claudeAiOauth":{"accessToken":"a","expiresAt":1795395268000000}}`, inAnHour},
		{`{"claudeAiOauth":{"accessToken":"a","expiresAt":0}}`, ""},
		{`{"claudeAiOauth":{"accessToken":"a","expiresAt":-1}}`, ""},
		{`{"claudeAiOauth":{"accessToken":"a","expiresAt":1e300}}`, ""},
		{`{"kind":"ExecCredential","status":{"token":"a","expirationTimestamp":"2026-11-23T02:54:28+02:00"}}`, inAnHour},
	} {
		list, err := foreign.Read([]byte(c.data), foreign.Options{})
		if err != nil {
			t.Errorf("%s: %v", c.data, err)
			continue
		}
		if got := flatten(list[0]).Expiry; got != c.want {
			t.Errorf("%s: %q, want %q", c.data, got, c.want)
		}
	}
}

// The sf CLI shows the URL with one command and the access token with another:
// a text in place of a token is none.
func TestReadRedactedAccessToken(t *testing.T) {
	list, err := foreign.Read([]byte(`{"result":{"sfdxAuthUrl":"force://a::SECRET@acme.my.salesforce.com","accessToken":"[REDACTED] Use 'sf org auth show-access-token' to view"}}`), foreign.Options{})
	if err != nil || !list[0].AccessToken.IsZero() || list[0].RefreshToken.Reveal() != mark {
		t.Error(flattened(list), err)
	}
}

func TestSealed(t *testing.T) {
	list, err := foreign.Read(testdata(t, "force-url.txt"), foreign.Options{})
	if err != nil {
		t.Fatal(err)
	}
	doc, _ := list[0].Document()
	sealed, err := list[0].Sealed()
	if err != nil || bytes.Contains(doc, []byte("SECRET123")) || !bytes.Contains(sealed, []byte(`"client_secret": "SECRET123"`)) {
		t.Errorf("%v\n%s\n%s", err, doc, sealed)
	}
}

func hint(err error) string {
	if h, ok := err.(interface{ Hint() string }); ok {
		return h.Hint()
	}
	return ""
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct{ file, data, says, do string }{
		"encrypted by the sf CLI":   {"ann@acme.example.json", string(testdata(t, "sf-encrypted.json")), "encrypted by the sf CLI", "sf org auth show-sfdx-auth-url --target-org ann@acme.example --json"},
		"older sf CLI":              {"a.json", string(testdata(t, "sf-encrypted.json")), "encrypted", "sf org display --verbose --json"},
		"redacted by the sf CLI":    {"org.json", string(testdata(t, "sf-redacted.json")), "left out by the sf CLI", "sf org auth show-sfdx-auth-url --target-org ann@acme.example"},
		"a hostile user name":       {"a.json", `{"username":"a; rm -rf /","instanceUrl":"x","refreshToken":"0c1d2e3f4a5b:00112233445566778899aabbccddeeff"}`, "encrypted", "--target-org USERNAME"},
		"service account":           {"key.json", `{"type":"service_account","private_key":"SECRET"}`, "private key", ""},
		"workload identity":         {"wif.json", `{"type":"external_account","credential_source":{}}`, "holds no grant", ""},
		"client registration":       {"client_secret.json", `{"installed":{"client_id":"a","client_secret":"SECRET"}}`, "registration of a client", ""},
		"mcp-remote client":         {"ab_client_info.json", string(testdata(t, "0123abcd_client_info.json")), "registration", "_tokens.json"},
		"GitHub CLI":                {"hosts.yml", string(testdata(t, "hosts.yml")), "nothing to keep alive", "gh auth token"},
		"GitHub CLI with a keyring": {"a", "github.com:\r\n    user: ann\r\n    git_protocol: https\r\n", "cannot be renewed", "evergrant login github"},
		"other YAML":                {"b.yml", "a.example:\n    users: 1\n", "no credential file", ""},
		"encrypted rclone.conf":     {"rclone.conf", "# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nSECRETbase64==\n", "encrypted", "rclone config show"},
		"empty":                     {"a.json", "", "empty", ""},
		"cut":                       {"a.json", `{"access_token":"SECRET","refresh_tok`, "line 1", ""},
		"array":                     {"a.json", `["SECRET"]`, "cannot be read", ""},
		"twin refresh token":        {"a.json", `{"access_token":"SECRET","refresh_token":"SECRET1","refresh_token":"SECRET2"}`, "occurs twice: refresh_token", ""},
		"twin in depth":             {"a.json", `{"claudeAiOauth":{"accessToken":"SECRET1","accessToken":"SECRET2"}}`, "occurs twice: accessToken", ""},
		"twin account":              {"a.json", `{"RefreshToken":{"SECRET@example.com":{},"SECRET@example.com":{}}}`, "occurs twice: which", ""},
		"twin rclone section":       {"rclone.conf", "[a]\ntoken = {}\n[a]\ntoken = {}\n", "section of the file occurs twice", ""},
		"twin rclone token":         {"rclone.conf", "[a]\ntoken = {}\ntoken = {}\n", "option of a section occurs twice", ""},
		"cut rclone token":          {"rclone.conf", "[a]\ntoken = {\"access_token\":\"SECRET\n", "token of a remote", "reconnect"},
		"broken rclone token":       {"rclone.conf", "[a]\ntoken = {\"SECRET\":{\"SECRET\":SECRET}}\n", "token of a remote", "reconnect"},
		"token is a number":         {"a.json", `{"access_token":12345}`, "access_token is no text", ""},
		"token is an object":        {"a.json", `{"refresh_token":{"SECRET":1},"access_token":"a"}`, "refresh_token is no text", ""},
		"no token":                  {"a.json", `{"access_token":"","refresh_token":null}`, "holds no token", ""},
		"no token in rclone":        {"rclone.conf", "[a]\ntype = drive\ntoken = {\"access_token\":\"\"}\n", "holds no token", ""},
		"unknown JSON":              {"a.json", `{"password":"SECRET"}`, "no credential file", "import --list"},
		"unknown text":              {"a.txt", "SECRET\n", "no credential file", "import --list"},
		"force URL without client":  {"a.txt", "force://SECRET@acme.my.salesforce.com", "not of the form", "one line"},
		"force URL with a path":     {"a.txt", "force://a:b:SECRET@acme.my.salesforce.com/x", "not of the form", ""},
		"force URL with more lines": {"a.txt", "force://a:b:SECRET@acme.example\nforce://a:b:SECRET@acme.example", "not of the form", ""},
		"too large":                 {"a.json", `{"access_token":"` + strings.Repeat("a", 17<<20) + `"}`, "16 MiB", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := foreign.Read([]byte(c.data), foreign.Options{Name: "dir/" + c.file})
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(hint(err), c.do) || hint(err) == "" {
				t.Fatalf("got %v\nhint %q\nwant %q and %q", err, hint(err), c.says, c.do)
			}
			if strings.Contains(err.Error()+hint(err), mark) {
				t.Errorf("a secret is in %v", err)
			}
		})
	}
}

func TestReadAsAnotherFormat(t *testing.T) {
	list, err := foreign.Read(testdata(t, "x-oauth2.json"), foreign.Options{Format: "token-response"})
	if err != nil || len(list) != 1 {
		t.Error(list, err)
	}
	for _, name := range []string{"msal", "rclone", "force-url", "nonsense", "exec-credential", "sf", "claude-code"} {
		if list, err := foreign.Read(testdata(t, "x-oauth2.json"), foreign.Options{Format: name}); err == nil {
			t.Errorf("%s: %v", name, list)
		}
	}
}

// PowerShell's > writes UTF-16, and other Windows tools a byte order mark.
func TestReadWindowsEncodings(t *testing.T) {
	for _, file := range []string{"force-url.txt", "rclone.conf", "sf-display.json", "token-response.json"} {
		plain := testdata(t, file)
		little, big := []byte("\xff\xfe"), []byte("\xfe\xff")
		for _, c := range string(plain) {
			little, big = append(little, byte(c), 0), append(big, 0, byte(c))
		}
		want, err := foreign.Read(plain, foreign.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{
			"UTF-8 with mark": append([]byte("\xef\xbb\xbf"), plain...), "UTF-16LE": little, "UTF-16BE": big,
			"CRLF": bytes.ReplaceAll(plain, []byte("\n"), []byte("\r\n")),
		} {
			got, err := foreign.Read(data, foreign.Options{})
			if diff := cmp.Diff(flattened(want), flattened(got)); err != nil || diff != "" {
				t.Errorf("%s %s: %v %s", file, name, err, diff)
			}
		}
	}
}

// The client beside mcp-remote's tokens may be missing, but not be broken.
func TestReadBeside(t *testing.T) {
	data := testdata(t, "0123abcd_tokens.json")
	list, err := foreign.Read(data, foreign.Options{Name: "ffff_tokens.json", Beside: beside})
	if err != nil || list[0].ClientID != "" {
		t.Error(list, err)
	}
	_, err = foreign.Read(data, foreign.Options{Name: "ffff_tokens.json", Beside: func(string) ([]byte, error) { return []byte(`{"client_id":`), nil }})
	if err == nil || !strings.Contains(err.Error(), "beside") {
		t.Error(err)
	}
}

func TestGrantsArePrintedWithoutSecrets(t *testing.T) {
	var b bytes.Buffer
	for _, f := range files {
		list, err := foreign.Read(testdata(t, f.file), foreign.Options{Name: f.file})
		if err != nil {
			t.Fatal(err)
		}
		for _, verb := range []string{"%v", "%+v", "%#v"} {
			b.WriteString(format(verb, list))
		}
	}
	if strings.Contains(b.String(), mark) {
		t.Error("a secret is printed")
	}
}

func manyAccounts(n int) []byte {
	b := []byte(`{"RefreshToken":{`)
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `"`+oauthName(i)+`":{"secret":"r","client_id":"c"}`...)
	}
	return append(b, `},"AccessToken":{}}`...)
}

// A cache of 16 MiB must not cost minutes: nothing in it is quadratic.
func TestManyAccounts(t *testing.T) {
	start := time.Now()
	if _, err := foreign.Read(manyAccounts(100_000), foreign.Options{}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
}

// TestAWSRegion: the endpoint is made of the region that the file says, and of
// nothing else that it may say there.
func TestAWSRegion(t *testing.T) {
	for region, want := range map[string]string{
		"eu-central-1": "https://oidc.eu-central-1.amazonaws.com/token", "us-gov-west-1": "https://oidc.us-gov-west-1.amazonaws.com/token",
		"cn-north-1": "https://oidc.cn-north-1.amazonaws.com.cn/token", "evil.example/?eu-central-1": "", "eu-central-1.evil.example": "", "": "",
	} {
		file := `{"accessToken":"a","expiresAt":"2026-11-23T00:54:28Z","refreshToken":"r","clientId":"c","clientSecret":"s","region":"` + region + `"}`
		list, err := foreign.Read([]byte(file), foreign.Options{})
		if err != nil || list[0].TokenURL != want || (list[0].Note != "") != (want == "") {
			t.Errorf("region %q: %v, %v", region, list, err)
		}
	}
	list, err := foreign.Read([]byte(`{"accessToken":"a","expiresAt":"2026-11-23T00:54:28Z","region":"eu-central-1"}`), foreign.Options{})
	if err != nil || !strings.Contains(list[0].Note, "sso-session") {
		t.Errorf("without a refresh token: %v, %v", list, err)
	}
}
