package oauth_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/oauth"
)

const (
	newAT = "00Dnew!AR8AQ.at_2"
	newRT = "5Aep861.rt_2=="
)

func answer(contentType, body string) *oauth.Answer {
	return &oauth.Answer{Status: 200, Header: http.Header{"Content-Type": {contentType}}, Body: []byte(body)}
}

// pair is an answer with both tokens and something more.
func pair(more string) string {
	return `{"access_token":"` + newAT + `","refresh_token":"` + newRT + `"` + more + `}`
}

// TestShapes holds the answer shapes that cost other clients a rotated token:
// each must give the newest tokens.
func TestShapes(t *testing.T) {
	const js = "application/json"
	full := `,"token_type":"Bearer","expires_in":3600,"scope":"a b"`
	for _, tt := range []struct {
		name, ctype, body string
		status            int
		rt                string
		state             oauth.ExpiresInState
	}{
		{"normal", js, pair(full), 200, newRT, oauth.ExpiresInOK},
		{"type-lower", js, pair(`,"token_type":"bearer","expires_in":3600`), 200, newRT, oauth.ExpiresInOK},
		{"ctype-html", "text/html; charset=utf-8", pair(full), 200, newRT, oauth.ExpiresInOK},
		{"exp-absent", js, pair(`,"token_type":"Bearer"`), 200, newRT, oauth.ExpiresInAbsent},
		{"exp-string", js, pair(`,"expires_in":"3600"`), 200, newRT, oauth.ExpiresInOK},
		{"exp-float", js, pair(`,"expires_in":3600.0`), 200, newRT, oauth.ExpiresInOK},
		{"exp-null", js, pair(`,"expires_in":null`), 200, newRT, oauth.ExpiresInAbsent},
		{"exp-empty", js, pair(`,"expires_in":""`), 200, newRT, oauth.ExpiresInAbsent},
		{"type-absent", js, pair(`,"expires_in":3600`), 200, newRT, oauth.ExpiresInOK},
		{"type-odd", js, pair(`,"token_type":"BearerToken","expires_in":3600`), 200, newRT, oauth.ExpiresInOK},
		{"rt-absent", js, `{"access_token":"` + newAT + `","expires_in":3600}`, 200, "", oauth.ExpiresInOK},
		{"rt-null", js, `{"access_token":"` + newAT + `","refresh_token":null,"expires_in":3600}`, 200, "", oauth.ExpiresInOK},
		{"rt-empty", js, `{"access_token":"` + newAT + `","refresh_token":"","expires_in":3600}`, 200, "", oauth.ExpiresInOK},
		{"scope array", js, pair(`,"scope":["a","b"],"expires_in":3600`), 200, newRT, oauth.ExpiresInOK},
		{"ctype-text", "text/plain", pair(full), 200, newRT, oauth.ExpiresInOK},
		{"error-null", js, pair(`,"error":null,"expires_in":3600`), 200, newRT, oauth.ExpiresInOK},
		{"status 201", js, pair(full), 201, newRT, oauth.ExpiresInOK},
		{"bom", js, "\xef\xbb\xbf" + pair(full), 200, newRT, oauth.ExpiresInOK},

		{"ctype-none", "", pair(full), 200, newRT, oauth.ExpiresInOK},
		{"ctype-broken", ";;;", pair(full), 200, newRT, oauth.ExpiresInOK},
		{"ctype-form, JSON", "application/x-www-form-urlencoded", pair(full), 200, newRT, oauth.ExpiresInOK},
		{"white space around", js, " \r\n\t" + pair(full) + "\n\n ", 200, newRT, oauth.ExpiresInOK},
		{"invalid UTF-8 elsewhere", js, pair(`,"name":"J` + "\xff" + `r","expires_in":3600`), 200, newRT, oauth.ExpiresInOK},
		{"escaped name", js, `{"acces\u0073_token":"` + newAT + `","refresh\u005ftoken":"` + newRT + `"}`, 200, newRT, oauth.ExpiresInAbsent},
		{"deep member", js, pair(`,"x":` + strings.Repeat("[", 4990) + strings.Repeat("]", 4990)), 200, newRT, oauth.ExpiresInAbsent},
		{"case variant beside", js, pair(`,"Access_Token":"no","ACCESS_TOKEN":"no"`), 200, newRT, oauth.ExpiresInAbsent},
		{"duplicate of another member", js, pair(`,"x":1,"x":2,"expires_in":3600`), 200, newRT, oauth.ExpiresInOK},
		{"large number", js, pair(`,"n":` + strings.Repeat("9", 100000)), 200, newRT, oauth.ExpiresInAbsent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := answer(tt.ctype, tt.body)
			a.Status = tt.status
			got, err := oauth.ParseToken(a, oauth.Dialect{})
			if err != nil {
				t.Fatal(err)
			}
			if got.AccessToken.Reveal() != newAT || got.RefreshToken.Reveal() != tt.rt {
				t.Errorf("tokens %q %q", got.AccessToken.Reveal(), got.RefreshToken.Reveal())
			}
			if got.ExpiresInState != tt.state || (tt.state == oauth.ExpiresInOK) != (got.ExpiresIn == time.Hour) {
				t.Errorf("expires in %v, %v", got.ExpiresIn, got.ExpiresInState)
			}
			if got.Error != "" {
				t.Errorf("error %q", got.Error)
			}
		})
	}
}

func TestExpiresIn(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, tt := range []struct {
		json  string
		want  time.Duration
		state oauth.ExpiresInState
	}{
		{`3600`, time.Hour, oauth.ExpiresInOK},
		{`"3600"`, time.Hour, oauth.ExpiresInOK},
		{`" 3600 "`, time.Hour, oauth.ExpiresInOK},
		{`3600.0`, time.Hour, oauth.ExpiresInOK},
		{`3600.5`, time.Hour + time.Second/2, oauth.ExpiresInOK},
		{`1e3`, 1000 * time.Second, oauth.ExpiresInOK},
		{`"1e3"`, 1000 * time.Second, oauth.ExpiresInOK},
		{`1e20`, 10 * year, oauth.ExpiresInOK},
		{`1e400`, 10 * year, oauth.ExpiresInOK},
		{strings.Repeat("9", 100000), 10 * year, oauth.ExpiresInOK},
		{`0`, 0, oauth.ExpiresInZeroOrNegative},
		{`-0.0`, 0, oauth.ExpiresInZeroOrNegative},
		{`-5`, 0, oauth.ExpiresInZeroOrNegative},
		{`-1e400`, 0, oauth.ExpiresInZeroOrNegative},
		{`"-5"`, 0, oauth.ExpiresInZeroOrNegative},
		{`null`, 0, oauth.ExpiresInAbsent},
		{`""`, 0, oauth.ExpiresInAbsent},
		{`" "`, 0, oauth.ExpiresInAbsent},
		{`"1h"`, 0, oauth.ExpiresInUnreadable},
		{`"NaN"`, 0, oauth.ExpiresInUnreadable},
		{`"Infinity"`, 0, oauth.ExpiresInUnreadable},
		{`"0x10"`, 0, oauth.ExpiresInUnreadable},
		{`"3_600"`, 0, oauth.ExpiresInUnreadable},
		{`"."`, 0, oauth.ExpiresInUnreadable},
		{`true`, 0, oauth.ExpiresInUnreadable},
		{`[3600]`, 0, oauth.ExpiresInUnreadable},
		{`3600,"expires_in":7200`, 0, oauth.ExpiresInUnreadable},
	} {
		got, err := oauth.ParseToken(answer("", pair(`,"expires_in":`+tt.json)), oauth.Dialect{})
		if err != nil || got.ExpiresIn != tt.want || got.ExpiresInState != tt.state || got.RefreshToken.Reveal() != newRT {
			t.Errorf("%.40s: %v %v %v, want %v %v", tt.json, got.ExpiresIn, got.ExpiresInState, err, tt.want, tt.state)
		}
	}
}

func TestRefusedTokens(t *testing.T) {
	long := strings.Repeat("x", 256<<10)
	for _, tt := range []struct {
		name, body string
		want       string // type of the error
		at, rt     string // what is readable all the same
	}{
		{"rt number", `{"access_token":"A","refresh_token":12}`, "*oauth.TokenError", "A", ""},
		{"rt object", `{"access_token":"A","refresh_token":{}}`, "*oauth.TokenError", "A", ""},
		{"rt true", `{"access_token":"A","refresh_token":true}`, "*oauth.TokenError", "A", ""},
		{"at number", `{"access_token":1,"refresh_token":"R"}`, "*oauth.TokenError", "", "R"},
		{"rt NUL", `{"access_token":"A","refresh_token":"a\u0000b"}`, "*oauth.TokenError", "A", ""},
		{"rt newline", `{"access_token":"A","refresh_token":"a\nb"}`, "*oauth.TokenError", "A", ""},
		{"at DEL", `{"access_token":"a\u007f","refresh_token":"R"}`, "*oauth.TokenError", "", "R"},
		{"rt non-ASCII", `{"access_token":"A","refresh_token":"é"}`, "*oauth.TokenError", "A", ""},
		{"rt invalid UTF-8", `{"access_token":"A","refresh_token":"a` + "\xff" + `"}`, "*oauth.TokenError", "A", ""},
		{"rt lone surrogate", `{"access_token":"A","refresh_token":"\ud800"}`, "*oauth.TokenError", "A", ""},
		{"rt largest", `{"access_token":"A","refresh_token":"` + long + `"}`, "", "A", long},
		{"rt too large", `{"access_token":"A","refresh_token":"` + long + `x"}`, "*oauth.TokenError", "A", ""},
		{"two at", `{"access_token":"A","access_token":"B","refresh_token":"R"}`, "*oauth.AmbiguousError", "", "R"},
		{"two at by escape", `{"access_token":"A","acces\u0073_token":"B","refresh_token":"R"}`, "*oauth.AmbiguousError", "", "R"},
		{"two rt, equal", `{"access_token":"A","refresh_token":"R","refresh_token":"R"}`, "*oauth.AmbiguousError", "A", ""},
		{"two types", `{"access_token":"A","token_type":"Bearer","token_type":"mac"}`, "*oauth.AmbiguousError", "A", ""},
		{"two errors", `{"error":"invalid_grant","error":"server_error"}`, "*oauth.AmbiguousError", "", ""},
		{"trailing bytes", `{"access_token":"A","refresh_token":"R"}x`, "*oauth.FormatError", "A", "R"},
		{"two objects", `{"access_token":"A"}{"access_token":"B"}`, "*oauth.FormatError", "A", ""},
		{"cut", `{"access_token":"A","refresh_token":"R","sco`, "*oauth.FormatError", "A", "R"},
		{"cut in the token", `{"access_token":"A","refresh_token":"R`, "*oauth.FormatError", "A", ""},
		{"bomb", `{"access_token":"A","x":` + strings.Repeat("[", 100000), "*oauth.FormatError", "A", ""},
		{"object bomb", strings.Repeat(`{"a":`, 100000), "*oauth.FormatError", "", ""},
		{"array", `[{"access_token":"A"}]`, "*oauth.FormatError", "", ""},
		{"html", `<html>x</html>`, "*oauth.FormatError", "", ""},
		{"empty", ``, "*oauth.FormatError", "", ""},
		{"bom only", "\xef\xbb\xbf", "*oauth.FormatError", "", ""},
		{"form undeclared", `access_token=A&refresh_token=R`, "*oauth.FormatError", "", ""},
		{"empty object", `{}`, "", "", ""},
		{"only case variants", `{"Access_Token":"A"}`, "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := answer("application/json", tt.body)
			got, err := oauth.ParseToken(a, oauth.Dialect{})
			kind := ""
			if err != nil {
				kind = fmt.Sprintf("%T", err)
				if len(err.Error()) > 200 {
					t.Errorf("long error: %v", err)
				}
			}
			if kind != tt.want {
				t.Fatalf("error %v (%s), want %s", err, kind, tt.want)
			}
			if got.AccessToken.Reveal() != tt.at || got.RefreshToken.Reveal() != tt.rt {
				t.Errorf("tokens %.20q %.20q", got.AccessToken.Reveal(), got.RefreshToken.Reveal())
			}
			if err != nil && rawAnswer(err) != a {
				t.Error("the raw answer is not in the error")
			}
		})
	}
}

func rawAnswer(err error) *oauth.Answer {
	var ambiguous *oauth.AmbiguousError
	var token *oauth.TokenError
	var format *oauth.FormatError
	switch {
	case errors.As(err, &ambiguous):
		return ambiguous.Answer
	case errors.As(err, &token):
		return token.Answer
	case errors.As(err, &format):
		return format.Answer
	}
	return nil
}

func TestTruncatedAnswer(t *testing.T) {
	a := answer("", pair(""))
	a.Truncated = true
	got, err := oauth.ParseToken(a, oauth.Dialect{})
	if rawAnswer(err) != a || got.RefreshToken.Reveal() != newRT {
		t.Errorf("%v, %v", got, err)
	}
}

func TestErrorAnswers(t *testing.T) {
	slack := oauth.Dialect{OKField: "ok"}
	for _, tt := range []struct {
		body          string
		d             oauth.Dialect
		code, text, u string
	}{
		{`{"error":"invalid_grant","error_description":"expired","error_uri":"https://x/"}`, oauth.Dialect{}, "invalid_grant", "expired", "https://x/"},
		{`{"error":""}`, oauth.Dialect{}, "", "", ""},
		{`{"error":false}`, oauth.Dialect{}, "", "", ""},
		{`{"error":100016,"error_description":null}`, oauth.Dialect{}, "100016", "", ""},
		{`{"error":{"code":401,"message":"no\u001b[31m \u202eway"}}`, oauth.Dialect{}, "401", "no[31m way", ""},
		{`{"error":{}}`, oauth.Dialect{}, "", "", ""}, // empty in any form is none: an API that says "error": 0 beside tokens means success
		{`{"error":[]}`, oauth.Dialect{}, "", "", ""},
		{`{"error":0}`, oauth.Dialect{}, "", "", ""},
		{`{"error":{"x":1}}`, oauth.Dialect{}, "object", "", ""},
		{`{"error":[1]}`, oauth.Dialect{}, "array", "", ""},
		{`{"ok":false,"error":"token_expired"}`, slack, "token_expired", "", ""},
		{`{"ok":false}`, slack, "not_ok", "", ""},
		{`{"ok":true}`, slack, "", "", ""},
		{`{"ok":false}`, oauth.Dialect{}, "", "", ""},
		{`{"errorCode":"bad"}`, oauth.Dialect{Rename: map[string]string{"errorCode": "error"}}, "bad", "", ""},
		{`{"error":"a\nb\u0000\u2066c"}`, oauth.Dialect{}, "a bc", "", ""},
	} {
		got, err := oauth.ParseToken(answer("", tt.body), tt.d)
		if err != nil || got.Error != tt.code || got.ErrorDescription != tt.text || got.ErrorURI != tt.u {
			t.Errorf("%s: %q %q %q %v", tt.body, got.Error, got.ErrorDescription, got.ErrorURI, err)
		}
	}
	got, _ := oauth.ParseToken(answer("", `{"error_description":"`+strings.Repeat("é", 5000)+`"}`), oauth.Dialect{})
	if n := len(got.ErrorDescription); n != 512 {
		t.Errorf("description of %d bytes", n)
	}
}

func TestScope(t *testing.T) {
	for _, tt := range []struct {
		json, want string
		has        bool
	}{
		{`"a b"`, "a b", true}, {`""`, "", true}, {`["a","b"]`, "a b", true}, {`["a",1,null,"b"]`, "a b", true},
		{`[]`, "", true}, {`null`, "", false}, {`7`, "", false}, {`{}`, "", false},
	} {
		got, err := oauth.ParseToken(answer("", `{"scope":`+tt.json+`}`), oauth.Dialect{})
		if err != nil || got.Scope != tt.want || got.HasScope != tt.has {
			t.Errorf("%s: %q %v %v", tt.json, got.Scope, got.HasScope, err)
		}
	}
}

func TestDialects(t *testing.T) {
	form := url.Values{"access_token": {newAT}, "refresh_token": {newRT}, "expires_in": {"3600"}, "x": {"1"}}.Encode()
	nested := `{"ok":true,"access_token":"bot","authed_user":{"access_token":"` + newAT + `","refresh_token":"` + newRT + `","expires_in":3600}}`
	for _, tt := range []struct {
		name, ctype, body string
		d                 oauth.Dialect
		members           int
	}{
		{"form", "application/x-www-form-urlencoded; charset=utf-8", form, oauth.Dialect{}, 4},
		{"form as text", "text/plain", form, oauth.Dialect{Form: true}, 4},
		{"form dialect, JSON", "text/plain", pair(`,"expires_in":3600`), oauth.Dialect{Form: true}, 3},
		{"form dialect, JSON after a BOM", "", "\xef\xbb\xbf\n" + pair(`,"expires_in":3600`), oauth.Dialect{Form: true}, 3},
		{"form with a bad pair", "text/plain", "bad=%zz&nothing&" + form, oauth.Dialect{Form: true}, 4},
		{"pointer", "", nested, oauth.Dialect{Pointer: "/authed_user"}, 3},
		{"pointer to nothing", "", pair(`,"expires_in":3600`), oauth.Dialect{Pointer: "/authed_user"}, 3},
		{"escaped pointer", "", `{"a/b":{"~":` + pair(`,"expires_in":3600`) + `}}`, oauth.Dialect{Pointer: "/a~1b/~0"}, 3},
		{"rename", "", `{"accessToken":"` + newAT + `","refreshToken":"` + newRT + `","expiresIn":3600}`,
			oauth.Dialect{Rename: map[string]string{"accessToken": "access_token", "refreshToken": "refresh_token", "expiresIn": "expires_in"}}, 3},
	} {
		got, err := oauth.ParseToken(answer(tt.ctype, tt.body), tt.d)
		if err != nil || got.AccessToken.Reveal() != newAT || got.RefreshToken.Reveal() != newRT || got.ExpiresIn != time.Hour {
			t.Errorf("%s: %v, %v", tt.name, got, err)
		}
		if len(got.Members) != tt.members {
			t.Errorf("%s: %d members, want %d", tt.name, len(got.Members), tt.members)
		}
	}
	for name, body := range map[string]string{
		"broken token": "access_token=%zz&x=1", "page": "<a href=x>", "word": "nothing",
	} {
		if got, err := oauth.ParseToken(answer("text/plain", body), oauth.Dialect{Form: true}); err == nil {
			t.Errorf("%s: no error, %v", name, got)
		}
	}
	both := oauth.Dialect{Rename: map[string]string{"accessToken": "access_token"}}
	_, err := oauth.ParseToken(answer("", `{"accessToken":"a","access_token":"b"}`), both)
	if ambiguous := new(oauth.AmbiguousError); !errors.As(err, &ambiguous) {
		t.Errorf("renamed twice: %v", err)
	}
	flat, err := oauth.ParseToken(answer("", `{"error":"invalid_grant"}`), oauth.Dialect{Pointer: "/authed_user"})
	if err != nil || flat.Error != "invalid_grant" {
		t.Errorf("flat error: %v", err)
	}
}

func TestMembersKeepBytesAndOrder(t *testing.T) {
	got, err := oauth.ParseToken(answer("", `{ "z" : 1.50 , "a":"\u0041" ,"access_token":"A", "o":{"b" :[1 ,2]}}`), oauth.Dialect{})
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, m := range got.Members {
		list = append(list, m.Name+"="+string(m.Value))
	}
	if s := strings.Join(list, "; "); s != `z=1.50; a="\u0041"; access_token="A"; o={"b" :[1 ,2]}` {
		t.Errorf("got %s", s)
	}
}

func TestFindTokens(t *testing.T) {
	whole := pair(`,"scope":"x"`)
	end := strings.Index(whole, newRT) + len(newRT)
	for n := range len(whole) {
		_, rt := oauth.FindTokens([]byte(whole[:n]), oauth.Dialect{})
		if rt.IsZero() != (n <= end) {
			t.Fatalf("first %d bytes: refresh token found %v", n, !rt.IsZero())
		}
		if !rt.IsZero() && rt.Reveal() != newRT {
			t.Fatalf("first %d bytes: %q", n, rt.Reveal())
		}
	}
}

func FuzzParseToken(f *testing.F) {
	for _, body := range []string{pair(`,"expires_in":3600,"scope":["a"]`), `{"error":{"code":1}}`, "a=b&access_token=c", "\xef\xbb\xbf{}", `{"a":{"access_token":"x"}}`} {
		f.Add([]byte(body), "text/plain", true, "/a", "ok")
	}
	f.Fuzz(func(t *testing.T, body []byte, ctype string, form bool, pointer, ok string) {
		a := answer(ctype, string(body))
		d := oauth.Dialect{Form: form, Pointer: pointer, OKField: ok}
		got, err := oauth.ParseToken(a, d)
		if err != nil && rawAnswer(err) != a {
			t.Fatalf("error without the answer: %v", err)
		}
		for _, s := range []oauth.Secret{got.AccessToken, got.RefreshToken} {
			if strings.IndexFunc(s.Reveal(), func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
				t.Fatalf("token %q", s.Reveal())
			}
		}
		if (got.ExpiresInState == oauth.ExpiresInOK) != (got.ExpiresIn > 0) || got.ExpiresIn > 3650*24*time.Hour {
			t.Fatalf("expires in %v %v", got.ExpiresIn, got.ExpiresInState)
		}
		if len(got.Error) > 600 || strings.ContainsAny(got.Error+got.ErrorDescription+got.ErrorURI+got.TokenType, "\x00\x1b\n\r\u202e") {
			t.Fatalf("error text %q", got.Error)
		}
		oauth.FindTokens(body, d)
	})
}

func BenchmarkRefresh(b *testing.B) {
	rt := oauth.NewSecret("5Aep861TSESvWeug_xvFHRBTTbf_YrTWgEyjBJrsDzfrRsfZ")
	auth := oauth.None("3MVG9lKcPoNINVBIPJjdw1J9LLM82HnFVVX19KY1uA5mu0QqEWhqKpoW3svG3XHrXDiCQjK1mdgAvhCscA9GE")
	a := answer("application/json", pair(`,"signature":"cjTbSc5D=","scope":"refresh_token id","instance_url":"https://x.my.salesforce.com","id":"https://login.salesforce.com/id/00D/005","token_type":"Bearer","issued_at":"1738348388166"`))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := oauth.RefreshRequest("https://login.salesforce.com/services/oauth2/token", rt, auth); err != nil {
			b.Fatal(err)
		}
		if _, err := oauth.ParseToken(a, oauth.Dialect{}); err != nil {
			b.Fatal(err)
		}
	}
}
