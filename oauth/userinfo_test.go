package oauth_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/oauth"
)

func TestUserinfo(t *testing.T) {
	at := oauth.NewSecret(secret("at"))
	id := "/id/00Dxx0000001gPLEAY/005xx000001SwiUAAS"
	s := newSite(t, map[string]page{
		"/userinfo": {body: `{"sub":"s1","name":"A Person","email":"` + canary + `@x"}`},
		"/signed":   {kind: "application/jwt", body: "eyJhbGciOiJub25lIn0.e30." + canary},
		id:          {body: `{"id":"BASE` + id + `","asserted_user":true,"user_id":"005","organization_id":"00D","username":"u@x"}`},
		"/list":     {body: `[]`},
		"/twice":    {body: `{"sub":"a","sub":"b"}`},
		"/number":   {body: `{"sub":7}`},
		"/page":     {kind: "text/html", body: `{"sub":"a"}`},
		"/expired":  {status: 401, kind: "-", header: map[string]string{"Www-Authenticate": `Bearer error="invalid_token", error_description="expired ` + secret("at") + `"`}},
		"/bad":      {status: 403, kind: "text/html", body: "Bad_OAuth_Token"},
		"/echo":     {status: 403, kind: "text/plain", body: secret("at")},
		"/away":     {status: 302, header: map[string]string{"Location": "BASE/userinfo"}},
		"/busy":     {status: 503},
	})
	line, _ := transcript(t)
	c := &oauth.Client{Trace: line}
	u, err := c.Userinfo(t.Context(), s.url+"/userinfo", at)
	if err != nil || u.Subject != "s1" || len(u.Members) != 3 || !u.Signed.IsZero() {
		t.Errorf("got %+v, %v", u, err)
	}
	for _, p := range printings(*u) {
		leakCheck(t, "userinfo", p)
	}
	if got := s.last(t); got.method != "GET" || got.uri != "/userinfo" || got.header.Get("Authorization") != "Bearer "+secret("at") || got.body != "" {
		t.Errorf("6750-1: sent %+v", got)
	}
	if u, err := c.Userinfo(t.Context(), s.url+"/signed", at); err != nil || !strings.HasPrefix(u.Signed.Reveal(), "eyJ") || u.Subject != "" || u.Members != nil {
		t.Errorf("signed: got %+v, %v", u, err)
	}
	if u, err := c.Userinfo(t.Context(), s.url+id, at); err != nil || u.Subject != "" || len(u.Members) != 5 {
		t.Errorf("Salesforce identity: got %+v, %v", u, err)
	}
	for path, want := range map[string]string{
		"/list": "not a JSON object", "/twice": "sub is there more than once", "/number": "sub is not a string", "/page": "type application/json",
		"/expired": "invalid_token (status 401): expired [redacted]", "/bad": "Bad_OAuth_Token (status 403)", "/echo": "no error code (status 403)",
		"/away": "status 302", "/busy": "the server is busy", "/gone": "status 404",
	} {
		u, err := c.Userinfo(t.Context(), s.url+path, at)
		if u != nil {
			t.Errorf("%s: got %+v", path, u)
		}
		contains(t, err, want)
	}
	var e *oauth.ServerError
	if _, err := c.Userinfo(t.Context(), s.url+"/bad", at); !errors.As(err, &e) || e.Code != "Bad_OAuth_Token" || e.Status != 403 {
		t.Errorf("error %v", err)
	}
	_, err = c.Userinfo(t.Context(), "http://as.example/"+canary, at)
	contains(t, err, "not loopback")
	_, err = c.Userinfo(t.Context(), s.url, oauth.Secret{})
	contains(t, err, "the access token is empty")
	_, err = c.Userinfo(t.Context(), s.url, oauth.NewSecret("a\r\nX: y"))
	contains(t, err, "control character")
}

func TestVerifySalesforceSignature(t *testing.T) {
	const id, at = "https://login.salesforce.com/id/00D50000000IZ3ZEAW/00550000001fg5OAAQ", "1302907727777"
	mac := hmac.New(sha256.New, []byte(canary))
	mac.Write([]byte(id + at))
	sum := mac.Sum(nil)
	sig, key := base64.StdEncoding.EncodeToString(sum), oauth.NewSecret(canary)
	for _, tt := range []struct {
		name, id, at, sig string
		key               oauth.Secret
		want              bool
	}{
		{"good", id, at, sig, key, true},
		{"id changed", strings.Replace(id, "login", "evil", 1), at, sig, key, false},
		{"time changed", id, "1302907727778", sig, key, false},
		{"cut", id, at, base64.StdEncoding.EncodeToString(sum[:31]), key, false},
		{"empty", id, at, "", key, false},
		{"no base64", id, at, "%%%", key, false},
		{"another secret", id, at, sig, oauth.NewSecret("x"), false},
		{"no secret", id, at, sig, oauth.Secret{}, false},
	} {
		if got := oauth.VerifySalesforceSignature(tt.id, tt.at, tt.sig, tt.key); got != tt.want {
			t.Errorf("%s: got %t", tt.name, got)
		}
	}
	// HMAC with an empty key must not pass for a check.
	empty := hmac.New(sha256.New, nil)
	empty.Write([]byte(id + at))
	if oauth.VerifySalesforceSignature(id, at, base64.StdEncoding.EncodeToString(empty.Sum(nil)), oauth.Secret{}) {
		t.Error("no secret passes")
	}
}
