package provider_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/format"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/provider"
)

var update = flag.Bool("update", false, "rewrite index.go from the data files")

// TestIndex proves that index.go says exactly what the data files say.
func TestIndex(t *testing.T) {
	want := index(t)
	if *update {
		if err := os.WriteFile("index.go", want, 0o644); err != nil {
			t.Fatal(err)
		}
		t.Skip("index.go rewritten; run again without -update")
	}
	got, err := os.ReadFile("index.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("index.go differs from the data: run go test ./provider -run TestIndex -update")
	}
}

// index renders index.go. An address that two entries share goes to neither; a
// name or host claimed twice is an error.
func index(t *testing.T) []byte {
	names, hosts := map[string]string{}, map[string]string{}
	urls, shared := map[string]string{}, map[string]bool{}
	claim := func(m map[string]string, key, name string) {
		if was, ok := m[key]; ok && was != name {
			t.Errorf("%q belongs to %s and to %s", key, was, name)
		}
		m[key] = name
	}
	for _, p := range entries(t) {
		claim(names, p.Name, p.Name)
		for _, a := range p.Aliases {
			claim(names, a, p.Name)
		}
		for _, h := range p.Hosts {
			claim(hosts, h.Host, p.Name)
		}
		for _, u := range p.Recognised() {
			if was, ok := urls[u]; ok && was != p.Name {
				shared[u] = true
			}
			urls[u] = p.Name
		}
	}
	maps.DeleteFunc(urls, func(u, _ string) bool { return shared[u] })
	exact, templates := map[string]string{}, map[string]string{}
	for u, name := range urls {
		if strings.Contains(u, "{") {
			templates[u] = name
		} else {
			exact[u] = name
		}
	}
	var out bytes.Buffer
	out.WriteString("// Written by go test -run TestIndex -update from the data files; DO NOT EDIT.\n\npackage provider\n")
	for _, list := range []struct {
		name, doc string
		rows      map[string]string
	}{
		{"indexNames", "finds an entry by name or alias.", names},
		{"indexHosts", "finds an entry by an exact host.", hosts},
		{"indexURLs", "finds an entry by its token URL.", exact},
		{"indexTemplates", "finds an entry by a template its token URL fits.", templates},
	} {
		fmt.Fprintf(&out, "\n// %s %s\nvar %s = []entry{\n", list.name, list.doc, list.name)
		for _, key := range slices.Sorted(maps.Keys(list.rows)) {
			fmt.Fprintf(&out, "{%q, %q},\n", key, list.rows[key])
		}
		out.WriteString("}\n")
	}
	src, err := format.Source(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// entries reads the data files without the index, strictly.
func entries(t *testing.T) []*provider.Provider {
	t.Helper()
	files, err := os.ReadDir("data")
	if err != nil {
		t.Fatal(err)
	}
	var all []*provider.Provider
	for _, f := range files {
		all = append(all, strict(t, "data/"+f.Name()))
	}
	return all
}
