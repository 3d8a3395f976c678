package tokenfile

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// A Member is one member of a token answer.
type Member struct {
	// Name is unescaped.
	Name string
	// Value is one JSON value in UTF-8.
	Value []byte
}

// An Answer is the successful answer of a token endpoint (RFC 6749 §5.1).
type Answer struct {
	// Members are in the order of the answer; of twins the last counts.
	Members []Member
	// Received is when the answer was received. Zero means unknown: then no
	// point in time is recomputed.
	Received time.Time
	// Lifetime of the access token from Received; 0 means unknown.
	Lifetime time.Duration
}

// A Change says what Merge did with one member.
type Change struct {
	// Name is the canonical name; the file may have another in that place.
	Name string
	// Pointer is where the member is in the file (RFC 6901).
	Pointer string
	// Kind is one of the constants below.
	Kind string
	// Secret is true for all members not known to be harmless.
	Secret bool
	// Old and New are the values as text, for members that are not secret.
	Old, New string
}

// The kinds of Change.
const (
	Updated    = "updated"    // the answer brought another value
	Added      = "added"      // the answer brought a new member
	Unchanged  = "unchanged"  // the answer brought the value the file has
	Recomputed = "recomputed" // derived from the time of receipt and the lifetime
	Kept       = "kept"       // the refresh token, of which the answer brought none
	Left       = "left"       // not written: see Merge
)

// Merge returns the file with the answer merged into it, and what was done
// with each member: those of the file in its order, then the added ones.
//
// Members of the answer are updated in place or, if new, put last in the object
// that holds the access token; [Fields] says when they are not. A refresh_token
// that is absent, null, empty or no string keeps the old one. Without a usable
// access_token the old one stays, and so do all times that describe it; if the
// file has none either, only the refresh token is written.
// Members whose name starts with error and that are null or empty are skipped.
//
// Members for times that the answer does not bring are recomputed, each in its
// own type, unit, zone and precision: points of issue become Received, points of
// expiry Received+Lifetime, and lifetimes Lifetime, so that they agree with each
// other afterwards even if they did not before. What can't be recomputed, for
// lack of a Lifetime or because the old value is not understood, is Left.
//
// Nothing an answer can contain makes Merge fail once the file was opened, so
// that a strange member never costs a new refresh token: members that can't be
// written (not JSON, nested more than 1,000 deep) are Left.
func (f *File) Merge(a Answer) (*File, []Change, error) {
	m := merger{file: f, answer: a, patch: patch{doc: f.doc}}
	m.collect()
	for _, b := range m.brought {
		m.bring(b)
	}
	m.keepTokens()
	for _, c := range m.clocks() {
		m.wind(c)
	}
	d, err := m.patch.apply()
	if err != nil {
		return nil, nil, fmt.Errorf("merging the token answer: %w", err)
	}
	if d == f.doc {
		return f, m.report(), nil
	}
	n, err := open(d, f.fields)
	if err != nil {
		return nil, nil, fmt.Errorf("merging the token answer: %w", err)
	}
	return n, m.report(), nil
}

// A merger is the state of one Merge.
type merger struct {
	file    *File
	answer  Answer
	patch   patch
	brought []Member       // usable members, each name once
	index   map[string]int // of brought
	changes []placed
	spans   map[role]time.Duration // lifetimes the answer brought; 0 if unreadable
}

// placed is a change with its place in the report.
type placed struct {
	offset int
	Change
}

// atEnd sorts what has no place in the file behind everything that has.
const atEnd = int(^uint(0) >> 1)

// collect picks the usable members of the answer.
func (m *merger) collect() {
	m.index = make(map[string]int, len(m.answer.Members))
	m.spans = map[role]time.Duration{}
	m.brought = make([]Member, 0, len(m.answer.Members))
	m.changes = make([]placed, 0, len(m.answer.Members)+len(m.file.clocks)+2)
	for _, b := range m.answer.Members {
		if skipped(b) {
			continue
		}
		value, err := checkValue(b.Value)
		if err != nil || !utf8.ValidString(b.Name) || depth(value) > maxDepth {
			m.note(trimmed(b.Name), site{}, Left, nil)
			continue
		}
		if i, twin := m.index[b.Name]; twin {
			m.brought[i].Value = value
			continue
		}
		m.index[b.Name] = len(m.brought)
		m.brought = append(m.brought, Member{b.Name, value})
	}
	for _, b := range m.brought {
		if roleOf(b.Name) == noRole {
			continue
		}
		r := read(b.Name, Value{b.Value})
		m.spans[r.role] = r.span
	}
}

// maxDepth keeps an answer from nesting the file deeper than can be read.
const maxDepth = 1000

// skipped is true for members that say nothing: tokens and times without a
// value, and the error members some servers send with every success.
func skipped(b Member) bool {
	v := bytes.Trim(b.Value, " \t\r\n")
	if string(v) != "null" && string(v) != `""` {
		return unusableToken(b.Name, v)
	}
	return isToken(b.Name) || roleOf(b.Name) != noRole || strings.HasPrefix(b.Name, "error")
}

func isToken(name string) bool { return name == "access_token" || name == "refresh_token" }

func unusableToken(name string, value []byte) bool {
	if !isToken(name) {
		return false
	}
	text, ok := Value{value}.Text()
	return !ok || text == "" || value[0] != '"'
}

func (m *merger) has(name string) bool {
	_, ok := m.index[name]
	return ok
}

// bring writes one member of the answer.
func (m *merger) bring(b Member) {
	f := m.file
	if f.closed && !f.isMapped(b.Name) {
		m.bringClosed(b)
		return
	}
	s := f.site(b.Name)
	isTime := describesAccess(roleOf(b.Name))
	switch {
	case b.Name != "refresh_token" && m.tokenless(), isTime && !m.has("access_token"), f.claimed(b.Name, s):
		m.note(b.Name, s, Left, nil)
	case !s.exists():
		m.add(b, s.parent)
	default:
		m.update(b, s)
	}
}

// tokenless is true if there is no access token on either side: then the other
// members could turn the file into one of another layout.
func (m *merger) tokenless() bool {
	return !m.has("access_token") && !m.file.site("access_token").exists()
}

// describesAccess is true for the roles that speak about the access token.
func describesAccess(r role) bool {
	return r != noRole && r != refreshExpires && r != refreshLifetime
}

// bringClosed drops what the layout has no place for; but a refresh token is
// never lost.
func (m *merger) bringClosed(b Member) {
	switch {
	case b.Name == "refresh_token" && m.file.holder.kind == '{' && !m.file.claimed(b.Name, m.file.site(b.Name)):
		m.add(b, m.file.holder)
	case isToken(b.Name):
		m.note(b.Name, site{}, Left, nil)
	}
}

func (m *merger) update(b Member, s site) {
	value := b.Value
	if roleOf(b.Name) != noRole {
		value = inKindOf(m.file.doc.value(s).Kind(), value)
	}
	kind := Unchanged
	if m.patch.replace(s, value) {
		kind = Updated
	}
	m.note(b.Name, s, kind, value)
}

func (m *merger) add(b Member, parent *container) {
	value := b.Value
	if m.file.layout == LayoutOAuth2 && roleOf(b.Name) == lifetime {
		value = inKindOf('0', value) // x/oauth2 reads nothing else
	}
	name := jsontext.Pointer(m.file.pointer(b.Name)).LastToken()
	if m.patch.add(parent, name, value) != nil { // names were checked in collect
		return
	}
	m.note(b.Name, site{parent, -1}, Added, value)
}

// keepTokens reports the tokens the answer did not bring.
func (m *merger) keepTokens() {
	if !m.has("refresh_token") && m.file.RefreshToken() != "" {
		m.note("refresh_token", m.file.site("refresh_token"), Kept, nil)
	}
	if !m.has("access_token") {
		m.note("access_token", m.file.site("access_token"), Left, nil)
	}
}

// clocks are the members for times that the answer did not write.
func (m *merger) clocks() []clock {
	var stale []clock
	for _, c := range m.file.clocks {
		written := m.has(c.name) && (!m.file.closed || m.file.isMapped(c.name))
		if !written {
			stale = append(stale, c)
		}
	}
	_, hasLifetime := m.spans[lifetime]
	return resolveIssued(stale, hasLifetime)
}

// wind recomputes one member for a time.
func (m *merger) wind(c clock) {
	switch {
	case c.role == refreshExpires:
		m.windRefresh(c)
	case c.role == issuedIfLifetime || !describesAccess(c.role):
	case !m.has("access_token"):
		m.note(c.name, c.site, Left, nil)
	case c.role == issued:
		m.set(c, m.answer.Received)
	case m.answer.Lifetime <= 0:
		m.note(c.name, c.site, Left, nil)
	case c.role == lifetime:
		value, ok := c.writeSpan(m.answer.Lifetime)
		m.rewrite(c, value, ok)
	default:
		m.set(c, after(m.answer.Received, m.answer.Lifetime))
	}
}

// windRefresh moves the expiry of the refresh token where the answer says how.
func (m *merger) windRefresh(c clock) {
	span := m.spans[refreshLifetime]
	switch {
	case span > 0:
		m.set(c, after(m.answer.Received, span))
	case m.has("refresh_token"):
		m.note(c.name, c.site, Left, nil)
	}
}

// after is t+d, zero if t is.
func after(t time.Time, d time.Duration) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(d)
}

func (m *merger) set(c clock, t time.Time) {
	value, ok := c.write(t)
	m.rewrite(c, value, ok && !t.IsZero())
}

func (m *merger) rewrite(c clock, value []byte, ok bool) {
	kind := Recomputed
	switch {
	case !ok:
		kind, value = Left, nil
	case !m.patch.replace(c.site, value):
		kind = Unchanged
	}
	m.note(c.name, c.site, kind, value)
}

// note records a change; value is what the file has there now, if it changed.
func (m *merger) note(name string, s site, kind string, value []byte) {
	c := placed{atEnd, Change{Name: name, Pointer: m.file.pointer(name), Kind: kind, Secret: !harmless(name) && roleOf(name) == noRole}}
	old := m.file.doc.value(s)
	if s.exists() {
		c.offset = s.member().start
	}
	if !c.Secret {
		c.Old = old.words()
		c.New = c.Old
		if value != nil {
			c.New = Value{value}.words()
		}
	}
	m.changes = append(m.changes, c)
}

// harmless knows the members, besides times, whose values may be shown.
func harmless(name string) bool {
	switch name {
	case "token_type", "scope", "scopes", "instance_url", "api_instance_url", "id",
		"sfdc_community_url", "sfdc_community_id", "sfdc_site_url", "sfdc_site_id",
		"issued_token_type", "resource", "not_before", "token_uri", "ext_expires_in", "realmId", "api_domain":
		return true
	}
	return false
}

// report orders the changes.
func (m *merger) report() []Change {
	slices.SortStableFunc(m.changes, func(a, b placed) int { return cmp.Compare(a.offset, b.offset) })
	changes := make([]Change, len(m.changes))
	for i, c := range m.changes {
		changes[i] = c.Change
	}
	return changes
}
