package tokenfile

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// A style is how an object of the file is formatted.
type style struct {
	before  []byte // from the value before a member to its name, comma included
	colon   []byte // from name to value
	newline []byte // line break of the object; nil if it stands on one line
	indent  []byte // white space before its members; only with newline
	unit    []byte // one more level of it
}

// styleOf reads the style of an object that has members off its last ones.
func (d *Doc) styleOf(c *container) style {
	n := len(c.members)
	last := c.members[n-1]
	s := style{colon: d.text[last.nameEnd:last.start]}
	if bytes.ContainsAny(s.colon, "\r\n") {
		s.colon = []byte(": ")
	}
	if n > 1 {
		s.before = d.text[c.members[n-2].end:last.nameStart]
	} else {
		s.before = d.firstSeparator(c, s.colon)
	}
	s.before = oneBreak(s.before)
	s.newline = lineBreak(s.before)
	if s.newline != nil {
		s.indent = d.indentAt(last.nameStart)
		s.unit = d.unit(s.indent, d.indentAt(c.start))
	}
	return s
}

// firstSeparator guesses what separates members from the only one there is.
func (d *Doc) firstSeparator(c *container, colon []byte) []byte {
	lead := d.text[c.start+1 : c.members[0].nameStart]
	switch {
	case lineBreak(lead) != nil:
		return append([]byte(","), lead...)
	case len(colon) > 1:
		return []byte(", ")
	}
	return []byte(",")
}

// oneBreak drops empty lines from a separator, so that a group of members set
// apart by one does not turn every new member into a group.
func oneBreak(sep []byte) []byte {
	comma := bytes.IndexByte(sep, ',')
	head, tail := sep[:comma], sep[comma+1:]
	if i := lastBreak(tail); i >= 0 {
		return append([]byte(","), tail[i:]...)
	}
	if i := lastBreak(head); i >= 0 {
		head = head[i:]
	}
	return append(append(bytes.Clone(head), ','), tail...)
}

// lastBreak returns the offset of the last line break, or -1.
func lastBreak(ws []byte) int {
	i := bytes.LastIndexAny(ws, "\r\n")
	if i > 0 && ws[i] == '\n' && ws[i-1] == '\r' {
		i--
	}
	return i
}

// lineBreak returns the last line break in white space: CR LF, LF, CR or nil.
func lineBreak(ws []byte) []byte {
	i := lastBreak(ws)
	if i < 0 {
		return nil
	}
	if bytes.HasPrefix(ws[i:], []byte("\r\n")) {
		return ws[i : i+2]
	}
	return ws[i : i+1]
}

// indentAt returns the white space at the start of the line of an offset.
func (d *Doc) indentAt(offset int) []byte {
	line := d.text[bytes.LastIndexAny(d.text[:offset], "\r\n")+1 : offset]
	return line[:len(line)-len(bytes.TrimLeft(line, " \t"))]
}

// unit is one level of indentation: what an object's members have more than
// the object, else what the members of the root have, else two spaces.
func (d *Doc) unit(inner, outer []byte) []byte {
	if len(inner) > len(outer) && bytes.HasPrefix(inner, outer) {
		return inner[len(outer):]
	}
	if len(d.root.members) > 0 {
		first := d.indentAt(d.root.members[0].nameStart)
		if len(first) > 0 {
			return first
		}
	}
	return []byte("  ")
}

// layOutAddition writes new members behind the last one of their object.
func (d *Doc) layOutAddition(a addition) splice {
	c := a.parent
	if len(c.members) == 0 {
		return splice{c.start, c.end, d.layOutEmpty(c, a.members)}
	}
	s := d.styleOf(c)
	var out []byte
	for _, m := range a.members {
		out = append(append(out, s.before...), m.name...)
		out = append(append(out, s.colon...), s.layOut(m.value)...)
	}
	end := c.members[len(c.members)-1].end
	return splice{end, end, out}
}

// layOutEmpty writes the members of an object that had none, in the style of
// the root; an empty root has only the line break between its braces to go by.
func (d *Doc) layOutEmpty(c *container, members []newMember) []byte {
	s := style{colon: []byte(":")}
	if len(d.root.members) > 0 {
		s = d.styleOf(&d.root)
	}
	if inside := lineBreak(d.text[c.start:c.end]); inside != nil {
		s.newline = inside
		s.colon = []byte(": ")
	}
	separator := []byte(",")
	if len(s.colon) > 1 {
		separator = []byte(", ")
	}
	var open, closing []byte
	if s.newline != nil {
		outer := d.indentAt(c.start)
		s.unit = d.unit(s.indent, nil)
		s.indent = append(bytes.Clone(outer), s.unit...)
		open = append(bytes.Clone(s.newline), s.indent...)
		closing = append(bytes.Clone(s.newline), outer...)
		separator = append([]byte(","), open...)
	}
	out := append([]byte("{"), open...)
	for i, m := range members {
		if i > 0 {
			out = append(out, separator...)
		}
		out = append(append(out, m.name...), s.colon...)
		out = append(out, s.layOut(m.value)...)
	}
	return append(append(out, closing...), '}')
}

// layOutReplacement writes a value in the place of m's: an object or array is
// spread over lines only where the old value was.
func (d *Doc) layOutReplacement(m member, value []byte) []byte {
	if value[0] != '{' && value[0] != '[' {
		return value
	}
	var s style
	if m.name != nil {
		s.colon = d.text[m.nameEnd:m.start]
	}
	old := d.text[m.start:m.end]
	if s.newline = lineBreak(old); s.newline != nil {
		s.indent = d.indentAt(m.start)
		s.unit = d.unit(firstIndent(old), s.indent)
	}
	return s.layOut(value)
}

// firstIndent returns the indentation of the second line of a value.
func firstIndent(value []byte) []byte {
	line := bytes.TrimLeft(value[bytes.IndexAny(value, "\r\n"):], "\r\n")
	return line[:len(line)-len(bytes.TrimLeft(line, " \t"))]
}

// Values beyond these limits are written on one line: spread over lines, the
// indentation could outgrow the value by orders of magnitude.
const (
	maxSpread       = 4 << 10
	maxSpreadIndent = 64
)

// layOut writes an object or array in the style; scalars stay as they are.
func (s style) layOut(value []byte) []byte {
	if value[0] != '{' && value[0] != '[' {
		return value
	}
	spaced := len(s.colon) > 1
	options := append(slices.Clip(lenient), jsontext.PreserveRawStrings(true), jsontext.SpaceAfterColon(spaced))
	if s.newline != nil && len(value) <= maxSpread && len(s.indent)+len(s.unit) <= maxSpreadIndent && depth(value) <= 16 {
		options = append(options, jsontext.Multiline(true), jsontext.WithIndentPrefix(string(s.indent)), jsontext.WithIndent(string(s.unit)))
	} else {
		options = append(options, jsontext.SpaceAfterComma(spaced))
	}
	out, err := jsontext.AppendFormat(nil, value, options...)
	if err != nil { // only invalid JSON, which was refused before
		return value
	}
	if s.newline == nil {
		return out
	}
	return bytes.ReplaceAll(out, []byte("\n"), s.newline)
}

// depth returns how deep a valid JSON value nests: 0 for a scalar.
func depth(value []byte) int {
	if value[0] != '{' && value[0] != '[' {
		return 0
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(value), lenient...)
	deepest := 0
	for {
		if _, err := dec.ReadToken(); err != nil {
			return deepest
		}
		deepest = max(deepest, dec.StackDepth())
	}
}
