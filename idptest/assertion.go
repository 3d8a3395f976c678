package idptest

import (
	"cmp"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// assertionLocked is the JWT bearer grant (RFC 7523 §2.1), as leniently as
// Salesforce's own clients need: exp in milliseconds or as text, any aud.
func (s *Server) assertionLocked(q *request, p *plan) *reply {
	claims, signed, signature, ok := parseJWT(q.get("assertion"))
	if !ok {
		return mustError("bad-assertion").reply()
	}
	clientID := text(claims["iss"])
	q.entry.ClientID = clientID
	c := s.client(clientID)
	if clientID == "" || len(s.config.Clients) > 0 && c == nil {
		return badClientID().reply()
	}
	if c != nil && !verifies(c.PublicKey, signed, signature) {
		return mustError("bad-assertion").reply()
	}
	subject := cmp.Or(text(claims["prn"]), text(claims["sub"]))
	jti := text(claims["jti"])
	switch {
	case claims["aud"] == nil || s.persona != Salesforce && !audienceFits(claims["aud"], q.base):
		return mustError("audience-invalid").reply()
	case s.staleLocked(claims["exp"]):
		return mustError("assertion-expired").reply()
	case jti != "" && s.jtis[jti]:
		return mustError("bad_jti_claim").reply()
	case subject == "":
		return mustError("not-approved").reply()
	}
	s.jtis[jti] = true
	return s.directLocked(q, p, GrantSpec{ClientID: clientID, Subject: subject, Scope: q.get("scope"), Host: q.r.Host}, "signature", "issued_at")
}

// directLocked issues an access token alone, for flows without refresh tokens.
func (s *Server) directLocked(q *request, p *plan, spec GrantSpec, without ...string) *reply {
	if s.crowdedLocked(s.userLocked(spec.Subject)) {
		return mustError("rate_limit_exceeded").reply()
	}
	g := s.newGrantLocked(spec, false)
	a := s.successLocked(q, s.issueLocked(g, nil, p, g.scope), Issued)
	a.object.remove(without...)
	return a
}

// clientCredentialsLocked is RFC 6749 §4.4; the secret is always required.
func (s *Server) clientCredentialsLocked(q *request, p *plan) *reply {
	clientID, refused := s.clientLocked(q, true)
	if refused != nil {
		return refused
	}
	scope := cmp.Or(q.get("scope"), s.pick("", "read write", "api id"))
	return s.directLocked(q, p, GrantSpec{ClientID: clientID, Scope: scope, Host: q.r.Host})
}

// passwordLocked is RFC 6749 §4.3. Every password passes except "" and "wrong".
func (s *Server) passwordLocked(q *request, p *plan) *reply {
	clientID, refused := s.clientLocked(q, false)
	if refused != nil {
		return refused
	}
	if pw := q.get("password"); pw == "" || pw == "wrong" || q.get("username") == "" {
		return mustError("auth-failure").reply()
	}
	return s.directLocked(q, p, GrantSpec{ClientID: clientID, Subject: q.get("username"), Scope: q.get("scope"), Host: q.r.Host})
}

// exchangeLocked is a token exchange (RFC 8693 §2.1) that trusts any subject
// token of another issuer, and of its own those that live. Salesforce's answer
// has no issued_token_type.
func (s *Server) exchangeLocked(q *request, p *plan) *reply {
	clientID, refused := s.clientLocked(q, false)
	if refused != nil {
		return refused
	}
	subject, kind := q.get("subject_token"), q.get("subject_token_type")
	if subject == "" || kind == "" {
		return refusal("invalid_request", "subject_token and subject_token_type are required")
	}
	spec := GrantSpec{ClientID: clientID, Scope: q.get("scope"), Host: q.r.Host}
	if a := s.access[subject]; a != nil {
		if _, alive := s.aliveLocked(a); !alive {
			return deadGrant().reply()
		}
		spec.Subject = a.grant.user.Name
	}
	a := s.directLocked(q, p, spec)
	if a.issued && s.persona != Salesforce {
		a.object.set("issued_token_type", "urn:ietf:params:oauth:token-type:access_token")
	}
	return a
}

// parseJWT splits a compact JWS without judging it.
func parseJWT(v string) (claims map[string]any, signed, signature []byte, ok bool) {
	parts := strings.Split(v, ".")
	if len(parts) != 3 {
		return nil, nil, nil, false
	}
	payload, err1 := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	signature, err2 := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[2], "="))
	if err1 != nil || err2 != nil || json.Unmarshal(payload, &claims) != nil {
		return nil, nil, nil, false
	}
	return claims, []byte(parts[0] + "." + parts[1]), signature, true
}

// verifies checks an RS256 signature; no key passes any.
func verifies(key any, signed, signature []byte) bool {
	if key == nil {
		return true
	}
	pub, ok := key.(*rsa.PublicKey)
	if !ok {
		return false
	}
	sum := sha256.Sum256(signed)
	return rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], signature) == nil
}

// staleLocked judges exp, in seconds, as a number or as text, with three
// minutes of skew and no upper bound: milliseconds read as a year far ahead.
func (s *Server) staleLocked(exp any) bool {
	n, err := strconv.ParseFloat(text(exp), 64)
	if err != nil {
		return true
	}
	return float64(s.nowLocked().Add(-3*time.Minute).Unix()) > n
}

func audienceFits(aud any, base string) bool {
	list, many := aud.([]any)
	if !many {
		list = []any{aud}
	}
	for _, a := range list {
		if v := strings.TrimRight(text(a), "/"); v == base || v == base+"/token" {
			return true
		}
	}
	return false
}

// text is a JSON string or number as text; "" for anything else.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}
