package idptest

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// codeTTL is how long an authorization code lives.
const codeTTL = 10 * time.Minute

type authCode struct {
	clientID    string
	redirectURI string
	scope       string
	user        User
	nonce       string
	challenge   string // "": no PKCE
	expires     time.Time
	grant       *grant // of the first redemption; nil: not redeemed
}

// authorizeEndpoint approves every proper request at once (RFC 6749 §4.1) and
// redirects back. A request that names no safe place to go back to gets a page.
func (s *Server) authorizeEndpoint(q *request) *reply {
	if a := s.dialect().hearAuthorize(q); a != nil {
		return a
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	back, err := url.Parse(q.get("redirect_uri"))
	clientID := q.get("client_id")
	switch {
	case clientID == "" || len(s.config.Clients) > 0 && s.client(clientID) == nil:
		return html(400, "<html><body>error=invalid_client_id&amp;error_description=client%20identifier%20invalid</body></html>")
	case err != nil || back.Scheme == "" || !s.redirectAllowed(clientID, q.get("redirect_uri")):
		return html(400, "<html><body>error=redirect_uri_mismatch&amp;error_description=redirect_uri%20must%20match%20configuration</body></html>")
	}
	if code, description := s.authorizeErrorLocked(q); code != "" {
		return s.redirectBack(q, back, url.Values{"error": {code}, "error_description": {description}})
	}
	if rt := q.get("response_type"); rt == "token" || rt == "hybrid_token" {
		return s.implicitLocked(q, back)
	}
	code := s.mint.code()
	s.codes[code] = &authCode{
		clientID: clientID, redirectURI: q.get("redirect_uri"), scope: q.get("scope"), user: s.userLocked(q.get("login_hint")),
		nonce: q.get("nonce"), challenge: q.get("code_challenge"), expires: s.nowLocked().Add(codeTTL),
	}
	return s.redirectBack(q, back, url.Values{"code": {code}})
}

func (s *Server) redirectAllowed(clientID, uri string) bool {
	c := s.client(clientID)
	return c == nil || len(c.RedirectURIs) == 0 || slices.Contains(c.RedirectURIs, uri)
}

// authorizeErrorLocked is the error of a request that can be redirected back.
func (s *Server) authorizeErrorLocked(q *request) (code, description string) {
	method := q.get("code_challenge_method")
	types := []string{"code", "code_credentials"}
	if s.persona == Salesforce {
		types = append(types, "token", "hybrid_token")
	}
	switch {
	case s.habits.CallbackError != "":
		return s.habits.CallbackError, "as the habit says"
	case !slices.Contains(types, q.get("response_type")):
		return "unsupported_response_type", "response type not supported"
	case q.get("code_challenge") == "" && s.habits.RequirePKCE:
		return "invalid_request", "missing required code challenge"
	case q.get("code_challenge") != "" && method != "S256" && !(method == "" && s.persona == Salesforce):
		return "invalid_request", "code_challenge_method must be S256" // RFC 9700 §2.1.1
	case q.get("immediate") == "true" && !s.approvedLocked(q.get("client_id")):
		return "immediate_unsuccessful", "immediate approval not possible"
	}
	return "", ""
}

func (s *Server) approvedLocked(clientID string) bool {
	return slices.ContainsFunc(s.order, func(g *grant) bool { return g.clientID == clientID && !g.revoked })
}

// redirectBack adds state and iss as the habits say (RFC 9207 §2).
func (s *Server) redirectBack(q *request, back *url.URL, v url.Values) *reply {
	state, given := q.params["state"]
	switch s.habits.CallbackState {
	case "wrong":
		v.Set("state", "somebody-elses-state")
	case "absent":
	default:
		if given {
			v.Set("state", state[0])
		}
	}
	switch s.pick(s.habits.CallbackIss, "right", "absent") {
	case "right":
		v.Set("iss", q.base)
	case "wrong":
		v.Set("iss", "https://attacker.example")
	}
	s.dialectLocked().back(v)
	to := *back
	to.RawQuery = strings.TrimPrefix(to.RawQuery+"&"+v.Encode(), "&")
	return &reply{status: http.StatusFound, body: []byte{}, header: http.Header{"Location": {to.String()}}}
}

// implicitLocked is Salesforce's user-agent flow: the token answer in the
// fragment.
func (s *Server) implicitLocked(q *request, back *url.URL) *reply {
	g := s.newGrantLocked(GrantSpec{ClientID: q.get("client_id"), Subject: q.get("login_hint"), Scope: q.get("scope"), Host: q.r.Host}, s.refreshable(q.get("scope")))
	o := s.answerLocked(s.issueLocked(g, nil, &plan{}, g.scope), q.base)
	if state := q.get("state"); state != "" {
		o.set("state", state)
	}
	to := *back
	to.Fragment = ""
	return &reply{status: http.StatusFound, body: []byte{}, header: http.Header{"Location": {to.String() + "#" + string(o.form())}}}
}

// refreshable tells whether an approval of the scope comes with a refresh token.
func (s *Server) refreshable(scope string) bool {
	if s.persona != Salesforce || scope == "" {
		return true
	}
	f := strings.Fields(scope)
	return slices.Contains(f, "refresh_token") || slices.Contains(f, "offline_access")
}

// redeemLocked is the code exchange (RFC 6749 §4.1.3).
func (s *Server) redeemLocked(q *request, p *plan) *reply {
	clientID, refused := s.clientLocked(q, s.habits.RequireSecret)
	if refused != nil {
		return refused
	}
	c := s.codes[q.get("code")]
	switch {
	case c == nil || c.clientID != clientID:
		return mustError("bad-code").reply()
	case c.grant != nil: // RFC 6749 §4.1.2: what the code gave should be revoked
		c.grant.revoke("authorization code used twice", s.nowLocked())
		q.entry.Processed, q.entry.GrantID = true, c.grant.id
		return refusal("invalid_grant", "expired authorization code")
	case s.nowLocked().After(c.expires):
		return refusal("invalid_grant", "expired authorization code")
	case c.redirectURI != q.get("redirect_uri"):
		return mustError("redirect_uri_mismatch").reply()
	case s.crowdedLocked(c.user):
		return mustError("rate_limit_exceeded").reply()
	}
	if a := s.verifyPKCE(c.challenge, q.get("code_verifier")); a != nil {
		return a
	}
	c.grant = s.newGrantLocked(GrantSpec{ClientID: clientID, Subject: c.user.Name, OrgID: c.user.OrgID, UserID: c.user.ID, Scope: c.scope, Host: q.r.Host}, s.refreshable(c.scope))
	a := s.successLocked(q, s.issueLocked(c.grant, nil, p, c.grant.scope), Issued)
	s.addIDToken(q, a, c.grant, c.nonce)
	return a
}

// verifyPKCE checks the verifier (RFC 7636 §4.6). Salesforce takes verifiers
// longer than the RFC allows: its own clients send 171 characters.
func (s *Server) verifyPKCE(challenge, verifier string) *reply {
	if challenge == "" {
		return nil
	}
	sum := sha256.Sum256([]byte(verifier))
	right := base64.RawURLEncoding.EncodeToString(sum[:]) == strings.TrimRight(challenge, "=")
	switch {
	case verifier == "":
		return refusal("invalid_grant", "code verifier missing")
	case s.persona == Salesforce && !right:
		return refusal("invalid_request", "invalid code verifier")
	case s.persona != Salesforce && (!right || len(verifier) < 43 || len(verifier) > 128):
		return refusal("invalid_grant", "invalid code verifier")
	}
	return nil
}

// formValue undoes the encoding of RFC 6749 §2.3.1 inside HTTP Basic.
func formValue(v string) string {
	u, err := url.QueryUnescape(v)
	if err != nil {
		return v
	}
	return cmp.Or(u, v)
}
