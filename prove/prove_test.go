package main

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/prove/figures"
)

// good is a run that gives what is wanted of it.
func good() run {
	return run{
		part: part{name: "crashtest", wants: map[string]float64{figures.Kills: 3, figures.Cuts + "/ext4": 1}},
		took: 90 * time.Second,
		figures: []figures.Figure{
			{Name: figures.Kills, Kind: "refresh", N: 2}, {Name: figures.Kills, Kind: "watch", N: 1},
			{Name: figures.Cuts, Kind: "ext4", N: 4}, {Name: figures.Errors, Kind: "fsync EIO", N: 5}, {Name: figures.Errors, Kind: "write EIO", N: 1},
			{Name: figures.Unavoidable, Kind: "reply not read", N: 6}, {Name: figures.Avoidable},
			{Name: figures.Seed, Kind: "simworld", N: 1, Note: "4711"},
		},
	}
}

// TestCheck: a run passes only if it gave what is wanted, and nothing of what
// may not be.
func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(r *run)
		wrong  string // "": it passes
	}{
		{"as it should be", func(*run) {}, ""},
		{"the command failed", func(r *run) { r.err = errors.New("exit status 1") }, "exit status 1"},
		{"no figure", func(r *run) { r.figures = nil }, "gave no figure"},
		{"an avoidable loss", func(r *run) { r.figures = append(r.figures, figures.Figure{Name: figures.Avoidable, N: 1}) }, "that a client could have kept"},
		{"a leak", func(r *run) { r.figures = append(r.figures, figures.Figure{Name: figures.Leaks, N: 1}) }, "secrets were found"},
		{"a mutation survived", func(r *run) {
			r.figures = append(r.figures, figures.Figure{Name: figures.Survived, Kind: "P1-lock", N: 1})
		}, "P1-lock"},
		{"a case failed", func(r *run) {
			r.figures = append(r.figures, figures.Figure{Name: figures.Failed, Kind: "lost/hang", N: 1})
		}, "lost/hang"},
		{"fewer than wanted", func(r *run) { r.part.wants[figures.Kills] = 4 }, "kill points: 3, at least 4"},
		{"a kind that is missing", func(r *run) { r.part.wants[figures.Cuts+"/xfs"] = 1 }, "power cuts/xfs: 0"},
		{"a kind that was skipped", func(r *run) {
			r.part.wants[figures.Cuts+"/xfs"] = 1
			r.figures = append(r.figures, figures.Figure{Name: figures.Skipped, Kind: "power cuts/xfs", N: 1, Note: "no mkfs.xfs"})
		}, ""},
		{"a total that lacks what was skipped", func(r *run) {
			r.part.wants[figures.Cuts] = 100
			r.figures = append(r.figures, figures.Figure{Name: figures.Skipped, Kind: "power cuts/xfs", N: 1, Note: "no mkfs.xfs"})
		}, ""},
		{"another thing that was skipped", func(r *run) {
			r.part.wants[figures.Kills] = 4
			r.figures = append(r.figures, figures.Figure{Name: figures.Skipped, Kind: "power cuts/xfs", N: 1, Note: "no mkfs.xfs"})
		}, "kill points: 3"},
	} {
		r := good()
		tt.change(&r)
		err := check(r)
		if (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.wrong)
		}
	}
}

// TestRead: the forms in which parts print their figures.
func TestRead(t *testing.T) {
	for _, tt := range []struct {
		name   string
		read   func([]byte) ([]figures.Figure, error)
		output string
		want   map[string]float64
		fails  bool
	}{
		{"histories", histories, "    history_test.go:419: seed 7 (replay with -seed)\n        history_test.go:430: 41 steps, 23 token requests: map[killed:3]\n" +
			"        history_test.go:430: 9 steps, 7 token requests: map[]\n        world_test.go:118: 4 grants, 720h0m0s each, 2,0 token answers\n        world_test.go:118: 4 grants, 720h0m0s each, 20 token answers\n",
			map[string]float64{figures.Histories: 2, figures.Steps: 50, figures.Requests: 50, figures.Grants: 4, figures.Seed: 1, figures.Years: 4 * 30 / 365.25}, false},
		{"no histories", histories, "ok\n", map[string]float64{}, false},
		{"mutations", mutations, `[{"id":"P1-lock","promise":"P1","verdict":"caught"},{"id":"P2-x","verdict":"SURVIVED"},{"id":"P2-y","verdict":"ERROR"}]`,
			map[string]float64{figures.Caught: 1, figures.Survived: 2}, false},
		{"no mutations", mutations, "mutation: it does not build\n", nil, true},
		{"cases", cases, `{"results":[{"name":"basic/a","group":"basic","outcome":"passed"},{"name":"basic/b","group":"basic","outcome":"failed"},{"name":"c/d","outcome":"skipped","says":["needs root"]}]}`,
			map[string]float64{figures.Cases: 1, figures.Failed: 1, figures.Skipped: 1}, false},
		{"logs", searched, "searched 298585 bytes in 2 files and streams for 33 forms: 0 hits\n", map[string]float64{figures.Bytes: 298585, figures.Artefacts: 2, figures.Leaks: 0}, false},
		{"no logs", searched, "", map[string]float64{}, false},
		{"no cases", cases, "", nil, true},
	} {
		list, err := tt.read([]byte(tt.output))
		got := map[string]float64{}
		for name := range tallied(list) {
			got[name] = tallied(list).sum(name)
		}
		if (err != nil) != tt.fails || !tt.fails && !maps.Equal(got, tt.want) {
			t.Errorf("%s: got %v, %v", tt.name, got, err)
		}
	}
}

// TestPage: the page has the figures, what was left out, and no trace of the
// template.
func TestPage(t *testing.T) {
	skipped := good()
	skipped.figures = append(skipped.figures, figures.Figure{Name: figures.Skipped, Kind: "power cuts/xfs", N: 1, Note: "there is no mkfs.xfs"})
	text, err := page(machine{Date: "2026-01-02 03:04 UTC", CPU: "Fast", Cores: 2}, []run{skipped})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2026-01-02 03:04 UTC", "Fast, 2 cores", "| crashtest | 1m30s | passed |", "ext4 4", "EIO 6", "reply not read 6",
		"| grants lost that could have been kept | 0 |", "- power cuts/xfs: there is no mkfs.xfs", "simworld 4711", "refresh 2, watch 1"} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("%q is not on the page", want)
		}
	}
	if bytes.Contains(text, []byte("{{")) || bytes.Contains(text, []byte("<no value>")) {
		t.Error("the template shows")
	}
}

// TestTry: a part's figures come through the file; its failure and its silence
// are noticed, and nothing asks the broken programs of a part for figures.
func TestTry(t *testing.T) {
	t.Setenv("EVERGRANT_PROVE", "1")
	t.Setenv(figures.Variable, "elsewhere")
	sh := func(script string) []string { return []string{"sh", "-c", script} }
	b := bench{dir: t.TempDir(), out: new(bytes.Buffer)}
	line := `{"name":"model states","n":7}`
	r := b.try(t.Context(), part{name: "adds", own: true, env: []string{full}, command: sh(`echo '` + line + `' >>"$EVERGRANT_FIGURES"; test "$EVERGRANT_PROVE" = 1`)})
	if err := check(r); err != nil || tallied(r.figures).sum(figures.States) != 7 {
		t.Errorf("%v, %v", r.figures, err)
	}
	if r := b.try(t.Context(), part{name: "fails", own: true, command: sh(`echo '` + line + `' >>"$EVERGRANT_FIGURES"; exit 3`)}); check(r) == nil || len(r.figures) != 1 {
		t.Errorf("%v, %v", r.figures, r.err)
	}
	if r := b.try(t.Context(), part{name: "silent", own: true, command: sh("true")}); check(r) == nil {
		t.Error("a part without figures passes")
	}
	if r := b.try(t.Context(), part{name: "broken", own: true, command: sh(`echo '{"n":7}' >>"$EVERGRANT_FIGURES"`)}); check(r) == nil {
		t.Error("a figure without a name passes")
	}
	r = b.try(t.Context(), part{name: "prints", command: sh(`test -z "$EVERGRANT_PROVE$EVERGRANT_FIGURES" && echo '[{"promise":"P1","verdict":"caught"}]'`), read: mutations})
	if err := check(r); err != nil {
		t.Error(err)
	}
}

// TestFront: the page is written only after a run of all parts that passed.
func TestFront(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	passes := part{name: "passes", own: true, command: []string{"sh", "-c", `echo '{"name":"healed","n":1}' >>"$EVERGRANT_FIGURES"`}}
	fails := part{name: "fails", own: true, command: []string{"sh", "-c", "exit 1"}}
	var out bytes.Buffer
	doc := filepath.Join(dir, "page.md")
	if err := prove(t.Context(), []part{passes, fails}, doc, &out); err == nil || !strings.Contains(err.Error(), "fails failed") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(doc); err == nil {
		t.Error("a page tells of a run that failed")
	}
	if err := prove(t.Context(), []part{passes}, doc, &out); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(doc); err != nil || !bytes.Contains(text, []byte("| passes |")) {
		t.Errorf("no page: %v", err)
	}
	for _, args := range [][]string{{"-only", "nothing"}, {"-wrong"}} {
		if code := runMain(t.Context(), args, &out, &out); code != 2 {
			t.Errorf("%v: exit %d, want 2", args, code)
		}
	}
	if got, err := choose(parts, "model,canary"); err != nil || len(got) != 2 || got[0].name != "model" {
		t.Errorf("%v, %v", got, err)
	}
}

// TestViewer: what a person sees.
func TestViewer(t *testing.T) {
	var out bytes.Buffer
	v := newViewer(&out, "part")
	one := v.stream()
	for _, s := range []string{"=== RUN   TestA\n", "    --- PASS: TestA/1 (0.00s)\n--- PA", "SS: TestA (0.00s)\n", "{\n\"id\": 1\n}\n", "    a_test.go:1: seven\n", "last"} {
		one.Write([]byte(s))
	}
	two := v.stream()
	two.Write([]byte("another"))
	v.close()
	if got, want := out.String(), "--- PASS: TestA (0.00s)\n    a_test.go:1: seven\nlast\nanother\n"; got != want {
		t.Errorf("got %q", got)
	}
}

func TestNumber(t *testing.T) {
	for n, want := range map[float64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", 32.85: "32.9", 1000.4: "1,000"} {
		if got := number(n); got != want {
			t.Errorf("%v: %s, want %s", n, got, want)
		}
	}
}
