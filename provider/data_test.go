package provider_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/provider"
)

// strict reads one data file and refuses fields the schema doesn't have.
func strict(t *testing.T, file string) *provider.Provider {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := new(provider.Provider)
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(p); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if got, want := p.Name+".json", filepath.Base(file); got != want {
		t.Errorf("%s: the entry is called %s", file, p.Name)
	}
	return p
}

// TestData checks every built-in entry against the schema and the habits of
// the catalog.
func TestData(t *testing.T) {
	all := entries(t)
	if len(all) < 96 {
		t.Errorf("%d entries, want the 96 of the facts at least", len(all))
	}
	for _, p := range all {
		t.Run(p.Name, func(t *testing.T) {
			if err := p.Check(); err != nil {
				t.Error(err)
			}
			checkSources(t, p)
			checkSentences(t, p)
		})
	}
}

func checkSources(t *testing.T, p *provider.Provider) {
	if len(p.Sources) == 0 {
		t.Error("no source")
	}
	set := map[string]bool{}
	for _, f := range p.Facts() {
		set[f.Field] = true
	}
	known := func(field string) bool {
		for f := range set {
			if f == field || strings.HasPrefix(f, field+".") {
				return true
			}
		}
		return field == "errors" || field == "quirks"
	}
	for _, s := range p.Sources {
		day, err := time.Parse(time.DateOnly, s.Date)
		if err != nil || day.Year() < 2026 {
			t.Errorf("source %q: date %q", s.Name, s.Date)
		}
		if len(s.Name) < 3 {
			t.Errorf("source %q: a name nobody can read", s.Name)
		}
		for _, f := range s.Fields {
			if !known(f) {
				t.Errorf("source %q speaks of %s, which the entry does not set", s.Name, f)
			}
		}
	}
	for _, f := range p.Unverified {
		if !known(f) {
			t.Errorf("unverified %s is not set", f)
		}
	}
}

// checkSentences holds the texts people read to the house style.
func checkSentences(t *testing.T, p *provider.Provider) {
	texts := slices.Concat(p.Quirks, []string{p.Access.Limit, p.Refresh.Limit})
	for _, r := range p.Errors {
		texts = append(texts, r.Says, r.Do)
		for _, jargon := range []string{"endpoint", "payload", "HTTP", "the grant ", "this grant", "JSON", "header", "idempotent", "entity"} {
			if strings.Contains(r.Says+" "+r.Do, jargon) {
				t.Errorf("%s: %q is no word for a message", r.ID, jargon)
			}
		}
	}
	for _, s := range texts {
		if s != "" && (!strings.HasSuffix(s, ".") && !strings.HasSuffix(s, ")") || strings.Contains(s, "  ") || len(s) > 240) {
			t.Errorf("%q: want a short sentence with a full stop", s)
		}
	}
}
