package oauth_test

import (
	"strings"
	"testing"

	"github.com/evergrant/evergrant/oauth"
)

func TestRefreshRequest(t *testing.T) {
	id, pw := "my client:1", oauth.NewSecret("p%w+é")
	rt := oauth.NewSecret("5Aep/+=& x")
	for _, tt := range []struct {
		name, body, authorization string
		auth                      oauth.ClientAuth
	}{
		{"none", "grant_type=refresh_token&refresh_token=5Aep%2F%2B%3D%26+x&client_id=my+client%3A1", "", oauth.None(id)},
		{"post", "grant_type=refresh_token&refresh_token=5Aep%2F%2B%3D%26+x&client_id=my+client%3A1&client_secret=p%25w%2B%C3%A9", "", oauth.Post(id, pw)},
		// RFC 6749 §2.3.1: encoded, joined, base64: "my+client%3A1:p%25w%2B%C3%A9"
		{"basic", "grant_type=refresh_token&refresh_token=5Aep%2F%2B%3D%26+x", "Basic bXkrY2xpZW50JTNBMTpwJTI1dyUyQiVDMyVBOQ==", oauth.Basic(id, pw)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := oauth.RefreshRequest("https://as.example/token", rt, tt.auth)
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Form.Encode(); got != tt.body {
				t.Errorf("body\n got %s\nwant %s", got, tt.body)
			}
			if got := r.Header.Get("Authorization"); got != tt.authorization {
				t.Errorf("Authorization\n got %s\nwant %s", got, tt.authorization)
			}
			if r.Header.Get("Accept") != "application/json" || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
				t.Errorf("header: %v", r.Header)
			}
		})
	}
}

func TestRefreshRequestRefuses(t *testing.T) {
	rt, pw := oauth.NewSecret(secret("rt")), oauth.NewSecret(secret("pw"))
	both := func(a, b oauth.ClientAuth) oauth.ClientAuth {
		return func(r *oauth.Request) error {
			if err := a(r); err != nil {
				return err
			}
			return b(r)
		}
	}
	const u = "https://as.example/token"
	for _, tt := range []struct {
		name, url string
		rt        oauth.Secret
		auth      oauth.ClientAuth
		want      string
	}{
		{"no refresh token", u, oauth.Secret{}, oauth.None("c"), "refresh token is empty"},
		{"no auth", u, rt, nil, "no client authentication"},
		{"no client id", u, rt, oauth.None(""), "client id is empty"},
		{"no secret", u, rt, oauth.Post("c", oauth.Secret{}), "client secret is empty"},
		{"no secret, basic", u, rt, oauth.Basic("c", oauth.Secret{}), "client secret is empty"},
		{"post then basic", u, rt, both(oauth.Post("c", pw), oauth.Basic("c", pw)), "one method"},
		{"basic then post", u, rt, both(oauth.Basic("c", pw), oauth.Post("c", pw)), "one method"},
		{"basic then none", u, rt, both(oauth.Basic("c", pw), oauth.None("c")), "one method"},
		{"http", "http://as.example/token", rt, oauth.None("c"), "not loopback"},
		{"user", "https://u:" + canary + "@as.example/token", rt, oauth.None("c"), "user information"},
		{"fragment", u + "#" + canary, rt, oauth.None("c"), "fragment"},
		{"empty fragment", u + "#", rt, oauth.None("c"), "fragment"},
		{"unreadable", "https://as.example/%zz" + canary, rt, oauth.None("c"), "can't be read"},
		{"file", "file:///etc/passwd", rt, oauth.None("c"), "not https"},
		{"opaque", "https:as.example", rt, oauth.None("c"), "no host"},
		{"relative", "/token", rt, oauth.None("c"), "not https"},
		{"letters", "https://аs.example/token", rt, oauth.None("c"), "ASCII"},
	} {
		_, err := oauth.RefreshRequest(tt.url, tt.rt, tt.auth)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q in it", tt.name, err, tt.want)
			continue
		}
		leakCheck(t, tt.name, err.Error())
	}
}

func TestCheckEndpoint(t *testing.T) {
	for u, ok := range map[string]bool{
		"https://login.salesforce.com/services/oauth2/token": true,
		"https://as.example:8443/token?p=1":                  true,
		"http://127.0.0.1:80/":                               true,
		"http://127.9.8.7/":                                  true,
		"http://[::1]:1/":                                    true,
		"http://LocalHost/":                                  true,
		"http://localhost.example/":                          false,
		"http://127.0.0.1.example/":                          false,
		"http://10.0.0.1/":                                   false,
		"http://0.0.0.0/":                                    false,
		"http://127.1/":                                      false,
		"http://2130706433/":                                 false,
		"ftp://localhost/":                                   false,
		"":                                                   false,
	} {
		if err := oauth.CheckEndpoint(u); (err == nil) != ok {
			t.Errorf("%s: error %v, want ok %v", u, err, ok)
		}
	}
}

func TestForm(t *testing.T) {
	var f oauth.Form
	f.Add("b", "1")
	f.Add("a", "2")
	f.Add("b", "3")
	f.Set("b", "4")
	f.Set("c", "")
	if got, want := f.Encode(), "b=4&a=2&c="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if f.Get("a") != "2" || f.Get("x") != "" || !f.Has("c") || f.Has("x") {
		t.Error("Get or Has is wrong")
	}
	if got, want := f.String(), "b=[redacted, 1 bytes]&a=[redacted, 1 bytes]&c=[redacted, 0 bytes]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
