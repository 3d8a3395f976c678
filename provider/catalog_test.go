package provider_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/provider"
)

func TestGet(t *testing.T) {
	for name, want := range map[string]string{"salesforce": "salesforce", "SFDC": "salesforce", " Twitter ": "x", "azure-ad": "microsoft", "oauth2": "generic"} {
		p, err := provider.Get(name)
		if err != nil || p.Name != want {
			t.Errorf("Get(%q) = %v, %v, want %s", name, p, err, want)
		}
	}
	for name, near := range map[string]string{"salesfroce": "salesforce", "googel": "google", "git": "github", "sales": "salesforce"} {
		_, err := provider.Get(name)
		unknown, ok := errors.AsType[*provider.UnknownError](err)
		if !ok || !slices.Contains(unknown.Near, near) {
			t.Errorf("Get(%q): %v, want a hint at %s", name, err, near)
		}
	}
	for _, name := range []string{"", "../salesforce", "qqqqqqqqqqqqq", "salesforce.json", strings.Repeat("a", 1000)} {
		if p, err := provider.Get(name); err == nil {
			t.Errorf("Get(%q) found %s", name, p.Name)
		}
	}
}

// TestGetFresh: what a caller does to an entry stays with the caller.
func TestGetFresh(t *testing.T) {
	get(t, "salesforce").Vars["host"] = provider.Var{}
	if get(t, "salesforce").Vars["host"].Default == "" {
		t.Error("entries are shared between callers")
	}
}

func TestSearch(t *testing.T) {
	for words, want := range map[string]string{"salesforce": "salesforce", "jira": "atlassian", "throttling": "zoho", "office365": "microsoft", "intuit quickbooks": "quickbooks"} {
		found, err := provider.Search(words)
		if err != nil || len(found) == 0 || found[0].Name != want {
			t.Errorf("Search(%q) begins with %v, %v, want %s", words, found, err, want)
		}
	}
	if found, _ := provider.Search("no such words anywhere"); len(found) != 0 {
		t.Errorf("found %d entries for nonsense", len(found))
	}
	if found, _ := provider.Search(""); len(found) != len(provider.Names()) {
		t.Errorf("no words find %d of %d entries", len(found), len(provider.Names()))
	}
}

func TestForHost(t *testing.T) {
	for host, want := range map[string]string{
		"login.salesforce.com":      "salesforce https://login.salesforce.com/services/oauth2/token",
		"TEST.salesforce.com":       "salesforce https://test.salesforce.com/services/oauth2/token",
		"www.zohoapis.eu":           "zoho https://accounts.zoho.eu/oauth/v2/token",
		"account-d.docusign.com":    "docusign https://account-d.docusign.com/oauth/token",
		"api.figma.com":             "figma https://api.figma.com/v1/oauth/refresh",
		"oauth2.googleapis.com":     "google https://oauth2.googleapis.com/token",
		"acme.my.salesforce.com":    "", // exact hosts only
		"xlogin.salesforce.com":     "",
		"login.salesforce.com.evil": "",
		"login.salesforce.com:443":  "",
		"":                          "",
	} {
		p, tokenURL, ok := provider.ForHost(host)
		got := ""
		if ok {
			got = p.Name + " " + tokenURL
		}
		if got != want {
			t.Errorf("ForHost(%q) = %q, want %q", host, got, want)
		}
	}
}

func TestForTokenURL(t *testing.T) {
	for url, want := range map[string]string{
		"https://login.salesforce.com/services/oauth2/token":                "salesforce",
		"https://test.salesforce.com/services/oauth2/token":                 "salesforce",
		"https://acme--dev.sandbox.my.salesforce.com/services/oauth2/token": "salesforce",
		"https://acme.my.site.com/fineapps/services/oauth2/token":           "salesforce",
		"https://LOGIN.microsoftonline.com:443/common/oauth2/v2.0/token":    "microsoft",
		"https://acme.eu.auth0.com/oauth/token":                             "auth0",
		"https://open.tiktokapis.com/v2/oauth/token":                        "tiktok",
		"https://open.tiktokapis.com/v2/oauth/token/":                       "tiktok",
		"https://acme.zendesk.com/oauth/tokens":                             "zendesk",
		"https://api.figma.com/v1/oauth/refresh":                            "figma",
		"https://api.amazon.com/auth/o2/token":                              "", // shared by two entries
		"http://login.salesforce.com/services/oauth2/token":                 "",
		"https://u:p@login.salesforce.com/services/oauth2/token":            "",
		"https://login.salesforce.com/services/oauth2/token?x=1":            "",
		"https://login.salesforce.com/services/oauth2/authorize":            "",
		"https://evil.example/x.my.salesforce.com/services/oauth2/token":    "",
		"https://evil.example#.my.salesforce.com/services/oauth2/token":     "",
		"https://my.salesforce.com/services/oauth2/token":                   "",
		"https://evil.example%2f.my.salesforce.com/services/oauth2/token":   "",
		"https://login.microsoftonline.com/a/b/oauth2/v2.0/token":           "",
		"https://login.microsoftonline.com/%2e%2e/oauth2/v2.0/token":        "",
		"https://example.com/oauth2/token":                                  "",
		"::":                                                                "",
	} {
		p, ok := provider.ForTokenURL(url)
		got := ""
		if ok {
			got = p.Name
		}
		if got != want {
			t.Errorf("ForTokenURL(%q) = %q, want %q", url, got, want)
		}
	}
}

// TestOwnURL: every entry recognises the token URL it builds, unless it shares
// it or its host can be anything.
func TestOwnURL(t *testing.T) {
	free := []string{"amazon", "amazon-sp", "auth0", "okta", "cognito", "workday", "duende", "curity", "ory-hydra", "keycloak", "asgardeo"}
	all, err := provider.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		vars := map[string]string{}
		for name, v := range p.Vars {
			if vars[name] = map[string]string{"region": "eu-central-1"}[name]; v.Default == "" && vars[name] == "" {
				vars[name] = "acme"
			}
		}
		u, err := p.TokenURL(vars)
		if p.Endpoints.Token == "" || slices.Contains(free, p.Name) {
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", p.Name, err)
			continue
		}
		if q, ok := provider.ForTokenURL(u); !ok || q.Name != p.Name {
			t.Errorf("%s builds %s, which finds %v", p.Name, u, q)
		}
	}
}

func TestTokenURL(t *testing.T) {
	for _, tt := range []struct {
		provider string
		vars     map[string]string
		want     string // URL, or a part of the error after "!"
	}{
		{"salesforce", nil, "https://login.salesforce.com/services/oauth2/token"},
		{"salesforce", map[string]string{"host": "acme.my.salesforce.com"}, "https://acme.my.salesforce.com/services/oauth2/token"},
		{"salesforce", map[string]string{"host": "acme--x.sandbox.my.salesforce.com"}, "https://acme--x.sandbox.my.salesforce.com/services/oauth2/token"},
		{"salesforce", map[string]string{"host": "evil.example"}, `!"host"`},
		{"salesforce", map[string]string{"host": "evil.example/.my.salesforce.com"}, `!"host"`},
		{"salesforce", map[string]string{"host": "acme.lightning.force.com"}, `!My Domain`},
		{"shopify", nil, `!the part before .myshopify.com`},
		{"shopify", map[string]string{"shop": "acme"}, "https://acme.myshopify.com/admin/oauth/access_token"},
		{"shopify", map[string]string{"shop": "evil.example/a?b="}, `!"shop"`},
		{"shopify", map[string]string{"shop": "a@b"}, `!"shop"`},
		{"shopify", map[string]string{"shop": ".."}, `!"shop"`},
		{"microsoft", nil, "https://login.microsoftonline.com/common/oauth2/v2.0/token"},
		{"generic", nil, "!give the token URL"},
	} {
		got, err := get(t, tt.provider).TokenURL(tt.vars)
		if text, bad := strings.CutPrefix(tt.want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s %v: %q, %v, want an error with %q", tt.provider, tt.vars, got, err, text)
			}
		} else if err != nil || got != tt.want {
			t.Errorf("%s %v: %q, %v, want %q", tt.provider, tt.vars, got, err, tt.want)
		}
	}
	_, err := get(t, "shopify").TokenURL(nil)
	if v, ok := errors.AsType[*provider.VarError](err); !ok || v.Var != "shop" {
		t.Errorf("a missing variable gives %v", err)
	}
}

// TestParams: what a login sends, filled in. A parameter is escaped on its way
// and may hold more than a place in a URL.
func TestParams(t *testing.T) {
	p := &provider.Provider{Name: "acme", Vars: map[string]provider.Var{
		"app": {Hint: "the app"}, "beta": {Hint: "a draft", Optional: true, Pattern: "beta"}, "api": {Hint: "an API", Default: "https://api.example/?x=1"},
	}}
	for _, tt := range []struct {
		template string
		vars     map[string]string
		want     string // after "!" a part of the error; "-" if the parameter is left out
	}{
		{"plain", nil, "plain"},
		{"id-{app}", map[string]string{"app": "a b/c"}, "id-a b/c"},
		{"{api}", nil, "https://api.example/?x=1"},
		{"{app}", nil, "!needs a value for \"app\": the app"},
		{"{app}", map[string]string{"app": "a\nb"}, "!can't use"},
		{"{beta}", nil, "-"},
		{"{beta}", map[string]string{"beta": "beta"}, "beta"},
		{"{beta}", map[string]string{"beta": "alpha"}, "!can't use \"alpha\""},
	} {
		got, err := p.Params(map[string]string{"x": tt.template}, tt.vars)
		value, there := got["x"]
		if text, bad := strings.CutPrefix(tt.want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s %v: %v, want an error with %q", tt.template, tt.vars, err, text)
			}
		} else if err != nil || there != (tt.want != "-") || there && value != tt.want {
			t.Errorf("%s %v: %q, %v, want %q", tt.template, tt.vars, got, err, tt.want)
		}
	}
}

// TestRotation pins the claims a client may act upon: each must rest on the
// provider's own page, and everything else is the cautious case.
func TestRotation(t *testing.T) {
	if (*provider.Provider)(nil).Rotation() != (provider.Rotation{}) {
		t.Error("an unknown provider makes a promise")
	}
	want := map[string]provider.Rotation{
		"linkedin":  {Never: true, OldStaysValid: true},
		"zoho":      {Never: true, OldStaysValid: true},
		"microsoft": {OldStaysValid: true},
		"xero":      {Grace: 30 * time.Minute},
		"atlassian": {Grace: 10 * time.Minute},
	}
	all, err := provider.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if got := p.Rotation(); got != want[p.Name] {
			t.Errorf("%s: %+v, want %+v", p.Name, got, want[p.Name])
		}
	}
}

func TestAccess(t *testing.T) {
	if got := get(t, "salesforce").AccessLifetime(); got != 2*time.Hour {
		t.Errorf("salesforce: default lifetime %v", got)
	}
	if !get(t, "github").KillsAccessToken() || get(t, "google").KillsAccessToken() {
		t.Error("GitHub ends the old access token at a refresh, Google doesn't")
	}
	if get(t, "intercom").IssuesRefreshTokens() || !get(t, "google").IssuesRefreshTokens() {
		t.Error("Intercom issues no refresh tokens, Google does")
	}
	var unknown *provider.Provider
	if unknown.AccessLifetime() != 0 || unknown.KillsAccessToken() || !unknown.IssuesRefreshTokens() || unknown.Verified("refresh") {
		t.Error("the unknown provider is not the cautious case")
	}
}

// TestFacts: each fact has a source or is marked as general knowledge, and
// verified ones have a page and a date.
func TestFacts(t *testing.T) {
	all, err := provider.All()
	if err != nil {
		t.Fatal(err)
	}
	verified := 0
	for _, p := range all {
		for _, f := range p.Facts() {
			if f.Value == "" || f.Field == "" {
				t.Errorf("%s: empty fact %+v", p.Name, f)
			}
			if f.Verified {
				verified++
				if f.Source.URL == "" || f.Source.Date == "" {
					t.Errorf("%s: %s is verified by %+v", p.Name, f.Field, f.Source)
				}
			}
		}
	}
	if verified < 60 {
		t.Errorf("%d verified facts, want 60 at least", verified)
	}
	for field, want := range map[string]bool{"refresh.rotates": false, "access.lifetime": false, "endpoints.revoke": false} {
		if got := get(t, "google").Verified(field); got != want {
			t.Errorf("google %s: verified %t, want %t", field, got, want)
		}
	}
}

func TestVerified(t *testing.T) {
	for _, tt := range []struct {
		url, unverified string
		want            bool
	}{
		{"https://acme.example/a", "", true},
		{"https://docs.acme.example/a", "", true},
		{"https://github.example/acme/docs/x", "", true},
		{"https://github.example/acmeevil/x", "", false},
		{"https://notacme.example/a", "", false},
		{"http://acme.example/a", "", false},
		{"", "", false},
		{"https://acme.example/a", "refresh.grace", false},
		{"https://acme.example/a", "refresh", false},
		{"https://acme.example/a", "refresh.rotates", true},
	} {
		p := &provider.Provider{Name: "a", Domains: []string{"acme.example", "github.example/acme"},
			Refresh:    provider.Refresh{Grace: provider.Duration(time.Minute)},
			Sources:    []provider.Source{{Name: "whole entry", URL: "https://acme.example/"}, {Name: "s", URL: tt.url, Fields: []string{"refresh.grace"}}},
			Unverified: []string{tt.unverified}}
		if got := p.Verified("refresh.grace"); got != tt.want || (p.Rotation().Grace > 0) != tt.want {
			t.Errorf("source %q, unverified %q: verified %t, grace %v, want %t", tt.url, tt.unverified, got, p.Rotation().Grace, tt.want)
		}
		if p.Verified("refresh.reuse") {
			t.Error("a source verifies what it does not name")
		}
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"2h": 2 * time.Hour, "90d": 90 * 24 * time.Hour, "1d12h": 36 * time.Hour, "1h30m": 90 * time.Minute, "30s": 30 * time.Second, "10m": 10 * time.Minute} {
		var d provider.Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want || d.String() != text {
			t.Errorf("%q reads as %v (%v)", text, d, err)
		}
	}
	for _, text := range []string{"", "2", "-2h", "d", "1.5d", "-1d", "99999999d", "100000d3000000h", "1d-2h", "x"} {
		var d provider.Duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q reads as %v", text, d)
		}
	}
}
