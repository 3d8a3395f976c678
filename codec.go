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
	var b bytes.Buffer
	e := jsontext.NewEncoder(&b, jsontext.Multiline(indent), jsontext.WithIndent("  "))
	if !indent {
		e = jsontext.NewEncoder(&b)
	}
	writeObject(e, v)
	return b.Bytes()
}

// put writes a token. Only invalid UTF-8 can make it fail, and that is
// replaced first; a failing buffer panics itself.
func put(e *jsontext.Encoder, t jsontext.Token) {
	if err := e.WriteToken(t); err != nil {
		panic("evergrant: encoding the state: " + err.Error())
	}
}

func putString(e *jsontext.Encoder, s string) {
	put(e, jsontext.String(strings.ToValidUTF8(s, "\uFFFD")))
}

func writeObject(e *jsontext.Encoder, v coded) {
	put(e, jsontext.BeginObject)
	for _, m := range v.members() {
		writeMember(e, m)
	}
	put(e, jsontext.EndObject)
}

func writeMember(e *jsontext.Encoder, m member) {
	if isZero(m.ref) {
		return
	}
	putString(e, m.name)
	switch p := m.ref.(type) {
	case *string:
		putString(e, *p)
	case *int:
		put(e, jsontext.Int(int64(*p)))
	case *uint64:
		put(e, jsontext.Uint(*p))
	case *bool:
		put(e, jsontext.Bool(*p))
	case **bool:
		put(e, jsontext.Bool(**p))
	case *time.Time:
		putString(e, p.UTC().Format(time.RFC3339Nano))
	case *time.Duration:
		put(e, jsontext.Int(int64(*p)))
	case *seconds:
		put(e, jsontext.Float(p.duration().Seconds()))
	case *[]string:
		putString(e, strings.Join(*p, " "))
	case *[][2]string:
		put(e, jsontext.BeginArray)
		for _, pair := range *p {
			putString(e, pair[0])
			putString(e, pair[1])
		}
		put(e, jsontext.EndArray)
	case *map[string]string:
		put(e, jsontext.BeginObject)
		for _, k := range slices.Sorted(maps.Keys(*p)) {
			putString(e, k)
			putString(e, (*p)[k])
		}
		put(e, jsontext.EndObject)
	case coded:
		writeObject(e, p)
	case optional:
		writeObject(e, p.have())
	}
}

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
	case optional:
		return p.have() == nil
	case coded:
		return !slices.ContainsFunc(p.members(), func(m member) bool { return !isZero(m.ref) })
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
