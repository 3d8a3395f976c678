package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/evergrant/evergrant/prove/figures"
)

// Parts that add no figures themselves print them; these functions read what
// they print. A form that changed gives no figures, which fails the proof.

var (
	historyLine = regexp.MustCompile(`(?m)^ +\w+\.go:\d+: (\d+) steps, (\d+) token requests: map\[`)
	worldLine   = regexp.MustCompile(`(?m)^ +\w+\.go:\d+: (\d+) grants, (\S+) each, (\d+) token answers`)
	seedLine    = regexp.MustCompile(`(?m)^ +(\w+)_test\.go:\d+: seed (\d+) \(replay with -seed\)`)
)

// digits is the number that a pattern found, which has digits only.
func digits(b []byte) float64 {
	n, _ := strconv.ParseFloat(string(b), 64)
	return n
}

// histories reads what the tests of the root package log.
func histories(output []byte) ([]figures.Figure, error) {
	var list []figures.Figure
	for _, m := range historyLine.FindAllSubmatch(output, -1) {
		list = append(list, figures.Figure{Name: figures.Histories, N: 1}, figures.Figure{Name: figures.Steps, N: digits(m[1])},
			figures.Figure{Name: figures.Requests, N: digits(m[2])})
	}
	for _, m := range worldLine.FindAllSubmatch(output, -1) {
		each, err := time.ParseDuration(string(m[2]))
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", m[0], err)
		}
		grants := digits(m[1])
		list = append(list, figures.Figure{Name: figures.Grants, N: grants}, figures.Figure{Name: figures.Years, N: grants * each.Hours() / 24 / 365.25},
			figures.Figure{Name: figures.Requests, N: digits(m[3])})
	}
	for _, m := range seedLine.FindAllSubmatch(output, -1) {
		list = append(list, figures.Figure{Name: figures.Seed, Kind: string(m[1]) + "_test.go", N: 1, Note: string(m[2])})
	}
	return list, nil
}

// mutations reads the results of package mutation.
func mutations(output []byte) ([]figures.Figure, error) {
	var results []struct{ ID, Promise, Verdict string }
	if err := json.Unmarshal(output, &results); err != nil {
		return nil, fmt.Errorf("reading the mutations: %w", err)
	}
	var list []figures.Figure
	for _, r := range results {
		if r.Verdict == "caught" {
			list = append(list, figures.Figure{Name: figures.Caught, Kind: r.Promise, N: 1})
		} else {
			list = append(list, figures.Figure{Name: figures.Survived, Kind: r.ID, N: 1})
		}
	}
	return list, nil
}

var searchedLine = regexp.MustCompile(`(?m)^searched (\d+) bytes in (\d+) files .*: (\d+) hits$`)

// searched reads what package canary says of the logs of the other parts.
func searched(output []byte) ([]figures.Figure, error) {
	m := searchedLine.FindSubmatch(output)
	if m == nil {
		return nil, nil
	}
	return []figures.Figure{{Name: figures.Bytes, Kind: "logs", N: digits(m[1])}, {Name: figures.Artefacts, N: digits(m[2])}, {Name: figures.Leaks, N: digits(m[3])}}, nil
}

// cases reads a scorecard of the conformance cases.
func cases(output []byte) ([]figures.Figure, error) {
	var card struct {
		Results []struct {
			Name, Group, Outcome string
			Says                 []string
		}
	}
	if err := json.Unmarshal(output, &card); err != nil {
		return nil, fmt.Errorf("reading the scorecard: %w", err)
	}
	var list []figures.Figure
	for _, r := range card.Results {
		switch r.Outcome {
		case "passed":
			list = append(list, figures.Figure{Name: figures.Cases, Kind: r.Group, N: 1})
		case "skipped":
			list = append(list, figures.Figure{Name: figures.Skipped, Kind: "conformance case " + r.Name, N: 1, Note: strings.Join(r.Says, "; ")})
		default:
			list = append(list, figures.Figure{Name: figures.Failed, Kind: r.Name, N: 1})
		}
	}
	return list, nil
}
