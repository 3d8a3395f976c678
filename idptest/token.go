package idptest

import (
	"cmp"
	"net/http"
	"strings"
	"time"
)

// Grant types by their registered names (RFC 6749, RFC 7523, RFC 8628,
// RFC 8693), and Salesforce's own.
const (
	jwtBearer     = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	samlBearer    = "urn:ietf:params:oauth:grant-type:saml2-bearer"
	deviceGrant   = "urn:ietf:params:oauth:grant-type:device_code"
	tokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
)

// tokenEndpoint takes a token request through its stages: faults that answer
// instead, the in-flight lock, processing, faults that spoil the answer, and
// the hold. The lock is let go just before the answer leaves, so that a client
// that acts on the answer never meets its own lock.
func (s *Server) tokenEndpoint(q *request) *reply {
	q.token = true
	d := s.dialect()
	q.unheard = d.hearToken(q)
	s.note(q.entry, func(e *Entry) { e.GrantType, e.Params = q.get("grant_type"), q.names })
	p := s.planFor(q)
	a, leave := s.enterFlight(q)
	defer leave()
	if a == nil {
		s.pause(p.delayBefore)
		a = s.decide(q, p)
		p.spoil(q, a)
		d.answers(a)
		s.pause(p.delayAfter)
	}
	if a.format == "" && s.persona == Salesforce {
		a.format = formatOf(q)
	}
	s.waitHold()
	return a
}

// spoil changes an answer of the token logic as the faults ask.
func (p *plan) spoil(q *request, a *reply) {
	if p.instead != nil {
		return
	}
	if a.issued {
		for _, change := range p.shapes {
			change(q, a)
		}
	}
	for _, change := range p.after {
		change(q, a)
	}
}

// decide lets a fault answer, or the token logic.
func (s *Server) decide(q *request, p *plan) *reply {
	if p.instead != nil {
		a := p.instead(q)
		verdict := "fault:" + strings.Join(p.names, "+")
		if a.verdict != "" && a.status < 500 {
			verdict = a.verdict
		}
		s.note(q.entry, func(e *Entry) { e.Verdict = verdict })
		return a
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.processLocked(q, p)
	q.entry.Verdict = cmp.Or(a.verdict, q.entry.Verdict)
	return a
}

func (s *Server) processLocked(q *request, p *plan) *reply {
	if q.unheard != nil {
		return q.unheard
	}
	if q.r.Method != http.MethodPost { // RFC 6749 §3.2
		return refusal("invalid_request", "must use HTTP POST")
	}
	switch q.get("grant_type") {
	case "authorization_code", "hybrid_auth_code":
		return s.redeemLocked(q, p)
	case "refresh_token", "hybrid_refresh":
		return s.refreshLocked(q, p)
	case "device", deviceGrant:
		return s.pollLocked(q, p)
	case jwtBearer:
		return s.assertionLocked(q, p)
	case "client_credentials":
		return s.clientCredentialsLocked(q, p)
	case "password":
		return s.passwordLocked(q, p)
	case tokenExchange, "urn:ietf:params:oauth:grant-type:hybrid-token-exchange":
		return s.exchangeLocked(q, p)
	case "":
		if q.get("response_type") == "device_code" {
			return s.startDeviceLocked(q)
		}
	}
	return mustError("unsupported_grant_type").reply()
}

// enterFlight notes which refresh token the request presents and takes that
// token's in-flight lock; if the grant is busy it returns the refusal. leave
// must be called in any case.
func (s *Server) enterFlight(q *request) (*reply, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q.entry.Verdict = InFlight
	rt := q.get("refresh_token")
	if rt == "" {
		return nil, func() {}
	}
	t := s.refresh[rt]
	if t != nil {
		q.entry.GrantID, q.entry.Generation = t.grant.id, t.generation
	}
	if s.busyLocked(rt, t) {
		q.entry.Verdict = Busy
		return busyGrant().reply(), func() {}
	}
	if s.inFlight[rt] {
		return nil, func() {} // not locked by habit; the first one clears the mark
	}
	s.inFlight[rt] = true
	return nil, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.inFlight, rt)
	}
}

func (s *Server) busyLocked(rt string, t *refreshToken) bool {
	if s.habits.BusyNext > 0 {
		s.habits.BusyNext--
		return true
	}
	if t != nil && s.nowLocked().Before(t.grant.busyUntil) {
		return true
	}
	return s.inFlight[rt] && s.pick(s.habits.InFlight, "off", "busy") == "busy"
}

// pause waits; only the server's end cuts it short, since a real server goes
// on working after its client has left.
func (s *Server) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.closing:
		panic(http.ErrAbortHandler)
	}
}

// successLocked turns what was issued into an answer and into the ledger.
func (s *Server) successLocked(q *request, out *issued, verdict string) *reply {
	e := q.entry
	e.Processed = true
	e.GrantID = out.access.grant.id
	e.AccessNumber = out.access.number
	if out.refresh != nil {
		e.NewGeneration = out.refresh.generation
	}
	if u := out.access.grant.user; s.habits.LoginsPerHour > 0 {
		s.logins[u.ID] = append(s.logins[u.ID], s.nowLocked())
	}
	return &reply{status: http.StatusOK, object: s.answerLocked(out, q.base), issued: true, verdict: verdict}
}

// crowdedLocked tells whether the user has had all logins of this hour.
func (s *Server) crowdedLocked(u User) bool {
	limit := s.habits.LoginsPerHour
	if limit <= 0 {
		return false
	}
	hourAgo := s.nowLocked().Add(-time.Hour)
	recent := s.logins[u.ID][:0]
	for _, at := range s.logins[u.ID] {
		if at.After(hourAgo) {
			recent = append(recent, at)
		}
	}
	s.logins[u.ID] = recent
	return len(recent) >= limit
}

// clientLocked authenticates the client: by body, or by HTTP Basic, which is
// ignored where the body has the pair (RFC 6749 §2.3.1). A secret that isn't
// required is checked all the same when it comes.
func (s *Server) clientLocked(q *request, secretRequired bool) (string, *reply) {
	id, secret := q.get("client_id"), q.get("client_secret")
	if user, pass, ok := q.r.BasicAuth(); ok && (id == "" || secret == "") {
		id, secret = cmp.Or(id, formValue(user)), cmp.Or(secret, formValue(pass))
	}
	q.entry.ClientID = id
	if id == "" {
		return "", badClientID().reply()
	}
	if len(s.config.Clients) == 0 {
		if secretRequired && secret == "" {
			return "", badSecret().reply()
		}
		return id, nil
	}
	c := s.client(id)
	switch {
	case c == nil:
		return "", badClientID().reply()
	case secret != "" && secret != c.Secret, secretRequired && secret == "":
		return "", badSecret().reply()
	}
	return id, nil
}
