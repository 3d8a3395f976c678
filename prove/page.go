package main

import (
	"bytes"
	_ "embed"
	"strings"
	"text/template"
	"time"

	"github.com/evergrant/evergrant/prove/figures"
)

// pageText is the page, with the prose written by hand.
//
//go:embed page.md
var pageText string

// facts is what the page is made of.
type facts struct {
	Machine machine
	Took    time.Duration
	Summary []row
	Runs    []run
	Skips   []figures.Figure
	Seeds   []figures.Figure
}

// page is docs/reliability.md.
func page(m machine, runs []run) ([]byte, error) {
	f := facts{Machine: m, Runs: runs}
	var all []figures.Figure
	for _, r := range runs {
		all = append(all, r.figures...)
		f.Took += r.took
	}
	f.Summary = rows(all)
	for _, g := range all {
		switch g.Name {
		case figures.Skipped:
			f.Skips = append(f.Skips, g)
		case figures.Seed:
			f.Seeds = append(f.Seeds, g)
		}
	}
	funcs := template.FuncMap{
		"kinds": func(part, name string) string { return kindTable(runs, part, name) },
		"count": func(part, name string) string { return number(tallied(figuresOf(runs, part)).of(name)) },
		"round": func(d time.Duration) string { return d.Round(time.Second).String() },
	}
	t, err := template.New("page").Funcs(funcs).Option("missingkey=error").Parse(pageText)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, f); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// figuresOf are those of a part.
func figuresOf(runs []run, name string) []figures.Figure {
	for _, r := range runs {
		if r.part.name == name {
			return r.figures
		}
	}
	return nil
}

// kindTable is a figure of a part, divided by kind, in a sentence.
func kindTable(runs []run, part, name string) string {
	if list := tallied(figuresOf(runs, part)).listed(name); list != "" {
		return list
	}
	return "none"
}

// Line is the command of the run's part; Name, Time and Verdict are for the
// table of the page.
func (r run) Line() string    { return strings.ReplaceAll(r.part.line(), "|", `\|`) } // a table ends at a bar
func (r run) Name() string    { return r.part.name }
func (r run) Time() string    { return r.took.Round(time.Second).String() }
func (r run) Verdict() string { return verdict(r) }
