package model

// Class is how a server treats refresh tokens.
type Class uint8

const (
	P0 Class = iota // the refresh token stays the same
	P1              // each refresh replaces it; a spent one is refused
	P2              // a spent one ends the grant
	P3              // inside a grace window a spent one gets a further new one
	P4              // inside a grace window a spent one gets the same answer again
)

func (c Class) String() string { return [...]string{"P0", "P1", "P2", "P3", "P4"}[c] }

// Grace reports whether a spent token may be sent again for a while.
func (c Class) Grace() bool { return c >= P3 }

// grace reports whether the grace window is one to count on: it must not end
// before a request that is still travelling arrives.
func (m *Model) grace() bool { return m.Class.Grace() && !m.ShortGrace }

// handle lets request i reach the server and turns it into its reply.
func (m *Model) handle(w *world, i int) {
	msg := &w.messages[i]
	f := &w.server[msg.rt.family()]
	answer, ok := m.present(w, f, msg.rt)
	if msg.to == 0 { // nobody waits
		*msg = message{}
		return
	}
	msg.kind = refused
	if ok {
		msg.kind, msg.answer = granted, answer
	}
}

// present is the server's token logic.
func (m *Model) present(w *world, f *family, t token) (doc, bool) {
	grace := m.Class.Grace() && t == f.spent && f.age < m.window() && !f.over
	switch {
	case f.living&t.bit() != 0 && m.Class == P0:
		w.accepted++
		return doc{rt: t, at: w.accepted}, true
	case f.living&t.bit() != 0:
		answer := m.issue(w, f)
		f.living &^= t.bit()
		f.spent, f.pair, f.age = t, answer, 0
		return answer, answer != doc{}
	case grace && m.Class == P3:
		answer := m.issue(w, f)
		return answer, answer != doc{}
	case grace:
		return f.pair, true
	case m.Class != P1:
		f.living, f.over, f.spent = 0, true, 0
	}
	return doc{}, false
}

// issue makes the next pair of a family.
func (m *Model) issue(w *world, f *family) doc {
	if f.newest%familySize == 0 {
		w.break_(beyond)
		return doc{}
	}
	f.newest++
	f.living |= f.newest.bit()
	return doc{rt: f.newest, at: uint8(f.newest)}
}

// window is how old a spent token may be.
func (m *Model) window() uint8 {
	if m.ShortGrace {
		return 1
	}
	return old
}
