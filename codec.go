package evergrant

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// The state is read and written at every call of a command, so it is coded
// over the tokenizer that edits token files anyway: encoding/json would spend
// more on learning its types, once a process, than on the work itself. Each
// struct lists its members once, and the list serves both directions.

// member is one member of a coded object. ref points at the value: *string,
// *int, *uint64, *bool, **bool, *time.Time, *time.Duration (as nanoseconds),
// *seconds, *[]string (written as one string of words), *[][2]string,
// *map[string]string, or a coded value. Zero values are left out.
type member struct {
	name string
	ref  any
}

// coded is a struct that is written as a JSON object.
type coded interface{ members() []member }

// optional is a pointer to a coded struct; nil is left out.
type optional struct {
	have func() coded // nil if there is none
	make func() coded
}

func maybe[T any, P interface {
	*T
	coded
}](p **T) optional {
	return optional{
		have: func() coded {
			if *p == nil {
				return nil
			}
			return P(*p)
		},
		make: func() coded { *p = new(T); return P(*p) },
	}
}

// encodeObject writes v as a JSON object, indented if asked, with a final
// newline.
func encodeObject(v coded, indent bool) []byte {
	w := objectWriter{b: make([]byte, 0, 2<<10), indent: indent}
	w.object(v)
	return append(w.b, '\n')
}

// objectWriter appends JSON. It knows what [jsontext.Encoder] would have to
// check: the members' names differ, and values stand where they may. A refresh
// on a store encodes five times, and the checks were a third of its work.
type objectWriter struct {
	b      []byte
	indent bool
	depth  int
	filled bool // the object or list that is open holds something already
}

// open begins an object or a list, and close ends it.
func (w *objectWriter) open(c byte) {
	w.b = append(w.b, c)
	w.depth++
	w.filled = false
}

func (w *objectWriter) close(c byte) {
	w.depth--
	if w.filled {
		w.line()
	}
	w.b = append(w.b, c)
	w.filled = true
}

// next begins a member or an element.
func (w *objectWriter) next() {
	if w.filled {
		w.b = append(w.b, ',')
	}
	w.line()
	w.filled = true
}

func (w *objectWriter) line() {
	if !w.indent {
		return
	}
	w.b = append(w.b, '\n')
	for range w.depth {
		w.b = append(w.b, "  "...)
	}
}

// text writes a string. Only invalid UTF-8 could make that fail, and it is
// replaced first.
func (w *objectWriter) text(s string) {
	b, err := jsontext.AppendQuote(w.b, strings.ToValidUTF8(s, "\uFFFD"))
	if err != nil {
		panic("evergrant: encoding the state: " + err.Error())
	}
	w.b = b
}

func (w *objectWriter) name(s string) {
	w.next()
	w.text(s)
	w.b = append(w.b, ':')
	if w.indent {
		w.b = append(w.b, ' ')
	}
}

func (w *objectWriter) object(v coded) {
	w.open('{')
	for _, m := range v.members() {
		w.member(m)
	}
	w.close('}')
}

// member writes a member that is not zero.
func (w *objectWriter) member(m member) {
	switch p := m.ref.(type) {
	case coded:
		w.unlessEmpty(m.name, p)
		return
	case optional:
		if v := p.have(); v != nil {
			w.name(m.name)
			w.object(v)
		}
		return
	}
	if isZero(m.ref) {
		return
	}
	w.name(m.name)
	switch p := m.ref.(type) {
	case *string:
		w.text(*p)
	case *int:
		w.b = strconv.AppendInt(w.b, int64(*p), 10)
	case *uint64:
		w.b = strconv.AppendUint(w.b, *p, 10)
	case *bool:
		w.b = strconv.AppendBool(w.b, *p)
	case **bool:
		w.b = strconv.AppendBool(w.b, **p)
	case *time.Time:
		w.b = append(p.UTC().AppendFormat(append(w.b, '"'), time.RFC3339Nano), '"')
	case *time.Duration:
		w.b = strconv.AppendInt(w.b, int64(*p), 10)
	case *seconds:
		w.b = strconv.AppendFloat(w.b, p.duration().Seconds(), 'f', -1, 64)
	case *[]string:
		w.text(strings.Join(*p, " "))
	case *[][2]string:
		w.pairs(*p)
	case *map[string]string:
		w.words(*p)
	}
}

// unlessEmpty writes an object, and takes it back if all its members are zero.
func (w *objectWriter) unlessEmpty(name string, v coded) {
	size, filled := len(w.b), w.filled
	w.name(name)
	begun := len(w.b)
	if w.object(v); len(w.b) == begun+len("{}") {
		w.b, w.filled = w.b[:size], filled
	}
}

func (w *objectWriter) pairs(list [][2]string) {
	w.open('[')
	for _, pair := range list {
		for _, s := range pair {
			w.next()
			w.text(s)
		}
	}
	w.close(']')
}

func (w *objectWriter) words(m map[string]string) {
	w.open('{')
	for _, k := range slices.Sorted(maps.Keys(m)) {
		w.name(k)
		w.text(m[k])
	}
	w.close('}')
}

// isZero reports whether a value that is no object is left out.
func isZero(ref any) bool {
	switch p := ref.(type) {
	case *string:
		return *p == ""
	case *int:
		return *p == 0
	case *uint64:
		return *p == 0
	case *bool:
		return !*p
	case **bool:
		return *p == nil
	case *time.Time:
		return p.IsZero()
	case *time.Duration:
		return *p == 0
	case *seconds:
		return *p == 0
	case *[]string:
		return len(*p) == 0
	case *[][2]string:
		return len(*p) == 0
	case *map[string]string:
		return len(*p) == 0
	}
	panic(fmt.Sprintf("evergrant: no code for %T", ref))
}

// decodeObject reads one JSON object into v. Members it does not know are
// skipped: a later version of this layout may add some.
func decodeObject(b []byte, v coded) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(b))
	if err := readObject(d, v); err != nil {
		return err
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return errors.New("something follows the object")
	}
	return nil
}

func readObject(d *jsontext.Decoder, v coded) error {
	if err := expect(d, '{'); err != nil {
		return err
	}
	ms := v.members()
	for d.PeekKind() != '}' {
		t, err := d.ReadToken()
		if err != nil {
			return err
		}
		name := t.String()
		i := slices.IndexFunc(ms, func(m member) bool { return m.name == name })
		if i < 0 || d.PeekKind() == 'n' {
			err = d.SkipValue()
		} else {
			err = readMember(d, ms[i].ref)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	_, err := d.ReadToken()
	return err
}

// expect reads the beginning of an object or array.
func expect(d *jsontext.Decoder, kind jsontext.Kind) error {
	t, err := d.ReadToken()
	if err == nil && t.Kind() != kind {
		err = fmt.Errorf("is %v, not %v", t.Kind(), kind)
	}
	return err
}

func readMember(d *jsontext.Decoder, ref any) error {
	switch p := ref.(type) {
	case coded:
		return readObject(d, p)
	case optional:
		return readObject(d, p.make())
	case *[][2]string:
		words, err := readStrings(d, '[')
		for i := 0; i+1 < len(words); i += 2 {
			*p = append(*p, [2]string{words[i], words[i+1]})
		}
		return err
	case *map[string]string:
		words, err := readStrings(d, '{')
		*p = map[string]string{}
		for i := 0; i+1 < len(words); i += 2 {
			(*p)[words[i]] = words[i+1]
		}
		return err
	}
	t, err := d.ReadToken()
	if err != nil {
		return err
	}
	return readScalar(t.Kind(), t.String(), ref)
}

// scalarKind is how a value is written.
func scalarKind(ref any) jsontext.Kind {
	switch ref.(type) {
	case *bool, **bool:
		return 't'
	case *int, *uint64, *time.Duration, *seconds:
		return '0'
	}
	return '"'
}

// readStrings reads an object or array of strings as one list.
func readStrings(d *jsontext.Decoder, kind jsontext.Kind) ([]string, error) {
	if err := expect(d, kind); err != nil {
		return nil, err
	}
	var words []string
	for {
		t, err := d.ReadToken()
		switch {
		case err != nil:
			return nil, err
		case t.Kind() == ']' || t.Kind() == '}':
			return words, nil
		case t.Kind() != '"':
			return nil, fmt.Errorf("holds %v, not strings", t.Kind())
		}
		words = append(words, t.String())
	}
}

// readScalar is strict: a journal that somebody edited must not be half
// understood.
func readScalar(kind jsontext.Kind, text string, ref any) (err error) {
	if want := scalarKind(ref); want != kind && !(want == 't' && kind == 'f') {
		return fmt.Errorf("is %v, not %v", kind, want)
	}
	switch p := ref.(type) {
	case *string:
		*p = text
	case *[]string:
		*p = strings.Fields(text)
	case *bool:
		*p = kind == 't'
	case **bool:
		v := kind == 't'
		*p = &v
	case *int:
		*p, err = strconv.Atoi(text)
	case *uint64:
		*p, err = strconv.ParseUint(text, 10, 64)
	case *time.Duration:
		var n int64
		n, err = strconv.ParseInt(text, 10, 64)
		*p = time.Duration(n)
	case *seconds:
		var f float64
		f, err = strconv.ParseFloat(text, 64)
		*p = seconds(f * float64(time.Second))
	case *time.Time:
		*p, err = time.Parse(time.RFC3339Nano, text)
	}
	return err
}
