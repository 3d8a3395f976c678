package evergrant

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// stateVersion is the layout of the state this code writes. A newer layout is
// refused rather than misread: an intent that is not understood must not be
// cleared.
const stateVersion = 1

// keepReplaced bounds the fingerprints of replaced refresh tokens. At one
// refresh an hour the list covers five days of backups that may be set back.
const keepReplaced = 128

// markBytes is the length of a fingerprint: enough that no two tokens of a
// grant ever share one.
const markBytes = 12

// state is what Evergrant knows about a grant beyond the token itself. It
// holds no token: only keyed fingerprints of them. Beside a plain file it is
// the file .NAME.evergrant; in a store it is part of the record's data.
type state struct {
	Version    int
	Generation uint64
	Salt       string   // keys the fingerprints; random, never changes
	Grant      identity // what the next call needs no flags for
	Access     string   // fingerprints of the tokens last stored or adopted
	Refresh    string
	Committed  moment // when they were stored
	Learned    learned
	Replaced   []string // fingerprints of refresh tokens that were replaced, oldest first
	Dead       *verdict
	Aside      *aside
	Doubt      *doubt
	QuietUntil time.Time // no new refresh before: a request in doubt may still travel
	Last       lastTry
	Intent     *intent
	Self       string // identifies the side file, if it has references; "" without, and in a store
	borrowed   bool   // its references are another user's: not followed, and written back as they were
}

func (st *state) members() []member {
	return []member{
		{"version", &st.Version},
		{"generation", &st.Generation},
		{"salt", &st.Salt},
		{"self", &st.Self},
		{"grant", &st.Grant},
		{"access", &st.Access},
		{"refresh", &st.Refresh},
		{"committed", &st.Committed},
		{"learned", &st.Learned},
		{"replaced", &st.Replaced},
		{"dead", maybe(&st.Dead)},
		{"aside", maybe(&st.Aside)},
		{"doubt", maybe(&st.Doubt)},
		{"quiet_until", &st.QuietUntil},
		{"last", &st.Last},
		{"intent", maybe(&st.Intent)},
	}
}

// identity is what identifies a grant to its authorization server, remembered
// after the first success. It holds no secret; Secret is a reference such as
// env:NAME.
type identity struct {
	Provider        string
	TokenURL        string
	ClientID        string
	Auth            string
	SecretRef       string
	KeyRef          string
	KeyPasswordRef  string
	KeyAlg          string
	CertRef         string
	Issuer          string
	Grant           Grant
	Endpoints       Endpoints
	Login           LoginTerms
	Vars            map[string]string
	Params          [][2]string
	Fields          map[string]string
	SessionLifetime seconds
}

func (id *identity) members() []member {
	return []member{
		{"provider", &id.Provider},
		{"token_url", &id.TokenURL},
		{"client_id", &id.ClientID},
		{"auth", &id.Auth},
		{"client_secret_ref", &id.SecretRef},
		{"key_ref", &id.KeyRef},
		{"key_password_ref", &id.KeyPasswordRef},
		{"key_alg", &id.KeyAlg},
		{"cert_ref", &id.CertRef},
		{"issuer", &id.Issuer},
		{"grant", &id.Grant},
		{"endpoints", &id.Endpoints},
		{"login", &id.Login},
		{"vars", &id.Vars},
		{"params", &id.Params},
		{"fields", &id.Fields},
		{"session_lifetime_s", &id.SessionLifetime},
	}
}

// learned is what answers taught about this grant.
type learned struct {
	IssuedAt  time.Time // when the access token was received
	ExpiresAt time.Time // zero: unknown
	Source    string
	RefreshAt time.Time // when a keeper should refresh next; zero: only on a report
	Lifetime  seconds   // age at which a token was last reported as rejected
	Rotates   *bool     // whether the last answer brought another refresh token
	RotatedAt time.Time // when the refresh token was received
	LoginAt   time.Time // when a refresh token never seen before turned up
	TokenType string
}

func (l *learned) members() []member {
	return []member{
		{"issued_at", &l.IssuedAt},
		{"expires_at", &l.ExpiresAt},
		{"expiry_from", &l.Source},
		{"refresh_at", &l.RefreshAt},
		{"lifetime_s", &l.Lifetime},
		{"rotates", &l.Rotates},
		{"rotated_at", &l.RotatedAt},
		{"login_at", &l.LoginAt},
		{"token_type", &l.TokenType},
	}
}

// intent is the journal of one try, durable before anything is sent.
type intent struct {
	Attempt    string
	Phase      phase
	Owner      string
	Generation uint64
	Refresh    string
	Access     string
	Base       string // fingerprint of the document the try started from
	Started    moment
	Deadline   time.Time
	Replay     bool
	Row        int      // the place in its row of tries: 2 for the first replay inside a grace window
	Rescue     string   // the rescue file of its answer; "" if there is none, or no room to say so
	Brings     string   // fingerprint of the tokens of a login, for which nothing is sent; "" for a refresh
	Grant      identity // what it is sent with: a first try has no success to remember it from
}

func (in *intent) members() []member {
	return []member{
		{"attempt", &in.Attempt},
		{"phase", (*string)(&in.Phase)},
		{"owner", &in.Owner},
		{"generation", &in.Generation},
		{"refresh", &in.Refresh},
		{"access", &in.Access},
		{"base", &in.Base},
		{"started", &in.Started},
		{"deadline", &in.Deadline},
		{"replay", &in.Replay},
		{"row", &in.Row},
		{"rescue", &in.Rescue},
		{"brings", &in.Brings},
		{"grant", &in.Grant},
	}
}

// phase tells how far a try had come when it was last heard of. The words have
// the same length, so that turning one into another is a write of seven bytes
// in place.
type phase string

const (
	dialing phase = "dialing" // nothing of the request has left
	sending phase = "sending" // the provider may have the request
	kept    phase = "rescued" // its answer is kept in a rescue file
)

var phases = []phase{dialing, sending, kept}

// where names the rescue file, if the journal had room for its name.
func (in *intent) where() string {
	if in.Rescue == "" {
		return ""
	}
	return ": " + in.Rescue
}

// leftAt takes t for the moment at which the request left, if it can be: dialing
// may have taken longer than a grace window is open.
func (in *intent) leftAt(t time.Time) {
	if dialed := t.Sub(in.Started.At); dialed > 0 && !t.After(in.Deadline) {
		in.Started.At = t.UTC()
		if in.Started.Boot != "" {
			in.Started.Uptime += dialed
		}
	}
}

// spends reports whether the request can use up a refresh token: a login sends
// none, and a grant that is asked for anew has none to lose.
func (in *intent) spends() bool { return in.Refresh != "" && in.Grant.Grant.Type == "" }

// doubt is a request whose outcome is unknown: it may have reached the
// provider and no answer was kept.
type doubt struct {
	Attempts []string // every try without a verdict, oldest first
	Refresh  string
	Access   string
	Since    moment    // when the first of them was sent
	Deadline time.Time // until then one of them may still arrive
	Tries    int
	LastAt   time.Time // when the last of them was sent
	Latest   moment    // the same, by both clocks
	Row      int       // how many tries followed one another inside a grace window
	Opened   moment    // when the first of these was sent
	Cause    string
	RetryAt  time.Time // a further last try is not made before
	Grant    identity  // as in the intent
}

func (d *doubt) members() []member {
	return []member{
		{"attempts", &d.Attempts},
		{"refresh", &d.Refresh},
		{"access", &d.Access},
		{"since", &d.Since},
		{"deadline", &d.Deadline},
		{"tries", &d.Tries},
		{"last_at", &d.LastAt},
		{"latest", &d.Latest},
		{"row", &d.Row},
		{"opened", &d.Opened},
		{"cause", &d.Cause},
		{"retry_at", &d.RetryAt},
		{"grant", &d.Grant},
	}
}

// verdict is the provider's word that a refresh token is dead. It binds to the
// token, the endpoint and the client; the same three are not sent again.
type verdict struct {
	Refresh  string
	TokenURL string
	ClientID string
	Grant    identity // with which it was sent, where nothing ever succeeded
	At       time.Time
	Rule     string
	Code     string
	Says     string
	Do       string
	LostAt   time.Time // the reply lost before, if the verdict ended a doubt
}

func (v *verdict) members() []member {
	return []member{
		{"refresh", &v.Refresh},
		{"token_url", &v.TokenURL},
		{"client_id", &v.ClientID},
		{"grant", &v.Grant},
		{"at", &v.At},
		{"rule", &v.Rule},
		{"code", &v.Code},
		{"says", &v.Says},
		{"do", &v.Do},
		{"lost_at", &v.LostAt},
	}
}

// aside records an answer that was kept out of the token file because it
// belongs to another account.
type aside struct {
	Refresh string // the token whose refresh brought it
	At      time.Time
	Path    string
	Says    string
}

func (a *aside) members() []member {
	return []member{
		{"refresh", &a.Refresh},
		{"at", &a.At},
		{"path", &a.Path},
		{"says", &a.Says},
	}
}

// lastTry is the result of the last try that reached a conclusion, for status.
type lastTry struct {
	At      time.Time
	Outcome Outcome
	Rule    string
	Says    string
	RetryAt time.Time
	Failed  int // tries in a row that did not end fresh
	// When the first and the last request of these left to which a server
	// answered that it had failed; zero: none.
	Broke, BrokeLast time.Time
}

func (l *lastTry) members() []member {
	return []member{
		{"at", &l.At},
		{"outcome", (*string)(&l.Outcome)},
		{"rule", &l.Rule},
		{"says", &l.Says},
		{"retry_at", &l.RetryAt},
		{"failed", &l.Failed},
		{"broke", &l.Broke},
		{"broke_last", &l.BrokeLast},
	}
}

// seconds is a duration that is written as a number of seconds.
type seconds time.Duration

// newState is the state of a grant that was never seen before.
func newState() state {
	return state{Version: stateVersion, Salt: randomHex(16)}
}

// errNewer: a later version of this program wrote the state.
var errNewer = errors.New("it was written by a newer version")

// decodeState reads a stored state. Unreadable bytes are an error: they may
// hide an intent, and a grant with a forgotten intent can be lost.
func decodeState(b []byte) (state, error) {
	var st state
	if err := decodeObject(b, &st); err != nil {
		return state{}, fmt.Errorf("reading the state: %w", err)
	}
	if st.Version > stateVersion {
		return state{}, fmt.Errorf("reading the state: %w", errNewer)
	}
	if st.Version != stateVersion {
		return state{}, fmt.Errorf("reading the state: version %d is not the version %d this program knows", st.Version, stateVersion)
	}
	if st.Salt == "" {
		return state{}, fmt.Errorf("reading the state: it has no salt")
	}
	return st, nil
}

// mark is the fingerprint of a token or a document: keyed, so that equal
// tokens in two places do not show as equal, and "" for "".
func (st *state) mark(secret string) string {
	if secret == "" {
		return ""
	}
	b := make([]byte, 0, 512) // room for a token beside the salt, on the stack
	sum := sha256.Sum256(append(append(append(b, st.Salt...), ' '), secret...))
	return hex.EncodeToString(sum[:markBytes])
}

// standing is what a refresh token found in the document is to the state.
type standing int

const (
	current  standing = iota // the one last stored, sent or in doubt
	replaced                 // one that was replaced before: set back by another program
	newcomer                 // never seen: somebody logged in, or another program refreshed
	missing                  // there is none
)

func (st *state) standing(refresh string) standing {
	fp := st.mark(refresh)
	switch {
	case fp == "" && st.remembered().Grant.Type != "": // needs none
		return current
	case fp == "":
		return missing
	case slices.Contains(st.Replaced, fp):
		return replaced
	case fp == st.Refresh, st.Intent != nil && fp == st.Intent.Refresh, st.Doubt != nil && fp == st.Doubt.Refresh:
		return current
	default:
		return newcomer
	}
}

// replace notes that the refresh token with the fingerprint old is no longer
// the grant's. The token that is in use is never on the list.
func (st *state) replace(old, now string) {
	st.Replaced = slices.DeleteFunc(st.Replaced, func(fp string) bool { return fp == now || fp == old && old != now })
	if old != "" && old != now {
		st.Replaced = append(st.Replaced, old)
	}
	if n := len(st.Replaced) - keepReplaced; n > 0 {
		st.Replaced = slices.Delete(st.Replaced, 0, n)
	}
}

// adopt takes the tokens found in the document as the grant's newest, whoever
// wrote them; written is when, as far as that is known. A token that was
// replaced before is never adopted.
func (st *state) adopt(access, refresh string, written time.Time) {
	if written.IsZero() {
		written = time.Now()
	}
	login := st.standing(refresh) == newcomer
	st.renew(access, refresh, moment{At: written.UTC().Round(0)})
	if login {
		st.Last = lastTry{} // what held back the token before does not concern this one
		st.Learned.LoginAt, st.Learned.RotatedAt = st.Committed.At, st.Committed.At
	}
	st.forgetTimes()
}

// logIn takes what a login brought. kept says that it brought no refresh token:
// then what is known of the one that stays holds on, above all that it may have
// been spent.
func (st *state) logIn(access, refresh string, at time.Time, kept bool) {
	was := *st
	st.adopt(access, refresh, at)
	st.Last = lastTry{}
	if kept && refresh != "" {
		st.Refresh, st.Replaced, st.Doubt, st.Dead, st.Aside = was.Refresh, was.Replaced, was.Doubt, was.Dead, was.Aside
		st.Learned = was.Learned
		st.forgetTimes()
		return
	}
	l := &st.Learned
	l.LoginAt, l.RotatedAt = st.Committed.At, st.Committed.At
	l.Rotates = nil // the new grant has not been refreshed yet
}

// forgetTimes drops what was computed about an access token that is no longer
// the one: the document and the catalog say it anew.
func (st *state) forgetTimes() {
	l := &st.Learned
	l.IssuedAt, l.ExpiresAt, l.RefreshAt = time.Time{}, time.Time{}, time.Time{}
	l.Source, l.TokenType = "", ""
}

// renew begins a generation with these tokens. It ends every doubt. Where a
// request was replayed, the first one may still arrive: then nothing new is
// sent before it cannot any more.
func (st *state) renew(access, refresh string, now moment) {
	if in := st.Intent; in != nil && in.Replay {
		st.QuietUntil = later(st.QuietUntil, in.Deadline)
		if st.Doubt != nil {
			st.QuietUntil = later(st.QuietUntil, st.Doubt.Deadline)
		}
	}
	fp := st.mark(refresh)
	st.Replaced = slices.Clone(st.Replaced)
	for _, old := range []string{st.Refresh, st.sent()} {
		st.replace(old, fp)
	}
	st.Generation++
	st.Access, st.Refresh, st.Committed = st.mark(access), fp, now
	st.Intent, st.Doubt, st.Dead, st.Aside = nil, nil, nil, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sent is the fingerprint of the refresh token of the open intent or doubt.
func (st *state) sent() string {
	switch {
	case st.Intent != nil:
		return st.Intent.Refresh
	case st.Doubt != nil:
		return st.Doubt.Refresh
	}
	return ""
}

// sentWith is the fingerprint of the access token beside it.
func (st *state) sentWith() string {
	if st.Intent != nil {
		return st.Intent.Access
	}
	return st.Doubt.Access
}

// clearIntent ends a try that certainly did not spend the refresh token. An
// earlier doubt stays.
func (st *state) clearIntent() { st.Intent = nil }

// doubtIntent turns the open intent into a doubt, or adds it to the one there
// is: only a verdict ends it.
func (st *state) doubtIntent(cause string) {
	in := st.Intent
	if in == nil || !in.spends() {
		st.Intent = nil
		return
	}
	d := st.Doubt
	if d == nil || d.Refresh != in.Refresh {
		d = &doubt{Refresh: in.Refresh, Access: in.Access, Since: in.Started}
	} else {
		known := *d // others may share it
		d = &known
	}
	d.Attempts = append(slices.Clone(d.Attempts), in.Attempt)
	d.Cause, d.Grant = cause, in.Grant
	d.left(in, in.Started)
	if in.Deadline.After(d.Deadline) {
		d.Deadline = in.Deadline
	}
	d.RetryAt = in.Deadline.Add(backoff(d.Tries, lastTryDelays))
	st.Doubt, st.Intent = d, nil
}

// dead reports the verdict that binds what would be sent, if there is one.
func (st *state) dead(refresh string, id identity) *verdict {
	v := st.Dead
	if v == nil || v.Refresh != st.mark(refresh) || v.TokenURL != id.TokenURL || v.ClientID != id.ClientID {
		return nil
	}
	return v
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b)
}

func (s seconds) duration() time.Duration { return time.Duration(s) }

// remembered is what identifies the grant by its last success, or by a first
// try that brought none.
func (st *state) remembered() identity {
	switch {
	case st.Grant.TokenURL != "":
		return st.Grant
	case st.Intent != nil && st.Intent.Brings == "":
		return st.Intent.Grant
	case st.Doubt != nil:
		return st.Doubt.Grant
	case st.Dead != nil:
		return st.Dead.Grant
	}
	return st.Grant
}

// attempted is what identifies the grant if the open try is what was stored: a
// login may be of another client than what was there.
func (st *state) attempted() identity {
	if st.Intent != nil && st.Intent.Grant.TokenURL != "" {
		return st.Intent.Grant
	}
	return st.remembered()
}

// both is the fingerprint of an access and a refresh token together.
func (st *state) both(access, refresh string) string { return st.mark(access + " " + refresh) }

// broughtBy reports whether these are the tokens of the login that is open.
func (st *state) broughtBy(access, refresh string) bool {
	return st.Intent != nil && st.Intent.Brings != "" && st.Intent.Brings == st.both(access, refresh)
}

// references are those of all that the state may take them from.
func (st *state) references() []reference {
	refs := st.Grant.references()
	if st.Intent != nil {
		refs = append(refs, st.Intent.Grant.references()...)
	}
	if st.Doubt != nil {
		refs = append(refs, st.Doubt.Grant.references()...)
	}
	if st.Dead != nil {
		refs = append(refs, st.Dead.Grant.references()...)
	}
	return refs
}

// refers reports whether it names where a secret is fetched from.
func (st *state) refers() bool {
	return slices.ContainsFunc(st.references(), func(r reference) bool { return *r.at != "" })
}

// disown makes its references ones that are not followed.
func (st *state) disown() {
	for _, r := range st.references() {
		if *r.at != "" && !strings.HasPrefix(*r.at, Elsewhere) {
			*r.at = Elsewhere + *r.at
		}
	}
}

// lent is the state with the references of another user as that user said them.
func (st *state) lent() state {
	out := *st
	if st.Intent != nil {
		in := *st.Intent
		out.Intent = &in
	}
	if st.Doubt != nil {
		d := *st.Doubt
		out.Doubt = &d
	}
	if st.Dead != nil {
		v := *st.Dead
		out.Dead = &v
	}
	for _, r := range out.references() {
		*r.at = strings.TrimPrefix(*r.at, Elsewhere)
	}
	return out
}

// age is how long ago the first request in doubt was sent.
func (d *doubt) age(now time.Time) time.Duration { return d.Since.age(now) }

// left notes that the request of a try left and may have been handled.
func (d *doubt) left(in *intent, at moment) {
	d.Tries++
	d.LastAt, d.Latest, d.Row = at.At, at, max(in.Row, 1)
	if d.Row == 1 {
		d.Opened = at
	}
}

// windowAge is how long a grace window may be open at least: it begins with the
// request that the provider handled, and that may have been the last one, if
// those before never arrived. If they did, nobody has the token that they
// brought, and nothing is lost by another try. After a few tries in a row only
// the first of them counts, since each try may cost the access token; a last
// try, made when that had ended, begins another row.
func (d *doubt) windowAge(now time.Time) time.Duration {
	switch {
	case d.Latest.At.IsZero():
		return d.age(now)
	case d.Row > graceTries:
		return d.Opened.age(now)
	}
	return d.Latest.age(now)
}

// windowAge is the same for tries that a server error answered: they are in no
// doubt, since such a server has mostly done nothing, but a window may be open.
// It is negative where there are none.
func (l *lastTry) windowAge(now time.Time) time.Duration {
	switch {
	case l.Broke.IsZero():
		return -1
	case l.Failed > graceTries:
		return now.Sub(l.Broke)
	}
	return now.Sub(l.BrokeLast)
}

// arrived reports whether no request in doubt can arrive any more. A clock that
// was set back since must not make that last for years: then the time since
// boot decides, and after a reboot it counts as passed.
func (d *doubt) arrived(now time.Time) bool {
	if !now.Before(d.Deadline) || d.age(now) >= d.Deadline.Sub(d.Since.At) {
		return true
	}
	return now.Before(d.Since.At.Add(-clockSlack)) && d.Since.Boot != bootID()
}
