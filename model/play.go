package model

// Case is one fault at one point of a refresh, for comparison with a program
// that follows the protocol.
type Case struct {
	Class Class
	Fault Fault
	At    Point // of a crash
}

// Point is how far a refresh has come when it is killed.
type Point uint8

const (
	BeforeIntent Point = iota
	Dialing            // the intent is written, nothing of the request has left
	Sending            // the phase has turned, nothing has left
	Arrived            // the server has the request and has not looked at it; it never will
	Processed          // the server has answered
	Answered           // the answer is in memory
	Stored             // everything is written
)

func (p Point) String() string {
	return [...]string{"before the intent", "dialing", "sending", "request arrived", "request processed", "answer in memory", "answer stored"}[p]
}

// step is the place before which a crash at this point happens.
func (p Point) step() place {
	return [...]place{writeIntent, turnSending, send, wait, wait, nameFile, idle}[p]
}

// Outcome is what a run came to.
type Outcome string

const (
	Fresh      Outcome = "fresh"       // there is a new token
	InDoubt    Outcome = "in doubt"    // temporary: a reply was lost
	NeedsLogin Outcome = "needs login" // the provider's verdict
	SetBackOut Outcome = "set back"    // a spent token stands in the file and is not sent
	Held       Outcome = "held"        // the answer is in the rescue file
	Killed     Outcome = "killed"
)

// Played is a case played to its end.
type Played struct {
	Runs   [3]Outcome // the one with the fault, one at once, one that may make a last try
	Alive  bool       // the file holds a living refresh token in the end
	Newest int        // number of the last refresh token the server issued
}

// Play makes a first refresh without faults, the one of the case, and two more.
// As a real call does, a run waits where it only has to wait.
func (c Case) Play() Played {
	m := Model{Class: c.Class, Procs: 1, Faults: 1}
	w := m.initial()
	m.run(&w, false)
	var p Played
	w.procs[0] = proc{at: look}
	p.Runs[0] = c.first(&m, &w)
	for i, last := range []bool{false, true} {
		p.Runs[i+1] = m.patient(&w, last)
	}
	p.Alive, p.Newest = w.alive(), int(w.server[0].newest)
	return p
}

// first is the run in which the fault happens.
func (c Case) first(m *Model, w *world) Outcome {
	pr := &w.procs[0]
	for w.faults > 0 && pr.at != idle {
		if c.strike(m, w) {
			w.faults = 0
			if c.Fault == Crash {
				return Killed
			}
			break
		}
		m.advance(w)
	}
	if w.faults > 0 { // killed after the end
		return Killed
	}
	m.goOn(w)
	return m.outcome(w)
}

// strike lets the fault happen if this is the moment.
func (c Case) strike(m *Model, w *world) bool {
	pr := &w.procs[0]
	switch c.Fault {
	case Crash:
		if c.At == Processed && pr.at == wait || c.At == Answered && pr.at == wait {
			m.handle(w, w.waitsFor(0))
		}
		if c.At == Answered && pr.at == wait {
			m.step(w, 0)
		}
		if pr.at != c.At.step() || c.At == Stored {
			return false
		}
		w.end(0)
		w.messages = [maxMessages]message{}
		return true
	case WriteFails:
		return pr.at == writeFile && m.failWrite(w, pr)
	case DiskFull:
		pr.full = pr.at == writeFile
		return pr.full
	}
	if pr.at != wait {
		return false
	}
	done := false
	take := func(f Fault, _ uint8, _ place, v world) {
		if f == c.Fault && !done {
			*w, done = v, true
		}
	}
	i := w.waitsFor(0)
	if c.Fault == LostReply {
		m.handle(w, i)
	}
	now := *w
	m.disturb(&now, i, take)
	m.strangers(&now, take)
	return done
}

// goOn runs process 0 to its end.
func (m *Model) goOn(w *world) {
	for w.procs[0].at != idle && w.broken != beyond {
		m.advance(w)
	}
}

// advance lets process 0 make a step, or the server answer it.
func (m *Model) advance(w *world) {
	if i := w.waitsFor(0); i >= 0 && w.messages[i].kind == request {
		m.handle(w, i)
		return
	}
	m.step(w, 0)
}

// patient is a run that waits for deadlines.
func (m *Model) patient(w *world, last bool) Outcome {
	for range 2 * old {
		before := w.attempts
		m.run(w, last)
		o, st := m.outcome(w), &w.cache.state
		waits := st.quiet != 0 && w.attempts == before || o == InDoubt && (last || st.rotates == doesNot) && st.doubt.last < old
		if !waits {
			return o
		}
		for i := range w.messages { // what travels arrives meanwhile
			if w.messages[i].kind == request {
				m.handle(w, i)
			}
		}
		w.tick()
	}
	return m.outcome(w)
}

// outcome reads the result of the last run from what it left.
func (m *Model) outcome(w *world) Outcome {
	st := &w.cache.state
	switch {
	case w.rescue[0].attempt != 0:
		return Held
	case st.dead != 0:
		return NeedsLogin
	case st.doubt.rt != 0 || st.in.attempt != 0:
		return InDoubt
	case st.standing(w.content().rt) == replaced:
		return SetBackOut
	}
	return Fresh
}
