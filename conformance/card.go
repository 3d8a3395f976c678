package conformance

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// An Outcome is what came of a case.
type Outcome string

// The outcomes. A skipped case could not be played on this machine; it counts
// neither for nor against the program.
const (
	Passed  Outcome = "passed"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
)

// A Result is what came of one case.
type Result struct {
	Name    string   `json:"name"`
	Group   string   `json:"group"`
	Why     string   `json:"why"`
	Outcome Outcome  `json:"outcome"`
	Says    []string `json:"says,omitempty"` // what happened, or why it was skipped; nil: passed
	Seconds float64  `json:"seconds"`
}

// A Tally counts the outcomes of a group, or of all.
type Tally struct {
	Group   string `json:"group"` // "": all groups
	Passed  int    `json:"passed"`
	Failed  int    `json:"failed"`
	Skipped int    `json:"skipped"`
}

// Played is the number of cases that were not skipped.
func (t Tally) Played() int { return t.Passed + t.Failed }

func (t *Tally) count(o Outcome) {
	switch o {
	case Passed:
		t.Passed++
	case Failed:
		t.Failed++
	case Skipped:
		t.Skipped++
	}
}

// A Scorecard is what came of a run.
type Scorecard struct {
	Command []string  `json:"command"` // as it was given, placeholders and all
	Began   time.Time `json:"began"`   // UTC
	Seconds float64   `json:"seconds"`
	Results []Result  `json:"results"` // in the order of the cases
}

// Total counts all outcomes.
func (s Scorecard) Total() Tally {
	var t Tally
	for _, r := range s.Results {
		t.count(r.Outcome)
	}
	return t
}

// Groups counts the outcomes of each group, in order.
func (s Scorecard) Groups() []Tally {
	var out []Tally
	for _, r := range s.Results {
		if len(out) == 0 || out[len(out)-1].Group != r.Group {
			out = append(out, Tally{Group: r.Group})
		}
		out[len(out)-1].count(r.Outcome)
	}
	return out
}

// With lists the results of one outcome.
func (s Scorecard) With(o Outcome) []Result {
	return slices.DeleteFunc(slices.Clone(s.Results), func(r Result) bool { return r.Outcome != o })
}

// WriteText writes the scorecard for people: a line a group, then each case that
// failed with what happened and why it matters, then each that was skipped.
func (s Scorecard) WriteText(w io.Writer) error {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "group\tpassed\tfailed\tskipped\t\n")
	total := s.Total()
	for _, t := range append(s.Groups(), Tally{"all", total.Passed, total.Failed, total.Skipped}) {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t\n", t.Group, t.Passed, t.Failed, t.Skipped)
	}
	table.Flush()
	for _, r := range s.With(Failed) {
		fmt.Fprintf(&b, "\nFAILED %s (%.1f s)\n", r.Name, r.Seconds)
		for _, line := range r.Says {
			fmt.Fprintf(&b, "  %s\n", line)
		}
		fmt.Fprintf(&b, "  why it matters: %s\n", r.Why)
	}
	for i, r := range s.With(Skipped) {
		fmt.Fprintf(&b, "%sSKIPPED %s: %s\n", map[bool]string{true: "\n"}[i == 0], r.Name, strings.Join(r.Says, "; "))
	}
	fmt.Fprintf(&b, "\n%d of %d cases passed in %.0f s.\n", total.Passed, total.Played(), s.Seconds)
	_, err := io.WriteString(w, b.String())
	return err
}
