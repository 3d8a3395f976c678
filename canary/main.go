// Command canary looks for the marks of test secrets in what tests left behind:
//
//	go run ./canary DIR…                       the marks that the tests of this repository use
//	go run ./canary -mark TEXT [-mark …] DIR…  other marks
//	go run ./canary -secrets FILE DIR…         real secrets, a line each
//
// It prints where they stand, never what they are, and how much was searched.
// It ends with 1 if something was found or could not be read, with 2 where it
// was called wrongly. Token files hold tokens by their nature: -skip NAME
// leaves files of this name out. Package search says which forms are found.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evergrant/evergrant/canary/search"
)

// testMarks are the marks that this repository's tests put into every token.
var testMarks = []string{"c4n4ry", "EGCANARY", "CANARYmark", "Zq7canary", "cnryQ7xK"}

// words is a flag that may be given more than once.
type words []string

func (w *words) String() string     { return strings.Join(*w, " ") }
func (w *words) Set(s string) error { *w = append(*w, s); return nil }

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main with its ends exposed.
func run(args []string, stdout, stderr io.Writer) int {
	var marks, skip words
	f := flag.NewFlagSet("canary", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Var(&marks, "mark", "`text` to look for; repeatable (default: the marks of the tests)")
	f.Var(&skip, "skip", "`name` of files to leave out; repeatable")
	file := f.String("secrets", "", "`file` of secrets to look for, a line each")
	if err := f.Parse(args); err != nil {
		return 2
	}
	if f.NArg() == 0 {
		fmt.Fprintln(stderr, "canary: name the folders to search; see -help")
		return 2
	}
	s, err := prepare(marks, *file)
	if err != nil {
		fmt.Fprintln(stderr, "canary:", err)
		return 2
	}
	code := 0
	for _, dir := range f.Args() {
		err := s.Tree(dir, func(path string) bool { return slices.Contains(skip, filepath.Base(path)) })
		if err != nil {
			fmt.Fprintln(stderr, "canary:", err)
			code = 1
		}
	}
	for _, h := range s.Hits {
		fmt.Fprintln(stdout, h)
		code = 1
	}
	fmt.Fprintln(stdout, s)
	return code
}

func prepare(marks []string, file string) (*search.Search, error) {
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading the secrets: %w", err)
		}
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimSpace(line); line != "" {
				marks = append(marks, line)
			}
		}
	}
	if len(marks) == 0 {
		marks = testMarks
	}
	return search.New(marks...)
}
