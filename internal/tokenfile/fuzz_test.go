package tokenfile_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/evergrant/evergrant/internal/tokenfile"
)

func FuzzParse(f *testing.F) {
	for _, x := range formats() {
		f.Add(x.render(odd))
	}
	for _, s := range []string{"", "{}", "[]", "{\n}", "{ \"a\" : [\r\n] , }", "{\"a\":1\n\n, \"b\":{}}", "\uFEFF{}", "{}\x00", "\xff\xfe{\x00}\x00", `{"a":1e400,"a":"\ud800"}`, strings.Repeat(`{"a":`, 40), "\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		d, err := tokenfile.Parse(in)
		if err != nil {
			mustBeBad(t, in, err)
			return
		}
		if !bytes.Equal(d.Bytes(), in) {
			t.Fatalf("bytes of an unedited document: %q, want %q", d.Bytes(), in)
		}
		if members(toUTF8(in)) == nil {
			t.Fatalf("accepted %q", in)
		}
		if _, ok, err := d.Lookup("/fuzz member"); ok || err != nil {
			return
		}
		n, err := d.Edit([]tokenfile.Edit{{Pointer: "/fuzz member", Value: []byte(`{"x":["é",{}]}`)}})
		if err != nil {
			t.Fatal(err)
		}
		checkOthers(t, in, n.Bytes(), nil)
		v, ok, err := n.Lookup("/fuzz member/x/0")
		if s, _ := v.Text(); s != "é" || !ok || err != nil {
			t.Fatalf("after the edit: %q, %t, %v in %q", s, ok, err, n.Bytes())
		}
		if encodingOf(in) != encodingOf(n.Bytes()) {
			t.Fatalf("the encoding changed: %q", n.Bytes())
		}
	})
}

// mustBeBad fails if encoding/json finds nothing wrong with what was refused.
func mustBeBad(t *testing.T, in []byte, err error) {
	body := bytes.TrimPrefix(in, []byte("\uFEFF"))
	object := bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{"))
	if utf8.Valid(body) && object && json.Valid(body) {
		t.Fatalf("refused %q: %v", in, err)
	}
}

// encodingOf returns the byte order mark, or where the first zero bytes are.
func encodingOf(b []byte) string {
	for _, mark := range []string{"\uFEFF", "\xFF\xFE", "\xFE\xFF"} {
		if bytes.HasPrefix(b, []byte(mark)) {
			return mark
		}
	}
	return fmt.Sprint(len(b) > 0 && b[0] == 0, len(b) > 1 && b[1] == 0)
}

func FuzzMerge(f *testing.F) {
	for i, x := range formats() {
		f.Add(x.render(salesforceFile), []byte(salesforceAnswer), int64(1763899200+i), int64(7200), "")
	}
	add := func(file, answer, access string) {
		f.Add([]byte(file), []byte(answer), int64(1763899200), int64(3600), access)
	}
	add(`{"access_token":"a","expires_at":1738348388.1663,"expires":60,"expiry":"2025-01-31 18:33:08.0z"}`, `{"access_token":"b","refresh_token":"c"}`, "")
	add(`{"token":"a","refresh_token":"r","client_id":"c","expiry":"2025-01-31T18:33:08.166382Z"}`, `{"access_token":"b","expires_in":"1"}`, "")
	add(`{"type":"authorized_user","refresh_token":"r"}`, `{"access_token":"b","type":"x","token":1}`, "")
	add(`{"c":{"at":"a","expiresAt":0,"created":5}}`, `{"access_token":"b","refresh_token":"s","expires_in":5}`, "/c/at")
	add(`{"l":["a"]}`, `{"access_token":"b","refresh_token":"s"}`, "/l/0")
	add(`{"refresh_token":"r","expires":1e17,"issued_at":-0.5}`, `{"token":"t","type":"authorized_user","error":null}`, "")
	add("{\n}", `{"access_token":"b"}`, "/access_token")
	f.Fuzz(func(t *testing.T, in, reply []byte, at, lifetime int64, access string) {
		var fields tokenfile.Fields
		if access != "" {
			fields = tokenfile.Fields{"access_token": access}
		}
		checkMerge(t, in, reply, fields, time.Unix(at%1e10, at&0x1fffffff), max(lifetime, 0)%(math.MaxInt64/int64(time.Second)))
	})
}

// TestMergeRandom is FuzzMerge with files and answers put together from words
// that mean something; random bytes rarely do.
func TestMergeRandom(t *testing.T) {
	const seeds = 4000
	all := formats()
	for seed := range uint64(seeds) {
		r := rand.New(rand.NewPCG(seed, 0))
		x := all[r.IntN(len(all))]
		in := x.render(randomMembers(r, 3))
		fields := randomFields(r)
		if fields["access_token"] == "/o/at" {
			inner := format{colon: x.colon, comma: ",", encode: func(s string) []byte { return []byte(s) }}
			nested := pair{"o", string(inner.render(append(randomMembers(r, 2), pair{"at", `"deep"`})))}
			in = x.render(append([]pair{nested}, randomMembers(r, 2)...))
		}
		plain := format{colon: ":", comma: ",", encode: func(s string) []byte { return []byte(s) }}
		reply := plain.render(randomMembers(r, 2))
		lifetimes := []int64{0, 1, 3600, 5e8, 9e9}
		at := time.Unix(r.Int64N(4e9), r.Int64N(1e9))
		if !t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			checkMerge(t, in, reply, fields, at, lifetimes[r.IntN(len(lifetimes))])
		}) {
			t.Fatalf("file %s, answer %s, fields %v", toUTF8(in), reply, fields)
		}
	}
}

// randomMembers draws about one in every few known names, in any order, now
// and then twice.
func randomMembers(r *rand.Rand, every int) []pair {
	names := []string{"access_token", "access_token", "refresh_token", "refresh_token", "refresh_token", "token", "client_id", "type",
		"scope", "id", "expires_in", "expires_at", "expiry", "expires", "expiresAt", "issued_at", "created_at", "o", "at", "x", "rt",
		"refresh_token_expires_at", "refresh_token_expires_in", "error", ""}
	values := []string{`"t1"`, `"t2"`, `"t3"`, `"t\/4"`, `null`, `""`, `0`, `60`, `"60"`, `1738348388`, `"1738348388166"`, `1738348388.5`,
		`1.7e9`, `-1`, `1e999`, `99999999999999999999`, `"2025-01-31T18:33:08.166+01:00"`, `"2025-01-31 18:33:08z"`, `"0001-01-01T00:00:00Z"`,
		`"authorized_user"`, `{"rt":"r","at":"a"}`, `{}`, `[]`, `["a",1]`, `true`}
	var list []pair
	for _, i := range r.Perm(len(names)) {
		if r.IntN(every) > 0 {
			continue
		}
		value := values[r.IntN(len(values))]
		if strings.HasSuffix(names[i], "token") && r.IntN(8) > 0 {
			value = values[r.IntN(6)]
		}
		list = append(list, pair{names[i], value})
	}
	return list
}

func randomFields(r *rand.Rand) tokenfile.Fields {
	switch r.IntN(8) {
	case 0:
		return tokenfile.Fields{"access_token": "/o/at", "refresh_token": "/rt"}
	case 1:
		return tokenfile.Fields{"access_token": "/o/at"}
	case 2:
		return tokenfile.Fields{"refresh_token": "/o/rt", "expires_at": "/x"}
	case 3:
		return tokenfile.Fields{"access_token": "/at", "refresh_token": "/access_token", "expiry": "/expires_at"}
	}
	return nil
}

// checkMerge merges an answer and checks what must hold whatever it contains.
func checkMerge(t *testing.T, in, reply []byte, fields tokenfile.Fields, at time.Time, lifetime int64) {
	t.Helper()
	before, err := tokenfile.Open(in, fields)
	if err != nil {
		return
	}
	a := answer(string(reply), at, time.Duration(lifetime)*time.Second)
	after, changes, err := before.Merge(a)
	if err != nil {
		t.Fatalf("merging %q into %q: %v", reply, in, err)
	}
	checkTokens(t, before, after, a)
	if len(fields) == 0 {
		checkOthers(t, in, after.Bytes(), changedNames(changes))
	}
	if encodingOf(in) != encodingOf(after.Bytes()) {
		t.Fatalf("the encoding changed: %q", after.Bytes())
	}
	again, _, err := after.Merge(a)
	if err != nil || !bytes.Equal(again.Bytes(), after.Bytes()) {
		t.Fatalf("merged again: %v\n%s, once\n%s", err, toUTF8(again.Bytes()), toUTF8(after.Bytes()))
	}
	if _, err := tokenfile.Open(after.Bytes(), fields); err != nil {
		t.Fatalf("opening %q: %v", after.Bytes(), err)
	}
}

// checkTokens compares the tokens with what encoding/json finds in the answer.
func checkTokens(t *testing.T, before, after *tokenfile.File, a tokenfile.Answer) {
	t.Helper()
	wantAccess, wantRefresh := before.AccessToken(), before.RefreshToken()
	for _, m := range a.Members {
		var s *string
		if bytes.Contains(m.Value, []byte(`\u`)) { // lone surrogates are no text to us
			return
		}
		if !utf8.Valid(m.Value) || json.Unmarshal(m.Value, &s) != nil || s == nil || *s == "" {
			continue
		}
		switch {
		case m.Name == "access_token":
			wantAccess = *s
		case m.Name == "refresh_token":
			wantRefresh = *s
		}
	}
	if after.AccessToken() != wantAccess {
		t.Fatalf("access token %q, want %q, in %q", after.AccessToken(), wantAccess, after.Bytes())
	}
	if after.RefreshToken() != wantRefresh && before.Layout() != tokenfile.LayoutCustom {
		t.Fatalf("refresh token %q, want %q, in %q", after.RefreshToken(), wantRefresh, after.Bytes())
	}
}

// changedNames are the names in the file of the members reported as changed.
func changedNames(changes []tokenfile.Change) map[string]bool {
	names := map[string]bool{}
	for _, c := range changes {
		if c.Kind == tokenfile.Updated || c.Kind == tokenfile.Recomputed {
			name := strings.NewReplacer("~1", "/", "~0", "~").Replace(strings.TrimPrefix(c.Pointer, "/"))
			names[name] = true
		}
	}
	return names
}
