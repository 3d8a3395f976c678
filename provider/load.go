package provider

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// maxFile bounds one entry; the largest built-in one is far below.
const maxFile = 1 << 20

// layer is one file of the user, with what the lookups need from it.
type layer struct {
	name, file string
	raw        []byte
	stated     []string // field paths the file sets and does not doubt
	aliases    []string
	hosts      []string
	urls       []string
}

// Load reads the user's own entries: path is one .json file or a folder of
// them. An entry is laid over the built-in one of the same name, or added. See
// SCHEMA.md for the form. Every problem found is reported, joined.
func Load(path string) (*Catalog, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading provider entries: %w", err)
	}
	if info.IsDir() {
		return LoadFS(os.DirFS(path))
	}
	return load(os.DirFS(filepath.Dir(path)), []string{filepath.Base(path)})
}

// LoadFS is Load for the .json files in the root of fsys.
func LoadFS(fsys fs.FS) (*Catalog, error) {
	files, err := fs.Glob(fsys, "*.json")
	if err != nil {
		return nil, fmt.Errorf("reading provider entries: %w", err)
	}
	return load(fsys, files)
}

func load(fsys fs.FS, files []string) (*Catalog, error) {
	c := new(Catalog)
	var problems []error
	for _, file := range files {
		l, err := readLayer(fsys, file)
		if err != nil {
			problems = append(problems, fmt.Errorf("reading provider entry %s: %w", file, err))
			continue
		}
		c.own = append(c.own, l)
	}
	slices.SortFunc(c.own, func(a, b layer) int { return cmp.Compare(a.name, b.name) })
	if err := errors.Join(append(problems, c.conflicts()...)...); err != nil {
		return nil, err
	}
	return c, nil
}

// readLayer reads one file and checks the entry it makes together with the
// built-in one.
func readLayer(fsys fs.FS, file string) (layer, error) {
	f, err := fsys.Open(file)
	if err != nil {
		return layer{}, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return layer{}, err
	}
	if len(raw) > maxFile {
		return layer{}, fmt.Errorf("larger than %d bytes", maxFile)
	}
	return newLayer(file, raw)
}

func newLayer(file string, raw []byte) (layer, error) {
	var alone Provider
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields() // a misspelt field must not be lost in silence
	if err := dec.Decode(&alone); err != nil {
		return layer{}, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return layer{}, errors.New("there is something after the entry")
	}
	if !kebab(alone.Name) {
		return layer{}, fmt.Errorf("name %q: want lower-case letters, digits and single hyphens", alone.Name)
	}
	l := layer{name: alone.Name, file: file, raw: raw, aliases: alone.Aliases}
	for _, leaf := range leaves("", raw) {
		if !touches(alone.Unverified, leaf.field) {
			l.stated = append(l.stated, leaf.field)
		}
	}
	p, err := (&Catalog{own: []layer{l}}).read(l.name)
	if err != nil {
		return layer{}, err
	}
	for _, h := range p.Hosts {
		l.hosts = append(l.hosts, h.Host)
	}
	l.urls = p.Recognised()
	return l, p.Check()
}

// over lays the file over p. Objects merge member by member and lists replace
// the ones before, except that error rows, sources and unverified add up: a
// user's error row takes the place of the row with its ID and else goes first.
func (l layer) over(p *Provider) error {
	before := *p
	// Decoding into a list that has elements would let their members shine
	// through.
	p.Hosts, p.Errors, p.Sources, p.Unverified = nil, nil, nil, nil
	if err := json.Unmarshal(l.raw, p); err != nil {
		return fmt.Errorf("reading provider entry %s: %w", l.file, err)
	}
	if p.Hosts == nil {
		p.Hosts = before.Hosts
	}
	for _, r := range before.Errors {
		if !slices.ContainsFunc(p.Errors, func(own ErrorRule) bool { return own.ID == r.ID }) {
			p.Errors = append(p.Errors, r)
		}
	}
	p.Sources = slices.Concat([]Source{{Name: "your file " + l.file, Fields: l.stated, stated: true}}, p.Sources, before.Sources)
	p.Unverified = slices.Concat(p.Unverified, before.Unverified)
	return nil
}

// conflicts reports names, aliases and hosts that the user's entries claim
// twice, or take from another built-in entry by alias or host.
func (c *Catalog) conflicts() []error {
	owner := map[string]string{}
	var problems []error
	claim := func(kind, key, name string, builtin []entry) {
		if was, ok := lookup(builtin, key); ok && was != name {
			problems = append(problems, fmt.Errorf("provider entry %s: %s %q belongs to the built-in entry %s", name, kind, key, was))
		}
		if was, ok := owner[kind+key]; ok {
			problems = append(problems, fmt.Errorf("provider entry %s: %s %q is taken by entry %s", name, kind, key, was))
		}
		owner[kind+key] = name
	}
	for _, l := range c.layers() {
		claim("name", l.name, l.name, nil)
		for _, a := range l.aliases {
			claim("name", a, l.name, indexNames)
		}
		for _, h := range l.hosts {
			claim("host", h, l.name, indexHosts)
		}
	}
	return problems
}
