package faultmatrix_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/evergrant/evergrant"
)

// A row is one kind of trouble, with the faults that belong to it. Its id is
// that of the fault matrix it follows: section and place.
type row struct {
	id     string // such as "3.1-4"
	title  string
	faults []fault
}

// A fault is one thing that goes wrong, and what is expected then.
type fault struct {
	name string
	// want is the outcome of the refresh that meets it; "" where it is about
	// something else, which says tells then.
	want  evergrant.Outcome
	says  string // what is expected, or more about it, in words
	proof proof
}

// A proof is exactly one of three.
type proof struct {
	play   func(tr *trial) // here
	tests  []string        // elsewhere, as "folder Test/subtest"
	notYet string          // why there is none
}

// meets is a fault that one refresh runs into, arranged by set. The trial
// judges outcome and aftermath.
func meets(set func(tr *trial)) proof {
	return proof{play: func(tr *trial) { set(tr); tr.meet() }}
}

// shows is a proof of its own making. The trial still looks at the invariants.
func shows(play func(tr *trial)) proof { return proof{play: play} }

// by names tests elsewhere.
func by(tests ...string) proof { return proof{tests: tests} }

// notYet says what has to be there first.
func notYet(why string) proof { return proof{notYet: why} }

// A section is one table of the page.
type section struct {
	id, title string
	rows      []row
}

func sections() []section {
	return []section{
		{"3.1", "Network", networkRows()},
		{"3.2", "Answers of the server", answerRows()},
		{"1c", "The eighteen shapes of an honest answer", shapeRows()},
		{"3.3", "Program and machine", hostRows()},
		{"3.4", "Storage of the service", storageRows()},
		{"3.5", "Security", securityRows()},
	}
}

// TestMatrix plays the faults that are played here, one after another: file
// descriptors and goroutines are counted.
func TestMatrix(t *testing.T) {
	t.Run("warm-up", func(t *testing.T) { // what the runtime opens once is not counted
		play(t, fault{want: evergrant.Fresh, proof: sim("none")})
	})
	for _, s := range sections() {
		for _, r := range s.rows {
			for _, f := range r.faults {
				if f.proof.play != nil {
					t.Run(fmt.Sprintf("%s %s/%s", r.id, r.title, f.name), func(t *testing.T) { play(t, f) })
				}
			}
		}
	}
}

// sizes are the numbers of rows that the fault matrix has, by section: a row
// that is taken out of the table does not go unnoticed.
var sizes = map[string]int{"3.1": 12, "3.2": 17, "1c": 1, "3.3": 14, "3.4": 8, "3.5": 15}

// TestTable: no row is missing, every fault has a name of its own, says what is
// expected, and has one proof.
func TestTable(t *testing.T) {
	for _, s := range sections() {
		if len(s.rows) != sizes[s.id] {
			t.Errorf("section %s has %d rows, want %d", s.id, len(s.rows), sizes[s.id])
		}
		for i, r := range s.rows {
			if want := fmt.Sprintf("%s-%d", s.id, i+1); r.id != want {
				t.Errorf("row %q: the id is %s, want %s", r.title, r.id, want)
			}
			if len(r.faults) == 0 {
				t.Errorf("%s has no fault", r.id)
			}
			var names []string
			for _, f := range r.faults {
				if slices.Contains(names, f.name) || f.name == "" {
					t.Errorf("%s: the name %q is empty or there twice", r.id, f.name)
				}
				names = append(names, f.name)
				f.check(t, r.id)
			}
		}
	}
}

func (f fault) check(t *testing.T, id string) {
	t.Helper()
	n := 0
	for _, has := range []bool{f.proof.play != nil, len(f.proof.tests) > 0, f.proof.notYet != ""} {
		if has {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%s %s: %d kinds of proof, want 1", id, f.name, n)
	}
	if f.want == "" && f.says == "" {
		t.Errorf("%s %s: nothing is expected", id, f.name)
	}
	if strings.ContainsAny(f.name+f.says+f.proof.notYet, "|\n") {
		t.Errorf("%s %s: a text would break the page's table", id, f.name)
	}
}
