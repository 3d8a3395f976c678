package tokenfile

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// An Edit sets the value at a JSON pointer (RFC 6901).
type Edit struct {
	// Pointer names a member of an object or an existing element of an array.
	Pointer string
	// Value is one JSON value in UTF-8. Scalars are written as given, objects
	// and arrays are laid out like the file.
	Value []byte
}

// Edit returns the document with the edits made. An existing value is replaced
// in place, and not even that if it means the same already: its bytes stay. A
// missing member is appended to its object in the file's own formatting. It is
// an error if that object is missing too, if a pointer is given twice, or if
// an edit lies inside another.
func (d *Doc) Edit(edits []Edit) (*Doc, error) {
	p := patch{doc: d}
	seen := make(map[string]bool, len(edits))
	for _, e := range edits {
		if seen[e.Pointer] {
			return nil, fmt.Errorf("editing %s: the pointer is given twice", e.Pointer)
		}
		seen[e.Pointer] = true
		if err := p.edit(e); err != nil {
			return nil, fmt.Errorf("editing %s: %w", e.Pointer, err)
		}
	}
	return p.apply()
}

// A patch collects changes to a document until apply makes them all at once.
type patch struct {
	doc     *Doc
	splices []splice
	added   []addition
}

// An addition is what is to be appended to one object.
type addition struct {
	parent  *container
	members []newMember
}

type newMember struct {
	name  []byte // quoted
	value []byte
}

func (p *patch) edit(e Edit) error {
	s, err := p.doc.resolve(e.Pointer)
	if err != nil {
		return err
	}
	value, err := checkValue(e.Value)
	if err != nil {
		return err
	}
	switch {
	case s.exists():
		p.replace(s, value)
		return nil
	case s.parent == nil:
		return errors.New("the object that should hold it does not exist")
	case s.parent.kind != '{':
		return errors.New("the array has no such element")
	}
	return p.add(s.parent, jsontext.Pointer(e.Pointer).LastToken(), value)
}

// checkValue returns b without white space around it if it is one JSON value.
func checkValue(b []byte) ([]byte, error) {
	b = bytes.Trim(b, " \t\r\n")
	if !utf8.Valid(b) || !jsontext.Value(b).IsValid(lenient...) {
		return nil, errors.New("the new value is not valid JSON in UTF-8")
	}
	return b, nil
}

// replace reports whether the value means something else than the old one.
func (p *patch) replace(s site, value []byte) bool {
	m := s.member()
	old := p.doc.text[m.start:m.end]
	if sameMeaning(old, value) {
		return false
	}
	value = p.doc.layOutReplacement(m, value)
	p.splices = append(p.splices, splice{m.start, m.end, value})
	return true
}

// add appends a member to an object that has none of that name.
func (p *patch) add(parent *container, name string, value []byte) error {
	quoted, err := jsontext.AppendQuote(nil, name)
	if err != nil {
		return errors.New("the name is not valid UTF-8")
	}
	for i := range p.added {
		if p.added[i].parent.start == parent.start {
			p.added[i].members = append(p.added[i].members, newMember{quoted, value})
			return nil
		}
	}
	p.added = append(p.added, addition{parent, []newMember{{quoted, value}}})
	return nil
}

func (p *patch) apply() (*Doc, error) {
	splices := p.splices
	for _, a := range p.added {
		splices = append(splices, p.doc.layOutAddition(a))
	}
	return p.doc.apply(splices)
}

// sameMeaning compares strings by what they stand for, numbers by their
// literal, objects and arrays apart from white space.
func sameMeaning(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if a[0] != b[0] {
		return false
	}
	switch a[0] {
	case '"':
		if bytes.IndexByte(a, '\\') < 0 && bytes.IndexByte(b, '\\') < 0 {
			return false
		}
		s, okA := Value{a}.Text()
		t, okB := Value{b}.Text()
		return okA && okB && s == t
	case '{', '[':
		return bytes.Equal(compact(a), compact(b))
	}
	return false
}

func compact(value []byte) []byte {
	v := jsontext.Value(bytes.Clone(value))
	if v.Compact() != nil { // only invalid JSON, which was refused before
		return value
	}
	return v
}
