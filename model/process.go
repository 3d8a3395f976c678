package model

// proc is one process. The zero proc does not run.
type proc struct {
	at     place
	then   place // after a settle or a note
	last   bool  // asked to make a last try
	roll   bool  // puts back the answer of an attempt that ended
	due    bool  // gives another program's document its due: it came out of an exchange
	full   bool  // the disk takes no answer any more
	replay bool
	lost   uint8 // replies lost in this call
	seen   doc   // before the lock
	cur    doc   // what the answer is merged into
	expect doc   // what the token file should hold when the names are exchanged
	answer doc   // received
	next   doc   // to be stored
	sent   token
	rec    record // to be stored
	id     uint8  // of the attempt
	free   uint8  // slot of the reserved file, from 1
	filled uint8  // slot of the filled one
}

// place is the step a process makes next. Between two steps it may be killed,
// and others may act.
type place uint8

const (
	idle place = iota
	look
	takeLock
	read
	decide
	reserve
	writeIntent
	syncIntent
	turnSending
	send
	wait
	nameFile
	writeFile
	syncAnswer
	lookAgain
	exchange
	checkOut
	exchangeBack
	syncNames
	writeDone
	sweep
	handOut
	keepAside
	note
	syncNote
	settleFile
	settleNames
	settleState
	settleSync
	settleSweep
	round // the lock is let go and taken again
	quit
)

func (p place) String() string {
	return [...]string{"idle", "look", "take the lock", "read", "decide", "reserve a file", "write the intent", "sync the intent", "turn to sending", "send",
		"wait", "name the file", "write the answer", "sync the answer", "look again", "exchange the names", "check what came out", "exchange back",
		"sync the names", "write the state", "sweep", "hand out", "keep the answer elsewhere", "note", "sync the note", "settle: sync the file",
		"settle: sync the names", "settle: write the state", "settle: sync", "settle: sweep", "another round", "quit"}[p]
}

// ready reports whether a process can go on by itself.
func (m *Model) ready(w *world, p int) bool {
	switch pr := &w.procs[p]; pr.at {
	case idle:
		return false
	case takeLock:
		return w.lock == 0 || m.without(TheLock)
	case wait:
		i := w.waitsFor(p)
		return i < 0 || w.messages[i].kind != request
	}
	return true
}

func (w *world) waitsFor(p int) int {
	for i, msg := range w.messages {
		if int(msg.to) == p+1 {
			return i
		}
	}
	return -1
}

// step makes the next step of a process, and with it what touches nothing that
// others see.
func (m *Model) step(w *world, p int) {
	for again := true; again; {
		m.one(w, p)
		switch w.procs[p].at {
		case decide, quit, round, handOut:
		default:
			again = false
		}
	}
}

func (m *Model) one(w *world, p int) {
	pr := &w.procs[p]
	switch pr.at {
	case look:
		pr.seen, pr.at = w.content(), takeLock
		if m.without(TheReread) {
			pr.rec = w.cache.state
		}
	case takeLock:
		w.lock, pr.at = uint8(p+1), read
	case read:
		m.read(w, pr)
	case decide:
		m.decide(w, p)
	case reserve, writeIntent, syncIntent, turnSending, send:
		m.begin(w, p)
	case wait:
		m.receive(w, p)
	case nameFile, writeFile, syncAnswer, lookAgain:
		m.fill(w, pr)
	case exchange, checkOut, exchangeBack, syncNames:
		m.swap(w, pr)
	case writeDone, sweep, keepAside:
		m.finish(w, pr)
	case note, syncNote, settleFile, settleNames, settleState, settleSync, settleSweep:
		m.settle(w, pr)
	case handOut:
		w.checkHandOut(pr.next)
		w.end(p)
	case round:
		again := proc{at: takeLock, last: pr.last, lost: pr.lost, seen: pr.seen, full: pr.full}
		w.end(p)
		*pr = again
	case quit:
		w.end(p)
	}
}

// begin is preflight, intent and request.
func (m *Model) begin(w *world, p int) {
	pr := &w.procs[p]
	switch pr.at {
	case reserve:
		m.takeFile(w, pr)
		pr.at = writeIntent
		if m.without(TheIntent) {
			pr.at = syncIntent
		}
	case writeIntent:
		m.writeState(w, pr.rec)
		pr.at = syncIntent
	case syncIntent:
		if !m.without(TheDirectorySync) {
			w.syncDir()
		}
		if pr.at = turnSending; pr.roll || pr.due {
			pr.at = nameFile
		}
	case turnSending:
		if !m.without(TheIntent) && w.cache.state.in.attempt != pr.id {
			pr.at = quit // the journal is somebody else's
			return
		}
		if pr.rec.in.age >= old { // it was held up for longer than it may take
			pr.rec.in = intent{}
			pr.at, pr.then = note, quit
			return
		}
		if !m.without(ThePhase) {
			w.cache.state.in.sending = true
		}
		pr.rec.in.sending = true
		pr.at = send
	case send:
		m.request(w, p)
		pr.at = wait
	}
}

func (m *Model) takeFile(w *world, pr *proc) {
	slot := w.newSlot()
	pr.free = slot + 1
	w.queue(change{kind: hasTemp, slot: slot, temp: temp{attempt: pr.id, inode: w.newFile(inode{})}})
}

// request sends, and lets the judge see it.
func (m *Model) request(w *world, p int) {
	pr := &w.procs[p]
	b := pr.sent.bit()
	if w.sent&b != 0 && !pr.replay {
		w.break_(sentTwice)
	}
	early := !m.grace() || pr.rec.doubt.age >= old
	for _, msg := range w.messages {
		if early && msg.kind == request && msg.rt == pr.sent {
			w.break_(sentEarly)
		}
	}
	w.sent |= b
	for i := range w.messages {
		if w.messages[i].kind == none {
			w.messages[i] = message{kind: request, rt: pr.sent, to: uint8(p + 1), age: pr.rec.in.age, replay: pr.replay}
			return
		}
	}
	w.break_(beyond)
}

// receive takes the reply, or that there will be none.
func (m *Model) receive(w *world, p int) {
	pr := &w.procs[p]
	reply := message{} // the connection broke
	if i := w.waitsFor(p); i >= 0 {
		reply, w.messages[i] = w.messages[i], message{}
	}
	st := &pr.rec
	switch reply.kind {
	case granted:
		pr.answer, pr.at = reply.answer, nameFile
		pr.next = pr.cur.with(pr.answer)
		if m.Class == P0 {
			w.sent &^= pr.sent.bit()
		}
		if m.without(TheStoreFirst) {
			m.writeState(w, m.renewed(pr))
			w.syncDir()
		}
	case refused:
		m.ended(w, pr)
	case busy:
		w.sent &^= pr.sent.bit()
		if st.doubt.rt != 0 { // an earlier request may have been accepted
			w.sent |= pr.sent.bit()
		}
		st.in = intent{}
		pr.at, pr.then = note, round
	default:
		if st.rotates == doesNot && reply.kind == failed {
			w.sent &^= pr.sent.bit()
			st.in = intent{}
			pr.at, pr.then = note, quit
			return
		}
		st.suspect()
		pr.lost++
		if pr.at, pr.then = note, quit; m.Class.Grace() && pr.lost < 2 {
			pr.then = round
		}
	}
}

// ended is the provider's verdict.
func (m *Model) ended(w *world, pr *proc) {
	st := &pr.rec
	if now := w.content(); st.login(now, pr.sent) {
		st.in = intent{}
		st.adopt(now)
		pr.at, pr.then = settleFile, round
		return
	}
	st.dead, st.in, st.doubt = pr.sent, intent{}, doubt{}
	pr.at, pr.then = note, quit
}

// fill makes the answer durable in a temporary file of its own name.
func (m *Model) fill(w *world, pr *proc) {
	switch pr.at {
	case lookAgain:
		m.lookAgain(w, pr)
	case nameFile:
		if pr.free == 0 {
			m.takeFile(w, pr)
		}
		t := w.cache.temp[pr.free-1]
		t.name = pr.next
		w.queue(change{kind: hasTemp, slot: pr.free - 1, temp: t})
		pr.at = writeFile
	case writeFile:
		w.inode[w.cache.temp[pr.free-1].inode].has = pr.next
		pr.at = syncAnswer
	case syncAnswer:
		if pr.full { // the copy that is not synced stays: better than none
			pr.free, pr.at = 0, keepAside
			return
		}
		if !m.without(TheFileSync) {
			m.syncTemp(w, pr.free-1)
		}
		if pr.filled != 0 {
			w.unlink(pr.filled - 1)
		}
		pr.filled, pr.free, pr.at = pr.free, 0, lookAgain
	}
}

// lookAgain is the last look at the token file before the exchange.
func (m *Model) lookAgain(w *world, pr *proc) {
	now := w.content()
	switch {
	case now == pr.expect:
		pr.at = exchange
	case pr.due:
		pr.at = quit // the next run judges it again
	case pr.rec.login(now, pr.answer.rt):
		m.giveWay(pr, now)
	default:
		pr.expect, pr.cur = now, now
		m.merge(pr)
	}
}

// merge makes what is to be stored from the document as it is now.
func (m *Model) merge(pr *proc) {
	pr.next, pr.at = pr.cur.with(pr.answer), nameFile
	if pr.roll && (pr.cur == pr.rec.in.base || pr.cur.rt == pr.answer.rt && pr.cur.at == pr.answer.at) {
		pr.next = pr.answer
	}
}

// giveWay keeps a foreign login and puts the answer aside.
func (m *Model) giveWay(pr *proc, now doc) {
	pr.rec.adopt(now)
	pr.next = now
	pr.at, pr.then = settleFile, handOut
	if pr.roll {
		pr.cur, pr.then = now, decide
	}
}

// swap exchanges the filled file with the token file and judges what came out.
func (m *Model) swap(w *world, pr *proc) {
	slot := pr.filled - 1
	t := w.cache.temp[slot]
	switch pr.at {
	case exchange, exchangeBack:
		file := t.inode
		t.inode = w.cache.file
		w.queue(change{kind: hasFile | hasTemp, file: file, slot: slot, temp: t})
		if pr.at == exchange {
			pr.at = checkOut
		} else {
			pr.at = lookAgain
		}
	case checkOut:
		out := w.inode[t.inode].has
		switch {
		case out == pr.expect || m.without(TheCheck):
			pr.at = syncNames
		case pr.rec.login(out, pr.next.rt):
			pr.at = exchangeBack
		default: // an edit: ours stays, theirs is spliced into it
			pr.expect, pr.cur = pr.next, out
			if m.merge(pr); pr.due {
				pr.at = quit
			}
		}
	case syncNames:
		if pr.cur.rt != 0 && pr.cur.rt.family() == pr.next.rt.family() && pr.next.rt < pr.cur.rt {
			w.break_(wentBack)
		}
		if !m.without(TheDirectorySync) {
			w.syncDir()
		}
		pr.at = writeDone
	}
}

// finish closes the journal and removes what is left.
func (m *Model) finish(w *world, pr *proc) {
	switch pr.at {
	case writeDone:
		pr.rec = m.renewed(pr)
		m.writeState(w, pr.rec)
		pr.at = sweep
	case sweep:
		m.sweep(w)
		pr.free, pr.filled = 0, 0
		if pr.at = handOut; pr.roll || pr.due {
			pr.cur, pr.roll, pr.due, pr.at = pr.next, false, false, decide
		}
	case keepAside:
		pr.at = quit
		if pr.roll || pr.due {
			return // what it came from is still there
		}
		if m.without(TheRescue) {
			pr.rec.in = intent{}
			pr.at, pr.then = note, quit
			return
		}
		for i := range w.rescue {
			if w.rescue[i].attempt == 0 || i == len(w.rescue)-1 {
				w.rescue[i] = rescue{pr.id, pr.next}
				break
			}
		}
		w.remember()
	}
}

func (m *Model) sweep(w *world) {
	for i, t := range w.cache.temp {
		if t.attempt != 0 {
			w.unlink(uint8(i))
		}
	}
	w.rescue = [2]rescue{}
}

// settle and note bring a state to the disk; settle the token file before it.
func (m *Model) settle(w *world, pr *proc) {
	switch pr.at {
	case settleFile:
		if !m.without(TheSettleSync) {
			m.syncFile(w)
		}
		pr.at = settleNames
	case settleNames:
		if !m.without(TheSettleSync) {
			w.syncDir()
		}
		pr.at = settleState
	case note, settleState:
		m.writeState(w, pr.rec)
		pr.at++
	case settleSync:
		w.syncDir()
		pr.at = settleSweep
	case settleSweep:
		m.sweep(w)
		pr.free, pr.filled, pr.roll = 0, 0, false
		pr.at = pr.then
	case syncNote:
		w.syncDir()
		if pr.free != 0 {
			w.unlink(pr.free - 1)
			pr.free = 0
		}
		pr.at = pr.then
	}
}

// checkHandOut: what is handed out is on the disk.
func (w *world) checkHandOut(d doc) {
	c := w.content()
	if c.rt != d.rt || c.at != d.at || w.inode[w.cache.file].foreign {
		return
	}
	if !w.onDisk() {
		w.break_(handedOutEarly)
	}
	w.durable |= d.rt.bit() // it was promised
}

// onDisk reports whether the tokens in the token file survive a power cut. What
// another program wrote is its own affair.
func (w *world) onDisk() bool {
	n, d := w.inode[w.cache.file], w.inode[w.disk.file]
	return n.foreign || d.synced && d.has.rt == n.has.rt && d.has.at == n.has.at
}
