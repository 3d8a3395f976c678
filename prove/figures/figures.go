// Package figures is how tests hand what they counted to `make prove`. A test
// calls
//
//	figures.Add(figures.Figure{Name: figures.Kills, Kind: "refresh", N: 212})
//
// which appends a line of JSON to the file that the environment variable
// EVERGRANT_FIGURES names:
//
//	{"name":"kill points","kind":"refresh","n":212}
//
// Without the variable nothing happens, so that an ordinary `go test` leaves no
// file behind. Each line is one write to the end of the file: several processes
// may add at the same time. Lines with the same name and kind are added up by
// the reader; nothing is ever taken back.
//
// Figures count what has happened, not what was meant to. A test adds them when
// it is over, whether it passed or failed, and says with a note what it left
// out and why.
//
// Only tests and programs at the upper edge import this package.
package figures

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Variable is the environment variable that names the file.
const Variable = "EVERGRANT_FIGURES"

// Names of figures. In brackets what the kind says.
const (
	Kills       = "kill points"        // runs of the real program ended by SIGKILL before a system call [command]
	Terms       = "SIGTERM points"     // the same with SIGTERM [command]
	Errors      = "injected errors"    // system calls that were made to fail [call and error]
	Cuts        = "power cuts"         // file systems stopped and mounted again [file system]
	Pairs       = "broken pairs"       // processes killed or paused while others waited for their lock [what was done]
	Missed      = "points not met"     // points that did not come up, in any of some tries
	Faults      = "simulated faults"   // what went wrong in a simulated world [fault]
	Delays      = "simulated delays"   // what was only slow there [what]
	Crashes     = "simulated crashes"  // keepers that ended or were suspended there [step]
	Years       = "grant-years"        // simulated time, in years of 365.25 days, of all grants together
	Grants      = "grants"             // simulated grants, by server class [class]
	Requests    = "requests judged"    // token requests in the ledgers of the simulated servers
	Calls       = "calls"              // calls of the library in simulated time
	Checks      = "invariant checks"   // moments at which all invariants were looked at
	States      = "model states"       // worlds that the model visited [exploration]
	Ways        = "ways to lose"       // kinds of unavoidable loss that the model reached [server class and cause]
	Rules       = "rules left out"     // rules of the protocol that were left out of the model, and missed
	Compared    = "cases compared"     // outcomes of the engine compared with the model's
	Histories   = "histories checked"  // of several processes, by Porcupine
	Steps       = "steps in histories" // operations in these
	Bytes       = "bytes searched"     // for canaries [what left them]
	Artefacts   = "artefacts searched" // files, outputs and samples of /proc
	Commands    = "commands run"       // whose artefacts were searched
	Leaks       = "leaks"              // canaries found
	Caught      = "mutations caught"   // changes that break a promise and that a test noticed [promise]
	Survived    = "mutations survived" // changes that no test noticed [id]
	Cases       = "conformance cases"  // passed [group]
	Failed      = "failed cases"       // conformance cases that failed [group]
	Healed      = "healed"             // broken runs after which the stored refresh token was the living one
	Unavoidable = "unavoidable losses" // losses that no client could have kept from happening [class]
	Avoidable   = "avoidable losses"   // losses that a client could have: there may be none
	Skipped     = "skipped"            // [what was not done: the name of a figure, with its kind]; the note says why
	Seed        = "seed"               // [of what]; the note is the seed
)

// A Figure is one line: a number with a name.
type Figure struct {
	Name string  `json:"name"`
	Kind string  `json:"kind,omitempty"` // a part of what the name counts; "": not divided
	N    float64 `json:"n"`
	Note string  `json:"note,omitempty"` // of Skipped and Seed
}

// Add appends figures to the file that the environment names. It does nothing
// and returns nil if it names none.
func Add(list ...Figure) (err error) {
	path := os.Getenv(Variable)
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("adding figures: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for _, g := range list {
		line, err := json.Marshal(g)
		if err != nil {
			return fmt.Errorf("adding %s: %w", g.Name, err)
		}
		if _, err := f.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("adding %s: %w", g.Name, err)
		}
	}
	return nil
}

// ByKind makes a figure of each entry of a map.
func ByKind(name string, count map[string]int) []Figure {
	var list []Figure
	for kind, n := range count {
		list = append(list, Figure{Name: name, Kind: kind, N: float64(n)})
	}
	return list
}

// Read reads lines as Add writes them. A line without a name is an error.
func Read(r io.Reader) ([]Figure, error) {
	var list []Figure
	for s := bufio.NewScanner(r); ; {
		if !s.Scan() {
			return list, s.Err()
		}
		var g Figure
		if err := json.Unmarshal(s.Bytes(), &g); err != nil {
			return nil, fmt.Errorf("reading figure %d: %w", len(list)+1, err)
		}
		if g.Name == "" {
			return nil, fmt.Errorf("reading figure %d: it has no name", len(list)+1)
		}
		list = append(list, g)
	}
}
