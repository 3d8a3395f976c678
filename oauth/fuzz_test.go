package oauth_test

import (
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/evergrant/evergrant/oauth"
)

// FuzzParseDevice: what a person is shown and a browser is sent to is fit for
// both, whatever the server says.
func FuzzParseDevice(f *testing.F) {
	for _, body := range []string{
		`{"device_code":"d","user_code":"WDJB-MJHT","verification_uri":"https://as.example/device","expires_in":1800,"interval":5}`,
		`device_code=d&user_code=c&verification_url=https%3A%2F%2Fas.example%2F&interval=-1`,
		`{"device_code":"d","user_code":"\u001b[2J","verification_uri":"javascript:x","expires_in":1e300,"interval":0}`,
		`{"device_code":"d","user_code":"\u001b[2Jx\u0007","verification_uri":"https://as.example/d"}`,
		`{"error":"slow_down"}`, `[]`, ``,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		d, err := oauth.ParseDevice(answered(200, body), &oauth.Request{URL: "https://as.example/device"})
		if (d == nil) == (err == nil) {
			t.Fatalf("%v and %v", d, err)
		}
		if err != nil {
			return
		}
		if d.Code.IsZero() || d.UserCode == "" || strings.ContainsFunc(d.UserCode, unicode.IsControl) {
			t.Errorf("user code %q", d.UserCode)
		}
		for _, link := range []string{d.VerificationURI, d.VerificationURIComplete} {
			if u, err := url.Parse(link); link != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.ContainsFunc(link, unicode.IsControl)) {
				t.Errorf("link %q", link)
			}
		}
		p := oauth.DevicePoll{Interval: d.Interval}
		if d.VerificationURI == "" || d.ExpiresIn <= 0 || d.Interval < 0 || d.Interval > 24*time.Hour || p.Wait() <= 0 {
			t.Errorf("%+v, wait %v", d, p.Wait())
		}
	})
}

// FuzzParsePushed: the front channel gets a printable request_uri or none.
func FuzzParsePushed(f *testing.F) {
	for _, body := range []string{`{"request_uri":"urn:ietf:params:oauth:request_uri:x","expires_in":60}`, `{"request_uri":"a b\n","expires_in":"60"}`, `{"request_uri":[],"expires_in":-1}`, `{}`} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		p, err := oauth.ParsePushed(answered(201, body), &oauth.Request{URL: "https://as.example/par"})
		if (p == nil) == (err == nil) {
			t.Fatalf("%v and %v", p, err)
		}
		if err == nil && (p.RequestURI == "" || strings.ContainsFunc(p.RequestURI, func(r rune) bool { return r < ' ' || r > '~' }) || p.ExpiresIn <= 0) {
			t.Errorf("%+v", p)
		}
	})
}

// FuzzParseUserinfo: an answer is read or refused, never both.
func FuzzParseUserinfo(f *testing.F) {
	for _, body := range []string{`{"sub":"1","email":"a@b.example"}`, `{"user_id":"005","organization_id":"00D"}`, `{"sub":1}`, `eyJhbGciOiJub25lIn0.e30.`, `null`} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		u, err := oauth.ParseUserinfo(answered(200, body), &oauth.Request{URL: "https://as.example/userinfo"})
		if (u == nil) == (err == nil) {
			t.Fatalf("%v and %v", u, err)
		}
	})
}
