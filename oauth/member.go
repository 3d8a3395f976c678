package oauth

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

const formType = "application/x-www-form-urlencoded"

var bom = []byte("\xef\xbb\xbf")

// answerMembers reads the top object of an answer. With an error it returns the
// members before the fault.
func answerMembers(a *Answer, d Dialect) ([]Member, error) {
	body := bytes.TrimLeft(bytes.TrimPrefix(a.Body, bom), " \t\r\n")
	if len(body) == 0 {
		return nil, errors.New("the body is empty")
	}
	media, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	var members []Member
	var err error
	switch {
	case body[0] != '{' && body[0] != '<' && (d.Form || media == formType):
		members, err = formMembers(string(body))
	default:
		members, err = jsonMembers(body)
	}
	if a.Truncated {
		err = errors.New("the body is longer than 512 KiB")
	}
	return members, err
}

// jsonMembers reads one JSON object and nothing after it but white space
// (RFC 8259). Duplicate names are kept; nesting is bounded by the decoder.
// Texts of the decoder's errors are not passed on: they quote the input.
func jsonMembers(body []byte) (members []Member, err error) {
	body = shallow(body)
	dec := jsontext.NewDecoder(bytes.NewBuffer(bytes.TrimPrefix(body, bom)),
		jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if dec.PeekKind() != '{' {
		return nil, errors.New("the body is not a JSON object")
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, errBroken
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return members, errBroken
		}
		m := Member{Name: name.String()}
		value, err := dec.ReadValue()
		if err != nil {
			return members, errBroken
		}
		if len(members) < keptMembers || slices.Contains(securityMembers[:], m.Name) {
			m.Value = bytes.Clone(value)
			members = append(members, m)
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return members, errBroken
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return members, errors.New("something follows the JSON object")
	}
	return members, nil
}

// An honest answer has a dozen members and nests three deep. What goes far beyond
// costs memory: a member 200 bytes, a level a frame of the stack.
const (
	keptMembers = 1000 // those that decide over a grant are kept beyond it
	maxNesting  = 5000
)

// shallow is the text up to where it nests deeper than anybody should: what
// stands before is still read.
func shallow(body []byte) []byte {
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			if depth++; depth > maxNesting {
				return body[:i]
			}
		case c == '}', c == ']':
			depth--
		}
	}
	return body
}

var errBroken = errors.New("the JSON object is broken or cut")

// formMembers reads a form-encoded answer, as some servers older than the RFC
// give. Pairs that can't be decoded are skipped unless they are the tokens.
func formMembers(body string) ([]Member, error) {
	var members []Member
	for pair := range strings.SplitSeq(strings.TrimSpace(body), "&") {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			continue
		}
		name, err := url.QueryUnescape(name)
		if err != nil {
			continue
		}
		plain, err := url.QueryUnescape(value)
		if err != nil && strings.Contains(name, "token") {
			return members, errors.New("the form has a broken escape in " + clean(name, 64))
		}
		if err != nil {
			continue
		}
		quoted, _ := jsontext.AppendQuote(nil, plain) // invalid UTF-8 becomes U+FFFD
		members = append(members, Member{Name: name, Value: quoted})
	}
	if len(members) == 0 {
		return nil, errors.New("the body is not a form")
	}
	return members, nil
}

// pointed follows a JSON pointer (RFC 6901) of member names to an object.
func pointed(members []Member, pointer string) ([]Member, bool) {
	if pointer == "" {
		return nil, false
	}
	for name := range jsontext.Pointer(pointer).Tokens() {
		var found []byte
		for _, m := range members {
			if m.Name == name {
				found = m.Value
			}
		}
		if kind(found) != '{' {
			return nil, false
		}
		members, _ = jsonMembers(found)
	}
	return members, true
}

// elements returns the values of a JSON array.
func elements(array []byte) (list [][]byte) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(array),
		jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if _, err := dec.ReadToken(); err != nil {
		return nil
	}
	for dec.PeekKind() != ']' {
		v, err := dec.ReadValue()
		if err != nil {
			return list
		}
		list = append(list, bytes.Clone(v))
	}
	return list
}

// kind is the first byte of a value, 0 for none.
func kind(value []byte) byte {
	if len(value) == 0 {
		return 0
	}
	return value[0]
}

// text decodes a JSON string; anything else is "".
func text(value []byte) string {
	if kind(value) != '"' {
		return ""
	}
	// The error of invalid UTF-8 is ignored: the result has U+FFFD there.
	t, _ := jsontext.AppendUnquote(nil, value)
	return string(t)
}

// clean makes a text of a server fit for a terminal or a page: without control
// characters and those that turn the reading direction, at most limit bytes.
func clean(s string, limit int) string {
	s = s[:min(len(s), 4*limit)] // what is dropped below must not cost time without end
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\r', r == '\t':
			return ' '
		case r == utf8.RuneError, unicode.IsControl(r), unicode.Is(unicode.Cf, r),
			unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r):
			return -1
		}
		return r
	}, s)
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
