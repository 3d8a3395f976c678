package model

// What the protocol decides: the rules of recover.go and decide.go.

// standing is what a refresh token in the token file is to the state.
type standing uint8

const (
	current standing = iota
	replaced
	newcomer
	missing
)

func (r *record) standing(t token) standing {
	switch {
	case t == 0:
		return missing
	case r.replaced&t.bit() != 0:
		return replaced
	case t == r.rt, r.in.attempt != 0 && t == r.in.rt, t == r.doubt.rt:
		return current
	}
	return newcomer
}

// login reports whether the document holds a token that neither the state nor
// the answer knows.
func (r *record) login(d doc, answer token) bool {
	return r.standing(d.rt) == newcomer && d.rt != answer
}

// adopt takes the document's tokens as the newest. It ends every doubt.
func (r *record) adopt(d doc) {
	for _, t := range []token{r.rt, r.inFlight()} {
		if t != 0 && t != d.rt {
			r.replaced |= t.bit()
		}
	}
	r.replaced &^= d.rt.bit()
	if age := r.travels(); age < old {
		r.quiet = 1 + age
	}
	r.rt, r.at = d.rt, d.at
	r.in, r.doubt, r.dead = intent{}, doubt{}, 0
}

// travels is the age of the youngest request that may still be on its way to
// the server after a replay was answered.
func (r *record) travels() uint8 {
	if r.in.attempt == 0 || !r.in.replay {
		return old
	}
	age := r.in.age
	if r.doubt.rt != 0 {
		age = min(age, r.doubt.last)
	}
	return age
}

// inFlight is the token of the open intent or doubt.
func (r *record) inFlight() token {
	if r.in.attempt != 0 {
		return r.in.rt
	}
	return r.doubt.rt
}

// suspect turns the intent into a doubt, or adds it to the one there is.
func (r *record) suspect() {
	in, d := r.in, r.doubt
	if d.rt != in.rt {
		d = doubt{rt: in.rt, at: in.at, age: in.age}
	}
	d.attempts |= 1 << in.attempt
	d.last = in.age
	r.in, r.doubt = intent{}, d
}

// renewed is the state that goes with the answer.
func (m *Model) renewed(pr *proc) record {
	r, next := pr.rec, pr.next
	if next.rt != r.inFlight() {
		r.rotates = does
	} else if !pr.roll {
		r.rotates = doesNot
	}
	if !pr.roll && !pr.due {
		r.in.age = old // it has arrived; what is in doubt may still travel
	}
	r.adopt(next)
	if m.without(TheQuiet) {
		r.quiet = 0
	}
	return r
}

// read is the recovery under the lock: what is there, what an earlier run left,
// and what that means.
func (m *Model) read(w *world, pr *proc) {
	if m.without(TheReread) {
		pr.cur, pr.at = pr.seen, decide
		return
	}
	if m.without(TheJudgement) { // sweeps first
		m.sweep(w)
	}
	pr.cur, pr.rec, pr.at = w.content(), w.cache.state, decide
	r := &pr.rec
	if r.in.attempt == 0 && r.doubt.rt == 0 {
		m.resolve(r, pr.cur, false)
		return
	}
	committed := m.committed(w, r, pr.cur)
	if out := m.cameOut(w, r, pr.cur); out != (doc{}) && out != pr.cur && out != r.in.base && !m.without(TheDue) {
		m.reinstate(pr, out)
		return
	}
	answer, id := m.lostAnswer(w, r)
	if id != 0 && !committed && !r.login(pr.cur, answer.rt) {
		if r.in.attempt == 0 {
			r.in = intent{rt: r.doubt.rt, at: r.doubt.at, age: r.doubt.last, thisBoot: true}
		}
		r.in.attempt, r.in.sending = id, true
		pr.id, pr.answer, pr.sent, pr.roll, pr.expect = id, answer, r.in.rt, true, pr.cur
		m.merge(pr)
		pr.at = reserve
		return
	}
	if m.resolve(r, pr.cur, committed) {
		pr.at, pr.then = settleFile, decide
	}
}

// lostAnswer finds the answer of the open intent, or of one of the requests in
// doubt, that did not reach its place.
func (m *Model) lostAnswer(w *world, r *record) (doc, uint8) {
	if m.without(TheRollForward) {
		return doc{}, 0
	}
	open := r.doubt.attempts
	if r.in.attempt != 0 {
		open |= 1 << r.in.attempt
	}
	for _, t := range w.cache.temp {
		has := w.inode[t.inode].has
		whole := t.name != doc{} && has == t.name
		if m.without(TheHash) {
			whole = has.rt != 0
		}
		if t.attempt != 0 && open&(1<<t.attempt) != 0 && whole {
			return has, t.attempt
		}
	}
	for _, s := range w.rescue {
		if s.attempt != 0 && open&(1<<s.attempt) != 0 {
			return s.has, s.attempt
		}
	}
	return doc{}, 0
}

// cameOut is what another program had written just before an exchange, if the
// process ended before it could look.
func (m *Model) cameOut(w *world, r *record, d doc) doc {
	for _, t := range w.cache.temp {
		has := w.inode[t.inode].has
		if r.in.attempt == 0 || t.attempt != r.in.attempt || t.name != d {
			continue
		}
		if has != d || m.without(EveryName) {
			return has
		}
	}
	return doc{}
}

// reinstate gives that document its due: an edit is spliced into ours, a login
// is put back.
func (m *Model) reinstate(pr *proc, out doc) {
	r := &pr.rec
	pr.id, pr.sent, pr.due, pr.expect, pr.at = r.in.attempt, r.in.rt, true, pr.cur, reserve
	if r.in.sending = true; !m.without(TheNewBase) {
		r.in.base = pr.cur // what comes out of this exchange is ours
	}
	if pr.next = out; !r.login(out, pr.cur.rt) {
		pr.next = out.with(pr.cur)
	}
}

// committed: a temporary file of the intent is named for what the token file
// holds.
func (m *Model) committed(w *world, r *record, d doc) bool {
	for _, t := range w.cache.temp {
		if r.in.attempt != 0 && t.attempt == r.in.attempt && t.name == d && !m.without(TheHash) {
			return true
		}
	}
	return false
}

// resolve decides what the document says about the open intent and doubt, and
// reports whether the state changed.
func (m *Model) resolve(r *record, d doc, committed bool) bool {
	switch stand := r.standing(d.rt); {
	case stand == newcomer, stand == current && (committed || m.otherAccess(r, d)):
		quiet := r.quiet
		if r.adopt(d); m.without(TheReplayQuiet) {
			r.quiet = quiet
		}
		return true
	}
	if r.in.attempt == 0 {
		return false
	}
	if !r.in.sending && (r.in.thisBoot || m.without(TheBoot)) {
		r.in = intent{}
	} else {
		r.suspect()
	}
	return true
}

// otherAccess: another access token stands beside the same refresh token.
func (m *Model) otherAccess(r *record, d doc) bool {
	switch {
	case r.in.attempt != 0:
		return d.at != r.in.at && r.rotates == doesNot
	case r.doubt.rt != 0:
		return d.at != r.doubt.at && r.rotates == doesNot
	}
	return d.at != r.at
}

// decide is what to do for a refresh: serve, send or leave it.
func (m *Model) decide(w *world, p int) {
	pr := &w.procs[p]
	if !m.without(TheReread) && (pr.cur.rt != pr.seen.rt || pr.cur.at != pr.seen.at) {
		pr.next, pr.at = pr.cur, handOut
		return
	}
	if pr.at = quit; m.maySend(pr) {
		m.open(w, pr)
	}
}

func (m *Model) maySend(pr *proc) bool {
	r := &pr.rec
	stand := r.standing(pr.cur.rt)
	if stand == missing || stand == replaced && !m.without(TheReplaced) || r.dead == pr.cur.rt {
		return false
	}
	if r.quiet != 0 {
		return false
	}
	if r.doubt.rt == 0 {
		return true
	}
	if (m.grace() || m.Class.Grace() && m.without(TheWindow)) && r.doubt.age == 0 {
		return true
	}
	last := pr.last || r.rotates == doesNot
	return last && (r.doubt.last >= old || m.without(TheDeadline))
}

// open prepares the intent of a new attempt.
func (m *Model) open(w *world, pr *proc) {
	if w.attempts == maxAttempts {
		w.break_(beyond)
		return
	}
	w.attempts++
	pr.id, pr.sent, pr.expect, pr.at = w.attempts, pr.cur.rt, pr.cur, reserve
	pr.replay = pr.rec.doubt.rt != 0
	pr.rec.in = intent{attempt: pr.id, thisBoot: true, replay: pr.replay, rt: pr.cur.rt, at: pr.cur.at, base: pr.cur}
}
