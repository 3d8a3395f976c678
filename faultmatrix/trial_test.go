package faultmatrix_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/canary/search"
	"github.com/evergrant/evergrant/idptest"
	"github.com/evergrant/evergrant/internal/lockedfile"
	"github.com/evergrant/evergrant/prove/figures"
)

// marks stand in every token and in the client's secret.
const (
	tokenMark  = "c4n4ryTOKENmark"
	secretMark = "c4n4ryCLIENTmark"
)

// rotating is the server that forgives least: it rotates, and a spent refresh
// token revokes the grant.
var rotating = idptest.Habits{Rotation: true}

// A trial is one grant in a folder of its own, its provider, and what the
// engine said while a fault was played.
type trial struct {
	t       *testing.T
	want    evergrant.Outcome
	idp     *idptest.Server
	base    string // URL of the provider
	grant   idptest.Grant
	dir     string // of the token file
	path    string
	cfg     evergrant.Config
	good    evergrant.Config // cfg before the fault changed it
	wires   []*wire
	replays bool // sending again is deliberate: I3 does not hold
	unsent  bool // the refresh that meets the fault must send nothing
	lost    bool // the provider itself broke the grant: I2 cannot hold

	mu    sync.Mutex
	said  []string
	after []func() // end what the fault started
}

// play plays one fault and looks at the invariants afterwards.
func play(t *testing.T, f fault) {
	before, fds := goleak.IgnoreCurrent(), openFiles(t)
	tr := &trial{t: t, want: f.want, dir: t.TempDir()}
	tr.path = filepath.Join(tr.dir, "token.json")
	f.proof.play(tr)
	if tr.idp == nil {
		t.Fatal("the fault has no provider")
	}
	tr.settle()
	tr.readable()
	tr.newest()
	tr.single()
	tr.silent()
	tr.unlocked()
	tr.close()
	tr.clean(before, fds)
}

// begin starts the provider and writes the grant's token file.
func (tr *trial) begin(c idptest.Config) {
	tr.t.Helper()
	tr.prepare(c)
	base, err := tr.idp.Listen("127.0.0.1:0")
	tr.must(err)
	tr.serveAt(base)
}

// prepare makes the provider without a socket of its own.
func (tr *trial) prepare(c idptest.Config) {
	c.Mark = tokenMark
	tr.idp = idptest.New(c)
	tr.cfg = evergrant.Config{
		ClientID: "app", ClientSecret: evergrant.NewSecret("s-" + secretMark), RescueDirs: []string{filepath.Join(tr.dir, "rescue")},
		CallTimeout: 3 * time.Second, ExchangeTimeout: 10 * time.Second,
		OnEvent: func(e evergrant.Event) { tr.say("event: %+v", e) },
	}
	if tr.want == evergrant.Transient || tr.want == evergrant.Busy {
		tr.cfg.CallTimeout = 450 * time.Millisecond // one try, not a wait for the next
	}
	tr.must(os.MkdirAll(tr.cfg.RescueDirs[0], 0o700))
	if c.Persona == idptest.Salesforce {
		tr.cfg.Provider = "salesforce"
	}
	tr.cfg.HTTP.Trace = func(line string) { tr.say("%s", line) }
	tr.cfg.HTTP.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
}

// serveAt makes the grant and its file, for a token endpoint below base.
func (tr *trial) serveAt(base string) {
	tr.t.Helper()
	tr.base = base
	tr.cfg.TokenURL = base + "/token"
	if tr.cfg.Provider == "salesforce" {
		tr.cfg.TokenURL = base + "/services/oauth2/token"
	}
	tr.login()
	tr.good = tr.cfg
}

// login writes the token file of a new grant.
func (tr *trial) login() {
	tr.t.Helper()
	tr.grant = tr.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	tr.must(os.WriteFile(tr.path, tr.grant.TokenFile(), 0o600))
}

// always lets every token request meet a fault; "" ends it.
func (tr *trial) always(f idptest.Fault) {
	tr.idp.SetHabits(func(h *idptest.Habits) { h.Fault = f })
}

func (tr *trial) must(err error) {
	tr.t.Helper()
	if err != nil {
		tr.t.Fatal(err)
	}
}

// say keeps what came out, to be searched for secrets.
func (tr *trial) say(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.said = append(tr.said, fmt.Sprintf(format, args...))
}

func (tr *trial) heard(text string) bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return strings.Contains(strings.Join(tr.said, "\n"), text)
}

// open opens the token file as another process would.
func (tr *trial) open() *evergrant.Source {
	tr.t.Helper()
	s, err := evergrant.OpenFile(tr.path, tr.cfg)
	tr.must(err)
	return s
}

// refresh refreshes once, as a process of its own. A machine that is too busy
// for the short time of the call is given more.
func (tr *trial) refresh() (*evergrant.Result, *evergrant.Error) {
	tr.t.Helper()
	for {
		s := tr.open()
		r, err := s.Refresh(context.Background(), evergrant.RefreshOptions{})
		s.Close()
		e := tr.failure(err)
		if e == nil || e.Rule != "interrupted" || tr.cfg.CallTimeout > time.Minute {
			return r, e
		}
		tr.cfg.CallTimeout *= 2
	}
}

// hurry gives an exchange as little time as a fault of endless patience needs.
func (tr *trial) hurry() { tr.cfg.ExchangeTimeout = 400 * time.Millisecond }

func (tr *trial) failure(err error) *evergrant.Error {
	tr.t.Helper()
	if err == nil {
		return nil
	}
	var e *evergrant.Error
	if !errors.As(err, &e) {
		tr.t.Fatalf("an error of no class: %v", err)
	}
	tr.say("error: %v %+v %#v hint: %s", err, e, e, e.Hint())
	if e.Says == "" || e.Do == "" {
		tr.t.Errorf("it does not say what happened and what to do: %+v", e)
	}
	return e
}

func (tr *trial) status() evergrant.Status {
	tr.t.Helper()
	s := tr.open()
	defer s.Close()
	st, err := s.Status(tr.t.Context())
	tr.must(err)
	tr.say("status: %+v", st)
	return st
}

// requests counts all that arrived at the provider or at a wire before it.
func (tr *trial) requests() int {
	n := len(tr.idp.TokenRequests(tr.grant.ID))
	for _, w := range tr.wires {
		n = max(n, int(w.requests.Load()))
	}
	return n
}

// meet is the refresh that runs into the fault, and the next one after it is
// over.
func (tr *trial) meet() {
	tr.t.Helper()
	began := time.Now()
	r, e := tr.refresh()
	if took := time.Since(began); took > tr.cfg.ExchangeTimeout+tr.cfg.CallTimeout+2*time.Second {
		tr.t.Errorf("it took %v", took)
	}
	if got := outcomeOf(r, e); got != tr.want {
		tr.t.Errorf("the outcome is %q, want %q: %v", got, tr.want, e)
	}
	if n := tr.requests(); tr.unsent && n != 0 {
		tr.t.Errorf("%d requests were sent", n)
	}
	tr.served()
	sent := tr.requests()
	tr.over()
	r, e = tr.refresh()
	switch tr.want {
	case evergrant.Uncertain, evergrant.Dead:
		if n := tr.requests(); n != sent {
			tr.t.Errorf("the next run sent the refresh token again")
		}
		if (tr.want == evergrant.Dead) != errors.Is(e, evergrant.ErrNeedsLogin) {
			tr.t.Errorf("the next run says %v", e)
		}
	default:
		if got := outcomeOf(r, e); got != evergrant.Fresh {
			tr.t.Errorf("the next run: %q, %v", got, e)
		}
	}
}

// over ends the fault.
func (tr *trial) over() {
	tr.always("")
	for _, w := range tr.wires {
		w.healthy.Store(true)
	}
	if tr.unsent {
		tr.cfg = tr.good
	}
	if tr.want != evergrant.Uncertain && tr.want != evergrant.Dead {
		tr.cfg.CallTimeout = 20 * time.Second // a healthy run must not fail for a slow machine
		tr.cfg.ExchangeTimeout = 10 * time.Second
	}
}

func outcomeOf(r *evergrant.Result, e *evergrant.Error) evergrant.Outcome {
	switch {
	case e != nil:
		return e.Outcome
	case r != nil:
		return r.Outcome
	}
	return ""
}

// served: whatever the refresh came to, a good access token is handed out.
func (tr *trial) served() {
	tr.t.Helper()
	s := tr.open()
	defer s.Close()
	r, err := s.TokenFor(tr.t.Context(), 0)
	if err != nil {
		tr.t.Errorf("a good token was not served: %v", tr.failure(err))
		return
	}
	if id, _, living := tr.idp.FindAccess(r.Token.AccessToken.Reveal()); id != tr.grant.ID || !living {
		tr.t.Error("the access token that was handed out is not a living one of this grant")
	}
}

// settle waits until the provider has done with what is still under way.
func (tr *trial) settle() {
	tr.idp.Release()
	tr.idp.WaitIdle(5 * time.Second)
}

// readable is I1: the token file is JSON with both tokens, and the state is
// understood.
func (tr *trial) readable() {
	tr.t.Helper()
	if st := tr.status(); !st.HasRefreshToken {
		tr.t.Errorf("I1: the token file has no refresh token: %+v", st)
	}
}

// stored is the refresh token in the token file.
func (tr *trial) stored() string {
	tr.t.Helper()
	doc, err := os.ReadFile(tr.path)
	tr.must(err)
	return member(tr.t, doc, "refresh_token")
}

// newest is I2.
func (tr *trial) newest() {
	tr.t.Helper()
	g := tr.idp.GrantState(tr.grant.ID)
	if g.RefreshToken == tr.stored() && g.RefreshToken != "" || tr.lost {
		return
	}
	st := tr.status()
	if st.Problem == nil && st.DoubtSince.IsZero() {
		tr.t.Errorf("I2: the file does not hold the provider's newest refresh token (generation %d, %s), and the state says nothing of it: %+v", g.Generation, g.Why, st)
	}
}

// single is I3, by the provider's ledger.
func (tr *trial) single() {
	tr.t.Helper()
	if tr.replays {
		return
	}
	counts := map[int]int{}
	for _, e := range tr.idp.TokenRequests(tr.grant.ID) {
		if e.Processed || e.Status == 0 || e.Status >= 500 && e.Status != http.StatusServiceUnavailable || e.Verdict == idptest.Trapped {
			counts[e.Generation]++
		}
		if counts[e.Generation] > 1 {
			tr.t.Errorf("I3: generation %d was presented again: %+v", e.Generation, e)
		}
		if e.Delivered && e.NewGeneration == e.Generation {
			delete(counts, e.Generation) // a success that leaves the refresh token as it is
		}
	}
}

// silent is I4: what was told, and all files below the trial's folder that hold
// no tokens by their nature.
func (tr *trial) silent() {
	tr.t.Helper()
	s, err := search.New(tokenMark, secretMark)
	tr.must(err)
	tr.mu.Lock()
	s.Text("what was told", strings.Join(tr.said, "\n"))
	tr.mu.Unlock()
	tr.must(s.Tree(tr.dir, tr.mayHold))
	for _, hit := range s.Hits {
		tr.t.Errorf("I4: a secret stands in %v", hit)
	}
	if s.Bytes == 0 || s.Items < 3 && tr.requests() > 0 { // what was told, the state and the lock
		tr.t.Errorf("I4: only %s", s)
	}
	tr.must(figures.Add(figures.Figure{Name: figures.Bytes, Kind: "the fault matrix", N: float64(s.Bytes)}, figures.Figure{Name: figures.Artefacts, N: float64(s.Items)},
		figures.Figure{Name: figures.Leaks, N: float64(len(s.Hits))}))
}

// mayHold names the token file and what it was copied to, the client's secret,
// and whole answers that wait or were rescued.
func (tr *trial) mayHold(path string) bool {
	name, folder := filepath.Base(path), filepath.Base(filepath.Dir(path))
	return !strings.HasPrefix(name, ".") && strings.HasSuffix(name, ".json") || name == "secret" ||
		strings.HasPrefix(name, ".token.json.evergrant.") && strings.HasSuffix(name, ".tmp") || folder == "rescue"
}

// unlocked is the lock's part of I5.
func (tr *trial) unlocked() {
	tr.t.Helper()
	l, err := lockedfile.TryAcquire(filepath.Join(tr.dir, ".token.json.evergrant.lock"))
	if err != nil {
		tr.t.Errorf("I5: the lock is still held: %v", err)
		return
	}
	tr.must(l.Release())
}

// ends calls f once the invariants that need the servers were looked at.
func (tr *trial) ends(f func()) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.after = append(tr.after, f)
}

func (tr *trial) close() {
	tr.mu.Lock()
	after := tr.after
	tr.mu.Unlock()
	for _, f := range slices.Backward(after) {
		f()
	}
	for _, w := range tr.wires {
		w.close()
	}
	tr.must(tr.idp.Close())
}

// clean is the rest of I5. Sockets end a moment after they are closed.
func (tr *trial) clean(before goleak.Option, fds int) {
	tr.t.Helper()
	if err := goleak.Find(before); err != nil {
		tr.t.Errorf("I5: %v", err)
	}
	now := openFiles(tr.t)
	for end := time.Now().Add(2 * time.Second); now > fds && time.Now().Before(end); now = openFiles(tr.t) {
		time.Sleep(5 * time.Millisecond)
	}
	if now > fds {
		tr.t.Errorf("I5: %d files are open, %d were before", now, fds)
	}
}

// openFiles counts file descriptors; 0 where the system does not tell.
func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// rescued reports whether a rescue file holds a text.
func (tr *trial) rescued(text string) bool {
	tr.t.Helper()
	files, err := filepath.Glob(filepath.Join(tr.cfg.RescueDirs[0], "*"))
	tr.must(err)
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte(text)) {
			return true
		}
	}
	return false
}
