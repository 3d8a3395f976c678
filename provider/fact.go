package provider

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// Source is a place where facts of an entry were read.
type Source struct {
	// Name is readable on its own.
	Name string `json:"name"`
	// URL is the page, empty for a source without one.
	URL string `json:"url,omitempty"`
	// Date is the day of the reading, YYYY-MM-DD.
	Date string `json:"date,omitempty"`
	// Fields lists what the source states: field paths such as refresh.grace,
	// or prefixes such as refresh. Empty: it was read for the entry as a
	// whole, and verifies nothing.
	Fields []string `json:"fields,omitempty"`

	// stated marks the user's own file: whoever runs a server or reads its
	// contract knows better than a catalog.
	stated bool
}

// Fact is one field of an entry with where it comes from.
type Fact struct {
	// Field is the path in the data file, such as access.lifetime.
	Field string
	// Value is its JSON, with strings unquoted.
	Value string
	// Source states the fact; a zero Source means general knowledge.
	Source Source
	// Verified: a page of the provider itself, or the user, says so.
	Verified bool
}

// Verified reports whether field (a path such as refresh.grace) is stated by
// the user, or by the provider itself and not marked unverified. A nil p has no
// verified facts.
func (p *Provider) Verified(field string) bool {
	if p == nil {
		return false
	}
	doubtful := touches(p.Unverified, field)
	return slices.ContainsFunc(p.Sources, func(s Source) bool {
		return covers(s.Fields, field) && (s.stated || !doubtful && p.own(s))
	})
}

// Facts lists every set field of endpoints, habits and dialect with its
// source, in the order of the data file. Names, errors and quirks are not
// listed: read them from p.
func (p *Provider) Facts() []Fact {
	bare := *p
	bare.Name, bare.Title, bare.Aliases, bare.Domains = "", "", nil, nil
	bare.Errors, bare.Quirks, bare.Sources, bare.Unverified = nil, nil, nil, nil
	raw, err := json.Marshal(bare)
	if err != nil {
		return nil
	}
	var facts []Fact
	for _, l := range leaves("", raw) {
		if l.field == "name" || l.field == "title" {
			continue
		}
		facts = append(facts, Fact{l.field, l.value, p.source(l.field), p.Verified(l.field)})
	}
	return facts
}

// source picks the best witness for field: the user, the provider, anyone who
// names the field, anyone read for the whole entry. A doubtful field has none
// but the user.
func (p *Provider) source(field string) Source {
	var best Source
	rank := 0
	for _, s := range p.Sources {
		if r := p.rankOf(s, field); r > rank {
			best, rank = s, r
		}
	}
	return best
}

func (p *Provider) rankOf(s Source, field string) int {
	named := covers(s.Fields, field)
	switch {
	case named && s.stated:
		return 4
	case touches(p.Unverified, field):
		return 0
	case named && p.own(s):
		return 3
	case named:
		return 2
	case len(s.Fields) == 0:
		return 1
	}
	return 0
}

// own reports whether s is the provider speaking: a page on one of its domains.
func (p *Provider) own(s Source) bool {
	u, err := url.Parse(s.URL)
	if err != nil || u.Scheme != "https" {
		return false
	}
	return slices.ContainsFunc(p.Domains, func(d string) bool {
		domain, path, _ := strings.Cut(d, "/")
		onDomain := u.Hostname() == domain || strings.HasSuffix(u.Hostname(), "."+domain)
		return onDomain && (path == "" || strings.HasPrefix(u.Path+"/", "/"+path+"/"))
	})
}

// covers reports whether list names field or a prefix of it.
func covers(list []string, field string) bool {
	return slices.ContainsFunc(list, func(f string) bool {
		return f == field || strings.HasPrefix(field, f+".")
	})
}

// touches is covers, and also true when list names a part of field: a record
// with one doubtful member is not verified as a whole.
func touches(list []string, field string) bool {
	return covers(list, field) || slices.ContainsFunc(list, func(f string) bool {
		return strings.HasPrefix(f, field+".")
	})
}

type leaf struct{ field, value string }

// leaves flattens a JSON object to paths; arrays are leaves.
func leaves(prefix string, raw []byte) []leaf {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return []leaf{{prefix, text(raw)}}
	}
	var out []leaf
	for dec.More() {
		key, err := dec.Token()
		var value json.RawMessage
		if err != nil || dec.Decode(&value) != nil {
			return out
		}
		path := key.(string)
		if prefix != "" {
			path = prefix + "." + path
		}
		out = append(out, leaves(path, value)...)
	}
	return out
}

// text shows a JSON value to people: a string without quotes, a list of
// strings with commas, the rest as it is.
func text(raw []byte) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		return strings.Join(list, ", ")
	}
	return string(raw)
}
