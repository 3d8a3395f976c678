package evergrant

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// stateVersion is the layout of the state this code writes. A newer layout is
// refused rather than misread: an intent that is not understood must not be
// cleared.
const stateVersion = 1

// keepReplaced bounds the fingerprints of replaced refresh tokens. At one
// refresh an hour the list covers ten days of backups that may be set back;
// what identifies the loss is only ever a recent one.
const keepReplaced = 256

// markBytes is the length of a fingerprint: enough that no two tokens of a
// grant ever share one.
const markBytes = 12

// state is what Evergrant knows about a grant beyond the token itself. It
// holds no token: only keyed fingerprints of them. Beside a plain file it is
// the file .NAME.evergrant; in a store it is part of the record's data.
type state struct {
	Version    int       `json:"version"`
	Generation uint64    `json:"generation"`
	Salt       string    `json:"salt"`            // keys the fingerprints; random, never changes
	Grant      identity  `json:"grant,omitzero"`  // what the next call needs no flags for
	Access     string    `json:"access,omitzero"` // fingerprints of the tokens last stored or adopted
	Refresh    string    `json:"refresh,omitzero"`
	Committed  moment    `json:"committed,omitzero"` // when they were stored
	Learned    learned   `json:"learned,omitzero"`
	Replaced   []string  `json:"replaced,omitzero"` // fingerprints of refresh tokens that were replaced, oldest first
	Dead       *verdict  `json:"dead,omitzero"`
	Aside      *aside    `json:"aside,omitzero"`
	Doubt      *doubt    `json:"doubt,omitzero"`
	QuietUntil time.Time `json:"quiet_until,omitzero"` // no new refresh before: a request in doubt may still travel
	Last       lastTry   `json:"last,omitzero"`
	Intent     *intent   `json:"intent,omitzero"`
}

// identity is what identifies a grant to its authorization server, remembered
// after the first success. It holds no secret; Secret is a reference such as
// env:NAME.
type identity struct {
	Provider        string            `json:"provider,omitzero"`
	TokenURL        string            `json:"token_url,omitzero"`
	ClientID        string            `json:"client_id,omitzero"`
	Auth            string            `json:"auth,omitzero"`
	SecretRef       string            `json:"client_secret_ref,omitzero"`
	Params          [][2]string       `json:"params,omitzero"`
	Fields          map[string]string `json:"fields,omitzero"`
	SessionLifetime seconds           `json:"session_lifetime_s,omitzero"`
}

// learned is what answers taught about this grant.
type learned struct {
	IssuedAt  time.Time `json:"issued_at,omitzero"`  // when the access token was received
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero: unknown
	Source    string    `json:"expiry_from,omitzero"`
	RefreshAt time.Time `json:"refresh_at,omitzero"` // when a keeper should refresh next; zero: only on a report
	Lifetime  seconds   `json:"lifetime_s,omitzero"` // shortest age at which a token was reported as rejected
	Rotates   *bool     `json:"rotates,omitzero"`    // whether the last answer brought another refresh token
	RotatedAt time.Time `json:"rotated_at,omitzero"` // when the refresh token was received
	LoginAt   time.Time `json:"login_at,omitzero"`   // when a refresh token never seen before turned up
	TokenType string    `json:"token_type,omitzero"`
}

// intent is the journal of one try, durable before anything is sent.
type intent struct {
	Attempt    string    `json:"attempt"`
	Phase      phase     `json:"phase"`
	Owner      string    `json:"owner"`
	Boot       string    `json:"boot"`
	Generation uint64    `json:"generation"`
	Refresh    string    `json:"refresh"`
	Access     string    `json:"access"`
	Base       string    `json:"base"` // fingerprint of the document the try started from
	Started    time.Time `json:"started"`
	Deadline   time.Time `json:"deadline"`
	Replay     bool      `json:"replay,omitzero"`
	Grant      identity  `json:"grant,omitzero"` // what it is sent with: a first try has no success to remember it from
}

// phase tells how far a try had come when it was last heard of. Both words
// have the same length, so that turning one into the other is a write of seven
// bytes in place.
type phase string

const (
	dialing phase = "dialing" // nothing of the request has left
	sending phase = "sending" // the provider may have the request
)

// doubt is a request whose outcome is unknown: it may have reached the
// provider and no answer was kept.
type doubt struct {
	Attempts []string  `json:"attempts"` // every try without a verdict, oldest first
	Refresh  string    `json:"refresh"`
	Access   string    `json:"access"`
	Since    time.Time `json:"since"`    // when the first of them was sent
	Deadline time.Time `json:"deadline"` // until then one of them may still arrive
	Tries    int       `json:"tries"`
	Cause    string    `json:"cause,omitzero"`
	RetryAt  time.Time `json:"retry_at,omitzero"` // a further last try is not made before
	Grant    identity  `json:"grant,omitzero"`    // as in the intent
}

// verdict is the provider's word that a refresh token is dead. It binds to the
// token, the endpoint and the client; the same three are not sent again.
type verdict struct {
	Refresh  string    `json:"refresh"`
	TokenURL string    `json:"token_url"`
	ClientID string    `json:"client_id"`
	At       time.Time `json:"at"`
	Rule     string    `json:"rule"`
	Code     string    `json:"code"`
	Says     string    `json:"says"`
	Do       string    `json:"do"`
	LostAt   time.Time `json:"lost_at,omitzero"` // the reply lost before, if the verdict ended a doubt
}

// aside records an answer that was kept out of the token file because it
// belongs to another account.
type aside struct {
	Refresh string    `json:"refresh"` // the token whose refresh brought it
	At      time.Time `json:"at"`
	Path    string    `json:"path"`
	Says    string    `json:"says"`
}

// lastTry is the result of the last try that reached a conclusion, for status.
type lastTry struct {
	At      time.Time `json:"at,omitzero"`
	Outcome Outcome   `json:"outcome,omitzero"`
	Rule    string    `json:"rule,omitzero"`
	Says    string    `json:"says,omitzero"`
	RetryAt time.Time `json:"retry_at,omitzero"`
	Failed  int       `json:"failed,omitzero"` // tries in a row that did not end fresh
}

// seconds is a duration that is written as a number of seconds.
type seconds time.Duration

func (s seconds) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(s).Seconds())
}

func (s *seconds) UnmarshalJSON(b []byte) error {
	var f float64
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	*s = seconds(f * float64(time.Second))
	return nil
}

// newState is the state of a grant that was never seen before.
func newState() state {
	return state{Version: stateVersion, Salt: randomHex(16)}
}

// decodeState reads a stored state. Unreadable bytes are an error: they may
// hide an intent, and a grant with a forgotten intent can be lost.
func decodeState(b []byte) (state, error) {
	var st state
	if err := json.Unmarshal(b, &st); err != nil {
		return state{}, fmt.Errorf("reading the state: %w", err)
	}
	if st.Version != stateVersion {
		return state{}, fmt.Errorf("reading the state: version %d is not the version %d this program knows", st.Version, stateVersion)
	}
	if st.Salt == "" {
		return state{}, fmt.Errorf("reading the state: it has no salt")
	}
	return st, nil
}

func (st *state) encode() []byte {
	b, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		panic("evergrant: encoding the state: " + err.Error()) // only plain types: cannot fail
	}
	return append(b, '\n')
}

// mark is the fingerprint of a token or a document: keyed, so that equal
// tokens in two places do not show as equal, and "" for "".
func (st *state) mark(secret string) string {
	if secret == "" {
		return ""
	}
	m := hmac.New(sha256.New, []byte(st.Salt))
	m.Write([]byte(secret))
	return hex.EncodeToString(m.Sum(nil)[:markBytes])
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
// wrote them.
func (st *state) adopt(access, refresh string, now moment) {
	login := st.standing(refresh) == newcomer
	now.Boot = "" // found, not committed: when it was stored is not known
	st.renew(access, refresh, now)
	if login {
		st.Learned.LoginAt, st.Learned.RotatedAt = now.At, now.At
	}
	st.forgetTimes()
}

// forgetTimes drops what was computed about an access token that is no longer
// the one: the document and the catalog say it anew.
func (st *state) forgetTimes() {
	l := &st.Learned
	l.IssuedAt, l.ExpiresAt, l.RefreshAt = time.Time{}, time.Time{}, time.Time{}
	l.Source, l.TokenType = "", ""
}

// renew begins a generation with these tokens. It ends every doubt.
func (st *state) renew(access, refresh string, now moment) {
	fp := st.mark(refresh)
	st.Replaced = slices.Clone(st.Replaced)
	for _, old := range []string{st.Refresh, st.sent()} {
		st.replace(old, fp)
	}
	st.Generation++
	st.Access, st.Refresh, st.Committed = st.mark(access), fp, now
	st.Intent, st.Doubt, st.Dead, st.Aside = nil, nil, nil, nil
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

// clearIntent ends a try that certainly did not spend the refresh token. An
// earlier doubt stays.
func (st *state) clearIntent() { st.Intent = nil }

// doubtIntent turns the open intent into a doubt, or adds it to the one there
// is: only a verdict ends it.
func (st *state) doubtIntent(cause string) {
	in := st.Intent
	if in == nil {
		return
	}
	d := st.Doubt
	if d == nil || d.Refresh != in.Refresh {
		d = &doubt{Refresh: in.Refresh, Access: in.Access, Since: in.Started}
	}
	d.Attempts = append(d.Attempts, in.Attempt)
	d.Tries++
	d.Cause, d.Grant = cause, in.Grant
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
// try whose outcome is not known yet.
func (st *state) remembered() identity {
	switch {
	case st.Grant.TokenURL != "":
		return st.Grant
	case st.Intent != nil:
		return st.Intent.Grant
	case st.Doubt != nil:
		return st.Doubt.Grant
	}
	return st.Grant
}
