package tokenfile_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/internal/tokenfile"
)

func open(t testing.TB, in string, fields tokenfile.Fields) *tokenfile.File {
	t.Helper()
	f, err := tokenfile.Open([]byte(in), fields)
	if err != nil {
		t.Fatalf("opening %s: %v", in, err)
	}
	return f
}

func TestOpen(t *testing.T) {
	claude := tokenfile.Fields{"access_token": "/claudeAiOauth/accessToken", "refresh_token": "/claudeAiOauth/refreshToken"}
	tests := []struct {
		name, in                string
		fields                  tokenfile.Fields
		layout, access, refresh string
		hasRefresh              bool
	}{
		{"answer", `{"access_token":"a","refresh_token":"r"}`, nil, "token-response", "a", "r", true},
		{"no refresh token", `{"access_token":"a"}`, nil, "token-response", "a", "", false},
		{"null refresh token", `{"access_token":"a","refresh_token":null}`, nil, "token-response", "a", "", true},
		{"empty refresh token", `{"access_token":"a","refresh_token":""}`, nil, "token-response", "a", "", true},
		{"no access token", `{"refresh_token":"r"}`, nil, "token-response", "", "r", true},
		{"null access token", `{"refresh_token":"r","access_token":null}`, nil, "token-response", "", "r", true},
		{"escaped name", `{"refresh\u005ftoken":"\u0072"}`, nil, "token-response", "", "r", true},
		{"x/oauth2", `{"access_token":"a","expiry":"2025-01-31T19:33:08+01:00"}`, nil, "x/oauth2", "a", "", false},
		{"google-auth", `{"token":"a","refresh_token":"r","token_uri":"u","client_id":"c"}`, nil, "google-authorized-user", "a", "r", true},
		{"google-auth, null", `{"token":null,"refresh_token":"r","client_id":"c"}`, nil, "google-authorized-user", "", "r", true},
		{"gcloud", `{"type":"authorized_user","refresh_token":"r","client_id":"c"}`, nil, "google-authorized-user", "", "r", true},
		{"typed, with access token", `{"type":"authorized_user","refresh_token":"r","access_token":"a"}`, nil, "google-authorized-user", "a", "r", true},
		{"token of something else", `{"token":"x","refresh_token":"r"}`, nil, "token-response", "", "r", true},
		{"deep", `{"x":1,"claudeAiOauth":{"accessToken":"a","refreshToken":"r"}}`, claude, "custom", "a", "r", true},
		{"deep, not there yet", `{"claudeAiOauth":{"refreshToken":"r"}}`, claude, "custom", "", "r", true},
		{"deep under the usual names", `{"tokens":{"access_token":"a","refresh_token":"r"}}`, tokenfile.Fields{"access_token": "/tokens/access_token"}, "custom", "a", "r", true},
		{"in an array", `{"l":[{"at":"a","refresh_token":"r"}]}`, tokenfile.Fields{"access_token": "/l/0/at"}, "custom", "a", "r", true},
		{"an array", `{"l":["a","r"]}`, tokenfile.Fields{"access_token": "/l/0", "refresh_token": "/l/1"}, "custom", "a", "r", true},
		{"only a client mapped", `{"access_token":"a","app":{"id":"c"}}`, tokenfile.Fields{"client_id": "/app/id"}, "custom", "a", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := open(t, tt.in, tt.fields)
			if f.Layout() != tt.layout || f.AccessToken() != tt.access || f.RefreshToken() != tt.refresh {
				t.Errorf("got %q %q %q", f.Layout(), f.AccessToken(), f.RefreshToken())
			}
			if f.HasRefreshMember() != tt.hasRefresh {
				t.Errorf("has refresh %t", f.HasRefreshMember())
			}
			if string(f.Bytes()) != tt.in {
				t.Errorf("bytes changed: %s", f.Bytes())
			}
		})
	}
}

func TestOpenRefused(t *testing.T) {
	tests := []struct {
		in     string
		fields tokenfile.Fields
		want   string
		format bool
	}{
		{`{}`, nil, "neither an access_token nor a refresh_token", true},
		{`{"accessToken":"a"}`, nil, "neither an access_token nor a refresh_token", true},
		{`["a"]`, nil, "an array", true},
		{"{\n\"access_token\":\"CANARY\",\n\"access_token\":\"CANARY\"}", nil, `line 3, column 1: the member "access_token" occurs more than once`, true},
		{`{"refresh_token":"CANARY","refresh\u005ftoken":"CANARY"}`, nil, `"refresh_token" occurs more`, true},
		{`{"access_token":"a","issued_at":1,"issued_at":1}`, nil, `"issued_at" occurs more`, true},
		{`{"access_token":"a","expiry":1,"expiry":1}`, nil, `"expiry" occurs more`, true},
		{`{"token":"a","token":"a","refresh_token":"r","client_id":"c"}`, nil, `"token" occurs more`, true},
		{`{"access_token":1}`, nil, "line 1, column 17: access_token is not a string", true},
		{`{"access_token":"\ud800"}`, nil, "access_token is not a string", true},
		{`{"access_token":"a","refresh_token":{}}`, nil, "refresh_token is not a string", true},
		{`{"a":{}}`, tokenfile.Fields{"access_token": "/a/b"}, "where the given fields point", true},
		{`{"a":{"x":1,"b":"c","b":"d"}}`, tokenfile.Fields{"access_token": "/a/b"}, `field access_token: line 1, column 21: the member "b" occurs`, true},
		{`{"a":{"b":"c","refresh_token":"","refresh_token":""}}`, tokenfile.Fields{"access_token": "/a/b"}, `"refresh_token" occurs`, true},
		{`{"a":{}}`, tokenfile.Fields{"access_token": "/b/c"}, "no object that could hold /b/c", true},
		{`{"a":[]}`, tokenfile.Fields{"access_token": "/a/0"}, "no element /a/0", true},
		{`{"a":"b"}`, tokenfile.Fields{"access_token": "a"}, "not a JSON pointer", false},
		{`{"a":"b"}`, tokenfile.Fields{"access_token": "/a", "refresh_token": "/a"}, "the same pointer", false},
	}
	for _, tt := range tests {
		_, err := tokenfile.Open([]byte(tt.in), tt.fields)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.in, err, tt.want)
			continue
		}
		var format *tokenfile.FormatError
		if errors.As(err, &format) != tt.format {
			t.Errorf("%s: error is %T", tt.in, err)
		}
		if strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: the error shows the file: %v", tt.in, err)
		}
	}
}

func TestText(t *testing.T) {
	f := open(t, `{"access_token":"a","id":"https://h/id/1","scopes":["x","y"],"n":12,"b":true,"o":{},"z":null,"app":{"id":"c"},"mix":["a",1]}`,
		tokenfile.Fields{"client_id": "/app/id"})
	for name, want := range map[string]string{
		"id": "https://h/id/1", "scope": "x y", "n": "12", "b": "true", "o": "", "z": "", "none": "", "client_id": "c", "mix": "",
	} {
		if got := f.Text(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestTimes(t *testing.T) {
	at := time.Date(2025, 1, 31, 18, 33, 8, 0, time.UTC)
	ms := func(n int) time.Time { return at.Add(time.Duration(n) * time.Millisecond) }
	tests := []struct {
		members string
		want    tokenfile.Times
	}{
		{``, tokenfile.Times{}},
		{`"issued_at":"1738348388166"`, tokenfile.Times{IssuedAt: ms(166)}},
		{`"issued_at":1738348388`, tokenfile.Times{IssuedAt: at}},
		{`"tokenCreateTimeUtc":1738348388,"expires_in":"3600"`, tokenfile.Times{IssuedAt: at, ExpiresIn: time.Hour}},
		{`"obtained_at":"2025-01-31T19:33:08.166+01:00"`, tokenfile.Times{IssuedAt: ms(166)}},
		{`"created_at":1738348388`, tokenfile.Times{}},
		{`"created_at":1738348388,"expires_in":60`, tokenfile.Times{IssuedAt: at, ExpiresIn: time.Minute}},
		{`"issued_at":1738348388,"obtained_at":1738348000`, tokenfile.Times{IssuedAt: at}},
		{`"expiry":"2025-01-31T18:33:08Z"`, tokenfile.Times{ExpiresAt: at}},
		{`"expiry":"2025-01-31 18:33:08z"`, tokenfile.Times{ExpiresAt: at}},
		{`"expiry":"0001-01-01T00:00:00Z"`, tokenfile.Times{}},
		{`"expiry":"2025-01-31T18:33:08"`, tokenfile.Times{}},
		{`"expiry":"soon"`, tokenfile.Times{}},
		{`"expires_at":1738348388.166`, tokenfile.Times{ExpiresAt: ms(166)}},
		{`"expires_at":1.738348388e9`, tokenfile.Times{ExpiresAt: at}},
		{`"expires_at":0`, tokenfile.Times{}},
		{`"expires_at":null`, tokenfile.Times{}},
		{`"expires_at":-5`, tokenfile.Times{}},
		{`"expires_at":1e400`, tokenfile.Times{}},
		{`"expires_at":123456789012345678901234567890`, tokenfile.Times{}},
		{`"expires_on":"1738348388"`, tokenfile.Times{ExpiresAt: at}},
		{`"expiresAt":1738348388166`, tokenfile.Times{ExpiresAt: ms(166)}},
		{`"expiration":1738348388166000`, tokenfile.Times{ExpiresAt: ms(166)}},
		{`"expiration":1738348388166000000`, tokenfile.Times{ExpiresAt: ms(166)}},
		{`"expires":3600`, tokenfile.Times{ExpiresIn: time.Hour}},
		{`"expires":1738348388`, tokenfile.Times{ExpiresAt: at}},
		{`"expires_at":1738348388,"expiry":"2030-01-01T00:00:00Z"`, tokenfile.Times{ExpiresAt: at}},
		{`"expires_in":-1`, tokenfile.Times{}},
		{`"expires_in":99999999999`, tokenfile.Times{ExpiresIn: 9223372036 * time.Second}},
		{`"x_refresh_token_expires_in":8726400`, tokenfile.Times{RefreshExpiresIn: 8726400 * time.Second}},
		{`"refresh_token_expires_at":1738348388`, tokenfile.Times{RefreshExpiresAt: at}},
	}
	for _, tt := range tests {
		in := `{"access_token":"a"}`
		if tt.members != "" {
			in = `{"access_token":"a",` + tt.members + `}`
		}
		if got := open(t, in, nil).Times(); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.members, got, tt.want)
		}
	}
}

func TestTimesOfMappedMembers(t *testing.T) {
	f := open(t, `{"o":{"at":"a"},"until":"1738348388","life":60}`,
		tokenfile.Fields{"access_token": "/o/at", "expires_at": "/until", "expires_in": "/life"})
	want := tokenfile.Times{ExpiresAt: time.Unix(1738348388, 0).UTC(), ExpiresIn: time.Minute}
	if got := f.Times(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
