// Package tokenfile edits JSON token files without touching a byte it was not
// asked to change.
//
// Call [Open] with the bytes of a token file: it finds the token members and
// says which layout the file has. [File.Merge] then merges the answer of a
// token endpoint and returns a new File, whose [File.Bytes] are to be stored.
// [Parse], [Doc.Lookup] and [Doc.Edit] are the layer below: one JSON object,
// looked at through JSON pointers (RFC 6901) and edited by splicing.
//
// Promises: what is not edited stays as it is, to the byte: order, indentation,
// line ends, byte order mark, final newline, number literals, escapes,
// duplicate members nobody asked about. New members go last, written the way
// their neighbours are. UTF-8 and UTF-16 (either byte order, with or without
// byte order mark) are read and written back as they were. A file that can't be
// edited safely is refused with one [FormatError]. Merging the same answer
// twice gives the same bytes as merging it once. No error text holds a value
// of the file.
//
// Limits: UTF-32, comments, trailing commas and other relatives of JSON are
// refused; so are values nested more than 10,000 deep and pointers of more than
// 32 steps. Time and memory are linear in the size of file and answer. The
// package reads and writes no files.
package tokenfile

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// A Doc is a text that holds one JSON object. It is immutable: Edit returns
// another Doc. It is safe for concurrent use.
type Doc struct {
	source   []byte // as given, in the encoding of the file
	encoding encoding
	text     []byte // source as UTF-8, without byte order mark
	root     container
}

// Parse reads one JSON object (RFC 8259) with white space around it. Errors
// are of type *[FormatError]: empty, truncated, not an object, not JSON,
// trailing data, an encoding that does not survive a round trip.
func Parse(b []byte) (*Doc, error) {
	d := &Doc{source: bytes.Clone(b), encoding: detectEncoding(b)}
	var err error
	if d.text, err = d.encoding.decode(d.source); err != nil {
		return nil, err
	}
	if d.root, err = scanDocument(d.text); err != nil {
		return nil, locate(d.text, err)
	}
	return d, nil
}

// Bytes returns the text in the encoding of the file. The caller must not
// change it.
func (d *Doc) Bytes() []byte { return d.source }

// lenient has the tokenizer accept what JSON allows and we only carry along:
// duplicate names and escaped lone surrogates. Raw bytes that are no UTF-8
// were refused before.
var lenient = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// A container is an object or an array of the text.
type container struct {
	kind       jsontext.Kind // '{' or '['
	start, end int           // offsets of the opening and past the closing delimiter
	members    []member
	index      map[string]hit // by name; nil for few members
}

// A member is a name and a value of an object, or an element of an array,
// which has no name. All numbers are offsets in the text.
type member struct {
	name               []byte // unescaped
	nameStart, nameEnd int
	start, end         int // the value
}

type hit struct {
	last  int
	twice bool
}

// indexFrom is the number of members from which a map beats comparing names.
const indexFrom = 24

// find returns the position of the last member of that name, or -1, and
// whether there are several.
func (c *container) find(name string) (i int, twice bool) {
	if c.index != nil {
		h, ok := c.index[name]
		if !ok {
			return -1, false
		}
		return h.last, h.twice
	}
	i = -1
	for j, m := range c.members {
		if m.name != nil && string(m.name) == name {
			i, twice = j, i >= 0
		}
	}
	return i, twice
}

// buildIndex keeps find from being linear in objects of many members.
func (c *container) buildIndex() {
	if len(c.members) < indexFrom || c.kind != '{' {
		return
	}
	c.index = make(map[string]hit, len(c.members))
	for i, m := range c.members {
		_, twice := c.index[string(m.name)]
		c.index[string(m.name)] = hit{i, twice}
	}
}

// errNotObject and its like are completed with a position by locate.
var (
	errEmpty    = errors.New("the file is empty")
	errTrailing = errors.New("more data follows the JSON object")
)

type notObjectError struct{ kind jsontext.Kind }

func (e *notObjectError) Error() string {
	what := map[jsontext.Kind]string{'[': "an array", '"': "a string", '0': "a number", 'n': "null", 't': "a boolean", 'f': "a boolean"}[e.kind]
	return "the file holds " + what + ", not a JSON object"
}

// offsetError carries a cause with the offset in the text where it lies.
type offsetError struct {
	offset int
	cause  error
}

func (e *offsetError) Error() string { return e.cause.Error() }
func (e *offsetError) Unwrap() error { return e.cause }

// scanDocument checks the whole text and returns its one object.
func scanDocument(text []byte) (container, error) {
	start := len(text) - len(bytes.TrimLeft(text, " \t\r\n"))
	if start == len(text) {
		return container{}, errEmpty
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(text), lenient...)
	switch k := dec.PeekKind(); k {
	case '{':
	case '[', '"', '0', 'n', 't', 'f':
		return container{}, &offsetError{start, &notObjectError{k}}
	default:
		_, err := dec.ReadToken()
		return container{}, err
	}
	c, err := scanContainer(dec, text, 0)
	if err != nil {
		return c, err
	}
	rest := bytes.TrimLeft(text[c.end:], " \t\r\n")
	if len(rest) > 0 {
		return c, &offsetError{len(text) - len(rest), errTrailing}
	}
	return c, nil
}

// scanNested scans the object or array that starts at offset start of a text
// that was checked before.
func scanNested(text []byte, start, end int) (container, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(text[start:end:end]), lenient...)
	return scanContainer(dec, text, start)
}

// scanContainer reads the next object or array from dec, whose input starts
// at offset base of text.
func scanContainer(dec *jsontext.Decoder, text []byte, base int) (container, error) {
	open, err := dec.ReadToken()
	if err != nil {
		return container{}, err
	}
	c := container{kind: open.Kind(), start: base + int(dec.InputOffset()) - 1}
	c.members = make([]member, 0, 12)
	for k := dec.PeekKind(); k != '}' && k != ']'; k = dec.PeekKind() {
		m, err := scanMember(dec, text, base, c.kind == '{')
		if err != nil {
			return c, err
		}
		c.members = append(c.members, m)
	}
	if _, err = dec.ReadToken(); err != nil {
		return c, err
	}
	c.end = base + int(dec.InputOffset())
	c.buildIndex()
	return c, nil
}

func scanMember(dec *jsontext.Decoder, text []byte, base int, named bool) (m member, err error) {
	if named {
		if m.nameStart, m.nameEnd, err = scanValue(dec, base); err != nil {
			return m, err
		}
		m.name = unescape(text[m.nameStart:m.nameEnd])
	}
	m.start, m.end, err = scanValue(dec, base)
	return m, err
}

func scanValue(dec *jsontext.Decoder, base int) (start, end int, err error) {
	v, err := dec.ReadValue()
	if err != nil {
		return 0, 0, err
	}
	end = base + int(dec.InputOffset())
	return end - len(v), end, nil
}

// unescape returns what a JSON string stands for; never nil. Escaped lone
// surrogates become U+FFFD, which is good enough to compare names.
func unescape(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	s, _ := jsontext.AppendUnquote(make([]byte, 0, len(raw)), raw)
	return s
}

// locate turns an error of the scanner into a FormatError with its position.
func locate(text []byte, err error) *FormatError {
	var at *offsetError
	var syntax *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return formatError(text, len(text), "the JSON object is not complete: the file is truncated")
	case errors.As(err, &at):
		return formatError(text, at.offset, at.Error())
	case errors.As(err, &syntax):
		return formatError(text, int(syntax.ByteOffset), syntaxReason(syntax))
	}
	return &FormatError{Reason: err.Error()}
}

// syntaxReason is the tokenizer's reason where it quotes one character at most;
// without the pointer, which quotes names of the file.
func syntaxReason(e *jsontext.SyntacticError) string {
	if e.Err == nil {
		return "not valid JSON"
	}
	reason := e.Err.Error()
	if strings.HasPrefix(reason, "exceeded max depth") {
		return "values are nested more than 10,000 deep"
	}
	if strings.Contains(reason, "escape sequence") || strings.Contains(reason, "surrogate pair") {
		return "not valid JSON: invalid escape sequence in a string"
	}
	return "not valid JSON: " + reason
}

// formatError computes line and column, both from 1, column in characters.
func formatError(text []byte, offset int, reason string) *FormatError {
	before := text[:min(max(offset, 0), len(text))]
	line := bytes.Count(before, []byte("\n"))
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return &FormatError{Line: line + 1, Column: column + 1, Reason: reason}
}

// apply replaces the spliced ranges and parses the result, so that no edit can
// yield a text that this package would not read again.
func (d *Doc) apply(splices []splice) (*Doc, error) {
	if len(splices) == 0 {
		return d, nil
	}
	text, err := spliced(d.text, splices)
	if err != nil {
		return nil, err
	}
	n := &Doc{encoding: d.encoding, text: text}
	if n.root, err = scanDocument(text); err != nil {
		return nil, locate(text, err)
	}
	n.source = d.encoding.encode(text)
	return n, nil
}

// A splice puts text in the place of the bytes from start to end.
type splice struct {
	start, end int
	text       []byte
}

var errOverlap = errors.New("edits overlap")

func spliced(text []byte, splices []splice) ([]byte, error) {
	slices.SortStableFunc(splices, func(a, b splice) int { return a.start - b.start })
	size, at := len(text), 0
	for _, s := range splices {
		if s.start < at {
			return nil, errOverlap
		}
		at = s.end
		size += len(s.text) - (s.end - s.start)
	}
	out := make([]byte, 0, size)
	at = 0
	for _, s := range splices {
		out = append(append(out, text[at:s.start]...), s.text...)
		at = s.end
	}
	return append(out, text[at:]...), nil
}
