package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

func printList(w io.Writer, list []mutation) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, m := range list {
		quick := ""
		if m.quick {
			quick = " (quick)"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s%s\n", m.promise, m.id, m.breaks, m.tests(), quick)
	}
	return t.Flush()
}

// report prints what became of each entry, and the sum.
func report(w io.Writer, results []result, took time.Duration, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(results)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "promise\tid\tbroken on purpose\tverdict\tby\ttime")
	for _, r := range results {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%.1f s\n", r.Promise, r.ID, r.Breaks, r.Verdict, r.By, r.Took.Seconds())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	n := map[verdict]int{}
	for _, r := range results {
		n[r.Verdict]++
		if r.Why != "" {
			fmt.Fprintf(w, "\n%s: %s\n", r.ID, r.Why)
		}
	}
	_, err := fmt.Fprintf(w, "\n%d changes: %d caught, %d survived, %d errors, in %s\n",
		len(results), n[caught], n[survived], n[unfit], took.Round(time.Second))
	return err
}

func allCaught(results []result) bool {
	return !slices.ContainsFunc(results, func(r result) bool { return r.Verdict != caught })
}
