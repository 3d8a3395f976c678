//go:build amd64 || arm64

package crashtest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestStrace checks the tracer by a tool nobody here wrote: strace(1) sees the
// same calls on the same files in the same order, and a kill by strace heals
// like one by the tracer.
func TestStrace(t *testing.T) {
	t.Parallel()
	uncached(t)
	b, err := newBed(refreshRotating, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	_, calls, err := b.follow(b.args(b.timeout, b.command...), none)
	if err != nil {
		t.Fatal(err)
	}
	other, err := newBed(refreshRotating, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	r, seen, err := other.strace("")
	if err != nil || r.exit != 0 {
		t.Fatalf("under strace: %v %v", r, err)
	}
	ours, theirs := keys(calls), keys(seen)
	for _, k := range ours {
		if !slices.Contains(theirs, k) {
			t.Errorf("strace did not see %s", k)
		}
	}
	for _, k := range theirs {
		if !slices.Contains(ours, k) {
			t.Errorf("the tracer did not see %s", k)
		}
	}
	killedByStrace(t)
}

// keys are the calls that decide, in order. What only looks, or belongs to the
// runtime's way of polling, may come once more or less.
func keys(calls []call) []string {
	var all []string
	for _, c := range calls {
		if c.key == "" || c.name == "openat" && (c.on == "token" || c.on == "side") { // a file that is older than a tick is not read again
			continue
		}
		switch c.name {
		case "openat", "write", "pwrite64", "fsync", "ftruncate", "fallocate", "fchmod", "flock", "renameat", "renameat2", "connect":
			all = append(all, c.key)
		}
	}
	return all
}

func killedByStrace(t *testing.T) {
	for n := 1; n <= 3; n++ {
		b, err := newBed(refreshRotating, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		r, calls, err := b.strace(fmt.Sprintf("fsync:signal=SIGKILL:when=%d", n))
		if err != nil {
			t.Fatal(err)
		}
		s := &story{b: b, calls: calls, runs: []result{r}, pause: time.Sleep, where: fmt.Sprintf("refresh with strace -e inject=fsync:signal=SIGKILL:when=%d", n)}
		total.add(func(c *counts) { c.points++ })
		if r.signal == syscall.SIGKILL {
			total.add(func(c *counts) { c.kills["refresh"]++ })
			s.heal()
			s.close(t)
		} else if n == 1 {
			t.Errorf("strace did not kill it: %v", r)
		}
		b.close()
	}
}

// strace runs the scene's command under strace. inject is what follows
// "-e inject="; "" injects nothing. strace counts the calls by thread, so what
// is hit varies from run to run.
func (b *bed) strace(inject string) (result, []call, error) {
	log := filepath.Join(b.root, "trace")
	args := b.args(b.timeout, b.command...)
	opts := []string{"-f", "-y", "-qq", "-s", "40", "-o", log, "-e", "trace=" + traced()}
	if inject != "" {
		opts = append(opts, "-e", "inject="+inject)
	}
	cmd, out, errs := b.start(stracePath, append(append(opts, binary), args...)...)
	cmd.Run() // its end is in the result
	data, err := os.ReadFile(log)
	return ended(cmd, out, errs, args), parse(data, b), err
}

// traced names the calls that the tracer knows, for strace.
func traced() string {
	var names []string
	for _, s := range shapes {
		names = append(names, s.name)
	}
	return strings.Join(names, ",")
}

var (
	lineForm    = regexp.MustCompile(`^(\d+) +(.*)$`)
	callForm    = regexp.MustCompile(`^(\w+)\((.*)$`)
	resumedForm = regexp.MustCompile(`^<\.\.\. (\w+) resumed>(.*)$`)
	retForm     = regexp.MustCompile(`(?s)^(.*)\) += (.*)$`)
	descForm    = regexp.MustCompile(`\d+<([^>]*)>`)
	nameForm    = regexp.MustCompile(`"([^"]*)"`)
)

// parse reads a trace.
func parse(log []byte, b *bed) []call {
	var calls []call
	open := map[int]int{} // by thread: the call that has not returned
	byKey := map[string]int{}
	for line := range strings.SplitSeq(string(log), "\n") {
		m := lineForm.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		pid, _ := strconv.Atoi(m[1])
		if r := resumedForm.FindStringSubmatch(m[2]); r != nil {
			if i, ok := open[pid]; ok && calls[i].name == r[1] {
				calls[i].finish(calls[i].text + r[2])
			}
			delete(open, pid)
			continue
		}
		c := callForm.FindStringSubmatch(m[2])
		if c == nil {
			continue // a signal or an exit
		}
		n := call{pid: pid, name: c[1]}
		text, unfinished := strings.CutSuffix(c[2], " <unfinished ...>")
		if n.finish(text); unfinished {
			open[pid] = len(calls)
		}
		n.on = about(words(n.name, text), b)
		if n.on != "" {
			byKey[n.name+" "+n.on]++
			n.key = fmt.Sprintf("%s %s #%d", n.name, n.on, byKey[n.name+" "+n.on])
		}
		calls = append(calls, n)
	}
	return calls
}

func (c *call) finish(text string) {
	c.text = text
	if r := retForm.FindStringSubmatch(text); r != nil && r[2] != "?" {
		c.ret = r[2]
	}
}

// words are the files that a line of strace names.
func words(name, text string) []string {
	if name == "socket" || name == "connect" {
		return []string{"socket:"}
	}
	var words []string
	for _, m := range descForm.FindAllStringSubmatch(text, -1) {
		words = append(words, m[1])
	}
	if !strings.Contains(name, "read") && !strings.Contains(name, "write") || name == "readlinkat" {
		for _, m := range nameForm.FindAllStringSubmatch(text, -1) {
			words = append(words, m[1])
		}
	}
	return words
}
