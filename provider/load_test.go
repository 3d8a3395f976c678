package provider_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/evergrant/evergrant/provider"
)

// files makes a file system of name, content pairs.
func files(pairs ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		fsys[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return fsys
}

const acme = `{
  "name": "acme", "title": "Acme Identity", "aliases": ["acme-sso"],
  "endpoints": {"token": "https://sso.acme.example/{realm}/token"},
  "vars": {"realm": {"hint": "the realm", "default": "main"}},
  "hosts": [{"host": "sso.acme.example"}],
  "refresh": {"rotates": "always", "grace": "1m", "grace_reply": "same", "reuse": "fails"},
  "errors": [{"id": "gone", "error": "acme_gone", "outcome": "dead", "says": "It is gone.", "do": "Log in again."}]
}`

func TestLoad(t *testing.T) {
	c, err := provider.LoadFS(files("acme.json", acme, "notes.txt", "not an entry"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"acme", "ACME-SSO"} {
		if p, err := c.Get(name); err != nil || p.Title != "Acme Identity" {
			t.Errorf("Get(%q) = %v, %v", name, p, err)
		}
	}
	p, tokenURL, ok := c.ForHost("sso.acme.example")
	if !ok || p.Name != "acme" || tokenURL != "https://sso.acme.example/main/token" {
		t.Errorf("ForHost = %v, %q, %t", p, tokenURL, ok)
	}
	if p, ok := c.ForTokenURL("https://sso.acme.example/other/token"); !ok || p.Name != "acme" {
		t.Errorf("ForTokenURL = %v, %t", p, ok)
	}
	want := provider.Rotation{Grace: time.Minute, GraceReply: "same", ReuseOnlyFails: true}
	if got := p.Rotation(); got != want {
		t.Errorf("the user's own word: %+v, want %+v", got, want)
	}
	if rule, ok := provider.Match(p, 400, "acme_gone", ""); !ok || rule.ID != "gone" {
		t.Errorf("the user's error row: %+v, %t", rule, ok)
	}
	if !slices.Contains(c.Names(), "acme") || slices.Contains(provider.Names(), "acme") {
		t.Error("the entry must be in the loaded catalog and in no other")
	}
	if p, err := c.Get("salesforce"); err != nil || len(p.Errors) == 0 {
		t.Errorf("the built-in entries stay: %v, %v", p, err)
	}
	if _, err := c.Get("acmee"); err == nil || !strings.Contains(err.Error(), "acme") {
		t.Errorf("nearest names leave the user's out: %v", err)
	}
}

// TestLoadOver lays a file over a built-in entry.
func TestLoadOver(t *testing.T) {
	c, err := provider.LoadFS(files("google.json", `{
	  "name": "google",
	  "access": {"default_lifetime": "30m"},
	  "refresh": {"rotates": "no", "idle": "10d"},
	  "unverified": ["refresh.idle"],
	  "hosts": [{"host": "oauth.internal.example"}],
	  "errors": [{"id": "deleted-client", "error": "deleted_client", "outcome": "blocked", "says": "Ours.", "do": "Wait."}]
	}`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Get("gmail")
	if err != nil {
		t.Fatal(err)
	}
	builtin := get(t, "google")
	if p.Title != builtin.Title || p.Access.Lifetime != builtin.Access.Lifetime || p.AccessLifetime() != 30*time.Minute {
		t.Errorf("members do not merge: %q %v %v", p.Title, p.Access.Lifetime, p.AccessLifetime())
	}
	if !p.Rotation().Never || builtin.Rotation().Never {
		t.Error("the user may say that Google does not rotate; the catalog may not")
	}
	if p.Verified("refresh.idle") || !p.Verified("access.default_lifetime") {
		t.Error("the user's own doubts and certainties are lost")
	}
	if rule, _ := provider.Match(p, 400, "deleted_client", ""); rule.Says != "Ours." || len(p.Errors) != len(builtin.Errors) {
		t.Errorf("the row with the same id is not replaced: %+v", rule)
	}
	if _, _, ok := c.ForHost("oauth2.googleapis.com"); ok {
		t.Error("a list of hosts replaces the one before")
	}
	for _, f := range p.Facts() {
		if f.Field == "refresh.rotates" && (!f.Verified || f.Source.Name != "your file google.json") {
			t.Errorf("the fact does not name the user's file: %+v", f)
		}
	}
}

// TestLoadVerifies: what the user states counts, whatever the catalog doubts.
func TestLoadVerifies(t *testing.T) {
	if get(t, "fitbit").Rotation().Grace != 0 {
		t.Fatal("the catalog vouches for a grace it has not verified")
	}
	c, err := provider.LoadFS(files("f.json", `{"name": "fitbit", "refresh": {"grace": "90s"}}`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Get("fitbit")
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Rotation(); got.Grace != 90*time.Second || got.GraceReply != "" {
		t.Errorf("rotation %+v, want the user's grace alone", got)
	}
}

// TestLoadAnchored: a template that fits half the web recognises nothing.
func TestLoadAnchored(t *testing.T) {
	for token, want := range map[string]bool{"https://{x}.com/token": false, "https://{x}/token": false, "https://sso.{x}/token": false, "https://{x}.acme.com/token": true} {
		c, err := provider.LoadFS(files("a.json", `{"name": "a", "title": "A", "vars": {"x": {"hint": "x"}}, "endpoints": {"token": "`+token+`"}}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := c.ForTokenURL("https://sso.acme.com/token"); ok != want {
			t.Errorf("%s recognises sso.acme.com: %t, want %t", token, ok, want)
		}
	}
}

func TestLoadErrors(t *testing.T) {
	entry := func(members string) string { return `{"name": "acme", "title": "Acme", ` + members + `}` }
	for _, tt := range []struct{ want, content string }{
		{"unknown field", entry(`"refesh": {}`)},
		{"unknown field", entry(`"refresh": {"rotate": "no"}`)},
		{`name ""`, `{}`},
		{`name "../x"`, `{"name": "../x"}`},
		{"title: missing", `{"name": "acme"}`},
		{"want https", entry(`"endpoints": {"token": "http://sso.acme.example/token"}`)},
		{"not in vars", entry(`"endpoints": {"token": "https://{x}.acme.example/token"}`)},
		{"side by side", entry(`"vars": {"x": {"hint": "x"}, "y": {"hint": "y"}}, "endpoints": {"token": "https://{x}{y}.acme.example/token"}`)},
		{"not a URL template", entry(`"endpoints": {"token": "https://u:p@acme.example/token"}`)},
		{"refresh.rotates", entry(`"refresh": {"rotates": "never"}`)},
		{"reading duration", entry(`"refresh": {"idle": "60 days"}`)},
		{"20 years", entry(`"access": {"lifetime": "90000d"}`)},
		{"longer than 30 days", entry(`"refresh": {"grace": "31d"}`)},
		{"outcome", entry(`"errors": [{"id": "a", "error": "a", "outcome": "gone", "says": "a", "do": "b"}]`)},
		{"never comes with a 5xx", entry(`"errors": [{"id": "a", "error": "a", "status": 503, "outcome": "dead", "says": "a", "do": "b"}]`)},
		{"the provider's own word", entry(`"errors": [{"id": "a", "status": 400, "outcome": "dead", "says": "a", "do": "b"}]`)},
		{"matches every answer", entry(`"errors": [{"id": "a", "outcome": "busy", "says": "a", "do": "b"}]`)},
		{"says and do", entry(`"errors": [{"id": "a", "error": "a", "outcome": "busy"}]`)},
		{"an id of its own", entry(`"errors": [{"id": "a", "error": "a", "outcome": "busy", "says": "a", "do": "b"}, {"id": "a", "error": "b", "outcome": "busy", "says": "a", "do": "b"}]`)},
		{"belongs to the built-in entry salesforce", entry(`"aliases": ["sfdc"]`)},
		{"belongs to the built-in entry salesforce", entry(`"hosts": [{"host": "login.salesforce.com"}]`)},
		{"whole host name", entry(`"hosts": [{"host": "Login.acme.example"}]`)},
		{"login.params: app: {x} is not in vars", entry(`"login": {"params": {"app": "{x}"}}`)},
		{"login.omit", entry(`"login": {"omit": ["state"]}`)},
		{"is optional", entry(`"vars": {"x": {"hint": "x", "optional": true}}, "endpoints": {"token": "https://{x}.acme.example/token"}`)},
		{"default does not fit there", entry(`"vars": {"x": {"hint": "x", "default": "a/b"}}, "endpoints": {"token": "https://{x}.acme.example/token"}`)},
		{"a refresh has no variables", entry(`"vars": {"x": {"hint": "x"}}, "request": {"params": {"app": "{x}"}}`)},
		{"answer.members", entry(`"answer": {"members": {"acces_token": "token"}}`)},
		{"something after", entry(`"pkce": "yes"`) + `{}`},
		{"EOF", ``},
	} {
		_, err := provider.LoadFS(files("acme.json", tt.content))
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "acme") {
			t.Errorf("%s: %v, want %q and the name", tt.content, err, tt.want)
		}
	}
	if _, err := provider.LoadFS(files("a.json", acme, "b.json", acme)); err == nil || !strings.Contains(err.Error(), "taken by entry acme") {
		t.Errorf("one name in two files: %v", err)
	}
	if _, err := provider.LoadFS(files("a.json", `{"name":"a"}`, "b.json", `{"name":"b"}`)); err == nil || strings.Count(err.Error(), "title") != 2 {
		t.Errorf("not every problem is reported: %v", err)
	}
	if _, err := provider.LoadFS(files("big.json", strings.Repeat(" ", 2<<20))); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a file of 2 MiB: %v", err)
	}
}

// TestLoadLocal: a server on this machine may do without https, so that a
// simulated one can have an entry; it is not recognised by its URL.
func TestLoadLocal(t *testing.T) {
	c, err := provider.LoadFS(files("sim.json", `{"name": "sim", "title": "Simulator", "endpoints": {"token": "http://127.0.0.1:8931/token"}}`))
	if err != nil {
		t.Fatal(err)
	}
	p, _ := c.Get("sim")
	if u, err := p.TokenURL(nil); err != nil || u != "http://127.0.0.1:8931/token" {
		t.Errorf("TokenURL = %q, %v", u, err)
	}
}

func TestLoadPath(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "acme.json")
	if err := os.WriteFile(file, []byte(acme), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{folder, file} {
		if c, err := provider.Load(path); err != nil {
			t.Error(err)
		} else if _, err := c.Get("acme"); err != nil {
			t.Error(err)
		}
	}
	if _, err := provider.Load(filepath.Join(folder, "none.json")); err == nil {
		t.Error("a missing file is no error")
	}
}

// FuzzLoad: no file breaks the reader, and what it accepts keeps the promises.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(acme))
	entries, err := os.ReadDir("data")
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range entries[:12] {
		raw, err := os.ReadFile(filepath.Join("data", e.Name()))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := provider.LoadFS(fstest.MapFS{"x.json": &fstest.MapFile{Data: raw}})
		if err != nil {
			return
		}
		all, err := c.All()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range all {
			p.Facts()
			u, err := p.TokenURL(map[string]string{"host": "a/b", "tenant": "x y", "realm": "r?q"})
			if err == nil && strings.ContainsAny(u, " {}") {
				t.Errorf("token URL %q", u)
			}
			if rule, ok := provider.Match(p, 503, "invalid_grant", "expired"); ok && rule.Outcome == provider.Dead {
				t.Errorf("row %s is dead on a 503", rule.ID)
			}
		}
	})
}
