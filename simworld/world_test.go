package simworld_test

import (
	cryptorand "crypto/rand"
	"crypto/rsa"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/evergrant/evergrant/prove/figures"
)

var (
	seedFlag = flag.Uint64("seed", 0, "seed of the world; 0 is 1, and with EVERGRANT_PROVE=1 a new one")
	lifeFlag = flag.String("life", "", "the one life to live, such as P2/31")
	prove    = os.Getenv("EVERGRANT_PROVE") == "1"
)

// Simulated time of each class: the lives of a class end when they have lived
// so long together.
const (
	classTime = 150 * day
	proveBy   = 60
	day       = 24 * time.Hour
)

// world is what all lives have in common.
type world struct {
	seed uint64
	key  *rsa.PrivateKey // of all providers that sign access tokens
	sum  *tally
}

// TestWorld lives through the years and prints what happened in them.
func TestWorld(t *testing.T) {
	seed := *seedFlag
	switch {
	case seed == 0 && prove:
		seed = rand.Uint64N(1 << 32)
	case seed == 0:
		seed = 1 // the first lives of those that make prove plays, so that a change meets no new chance
	}
	t.Logf("seed %d (replay with -seed)", seed)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // goroutines take turns, mostly in the same order each time: a life repeats
	began, goroutines := time.Now(), runtime.NumGoroutine()
	w := &world{seed: seed, sum: newTally()}
	var err error
	if w.key, err = rsa.GenerateKey(cryptorand.Reader, 1024); err != nil { // short: it signs often, and nobody attacks it
		t.Fatal(err)
	}
	t.Run("class", func(t *testing.T) {
		for _, c := range classes {
			t.Run(c.name, func(t *testing.T) {
				w.liveAll(t, c)
			})
		}
	})
	t.Logf("%s of %s\n%s", time.Since(began).Round(time.Second), t.Name(), w.sum)
	if err := figures.Add(append(w.sum.figures(), figures.Figure{Name: figures.Seed, Kind: "simworld", N: 1, Note: fmt.Sprint(seed)})...); err != nil {
		t.Error(err)
	}
	if n := runtime.NumGoroutine(); n > goroutines+2 { // I5; the runtime may keep one or two of its own
		t.Errorf("%d goroutines before, %d after", goroutines, n)
	}
}

// liveAll lives through the lives of a class until its time is up.
func (w *world) liveAll(t *testing.T, c class) {
	target := classTime
	if prove {
		target *= proveBy
	}
	if *lifeFlag != "" {
		name, n, _ := strings.Cut(*lifeFlag, "/")
		if i := 0; name == c.name {
			fmt.Sscan(n, &i)
			w.live(t, c, i)
		}
		return
	}
	for i, lived := 0, time.Duration(0); lived < target && !t.Failed(); i++ {
		lived += w.live(t, c, i)
	}
}

// live is one life in a bubble of its own, which ends only when every
// goroutine in it has (I5). It returns the simulated time.
func (w *world) live(t *testing.T, c class, i int) (lived time.Duration) {
	ok := t.Run(fmt.Sprint(i), func(t *testing.T) {
		rescue := t.TempDir()
		cryptotest.SetGlobalRandom(t, w.seed*0x9e3779b97f4a7c15+uint64(i)) // the keepers' own chance
		synctest.Test(t, func(t *testing.T) {
			l := newLife(t, w, c, i, rescue)
			l.run()
			lived = time.Since(l.began)
			w.sum.add(l)
		})
	})
	if !ok {
		t.Fail()
	}
	return lived
}

// tally counts over all lives.
type tally struct {
	mu          sync.Mutex
	lives       int
	time        time.Duration
	classes     map[string]*count
	faults      map[string]int
	crashes     map[string]int
	calls       int
	checks      int
	revocations int
	searched    int64 // bytes, for tokens
	told        int   // texts that were searched
	leaks       int
}

// count is the part of a class.
type count struct{ grants, requests, replays, unavoidable, avoidable int }

func newTally() *tally {
	return &tally{classes: map[string]*count{}, faults: map[string]int{}, crashes: map[string]int{}}
}

func (s *tally) add(l *life) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.classes[l.class.name]
	if c == nil {
		c = new(count)
		s.classes[l.class.name] = c
	}
	s.lives++
	s.time += time.Since(l.began)
	c.grants += l.count.grants
	c.requests += l.count.requests
	c.replays += l.count.replays
	c.unavoidable += l.count.unavoidable
	c.avoidable += l.count.avoidable
	s.calls += l.calls
	s.checks += l.checks
	s.revocations += l.revocations
	s.searched += l.sieve.found.Bytes
	s.told += l.sieve.found.Items
	s.leaks += len(l.sieve.found.Hits)
	for k, n := range l.faults {
		s.faults[k] += n
	}
	for k, n := range l.crashes {
		s.crashes[k] += n
	}
}

func (s *tally) String() string {
	var b strings.Builder
	var all count
	fmt.Fprintf(&b, "class grants requests replays | losses: unavoidable avoidable\n")
	for _, c := range classes {
		if n := s.classes[c.name]; n != nil {
			fmt.Fprintf(&b, "%-5s %6d %8d %7d | %19d %9d\n", c.name, n.grants, n.requests, n.replays, n.unavoidable, n.avoidable)
			all.grants += n.grants
			all.requests += n.requests
			all.replays += n.replays
			all.unavoidable += n.unavoidable
			all.avoidable += n.avoidable
		}
	}
	fmt.Fprintf(&b, "%-5s %6d %8d %7d | %19d %9d\n", "all", all.grants, all.requests, all.replays, all.unavoidable, all.avoidable)
	fmt.Fprintf(&b, "%d lives, %.1f grant-years, %d calls, %d checks, %d ended by the provider's user\n", s.lives, s.time.Hours()/24/365.25, s.calls, s.checks, s.revocations)
	fmt.Fprintf(&b, "searched for tokens: %d bytes in %d texts\n", s.searched, s.told)
	fmt.Fprintf(&b, "crashes: %s\n", listed(s.crashes))
	fmt.Fprintf(&b, "faults: %s", listed(s.faults))
	return b.String()
}

// figures are the tally as `make prove` gathers it.
func (s *tally) figures() []figures.Figure {
	grants, lost := map[string]int{}, map[string]int{}
	faults, delays := maps.Clone(s.faults), map[string]int{}
	for _, slow := range []string{"latency", "slow store"} { // so common that they would drown what breaks something
		delays[slow] = faults[slow]
		delete(faults, slow)
	}
	var requests, avoidable int
	for name, c := range s.classes {
		grants[name] = c.grants
		lost["simulated, "+name] = c.unavoidable
		requests += c.requests
		avoidable += c.avoidable
	}
	list := []figures.Figure{
		{Name: figures.Years, N: s.time.Hours() / 24 / 365.25},
		{Name: figures.Calls, N: float64(s.calls)},
		{Name: figures.Checks, N: float64(s.checks)},
		{Name: figures.Requests, N: float64(requests)},
		{Name: figures.Avoidable, N: float64(avoidable)},
		{Name: figures.Bytes, Kind: "told and stored in simulated time", N: float64(s.searched)},
		{Name: figures.Artefacts, N: float64(s.told)},
		{Name: figures.Leaks, N: float64(s.leaks)},
	}
	for name, count := range map[string]map[string]int{figures.Grants: grants, figures.Unavoidable: lost, figures.Faults: faults, figures.Delays: delays, figures.Crashes: s.crashes} {
		list = append(list, figures.ByKind(name, count)...)
	}
	return list
}
