package tokenfile_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/internal/tokenfile"
)

var odd = []pair{
	{"access_token", `"a1"`},
	{"\U0001F511é", `"\u00e9 \ud83d\ude00 \/ 😀"`},
	{"lone", `"\ud800"`},
	{"twice", `1`},
	{"big", `123456789012345678901234567890.000000000000000000000e-400`},
	{"twice", `{"deep": [ 1 ,2,{"x":null} ]}`},
	{"", `true`},
	{"last", `"z"`},
}

func TestBytesOfUneditedDocument(t *testing.T) {
	for _, f := range formats() {
		file := f.render(odd)
		d, err := tokenfile.Parse(file)
		if err != nil {
			t.Errorf("%s: %v", f.name, err)
			continue
		}
		if string(d.Bytes()) != string(file) {
			t.Errorf("%s: got %q, want %q", f.name, d.Bytes(), file)
		}
	}
}

func TestEditInEveryFormat(t *testing.T) {
	edited := append([]pair{}, odd...)
	edited[0].value = `"new \\ 😀"`
	edited[7].value = `[]`
	edited = append(edited, pair{"n1", `"v"`}, pair{"n2", `-1.50e+7`})
	for _, f := range formats() {
		file, want := f.render(odd), f.render(edited)
		d, err := tokenfile.Parse(file)
		if err != nil {
			t.Errorf("%s: %v", f.name, err)
			continue
		}
		d, err = d.Edit([]tokenfile.Edit{
			{"/n1", []byte(`"v"`)},
			{"/access_token", []byte(`"new \\ 😀"`)},
			{"/n2", []byte("\n -1.50e+7 ")},
			{"/last", []byte(`[]`)},
		})
		if err != nil {
			t.Errorf("%s: %v", f.name, err)
			continue
		}
		if string(d.Bytes()) != string(want) {
			t.Errorf("%s:\n got %q\nwant %q", f.name, d.Bytes(), want)
		}
		checkOthers(t, file, d.Bytes(), map[string]bool{"access_token": true, "last": true})
	}
}

func TestEdit(t *testing.T) {
	tests := []struct{ name, in, pointer, value, want string }{
		{"same string in other escapes", `{"a":"\u0041\/"}`, "/a", `"A/"`, `{"a":"\u0041\/"}`},
		{"same array in other spacing", `{"a":[ 1,2 ]}`, "/a", `[1, 2]`, `{"a":[ 1,2 ]}`},
		{"other number literal", `{"a":1}`, "/a", `1.0`, `{"a":1.0}`},
		{"lone surrogates differ", `{"a":"\ud800"}`, "/a", `"\ud801"`, `{"a":"\ud801"}`},
		{"escaped name", `{"\u0061":1}`, "/a", `2`, `{"\u0061":2}`},
		{"name with slash and tilde", `{"a/~":1}`, "/a~1~0", `2`, `{"a/~":2}`},
		{"empty object", `{}`, "/a", `1`, `{"a":1}`},
		{"empty object over lines", "{\r\n}\r\n", "/a", `1`, "{\r\n  \"a\": 1\r\n}\r\n"},
		{"nested empty object", "{\n\t\"o\": {}\n}", "/o/a", `1`, "{\n\t\"o\": {\n\t\t\"a\": 1\n\t}\n}"},
		{"nested empty object on one line", `{"o": { }, "p": 1}`, "/o/a", `1`, `{"o": {"a": 1}, "p": 1}`},
		{"nested object", "{\n \"o\": {\n   \"x\": 1\n }\n}", "/o/a", `1`, "{\n \"o\": {\n   \"x\": 1,\n   \"a\": 1\n }\n}"},
		{"one member on one line", `{ "x" : 1 }`, "/a", `1`, `{ "x" : 1, "a" : 1 }`},
		{"leading commas", "{ \"x\":1\n, \"y\":2\n}", "/a", `1`, "{ \"x\":1\n, \"y\":2\n, \"a\":1\n}"},
		{"empty lines between groups", "{\n  \"x\": 1,\n\n  \"y\": 2\n}", "/a", `1`, "{\n  \"x\": 1,\n\n  \"y\": 2,\n  \"a\": 1\n}"},
		{"array element", `{"a":[1,2]}`, "/a/1", `3`, `{"a":[1,3]}`},
		{"object spread like the file", "{\n  \"x\": 1\n}", "/a", `{"b":[1,{}]}`, "{\n  \"x\": 1,\n  \"a\": {\n    \"b\": [\n      1,\n      {}\n    ]\n  }\n}"},
		{"object replaced on its line", "{\n  \"x\": [1, 2]\n}", "/x", `[1,3]`, "{\n  \"x\": [1, 3]\n}"},
		{"object replaced over lines", "{\r\n\t\"x\": [\r\n\t\t1\r\n\t]\r\n}", "/x", `[1,3]`, "{\r\n\t\"x\": [\r\n\t\t1,\r\n\t\t3\r\n\t]\r\n}"},
		{"too large to spread", "{\n  \"x\": 1\n}", "/a", "[" + strings.Repeat("1, ", 3000) + "1]", "{\n  \"x\": 1,\n  \"a\": [" + strings.Repeat("1, ", 3000) + "1]\n}"},
		{"too deep to spread", "{\n  \"x\": 1\n}", "/a", strings.Repeat("[", 20) + strings.Repeat("]", 20), "{\n  \"x\": 1,\n  \"a\": " + strings.Repeat("[", 20) + strings.Repeat("]", 20) + "\n}"},
		{"twins elsewhere", `{"t":1,"a":1,"t":2}`, "/a", `2`, `{"t":1,"a":2,"t":2}`},
		{"name that needs quoting", `{}`, `/"\`, `1`, `{"\"\\":1}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := tokenfile.Parse([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			d, err = d.Edit([]tokenfile.Edit{{tt.pointer, []byte(tt.value)}})
			if err != nil {
				t.Fatal(err)
			}
			if string(d.Bytes()) != tt.want {
				t.Errorf("got  %q\nwant %q", d.Bytes(), tt.want)
			}
		})
	}
}

func TestEditRefused(t *testing.T) {
	tests := []struct {
		in    string
		edits []tokenfile.Edit
		want  string
	}{
		{`{"a":1}`, []tokenfile.Edit{{"", []byte(`{}`)}}, "the JSON pointer is empty"},
		{`{"a":1}`, []tokenfile.Edit{{"a", []byte(`1`)}}, "not a JSON pointer"},
		{`{"a":1}`, []tokenfile.Edit{{"/b/c", []byte(`1`)}}, "does not exist"},
		{`{"a":1}`, []tokenfile.Edit{{"/a/c", []byte(`1`)}}, "does not exist"},
		{`{"a":[1]}`, []tokenfile.Edit{{"/a/1", []byte(`1`)}}, "no such element"},
		{`{"a":[1]}`, []tokenfile.Edit{{"/a/-", []byte(`1`)}}, "no such element"},
		{`{"a":[1]}`, []tokenfile.Edit{{"/a/00", []byte(`1`)}}, "no such element"},
		{`{"a":1,"a":2}`, []tokenfile.Edit{{"/a", []byte(`1`)}}, `line 1, column 8: the member "a" occurs more than once`},
		{`{"a":1}`, []tokenfile.Edit{{"/a", []byte(`1 2`)}}, "not valid JSON"},
		{`{"a":1}`, []tokenfile.Edit{{"/a", nil}}, "not valid JSON"},
		{`{"a":1}`, []tokenfile.Edit{{"/a", []byte("\"\xff\"")}}, "not valid JSON"},
		{`{"a":1}`, []tokenfile.Edit{{"/a", []byte(`2`)}, {"/a", []byte(`3`)}}, "given twice"},
		{`{"a":{"b":1}}`, []tokenfile.Edit{{"/a/b", []byte(`2`)}, {"/a", []byte(`3`)}}, "overlap"},
		{`{"a":1}`, []tokenfile.Edit{{strings.Repeat("/a", 33), []byte(`1`)}}, "more than 32 steps"},
	}
	for _, tt := range tests {
		d, err := tokenfile.Parse([]byte(tt.in))
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Edit(tt.edits)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s edited at %s: error %v, want one with %q", tt.in, tt.edits[0].Pointer, err, tt.want)
		}
	}
}

func TestParseRefused(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"empty", "", "the file is empty"},
		{"white space", " \r\n\t", "the file is empty"},
		{"byte order mark alone", "\uFEFF", "the file is empty"},
		{"truncated after the brace", "{", "line 1, column 2: the JSON object is not complete: the file is truncated"},
		{"truncated in a string", "{\r\n  \"access_token\": \"CANARY", "line 2, column 26: the JSON object is not complete: the file is truncated"},
		{"truncated in a name", `{"a`, "truncated"},
		{"truncated before the brace", `{"a":1`, "truncated"},
		{"array", ` ["a"]`, "line 1, column 2: the file holds an array, not a JSON object"},
		{"string", `"a"`, "the file holds a string"},
		{"null", `null`, "the file holds null"},
		{"number", `12`, "the file holds a number"},
		{"two objects", "{}\n{}", "line 2, column 1: more data follows"},
		{"NUL behind", "{}\x00", "line 1, column 3: more data follows"},
		{"comment", "{ // x\n}", "line 1, column 3: not valid JSON"},
		{"trailing comma", `{"a":1,}`, "line 1, column 7: not valid JSON"},
		{"no colon", `{"a" 1}`, "not valid JSON"},
		{"bare token", `{"access_token":CANARY}`, "not valid JSON: invalid character 'C'"},
		{"bad escape", `{"access_token":"\uCANARY"}`, "invalid escape sequence in a string"},
		{"control character", "{\"a\":\"\n\"}", "not valid JSON"},
		{"Latin-1", "{\"é\": \"\xe9\"}", "line 1, column 8: not valid UTF-8"},
		{"form", "access_token=CANARY&expires_in=1", "not valid JSON"},
		{"HTML", "<html>", "not valid JSON"},
		{"UTF-16 odd", "{\x00}", "odd number"},
		{"UTF-16 truncated", "{\x00\"\x00", "truncated"},
		{"UTF-16 lone high surrogate", "{\x00\"\x00\x00\xd8\"\x00", "surrogate"},
		{"UTF-16 lone low surrogate", "{\x00\"\x00\x00\xdc\"\x00", "surrogate"},
		{"UTF-16 ends in a surrogate", "{\x00\"\x00\x00\xd8", "surrogate"},
		{"UTF-32LE", "\xff\xfe\x00\x00{\x00\x00\x00}\x00\x00\x00", "UTF-32"},
		{"UTF-32BE", "\x00\x00\xfe\xff\x00\x00\x00{\x00\x00\x00}", "not valid"},
		{"too deep", `{"a":` + strings.Repeat("[", 10001), "nested more than 10,000 deep"},
		{"too deep an object", strings.Repeat(`{"a":`, 20000), "nested more than 10,000 deep"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tokenfile.Parse([]byte(tt.in))
			var format *tokenfile.FormatError
			if !errors.As(err, &format) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %T %v, want a FormatError with %q", err, err, tt.want)
			}
			if strings.Contains(err.Error(), "ANARY") {
				t.Errorf("the error shows the file: %v", err)
			}
		})
	}
}

func TestLookup(t *testing.T) {
	const in = `{"s":"\u0041","n":1e400,"o":{"k":[true,{"x":null}],"d":1,"d":2},"a/b":"c~","d":{}, "d":{}, "u":"\ud800"}`
	d, err := tokenfile.Parse([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		pointer, raw, text string
		isText, twice      bool
	}{
		{"", in, "", false, false},
		{"/s", `"\u0041"`, "A", true, false},
		{"/n", `1e400`, "1e400", true, false},
		{"/o/k/1/x", `null`, "", false, false},
		{"/o/k/0", `true`, "", false, false},
		{"/a~1b", `"c~"`, "c~", true, false},
		{"/u", `"\ud800"`, "", false, false},
		{"/none", ``, "", false, false},
		{"/o/k/2", ``, "", false, false},
		{"/o/k/x", ``, "", false, false},
		{"/s/x", ``, "", false, false},
		{"/d", ``, "", false, true},
		{"/d/x", ``, "", false, true},
		{"/o/d", ``, "", false, true},
	}
	for _, tt := range tests {
		v, ok, err := d.Lookup(tt.pointer)
		if (err != nil) != tt.twice {
			t.Errorf("%q: error %v", tt.pointer, err)
		}
		if ok != (tt.raw != "") || string(v.Raw()) != tt.raw {
			t.Errorf("%q: raw %q, %t; want %q", tt.pointer, v.Raw(), ok, tt.raw)
		}
		if text, isText := v.Text(); text != tt.text && tt.isText || isText != tt.isText {
			t.Errorf("%q: text %q, %t; want %q, %t", tt.pointer, text, isText, tt.text, tt.isText)
		}
	}
}

func TestManyMembers(t *testing.T) {
	var list []pair
	for i := range 100 {
		list = append(list, pair{fmt.Sprint("m", i), fmt.Sprint(i)})
	}
	f := formats()[0]
	d, err := tokenfile.Parse(f.render(append(list, pair{"m7", "0"})))
	if err != nil {
		t.Fatal(err)
	}
	if v, ok, err := d.Lookup("/m99"); string(v.Raw()) != "99" || !ok || err != nil {
		t.Errorf("m99: %s, %t, %v", v.Raw(), ok, err)
	}
	if _, _, err := d.Lookup("/m7"); err == nil {
		t.Error("m7 occurs twice without an error")
	}
	if _, ok, err := d.Lookup("/m100"); ok || err != nil {
		t.Errorf("m100: %t, %v", ok, err)
	}
}
