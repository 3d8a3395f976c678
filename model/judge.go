package model

// reach is where a living refresh token can still be had from.
type reach struct {
	stored bool // a copy is in a file, in a process or in a reply under way
	again  bool // the token at hand is spent and still taken again
}

func (r reach) any() bool { return r.stored || r.again }

// reach looks for copies of a living refresh token of the user's grant.
func (m *Model) reach(w *world) reach {
	var r reach
	f := &w.server[w.current()]
	see := func(t token) {
		r.stored = r.stored || t != 0 && t.family() == w.current() && f.living&t.bit() != 0
	}
	t := w.content().rt
	see(t)
	if m.grace() && t != 0 && t.family() == w.current() && w.cache.state.replaced&t.bit() == 0 { // else set back: never sent
		r.again = t == f.spent && f.age < m.window() && !f.over
	}
	for _, t := range w.cache.temp {
		if t.attempt != 0 {
			see(w.inode[t.inode].has.rt)
		}
	}
	for _, s := range w.rescue {
		see(s.has.rt)
	}
	for _, p := range w.procs {
		switch p.at { // afterwards the file is all there is
		case lookAgain, nameFile, writeFile, syncAnswer, exchange, exchangeBack, keepAside:
			see(p.answer.rt)
		}
	}
	for _, msg := range w.messages {
		if msg.kind == granted && msg.to != 0 {
			see(msg.answer.rt)
		}
	}
	return r
}

// Cause is what took the last copy of a living refresh token.
type Cause uint8

const (
	ReplyNotRead Cause = iota // its only copy was in a reply that nobody got
	InMemory                  // its only copy was in memory that ended
	NotSynced                 // its only copy was not on the disk yet
	GraceOver                 // nobody came back inside the grace window
	Overwritten               // another program wrote over it
	Revoked                   // the server ended the family for a spent token that we sent
	Dropped                   // the protocol itself gave it up
	NotUsed                   // it is there, and no later run finds it
)

func (c Cause) String() string {
	return [...]string{"the reply never arrived", "the answer was in memory only", "the answer was not on the disk yet", "the grace window passed",
		"another program wrote over it", "a spent token was sent", "the protocol gave it up", "no later run finds it"}[c]
}

// blame says why an event lost the grant, and whether a client could have kept
// it (facts: what is recoverable).
func (m *Model) blame(before, after *world, e event, had reach) (Cause, bool) {
	ended := after.server[after.current()].over && !before.server[before.current()].over
	switch {
	case ended && had.stored:
		return Revoked, true
	case e.what == timePasses:
		return GraceOver, had.stored
	case e.what == arrives, e.what == fails && isNetwork(Fault(e.arg)):
		return m.tooLate(ReplyNotRead), m.Class == P0
	case e.what != fails && after.used.Has(SetBack) && after.cache.state.standing(after.content().rt) == replaced:
		return Overwritten, false // only leftovers of ours were still there, or a token that was not yet known to be spent
	case e.what != fails:
		return Dropped, true
	}
	switch Fault(e.arg) {
	case Crash:
		return m.tooLate(InMemory), m.Class == P0
	case PowerCut:
		once := before.durable & before.server[before.current()].living
		return m.tooLate(NotSynced), m.Class == P0 && !before.login || once != 0
	case ForeignEdit, ForeignLogin, SetBack:
		return Overwritten, false
	}
	return Dropped, true
}

// tooLate: inside a grace window the token at hand would have done.
func (m *Model) tooLate(c Cause) Cause {
	if m.grace() {
		return GraceOver
	}
	return c
}

func isNetwork(f Fault) bool {
	return f == LostReply || f == LostRequest || f == DelayedRequest || f == After5xx
}

// quiet reports whether nothing is under way.
func (w *world) quiet() bool {
	for _, p := range w.procs {
		if p.at != idle {
			return false
		}
	}
	return w.messages == [maxMessages]message{}
}

// unhealed runs the protocol by itself from a world at rest: at once, and long
// after. It says what is wrong where a living token is not found again.
func (m *Model) unhealed(w *world, had reach) string {
	young := had.any() && (had.stored || w.cache.state.youth())
	if says := m.heal(*w, false); says != "" && young {
		return says + " (at once)"
	}
	if says := m.heal(*w, true); says != "" && had.stored {
		return says + " (long after)"
	}
	return ""
}

// youth reports whether a request in doubt is younger than half the window.
func (r *record) youth() bool {
	if r.in.attempt != 0 {
		return r.in.age == 0 && (r.doubt.rt == 0 || r.doubt.age == 0)
	}
	return r.doubt.rt == 0 || r.doubt.age == 0
}

// heal makes runs without faults, which must bring the grant into order.
func (m *Model) heal(w world, late bool) string {
	w.faults = 0
	for i, last := range []bool{false, false, true, true} {
		if late && i == 0 || i == 1 {
			w.tick()
			w.tick()
		}
		m.run(&w, last)
		switch {
		case w.broken == beyond:
			return ""
		case w.broken != kept && !m.LossesOnly:
			return w.broken.String()
		}
		w.broken = kept
		if st := &w.cache.state; w.alive() && st.in.attempt == 0 && st.doubt.rt == 0 && st.dead == 0 && st.standing(w.content().rt) != replaced {
			return ""
		}
	}
	return avoidable + NotUsed.String()
}

// alive reports whether the token file holds a living token of the user's grant.
func (w *world) alive() bool {
	t := w.content().rt
	return t != 0 && t.family() == w.current() && w.server[w.current()].living&t.bit() != 0
}

// run is one run of process 0, alone, with a server that answers at once.
func (m *Model) run(w *world, last bool) {
	w.procs[0] = proc{at: look, last: last}
	m.goOn(w)
}

// checkReaders: whoever reads without the lock must not see a token that a power
// cut may take back, unless an open intent tells that it may.
func (w *world) checkReaders(anyway bool) {
	in, c := &w.cache.state.in, w.content()
	undecided := in.attempt != 0 && (c.rt != in.rt || c.at != in.at)
	if (anyway || !undecided) && !w.onDisk() {
		w.break_(seenEarly)
	}
}
