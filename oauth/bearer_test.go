package oauth_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/oauth"
)

func TestParseChallenge(t *testing.T) {
	for _, tt := range []struct {
		name    string
		lines   []string
		want    oauth.Challenge
		refresh bool // worth it after a 401
	}{
		{"none", nil, oauth.Challenge{}, true},
		{"bare", []string{"Bearer"}, oauth.Challenge{Scheme: "Bearer"}, true},
		{"RFC 6750", []string{`Bearer realm="example", error="invalid_token", error_description="The access token expired"`},
			oauth.Challenge{Scheme: "Bearer", Realm: "example", Error: "invalid_token", ErrorDescription: "The access token expired"}, true},
		{"scope", []string{`bearer error=insufficient_scope, scope="a b"`}, oauth.Challenge{Scheme: "Bearer", Error: "insufficient_scope", Scope: "a b"}, false},
		{"RFC 9470", []string{`Bearer error="insufficient_user_authentication", acr_values="x y", max_age=5`},
			oauth.Challenge{Scheme: "Bearer", Error: "insufficient_user_authentication", ACRValues: "x y", MaxAge: "5"}, false},
		{"RFC 9728", []string{`Bearer resource_metadata="https://r.example/.well-known/oauth-protected-resource"`},
			oauth.Challenge{Scheme: "Bearer", ResourceMetadata: "https://r.example/.well-known/oauth-protected-resource"}, true},
		{"after Negotiate", []string{`Negotiate YII+/ab==, Bearer error="invalid_token"`}, oauth.Challenge{Scheme: "Bearer", Error: "invalid_token"}, true},
		{"after NTLM", []string{`NTLM, Bearer error="invalid_token"`}, oauth.Challenge{Scheme: "Bearer", Error: "invalid_token"}, true},
		{"in a quoted string", []string{`Basic realm="x, Bearer error=\"insufficient_scope\""`}, oauth.Challenge{}, true},
		{"credentials that look like a scheme", []string{`Negotiate Bearer==`}, oauth.Challenge{}, true},
		{"error of another scheme", []string{`Digest error="insufficient_scope"`, `Bearer realm=x`}, oauth.Challenge{Scheme: "Bearer", Realm: "x"}, true},
		{"two lines, the one with an error", []string{`Bearer realm="a"`, `Bearer realm="b", error="invalid_token"`}, oauth.Challenge{Scheme: "Bearer", Realm: "b", Error: "invalid_token"}, true},
		{"two in a line, the first error", []string{`Bearer error="invalid_token", Bearer error="insufficient_scope"`}, oauth.Challenge{Scheme: "Bearer", Error: "invalid_token"}, true},
		{"DPoP", []string{`DPoP error="use_dpop_nonce", algs="ES256"`}, oauth.Challenge{Scheme: "DPoP", Error: "use_dpop_nonce"}, false},
		{"Bearer before DPoP", []string{`DPoP error="invalid_token", Bearer`}, oauth.Challenge{Scheme: "Bearer"}, true},
		{"spaces", []string{" ,, Bearer   error = \"invalid_token\" ,\terror_uri=https://x/y "}, oauth.Challenge{Scheme: "Bearer", Error: "invalid_token", ErrorURI: "https://x/y"}, true},
		{"no commas", []string{`Bearer error="invalid_token" error_description="late"`}, oauth.Challenge{Scheme: "Bearer", Error: "invalid_token", ErrorDescription: "late"}, true},
		{"escapes", []string{`Bearer realm="a\"b\\c"`}, oauth.Challenge{Scheme: "Bearer", Realm: `a"b\c`}, true},
		{"no end quote", []string{`Bearer error="invalid_token`}, oauth.Challenge{Scheme: "Bearer", Error: "invalid_token"}, true},
		{"case", []string{`BEARER ERROR="invalid_token"`}, oauth.Challenge{Scheme: "Bearer", Error: "invalid_token"}, true},
		{"twice", []string{`Bearer error="invalid_token", error="insufficient_scope"`}, oauth.Challenge{Scheme: "Bearer", Error: "invalid_token"}, true},
		{"terminal escape", []string{"Bearer error_description=\"a\x1b[2Jb\""}, oauth.Challenge{Scheme: "Bearer", ErrorDescription: "a[2Jb"}, true},
		{"unknown error", []string{`Bearer error="token_expired"`}, oauth.Challenge{Scheme: "Bearer", Error: "token_expired"}, true},
	} {
		got := oauth.ParseChallenge(http.Header{"Www-Authenticate": tt.lines})
		if got != tt.want {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.name, got, tt.want)
		}
		if got.Refreshable(401) != tt.refresh || got.Refreshable(403) || got.Refreshable(200) {
			t.Errorf("%s: Refreshable is wrong", tt.name)
		}
	}
}

func FuzzParseChallenge(f *testing.F) {
	f.Add(`Bearer realm="a", error=invalid_token, Negotiate ab==, DPoP`)
	f.Add(`"\`)
	f.Fuzz(func(t *testing.T, line string) {
		got := oauth.ParseChallenge(http.Header{"Www-Authenticate": {line}})
		if got.Scheme != "" && got.Scheme != "Bearer" && got.Scheme != "DPoP" {
			t.Fatalf("scheme %q", got.Scheme)
		}
		if got.Scheme == "" && got != (oauth.Challenge{}) {
			t.Fatalf("no scheme, but %+v", got)
		}
		if len(got.Error) > 512 || strings.ContainsAny(got.Error+got.Realm, "\x00\x1b\n") {
			t.Fatalf("text %q", got.Error)
		}
	})
}

// TestChallengeCost: a header field as long as an answer may have.
func TestChallengeCost(t *testing.T) {
	for _, part := range []string{"a ", "a=b,", `"`, "((", "Bearer ,", `Bearer error="x" `, "a/b==", "= =", `\"`, "é"} {
		line := strings.Repeat(part, 64<<10/len(part))
		start := time.Now()
		oauth.ParseChallenge(http.Header{"Www-Authenticate": {line}})
		if d := time.Since(start); d > time.Second {
			t.Errorf("%q repeated: %v", part, d)
		}
	}
}
