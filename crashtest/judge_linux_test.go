//go:build amd64 || arm64

package crashtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evergrant/evergrant/idptest"
)

// The ways in which no client could have kept a grant whose server rotates
// without grace (§2.2 of the crash analysis): it took the request, and the
// only copy of the new refresh token was
const (
	lostOnTheWay = "reply not read"            // in an answer that the program never got
	lostInMemory = "reply read, write not yet" // in memory that ended with the program
	lostInCache  = "written, not yet synced"   // in the system's memory when the power was cut
)

// A story is one broken run and what came after it, as it is told when a
// promise was broken.
type story struct {
	b      *bed
	where  string // how to break it again
	calls  []call // of the broken run; nil: not traced to the end
	runs   []result
	faults []string
	loss   string // one of the constants above; "": none could be excused
	healed bool
	pause  func(time.Duration) // waits without keeping a slot
	cut    bool                // the power was cut too
	sieve  *sieve              // nil: nothing was searched yet
}

func (s *story) fault(format string, args ...any) {
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

// tell is the whole story for a person who wants to see it again.
func (s *story) tell() string {
	var t strings.Builder
	fmt.Fprintf(&t, "%s\n", s.where)
	for _, f := range s.faults {
		fmt.Fprintf(&t, "  broken: %s\n", f)
	}
	for i, r := range s.runs {
		fmt.Fprintf(&t, "  run %d: %s\n", i+1, r)
	}
	for _, e := range s.b.idp.TokenRequests(s.b.grant.ID) {
		fmt.Fprintf(&t, "  server: generation %d, %s, processed %t, delivered %t\n", e.Generation, e.Verdict, e.Processed, e.Delivered)
	}
	last := s.calls[max(0, len(s.calls)-8):]
	for _, c := range last {
		fmt.Fprintf(&t, "  trace: %d %s(%s\n", c.pid, c.name, c.text)
	}
	return t.String()
}

// next makes a fresh run and checks what is true of every run: no token in
// what it says (the result of the token command apart) and at most so many
// requests.
func (s *story) next(atMost int, command ...string) result {
	before := s.b.sent()
	r, err := s.b.run(command...)
	if err != nil {
		s.fault("running it: %v", err)
	}
	s.runs = append(s.runs, r)
	s.clean(r, command[0] == "token")
	if n := s.b.sent() - before; n > atMost {
		s.fault("%s sent %d requests, at most %d were due", strings.Join(command, " "), n, atMost)
	}
	return r
}

// whole checks that the token file is one of the documents it can be: as it
// was, or with tokens that the server issued for this grant in one answer.
func (s *story) whole() {
	access, refresh, err := s.b.stored()
	if err != nil {
		s.fault("%v", err)
		return
	}
	data, _ := os.ReadFile(s.b.file)
	if bytes.Equal(data, s.b.old) {
		return
	}
	of, _, _ := s.b.idp.FindAccess(access)
	if rt, _, _ := s.b.idp.Find(refresh); of != s.b.grant.ID || rt != s.b.grant.ID {
		s.fault("the token file holds tokens of %q and %q", of, rt)
	}
	if !bytes.HasSuffix(data, []byte("}")) || bytes.Count(data, []byte("\r\n")) != bytes.Count(s.b.old, []byte("\r\n")) {
		s.fault("the token file lost its form: %d bytes", len(data))
	}
}

// living says that the refresh token on disk is the one the server accepts.
func (s *story) living() bool {
	_, refresh, err := s.b.stored()
	if err != nil {
		return false
	}
	_, _, living := s.b.idp.Find(refresh)
	return living
}

// excuse finds out why no client could have the new refresh token. It is
// excused only if the server took the request, rotates, and the program had
// not yet written the answer anywhere: from the first whole write on, the
// token must be found again.
func (s *story) excuse() string {
	if !s.b.habits.Rotation || s.b.grace || s.b.processed() == s.b.began {
		return ""
	}
	return missing(s.calls, s.cut)
}

// missing is where the answer was at the end of a trace: "" once it has been
// written into a file, or, where the power was cut, into a file that was synced.
// A program that put the file into its place without a sync had its chance.
func missing(calls []call, cut bool) string {
	where := lostOnTheWay
	for _, c := range calls {
		kept := strings.Contains(c.on, "reserved") || strings.Contains(c.on, "answer") || strings.Contains(c.on, "rescue")
		switch {
		case !c.done():
		case c.on == "socket" && strings.Contains(c.text, "HTTP/1.1 ") && (c.name == "read" || c.name == "recvfrom"):
			where = lostInMemory
		case where == lostInMemory && kept && (c.name == "write" || c.name == "pwrite64"):
			where = lostInCache
		case where == lostInCache && kept && (c.name == "fsync" || c.name == "fdatasync" || c.on == "answer>token"):
			return ""
		}
	}
	if where == lostInCache && !cut {
		return ""
	}
	return where
}

// arrive waits until the server has taken what the broken run sent.
func (s *story) arrive() {
	left := slices.ContainsFunc(s.calls, func(c call) bool {
		return c.on == "socket" && (c.name == "write" || c.name == "sendto") && c.done()
	})
	for range 500 {
		if !left || s.b.sent() > s.b.began {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if !s.b.idp.WaitIdle(10 * time.Second) {
		s.fault("the server is still busy")
	}
}

// heal lets fresh runs find what the broken one left, and judges them by what
// the server knows.
func (s *story) heal() {
	s.arrive()
	s.whole()
	s.loss = s.excuse()
	if !s.b.expired {
		s.serves()
	}
	s.refreshes()
	s.healed = s.living()
	switch {
	case s.healed:
		s.loss = ""
		s.tidy()
	case s.loss == "":
		s.fault("AVOIDABLE LOSS: the refresh token on disk is not the living one, and the answer had been written")
	}
}

// serves: the access token at hand has not ended, so that one is printed and
// nothing is sent, whatever happened (P6). Where a grace window is open, even
// this command asks again for what was lost.
func (s *story) serves() {
	due := 0
	if s.b.grace {
		due = 1
	}
	r := s.next(due, "token")
	of, _, living := s.b.idp.FindAccess(strings.TrimSpace(r.out))
	if r.exit != 0 || of != s.b.grant.ID || !living {
		s.fault("a valid access token was not served")
	}
}

// refreshes asks for a refresh until there is a new token or the provider's
// verdict.
func (s *story) refreshes() {
	open := s.inDoubt()
	due := 1
	if s.loss != "" && !s.b.expired {
		due = 0 // it must see that its request may be under way
	}
	if s.b.expired && s.loss != "" {
		s.await(open)
	}
	r := s.next(due, "refresh")
	if r.exit == 0 {
		return
	}
	if r.exit == 4 && strings.Contains(r.err, "reply to a refresh was lost at ") {
		if s.b.grace || !s.mayDoubt() {
			s.fault("in doubt without need")
		}
		s.await(s.inDoubt())
		r = s.next(1, "refresh", "--replay")
	}
	if r.exit == 0 && s.loss == "" {
		return
	}
	if s.loss == "" {
		s.fault("refresh does not heal: exit %d", r.exit)
		return
	}
	s.verdict(r)
}

// mayDoubt reports whether the request may have left and its answer was not
// kept: everything else can be known from the files, without a doubt. After a
// power cut it is also not known whether what was prepared was sent.
func (s *story) mayDoubt() bool {
	if missing(s.calls, s.cut) == "" {
		return false
	}
	marked := func(c call) bool { return c.key == "pwrite64 side #1" && c.done() }
	return s.cut || slices.ContainsFunc(s.calls, marked)
}

// verdict: the provider has said no, and a person is told the true cause.
func (s *story) verdict(r result) {
	if r.exit != 3 || !strings.Contains(r.err, "the reply to a refresh was lost at ") || !strings.Contains(r.err, "hint: ") {
		s.fault("after the verdict: exit %d, want 3 with the reply that was lost", r.exit)
	}
	if again := s.next(0, "refresh"); again.exit != 3 {
		s.fault("after the verdict: the next run's exit is %d, want 3", again.exit)
	}
}

// inDoubt is until when the request of the broken run may still arrive; zero
// if none is open.
func (s *story) inDoubt() time.Time {
	j, err := s.b.journal()
	switch {
	case err != nil:
		s.fault("the side file: %v", err)
	case j.Doubt != nil:
		return j.Doubt.Deadline
	case j.Intent != nil:
		return j.Intent.Deadline
	}
	return time.Time{}
}

func (s *story) await(deadline time.Time) {
	if wait := time.Until(deadline) + 20*time.Millisecond; !deadline.IsZero() && wait > 0 {
		s.pause(wait)
	}
}

// tidy: a healed grant has nothing left open beside it.
func (s *story) tidy() {
	j, err := s.b.journal()
	if err != nil || j.Intent != nil || j.Doubt != nil {
		s.fault("the side file is not closed: %+v, %v", j, err)
	}
	entries, err := os.ReadDir(s.b.box)
	if err != nil {
		s.fault("%v", err)
	}
	for _, e := range entries {
		switch e.Name() {
		case "token.json", ".token.json.evergrant", ".token.json.evergrant.lock":
		default:
			s.fault("left behind: %s", e.Name())
		}
	}
	if left := s.b.rescued(); len(left) > 0 {
		s.fault("left behind: %q", left)
	}
	if err := free(s.b.side() + ".lock"); err != nil {
		s.fault("the lock: %v", err)
	}
	if why := s.b.idp.GrantState(s.b.grant.ID).Why; why != "" {
		s.fault("the server revoked the grant: %s", why)
	}
	for g, n := range s.successes() {
		if n > 1 {
			s.fault("generation %d was refreshed %d times", g, n)
		}
	}
}

// successes counts the requests by the generation they presented, refusals
// left out (P1). A server that does not rotate, or has a grace window, counts
// in another way: there each run was counted by next.
func (s *story) successes() map[int]int {
	n := map[int]int{}
	if !s.b.habits.Rotation || s.b.grace {
		return n
	}
	for _, e := range s.b.idp.TokenRequests(s.b.grant.ID) {
		if e.Verdict == idptest.Issued || e.Verdict == idptest.Reuse {
			n[e.Generation]++
		}
	}
	return n
}

// free takes the lock and gives it back.
func free(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}
