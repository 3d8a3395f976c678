package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/term"

	"github.com/evergrant/evergrant"
)

// ui is how commands talk: results to stdout, everything else to stderr.
// Meaning is never carried by colour, so there is none.
type ui struct {
	json  bool
	quiet bool
	done  string // what a command has done that a lost result does not undo

	out *buffered
	err io.Writer

	mu     sync.Mutex      // watch talks from several goroutines; guards out in flushed, and all below
	status string          // what stands in the last line of the terminal; "" if nothing
	told   map[string]bool // what each try of a command would say again
}

// buffered collects a result, so that it leaves in one write, and after a
// command that fails not at all.
type buffered struct {
	bytes.Buffer
	to io.Writer
}

func newUI(out, err io.Writer) *ui { return &ui{out: &buffered{to: out}, err: err} }

// flush writes the collected result.
func (u *ui) flush() error {
	if u.out.Len() == 0 {
		return nil
	}
	_, err := u.out.to.Write(u.out.Bytes())
	u.out.Reset()
	if err != nil {
		return outputError{err, u.done}
	}
	return nil
}

// outputError: the result could not be written. What was done stays done.
type outputError struct {
	error
	done string
}

func (e outputError) Error() string {
	if e.done == "" {
		return "the output could not be written: " + e.error.Error()
	}
	return e.done + "; the output could not be written: " + e.error.Error()
}

func (e outputError) Unwrap() error { return e.error }
func (e outputError) Hint() string {
	return "make room where standard output goes to, or let it go elsewhere"
}

// nobodyReads: whoever read the output has gone, as `head` does, and needs no
// message.
func nobodyReads(err error) bool {
	return errors.As(err, new(outputError)) && errors.Is(err, syscall.EPIPE)
}

// printf adds to the result.
func (u *ui) printf(format string, args ...any) { fmt.Fprintf(u.out, format, args...) }

// now adds to the result and writes it at once, for commands that go on. It
// may be called by several goroutines.
func (u *ui) now(format string, args ...any) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.clearStatus()
	u.printf(format, args...)
	return u.flush()
}

// record is now for a JSON result on one line.
func (u *ui) record(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return u.now("%s\n", b)
}

// value adds a JSON result.
func (u *ui) value(v any) error {
	e := json.NewEncoder(u.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// say prints a message to stderr unless --quiet.
func (u *ui) say(format string, args ...any) {
	if !u.quiet && !u.json {
		u.line("evergrant: " + fmt.Sprintf(format, args...))
	}
}

// warn prints a message with its next step to stderr, --quiet or not: quiet
// leaves out what is merely good to know.
func (u *ui) warn(says, do string) {
	if u.json {
		u.jsonLine(map[string]string{"warning": says, "hint": do})
		return
	}
	u.line("evergrant: warning: " + says)
	if do != "" {
		u.line("hint: " + do)
	}
}

func (u *ui) line(text string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.clearStatus()
	fmt.Fprintln(u.err, printable(text))
}

// raw prints what is drawn for a terminal, as it is.
func (u *ui) raw(drawn string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.clearStatus()
	io.WriteString(u.err, drawn)
}

// patience is how long a command may be silent on a terminal before it says
// what it is at.
const patience = 700 * time.Millisecond

// working shows what a command is at, and for how long already, in the last
// line of a terminal, until the returned function is called. Elsewhere it shows
// nothing: logs are no place for progress.
func (u *ui) working(what string) (done func()) {
	if !u.terminal() {
		return func() {}
	}
	began, stop := time.Now(), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTimer(patience)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				text := "evergrant: " + what + " …"
				if took := time.Since(began); took > time.Second {
					text += " " + brief(took.Truncate(time.Second))
				}
				u.showStatus(text)
				tick.Reset(time.Second)
			}
		}
	})
	return func() {
		close(stop)
		wg.Wait()
		u.showStatus("")
	}
}

// showStatus replaces the last line of the terminal; "" clears it.
func (u *ui) showStatus(text string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.clearStatus()
	u.status = printable(text)
	io.WriteString(u.err, u.status)
}

func (u *ui) clearStatus() {
	if u.status != "" {
		io.WriteString(u.err, "\r\x1b[K") // erase in line (ECMA-48 §8.3.41)
		u.status = ""
	}
}

func (u *ui) jsonLine(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		b = []byte(`{"error":"unprintable"}`)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	fmt.Fprintf(u.err, "%s\n", b)
}

// failed is an error as JSON.
type failed struct {
	Error   string     `json:"error"`
	Hint    string     `json:"hint"`
	Exit    int        `json:"exit"`
	Outcome string     `json:"outcome,omitempty"`
	Rule    string     `json:"rule,omitempty"`
	Code    string     `json:"code,omitempty"`
	Detail  string     `json:"detail,omitempty"`
	InDoubt *time.Time `json:"in_doubt_since,omitempty"`
	Retry   float64    `json:"retry_after_s,omitempty"`
	Path    string     `json:"path,omitempty"`
}

// failure makes an error presentable: every one has a next step.
func failure(err error) failed {
	f := failed{Error: err.Error(), Hint: "run it again with -v to see more; if it stays, report it", Exit: exitCode(err)}
	var e *evergrant.Error
	if errors.As(err, &e) {
		f.Outcome, f.Rule, f.Code, f.Detail, f.Path = string(e.Outcome), e.Rule, e.Code, e.Detail, e.Path
		f.Retry = e.RetryAfter.Seconds()
		if !e.InDoubt.IsZero() {
			f.InDoubt = &e.InDoubt
		}
	}
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		f.Hint = h.Hint()
	}
	return f
}

// fail prints an error with its next step.
func (u *ui) fail(err error) {
	f := failure(err)
	if u.json {
		u.jsonLine(f)
		return
	}
	u.line("evergrant: " + f.Error)
	u.line("hint: " + f.Hint)
}

// event prints what happens on the way. What stays true from try to try is
// said once.
func (u *ui) event(e evergrant.Event) {
	switch e := e.(type) {
	case evergrant.Identified:
		if u.first("identified " + e.Grant + " " + e.TokenURL) {
			u.say("%s: the token endpoint is %s (provider %s); remembered after the first success", e.Grant, e.TokenURL, orDash(e.Provider))
		}
	case evergrant.Retrying:
		u.say("%s; trying again in %s", clause(e.Says), brief(e.After))
	case evergrant.Waiting:
		u.say("%s; waiting until %s", clause(e.Says), local(e.Until))
	case evergrant.Held:
		u.warn(e.Says, "")
	case evergrant.Noted:
		if u.first(e.Says) {
			u.warn(e.Says, e.Do)
		}
	}
}

// first reports whether a thing has not been said yet.
func (u *ui) first(says string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.told[says] {
		return false
	}
	if u.told == nil {
		u.told = make(map[string]bool)
	}
	u.told[says] = true
	return true
}

// terminal reports whether stderr is one that can rewrite a line.
func (u *ui) terminal() bool {
	f, ok := u.err.(*os.File)
	return ok && !u.quiet && !u.json && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// counted is a number of things.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// clause makes a sentence ready to be continued.
func clause(s string) string { return strings.TrimSuffix(strings.TrimSpace(s), ".") }

// printable takes the control and direction characters out of text that may
// come from a provider: a terminal obeys them.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && r != '\n' && (unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control)) {
			return -1
		}
		return r
	}, s)
}

// brief prints a duration as a person says it: its largest unit, and the next
// one where it matters.
func brief(d time.Duration) string {
	switch {
	case d <= 0:
		return "0s"
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return units(d.Round(time.Second), time.Minute, "m", time.Second, "s")
	case d < 48*time.Hour:
		return units(d.Round(time.Minute), time.Hour, "h", time.Minute, "m")
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

func units(d, large time.Duration, largeName string, small time.Duration, smallName string) string {
	s := fmt.Sprintf("%d%s", d/large, largeName)
	if rest := d % large / small; rest > 0 {
		s += fmt.Sprintf("%d%s", rest, smallName)
	}
	return s
}

// ago says how long something is past.
func ago(t time.Time) string {
	if d := time.Since(t); d >= time.Second {
		return brief(d.Round(time.Second)) + " ago"
	}
	return "just now"
}

// local prints a time in the zone of the machine.
func local(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 MST") }

// until prints a moment with its distance from now.
func until(t time.Time) string {
	if d := time.Until(t); d > 0 {
		return local(t) + " (in " + brief(d.Round(time.Second)) + ")"
	}
	return local(t) + " (" + ago(t) + ")"
}
