package idptest

import (
	"cmp"
	"math"
	"net/http"
	"time"
)

type deviceCode struct {
	clientID string
	scope    string
	polls    int // pending answers still to give
	interval time.Duration
	expires  time.Time
	last     time.Time // of the last poll
	done     bool
}

// startDeviceLocked begins a device login (RFC 8628 §3.1). Salesforce starts it
// at the token endpoint and doesn't say expires_in.
func (s *Server) startDeviceLocked(q *request) *reply {
	clientID, refused := s.clientLocked(q, false)
	if refused != nil {
		return refused
	}
	interval := cmp.Or(s.habits.DeviceInterval, 5*time.Second)
	ttl := cmp.Or(s.habits.DeviceTTL, 10*time.Minute)
	code, userCode := s.mint.code(), s.mint.text(8, "BCDFGHJKLMNPQRSTVWXZ")
	s.devices[code] = &deviceCode{clientID: clientID, scope: q.get("scope"), polls: s.habits.DevicePolls,
		interval: interval, expires: s.nowLocked().Add(ttl)}
	a := &reply{status: http.StatusOK, verdict: "device-started"}
	a.object.set("device_code", code)
	a.object.set("user_code", userCode)
	page := q.base + "/device"
	if s.persona == Salesforce {
		page = q.base + "/setup/connect"
	}
	a.object.set("verification_uri", page)
	if s.persona != Salesforce {
		a.object.set("verification_uri_complete", page+"?user_code="+userCode)
		a.object.set("expires_in", int64(ttl/time.Second))
	}
	a.object.set("interval", int(math.Ceil(interval.Seconds())))
	return a
}

// deviceEndpoint is RFC 8628's own endpoint.
func (s *Server) deviceEndpoint(q *request) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.startDeviceLocked(q)
}

// pollLocked is a device poll (RFC 8628 §3.4); Salesforce names the code
// "code", the RFC "device_code".
func (s *Server) pollLocked(q *request, p *plan) *reply {
	clientID, refused := s.clientLocked(q, false)
	if refused != nil {
		return refused
	}
	d := s.devices[cmp.Or(q.get("device_code"), q.get("code"))]
	if d == nil || d.clientID != clientID || d.done {
		return mustError("bad-code").reply()
	}
	now := s.nowLocked()
	soon := !d.last.IsZero() && now.Sub(d.last) < d.interval
	d.last = now
	switch {
	case now.After(d.expires) && s.persona == Salesforce:
		return refusal("invalid_grant", "expired authorization code")
	case now.After(d.expires):
		return mustError("expired_token").reply()
	case soon:
		d.interval += 5 * time.Second
		return mustError("slow_down").reply()
	case d.polls > 0:
		d.polls--
		return mustError("authorization_pending").reply()
	}
	d.done = true
	g := s.newGrantLocked(GrantSpec{ClientID: clientID, Scope: d.scope, Host: q.r.Host}, true)
	return s.successLocked(q, s.issueLocked(g, nil, p, g.scope), Issued)
}

// devicePage is where a human would type the user code.
func (s *Server) devicePage(*request) *reply {
	return html(200, "<html><body>Approved: the simulator approves every device by itself.</body></html>")
}
