package model

// token names a refresh token: 1 to 7 of the grant, 8 to 14 of the grant that a
// foreign login makes, 0 none. Within a family a higher number is newer.
type token uint8

const familySize = 7

func (t token) family() int { return int(t-1) / familySize }
func (t token) bit() uint16 { return 1 << t }

// doc is the token file's content: a refresh token, the number of the access
// token beside it, and whether another program edited some other member.
// Equal documents are equal bytes. The zero doc is an empty or torn file.
type doc struct {
	rt     token
	at     uint8
	edited bool
}

// with is the document with the tokens of an answer merged in.
func (d doc) with(answer doc) doc {
	d.rt, d.at = answer.rt, answer.at
	return d
}

// Ages count half grace windows: 0 is within half of the window, at old both
// the window and the deadline of the request have passed. No message that was
// sent survives to that age.
const old = 2

// record is the state file.
type record struct {
	rt       token
	at       uint8
	replaced uint16
	rotates  rotates
	dead     token
	quiet    uint8 // 0: none; else one more than the age of the request that may still travel
	in       intent
	doubt    doubt
}

// rotates is what the grant's last answer taught.
type rotates uint8

const (
	unknown rotates = iota
	does
	doesNot
)

// intent is the journal of one try; attempt 0: none is open.
type intent struct {
	attempt  uint8
	sending  bool
	thisBoot bool
	replay   bool
	rt       token
	at       uint8
	base     doc
	age      uint8
}

// doubt is a request whose outcome is unknown; rt 0: there is none.
type doubt struct {
	rt       token
	at       uint8
	attempts uint16 // bits
	age      uint8  // since the first of them
	last     uint8  // since the last of them
}

// temp is a temporary file beside the token file: whose attempt it is, the
// content its name promises (zero: only reserved), and where its content is.
type temp struct {
	attempt uint8 // 0: there is none
	name    doc
	inode   uint8
}

// inode is a file's content and whether it is on the disk already.
type inode struct {
	has     doc
	synced  bool
	foreign bool // written by a program whose durability is not ours
}

const (
	temps   = 4
	inodes  = 8
	pending = 10
)

// names are the directory: what each name leads to.
type names struct {
	file  uint8
	temp  [temps]temp
	state record
}

// change is one directory operation that is not known to be on the disk. It is
// absolute, so that it can be applied twice.
type change struct {
	kind  uint8
	file  uint8 // hasFile
	slot  uint8 // hasTemp
	temp  temp
	state record // hasState
}

const (
	hasFile = 1 << iota
	hasTemp
	hasState
)

// rescue is a file in another folder that holds an answer.
type rescue struct {
	attempt uint8
	has     doc
}

// message is a request or its reply under way. Of a request whose sender has
// gone, to is 0; it may still arrive, as long as its attempt is not old.
type message struct {
	kind   kind
	rt     token
	answer doc
	to     uint8 // process, from 1
	age    uint8
	replay bool
}

type kind uint8

const (
	none kind = iota
	request
	granted
	refused // invalid_grant
	busy    // busy, 429, 503: not processed
	failed  // 500, 502, 504, or the connection broke
)

// family is what the server knows of one grant.
type family struct {
	living uint16
	newest token
	spent  token // may come again inside the grace window
	pair   doc   // the answer it got
	age    uint8 // of the grace window
	over   bool
}

const (
	maxProcs    = 3
	maxMessages = 4
	maxAttempts = 12
)

// world is everything: server, messages, disk, page cache, processes, and what
// only the judge sees. It compares by ==.
type world struct {
	server   [2]family
	accepted uint8 // number of the last access token
	messages [maxMessages]message

	inode   [inodes]inode
	cache   names
	disk    names
	changes [pending]change
	queued  uint8
	rescue  [2]rescue
	lock    uint8 // process that holds it, from 1; 0: free

	procs    [maxProcs]proc
	attempts uint8 // the last id
	runs     uint8 // that may still be started
	faults   uint8 // that may still happen
	used     Faults

	// What only the judge sees.
	login   bool   // a foreign login happened: that is the grant now
	sent    uint16 // tokens in requests that were accepted or may be
	durable uint16 // tokens that were on the disk once
	broken  broken
}

// broken is a promise that a step broke.
type broken uint8

const (
	kept broken = iota
	sentTwice
	sentEarly
	handedOutEarly
	wentBack
	seenEarly
	beyond // of the model's own bounds: not explored further
)

func (b broken) String() string {
	return [...]string{"kept", "a refresh token was sent twice without a journalled replay", "a replay was sent while the first request could still arrive",
		"a token was handed out before it was durable", "an older token took the place of a newer one",
		"a reader could see a token before it was durable", "beyond the model's bounds"}[b]
}

func (w *world) break_(b broken) {
	if w.broken == kept {
		w.broken = b
	}
}

// content is what the token file holds.
func (w *world) content() doc { return w.inode[w.cache.file].has }

// current is the family that the user's grant is.
func (w *world) current() int {
	if w.login {
		return 1
	}
	return 0
}

// tick lets half a grace window pass. It reports false where something must
// happen before: a request that has travelled for that long has arrived or is
// lost, and a process does not wait for it longer.
func (w *world) tick() bool {
	for i := range w.messages {
		if m := &w.messages[i]; m.kind != none {
			if m.age+1 >= old {
				return false
			}
			m.age++
		}
	}
	for _, p := range w.procs {
		if p.at == send && p.rec.in.age+1 >= old {
			return false // its own deadline ends it
		}
	}
	for i := range w.server {
		older(&w.server[i].age)
	}
	w.cache.state.age()
	w.disk.state.age()
	for i := range w.changes[:w.queued] {
		w.changes[i].state.age()
	}
	for i := range w.procs {
		w.procs[i].rec.age()
	}
	return true
}

func older(age *uint8) { *age = min(*age+1, old) }

func (r *record) age() {
	if r.in.attempt != 0 {
		older(&r.in.age)
	}
	if r.doubt.rt != 0 {
		older(&r.doubt.age)
		older(&r.doubt.last)
	}
	if r.quiet != 0 {
		if r.quiet++; r.quiet > old {
			r.quiet = 0
		}
	}
}
