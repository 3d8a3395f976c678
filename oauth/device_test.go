package oauth_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/evergrant/evergrant/oauth"
)

func TestRFC8628Device_8628_1(t *testing.T) {
	r, err := oauth.DeviceStyle{}.Request("https://as.example.com/device", "a b", oauth.None("app"))
	if err != nil || r.Form.Encode() != "scope=a+b&client_id=app" {
		t.Fatal(r, err)
	}
	for _, tt := range []struct {
		name, body string
		want       *oauth.Device // nil: refused
	}{
		{"whole", `{"device_code":"d","user_code":"U","verification_uri":"https://x.example","verification_uri_complete":"https://x.example?u=U","expires_in":60,"interval":7}`,
			&oauth.Device{UserCode: "U", VerificationURI: "https://x.example", VerificationURIComplete: "https://x.example?u=U", ExpiresIn: time.Minute, Interval: 7 * time.Second}},
		{"8628-1 no interval, no lifetime", `{"device_code":"d","user_code":"U","verification_uri":"https://x.example"}`,
			&oauth.Device{UserCode: "U", VerificationURI: "https://x.example", ExpiresIn: 10 * time.Minute, Interval: 5 * time.Second}},
		{"8628-1 interval 0", `{"device_code":"d","user_code":"U","verification_uri":"https://x.example","interval":0}`,
			&oauth.Device{UserCode: "U", VerificationURI: "https://x.example", ExpiresIn: 10 * time.Minute, Interval: 5 * time.Second}},
		{"verification_url", `{"device_code":"d","user_code":"U","verification_url":"https://x.example","expires_in":"60","interval":"5"}`,
			&oauth.Device{UserCode: "U", VerificationURI: "https://x.example", ExpiresIn: time.Minute, Interval: 5 * time.Second}},
		{"user code with control characters", `{"device_code":"d","user_code":"U\u001b[31m\u202e","verification_uri":"https://x.example"}`,
			&oauth.Device{UserCode: "U[31m", VerificationURI: "https://x.example", ExpiresIn: 10 * time.Minute, Interval: 5 * time.Second}},
		{"8628-2 complete is javascript", `{"device_code":"d","user_code":"U","verification_uri":"https://x.example","verification_uri_complete":"javascript:alert(1)"}`,
			&oauth.Device{UserCode: "U", VerificationURI: "https://x.example", ExpiresIn: 10 * time.Minute, Interval: 5 * time.Second}},
		{"8628-2 javascript", `{"device_code":"d","user_code":"U","verification_uri":"javascript:alert(1)"}`, nil},
		{"8628-2 javascript with a host", `{"device_code":"d","user_code":"U","verification_uri":"javascript://x.example/%0aalert(1)"}`, nil},
		{"8628-2 file", `{"device_code":"d","user_code":"U","verification_uri":"file:///etc/passwd"}`, nil},
		{"8628-2 control character", `{"device_code":"d","user_code":"U","verification_uri":"https://x.example/\u001b"}`, nil},
		{"no user code", `{"device_code":"d","verification_uri":"https://x.example"}`, nil},
		{"no device code", `{"user_code":"U","verification_uri":"https://x.example"}`, nil},
		{"an error in 200", `{"error":"slow","device_code":"d","user_code":"U","verification_uri":"https://x.example"}`, nil},
		{"page", `<html>`, nil},
	} {
		d, err := oauth.ParseDevice(answered(200, tt.body), r)
		switch {
		case tt.want == nil:
			if err == nil {
				t.Errorf("%s: %v", tt.name, d)
			}
		case err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case d.Code.Reveal() != "d" || d.UserCode != tt.want.UserCode || d.VerificationURI != tt.want.VerificationURI ||
			d.VerificationURIComplete != tt.want.VerificationURIComplete || d.ExpiresIn != tt.want.ExpiresIn || d.Interval != tt.want.Interval:
			t.Errorf("%s: %+v", tt.name, d)
		}
	}
	// An older style of answering: as a form, by its Content-Type (GitHub).
	form := answered(200, "device_code=d&user_code=U&verification_uri=https%3A%2F%2Fx.example&interval=5")
	form.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	if d, err := oauth.ParseDevice(form, r); err != nil || d.UserCode != "U" {
		t.Error(d, err)
	}
}

func TestDeviceStyles(t *testing.T) {
	draft := oauth.DeviceStyle{Draft: true}
	r, err := draft.Request(tokenEndpoint, "api", oauth.None("app"))
	if err != nil || r.Form.Encode() != "response_type=device_code&scope=api&client_id=app" {
		t.Error(r, err)
	}
	if r, err = draft.Poll(tokenEndpoint, s("d"), oauth.None("app")); err != nil || r.Form.Encode() != "grant_type=device&code=d&client_id=app" {
		t.Error(r, err)
	}
	if r, err = (oauth.DeviceStyle{}).Poll(tokenEndpoint, s("d"), oauth.None("app")); err != nil ||
		r.Form.Encode() != "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code=d&client_id=app" {
		t.Error(r, err)
	}
	if _, err = draft.Poll(tokenEndpoint, s(""), oauth.None("app")); err == nil {
		t.Error("polled without a code")
	}
}

// TestDevicePace_8628_1: never faster than asked, slower for good after
// slow_down, half as fast after each failure of the network, and a bounded wait.
func TestDevicePace_8628_1(t *testing.T) {
	r, _ := oauth.DeviceStyle{}.Poll(tokenEndpoint, s("d"), oauth.None("app"))
	p := oauth.DevicePoll{}
	if p.Wait() != 5*time.Second {
		t.Errorf("first wait %v", p.Wait())
	}
	p.Interval = 7 * time.Second
	for _, step := range []struct {
		name   string
		status int
		body   string
		retry  string
		err    error // of Send, instead
		want   time.Duration
	}{
		{"pending", 400, `{"error":"authorization_pending"}`, "", nil, 7 * time.Second},
		{"slow_down", 400, `{"error":"slow_down"}`, "", nil, 12 * time.Second},
		{"pending stays slow", 400, `{"error":"authorization_pending"}`, "", nil, 12 * time.Second},
		{"slow_down again", 400, `{"error":"slow_down"}`, "", nil, 17 * time.Second},
		{"timeout", 0, "", "", &oauth.SendError{Phase: oauth.PhaseDeadline, Err: context.DeadlineExceeded}, 34 * time.Second},
		{"unreachable", 0, "", "", &oauth.SendError{Phase: oauth.PhaseConnect}, 68 * time.Second},
		{"503", 503, `<html>`, "", nil, 2 * time.Minute},
		{"429", 429, ``, "30", nil, 2 * time.Minute},
	} {
		var again bool
		var err error
		if step.err != nil {
			again = p.Unanswered(step.err)
		} else {
			a := answered(step.status, step.body)
			if step.retry != "" {
				a.Header.Set("Retry-After", step.retry)
			}
			tok, _ := oauth.ParseToken(a, oauth.Dialect{})
			again, err = p.Answered(a, tok, r)
		}
		if !again || err != nil || p.Wait() != step.want {
			t.Errorf("%s: again %v, %v, wait %v, want %v", step.name, again, err, p.Wait(), step.want)
		}
	}
}

func TestDeviceEnds_8628_1(t *testing.T) {
	r, _ := oauth.DeviceStyle{}.Poll(tokenEndpoint, s("d"), oauth.None("app"))
	no := errors.New("refused by the server")
	for _, tt := range []struct {
		status int
		body   string
		err    error
	}{
		{200, `{"access_token":"at"}`, nil},
		{400, `{"error":"expired_token"}`, oauth.ErrDeviceExpired},
		{400, `{"error":"access_denied"}`, oauth.ErrDeviceDenied},
		{400, `{"error":"authorization_declined"}`, oauth.ErrDeviceDenied},
		{400, `{"error":"invalid_grant"}`, no},
		{401, `{"error":"invalid_client"}`, no},
		{200, `{}`, no},
		{302, ``, no},
	} {
		a := answered(tt.status, tt.body)
		tok, _ := oauth.ParseToken(a, oauth.Dialect{})
		again, err := new(oauth.DevicePoll).Answered(a, tok, r)
		var refused *oauth.ServerError
		ok := errors.Is(err, tt.err)
		if tt.err == no {
			ok = errors.As(err, &refused)
		}
		if again || !ok {
			t.Errorf("%d %s: again %v, %v", tt.status, tt.body, again, err)
		}
	}
	for _, err := range []error{context.Canceled, &oauth.SendError{Phase: oauth.PhaseURL}, &oauth.SendError{Phase: oauth.PhaseGate},
		&oauth.SendError{Phase: oauth.PhaseTLS, Certificate: true}, &oauth.SendError{Phase: oauth.PhaseRead, Err: context.Canceled}} {
		if new(oauth.DevicePoll).Unanswered(err) {
			t.Errorf("%v is polled again", err)
		}
	}
}
