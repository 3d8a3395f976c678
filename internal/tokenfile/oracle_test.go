package tokenfile_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"unicode/utf16"
)

// What follows judges the package without using it: a writer of files in many
// formats, and readers on top of encoding/json.

// A pair is a member with the value as JSON.
type pair struct{ name, value string }

// A format says how render writes a file.
type format struct {
	name, newline, indent, colon, comma, end string
	encode                                   func(string) []byte
}

// render writes an object. With an empty newline it goes on one line.
func (f format) render(members []pair) []byte {
	var b strings.Builder
	b.WriteString("{")
	for i, m := range members {
		if i > 0 {
			b.WriteString(f.comma)
		}
		b.WriteString(f.newline + f.indent + `"` + m.name + `"` + f.colon + m.value)
	}
	b.WriteString(f.newline + "}" + f.end)
	return f.encode(b.String())
}

func formats() []format {
	var all []format
	texts := []format{
		{name: "2 spaces CRLF", newline: "\r\n", indent: "  ", colon: ": ", comma: ","},
		{name: "2 spaces CRLF final", newline: "\r\n", indent: "  ", colon: ": ", comma: ",", end: "\r\n"},
		{name: "4 spaces LF final", newline: "\n", indent: "    ", colon: ": ", comma: ",", end: "\n"},
		{name: "tabs LF", newline: "\n", indent: "\t", colon: ": ", comma: ","},
		{name: "no indent LF, spaced colon", newline: "\n", colon: " : ", comma: ",", end: "\n"},
		{name: "CR only", newline: "\r", indent: " ", colon: ":", comma: ","},
		{name: "compact", colon: ":", comma: ","},
		{name: "compact final", colon: ":", comma: ",", end: "\n"},
		{name: "python one line", colon: ": ", comma: ", "},
	}
	encodings := []struct {
		name   string
		encode func(string) []byte
	}{
		{"UTF-8", func(s string) []byte { return []byte(s) }},
		{"UTF-8 BOM", func(s string) []byte { return []byte("\uFEFF" + s) }},
		{"UTF-16LE", func(s string) []byte { return toUTF16(binary.LittleEndian, s) }},
		{"UTF-16BE", func(s string) []byte { return toUTF16(binary.BigEndian, s) }},
		{"UTF-16LE BOM", func(s string) []byte { return toUTF16(binary.LittleEndian, "\uFEFF"+s) }},
		{"UTF-16BE BOM", func(s string) []byte { return toUTF16(binary.BigEndian, "\uFEFF"+s) }},
	}
	for _, f := range texts {
		for _, e := range encodings {
			g := f
			g.name, g.encode = f.name+", "+e.name, e.encode
			all = append(all, g)
		}
	}
	return all
}

func toUTF16(order binary.AppendByteOrder, s string) []byte {
	var out []byte
	for _, u := range utf16.Encode([]rune(s)) {
		out = order.AppendUint16(out, u)
	}
	return out
}

// toUTF8 undoes every encoding of formats.
func toUTF8(b []byte) []byte {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(b, []byte{0xFF, 0xFE}) || len(b) > 1 && b[1] == 0:
		order = binary.LittleEndian
	case bytes.HasPrefix(b, []byte{0xFE, 0xFF}) || len(b) > 1 && b[0] == 0:
		order = binary.BigEndian
	default:
		return bytes.TrimPrefix(b, []byte("\uFEFF"))
	}
	var units []uint16
	for ; len(b) > 1; b = b[2:] {
		units = append(units, order.Uint16(b))
	}
	return bytes.TrimPrefix([]byte(string(utf16.Decode(units))), []byte("\uFEFF"))
}

// members lists the members of the root object with their values as they
// stand, or nil if the text is not one object.
func members(text []byte) []pair {
	dec := json.NewDecoder(bytes.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	list := []pair{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil
		}
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return nil
		}
		list = append(list, pair{name.(string), string(value)})
	}
	if _, err := dec.Token(); err != nil {
		return nil
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil
	}
	return list
}

// checkOthers fails if a member of before is missing, moved or different in
// after, except for the values of the changed names, or if after has further
// members in front of an old one.
func checkOthers(t *testing.T, before, after []byte, changed map[string]bool) {
	t.Helper()
	old, now := members(toUTF8(before)), members(toUTF8(after))
	if len(now) < len(old) {
		t.Fatalf("%d members became %d", len(old), len(now))
	}
	for i, m := range old {
		if now[i].name != m.name {
			t.Errorf("member %d was %q, is %q", i, m.name, now[i].name)
		}
		if !changed[m.name] && now[i].value != m.value {
			t.Errorf("member %q was %s, is %s", m.name, m.value, now[i].value)
		}
	}
}
