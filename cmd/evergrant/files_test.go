package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/evergrant/evergrant/idptest"
)

// lines are the token file's members in the layout of other programs.
func lines(b *bed, indent, colon, end string) string {
	var members []string
	for l := range strings.SplitSeq(string(b.grant.TokenJSON()), "\n") {
		l = strings.TrimSuffix(strings.TrimSpace(l), ",")
		if name, value, ok := strings.Cut(l, ": "); ok {
			members = append(members, indent+name+colon+value)
		}
	}
	return "{" + end + strings.Join(members, ","+end) + end + "}"
}

// TestForms refreshes a token file in every form that other programs write:
// the new values stand where the old ones stood, and no other byte differs.
func TestForms(t *testing.T) {
	for name, form := range map[string]func(b *bed) string{
		"CRLF, two spaces": func(b *bed) string { return string(b.grant.TokenFile()) },
		"LF":               func(b *bed) string { return lines(b, "  ", ": ", "\n") },
		"LF at the end":    func(b *bed) string { return lines(b, "  ", ": ", "\n") + "\n" },
		"CRLF at the end":  func(b *bed) string { return lines(b, "  ", ": ", "\r\n") + "\r\n\r\n" },
		"tabs":             func(b *bed) string { return lines(b, "\t", ": ", "\n") },
		"no indent":        func(b *bed) string { return lines(b, "", ":", "\n") },
		"compact":          func(b *bed) string { return lines(b, "", ":", "") },
		"spaces all over":  func(b *bed) string { return " \n " + lines(b, "        ", "   :  ", " \n\n ") + "  " },
		"BOM":              func(b *bed) string { return "\ufeff" + lines(b, "  ", ": ", "\r\n") },
		"unknown members": func(b *bed) string {
			return strings.Replace(lines(b, "  ", ": ", "\n"), "{", "{\"x\": {\"access_token\": [1e30, \"\\u00e9\\/\"]},", 1)
		},
		"unknown ones twice": func(b *bed) string { return strings.Replace(lines(b, "  ", ": ", "\n"), "{", `{"x":1,"x":2,`, 1) },
		"a mebibyte": func(b *bed) string {
			return strings.Replace(lines(b, "  ", ": ", "\n"), "{", `{"x":"`+strings.Repeat("y", 1<<20)+`",`, 1)
		},
	} {
		for _, rotation := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, rotation %v", name, rotation), func(t *testing.T) {
				t.Parallel()
				b := newBed(t, idptest.Habits{Rotation: rotation})
				before := form(b)
				b.write([]byte(before))
				b.first()
				b.wantOnlyValues(before, b.read())
			})
		}
	}
}

// TestUTF16 refreshes a file as some Windows programs write it.
func TestUTF16(t *testing.T) {
	for name, order := range map[string]binary.ByteOrder{"little-endian": binary.LittleEndian, "big-endian": binary.BigEndian} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, idptest.Habits{Rotation: true})
			before := "\ufeff" + string(b.grant.TokenFile())
			b.write(toUTF16(before, order))
			b.first()
			b.wantOnlyValues(before, fromUTF16(t, []byte(b.read()), order))
		})
	}
}

func toUTF16(text string, order binary.ByteOrder) []byte {
	units := utf16.Encode([]rune(text))
	out := make([]byte, 2*len(units))
	for i, u := range units {
		order.PutUint16(out[2*i:], u)
	}
	return out
}

func fromUTF16(t *testing.T, b []byte, order binary.ByteOrder) string {
	t.Helper()
	if len(b)%2 != 0 {
		t.Fatalf("%d bytes are no UTF-16", len(b))
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = order.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}

// wantOnlyValues checks the new file against the old one, with the new values
// put in by plain text replacement.
func (b *bed) wantOnlyValues(before, after string) {
	b.t.Helper()
	var was, is map[string]any
	for text, into := range map[string]*map[string]any{before: &was, after: &is} {
		if err := json.Unmarshal([]byte(strings.TrimPrefix(text, "\ufeff")), into); err != nil {
			b.t.Fatalf("%v in %.200q", err, text)
		}
	}
	want := before
	for _, name := range []string{"access_token", "refresh_token", "signature", "issued_at"} {
		old, _ := was[name].(string)
		now, _ := is[name].(string)
		want = strings.Replace(want, `"`+old+`"`, `"`+now+`"`, 1)
	}
	if after != want {
		b.t.Errorf("the file is\n%.2000q, want\n%.2000q", after, want)
	}
	state := b.GrantState(b.id)
	if is["refresh_token"] != state.RefreshToken || is["access_token"] == was["access_token"] {
		b.t.Errorf("the file does not hold the provider's tokens")
	}
}

// unusable are files that are refused before anything is sent, with the exit
// code of a file that is no token file.
var unusable = map[string]string{
	"empty":                  "",
	"blank":                  "\n",
	"truncated":              `{"access_token": "a", "refresh_token": "r`,
	"half a write":           `{"access_token": "a", "refresh_token": "r"`,
	"an array":               `[{"access_token": "a", "refresh_token": "r"}]`,
	"a string":               `"a"`,
	"null":                   `null`,
	"two objects":            `{"access_token": "a", "refresh_token": "r"}{"access_token": "b"}`,
	"no refresh token":       `{"access_token": "a"}`,
	"empty refresh token":    `{"access_token": "a", "refresh_token": ""}`,
	"refresh token null":     `{"access_token": "a", "refresh_token": null}`,
	"refresh token a number": `{"access_token": "a", "refresh_token": 5}`,
	"access token an array":  `{"access_token": ["a"], "refresh_token": "r"}`,
	"refresh token twice":    `{"access_token": "a", "refresh_token": "r", "refresh_token": "s"}`,
	"access token twice":     `{"access_token": "a", "access_token": "b", "refresh_token": "r"}`,
	"not JSON":               "access_token=a&refresh_token=r",
	"comments":               "// my token\n{\"access_token\": \"a\", \"refresh_token\": \"r\"}",
	"binary":                 "\x00\x01\x02\xff",
}

func TestUnusable(t *testing.T) {
	for name, text := range unusable {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, idptest.Habits{})
			b.write([]byte(text))
			b.wantRefused(exitUsage)
		})
	}
	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		b := newBed(t, idptest.Habits{})
		if err := os.Remove(b.path); err != nil {
			t.Fatal(err)
		}
		b.wantRefused(exitUsage)
		if names, _ := filepath.Glob(filepath.Join(b.dir, ".token*")); len(names) > 0 {
			t.Errorf("it left %q", names)
		}
	})
	t.Run("a directory", func(t *testing.T) {
		t.Parallel()
		b := newBed(t, idptest.Habits{})
		if err := os.Remove(b.path); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(b.path, 0o700); err != nil {
			t.Fatal(err)
		}
		b.wantRefused(exitUsage)
	})
}

// wantRefused refreshes a file that can't be: one clear error, nothing sent,
// not a byte changed.
func (b *bed) wantRefused(code int) ran {
	b.t.Helper()
	before := look(b.path)
	r := b.run(append([]string{"refresh", b.path}, b.identity()...)...)
	if r.code != code {
		b.t.Errorf("exit code %d, want %d: %s", r.code, code, r.stderr)
	}
	r.wantHint(b.t)
	if n := len(b.Ledger()); n > 0 {
		b.t.Errorf("%d requests were sent", n)
	}
	if now := look(b.path); now != before {
		b.t.Errorf("the file was %s and is %s", before, now)
	}
	temps, _ := filepath.Glob(filepath.Join(filepath.Dir(b.path), ".*.tmp"))
	if len(temps) > 0 {
		b.t.Errorf("it left %q", temps)
	}
	return r
}

// TestLayouts refreshes the token files of well-known programs.
func TestLayouts(t *testing.T) {
	for name, c := range map[string]struct {
		form  string   // %s: access token, refresh token
		flags []string // beyond the identity
		want  string   // the file afterwards, with the tokens as A and R; EXPIRY for a time
	}{
		"x/oauth2": {
			form: `{"access_token":"A","token_type":"Bearer","refresh_token":"R","expiry":"2020-01-02T03:04:05.678Z"}`,
			want: `{"access_token":"A","token_type":"Bearer","refresh_token":"R","expiry":"TIME"`,
		},
		"nested, named with --field": {
			form:  `{"name": "x", "auth": {"at": "A", "rt": "R"}}`,
			flags: []string{"--field", "access_token=/auth/at", "--field", "refresh_token=/auth/rt"},
			want:  `{"name": "x", "auth": {"at": "A", "rt": "R"`,
		},
		"google authorized_user": {
			form:  `{"type": "authorized_user", "client_id": "app", "client_secret": "s", "refresh_token": "R"}`,
			flags: []string{"--client-auth", "post"},
			want:  `{"type": "authorized_user", "client_id": "app", "client_secret": "s", "refresh_token": "R", "access_token": "A", `,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBedOf(t, idptest.Generic, idptest.Habits{Rotation: true})
			b.write([]byte(strings.NewReplacer(`"A"`, `"`+b.grant.AccessToken+`"`, `"R"`, `"`+b.grant.RefreshToken+`"`).Replace(c.form)))
			r := b.run(append(append([]string{"refresh", b.path}, b.identity()...), c.flags...)...)
			if r.code != 0 {
				t.Fatalf("%+v", r)
			}
			state := b.GrantState(b.id)
			got := strings.Replace(b.read(), state.RefreshToken, "R", 1)
			got = strings.Replace(got, state.Access[len(state.Access)-1].Token, "A", 1)
			if i := strings.Index(got, `"expiry":"2`); i >= 0 {
				j := strings.Index(got[i+10:], `"`)
				got = got[:i+10] + "TIME" + got[i+10+j:]
			}
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("the file is %s, want %s…", got, c.want)
			}
			again := b.run("refresh", b.path, "--json")
			if again.code != 0 {
				t.Errorf("the second run: %+v", again)
			}
		})
	}
}
