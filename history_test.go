package evergrant_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

// step is one operation on the token file, by a process or a goroutine: when
// it was called and returned, and the token it came back with.
type step struct {
	name        string // unique; the request it sends carries it as the name of a parameter
	kind        string // token, refresh or login
	source      string // which Source of this process it used; "": a process of its own
	call, ended time.Duration
	saw         int  // order of the token it returned; 0: none
	killed      bool // its process was killed
	report      string
}

// order numbers tokens so that a newer one is greater: those of a later login
// come after all of an earlier one.
func order(login, number int) int { return login*1_000_000 + number }

// issue is what the provider's ledger says of one token request.
type issue struct {
	by       string // name of the step or the Source that sent it
	grant    string
	at       time.Duration
	spent    int  // generation of the refresh token that was presented
	accepted bool // tokens were issued for it
	reuse    bool // the token had been spent: the family ended
	order    int  // of the access token that was issued; 0: none
}

// staleness is how long the fast path of a Source may serve what it has without
// a look at the file (recheck in source.go): by so much may a read of it lie in
// the past.
const staleness = time.Second

// The register that the file must behave like. Its value is the order of the
// newest token.
type (
	login  int // somebody logged in: never backwards
	issued int // the provider issued this token: from some moment on it may be seen
	read   int // a step returned this token: it was the newest at some moment of the step
)

var register = porcupine.Model{
	Init: func() any { return 0 },
	Step: func(state, input, _ any) (bool, any) {
		now := state.(int)
		switch v := input.(type) {
		case login:
			return int(v) > now, int(v)
		case issued:
			return true, max(now, int(v)) // one that came after a login has no effect
		case read:
			return int(v) == now, now
		}
		return false, now
	},
}

// unclear is a history that cannot be judged in time: the search for an order is
// exponential, and seldom one has too many steps at once.
const unclear = "Porcupine came to no conclusion in time"

// checkHistory says what is wrong with a run: with what the callers saw, by
// Porcupine and by the rule of an explicit refresh, and with what the provider
// saw. "" is a correct history.
func checkHistory(steps []step, ledger []issue, begun int) string {
	seen := porcupine.CheckOperationsTimeout(register, operations(steps, ledger, begun), time.Minute)
	if seen == porcupine.Illegal {
		return "what the callers saw is not linearizable"
	}
	for _, check := range []func([]step, []issue) string{checkRefreshes, checkSources, checkLedger} {
		if wrong := check(steps, ledger); wrong != "" {
			return wrong
		}
	}
	if seen == porcupine.Unknown {
		return unclear
	}
	return ""
}

// operations turns steps into operations of the register. begun is the token
// that the file begins with.
func operations(steps []step, ledger []issue, begun int) []porcupine.Operation {
	ops := []porcupine.Operation{{Input: login(begun), Call: -int64(2 * staleness), Return: -int64(2*staleness) + 1}}
	first := map[int]int64{} // when a token had been returned at the latest
	for _, s := range distinct(steps) {
		op := porcupine.Operation{Input: read(s.saw), Call: int64(s.call), Return: int64(s.ended)}
		if s.kind == "login" {
			op.Input = login(s.saw)
		}
		if end, ok := first[s.saw]; !ok || op.Return < end {
			first[s.saw] = op.Return
		}
		ops = append(ops, op)
	}
	for _, e := range ledger {
		if end, ok := first[e.order]; ok { // what nobody saw says nothing
			ops = append(ops, porcupine.Operation{Input: issued(e.order), Call: int64(e.at), Return: max(end, int64(e.at)+1)})
		}
	}
	return ops
}

// distinct leaves out steps that saw nothing, and such reads as are implied by
// another one of the same token within their time: Porcupine's work grows
// steeply with what may have happened at once.
func distinct(steps []step) []step {
	var kept []step
	for _, s := range steps {
		if s.kind == "token" && s.source != "" {
			s.call -= staleness
		}
		implies := func(o step) bool { return o.saw == s.saw && o.call >= s.call && o.ended <= s.ended }
		if s.saw == 0 || s.kind != "login" && slices.ContainsFunc(kept, implies) {
			continue
		}
		kept = slices.DeleteFunc(kept, func(o step) bool {
			return o.kind != "login" && o.saw == s.saw && s.call >= o.call && s.ended <= o.ended
		})
		kept = append(kept, s)
	}
	return kept
}

// checkRefreshes: an explicit refresh returns something newer than all that was
// returned before it began. A Source may be behind what others returned by its
// staleness: a login of that moment may count as news to it.
func checkRefreshes(steps []step, _ []issue) string {
	for _, s := range steps {
		for _, old := range steps {
			known := old.ended
			if s.source != "" && s.source != old.source {
				known += staleness
			}
			if s.kind == "refresh" && s.saw != 0 && known < s.call && old.saw >= s.saw {
				return fmt.Sprintf("%s began after %s had returned %d and returned %d", s.name, old.name, old.saw, s.saw)
			}
		}
	}
	return ""
}

// checkSources: what one Source hands out never goes backwards, however long
// its fast path may serve.
func checkSources(steps []step, _ []issue) string {
	for _, s := range steps {
		for _, old := range steps {
			if s.source != "" && s.source == old.source && s.saw != 0 && old.ended < s.call && old.saw > s.saw {
				return fmt.Sprintf("%s returned %d to %s after %d to %s", s.source, s.saw, s.name, old.saw, old.name)
			}
		}
	}
	return ""
}

// checkLedger: at most one accepted request carries a refresh token. A spent
// one is sent again only where the answer died with a killed process.
func checkLedger(steps []step, ledger []issue) string {
	killed := map[string]bool{}
	for _, s := range steps {
		killed[s.name] = s.killed
	}
	type generation struct {
		grant string
		n     int
	}
	first := map[generation]string{}
	for _, e := range ledger {
		g := generation{e.grant, e.spent}
		switch by, taken := first[g]; {
		case e.accepted && taken:
			return fmt.Sprintf("%s and %s both refreshed generation %d", by, e.by, e.spent)
		case e.accepted:
			first[g] = e.by
		case e.reuse && !killed[by]:
			return fmt.Sprintf("%s sent generation %d again, which %s had refreshed", e.by, e.spent, by)
		}
	}
	return ""
}

// theatre is where histories are made: one token file, processes and Sources
// on it, and somebody who logs in again now and then.
type theatre struct {
	*bed
	program string
	began   time.Time

	mu     sync.Mutex
	steps  []step
	logins map[string]int // grant id → place among the logins, from 1
	again  chan struct{}  // a step failed: somebody should log in
}

func newTheatre(t *testing.T, program string) *theatre {
	th := &theatre{bed: newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true, MaxApprovals: -1}}), program: program, began: time.Now(), logins: map[string]int{}, again: make(chan struct{}, 1)}
	th.logins[th.grant.ID] = 1
	th.idp.SetHabits(func(h *idptest.Habits) { h.DelayBefore, h.DelayAfter = 3*time.Millisecond, 10*time.Millisecond }) // so that some are killed there
	return th
}

// add finds out what a step saw and keeps it.
func (th *theatre) add(s step, accessToken string) {
	s.ended = time.Since(th.began)
	if accessToken != "" {
		grant, number, _ := th.idp.FindAccess(accessToken)
		th.mu.Lock()
		s.saw = order(th.logins[grant], number)
		th.mu.Unlock()
	} else if !s.killed {
		select {
		case th.again <- struct{}{}:
		default:
		}
	}
	th.mu.Lock()
	th.steps = append(th.steps, s)
	th.mu.Unlock()
}

func (th *theatre) start(name, kind, source string) step {
	return step{name: name, kind: kind, source: source, call: time.Since(th.began)}
}

// process runs the program once; kill, unless 0, is when it is killed.
func (th *theatre) process(name, kind string, kill time.Duration) {
	args := []string{kind, th.path, "--json", "--client-id", "app", "--provider", "salesforce", "--token-url", th.cfg.TokenURL, "--timeout", "2s", "--param", name + "=1"}
	if kind == "refresh" {
		args = append(args, "--show-token")
	}
	c := exec.Command(th.program, args...)
	state := filepath.Dir(th.cfg.RescueDirs[0])
	c.Env = append(os.Environ(), "HOME="+state, "XDG_STATE_HOME="+state, "TMPDIR="+state)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	s := th.start(name, kind, "")
	if err := c.Start(); err != nil {
		th.t.Error(err)
		return
	}
	if kill > 0 {
		timer := time.AfterFunc(kill, func() { c.Process.Kill() })
		defer timer.Stop()
	}
	c.Wait() // how it ended is judged by what it printed
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	s.killed = kill > 0 && c.ProcessState.ExitCode() == -1
	if err := json.Unmarshal(stdout.Bytes(), &answer); err != nil && c.ProcessState.Success() {
		th.t.Errorf("%s printed no JSON: %v", name, err)
	}
	s.report = stderr.String()
	th.add(s, answer.AccessToken)
}

// goroutine uses a Source that is shared with others.
func (th *theatre) goroutine(src *evergrant.Source, source, name, kind string) {
	s := th.start(name, kind, source)
	token, err := func() (*evergrant.Token, error) {
		if kind == "token" {
			return src.Token(context.Background())
		}
		r, err := src.Refresh(context.Background(), evergrant.RefreshOptions{})
		if err != nil {
			return nil, err
		}
		return r.Token, nil
	}()
	if err != nil {
		s.report = err.Error()
		th.add(s, "")
		return
	}
	th.add(s, token.AccessToken.Reveal())
}

// login puts a new grant into the file, as a tool does that knows no locks.
func (th *theatre) login(name string) {
	th.mu.Lock()
	g := th.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	th.logins[g.ID] = len(th.logins) + 1
	th.mu.Unlock()
	s := th.start(name, "login", "")
	fresh := th.path + ".login"
	th.write(fresh, g.TokenFile())
	if err := os.Rename(fresh, th.path); err != nil {
		th.t.Error(err)
	}
	th.add(s, g.AccessToken)
}

// ledger is the provider's account of the run.
func (th *theatre) ledger() []issue {
	if !th.idp.WaitIdle(10 * time.Second) {
		th.t.Error("the provider is still busy")
	}
	var all []issue
	for _, e := range th.idp.Ledger() {
		if e.GrantType != "refresh_token" {
			continue
		}
		one := issue{at: e.Time.Sub(th.began), grant: e.GrantID, spent: e.Generation, accepted: e.Verdict == idptest.Issued, reuse: e.Verdict == idptest.Reuse}
		for _, p := range e.Params {
			if strings.HasPrefix(p, "step-") {
				one.by = p
			}
		}
		if e.AccessNumber > 0 {
			one.order = order(th.logins[e.GrantID], e.AccessNumber)
		}
		all = append(all, one)
	}
	return all
}

const (
	historyCrew = 4 // processes at a time, and as many goroutines
	historyTime = 4 * time.Second
)

// play makes a random history.
func (th *theatre) play(random *rand.Rand, length time.Duration) {
	var crew sync.WaitGroup
	end := time.Now().Add(length)
	// hand does one kind of thing after another until the time is up.
	hand := func(act func(random *rand.Rand, name string)) {
		own := rand.New(rand.NewPCG(random.Uint64(), 1))
		id := random.Uint32()
		crew.Go(func() {
			for n := 0; time.Now().Before(end); n++ {
				act(own, fmt.Sprintf("step-%08x-%d", id, n))
			}
		})
	}
	for range historyCrew {
		hand(func(random *rand.Rand, name string) {
			var kill time.Duration
			if random.IntN(3) == 0 {
				kill = time.Duration(1+random.IntN(60)) * time.Millisecond
			}
			th.process(name, drawKind(random), kill)
			time.Sleep(time.Duration(random.IntN(40)) * time.Millisecond)
		})
	}
	for i := range historyCrew / 2 {
		name := "step-source-" + strconv.Itoa(i)
		src := th.open(func(c *evergrant.Config) {
			c.Params, c.CallTimeout, c.ExchangeTimeout = [][2]string{{name, "1"}}, 2*time.Second, 2*time.Second
		})
		for range 2 { // goroutines
			hand(func(random *rand.Rand, step string) {
				kind := "token" // a Source that never refreshes sees others do
				if i > 0 {
					kind = drawKind(random)
				}
				th.goroutine(src, name, step, kind)
				time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
			})
		}
	}
	hand(func(random *rand.Rand, name string) { // the user, and the provider's whims
		if random.IntN(2) == 0 {
			th.idp.Next("exp=0") // the next access token is due at once
		}
		select {
		case <-th.again: // not at once: the next steps shall meet what went wrong
			time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
		case <-time.After(time.Duration(200+random.IntN(800)) * time.Millisecond):
		}
		th.login(name)
	})
	crew.Wait()
}

func drawKind(random *rand.Rand) string {
	if random.IntN(2) == 0 {
		return "token"
	}
	return "refresh"
}

// TestHistories checks a history of real processes in which a file is set back,
// and with EVERGRANT_PROVE=1 (`make prove`) thirty random ones, in which chance
// has a part that no seed repeats; -seed draws the same choices.
func TestHistories(t *testing.T) {
	program := filepath.Join(t.TempDir(), "evergrant")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	if out, err := exec.Command("go", "build", "-o", program, "./cmd/evergrant").CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	seed, rounds := *worldSeed, 0
	if seed == 0 {
		seed = rand.Uint64()
	}
	if os.Getenv("EVERGRANT_PROVE") == "1" {
		rounds = 30
	}
	t.Logf("seed %d (replay with -seed)", seed)
	for i, again := 0, 3; i < rounds; i++ {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			th := newTheatre(t, program)
			th.play(rand.New(rand.NewPCG(seed, uint64(i))), historyTime)
			ledger := th.ledger()
			wrong := checkHistory(th.steps, ledger, order(1, 1))
			if wrong == unclear && again > 0 { // another one is played for it
				again, rounds = again-1, rounds+1
				t.Log(wrong)
				return
			}
			if wrong != "" {
				t.Errorf("%s\n%s", wrong, th.tell(ledger))
			}
			t.Log(th.summary(ledger))
		})
	}
	t.Run("a file set back", func(t *testing.T) { // a broken history, made by real processes
		th := newTheatre(t, program)
		old := th.read()
		th.process("step-1", "refresh", 0)
		th.write(th.path, old)
		th.process("step-2", "token", 0)
		if wrong := checkHistory(th.steps, th.ledger(), order(1, 1)); !strings.Contains(wrong, "linearizable") {
			t.Errorf("not seen: %q\n%s", wrong, th.tell(th.ledger()))
		}
	})
}

// summary counts what a history came to. It fails the test where so little
// happened that a correct history means nothing.
func (th *theatre) summary(ledger []issue) string {
	count := map[string]int{}
	for _, s := range th.steps {
		switch {
		case s.killed:
			count["killed"]++
		case s.saw == 0:
			count["failed"]++
		default:
			count[s.kind]++
		}
	}
	for _, e := range ledger {
		if e.reuse {
			count["reuse"]++
		}
	}
	if count["token"] < 5 || count["refresh"] < 5 || count["killed"] == 0 {
		th.t.Errorf("too little happened: %v", count)
	}
	return fmt.Sprintf("%d steps, %d token requests: %v", len(th.steps), len(ledger), count)
}

// tell prints a history.
func (th *theatre) tell(ledger []issue) string {
	var b strings.Builder
	slices.SortFunc(th.steps, func(a, b step) int { return cmp.Compare(a.call, b.call) })
	for _, s := range th.steps {
		fmt.Fprintf(&b, "%8d…%-8d µs %s %s %s saw %d killed %t %q\n", s.call.Microseconds(), s.ended.Microseconds(), s.name, s.kind, s.source, s.saw, s.killed, s.report)
	}
	for _, e := range ledger {
		fmt.Fprintf(&b, "%8d µs %s presented generation %d of %s: accepted %t, reuse %t, issued %d\n", e.at.Microseconds(), e.by, e.spent, e.grant, e.accepted, e.reuse, e.order)
	}
	return b.String()
}

// at makes a step of one unit of time at a moment, for the histories below.
func at(moment int, name, kind string, saw int) step {
	d := time.Duration(moment) * time.Minute // beyond any staleness
	return step{name: name, kind: kind, call: d, ended: d + time.Second, saw: saw}
}

func issueAt(moment int, by string, spent, order int) issue {
	return issue{by: by, grant: "g", at: time.Duration(moment) * time.Minute, spent: spent, accepted: order > 0, reuse: order == 0, order: order}
}

func with(s step, change func(*step)) step {
	change(&s)
	return s
}

// brokenHistories are small histories with what must be said of them; "" is a
// correct one.
var brokenHistories = []struct {
	name   string
	steps  []step
	ledger []issue
	wrong  string
}{
	{"a refresh and a read",
		[]step{at(1, "a", "refresh", 102), at(2, "b", "token", 102)},
		[]issue{issueAt(1, "a", 1, 102)}, ""},
	{"a killed refresh that took effect",
		[]step{with(at(1, "a", "refresh", 0), func(s *step) { s.killed = true }), at(2, "b", "token", 101), at(3, "c", "token", 102)},
		[]issue{issueAt(1, "a", 1, 102)}, ""},
	{"a killed refresh whose reply was lost, and a last try",
		[]step{with(at(1, "a", "refresh", 0), func(s *step) { s.killed = true }), at(2, "b", "refresh", 0)},
		[]issue{issueAt(1, "a", 1, 102), issueAt(2, "b", 1, 0)}, ""},
	{"a Source that is behind by less than it may",
		[]step{at(1, "a", "refresh", 102), with(at(1, "b", "token", 101), func(s *step) { s.source, s.call, s.ended = "s", s.ended+1, s.ended+2 })},
		[]issue{issueAt(1, "a", 1, 102)}, ""},
	{"a read goes backwards",
		[]step{at(1, "a", "refresh", 102), at(2, "b", "token", 101)},
		[]issue{issueAt(1, "a", 1, 102)}, "linearizable"},
	{"a late writer overwrites a login",
		[]step{at(1, "a", "refresh", 102), at(2, "b", "login", 201), at(3, "c", "token", 102)},
		[]issue{issueAt(1, "a", 1, 102)}, "linearizable"},
	{"a token that nobody was issued",
		[]step{at(1, "a", "token", 105)}, nil, "linearizable"},
	{"a token before it was issued",
		[]step{at(1, "a", "token", 102), at(3, "b", "refresh", 102)},
		[]issue{issueAt(3, "b", 1, 102)}, "linearizable"},
	{"a Source that is behind by more than it may",
		[]step{at(1, "a", "refresh", 102), with(at(3, "b", "token", 101), func(s *step) { s.source = "s" })},
		[]issue{issueAt(1, "a", 1, 102)}, "linearizable"},
	{"a refresh that did nothing",
		[]step{at(1, "a", "refresh", 102), at(2, "b", "refresh", 102)},
		[]issue{issueAt(1, "a", 1, 102)}, "began after"},
	{"a Source that forgets",
		[]step{with(at(1, "a", "refresh", 102), func(s *step) { s.source = "s" }), with(at(1, "b", "token", 101), func(s *step) { s.source, s.call, s.ended = "s", s.ended+1, s.ended+2 })},
		[]issue{issueAt(1, "s", 1, 102)}, "to b after"},
	{"two refreshes of one generation",
		[]step{at(1, "a", "refresh", 102), at(2, "b", "refresh", 103)},
		[]issue{issueAt(1, "a", 1, 102), issueAt(2, "b", 1, 103)}, "both refreshed"},
	{"a spent token without need",
		[]step{at(1, "a", "refresh", 102), at(2, "b", "refresh", 0)},
		[]issue{issueAt(1, "a", 1, 102), issueAt(2, "b", 1, 0)}, "sent generation 1 again"},
}

// TestHistoryChecker: the check finds what is planted and nothing else.
func TestHistoryChecker(t *testing.T) {
	for _, h := range brokenHistories {
		t.Run(h.name, func(t *testing.T) {
			wrong := checkHistory(h.steps, h.ledger, 101)
			if h.wrong == "" && wrong != "" || !strings.Contains(wrong, h.wrong) {
				t.Errorf("got %q, want %q", wrong, h.wrong)
			}
		})
	}
}
