package tokenfile

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// A Value is a JSON value of a Doc. The zero Value stands for no value.
type Value struct {
	raw []byte
}

// Kind says what the value is: 'n' null, 't' or 'f' boolean, '"' string,
// '0' number, '{' object, '[' array; 0 for the zero Value.
func (v Value) Kind() jsontext.Kind {
	if len(v.raw) == 0 {
		return 0
	}
	return jsontext.Value(v.raw).Kind()
}

// Raw returns the value as UTF-8 JSON as it stands in the file. The caller must
// not change it.
func (v Value) Raw() []byte { return v.raw }

// Text returns what a string stands for, or the literal of a number. It is
// false for other kinds and for a string with an escaped lone surrogate, which
// is no text.
func (v Value) Text() (string, bool) {
	switch v.Kind() {
	case '"':
		if bytes.IndexByte(v.raw, '\\') < 0 {
			return string(v.raw[1 : len(v.raw)-1]), true
		}
		s, err := jsontext.AppendUnquote(nil, v.raw)
		return string(s), err == nil
	case '0':
		return string(v.raw), true
	}
	return "", false
}

// maxSteps bounds how often a part of the text is read again for one pointer.
const maxSteps = 32

// checkPointer refuses what RFC 6901 does not allow, and the root.
func checkPointer(pointer string) error {
	p := jsontext.Pointer(pointer)
	switch {
	case pointer == "":
		return errors.New("the JSON pointer is empty; it must name a member, as in /access_token")
	case !p.IsValid():
		return fmt.Errorf("%q is not a JSON pointer (RFC 6901); it must look like /access_token", pointer)
	case strings.Count(pointer, "/") > maxSteps:
		return fmt.Errorf("the JSON pointer has more than %d steps", maxSteps)
	}
	return nil
}

// A site is where a pointer leads: a member of parent, or -1 where parent has
// no such member. Without parent not even the object that would hold it exists.
type site struct {
	parent *container
	i      int
}

func (s site) exists() bool { return s.parent != nil && s.i >= 0 }

func (s site) member() member { return s.parent.members[s.i] }

// contains reports whether the value of m is the member at s or holds it.
func (m member) contains(s site) bool {
	at := s.parent.start
	if s.exists() {
		at = s.member().start
	}
	return m.start <= at && at < m.end
}

// Lookup returns the value a JSON pointer (RFC 6901) leads to, and whether
// there is one; "" is the whole object. It is an error if the pointer is
// malformed or a name on the path occurs twice in its object.
func (d *Doc) Lookup(pointer string) (Value, bool, error) {
	if pointer == "" {
		return Value{d.text[d.root.start:d.root.end]}, true, nil
	}
	s, err := d.resolve(pointer)
	if err != nil || !s.exists() {
		return Value{}, false, err
	}
	return d.value(s), true, nil
}

func (d *Doc) value(s site) Value {
	if !s.exists() {
		return Value{}
	}
	m := s.member()
	return Value{d.text[m.start:m.end]}
}

// resolve follows a pointer.
func (d *Doc) resolve(pointer string) (site, error) {
	if err := checkPointer(pointer); err != nil {
		return site{}, err
	}
	p := jsontext.Pointer(pointer)
	parent, err := d.container(p.Parent())
	if err != nil || parent == nil {
		return site{}, err
	}
	i, err := d.step(parent, p.LastToken())
	return site{parent, i}, err
}

// container returns the object or array a pointer leads to, or nil.
func (d *Doc) container(p jsontext.Pointer) (*container, error) {
	c := &d.root
	for token := range p.Tokens() {
		i, err := d.step(c, token)
		if err != nil || i < 0 {
			return nil, err
		}
		m := c.members[i]
		if k := d.text[m.start]; k != '{' && k != '[' {
			return nil, nil
		}
		next, err := scanNested(d.text, m.start, m.end)
		if err != nil {
			return nil, locate(d.text, err)
		}
		c = &next
	}
	return c, nil
}

// step returns the member a pointer token names, or -1.
func (d *Doc) step(c *container, token string) (int, error) {
	if c.kind == '[' {
		return element(token, len(c.members)), nil
	}
	i, twice := c.find(token)
	if twice {
		return -1, formatError(d.text, c.members[i].nameStart, fmt.Sprintf("the member %q occurs more than once", token))
	}
	return i, nil
}

// element reads an array index: decimal, no sign, no leading zeros; "-" is the
// element after the last, which does not exist (RFC 6901 §4).
func element(token string, n int) int {
	i, err := strconv.Atoi(token)
	if err != nil || i < 0 || i >= n || strconv.Itoa(i) != token {
		return -1
	}
	return i
}
