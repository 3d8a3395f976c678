package faultmatrix_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/fault-matrix.md anew")

const page = "../docs/fault-matrix.md"

// TestPage: the page says what the table says.
func TestPage(t *testing.T) {
	want := render()
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/fault-matrix.md is out of date: go test ./faultmatrix -update")
	}
}

const intro = `# Fault matrix

What can go wrong around a grant, what is expected then, and what proves it. Made from the table in
[faultmatrix](../faultmatrix) by ` + "`go test ./faultmatrix -update`" + `; do not edit.

*Expected* is the outcome of the refresh that meets the fault (the seven words of [design.md](design.md), *Outcomes*),
and what else must hold. *Proof* is **here** where the fault is played by ` + "`go test ./faultmatrix`" + ` against the real engine
or the real program, else the test that plays it (package, test, subtest; a case of ` + "`evergrant conformance`" + ` has a
slash in its name), else **not yet** and what is missing. After each fault that is played here:

| | |
|---|---|
| I1 | token file and state can be read |
| I2 | the stored refresh token is the newest one that the provider gave, or the state says why not |
| I3 | at most one request whose outcome is success or unknown carried a given refresh token, deliberate replays apart |
| I4 | nothing that was told, logged or written beside the file holds a secret |
| I5 | goroutines, file descriptors and the lock are as before |

Unless the outcome is about the file itself, a good access token must be served after the fault, and the next run must
refresh (transient, misconfigured, blocked) or send nothing (uncertain, dead).

`

func render() string {
	var b strings.Builder
	b.WriteString(intro)
	total(&b)
	for _, s := range sections() {
		fmt.Fprintf(&b, "\n## %s %s\n\n| row | fault | expected | proof |\n|---|---|---|---|\n", s.id, s.title)
		for _, r := range s.rows {
			for i, f := range r.faults {
				at := ""
				if i == 0 {
					at = strings.TrimPrefix(r.id, s.id+"-") + " " + r.title
				}
				fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", at, f.name, f.expected(), f.proof)
			}
		}
	}
	return b.String()
}

// total counts the proofs of each section.
func total(b *strings.Builder) {
	b.WriteString("| section | faults | here | elsewhere | not yet |\n|---|---:|---:|---:|---:|\n")
	var all [4]int
	line := func(name string, n [4]int) {
		fmt.Fprintf(b, "| %s | %d | %d | %d | %d |\n", name, n[0], n[1], n[2], n[3])
	}
	for _, s := range sections() {
		var n [4]int
		for _, r := range s.rows {
			for _, f := range r.faults {
				n[0]++
				switch p := f.proof; {
				case p.play != nil:
					n[1]++
				case p.notYet != "":
					n[3]++
				default:
					n[2]++
				}
			}
		}
		for i := range n {
			all[i] += n[i]
		}
		line(s.id+" "+s.title, n)
	}
	line("**all**", all)
}

func (f fault) expected() string {
	switch {
	case f.want == "":
		return f.says
	case f.says == "":
		return "**" + string(f.want) + "**"
	}
	return "**" + string(f.want) + "**: " + f.says
}

// String is the proof as the page shows it.
func (p proof) String() string {
	switch {
	case p.play != nil:
		return "**here**"
	case p.notYet != "":
		return "**not yet**: " + p.notYet
	}
	var names []string
	for _, name := range p.tests {
		names = append(names, "`"+strings.TrimPrefix(name, ". ")+"`")
	}
	return strings.Join(names, ", ")
}
