package oauth_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/evergrant/evergrant/oauth"
)

// TestRFC9126_9126_1: 201, a request_uri and a lifetime; the front channel has
// client_id and request_uri only.
func TestRFC9126_9126_1(t *testing.T) {
	f, err := authorization().Form()
	if err != nil {
		t.Fatal(err)
	}
	r, err := oauth.PushRequest("https://as.example.com/par", f, oauth.Basic("app", s("secret")))
	if err != nil {
		t.Fatal(err)
	}
	if r.Form.Get("client_id") != "app" || r.Header.Get("Authorization") == "" || r.Form.Get("code_challenge_method") != "S256" {
		t.Errorf("request %v", r)
	}
	p, err := oauth.ParsePushed(answered(201, `{"request_uri":"urn:x","expires_in":60}`), r)
	if err != nil || p.ExpiresIn != time.Minute {
		t.Fatal(p, err)
	}
	link, err := oauth.FrontURL("https://as.example.com/authorize", p.Front("app"))
	if err != nil || link != "https://as.example.com/authorize?client_id=app&request_uri=urn%3Ax" {
		t.Error(link, err)
	}
	for name, a := range map[string]*oauth.Answer{
		"200":            answered(200, `{"request_uri":"urn:x","expires_in":60}`),
		"no uri":         answered(201, `{"expires_in":60}`),
		"two uris":       answered(201, `{"request_uri":"a","request_uri":"b","expires_in":60}`),
		"uri with space": answered(201, `{"request_uri":"a b","expires_in":60}`),
		"no lifetime":    answered(201, `{"request_uri":"urn:x"}`),
		"lifetime 0":     answered(201, `{"request_uri":"urn:x","expires_in":0}`),
		"page":           answered(201, `<html>`),
	} {
		if p, err := oauth.ParsePushed(a, r); err == nil {
			t.Errorf("%s: %v", name, p)
		}
	}
	var no *oauth.ServerError
	if _, err := oauth.ParsePushed(answered(400, `{"error":"invalid_request"}`), r); !errors.As(err, &no) || no.Code != "invalid_request" {
		t.Error(err)
	}
	if _, err := oauth.PushRequest("https://as.example.com/par", oauth.Form{{Name: "request_uri", Value: "x"}}, oauth.None("app")); err == nil {
		t.Error("a request_uri was pushed")
	}
}

func answered(status int, body string) *oauth.Answer {
	return &oauth.Answer{Status: status, Header: http.Header{}, Body: []byte(body)}
}
