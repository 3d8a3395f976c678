package tokenfile_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/internal/tokenfile"
	"github.com/google/go-cmp/cmp"
)

// answer reads a token answer the way the tests want it: members in order.
func answer(text string, received time.Time, lifetime time.Duration) tokenfile.Answer {
	a := tokenfile.Answer{Received: received, Lifetime: lifetime}
	for _, m := range members([]byte(text)) {
		a.Members = append(a.Members, tokenfile.Member{Name: m.name, Value: []byte(m.value)})
	}
	return a
}

var received = time.Date(2026, 11, 23, 12, 0, 3, 456789012, time.UTC)

var salesforceFile = []pair{
	{"access_token", `"00D41000....uLZBpT6"`},
	{"refresh_token", `"5Aep....25xdGgkrV"`},
	{"signature", `"cjTbSc5DvcKpaMoRTzuQTJLb1tcMw8LEO01flq4aMD4="`},
	{"scope", `"refresh_token id"`},
	{"instance_url", `"https://d41000000f8a0eak-dev-ed.my.salesforce.com"`},
	{"id", `"https://login.salesforce.com/id/00D41000000F8A0EAK/005410000000xxxAAE"`},
	{"token_type", `"Bearer"`},
	{"issued_at", `"1738348388166"`},
}

const salesforceAnswer = `{"access_token":"00D41000....NEW","signature":"bmV3IHNpZ25hdHVyZQ==",` +
	`"scope":"id refresh_token","instance_url":"https:\/\/d41000000f8a0eak-dev-ed.my.salesforce.com",` +
	`"id":"https://login.salesforce.com/id/00D41000000F8A0EAK/005410000000xxxAAE","token_type":"Bearer",` +
	`"issued_at":"1763899200000","api_instance_url":"https://api.salesforce.com"}`

func TestMergeSalesforceInEveryFormat(t *testing.T) {
	merged := append([]pair{}, salesforceFile...)
	merged[0].value = `"00D41000....NEW"`
	merged[2].value = `"bmV3IHNpZ25hdHVyZQ=="`
	merged[3].value = `"id refresh_token"`
	merged[7].value = `"1763899200000"`
	merged = append(merged, pair{"api_instance_url", `"https://api.salesforce.com"`})
	changed := map[string]bool{"access_token": true, "signature": true, "scope": true, "issued_at": true}
	for _, f := range formats() {
		file := f.render(salesforceFile)
		before := open(t, string(file), nil)
		after, _, err := before.Merge(answer(salesforceAnswer, received, 2*time.Hour))
		if err != nil {
			t.Errorf("%s: %v", f.name, err)
			continue
		}
		if want := f.render(merged); string(after.Bytes()) != string(want) {
			t.Errorf("%s:\n got %q\nwant %q", f.name, after.Bytes(), want)
		}
		checkOthers(t, file, after.Bytes(), changed)
		if after.RefreshToken() != "5Aep....25xdGgkrV" || string(before.Bytes()) != string(file) {
			t.Errorf("%s: refresh token %q, or the old file changed", f.name, after.RefreshToken())
		}
	}
}

func TestMergeReport(t *testing.T) {
	f := open(t, string(formats()[0].render(salesforceFile)), nil)
	_, got, err := f.Merge(answer(salesforceAnswer, received, 0))
	if err != nil {
		t.Fatal(err)
	}
	const instance = "https://d41000000f8a0eak-dev-ed.my.salesforce.com"
	const id = "https://login.salesforce.com/id/00D41000000F8A0EAK/005410000000xxxAAE"
	want := []tokenfile.Change{
		{Name: "access_token", Pointer: "/access_token", Kind: "updated", Secret: true},
		{Name: "refresh_token", Pointer: "/refresh_token", Kind: "kept", Secret: true},
		{Name: "signature", Pointer: "/signature", Kind: "updated", Secret: true},
		{Name: "scope", Pointer: "/scope", Kind: "updated", Old: "refresh_token id", New: "id refresh_token"},
		{Name: "instance_url", Pointer: "/instance_url", Kind: "unchanged", Old: instance, New: instance},
		{Name: "id", Pointer: "/id", Kind: "unchanged", Old: id, New: id},
		{Name: "token_type", Pointer: "/token_type", Kind: "unchanged", Old: "Bearer", New: "Bearer"},
		{Name: "issued_at", Pointer: "/issued_at", Kind: "updated", Old: "1738348388166", New: "1763899200000"},
		{Name: "api_instance_url", Pointer: "/api_instance_url", Kind: "added", New: "https://api.salesforce.com"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// Each case merges an answer into a file; kinds are "name kind" of the report,
// where it matters.
func TestMerge(t *testing.T) {
	claude := tokenfile.Fields{"access_token": "/c/accessToken", "refresh_token": "/c/refreshToken"}
	tests := []struct {
		name     string
		in       string
		answer   string
		want     string
		fields   tokenfile.Fields
		lifetime time.Duration
		kinds    string
	}{
		{name: "rotation", in: `{"access_token":"a","refresh_token":"r"}`, answer: `{"access_token":"b","refresh_token":"s"}`,
			want: `{"access_token":"b","refresh_token":"s"}`, kinds: "access_token updated, refresh_token updated"},
		{name: "null refresh token", in: `{"access_token":"a","refresh_token":"r"}`, answer: `{"access_token":"b","refresh_token":null}`,
			want: `{"access_token":"b","refresh_token":"r"}`, kinds: "access_token updated, refresh_token kept"},
		{name: "empty refresh token", in: `{"access_token":"a","refresh_token":"r"}`, answer: `{"access_token":"b","refresh_token":""}`,
			want: `{"access_token":"b","refresh_token":"r"}`},
		{name: "refresh token that is no string", in: `{"access_token":"a","refresh_token":"r"}`, answer: `{"access_token":"b","refresh_token":["x"]}`,
			want: `{"access_token":"b","refresh_token":"r"}`},
		{name: "first refresh token", in: `{"access_token":"a","refresh_token":null}`, answer: `{"access_token":"b","refresh_token":"s"}`,
			want: `{"access_token":"b","refresh_token":"s"}`},
		{name: "new refresh member", in: `{"access_token":"a"}`, answer: `{"access_token":"b","refresh_token":"s"}`,
			want: `{"access_token":"b","refresh_token":"s"}`, kinds: "access_token updated, refresh_token added"},
		{name: "no access token: the old one and its times stay", in: `{"access_token":"a","refresh_token":"r","expires_in":60,"expires_at":5}`,
			answer: `{"refresh_token":"s","expires_in":99,"access_token":""}`, lifetime: time.Hour,
			want: `{"access_token":"a","refresh_token":"s","expires_in":60,"expires_at":5}`, kinds: "access_token left, refresh_token updated, expires_in left, expires_at left"},
		{name: "error members without a value", in: `{"access_token":"a"}`, answer: `{"access_token":"b","error":null,"error_description":"","x":null}`,
			want: `{"access_token":"b","x":null}`},
		{name: "twins in the answer", in: `{"access_token":"a"}`, answer: `{"access_token":"b","x":1,"x":2,"access_token":"c"}`,
			want: `{"access_token":"c","x":2}`},
		{name: "unknown twins in the file", in: `{"access_token":"a","x":1,"x":1}`, answer: `{"access_token":"b","x":2}`,
			want: `{"access_token":"b","x":1,"x":2}`},
		{name: "escapes kept as received", in: `{"access_token":"a"}`, answer: `{"access_token":"b\/\u00e9"}`, want: `{"access_token":"b\/\u00e9"}`},
		{name: "number sent as string", in: `{"access_token":"a","expires_in":60}`, answer: `{"access_token":"b","expires_in":"3600"}`,
			want: `{"access_token":"b","expires_in":3600}`},
		{name: "string sent as number", in: `{"access_token":"a","expires_on":"60"}`, answer: `{"access_token":"b","expires_on":1763899200}`,
			want: `{"access_token":"b","expires_on":"1763899200"}`},
		{name: "x/oauth2", in: `{"access_token":"a","token_type":"Bearer","refresh_token":"r","expiry":"2025-01-31T20:33:08.166382+02:00"}`,
			answer: `{"access_token":"b","expires_in":"3600"}`, lifetime: time.Hour,
			want:  `{"access_token":"b","token_type":"Bearer","refresh_token":"r","expiry":"2026-11-23T15:00:03.456789+02:00","expires_in":3600}`,
			kinds: "access_token updated, refresh_token kept, expiry recomputed, expires_in added"},
		{name: "x/oauth2 zero expiry", in: `{"access_token":"a","expiry":"0001-01-01T00:00:00Z"}`, answer: `{"access_token":"b"}`, lifetime: time.Hour,
			want: `{"access_token":"b","expiry":"2026-11-23T13:00:03Z"}`},
		{name: "unknown lifetime", in: `{"access_token":"a","expires_on":"1738348388"}`, answer: `{"access_token":"b"}`,
			want: `{"access_token":"b","expires_on":"1738348388"}`, kinds: "access_token updated, expires_on left"},
		{name: "all notations of expiry", in: `{"access_token":"a","expires_at":1738348388.1663,"expires_on":"1738348388","expiry_date":1738348388166,"expiresAt":0,"expiration":"2025-01-31 18:33:08.0z","expires":1738348388,"expires_time":1738348388166000}`,
			answer: `{"access_token":"b"}`, lifetime: time.Hour,
			want: `{"access_token":"b","expires_at":1795438803.4567,"expires_on":"1795438803","expiry_date":1795438803456,"expiresAt":1795438803456,"expiration":"2026-11-23 13:00:03.4z","expires":1795438803,"expires_time":1795438803456789}`},
		{name: "expiry not understood", in: `{"access_token":"a","expires_at":null,"expiry":"2025-01-31T18:33:08","expires_on":"soon"}`, answer: `{"access_token":"b"}`, lifetime: time.Hour,
			want:  `{"access_token":"b","expires_at":null,"expiry":"2025-01-31T18:33:08","expires_on":"soon"}`,
			kinds: "access_token updated, expires_at left, expiry left, expires_on left"},
		{name: "relative disagrees with absolute", in: `{"access_token":"a","expires_in":60,"expires_at":1738348388}`, answer: `{"access_token":"b"}`, lifetime: time.Hour,
			want: `{"access_token":"b","expires_in":3600,"expires_at":1795438803}`},
		{name: "relative called expires", in: `{"access_token":"a","expires":"60"}`, answer: `{"access_token":"b"}`, lifetime: time.Hour,
			want: `{"access_token":"b","expires":"3600"}`},
		{name: "points of issue", in: `{"access_token":"a","issued_at":"1738348388166","tokenCreateTimeUtc":1738348388,"obtained_at":"2025-01-31T18:33:08+00:00"}`, answer: `{"access_token":"b"}`,
			want: `{"access_token":"b","issued_at":"1795435203456","tokenCreateTimeUtc":1795435203,"obtained_at":"2026-11-23T12:00:03+00:00"}`},
		{name: "somebody's created_at", in: `{"access_token":"a","created_at":1738348388}`, answer: `{"access_token":"b"}`, lifetime: time.Hour,
			want: `{"access_token":"b","created_at":1738348388}`},
		{name: "created_at beside a lifetime", in: `{"access_token":"a","created_at":1738348388,"expires_in":3600}`, answer: `{"access_token":"b"}`, lifetime: time.Hour,
			want: `{"access_token":"b","created_at":1795435203,"expires_in":3600}`, kinds: "access_token updated, created_at recomputed, expires_in unchanged"},
		{name: "expiry of the refresh token", in: `{"access_token":"a","refresh_token":"r","refresh_token_expires_at":1738348388}`, answer: `{"access_token":"b","refresh_token":"s","refresh_token_expires_in":86400}`,
			want: `{"access_token":"b","refresh_token":"s","refresh_token_expires_at":1795521603,"refresh_token_expires_in":86400}`},
		{name: "google-auth", in: `{"token": "a", "refresh_token": "r", "token_uri": "u", "client_id": "c", "scopes": ["x"], "expiry": "2025-01-31T18:33:08.166382Z"}`,
			answer: `{"access_token":"b","expires_in":3599,"scope":"x","token_type":"Bearer"}`, lifetime: 3599 * time.Second,
			want:  `{"token": "b", "refresh_token": "r", "token_uri": "u", "client_id": "c", "scopes": ["x"], "expiry": "2026-11-23T13:00:02.456789Z"}`,
			kinds: "access_token updated, refresh_token kept, expiry recomputed"},
		{name: "gcloud", in: `{"type":"authorized_user","client_id":"c","refresh_token":"r"}`, answer: `{"access_token":"b","expires_in":3599,"refresh_token":"s"}`, lifetime: time.Hour,
			want: `{"type":"authorized_user","client_id":"c","refresh_token":"s","access_token":"b","expires_in":3599}`, kinds: "refresh_token updated, access_token added, expires_in added"},
		{name: "deep under other names", in: `{"v":1,"c":{"accessToken":"a","refreshToken":"r","expiresAt":1738348388166,"scopes":["x"]},"scope":"mine"}`, fields: claude,
			answer: `{"access_token":"b","refresh_token":"s","expires_in":3600,"scope":"x","account":{}}`, lifetime: time.Hour,
			want: `{"v":1,"c":{"accessToken":"b","refreshToken":"s","expiresAt":1795438803456,"scopes":["x"]},"scope":"mine"}`},
		{name: "deep, added where the field points", in: `{"c":{"refreshToken":"r"}}`, fields: claude, answer: `{"access_token":"b","x":1}`,
			want: `{"c":{"refreshToken":"r","accessToken":"b"}}`},
		{name: "a refresh token is never lost", in: `{"c":{"at":"a"}}`, fields: tokenfile.Fields{"access_token": "/c/at"}, answer: `{"access_token":"b","refresh_token":"s"}`,
			want: `{"c":{"at":"b","refresh_token":"s"}}`},
		{name: "deep under the usual names", in: `{"tokens":{"access_token":"a","refresh_token":"r"},"x":1}`, fields: tokenfile.Fields{"access_token": "/tokens/access_token"},
			answer: `{"access_token":"b","x":2}`, want: `{"tokens":{"access_token":"b","refresh_token":"r","x":2},"x":1}`},
		{name: "mapped elsewhere", in: `{"access_token":"a","s":{"rt":"r"},"refresh_token":"mine"}`, fields: tokenfile.Fields{"refresh_token": "/s/rt"},
			answer: `{"access_token":"b","refresh_token":"s"}`, want: `{"access_token":"b","s":{"rt":"s"},"refresh_token":"mine"}`},
		{name: "the answer brings what the caller has put a token in", in: `{"access_token":"a","s":{"rt":"r"}}`, fields: tokenfile.Fields{"refresh_token": "/s/rt"},
			answer: `{"access_token":"b","refresh_token":"s","s":1,"rt":2}`, want: `{"access_token":"b","s":{"rt":"s"},"rt":2}`},
		{name: "the answer brings the name the caller has given a token", in: `{"access_token":"a"}`, fields: tokenfile.Fields{"refresh_token": "/rt"},
			answer: `{"access_token":"b","rt":2,"refresh_token":"s"}`, want: `{"access_token":"b","rt":"s"}`},
		{name: "nested values in the style of the file", in: "{\r\n\t\"access_token\": \"a\"\r\n}\r\n", answer: `{"access_token":"a","o":{"l":[1]}}`,
			want: "{\r\n\t\"access_token\": \"a\",\r\n\t\"o\": {\r\n\t\t\"l\": [\r\n\t\t\t1\r\n\t\t]\r\n\t}\r\n}\r\n"},
		{name: "deeply nested member", in: `{"access_token":"a"}`, answer: `{"access_token":"b","x":` + strings.Repeat("[", 1001) + strings.Repeat("]", 1001) + `}`,
			want: `{"access_token":"b"}`, kinds: "access_token updated, x left"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := open(t, tt.in, tt.fields)
			a := answer(tt.answer, received, tt.lifetime)
			once, changes, err := f.Merge(a)
			if err != nil {
				t.Fatal(err)
			}
			if string(once.Bytes()) != tt.want {
				t.Errorf("got  %s\nwant %s", once.Bytes(), tt.want)
			}
			if got := kinds(changes); tt.kinds != "" && got != tt.kinds {
				t.Errorf("report: %s\n  want: %s", got, tt.kinds)
			}
			twice, _, err := once.Merge(a)
			if err != nil || string(twice.Bytes()) != string(once.Bytes()) {
				t.Errorf("merged again: %v, %s", err, twice.Bytes())
			}
		})
	}
}

func kinds(changes []tokenfile.Change) string {
	var list []string
	for _, c := range changes {
		list = append(list, c.Name+" "+c.Kind)
	}
	return strings.Join(list, ", ")
}

func TestMergeShowsNoSecret(t *testing.T) {
	f := open(t, `{"access_token":"CANARY1","refresh_token":"CANARY2","x":"CANARY3"}`, nil)
	_, changes, err := f.Merge(answer(`{"access_token":"CANARY4","id_token":"CANARY5","x":"CANARY6","ciphertext":{"a":"CANARY7"}}`, received, 0))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(changes)
	if strings.Contains(string(text), "CANARY") {
		t.Errorf("the report shows a secret: %s", text)
	}
}

func TestMergeBrokenMembers(t *testing.T) {
	f := open(t, `{"access_token":"a","refresh_token":"r"}`, nil)
	after, changes, err := f.Merge(tokenfile.Answer{Members: []tokenfile.Member{
		{Name: "access_token", Value: []byte(`"b"`)},
		{Name: "refresh_token", Value: []byte(`"s"`)},
		{Name: "no value"},
		{Name: "scope", Value: []byte("\"\xff\"")},
		{Name: "cut", Value: []byte(`{"a":`)},
		{Name: "two", Value: []byte(`1,"access_token":"x"`)},
		{Name: "\xff", Value: []byte(`1`)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"access_token":"b","refresh_token":"s"}`; string(after.Bytes()) != want {
		t.Errorf("got %s, want %s", after.Bytes(), want)
	}
	if got, want := kinds(changes), "access_token updated, refresh_token updated, no value left, scope left, cut left, two left, \uFFFD left"; got != want {
		t.Errorf("report %q, want %q", got, want)
	}
}

// A mebibyte of members on either side must not cost the square of it.
func TestMergeLarge(t *testing.T) {
	var list []pair
	for i := range 40000 {
		list = append(list, pair{"member" + time.Duration(i).String(), `"0123456789"`})
	}
	f := formats()[0]
	file := f.render(append(append([]pair{}, list...), salesforceFile...))
	a := answer(salesforceAnswer, received, time.Hour)
	for i, m := range list {
		name, value := m.name, `"9876543210"`
		if i%2 == 0 {
			name = "new" + m.name
		}
		a.Members = append(a.Members, tokenfile.Member{Name: name, Value: []byte(value)})
	}
	start := time.Now()
	after, _, err := open(t, string(file), nil).Merge(a)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s for %d bytes", took, len(file))
	}
	if n := len(members(after.Bytes())); n != 40000+8+20000+1 {
		t.Errorf("%d members", n)
	}
}

func BenchmarkOpenMerge(b *testing.B) {
	file := formats()[0].render(salesforceFile)
	a := answer(salesforceAnswer, received, 2*time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		f, err := tokenfile.Open(file, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err = f.Merge(a); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	file := formats()[0].render(salesforceFile)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tokenfile.Open(file, nil); err != nil {
			b.Fatal(err)
		}
	}
}
