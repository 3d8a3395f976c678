package interop_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/evergrant/evergrant/canary/search"
	"github.com/evergrant/evergrant/prove/figures"
)

// The tokens here are made by servers that others wrote, and carry no mark: what
// is searched for is what the binary was asked to show.

// shortest is the least length of a token that is searched for.
const shortest = 12

// A sieve keeps what the commands of a test told. The zero value is ready.
type sieve struct {
	mu     sync.Mutex
	texts  map[string]string // by what it is
	tokens []string
	n      int
}

// note keeps what a command told, and the tokens that it showed because it was
// asked to.
func (s *sieve) note(args []string, r result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.texts == nil {
		s.texts = map[string]string{}
	}
	s.n++
	name := fmt.Sprintf("command %d (%s)", s.n, args[0])
	s.texts[name+", stderr"] = r.stderr
	if shown := tokensIn(args, r.stdout); len(shown) > 0 {
		s.tokens = append(s.tokens, shown...)
		return
	}
	if !slices.Contains(showing, args[0]) {
		s.texts[name+", stdout"] = r.stdout
	}
}

// showing are the commands that show a token on stdout.
var showing = []string{"token", "export", "exec", "proxy", "git-credential"}

// tokensIn are the tokens that a command showed.
func tokensIn(args []string, stdout string) []string {
	var list []string
	switch args[0] {
	case "token":
		if words := strings.Fields(stdout); len(words) == 1 {
			list = words
		}
	case "export":
		var a tokenAnswer
		if json.Unmarshal([]byte(stdout), &a) == nil {
			list = a.secrets()
		}
	}
	return slices.DeleteFunc(list, func(t string) bool { return len(t) < shortest })
}

// search looks for every token that was ever shown, and for those of the grants
// that are still kept, in all other output and in the home folder with the
// sealed store.
func (c *command) search(t *testing.T) {
	for _, file := range c.grants() {
		cmd := exec.Command(c.bin, "export", file, "--format", "token-response")
		cmd.Env = append(os.Environ(), c.env...)
		if out, err := cmd.Output(); err == nil {
			c.told.note([]string{"export"}, result{stdout: string(out)})
		}
	}
	s := &c.told
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.tokens)
	tokens := slices.Compact(s.tokens)
	if len(tokens) == 0 {
		return
	}
	found, err := search.New(tokens...)
	if err != nil {
		t.Error(err)
		return
	}
	for name, text := range s.texts {
		found.Text(name, text)
	}
	if err := found.Tree(c.home, nil); err != nil {
		t.Error(err)
	}
	for _, hit := range found.Hits {
		t.Errorf("a token stands in %v", hit)
	}
	err = figures.Add(figures.Figure{Name: figures.Commands, N: float64(s.n)}, figures.Figure{Name: figures.Bytes, Kind: "commands at servers of others", N: float64(found.Bytes)},
		figures.Figure{Name: figures.Artefacts, N: float64(found.Items)}, figures.Figure{Name: figures.Leaks, N: float64(len(found.Hits))})
	if err != nil {
		t.Error(err)
	}
}

// grants are the names that the store knows.
func (c *command) grants() []string {
	cmd := exec.Command(c.bin, "list", "--json")
	cmd.Env = append(os.Environ(), c.env...)
	out, err := cmd.Output()
	if err != nil {
		return nil // a test without a store
	}
	var rows []struct {
		Name string `json:"name"`
	}
	if json.Unmarshal(out, &rows) != nil {
		return nil
	}
	var names []string
	for _, r := range rows {
		names = append(names, r.Name)
	}
	return names
}

// TestSieve: a token that was shown is found in what another command told, and
// nowhere where it was asked for.
func TestSieve(t *testing.T) {
	const token = "eyJhbGciOi.abcdef.ghijkl"
	var s sieve
	s.note([]string{"token", "work"}, result{stdout: token + "\n"})
	s.note([]string{"export", "work"}, result{stdout: `{"access_token":"short","refresh_token":"rt-0123456789"}`})
	s.note([]string{"status", "work"}, result{stdout: "fresh", stderr: "sent " + token})
	if want := []string{token, "rt-0123456789"}; !slices.Equal(s.tokens, want) {
		t.Errorf("the tokens are %q", s.tokens)
	}
	found, err := search.New(s.tokens...)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range s.texts {
		found.Text(name, text)
	}
	if len(found.Hits) != 1 || found.Hits[0].Where != "command 3 (status), stderr" {
		t.Errorf("found %v", found.Hits)
	}
}
