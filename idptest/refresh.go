package idptest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// refreshLocked is the refresh grant (RFC 6749 §6) with rotation as RFC 9700
// §4.14.2 describes it.
func (s *Server) refreshLocked(q *request, p *plan) *reply {
	clientID, refused := s.clientLocked(q, s.habits.RefreshSecret)
	if refused != nil {
		return refused
	}
	t := s.refresh[q.get("refresh_token")]
	if t == nil || t.grant.clientID != clientID || s.deadLocked(t) != "" {
		return deadGrant().reply()
	}
	if s.habits.WrongHost && t.grant.host != q.r.Host {
		return deadGrant().reply()
	}
	scope, ok := narrowed(t.grant.scope, q.get("scope"))
	switch {
	case !ok:
		return mustError("invalid_scope").reply()
	case s.crowdedLocked(t.grant.user):
		return mustError("rate_limit_exceeded").reply()
	case s.habits.EarlyRefused && s.earlyLocked(t.grant):
		return refusal("invalid_request", "the access token is still fresh")
	case !t.spent.IsZero():
		return s.replayLocked(q, p, t, scope)
	}
	now := s.nowLocked()
	out := s.issueLocked(t.grant, t, p, scope)
	t.used = now
	t.grant.busyUntil = now.Add(s.habits.BusyFor)
	if out.rotated {
		t.spent, t.successor = now, out
		if t.parent != nil {
			t.parent.childUsed = true
		}
	}
	return s.successLocked(q, out, Issued)
}

// replayLocked answers a refresh token that was spent before. Inside the grace
// window, while no successor was used, it is honoured; else it is a reuse.
func (s *Server) replayLocked(q *request, p *plan, t *refreshToken, scope string) *reply {
	now := s.nowLocked()
	if s.habits.Grace > 0 && now.Sub(t.spent) <= s.habits.Grace && !t.childUsed {
		if s.habits.GraceReply == "same" {
			return s.successLocked(q, t.successor, SamePair)
		}
		return s.successLocked(q, s.issueLocked(t.grant, t, p, scope), Sibling)
	}
	if cmp.Or(s.habits.Reuse, "revokes") == "revokes" {
		t.grant.revoke(fmt.Sprintf("reuse of refresh token generation %d by request %d", t.generation, q.entry.Seq), now)
		q.entry.Processed = true
	}
	a := deadGrant().reply()
	a.verdict = Reuse
	return a
}

// earlyLocked tells whether the newest access token is in its first half.
func (s *Server) earlyLocked(g *grant) bool {
	if len(g.access) == 0 {
		return false
	}
	a := g.access[len(g.access)-1]
	_, alive := s.aliveLocked(a)
	return alive && s.nowLocked().Sub(a.base) < a.ttl/2
}

// narrowed is the scope of a request that asks for part of what was granted; a
// request for more is refused (RFC 6749 §6).
func narrowed(granted, asked string) (string, bool) {
	if asked == "" {
		return granted, true
	}
	have := strings.Fields(granted)
	for _, want := range strings.Fields(asked) {
		if !slices.Contains(have, want) {
			return "", false
		}
	}
	return asked, true
}
