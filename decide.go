package evergrant

import (
	"crypto/sha256"
	"time"

	"github.com/evergrant/evergrant/provider"
)

// ask is what a caller wants of a grant. Its zero value asks for any valid
// access token. Asks compare by ==: equal ones share a flight.
type ask struct {
	kind       askKind
	min        time.Duration // asked minimum validity; 0: none was asked
	rejected   digest        // of the access token that was rejected, for askRejected
	since      since         // what the caller saw before, for askRefresh
	sinceStart bool          // what was committed after this process started is newer too
	replay     bool          // make a last try although a reply was lost
	nonced     bool          // the provider's nonce was asked for in this call already
	lost       bool          // a reply was lost in this call already
}

type askKind int

const (
	askToken    askKind = iota // a valid access token
	askRefresh                 // a newer access token than the one seen
	askRejected                // a newer one than the one that was rejected
	askStored                  // what is stored, without a turn and without a refresh
)

// since is what an explicit refresh saw first thing: whatever is newer is
// taken instead of refreshing again.
type since struct {
	known           bool
	generation      uint64
	access, refresh digest
}

// digest stands for a token within the process. Unlike the state's marks it
// needs no salt, so it compares before a state was ever written.
type digest [sha256.Size]byte

func digestOf[T string | []byte](v T) digest { return sha256.Sum256([]byte(v)) }

// terms are what decisions about a grant rest on besides its state.
type terms struct {
	id      identity
	lookUp  func() *provider.Provider
	session time.Duration
	timeout time.Duration // of one exchange
}

// provider is the catalog's entry; nil if it is not known.
func (t terms) provider() *provider.Provider {
	if t.lookUp == nil {
		return nil
	}
	return t.lookUp()
}

// neverRotates reports whether a refresh is known to leave the refresh token as it
// is: by the grant's own last answer, else by the catalog, else not known.
func (t terms) neverRotates(st *state) bool {
	if t.asserts() {
		return true
	}
	if st.Learned.Rotates != nil {
		return !*st.Learned.Rotates
	}
	return t.provider().Rotation().Never
}

// asserts reports whether the grant is renewed by asking again, without a
// refresh token: then nothing can be spent, and a lost answer is no loss.
func (t terms) asserts() bool { return t.id.Grant.Type != "" }

// grace is how long the token just sent may be sent again; 0: not at all.
func (t terms) grace() time.Duration { return t.provider().Rotation().Grace }

// healable reports whether a lost reply can still be had again: then every
// call tries, however good the access token is, for the window closes. An open
// intent counts once its request left: only the lock tells whether its owner
// lives, and who lives has it back in a moment.
func (t terms) healable(st *state, now time.Time) bool {
	var age time.Duration
	switch {
	case st.Doubt != nil:
		age = st.Doubt.windowAge(now)
	case st.Intent != nil && st.Intent.Phase == sending:
		age = st.Intent.Started.age(now)
	default:
		age = st.Last.windowAge(now)
	}
	return age >= 0 && age < t.grace()/2
}

func (t terms) lifetimes(st *state) lifetimeSources {
	return lifetimeSources{session: t.session, learned: st.Learned.Lifetime.duration(), provider: t.provider()}
}

// expiry is when the access token at hand ends: as it was computed when it was
// received, else as the document and the catalog say.
func (t terms) expiry(h *holding) expiry {
	l := h.st.Learned
	if h.st.Access != "" && h.st.Access == h.st.mark(h.file.AccessToken()) && !l.IssuedAt.IsZero() {
		e := expiry{At: l.ExpiresAt, From: l.Source, Issued: l.IssuedAt}
		if t.session > 0 && l.Source != "answer" && l.Source != "jwt" {
			e.At, e.From = l.IssuedAt.Add(t.session), "session"
		}
		return e
	}
	return fileExpiry(h.file, h.written, t.lifetimes(&h.st))
}

// due is when the token at hand should be renewed; zero: only on a report.
func (t terms) due(h *holding, e expiry) time.Time {
	l := h.st.Learned
	if h.st.Access != "" && h.st.Access == h.st.mark(h.file.AccessToken()) && !l.RefreshAt.IsZero() && e.From == l.Source {
		return l.RefreshAt
	}
	return refreshAt(e, l.RotatedAt, t.provider(), 0.5)
}

// step is what to do next.
type step int

const (
	serve step = iota // hand out what is there
	send              // refresh
	wait              // nothing before decision.until
	fail              // decision.err
)

type decision struct {
	do      step
	adopted bool      // serve: it is newer than what the caller knew
	replay  bool      // send: a reply was lost before
	row     int       // send: the place of the try in its row; 0: the first
	heals   bool      // wait: for a replay inside a grace window, which is worth a moment of anybody's
	until   time.Time // wait
	err     *Error    // fail; with serve: the warning to give beside the token
}

// decide is the policy of design §2 as a pure function: what to do for an ask,
// given what the place holds under its lock and no open intent.
func decide(q ask, h *holding, t terms, now time.Time) decision {
	e := t.expiry(h)
	switch q.kind {
	case askToken:
		if d, done := enough(q, h, t, e, now); done {
			if d.do == serve {
				d.err = trouble(h, t, e)
			}
			return d
		}
	case askRefresh:
		newer := h.st.newerThan(q.since, h) || q.sinceStart && h.st.Committed.afterStart()
		if newer && servable(ask{}, h, e, now) {
			return decision{do: serve, adopted: true}
		}
	case askRejected:
		if digestOf(h.file.AccessToken()) != q.rejected && servable(ask{}, h, e, now) {
			return decision{do: serve, adopted: true}
		}
		own := h.st.Access == h.st.mark(h.file.AccessToken()) // by a refresh of ours, not as another program wrote it
		if age := now.Sub(h.st.Learned.IssuedAt); own && !h.st.Learned.IssuedAt.IsZero() && age >= 0 && age < youngest {
			return decision{do: fail, err: tooYoung()}
		}
	}
	d := maySend(q, h, t, e, now)
	if q.kind == askToken && d.do != send && (!d.heals || q.lost) && servable(q, h, e, now) {
		return decision{do: serve, err: d.err}
	}
	return d
}

// enough reports whether the token at hand is good enough for the ask, or can
// be known never to be.
func enough(q ask, h *holding, t terms, e expiry, now time.Time) (decision, bool) {
	if h.file.AccessToken() == "" || t.healable(&h.st, now) {
		return decision{}, false
	}
	if err := h.unusable(); err != nil && !e.ended(now) {
		return decision{do: fail, err: err}, true
	}
	due := t.due(h, e)
	isDue := !due.IsZero() && !now.Before(due) || e.Issued.After(now.Add(clockSlack))
	if q.min == 0 {
		return decision{do: serve}, servable(q, h, e, now) && !isDue
	}
	switch {
	case e.At.IsZero():
		return decision{do: fail, err: unknownLifetime()}, true
	case servable(q, h, e, now):
		return decision{do: serve}, true
	case !isDue && e.At.Sub(e.Issued) < q.min && h.st.Access == h.st.mark(h.file.AccessToken()):
		return decision{do: fail, err: tooShort(q.min, e.At.Sub(now))}, true // a refresh brings no longer one
	}
	return decision{}, false
}

// trouble is what a caller should be warned of although the token at hand is
// good: there may be no next one.
func trouble(h *holding, t terms, e expiry) *Error {
	if t.asserts() {
		return nil // whatever became of an earlier one, a next one is asked for anew
	}
	rt := h.file.RefreshToken()
	if v := h.st.dead(rt, t.id); v != nil {
		return v.failure()
	}
	switch {
	case h.st.Doubt != nil:
		return h.st.Doubt.failure(e)
	case h.st.standing(rt) == replaced:
		return setBack()
	}
	return nil
}

// servable reports whether the token at hand may be handed out although it
// should be renewed: it has not ended, and meets the minimum that was asked.
func servable(q ask, h *holding, e expiry, now time.Time) bool {
	if h.file.AccessToken() == "" || h.unusable() != nil {
		return false
	}
	if q.min > 0 {
		return !e.At.IsZero() && e.At.Sub(now) >= q.min
	}
	return !e.ended(now)
}

// tokenType is the access token's type; "" where nobody says.
func (h *holding) tokenType() string {
	if h.st.Access == h.st.mark(h.file.AccessToken()) && h.st.Learned.TokenType != "" {
		return h.st.Learned.TokenType
	}
	return h.file.Text("token_type")
}

// maySend decides whether the refresh token at hand may be sent now. An
// explicit refresh is not held back by earlier failures, only by doubts.
func maySend(q ask, h *holding, t terms, e expiry, now time.Time) decision {
	st := &h.st
	if t.asserts() {
		return paced(q, h, e, now)
	}
	rt := h.file.RefreshToken()
	switch stand := st.standing(rt); {
	case stand == missing:
		return decision{do: fail, err: noRefreshToken(h.file.Layout())}
	case stand == replaced:
		return decision{do: fail, err: setBack()}
	case st.Aside != nil && st.Aside.Refresh == st.mark(rt):
		return decision{do: fail, err: st.Aside.failure()}
	}
	if v := st.dead(rt, t.id); v != nil {
		return decision{do: fail, err: v.failure()}
	}
	if now.Before(st.QuietUntil) && st.QuietUntil.Sub(now) < max(2*t.timeout, maxQuiet) {
		return decision{do: wait, until: st.QuietUntil, err: quiet(st.QuietUntil)}
	}
	if st.Doubt != nil {
		return inDoubt(q, h, t, e, now)
	}
	return paced(q, h, e, now)
}

// paced keeps the back-off across calls: what failed a moment ago is not tried
// again at once for a token, only for an explicit refresh.
func paced(q ask, h *holding, e expiry, now time.Time) decision {
	l := h.st.Last
	if q.kind == askRefresh || !now.Before(l.RetryAt) || l.RetryAt.Sub(now) > maxPace {
		return decision{do: send}
	}
	if l.Outcome == Blocked || l.Outcome == Misconfigured || servable(ask{}, h, e, now) {
		return decision{do: fail, err: l.failure(now)}
	}
	return decision{do: wait, until: l.RetryAt, err: l.failure(now)}
}

// inDoubt decides whether a request whose reply was lost may be made again
// (design §2 "In doubt").
func inDoubt(q ask, h *holding, t terms, e expiry, now time.Time) decision {
	d := h.st.Doubt
	out := e.ended(now) || h.file.AccessToken() == ""
	g := t.grace()
	age := d.windowAge(now)
	if out && d.Row > graceTries {
		age = d.Latest.age(now) // no access token is left to lose by it
	}
	// A window shorter than the time a request may travel is no licence: the
	// replay rotates, its window ends, and the first request arrives after it.
	if g >= d.Deadline.Sub(d.LastAt) && g > 0 && age >= 0 && age < g/2 {
		if next := d.LastAt.Add(min(backoff(d.Row-1, graceDelays), g/6)); now.Before(next) { // a sixth: well inside its half
			return decision{do: wait, heals: true, until: next, err: d.failure(e)}
		}
		return decision{do: send, replay: true, row: d.Row + 1}
	}
	last := out || q.replay || q.kind == askRejected || t.neverRotates(&h.st)
	if !last {
		return decision{do: fail, err: d.failure(e)}
	}
	if !d.arrived(now) {
		return decision{do: wait, until: d.Deadline, err: d.failure(e)}
	}
	if now.Before(d.RetryAt) && d.RetryAt.Sub(now) < maxPace && !q.replay {
		return decision{do: fail, err: d.retryLater(now)}
	}
	return decision{do: send, replay: true}
}

// winner is who has the last word where an answer of ours meets a document that
// is not the one it was made for: just before the exchange, in what came out of
// it, or in a later run that finds the answer of a killed one.
type winner string

const (
	ours   winner = "ours"   // the answer is put into the document; what else changed there is an edit and stays
	theirs winner = "theirs" // the document stays as it is, and the answer is kept aside
)

// winners is who wins by what the document's refresh token is to our state.
var winners = map[standing]winner{
	current:  ours,   // the one that was sent, or is in doubt: the answer replaces it
	replaced: ours,   // one of before that another program set back: it is spent (P1)
	missing:  ours,   // an edit took it out
	newcomer: theirs, // somebody logged in, or refreshed without our lock (P3)
}

// whoWins decides between an answer, by its refresh token, and the document that
// is there; st is the state of the try that the answer is of. All that write an
// answer ask it. A document that cannot be read has no winner: it is being
// written, and is waited for.
func whoWins(st *state, there holding, answer string) winner {
	refresh := there.file.RefreshToken()
	switch {
	case there.newer: // a compare-and-set that came late (P3)
		return theirs
	case refresh == answer: // it is there already, or the grant does not rotate
		return ours
	}
	return winners[st.standing(refresh)]
}

// newerThan reports whether the grant moved on since the caller looked.
func (st *state) newerThan(s since, h *holding) bool {
	if !s.known {
		return false
	}
	return st.Generation > s.generation && s.generation > 0 ||
		digestOf(h.file.AccessToken()) != s.access || digestOf(h.file.RefreshToken()) != s.refresh
}
