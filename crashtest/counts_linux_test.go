//go:build amd64 || arm64

package crashtest_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/evergrant/evergrant/prove/figures"
)

// A counts is the result of all sweeps, printed at the end.
type counts struct {
	mu          sync.Mutex
	points      int            // known from unbroken runs
	missed      map[string]int // of them did not come up, by what was to be done there
	kills       map[string]int // by command
	terms       map[string]int // by command
	errors      map[string]int // by call and error
	cuts        map[string]int // by file system
	pairs       map[string]int // killed, paused
	requests    int            // in the ledgers that judged
	searched    int            // bytes of outputs, files and names, for tokens
	artefacts   int            // outputs and files
	leaks       int
	heals       int            // the stored refresh token was the living one in the end
	unavoidable map[string]int // by class
	avoidable   int
	skipped     []figures.Figure
}

// total is what all tests came to.
var total = &counts{missed: map[string]int{}, kills: map[string]int{}, terms: map[string]int{}, errors: map[string]int{},
	cuts: map[string]int{}, pairs: map[string]int{}, unavoidable: map[string]int{}}

func (c *counts) add(change func(*counts)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
}

// skip notes what could not be done here.
func (c *counts) skip(what, why string) {
	c.add(func(c *counts) {
		c.skipped = append(c.skipped, figures.Figure{Name: figures.Skipped, Kind: what, N: 1, Note: why})
	})
}

func (c *counts) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := fmt.Sprintf("crashtest: %d points, not met %s; kills: %s; SIGTERMs: %s; errors: %s; power cuts: %s; pairs: %s; %d healed; unavoidable losses: %s; avoidable losses: %d; searched for tokens: %d bytes in %d pieces",
		c.points, listed(c.missed), listed(c.kills), listed(c.terms), listed(c.errors), listed(c.cuts), listed(c.pairs), c.heals, listed(c.unavoidable), c.avoidable, c.searched, c.artefacts)
	for _, skip := range c.skipped {
		s += "; SKIPPED " + skip.Kind + ": " + skip.Note
	}
	return s
}

// figures are the counts as `make prove` gathers them.
func (c *counts) figures() []figures.Figure {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := []figures.Figure{
		{Name: figures.Requests, N: float64(c.requests)},
		{Name: figures.Bytes, Kind: "broken runs", N: float64(c.searched)},
		{Name: figures.Artefacts, N: float64(c.artefacts)},
		{Name: figures.Leaks, N: float64(c.leaks)},
		{Name: figures.Healed, N: float64(c.heals)},
		{Name: figures.Avoidable, N: float64(c.avoidable)},
	}
	for name, m := range map[string]map[string]int{
		figures.Missed: c.missed, figures.Kills: c.kills, figures.Terms: c.terms, figures.Errors: c.errors, figures.Cuts: c.cuts,
		figures.Pairs: c.pairs, figures.Unavoidable: c.unavoidable,
	} {
		list = append(list, figures.ByKind(name, m)...)
	}
	return append(list, c.skipped...)
}

// listed prints a count by kind, with the sum.
func listed(m map[string]int) string {
	sum := 0
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		sum += m[k]
		parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
	}
	if sum == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%s)", sum, strings.Join(parts, ", "))
}
