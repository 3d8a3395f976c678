package idptest

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// A member is one member of a JSON object, its value already encoded.
type member struct {
	name string
	raw  string
}

// An object is a JSON object in the order its members were set: the shapes of
// answers that clients must bear need order, duplicates and odd values.
type object []member

// set replaces the member or appends it.
func (o *object) set(name string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic("idptest: encoding " + name + ": " + err.Error()) // only values of our own come here
	}
	o.setRaw(name, string(b))
}

func (o *object) setRaw(name, raw string) {
	for i := range *o {
		if (*o)[i].name == name {
			(*o)[i].raw = raw
			return
		}
	}
	o.add(name, raw)
}

// add appends a member even where one of that name exists.
func (o *object) add(name, raw string) { *o = append(*o, member{name, raw}) }

func (o *object) remove(names ...string) {
	*o = slices.DeleteFunc(*o, func(m member) bool { return slices.Contains(names, m.name) })
}

func (o object) text(name string) string {
	for _, m := range o {
		if m.name == name {
			return m.plain()
		}
	}
	return ""
}

func (o object) has(name string) bool {
	return slices.ContainsFunc(o, func(m member) bool { return m.name == name })
}

// plain is the value as text: a string without its quotes.
func (m member) plain() string {
	var t string
	if json.Unmarshal([]byte(m.raw), &t) == nil {
		return t
	}
	return m.raw
}

func (o object) bytes() []byte {
	var b strings.Builder
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quote(m.name) + ":" + m.raw)
	}
	b.WriteByte('}')
	return []byte(b.String())
}

// indented writes the object with two spaces and the given line end, without
// one at the end of the text.
func (o object) indented(eol string) []byte {
	var b strings.Builder
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(eol + "  " + quote(m.name) + ": " + m.raw)
	}
	b.WriteString(eol + "}")
	return []byte(b.String())
}

// form writes the object as application/x-www-form-urlencoded.
func (o object) form() []byte {
	parts := make([]string, len(o))
	for i, m := range o {
		parts[i] = url.QueryEscape(m.name) + "=" + url.QueryEscape(m.plain())
	}
	return []byte(strings.Join(parts, "&"))
}

// xml writes the object the way Salesforce answers format=xml. Whoever links the
// simulator would pay for the tables of encoding/xml at every start.
func (o object) xml() []byte {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?><OAuth>`)
	for _, m := range o {
		b.WriteString("<" + m.name + ">")
		escape.WriteString(&b, m.plain()) // a Builder never fails
		b.WriteString("</" + m.name + ">")
	}
	b.WriteString("</OAuth>")
	return []byte(b.String())
}

func quote(s string) string {
	b, _ := json.Marshal(s) // a string always encodes
	return string(b)
}
