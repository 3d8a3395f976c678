package idptest

import (
	"cmp"
	"fmt"
	"net/http"
)

// revokeEndpoint is RFC 7009. Salesforce refuses unknown tokens, in a
// form-encoded body; the RFC says 200.
func (s *Server) revokeEndpoint(q *request) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	if code := s.habits.RevokeStatus; code != 0 {
		return rateLimited(code, "1")(q)
	}
	if s.persona != Salesforce {
		if _, refused := s.clientLocked(q, false); refused != nil && len(s.config.Clients) > 0 {
			return refused
		}
	}
	token := q.get("token")
	q.entry.Verdict = "unknown-token"
	if t := s.refresh[token]; t != nil && !t.grant.revoked {
		t.grant.revoke(fmt.Sprintf("revoked by request %d", q.entry.Seq), s.nowLocked())
		s.revokedLocked(q, t.grant.id, t.generation, 0)
	} else if a := s.access[token]; a != nil && !a.revoked && !a.grant.revoked {
		a.revoked = true
		s.revokedLocked(q, a.grant.id, 0, a.number)
	} else if s.persona == Salesforce {
		refused := mustError("revoke-invalid").reply()
		refused.format = cmp.Or(q.get("format"), "urlencoded")
		return refused
	}
	return &reply{status: http.StatusOK, body: []byte{}}
}

func (s *Server) revokedLocked(q *request, grantID string, generation, number int) {
	e := q.entry
	e.Verdict, e.Processed, e.GrantID, e.Generation, e.AccessNumber = "revoked", true, grantID, generation, number
}

// introspectEndpoint is RFC 7662 §2. A token of another client is inactive.
func (s *Server) introspectEndpoint(q *request) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	clientID, refused := s.clientLocked(q, false)
	if refused != nil {
		return refused
	}
	a := &reply{status: http.StatusOK}
	a.object.set("active", false)
	token := q.get("token")
	if t := s.refresh[token]; t != nil && t.spent.IsZero() && t.grant.clientID == clientID && s.deadLocked(t) == "" {
		s.describeLocked(a, t.grant, t.grant.scope, "refresh_token", q.base)
		a.object.set("iat", t.used.Unix())
	}
	if t := s.access[token]; t != nil && t.grant.clientID == clientID {
		if expires, alive := s.aliveLocked(t); alive {
			s.describeLocked(a, t.grant, t.scope, s.pick("", "Bearer", "access_token"), q.base)
			a.object.set("exp", expires.Unix())
			a.object.set("iat", t.issued.Unix())
			a.object.set("nbf", t.issued.Unix())
		}
	}
	return a
}

func (s *Server) describeLocked(a *reply, g *grant, scope, kind, base string) {
	a.object.set("active", true)
	a.object.set("scope", scope)
	a.object.set("client_id", g.clientID)
	a.object.set("username", g.user.Name)
	a.object.set("sub", s.subject(g, base))
	a.object.set("token_type", kind)
}

// subject identifies the user: Salesforce uses the identity URL.
func (s *Server) subject(g *grant, base string) string {
	if s.persona == Salesforce {
		return cmp.Or(g.identityBase, base) + "/id/" + g.user.OrgID + "/" + g.user.ID
	}
	return g.user.ID
}
