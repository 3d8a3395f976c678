package model

import (
	"hash/maphash"
	"slices"
)

// Model is what is explored: one grant at a server of a class, and processes
// that refresh it while things go wrong.
type Model struct {
	Class   Class
	Procs   int      // processes; at most 3
	Runs    int      // runs of a process that are begun in all
	Faults  int      // things that go wrong in all
	Only    []Fault  // the faults that happen; none: all
	Loose   bool     // a file's sync brings nothing but the file to the disk (btrfs)
	First   bool     // no refresh was ever made: whether the server rotates is not known
	Without Mutation // a rule that is left out
	// ShortGrace: the grace window is shorter than a request may travel.
	ShortGrace bool
	// LossesOnly goes on where another promise is broken.
	LossesOnly bool
	// FirstFinding ends the search with the first broken promise.
	FirstFinding bool
}

// Result is what an exploration came to.
type Result struct {
	States   int
	Beyond   int          // states left out because they leave the model's bounds
	Losses   map[Loss]int // unavoidable ones, by how they came about
	Findings []Finding    // broken promises, one for each kind
}

// Loss is a way to lose a grant: the faults that happened and the event that
// took the last copy of a living refresh token.
type Loss struct {
	Faults Faults
	Cause  Cause
}

const avoidable = "an avoidable loss: "

// Finding is a broken promise with the way there.
type Finding struct {
	What   string
	Faults Faults
	Trace  []string
}

// initial is a grant with one pair of tokens.
func (m *Model) initial() world {
	w := world{runs: uint8(m.Runs), faults: uint8(m.Faults), accepted: 1, durable: token(1).bit()}
	w.server[0] = family{living: token(1).bit(), newest: 1}
	login := token(familySize + 1)
	w.server[1] = family{living: login.bit(), newest: login}
	w.inode[0] = inode{has: doc{rt: 1, at: 1}, synced: true}
	if !m.First {
		w.cache.state = record{rt: 1, at: 1, rotates: does}
		if m.Class == P0 {
			w.cache.state.rotates = doesNot
		}
		w.disk.state = w.cache.state
	}
	return w
}

// search is one exploration, breadth first. Worlds are kept only until they are
// expanded; of those that were seen there remain a hash and the way.
type search struct {
	m     *Model
	seen  map[[2]uint64]struct{}
	queue []node
	ways  []way
	res   Result
	known map[string]bool // findings told already
	seeds [2]maphash.Seed
	stop  bool
}

type node struct {
	w   world
	way int32
}

// way is how a world was reached.
type way struct {
	from  int32
	event event
}

// Explore visits every world that can be reached within the bounds.
func (m Model) Explore() Result {
	s := &search{m: &m, seen: map[[2]uint64]struct{}{}, known: map[string]bool{}, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
	s.res.Losses = map[Loss]int{}
	s.add(m.initial(), -1, event{})
	for len(s.queue) > 0 && !s.stop {
		level := s.queue
		s.queue = nil
		for i := range level {
			s.expand(&level[i])
			if s.stop {
				break
			}
		}
	}
	s.res.States = len(s.seen)
	slices.SortFunc(s.res.Findings, func(a, b Finding) int { return len(a.Trace) - len(b.Trace) })
	return s.res
}

func (s *search) add(w world, from int32, e event) {
	key := [2]uint64{maphash.Comparable(s.seeds[0], w), maphash.Comparable(s.seeds[1], w)}
	if _, ok := s.seen[key]; ok {
		return
	}
	s.seen[key] = struct{}{}
	s.ways = append(s.ways, way{from, e})
	s.queue = append(s.queue, node{w, int32(len(s.ways) - 1)})
}

// expand makes every next step from a world and judges it.
func (s *search) expand(n *node) {
	before := s.m.reach(&n.w)
	if n.w.quiet() {
		if says := s.m.unhealed(&n.w, before); says != "" {
			s.find(says, n.w.used, n.way, nil)
		}
	}
	s.m.next(&n.w, func(e event, v world) {
		switch {
		case s.stop:
			return
		case v.broken == beyond:
			s.res.Beyond++
			return
		case v.broken == kept && !s.m.without(TheUndecided):
			v.checkReaders(false)
		case v.broken == kept:
			v.checkReaders(true)
		}
		if s.m.LossesOnly {
			v.broken = kept
		}
		if v.broken != kept {
			s.find(v.broken.String(), v.used, n.way, &e)
			return
		}
		if before.any() && !s.m.reach(&v).any() {
			cause, could := s.m.blame(&n.w, &v, e, before)
			if could {
				s.find(avoidable+cause.String(), v.used, n.way, &e)
			} else {
				s.res.Losses[Loss{v.used, cause}]++
			}
			if cause != Overwritten { // there the protocol still has promises to keep
				return
			}
		}
		s.add(v, n.way, e)
	})
}

// find notes a broken promise, once for each kind and set of faults.
func (s *search) find(what string, used Faults, at int32, last *event) {
	if key := what + used.String(); !s.known[key] {
		s.known[key] = true
		s.res.Findings = append(s.res.Findings, Finding{what, used, s.trace(at, last)})
	}
	s.stop = s.m.FirstFinding
}

// trace tells the way to a world.
func (s *search) trace(at int32, last *event) []string {
	var t []string
	if last != nil {
		t = append(t, last.String())
	}
	for ; at > 0; at = s.ways[at].from {
		t = append(t, s.ways[at].event.String())
	}
	slices.Reverse(t)
	return t
}
