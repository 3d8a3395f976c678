package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// A member is one member of the token file's object.
type member struct {
	name       string
	value      json.RawMessage
	start, end int // of the value, in the document
}

// A document is a token file as it was read.
type document struct {
	raw     []byte
	members []member
}

var byteOrderMark = []byte("\ufeff")

// parse reads a token file: one JSON object, a byte order mark before it or not.
func parse(raw []byte) (document, error) {
	d := document{raw: raw}
	body := bytes.TrimPrefix(raw, byteOrderMark)
	shift := len(raw) - len(body)
	if len(bytes.TrimSpace(body)) == 0 {
		return d, errors.New("the file is empty")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return d, errors.New("the file does not hold a JSON object")
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return d, fmt.Errorf("the file is not JSON: %w", err)
		}
		m := member{name: name.(string)} // a decoder gives nothing else inside an object
		if err := dec.Decode(&m.value); err != nil {
			return d, fmt.Errorf("the file is not JSON: %w", err)
		}
		m.end = int(dec.InputOffset()) + shift
		m.start = m.end - len(m.value)
		d.members = append(d.members, m)
	}
	if _, err := dec.Token(); err != nil {
		return d, fmt.Errorf("the file is not JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return d, errors.New("the file holds more than one JSON value")
	}
	return d, nil
}

// text is the value of a member that is a string, else "".
func (d document) text(name string) string {
	var s string
	for _, m := range d.members {
		if m.name == name {
			json.Unmarshal(m.value, &s) // what is no string stays ""
		}
	}
	return s
}

// names are the members' names in the order of the file.
func (d document) names() []string {
	var out []string
	for _, m := range d.members {
		out = append(out, m.name)
	}
	return out
}

// volatile are the members that a refresh may change.
var volatile = []string{"access_token", "refresh_token", "expires_in", "token_type", "scope"}

// still is the document with the values that a refresh may change blanked out.
func (d document) still() []byte {
	var out []byte
	from := 0
	for _, m := range d.members {
		if slices.Contains(volatile, m.name) {
			out = append(append(out, d.raw[from:m.start]...), '_')
			from = m.end
		}
	}
	return append(out, d.raw[from:]...)
}

// kept compares the members that a refresh has no business with, as values; it
// names the first that is gone or different.
func (d document) kept(after document) error {
	for _, m := range d.members {
		if slices.Contains(volatile, m.name) {
			continue
		}
		i := slices.IndexFunc(after.members, func(a member) bool { return a.name == m.name })
		if i < 0 {
			return fmt.Errorf("the member %q is gone", m.name)
		}
		if !sameValue(m.value, after.members[i].value) {
			return fmt.Errorf("the value of the member %q has changed", m.name)
		}
	}
	return nil
}

// sameValue compares two JSON values; numbers by their digits, since a program
// that reads them as floating point changes long ones.
func sameValue(a, b []byte) bool {
	return bytes.Equal(canonical(a), canonical(b))
}

// canonical is a value with sorted members, without white space.
func canonical(raw []byte) []byte {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return raw
	}
	out, err := json.Marshal(v)
	if err != nil {
		return raw
	}
	return out
}
