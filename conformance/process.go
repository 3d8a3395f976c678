package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

// A program is what is judged.
type program struct {
	path  string
	args  []string
	limit time.Duration
	usual func() int64 // its peak of memory in a plain refresh, in bytes; 0: not known
}

// A process is one run of the program.
type process struct {
	cmd    *exec.Cmd
	out    bytes.Buffer // stdout and stderr, while they fit
	done   chan struct{}
	err    error // of Wait
	number int   // of the run in its trial, from 1

	overtime bool
	bloated  bool
	peak     int64 // bytes; 0: not known
}

// outputKept is how much of the output is searched for tokens.
const outputKept = 4 << 20

// Write keeps the output, and lets what is too much of it go.
func (p *process) Write(b []byte) (int, error) {
	if p.out.Len() < outputKept {
		p.out.Write(b)
	}
	return len(b), nil
}

// ok tells whether the program said that it succeeded.
func (p *process) ok() bool { return p.err == nil }

// exit words the exit for a problem.
func (p *process) exit() string {
	var e *exec.ExitError
	switch {
	case p.err == nil:
		return "exit code 0"
	case errors.As(p.err, &e):
		return e.String() // "exit status 1", "signal: killed"
	}
	return p.err.Error()
}

// lastWords is the last line that the program printed, if there is no token in
// it and it is short enough to be quoted.
func (p *process) lastWords() string {
	text := bytes.TrimSpace(p.out.Bytes())
	line := text[bytes.LastIndexByte(text, '\n')+1:]
	if len(line) == 0 || len(line) > 300 || bytes.Contains(line, []byte(mark)) {
		return ""
	}
	return fmt.Sprintf(", saying %q", line)
}

// start runs the program and returns at once.
func (t *trial) start() *process {
	t.runs++
	p := &process{done: make(chan struct{}), number: t.runs}
	c := exec.Command(t.program.path, fill(t.program.args, t.path, t.url, clientID)...)
	c.Env = append(os.Environ(), "TMPDIR="+t.tmp(), "XDG_STATE_HOME="+t.state(),
		"EVERGRANT_CONFORMANCE_FILE="+t.path, "EVERGRANT_CONFORMANCE_TOKEN_URL="+t.url, "EVERGRANT_CONFORMANCE_CLIENT_ID="+clientID)
	c.Stdout, c.Stderr = p, p // one writer for both: exec calls it from one goroutine
	c.WaitDelay = time.Second // grandchildren may keep the output open
	ownGroup(c)
	p.cmd = c
	if err := c.Start(); err != nil {
		t.fault(fmt.Errorf("starting the command: %w", err))
		p.err = err
		close(p.done)
		return p
	}
	go func() {
		defer close(p.done)
		p.err = c.Wait()
	}()
	return p
}

// wait waits for the end of a run, or makes it at the limit.
func (t *trial) wait(p *process) *process {
	limit := time.NewTimer(t.program.limit)
	defer limit.Stop()
	select {
	case <-p.done:
		return p
	case <-limit.C:
		p.overtime = true
		t.failf("run %d was still going after %s, and was killed", p.number, t.program.limit)
	case <-t.ctx.Done():
	}
	t.kill(p)
	return p
}

// run runs the program to its end.
func (t *trial) run() *process { return t.wait(t.start()) }

// kill ends the program and its children at once.
func (t *trial) kill(p *process) {
	if p.cmd.Process != nil {
		killGroup(p.cmd)
	}
	<-p.done
}

// watched runs the program and measures its memory; it is killed when that goes
// beyond bound.
func (t *trial) watched(bound int64) *process {
	p := t.start()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	stop := time.After(t.program.limit)
	for {
		select {
		case <-p.done:
			return p
		case <-t.ctx.Done():
			t.kill(p)
			return p
		case <-stop:
			p.overtime = true
			t.failf("run %d was still going after %s, and was killed", p.number, t.program.limit)
			t.kill(p)
			return p
		case <-tick.C:
			if now := groupMemory(p.cmd.Process.Pid); now > p.peak {
				p.peak = now
			}
			if bound > 0 && p.peak > bound {
				p.bloated = true
				t.kill(p)
				return p
			}
		}
	}
}

// plainPeak measures a refresh in which nothing is odd.
func (p *program) plainPeak(ctx context.Context) int64 {
	t, err := newTrial(ctx, p, rotating)
	if err != nil {
		return 0
	}
	defer t.close()
	t.idp.SetHabits(func(h *idptest.Habits) { h.DelayAfter = 200 * time.Millisecond })
	return t.watched(0).peak
}
