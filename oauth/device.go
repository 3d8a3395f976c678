package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

const (
	deviceInterval = 5 * time.Second  // RFC 8628 §3.2, where the server says none
	deviceLifetime = 10 * time.Minute // where the server says none; Salesforce's
	slowDown       = 5 * time.Second  // RFC 8628 §3.5
	maxBackOff     = 2 * time.Minute  // between polls, whatever doubles or is asked for
)

// DeviceStyle is a way to speak of devices. The zero DeviceStyle is RFC 8628.
type DeviceStyle struct {
	// Draft is the way of the early drafts, which Salesforce keeps: the login
	// begins at the token endpoint with response_type=device_code, and a poll
	// is grant_type=device with the code named code.
	Draft bool
}

// Request begins a device login (RFC 8628 §3.1). An empty scope is not sent;
// add further parameters to the Form.
func (s DeviceStyle) Request(deviceURL, scope string, auth ClientAuth) (*Request, error) {
	var params Form
	if s.Draft {
		params.Add("response_type", "device_code")
	}
	params.addIf("scope", scope)
	return tokenRequest(deviceURL, auth, params...)
}

// Poll asks whether the person is done (RFC 8628 §3.4). Wait [DevicePoll]'s
// Interval before each, the first too.
func (s DeviceStyle) Poll(tokenURL string, deviceCode Secret, auth ClientAuth) (*Request, error) {
	if deviceCode.IsZero() {
		return nil, errors.New("making device poll: the device code is empty")
	}
	grant, name := grantDevice, "device_code"
	if s.Draft {
		grant, name = "device", "code"
	}
	return tokenRequest(tokenURL, auth, Param{"grant_type", grant}, Param{name, deviceCode.Reveal()})
}

// Device is a login waiting for a person with a browser elsewhere.
type Device struct {
	// Code is for polls, never for people.
	Code Secret
	// UserCode is what the person types at VerificationURI. Both are clean
	// enough for a terminal.
	UserCode, VerificationURI string
	// VerificationURIComplete has the code in it, for a QR code or a browser;
	// "" if there is none. Show the other two as well (RFC 8628 §3.3.1).
	VerificationURIComplete string
	// ExpiresIn is how long the codes live, from [Answer].Received on; 10 min
	// if the server does not say.
	ExpiresIn time.Duration
	// Interval is the least time between polls; 5 s if the server does not say.
	Interval time.Duration
}

// ParseDevice reads the answer to r (RFC 8628 §3.2), also with Google's older
// name verification_url. A URL that is not https, or http, is refused: a
// person or a browser would open it.
func ParseDevice(a *Answer, r *Request) (*Device, error) {
	if a.Status != http.StatusOK {
		return nil, fmt.Errorf("starting device login: %w", Refusal(a, r))
	}
	members, err := answerMembers(a, Dialect{Form: true})
	if err != nil {
		return nil, fmt.Errorf("reading device answer: %w", err)
	}
	if e := Refusal(a, r); e.Code != "" { // an error in a 200
		return nil, fmt.Errorf("starting device login: %w", e)
	}
	d := &Device{
		Code:                    NewSecret(one(members, "device_code")),
		UserCode:                clean(one(members, "user_code"), 64),
		VerificationURI:         webURL(one(members, "verification_uri", "verification_url")),
		VerificationURIComplete: webURL(one(members, "verification_uri_complete", "verification_url_complete")),
		ExpiresIn:               deviceLifetime, Interval: deviceInterval,
	}
	if t, state := expiresIn((Dialect{}).find(members, "expires_in")); state == ExpiresInOK {
		d.ExpiresIn = t
	}
	if t, state := expiresIn((Dialect{}).find(members, "interval")); state == ExpiresInOK {
		d.Interval = min(t, maxBackOff)
	}
	switch {
	case d.Code.IsZero():
		return nil, errors.New("reading device answer: it has no device code")
	case d.UserCode == "":
		return nil, errors.New("reading device answer: it has no user code")
	case d.VerificationURI == "":
		return nil, errors.New("reading device answer: it has no verification URL of http or https")
	}
	return d, nil
}

// one is the text of the first name that is there exactly once.
func one(members []Member, names ...string) string {
	for _, name := range names {
		if v := (Dialect{}).find(members, name); len(v) == 1 {
			return text(v[0])
		}
	}
	return ""
}

// webURL is raw if a browser may be sent there, else "".
func webURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || !plainASCII(raw) {
		return ""
	}
	return raw
}

// The ends of a device login that are no failure of anything.
var (
	// ErrDeviceExpired: nobody entered the code in time. Start again.
	ErrDeviceExpired = errors.New("the device code has expired")
	// ErrDeviceDenied: the person said no.
	ErrDeviceDenied = errors.New("the device login was denied")
)

// DevicePoll is the pace of polling (RFC 8628 §3.5). Set Interval to the
// Device's, then wait it out before each poll.
type DevicePoll struct {
	// Interval to wait before the next poll; 0 means 5 s.
	Interval time.Duration
}

// Wait is what to wait before the next poll.
func (p *DevicePoll) Wait() time.Duration {
	if p.Interval <= 0 {
		return deviceInterval
	}
	return p.Interval
}

// Answered judges an answer that ParseToken read. again means: wait, then poll
// once more; slow_down has made the waiting longer, for good. The error is
// [ErrDeviceExpired], [ErrDeviceDenied], or *[ServerError]. Neither means that
// t has tokens.
func (p *DevicePoll) Answered(a *Answer, t *TokenAnswer, r *Request) (again bool, err error) {
	switch t.Error {
	case "authorization_pending":
		return true, nil
	case "slow_down":
		p.Interval = min(p.Wait()+slowDown, maxBackOff)
		return true, nil
	case "expired_token", "code_expired": // the second is an early draft's
		return false, ErrDeviceExpired
	case "access_denied", "authorization_declined": // the second is Microsoft's
		return false, ErrDeviceDenied
	}
	switch {
	case t.Error == "" && a.Status == http.StatusOK && !t.AccessToken.IsZero():
		return false, nil
	case a.Status >= 500 || a.Status == http.StatusTooManyRequests:
		wait, _ := a.RetryAfter()
		p.backOff(wait)
		return true, nil
	}
	return false, t.refusal(a, r)
}

// Unanswered judges an error of [Client.Send]: what looks like the network is
// polled again at half the pace (RFC 8628 §3.5), the rest ends the login.
func (p *DevicePoll) Unanswered(err error) (again bool) {
	var e *SendError
	if !errors.As(err, &e) || e.Certificate || errors.Is(err, context.Canceled) {
		return false
	}
	switch e.Phase {
	case PhaseDNS, PhaseProxy, PhaseConnect, PhaseTLS, PhaseWrite, PhaseRead, PhaseDeadline:
		p.backOff(0)
		return true
	}
	return false
}

func (p *DevicePoll) backOff(atLeast time.Duration) {
	p.Interval = min(max(2*p.Wait(), atLeast), maxBackOff)
}
