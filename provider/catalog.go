package provider

import (
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

//go:embed data/*.json
var data embed.FS

// Catalog is the built-in catalog with the user's entries laid over it. The
// nil Catalog and the zero Catalog are the built-in one alone; [Load] makes
// the others. It is read-only and safe for concurrent use.
type Catalog struct {
	own []layer // sorted by name, each name once
}

// UnknownError reports a name the catalog does not have.
type UnknownError struct {
	// Name is what was asked for, Near the closest names, best first.
	Name string
	Near []string
}

// Error suggests the nearest names.
func (e *UnknownError) Error() string {
	if len(e.Near) == 0 {
		return fmt.Sprintf("no provider named %q in the catalog", e.Name)
	}
	return fmt.Sprintf("no provider named %q in the catalog; did you mean %s?", e.Name, strings.Join(e.Near, " or "))
}

// Get returns the built-in entry with this name or alias, in any case. An
// unknown name gives an *UnknownError.
func Get(name string) (*Provider, error) { return (*Catalog)(nil).Get(name) }

// Names lists the built-in entries, sorted.
func Names() []string { return (*Catalog)(nil).Names() }

// All reads every built-in entry, sorted by name.
func All() ([]*Provider, error) { return (*Catalog)(nil).All() }

// Search finds built-in entries; see [Catalog.Search].
func Search(words string) ([]*Provider, error) { return (*Catalog)(nil).Search(words) }

// ForHost finds a built-in entry; see [Catalog.ForHost].
func ForHost(host string) (p *Provider, tokenURL string, ok bool) {
	return (*Catalog)(nil).ForHost(host)
}

// ForTokenURL finds a built-in entry; see [Catalog.ForTokenURL].
func ForTokenURL(tokenURL string) (*Provider, bool) { return (*Catalog)(nil).ForTokenURL(tokenURL) }

// Get returns the entry with this name or alias, in any case. An unknown name
// gives an *UnknownError with the nearest names.
func (c *Catalog) Get(name string) (*Provider, error) {
	key := strings.ToLower(strings.TrimSpace(name))
	target, ok := c.target(key)
	if !ok {
		return nil, &UnknownError{Name: name, Near: c.near(key)}
	}
	return c.read(target)
}

// target resolves a name or alias; the user's come first.
func (c *Catalog) target(key string) (string, bool) {
	for _, l := range c.layers() {
		if l.name == key || slices.Contains(l.aliases, key) {
			return l.name, true
		}
	}
	return lookup(indexNames, key)
}

func (c *Catalog) layers() []layer {
	if c == nil {
		return nil
	}
	return c.own
}

// read parses one entry: the embedded file, then the user's over it.
func (c *Catalog) read(name string) (*Provider, error) {
	p := &Provider{Name: name}
	if raw, err := data.ReadFile("data/" + name + ".json"); err == nil {
		if err := json.Unmarshal(raw, p); err != nil {
			return nil, fmt.Errorf("reading the built-in entry %s: %w", name, err)
		}
	}
	for _, l := range c.layers() {
		if l.name == name {
			return p, l.over(p)
		}
	}
	return p, nil
}

// Names lists all entries, sorted.
func (c *Catalog) Names() []string {
	var names []string
	for _, l := range c.layers() {
		names = append(names, l.name)
	}
	for _, e := range indexNames {
		if e.key == e.name {
			names = append(names, e.name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// All reads every entry, sorted by name.
func (c *Catalog) All() ([]*Provider, error) {
	var all []*Provider
	for _, name := range c.Names() {
		p, err := c.read(name)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// Search returns the entries whose name, title, aliases, hosts or quirks hold
// every one of the words, in any case; entries named like the first word come
// first. No words find everything.
func (c *Catalog) Search(words string) ([]*Provider, error) {
	all, err := c.All()
	if err != nil {
		return nil, err
	}
	want := strings.Fields(strings.ToLower(words))
	found := slices.DeleteFunc(all, func(p *Provider) bool {
		text := p.haystack()
		return slices.ContainsFunc(want, func(w string) bool { return !strings.Contains(text, w) })
	})
	slices.SortStableFunc(found, func(a, b *Provider) int { return cmp.Compare(a.rank(want), b.rank(want)) })
	return found, nil
}

func (p *Provider) haystack() string {
	parts := []string{p.Name, p.Title, p.Endpoints.Token}
	parts = append(append(append(parts, p.Aliases...), p.Domains...), p.Quirks...)
	for _, h := range p.Hosts {
		parts = append(parts, h.Host)
	}
	return strings.ToLower(strings.Join(parts, "\n"))
}

// rank is 0 for an entry that is called by the first word, 1 for one whose
// name holds it, 2 for the rest.
func (p *Provider) rank(want []string) int {
	if len(want) == 0 {
		return 0
	}
	names := append([]string{p.Name, strings.ToLower(p.Title)}, p.Aliases...)
	if slices.Contains(names, want[0]) {
		return 0
	}
	if slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, want[0]) }) {
		return 1
	}
	return 2
}

// ForHost finds the provider that lists exactly this host (any case, no
// port), and the URL refresh requests go to for that host, which is empty when
// the entry has none. It never guesses from a part of the name: a refresh token must
// not be sent to a host that merely looks right.
func (c *Catalog) ForHost(host string) (p *Provider, tokenURL string, ok bool) {
	host = strings.ToLower(host)
	name, ok := c.hostOwner(host)
	if !ok {
		return nil, "", false
	}
	p, err := c.read(name)
	if err != nil {
		return nil, "", false
	}
	i := slices.IndexFunc(p.Hosts, func(h Host) bool { return h.Host == host })
	if i < 0 {
		return nil, "", false // the user's layer took the host away
	}
	tokenURL, err = p.RefreshURL(p.Hosts[i].Vars)
	if err != nil {
		tokenURL = ""
	}
	return p, tokenURL, true
}

func (c *Catalog) hostOwner(host string) (string, bool) {
	for _, l := range c.layers() {
		if slices.Contains(l.hosts, host) {
			return l.name, true
		}
	}
	return lookup(indexHosts, host)
}

// ForTokenURL finds the provider whose token endpoint this is: the URL must
// equal a token URL of the entry, or fit a template that names at least the
// registered domain of the host. An address that two entries share belongs to
// neither.
func (c *Catalog) ForTokenURL(tokenURL string) (*Provider, bool) {
	u, ok := canonical(tokenURL)
	if !ok {
		return nil, false
	}
	name, ok := c.urlOwner(u)
	if !ok {
		return nil, false
	}
	p, err := c.read(name)
	return p, err == nil
}

func (c *Catalog) urlOwner(u string) (string, bool) {
	for _, l := range c.layers() {
		if slices.ContainsFunc(l.urls, func(t string) bool { _, ok := fits(t, u); return ok }) {
			return l.name, true
		}
	}
	if name, ok := lookup(indexURLs, u); ok {
		return name, true
	}
	for _, e := range indexTemplates {
		if _, ok := fits(e.key, u); ok {
			return e.name, true
		}
	}
	return "", false
}

// Recognised lists the token URLs and templates by which ForTokenURL knows p,
// sorted: its endpoints, what its hosts build, and the other forms it names.
func (p *Provider) Recognised() []string {
	forms := append([]string{p.Endpoints.Token, p.Endpoints.Refresh}, p.Endpoints.TokenAlso...)
	for _, h := range p.Hosts {
		if u, err := p.TokenURL(h.Vars); err == nil {
			forms = append(forms, u)
		}
	}
	var out []string
	for _, f := range forms {
		f = strings.TrimSuffix(f, "/")
		if strings.HasPrefix(f, "https://") && !strings.Contains(f, "?") && anchored(f) {
			out = append(out, f)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// entry is a row of the index: key belongs to the entry called name.
type entry struct{ key, name string }

// lookup searches a sorted index.
func lookup(index []entry, key string) (string, bool) {
	i, ok := slices.BinarySearchFunc(index, key, func(e entry, k string) int { return cmp.Compare(e.key, k) })
	if !ok {
		return "", false
	}
	return index[i].name, true
}
