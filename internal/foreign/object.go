package foreign

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/evergrant/evergrant/internal/tokenfile"
	"github.com/evergrant/evergrant/oauth"
)

// An object is a JSON object in its order; nil is none.
type object []member

type member struct {
	name  string
	value jsontext.Value
}

// parseFile reads a file that holds one JSON object, in any encoding that token
// files come in. Errors are of type *[Error].
func parseFile(data []byte) (object, error) {
	d, err := tokenfile.Parse(data)
	if err != nil {
		return nil, &Error{"the file cannot be read: " + err.Error(), "is it whole, and the file you mean?"}
	}
	root, _, err := d.Lookup("")
	if err != nil {
		return nil, &Error{"the file cannot be read: " + err.Error(), "is it whole, and the file you mean?"}
	}
	return parseObject(root.Raw())
}

// parseObject reads one JSON object. A name that occurs twice is refused, at
// any depth. The decoder's own errors are not passed on: they quote the input.
func parseObject(raw []byte) (object, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(raw))
	if dec.PeekKind() != '{' {
		return nil, &Error{"the file holds no JSON object", "is it the file you mean?"}
	}
	o := object{}
	_, err := dec.ReadToken()
	for err == nil && dec.PeekKind() == '"' {
		var name jsontext.Token
		if name, err = dec.ReadToken(); err != nil {
			break
		}
		m := member{name: name.String()}
		var value jsontext.Value
		value, err = dec.ReadValue()
		m.value = slices.Clone(value)
		o = append(o, m)
	}
	if err == nil {
		_, err = dec.ReadToken()
	}
	if err == nil {
		if _, err = dec.ReadToken(); err == io.EOF {
			return o, nil
		}
	}
	return nil, unreadable(err)
}

func unreadable(err error) error {
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return &Error{"a member of the file occurs twice" + twin(err) + ": which one counts is not certain", "remove the one that is wrong"}
	}
	return &Error{"the file is not JSON as it should be", "is it whole?"}
}

// twin names the member, if it is one of the tokens: other names may be an
// account's.
func twin(err error) string {
	var at *jsontext.SyntacticError
	if !errors.As(err, &at) {
		return ""
	}
	switch name := at.JSONPointer.LastToken(); name {
	case "access_token", "refresh_token", "id_token", "accessToken", "refreshToken", "token", "secret":
		return ": " + name
	}
	return ""
}

func (o object) get(name string) jsontext.Value {
	for _, m := range o {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

func (o object) has(name string) bool { return o.get(name) != nil }

// object returns the member if it is an object, else nil.
func (o object) object(name string) object { return member{value: o.get(name)}.object() }

func (m member) object() object {
	if m.value.Kind() != '{' {
		return nil
	}
	inner, _ := parseObject(m.value)
	return inner
}

// plain returns the text of a string member; "" for anything else.
func (o object) plain(name string) string {
	v := o.get(name)
	if v.Kind() != '"' {
		return ""
	}
	b, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		return ""
	}
	return string(b)
}

// A reader takes members out of an object. It remembers the first error and
// what was taken.
type reader struct {
	object
	taken map[string]bool
	err   error
}

func (o object) reader() *reader { return &reader{object: o, taken: map[string]bool{}} }

// text takes a string; anything else stays.
func (r *reader) text(name string) string {
	v := r.get(name)
	if v.Kind() == '"' || v.Kind() == 'n' {
		r.taken[name] = true
	}
	return r.plain(name)
}

// secret takes a string that must not be anything else but null.
func (r *reader) secret(name string) oauth.Secret {
	switch r.get(name).Kind() {
	case '"', 'n':
	case jsontext.KindInvalid:
		return oauth.Secret{}
	default:
		r.fail(name)
	}
	return oauth.NewSecret(r.text(name))
}

func (r *reader) fail(name string) {
	if r.err == nil {
		r.err = &Error{"the member " + name + " is no text", "the file is not as its tool writes it: is it the file you mean?"}
	}
}

// words takes a string, or an array of strings as one list.
func (r *reader) words(name string) string {
	v := r.get(name)
	if v.Kind() != '[' {
		return r.text(name)
	}
	var words []string
	dec := jsontext.NewDecoder(bytes.NewReader(v))
	if _, err := dec.ReadToken(); err != nil {
		return ""
	}
	for dec.PeekKind() == '"' {
		t, err := dec.ReadToken()
		if err != nil {
			return ""
		}
		words = append(words, t.String())
	}
	if dec.PeekKind() != ']' {
		return ""
	}
	r.taken[name] = true
	return strings.Join(words, " ")
}

// time takes a point in time: RFC 3339, or a count since 1970. What it can't
// read stays.
func (r *reader) time(name string) time.Time {
	v := r.get(name)
	var t time.Time
	var ok bool
	switch v.Kind() {
	case '"':
		t, ok = moment(r.plain(name))
	case '0':
		t, ok = count(string(v))
	case 'n':
		ok = true
	}
	if ok {
		r.taken[name] = true
	}
	return t
}

// moment reads RFC 3339, also with the "UTC" that botocore wrote for "Z", or a
// count as text. Year 1, which is how Go writes no time, is zero.
func moment(s string) (time.Time, bool) {
	if zone, ok := strings.CutSuffix(s, "UTC"); ok {
		s = zone + "Z"
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return count(s)
	}
	if t.Year() <= 1 {
		return time.Time{}, true
	}
	return t.UTC(), true
}

// count reads a count since 1970 in seconds, milli-, micro- or nanoseconds,
// told apart by magnitude: as seconds, 1e11 is in the year 5138, and as
// milliseconds in 1973. Zero and less mean that the time is not known.
func count(s string) (time.Time, bool) {
	n, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil || math.IsNaN(n) || n > 1e20:
		return time.Time{}, false
	case n <= 0:
		return time.Time{}, true
	case n < 1e11:
		sec, frac := math.Modf(n)
		return time.Unix(int64(sec), int64(math.Round(frac*1e6))*1e3).UTC(), true
	case n < 1e14:
		return time.UnixMilli(int64(n)).UTC(), true
	case n < 1e17:
		return time.UnixMicro(int64(n)).UTC(), true
	}
	return time.Unix(0, int64(min(n, math.MaxInt64/2))).UTC(), true
}

// rest are the members that nobody took.
func (r *reader) rest() []Member {
	var out []Member
	for _, m := range r.object {
		if !r.taken[m.name] {
			out = append(out, Member{m.name, oauth.NewSecret(string(m.value))})
		}
	}
	return out
}

// addText adds a member unless it is empty.
func addText(m []Member, name, s string) []Member {
	return addSecret(m, name, oauth.NewSecret(s))
}

// addSecret adds a member unless it is zero. What is not UTF-8 is found by
// encode: the value is no JSON then.
func addSecret(m []Member, name string, s oauth.Secret) []Member {
	if s.IsZero() {
		return m
	}
	q, err := jsontext.AppendQuote(nil, s.Reveal())
	if err != nil {
		q = []byte("\xff")
	}
	return append(m, Member{name, oauth.NewSecret(string(q))})
}

func addRaw(m []Member, name, value string) []Member {
	return append(m, Member{name, oauth.NewSecret(value)})
}

func addList(m []Member, name, words string) []Member {
	list := strings.Fields(words)
	if len(list) == 0 {
		return m
	}
	b := []byte{'['}
	for i, w := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b, _ = jsontext.AppendQuote(b, w)
	}
	return addRaw(m, name, string(append(b, ']')))
}

// encode writes members as one object, indented by two spaces, with a newline
// at its end. Of members with the same name the first counts.
func encode(members []Member) ([]byte, error) {
	return encodeWith(members, jsontext.WithIndent("  "), jsontext.SpaceAfterColon(true))
}

// encodeLine writes members as one object on one line, without a newline.
func encodeLine(members []Member) ([]byte, error) {
	b, err := encodeWith(members)
	return bytes.TrimSuffix(b, []byte("\n")), err
}

func encodeWith(members []Member, options ...jsontext.Options) ([]byte, error) {
	var b bytes.Buffer
	e := jsontext.NewEncoder(&b, options...)
	err := e.WriteToken(jsontext.BeginObject)
	written := map[string]bool{}
	for _, m := range members {
		if err != nil {
			break
		}
		if written[m.Name] {
			continue
		}
		written[m.Name] = true
		if err = e.WriteToken(jsontext.String(m.Name)); err == nil {
			err = e.WriteValue(jsontext.Value(m.Value.Reveal()))
		}
	}
	if err == nil {
		err = e.WriteToken(jsontext.EndObject)
	}
	if err != nil {
		return nil, &Error{"the grant has text that is not UTF-8", "the file it came from is damaged: import it again"}
	}
	return b.Bytes(), nil
}

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }
