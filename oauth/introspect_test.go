package oauth_test

import (
	"errors"
	"testing"
	"time"

	"github.com/evergrant/evergrant/oauth"
)

// TestRFC7662Active (7662-1): active is true for true alone.
func TestRFC7662Active(t *testing.T) {
	for body, want := range map[string]bool{
		`{"active":true}`:                true,
		`{"active": true ,"scope":"a"}`:  true,
		`{"active":false}`:               false,
		`{}`:                             false,
		`{"active":null}`:                false,
		`{"active":"true"}`:              false,
		`{"active":1}`:                   false,
		`{"active":[true]}`:              false,
		`{"Active":true}`:                false,
		`{"active":false,"exp":9e9}`:     false,
		`{"token":{"active":true}}`:      false,
		`{"active":true,"exp":"broken"}`: true,
	} {
		i, err := oauth.ParseIntrospection(plain(200, "application/json", body), &oauth.Request{URL: "https://as.example/"})
		if err != nil || i.Active != want {
			t.Errorf("%s: got %+v, %v", body, i, err)
		}
	}
}

func TestRFC7662Introspect(t *testing.T) {
	at := secret("at")
	s := newSite(t, map[string]page{"/introspect": {body: `{"active":true,"scope":"a b","client_id":"c","username":"u\u0007@x","token_type":"access_token","exp":1800000000.5,"iat":"1700000000","nbf":1700000001,
		"sub":"s","iss":"https://as.example","aud":["x"],"ext":{"k":"` + secret("ext") + `"}}`}})
	line, _ := transcript(t)
	c := &oauth.Client{Trace: line}
	i, err := c.Introspect(t.Context(), s.url+"/introspect", oauth.NewSecret(at), oauth.HintAccessToken, oauth.Basic("c", oauth.NewSecret(secret("cs"))))
	if err != nil {
		t.Fatal(err)
	}
	if !i.Active || i.Scope != "a b" || i.ClientID != "c" || i.Username != "u@x" || i.TokenType != "access_token" || i.Subject != "s" || i.Issuer != "https://as.example" || len(i.Members) != 12 {
		t.Errorf("got %+v", i)
	}
	if !i.Expires.Equal(time.Unix(1800000000, 5e8)) || !i.IssuedAt.Equal(time.Unix(1700000000, 0)) || !i.NotBefore.Equal(time.Unix(1700000001, 0)) || i.Expires.Location() != time.UTC {
		t.Errorf("times %s %s %s", i.Expires, i.IssuedAt, i.NotBefore)
	}
	for _, p := range printings(*i) { // 7662-1: never log the answer
		leakCheck(t, "introspection", p)
	}
	got := s.last(t)
	if got.method != "POST" || got.uri != "/introspect" || got.body != "token="+at+"&token_type_hint=access_token" || got.header.Get("Authorization") == "" {
		t.Errorf("sent %+v", got)
	}
}

func TestRFC7662Refusals(t *testing.T) {
	at := secret("at")
	for _, tt := range []struct {
		name string
		page page
		want string
	}{
		{"client", page{status: 401, body: `{"error":"invalid_client","error_description":"` + at + `"}`}, "invalid_client (status 401): [redacted]"},
		{"challenge", page{status: 401, kind: "text/html", body: "<html>", header: map[string]string{"Www-Authenticate": `Bearer error="invalid_token"`}}, "invalid_token"},
		{"busy", page{status: 503}, "the server is busy"},
		{"redirect", page{status: 301, header: map[string]string{"Location": "BASE/good"}}, "status 301"},
		{"page", page{kind: "text/html", body: `{"active":true}`}, "type application/json"},
		{"signed", page{kind: "application/token-introspection+jwt", body: "eyJ"}, "type application/json"},
		{"active twice", page{body: `{"active":false,"active":true}`}, "active is there more than once"},
		{"exp twice", page{body: `{"active":true,"exp":1,"exp":2}`}, "exp is there more than once"},
		{"cut", page{body: `{"active":true`}, "broken or cut"},
		{"list", page{body: `[{"active":true}]`}, "not a JSON object"},
	} {
		t.Run("7662-1 "+tt.name, func(t *testing.T) {
			s := newSite(t, map[string]page{"/introspect": tt.page, "/good": {body: `{"active":true}`}})
			i, err := new(oauth.Client).Introspect(t.Context(), s.url+"/introspect", oauth.NewSecret(at), "", oauth.None("c"))
			if i != nil {
				t.Errorf("got %+v", i)
			}
			contains(t, err, tt.want)
		})
	}
	_, err := new(oauth.Client).Introspect(t.Context(), "http://127.0.0.1:1/", oauth.NewSecret(at), "", oauth.None("c"))
	var e *oauth.SendError
	if !errors.As(err, &e) || e.Sent {
		t.Errorf("error %v", err)
	}
}

func TestNumericDate(t *testing.T) {
	for exp, want := range map[string]time.Time{
		`1`: time.Unix(1, 0), `1e9`: time.Unix(1e9, 0), `253402300799`: time.Unix(253402300799, 0),
		`0`: {}, `-1`: {}, `1e300`: {}, `253402300800`: {}, `"NaN"`: {}, `"Inf"`: {}, `true`: {}, `{}`: {}, `""`: {}, `null`: {},
	} {
		i, err := oauth.ParseIntrospection(plain(200, "", `{"exp":`+exp+`}`), &oauth.Request{URL: "https://as.example/"})
		if err != nil || !i.Expires.Equal(want) {
			t.Errorf("%s: got %s, %v", exp, i.Expires, err)
		}
	}
}

func FuzzIntrospection(f *testing.F) {
	f.Add(`{"active":true,"exp":1800000000}`)
	f.Fuzz(func(t *testing.T, body string) {
		i, err := oauth.ParseIntrospection(plain(200, "", body), &oauth.Request{URL: "https://as.example/"})
		if (i == nil) == (err == nil) {
			t.Fatalf("got %v and %v", i, err)
		}
		if err == nil && !i.Expires.IsZero() && i.Expires.Year() > 9999 {
			t.Errorf("expires %s", i.Expires)
		}
	})
}
