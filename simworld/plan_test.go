package simworld_test

import (
	"math/rand/v2"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

// A step is a kind of moment at which something can happen to a keeper.
type step string

const (
	atGet    step = "get"    // before a read of the store
	atLock   step = "lock"   // before the lock is asked for
	atLocked step = "locked" // when it was had
	atPut    step = "put"    // before a write takes effect
	atStored step = "stored" // after it, before the keeper knows
	atDial   step = "dial"
	atSend   step = "send"  // before the request leaves
	atSent   step = "sent"  // after it
	atRead   step = "read"  // before the reply, or more of it, is read
	atReply  step = "reply" // when a part of it, or all, has arrived
	atTime   step = "time"  // whenever its time comes, whatever it is doing
)

// crashSteps are where a keeper ends. The write of the store is there more
// often than its share: a refresh has three.
var crashSteps = []step{atGet, atLock, atLocked, atPut, atPut, atPut, atStored, atStored, atStored, atDial, atSend, atSent, atReply, atReply, atTime}

// a plan is what is in store for one call. It depends on the seed, the life,
// the keeper's place and the call's number alone, so that a world repeats
// although goroutines do not.
type plan struct {
	crash    step
	nth      int // which such step of the call
	after    time.Duration
	pause    step
	pauseFor time.Duration
	fail     step // atGet, atPut or atStored: the error comes before or after the effect
	failures int
	slow     time.Duration // each read and write of the store
	wire     wireFault
	server   idptest.Fault
	conns    int // how many connections of the call meet these two
}

// wireFault is what happens to the first connection of a call.
type wireFault struct {
	kind    string // "": nothing
	at      int    // bytes of the reply that arrive, for cut and crash
	latency time.Duration
	drip    time.Duration // before each 16 bytes of the reply
}

var (
	softWire  = []string{"refused", "blackhole", "latency", "drip"}
	lossyWire = []string{"request-swallowed", "request-halved", "reply-swallowed", "reply-reset", "reply-cut", "reply-cut", "drip-slow"}
)

// odds are how often a call meets something, and whether that may last for
// several connections.
type odds struct {
	lossy, soft float64
	lasting     bool
}

// storm is a life in which replies are lost one after the other.
var storm = odds{lossy: 0.5, soft: 0.4, lasting: true}

// drawPlan draws one or two things for a call, or mostly nothing.
func drawPlan(r *rand.Rand, o odds, apart bool) plan {
	p := plan{nth: 1 + r.IntN(3), conns: 1}
	if o.lasting {
		p.conns += r.IntN(3)
	}
	if r.Float64() < o.lossy {
		p.lose(r)
	}
	if r.Float64() < o.soft {
		p.disturb(r, apart)
	}
	for _, s := range []step{p.crash, p.pause} {
		switch s {
		case atLock, atLocked, atDial, atSend, atSent, atRead: // once in a refresh
			p.nth = 1
		}
	}
	return p
}

// lose draws what a reply, or the memory of it, may be lost to.
func (p *plan) lose(r *rand.Rand) {
	switch r.IntN(3) {
	case 0:
		p.crash = crashSteps[r.IntN(len(crashSteps))]
		p.after = time.Duration(r.Int64N(int64(10 * time.Second)))
		p.wire.at = r.IntN(700)
	case 1:
		p.wire.kind, p.wire.at = lossyWire[r.IntN(len(lossyWire))], r.IntN(500)
	case 2:
		p.server = lossy[r.IntN(len(lossy))]
	}
}

// disturb draws what no grant may be lost to by itself. Keepers on machines of
// their own (apart) cannot find each other's rescued answers, so the store fails
// them only for as long as a keeper holds on by itself.
func (p *plan) disturb(r *rand.Rand, apart bool) {
	switch r.IntN(5) {
	case 0:
		p.server = harmless[r.IntN(len(harmless))]
	case 1:
		p.wire.kind = softWire[r.IntN(len(softWire))]
	case 2:
		p.fail = []step{atGet, atPut, atStored}[r.IntN(3)]
		p.failures = 1 + r.IntN(3)
		if !apart && r.IntN(2) == 0 {
			p.failures += r.IntN(40)
		}
	case 3:
		p.slow = time.Duration(r.IntN(2500)) * time.Millisecond
	case 4:
		p.pause = []step{atGet, atLock, atLocked, atPut, atStored, atDial, atRead}[r.IntN(7)]
		p.pauseFor = time.Duration(1+r.IntN(40)) * time.Second
		if r.IntN(4) == 0 { // suspended for a while, or for a night
			p.pauseFor = time.Duration(10+r.IntN(600)) * time.Minute
		}
	}
	p.wire.latency = time.Duration(r.IntN(3000)) * time.Millisecond
	p.wire.drip = time.Duration(r.IntN(800)) * time.Millisecond
}
