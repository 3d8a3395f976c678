package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/evergrant/evergrant/prove/figures"
)

// A tally is figures added up, by name and by kind.
type tally map[string]map[string]float64

func tallied(list []figures.Figure) tally {
	t := tally{}
	for _, f := range list {
		if t[f.Name] == nil {
			t[f.Name] = map[string]float64{}
		}
		t[f.Name][f.Kind] += f.N
	}
	return t
}

// sum is what a figure comes to over all kinds.
func (t tally) sum(name string) float64 {
	n := 0.0
	for _, k := range t[name] {
		n += k
	}
	return n
}

// of is a figure, or with "name/kind" a part of it.
func (t tally) of(name string) float64 {
	name, kind, divided := strings.Cut(name, "/")
	if divided {
		return t[name][kind]
	}
	return t.sum(name)
}

// kinds are the parts of a figure, the largest first.
func (t tally) kinds(name string) []string {
	m := t[name]
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b)) })
}

// listed is a figure divided by kind, the largest first; "" if it is not.
func (t tally) listed(name string) string {
	var parts []string
	separator := ", "
	for _, k := range t.kinds(name) {
		if k == "" || t[name][k] == 0 {
			continue
		}
		parts = append(parts, k+" "+number(t[name][k]))
		if strings.Contains(k, ",") {
			separator = "; "
		}
	}
	return strings.Join(parts, separator)
}

// broken are the figures that may not be there at all, with what they say.
var broken = []struct{ name, says string }{
	{figures.Avoidable, "grants were lost that a client could have kept"},
	{figures.Leaks, "secrets were found"},
	{figures.Survived, "changes that break a promise went unnoticed"},
	{figures.Failed, "conformance cases failed"},
}

// check is why a run proves nothing, or the contrary; nil: it proves what it
// should.
func check(r run) error {
	errs := []error{r.err}
	if len(r.figures) == 0 {
		return errors.Join(r.err, errors.New("it gave no figure"))
	}
	t := tallied(r.figures)
	for _, b := range broken {
		if n := t.sum(b.name); n > 0 {
			errs = append(errs, fmt.Errorf("%s %s (%s)", number(n), b.says, strings.Join(t.kinds(b.name), ", ")))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.part.wants)) {
		if n, want := t.of(name), r.part.wants[name]; n < want && !excused(t, name) {
			errs = append(errs, fmt.Errorf("%s: %s, at least %s are wanted", name, number(n), number(want)))
		}
	}
	return errors.Join(errs...)
}

// excused reports whether a figure, or a part of it, was skipped with a reason.
func excused(t tally, name string) bool {
	return slices.ContainsFunc(t.kinds(figures.Skipped), func(skipped string) bool {
		return skipped == name || strings.HasPrefix(skipped, name+"/") || strings.HasPrefix(name, skipped+"/")
	})
}

// verdict is one word, or what is wrong.
func verdict(r run) string {
	if err := check(r); err != nil {
		return "FAILED: " + strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return "passed"
}

// number is a count as a person reads it: 1,234,567, and small fractions with
// a digit.
func number(n float64) string {
	if n != math.Trunc(n) && n < 1000 {
		return fmt.Sprintf("%.1f", n)
	}
	s := fmt.Sprintf("%.0f", n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// A row is a line of the summary.
type row struct{ What, Count, How string }

// injected are the figures that count things that were made to go wrong.
var injected = []string{figures.Faults, figures.Crashes, figures.Kills, figures.Terms, figures.Errors, figures.Cuts, figures.Pairs}

// rows is the summary of all parts.
func rows(all []figures.Figure) []row {
	t := tallied(all)
	faults := 0.0
	for _, name := range injected {
		faults += t.sum(name)
	}
	line := func(what, name string) row { return row{what, number(t.sum(name)), t.listed(name)} }
	total := func(what, name, how string) row { return row{what, number(t.sum(name)), how} }
	return []row{
		{"faults injected, all kinds", number(faults), "simulated and real"},
		line("points at which the real program was killed", figures.Kills),
		line("points at which it was told to stop", figures.Terms),
		total("system calls that were made to fail", figures.Errors, errorKinds(t)),
		line("power cuts", figures.Cuts),
		line("processes broken while others waited for their lock", figures.Pairs),
		total("simulated faults", figures.Faults, fmt.Sprintf("of %d kinds", len(t[figures.Faults]))),
		total("simulated crashes and suspends", figures.Crashes, fmt.Sprintf("at %d steps", len(t[figures.Crashes]))),
		total("simulated grant-years", figures.Years, number(t.sum(figures.Grants))+" grants"),
		total("token requests judged by the server's ledger", figures.Requests, ""),
		total("histories checked", figures.Histories, number(t.sum(figures.Steps))+" steps of several processes"),
		total("states of the model visited", figures.States, number(t.sum(figures.Compared))+" outcomes of the engine compared with it"),
		line("bytes searched for canaries", figures.Bytes),
		total("artefacts searched for canaries", figures.Artefacts, "found: "+number(t.sum(figures.Leaks))),
		total("changes that break a promise, caught", figures.Caught, "of "+number(t.sum(figures.Caught)+t.sum(figures.Survived))),
		total("conformance cases passed", figures.Cases, "of "+number(t.sum(figures.Cases)+t.sum(figures.Failed))),
		line("grants lost that no client could have kept", figures.Unavoidable),
		line("grants lost that could have been kept", figures.Avoidable),
	}
}

// errorKinds counts the errors by what the kernel calls them, whatever call
// returned them.
func errorKinds(t tally) string {
	by := tally{"": {}}
	for kind, n := range t[figures.Errors] {
		words := strings.Fields(kind)
		by[""][words[len(words)-1]] += n
	}
	return by.listed("")
}

// printSummary is the end of what prove prints.
func printSummary(w io.Writer, m machine, runs []run) {
	fmt.Fprintf(w, "\nprove: %s, %s\n\n", m.Date, m)
	var all []figures.Figure
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range runs {
		all = append(all, r.figures...)
		fmt.Fprintf(tw, "%s\t%s\t%s\n", r.part.name, r.took.Round(time.Second), verdict(r))
	}
	tw.Flush()
	fmt.Fprintln(w)
	for _, r := range rows(all) {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", r.What, r.Count, r.How)
	}
	tw.Flush()
	for _, f := range all {
		if f.Name == figures.Skipped {
			fmt.Fprintf(w, "SKIPPED %s: %s\n", f.Kind, f.Note)
		}
	}
}
