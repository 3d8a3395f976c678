package idptest

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A GrantSpec describes a grant to make without a login. Zero fields are
// filled with defaults.
type GrantSpec struct {
	ClientID string `json:"client_id,omitempty"` // "": the first configured client, or "client"
	Subject  string `json:"subject,omitempty"`   // login name; "": the first user's
	OrgID    string `json:"org_id,omitempty"`
	UserID   string `json:"user_id,omitempty"`
	Scope    string `json:"scope,omitempty"`
	// Host is the host:port that issued the grant, for the wrong_host habit;
	// "": the first listener's.
	Host string `json:"host,omitempty"`
	// IdentityBase and InstanceURL replace the simulator's own address in the
	// id and instance_url members, here and in every later answer.
	IdentityBase string `json:"identity_base,omitempty"`
	InstanceURL  string `json:"instance_url,omitempty"`
}

// A Grant is what a client got: its own copy, not kept up to date.
type Grant struct {
	ID           string
	AccessToken  string
	RefreshToken string
	answer       object
}

// TokenJSON is the token answer as a JSON object with two-space indents and
// "\n" line ends, none at the end. Salesforce members come in the order
// access_token, refresh_token, signature, scope, instance_url, id, token_type,
// issued_at.
func (g Grant) TokenJSON() []byte { return g.answer.indented("\n") }

// TokenFile is TokenJSON with CRLF line ends, as the token files of Windows
// programs have them.
func (g Grant) TokenFile() []byte { return g.answer.indented("\r\n") }

// State is a grant as the server knows it. It holds raw tokens: it is for
// tests, which play the judge.
type State struct {
	ID           string    `json:"id"` // "": no such grant
	ClientID     string    `json:"client_id"`
	Subject      string    `json:"subject"`
	Scope        string    `json:"scope"`
	RefreshToken string    `json:"refresh_token"` // the newest living one; "": none lives
	Generation   int       `json:"generation"`    // of RefreshToken, else of the last one
	Living       []Living  `json:"living"`        // every living refresh token, oldest first
	Access       []Access  `json:"access"`        // living access tokens, oldest first
	AccessNumber int       `json:"access_number"` // how many access tokens were ever issued
	Revoked      bool      `json:"revoked"`
	Why          string    `json:"why,omitempty"` // of the revocation
	When         time.Time `json:"when,omitzero"` // of the revocation
	Approved     time.Time `json:"approved"`
}

// Living is a refresh token that the server would accept.
type Living struct {
	Generation int    `json:"generation"`
	Token      string `json:"token"`
}

// Access is an access token that the protected resources would accept.
type Access struct {
	Number  int       `json:"number"`
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

type grant struct {
	id           string
	clientID     string
	user         User
	scope        string
	host         string
	identityBase string
	instanceURL  string
	approved     time.Time
	refresh      []*refreshToken // by generation, from 1
	access       []*accessToken  // by number, from 1
	oldest       int             // access tokens below this number were killed by a refresh
	busyUntil    time.Time
	revoked      bool
	why          string
	when         time.Time
}

type refreshToken struct {
	grant      *grant
	value      string
	generation int
	parent     *refreshToken
	used       time.Time // last accepted, or issued
	spent      time.Time // zero: not spent
	childUsed  bool      // a successor was spent: no grace any more
	successor  *issued   // what spending it gave
}

type accessToken struct {
	grant   *grant
	value   string
	number  int
	scope   string
	issued  time.Time
	base    time.Time // the lifetime counts from here
	ttl     time.Duration
	revoked bool
}

// issued is one success of the token logic.
type issued struct {
	access  *accessToken
	refresh *refreshToken // the client's refresh token from now on; nil: none
	rotated bool          // refresh is new
}

// NewGrant makes a grant as if a user had just approved it. Beware of the
// salesforce habit max_approvals: the sixth grant of one user and client
// revokes the first.
func (s *Server) NewGrant(spec GrantSpec) Grant {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.newGrantLocked(spec, true)
	out := s.issueLocked(g, nil, &plan{}, g.scope)
	return Grant{ID: g.id, AccessToken: out.access.value, RefreshToken: out.refresh.value, answer: s.answerLocked(out, s.baseLocked())}
}

func (s *Server) baseLocked() string { return cmp.Or(s.base, "http://127.0.0.1") }

// newGrantLocked enters an approval. With a refresh token, the oldest approvals
// of the same user and client go when there are too many.
func (s *Server) newGrantLocked(spec GrantSpec, withRefresh bool) *grant {
	now := s.nowLocked()
	user := s.userLocked(spec.Subject)
	user.OrgID = cmp.Or(spec.OrgID, user.OrgID)
	user.ID = cmp.Or(spec.UserID, user.ID)
	_, host, _ := strings.Cut(s.baseLocked(), "://")
	g := &grant{
		id: "g" + strconv.Itoa(len(s.order)+1), clientID: cmp.Or(spec.ClientID, s.firstClient()), user: user,
		scope: cmp.Or(spec.Scope, s.pick("", "read write offline_access", "refresh_token api web id")),
		host:  cmp.Or(spec.Host, host), identityBase: cmp.Or(spec.IdentityBase, s.config.IdentityBase),
		instanceURL: spec.InstanceURL, approved: now,
	}
	s.grants[g.id] = g
	s.order = append(s.order, g)
	if withRefresh {
		s.evictLocked(g, now)
		s.addRefreshLocked(g, nil, s.mint.refresh())
	}
	return g
}

func (s *Server) firstClient() string {
	if len(s.config.Clients) > 0 {
		return s.config.Clients[0].ID
	}
	return "client"
}

// userLocked finds a user by login name. A name nobody configured is a user of
// its own with the first user's organisation.
func (s *Server) userLocked(name string) User {
	for _, u := range s.config.Users {
		if u.Name == name || name == "" {
			return u
		}
	}
	u := User{Name: name, OrgID: s.config.Users[0].OrgID, ID: recordID("005", len(s.config.Users)+1)}
	s.config.Users = append(s.config.Users, u)
	return u
}

func (s *Server) evictLocked(g *grant, now time.Time) {
	limit := s.maxApprovalsLocked()
	if limit < 0 {
		return
	}
	var same []*grant
	for _, old := range s.order {
		if old != g && !old.revoked && len(old.refresh) > 0 && old.clientID == g.clientID && old.user.ID == g.user.ID {
			same = append(same, old)
		}
	}
	for len(same) >= limit && len(same) > 0 {
		same[0].revoke("evicted by a newer approval", now)
		same = same[1:]
	}
}

func (s *Server) addRefreshLocked(g *grant, parent *refreshToken, value string) *refreshToken {
	t := &refreshToken{grant: g, value: value, generation: len(g.refresh) + 1, parent: parent, used: s.nowLocked()}
	g.refresh = append(g.refresh, t)
	s.refresh[value] = t
	return t
}

// issueLocked issues an access token, and a new refresh token where the server
// rotates and from is the one presented. A nil from is a first answer.
func (s *Server) issueLocked(g *grant, from *refreshToken, p *plan, scope string) *issued {
	now := s.nowLocked()
	a := &accessToken{grant: g, number: len(g.access) + 1, scope: scope, issued: now, base: now, ttl: s.accessTTLLocked()}
	a.value = s.accessValueLocked(a)
	g.access = append(g.access, a)
	s.access[a.value] = a
	if s.habits.OldAccessDies {
		g.oldest = a.number
	}
	out := &issued{access: a, refresh: from}
	switch {
	case from == nil && len(g.refresh) > 0:
		out.refresh, out.rotated = g.refresh[0], true
	case from != nil && s.habits.Rotation && !p.keep:
		value := s.mint.refresh()
		if p.mint != nil {
			value = p.mint(&s.mint)
		}
		out.refresh, out.rotated = s.addRefreshLocked(g, from, value), true
	}
	return out
}

// answerLocked is the token answer for what was issued.
func (s *Server) answerLocked(out *issued, base string) object {
	g := out.access.grant
	var o object
	o.set("access_token", out.access.value)
	if s.persona == Salesforce {
		if out.rotated {
			o.set("refresh_token", out.refresh.value)
		}
		id := cmp.Or(g.identityBase, base) + "/id/" + g.user.OrgID + "/" + g.user.ID
		issuedAt := strconv.FormatInt(out.access.issued.UnixMilli(), 10)
		o.set("signature", s.signature(g.clientID, id+issuedAt))
		o.set("scope", out.access.scope)
		o.set("instance_url", cmp.Or(g.instanceURL, base))
		o.set("id", id)
		o.set("token_type", "Bearer")
		o.set("issued_at", issuedAt)
	} else {
		o.set("token_type", "Bearer")
	}
	if s.pick(s.habits.ExpiresIn, "present", "absent") == "present" {
		o.set("expires_in", int64(out.access.ttl/time.Second))
	}
	if s.persona != Salesforce {
		if out.rotated {
			o.set("refresh_token", out.refresh.value)
		}
		o.set("scope", out.access.scope)
	}
	o.remove(strings.Split(s.habits.Omit, ",")...)
	return o
}

// signature is what Salesforce puts beside id and issued_at.
func (s *Server) signature(clientID, text string) string {
	secret := "secret of " + clientID
	if c := s.client(clientID); c != nil && c.Secret != "" {
		secret = c.Secret
	}
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}

func (s *Server) client(id string) *Client {
	i := slices.IndexFunc(s.config.Clients, func(c Client) bool { return c.ID == id })
	if i < 0 {
		return nil
	}
	return &s.config.Clients[i]
}

func (g *grant) revoke(why string, when time.Time) {
	if !g.revoked {
		g.revoked, g.why, g.when = true, why, when
	}
}

// deadLocked says why the refresh token is not accepted; "": it is. Spent
// tokens are the caller's business.
func (s *Server) deadLocked(t *refreshToken) string {
	now, h := s.nowLocked(), s.habits
	switch {
	case t.grant.revoked:
		return t.grant.why
	case h.RefreshAtOnce:
		return "refresh tokens expire at once"
	case h.RefreshIdle > 0 && now.Sub(t.used) > h.RefreshIdle:
		return "unused for too long"
	case h.RefreshAbsolute > 0 && now.Sub(t.grant.approved) > h.RefreshAbsolute:
		return "approved too long ago"
	}
	return ""
}

// aliveLocked tells whether resources accept the access token now, and until
// when if nobody uses it.
func (s *Server) aliveLocked(a *accessToken) (time.Time, bool) {
	expires := a.base.Add(a.ttl)
	return expires, !a.revoked && !a.grant.revoked && a.number >= a.grant.oldest && s.nowLocked().Before(expires)
}

// use is a call of a protected resource. Where sessions slide, use in the
// second half of the lifetime starts it anew; use in the first half does not.
func (s *Server) use(token string) (*accessToken, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.access[token]
	if a == nil {
		return nil, false
	}
	_, ok := s.aliveLocked(a)
	now := s.nowLocked()
	if ok && s.pick(s.habits.Sliding, "off", "on") == "on" && now.Sub(a.base) > a.ttl/2 {
		a.base = now
	}
	return a, ok
}

// GrantState returns the grant's state; State{} if there is none of that id.
func (s *Server) GrantState(id string) State {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.grants[id]
	if g == nil {
		return State{}
	}
	st := State{ID: g.id, ClientID: g.clientID, Subject: g.user.Name, Scope: g.scope, Generation: len(g.refresh),
		AccessNumber: len(g.access), Revoked: g.revoked, Why: g.why, When: g.when, Approved: g.approved}
	for _, t := range g.refresh {
		if t.spent.IsZero() && s.deadLocked(t) == "" {
			st.Living = append(st.Living, Living{t.generation, t.value})
			st.RefreshToken, st.Generation = t.value, t.generation
		}
	}
	for _, a := range g.access {
		if expires, ok := s.aliveLocked(a); ok {
			st.Access = append(st.Access, Access{a.number, a.value, expires})
		}
	}
	return st
}

// Grants lists the ids of all grants, oldest first.
func (s *Server) Grants() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]string, len(s.order))
	for i, g := range s.order {
		out[i] = g.id
	}
	return out
}

// Find says which grant a refresh token belongs to, its generation there, and
// whether the server would accept it (grace windows apart). "" and 0: it never
// issued such a token.
func (s *Server) Find(refreshToken string) (grantID string, generation int, living bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.refresh[refreshToken]
	if t == nil {
		return "", 0, false
	}
	return t.grant.id, t.generation, t.spent.IsZero() && s.deadLocked(t) == ""
}

// FindAccess says which grant an access token belongs to, its number there,
// and whether resources accept it.
func (s *Server) FindAccess(accessToken string) (grantID string, number int, living bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.access[accessToken]
	if a == nil {
		return "", 0, false
	}
	_, ok := s.aliveLocked(a)
	return a.grant.id, a.number, ok
}

// Revoke ends a grant as an administrator would.
func (s *Server) Revoke(id, why string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.grants[id]
	if g == nil {
		return fmt.Errorf("revoking grant %q: no such grant", id)
	}
	g.revoke(why, s.nowLocked())
	return nil
}

// Expire ends the grant's access tokens, as a short session timeout would; the
// refresh token stays.
func (s *Server) Expire(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.grants[id]
	if g == nil {
		return fmt.Errorf("expiring grant %q: no such grant", id)
	}
	g.oldest = len(g.access) + 1
	return nil
}
