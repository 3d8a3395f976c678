package model_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/model"
	"github.com/evergrant/evergrant/prove/figures"
)

// prove asks for the deep bounds: minutes and a few gigabytes.
var prove = os.Getenv("EVERGRANT_PROVE") != ""

var classes = []model.Class{model.P0, model.P1, model.P2, model.P3, model.P4}

// TestNoAvoidableLoss: whatever goes wrong once, no grant is lost that a client
// could have kept, and no other promise is broken.
func TestNoAvoidableLoss(t *testing.T) {
	for _, row := range []struct {
		name string
		m    model.Model
	}{
		{"ext4", model.Model{Procs: 2, Runs: 2, Faults: 1}},
		{"btrfs", model.Model{Procs: 2, Runs: 2, Faults: 1, Loose: true}},
		{"short grace", model.Model{Procs: 2, Runs: 2, Faults: 1, ShortGrace: true}},
		{"first refresh", model.Model{Procs: 2, Runs: 2, Faults: 1, First: true}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if prove {
				row.m.Runs = 3
			}
			explore(t, row.m)
		})
	}
}

// TestTwoFaults: two things go wrong.
func TestTwoFaults(t *testing.T) {
	if !prove {
		t.Skip("EVERGRANT_PROVE=1 explores two faults")
	}
	for _, loose := range []bool{false, true} {
		explore(t, model.Model{Procs: 2, Runs: 2, Faults: 2, Loose: loose})
	}
}

// TestThreeFaults: a process is killed twice while a third thing goes wrong.
func TestThreeFaults(t *testing.T) {
	if !prove {
		t.Skip("EVERGRANT_PROVE=1 explores three faults")
	}
	for _, f := range []model.Fault{model.ForeignLogin, model.ForeignEdit, model.DelayedRequest, model.WriteFails} {
		explore(t, model.Model{Procs: 1, Runs: 3, Faults: 3, Only: []model.Fault{model.Crash, f}})
	}
}

// TestThreeProcesses: three processes, one fault.
func TestThreeProcesses(t *testing.T) {
	if !prove {
		t.Skip("EVERGRANT_PROVE=1 explores three processes")
	}
	explore(t, model.Model{Procs: 3, Runs: 3, Faults: 1})
}

// explore visits every world of every class and prints which losses are
// reachable. They must be among those that no client can avoid.
func explore(t *testing.T, m model.Model) {
	t.Helper()
	states, avoidable, ways := 0, 0, map[string]int{}
	var table []string
	for _, c := range classes {
		m.Class = c
		r := m.Explore()
		states += r.States
		t.Logf("%v: %d states", c, r.States)
		if r.Beyond > 0 {
			t.Errorf("%v: %d states are beyond the model's bounds", c, r.Beyond)
		}
		for _, f := range r.Findings {
			t.Errorf("%v: %s (%v)\n\t%s", c, f.What, f.Faults, strings.Join(f.Trace, "\n\t"))
			if strings.HasPrefix(f.What, "an avoidable loss: ") {
				avoidable++
			}
		}
		byName := func(a, b model.Loss) int {
			return cmp.Or(cmp.Compare(a.Faults, b.Faults), cmp.Compare(a.Cause, b.Cause))
		}
		for _, l := range slices.SortedFunc(maps.Keys(r.Losses), byName) {
			table = append(table, fmt.Sprintf("%v  %-40v %v", c, l.Faults, l.Cause))
			if !unavoidable(c, c.Grace() && !m.ShortGrace, l) {
				avoidable++
				t.Errorf("%v: a loss that is not among the unavoidable ones: %v, %v", c, l.Faults, l.Cause)
				continue
			}
			ways[fmt.Sprintf("%v: %v", c, l.Cause)]++
		}
	}
	t.Logf("%d states; reachable losses:\n%s", states, strings.Join(table, "\n"))
	addFigures(t, append(figures.ByKind(figures.Ways, ways),
		figures.Figure{Name: figures.States, Kind: fmt.Sprintf("%d processes and %d faults", m.Procs, m.Faults), N: float64(states)},
		figures.Figure{Name: figures.Avoidable, N: float64(avoidable)})...)
}

func addFigures(t *testing.T, list ...figures.Figure) {
	t.Helper()
	if err := figures.Add(list...); err != nil {
		t.Error(err)
	}
}

// unavoidable are the cells of what no client can recover: on a server that
// rotates, a new token of which the only copy was lost; on one with a grace
// window, only if nobody came back in time; anywhere, what another program
// wrote over.
func unavoidable(c model.Class, grace bool, l model.Loss) bool {
	switch l.Cause {
	case model.Overwritten:
		return l.Faults.Has(model.SetBack) || l.Faults.Has(model.ForeignEdit) || l.Faults.Has(model.ForeignLogin)
	case model.NotSynced:
		return l.Faults.Has(model.PowerCut) && (c != model.P0 && !grace || l.Faults.Has(model.ForeignLogin))
	case model.InMemory, model.ReplyNotRead:
		return c != model.P0 && !grace
	case model.GraceOver:
		return grace
	}
	return false
}

// TestMutations: every rule of the protocol, left out, is missed. A row says
// where: the class, the faults, the kind of disk.
func TestMutations(t *testing.T) {
	seen, missed := map[model.Mutation]bool{}, 0
	for _, row := range []struct {
		without model.Mutation
		class   model.Class
		faults  []model.Fault
		loose   bool
		count   int  // of faults that are needed; 0: at most one
		short   bool // a short grace window is needed
		promise bool // another promise than that of no avoidable loss is broken
	}{
		{without: model.TheLock, class: model.P2},
		{without: model.TheReread, class: model.P2, faults: []model.Fault{model.Crash}},
		{without: model.TheIntent, class: model.P2, faults: []model.Fault{model.Crash}},
		{without: model.ThePhase, class: model.P2, faults: []model.Fault{model.Crash}},
		{without: model.TheBoot, class: model.P2, faults: []model.Fault{model.PowerCut}},
		{without: model.TheJudgement, class: model.P2, faults: []model.Fault{model.Crash}},
		{without: model.TheStoreFirst, class: model.P2, faults: []model.Fault{model.Crash}},
		{without: model.TheDirectorySync, class: model.P2, faults: []model.Fault{model.PowerCut}},
		{without: model.TheFileSync, class: model.P2, faults: []model.Fault{model.PowerCut}},
		{without: model.TheSettleSync, class: model.P2, faults: []model.Fault{model.Crash}, loose: true, promise: true},
		{without: model.TheDeadline, class: model.P2, faults: []model.Fault{model.DelayedRequest}},
		{without: model.TheHash, class: model.P0, faults: []model.Fault{model.Crash}, promise: true},
		{without: model.TheCheck, class: model.P2, faults: []model.Fault{model.ForeignLogin}},
		{without: model.TheRescue, class: model.P2, faults: []model.Fault{model.DiskFull}},
		{without: model.TheReplaced, class: model.P2, faults: []model.Fault{model.SetBack}, promise: true},
		{without: model.TheQuiet, class: model.P3, faults: []model.Fault{model.DelayedRequest}},
		{without: model.TheRollForward, class: model.P2, faults: []model.Fault{model.Crash}},
		{without: model.TheReplayQuiet, class: model.P3, faults: []model.Fault{model.DelayedRequest, model.Crash}, count: 2},
		{without: model.TheDue, class: model.P2, faults: []model.Fault{model.ForeignLogin, model.Crash}, count: 2},
		{without: model.TheNewBase, class: model.P2, faults: []model.Fault{model.ForeignLogin, model.Crash}, count: 3},
		{without: model.EveryName, class: model.P2, faults: []model.Fault{model.ForeignLogin, model.Crash}, count: 3},
		{without: model.TheWindow, class: model.P3, faults: []model.Fault{model.DelayedRequest}, short: true},
		{without: model.TheUndecided, class: model.P2, promise: true},
	} {
		seen[row.without] = true
		m := model.Model{Class: row.class, Procs: 2, Runs: 2, Faults: min(1, len(row.faults)), Only: row.faults, Loose: row.loose, ShortGrace: row.short,
			Without: row.without, FirstFinding: true, LossesOnly: !row.promise}
		if row.count > 0 {
			m.Faults = row.count
		}
		if row.count > 2 { // one process, run after run
			m.Procs, m.Runs = 1, 3
		}
		r := m.Explore()
		if len(r.Findings) == 0 {
			t.Errorf("%v: nothing is broken on %v by %v (%d states)", row.without, row.class, row.faults, r.States)
			continue
		}
		missed++
		t.Logf("%v: %s after %d steps (%v, %v)", row.without, r.Findings[0].What, len(r.Findings[0].Trace), row.class, r.Findings[0].Faults)
	}
	addFigures(t, figures.Figure{Name: figures.Rules, N: float64(missed)})
	for _, m := range model.Mutations() {
		if !seen[m] {
			t.Errorf("%v: no row shows that it is missed", m)
		}
	}
}
