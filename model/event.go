package model

import (
	"fmt"
	"strings"
)

// Fault is a thing that goes wrong.
type Fault uint8

const (
	Crash          Fault = iota // a process is killed
	PowerCut                    // everything ends, and what was not synced may be gone
	LostRequest                 // a request never arrives
	LostReply                   // a reply never arrives
	DelayedRequest              // the connection breaks, and the request arrives later
	After5xx                    // processed, then 500
	BusyAnswer                  // refused as busy, not processed
	WriteFails                  // one write or sync fails
	DiskFull                    // from now on no answer can be written
	ForeignEdit                 // another program changes another member of the token file
	ForeignLogin                // another program writes a new grant
	SetBack                     // another program writes yesterday's file back
	faultKinds
)

var faultNames = [...]string{"crash", "power cut", "lost request", "lost reply", "delayed request", "5xx after processing", "busy", "write fails", "disk full", "foreign edit", "foreign login", "set back"}

func (f Fault) String() string { return faultNames[f] }

// AllFaults lists them.
func AllFaults() []Fault {
	var all []Fault
	for f := Fault(0); f < faultKinds; f++ {
		all = append(all, f)
	}
	return all
}

// Faults is a set of them.
type Faults = faultSet

type faultSet uint16

// Has reports whether f is in the set.
func (s faultSet) Has(f Fault) bool { return s&(1<<f) != 0 }

func (s faultSet) String() string {
	var names []string
	for _, f := range AllFaults() {
		if s.Has(f) {
			names = append(names, f.String())
		}
	}
	if names == nil {
		return "no fault"
	}
	return strings.Join(names, " + ")
}

// event is one step of the world.
type event struct {
	what what
	who  uint8 // process or message
	at   place // the step a process makes
	arg  uint8
}

type what uint8

const (
	starts what = iota
	steps
	arrives  // a request
	vanishes // a request nobody waits for
	timePasses
	fails // a fault: arg
)

func (e event) String() string {
	who := string('A' + rune(e.who))
	switch e.what {
	case starts:
		return who + " starts a refresh"
	case steps:
		return who + ": " + e.at.String()
	case arrives:
		return fmt.Sprintf("the server handles request %d", e.who)
	case vanishes:
		return fmt.Sprintf("request %d, which nobody waits for, never arrives", e.who)
	case timePasses:
		return "half a grace window passes"
	}
	s := "FAULT " + Fault(e.arg).String()
	switch Fault(e.arg) {
	case Crash, WriteFails, DiskFull:
		s += fmt.Sprintf(" (%s before: %s)", who, e.at)
	}
	return s
}

// next makes every step that can follow.
func (m *Model) next(w *world, yield func(event, world)) {
	m.processes(w, yield)
	m.network(w, yield)
	if v := *w; v.tick() && v != *w {
		yield(event{what: timePasses}, v)
	}
	if w.faults > 0 {
		m.misfortunes(w, yield)
	}
}

func (m *Model) processes(w *world, yield func(event, world)) {
	for p := range m.Procs {
		at := w.procs[p].at
		if at == idle && w.runs > 0 && !(p > 0 && w.procs[p-1].at == idle) { // any idle one is like any other
			v := *w
			v.runs--
			v.procs[p] = proc{at: look, last: true} // one that may make no last try would only do less
			yield(event{what: starts, who: uint8(p)}, v)
		}
		if m.ready(w, p) {
			v := *w
			m.step(&v, p)
			yield(event{what: steps, who: uint8(p), at: at}, v)
		}
	}
}

func (m *Model) network(w *world, yield func(event, world)) {
	for i, msg := range w.messages {
		if msg.kind != request {
			continue
		}
		v := *w
		m.handle(&v, i)
		yield(event{what: arrives, who: uint8(i)}, v)
		if msg.to == 0 {
			v := *w
			v.messages[i] = message{}
			yield(event{what: vanishes, who: uint8(i)}, v)
		}
	}
}

// misfortunes are the faults that can happen now.
func (m *Model) misfortunes(w *world, yield func(event, world)) {
	fault := func(f Fault, who uint8, at place, v world) {
		v.faults--
		v.used |= 1 << f
		yield(event{what: fails, who: who, at: at, arg: uint8(f)}, v)
	}
	for p := range m.Procs {
		m.hit(w, p, fault)
	}
	for i := range w.messages {
		m.disturb(w, i, fault)
	}
	if m.happens(PowerCut) && w.active() {
		for _, v := range w.cuts() {
			fault(PowerCut, 0, 0, v)
		}
	}
	m.strangers(w, fault)
}

// happens reports whether the model has this fault.
func (m *Model) happens(f Fault) bool {
	for _, only := range m.Only {
		if only == f {
			return true
		}
	}
	return len(m.Only) == 0
}

// active reports whether a cut of the power could matter.
func (w *world) active() bool {
	for _, p := range w.procs {
		if p.at != idle {
			return true
		}
	}
	return w.queued > 0
}

// hit is what can happen to a process.
func (m *Model) hit(w *world, p int, fault func(Fault, uint8, place, world)) {
	at := w.procs[p].at
	if at == idle {
		return
	}
	if m.happens(Crash) {
		v := *w
		v.end(p)
		fault(Crash, uint8(p), at, v)
	}
	if m.happens(WriteFails) {
		if v := *w; m.failWrite(&v, &v.procs[p]) {
			fault(WriteFails, uint8(p), at, v)
		}
	}
	if m.happens(DiskFull) && !w.procs[p].full && at > send && at <= syncAnswer {
		v := *w
		v.procs[p].full = true
		fault(DiskFull, uint8(p), at, v)
	}
}

// failWrite lets the write that a process is about to make fail.
func (m *Model) failWrite(w *world, pr *proc) bool {
	drop := func() {
		if pr.free != 0 {
			w.unlink(pr.free - 1)
			pr.free = 0
		}
	}
	switch pr.at {
	case reserve, settleFile, settleNames, settleState, settleSync:
		pr.at = quit
	case writeIntent, syncIntent:
		drop()
		pr.at = quit
	case note, syncNote: // the intent stays open as it is
		drop()
		pr.at = pr.then
	case writeFile, syncAnswer: // never synced again: a new file
		if pr.at == writeFile {
			drop()
		}
		pr.free = 0 // a whole copy stays, synced or not
		if pr.at = nameFile; pr.roll || pr.due {
			pr.at = quit
		}
	case syncNames:
		if pr.at = nameFile; pr.roll || pr.due {
			pr.at = quit
		}
	case writeDone: // the token is on the disk; the next run resolves the intent
		pr.at = handOut
	default:
		return false
	}
	return true
}

// disturb is what can happen to a message.
func (m *Model) disturb(w *world, i int, fault func(Fault, uint8, place, world)) {
	msg := w.messages[i]
	with := func(f Fault, change func(v *world)) {
		if m.happens(f) {
			v := *w
			change(&v)
			fault(f, uint8(i), 0, v)
		}
	}
	switch {
	case msg.kind == none || msg.to == 0:
	case msg.kind == request:
		with(LostRequest, func(v *world) { v.messages[i] = message{} })
		with(DelayedRequest, func(v *world) { v.messages[i].to = 0 })
		with(BusyAnswer, func(v *world) { v.messages[i].kind = busy })
		with(After5xx, func(v *world) {
			m.handle(v, i)
			v.messages[i].kind, v.messages[i].answer = failed, doc{}
		})
	default:
		with(LostReply, func(v *world) { v.messages[i] = message{} })
	}
}

// strangers are the programs that write the token file without the lock.
func (m *Model) strangers(w *world, fault func(Fault, uint8, place, world)) {
	write := func(f Fault, d doc, login bool) {
		if m.happens(f) {
			v := *w
			v.login = v.login || login
			v.foreignWrite(d)
			fault(f, 0, 0, v)
		}
	}
	now := w.content()
	edited := now
	edited.edited = !now.edited
	write(ForeignEdit, edited, false)
	if !w.login {
		write(ForeignLogin, doc{rt: familySize + 1, at: familySize + 1}, true)
	}
	if now.rt != 1 {
		write(SetBack, doc{rt: 1, at: 1}, false)
	}
}
