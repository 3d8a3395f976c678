package evergrant

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evergrant/evergrant/internal/stack"
)

// recheck is how long the fast path believes its snapshot before it looks at
// the wall clock and the store again: a machine may have slept, and another
// process may have refreshed.
const recheck = time.Second

// Source hands out access tokens of one grant. Its methods may be called by
// many goroutines.
type Source struct {
	engine engine
	hot    atomic.Pointer[snapshot]
	base   context.Context // of everything the source starts; ended by Close
	stop   context.CancelCauseFunc
	first  since // what was there when the source was opened

	events sync.Mutex // serializes OnEvent

	mu      sync.Mutex
	warned  string // the last warning
	flights map[ask]*flight
	turn    chan struct{}  // held by the flight that works
	running sync.WaitGroup // flights
	closed  bool
}

// snapshot is a token with the monotonic moment until which it is served
// without another look.
type snapshot struct {
	token *Token
	until time.Duration // of monotonic()
	due   time.Time     // when it should be renewed; zero: on a report
	at    stamp
	ill   bool // renewing it has failed
}

// flight is one run of the engine that callers with the same ask share.
type flight struct {
	done   chan struct{}
	result *Result
	err    error
}

var epoch = time.Now()

// monotonic is the time since the program started, without a look at the wall
// clock.
func monotonic() time.Duration { return time.Since(epoch) }

func newSource(cfg Config) *Source {
	s := &Source{flights: map[ask]*flight{}, turn: make(chan struct{}, 1)}
	s.base, s.stop = context.WithCancelCause(context.Background())
	s.engine = engine{cfg: cfg, emit: s.emit}
	return s
}

// begin looks at the grant for the first time.
func (s *Source) begin() error {
	seen, err := s.see()
	s.first = seen
	if h, lookErr := s.engine.look(s.base); err == nil && lookErr == nil && !h.undecided() {
		if t, err := s.engine.terms(&h); err == nil && servable(ask{}, &h, t.expiry(&h), time.Now()) {
			r := s.engine.result(&h, t)
			first := &snapshot{token: r.Token, due: r.due, until: monotonic()} // the first call looks for itself, and has something to fall back on
			if d := decide(ask{}, &h, t, time.Now()); d.do == serve && d.err == nil {
				first.at = s.engine.seen.Load().at // it need not read again what did not change
			}
			s.hot.Store(first)
		}
	}
	return err
}

// see is what an explicit refresh compares with later.
func (s *Source) see() (since, error) {
	h, err := s.engine.look(s.base)
	if err != nil {
		return since{}, err
	}
	seen := since{known: true, generation: h.st.Generation, access: digestOf(h.file.AccessToken()), refresh: digestOf(h.file.RefreshToken())}
	if h.undecided() || h.st.mark(h.file.AccessToken()) != h.st.Access || h.st.mark(h.file.RefreshToken()) != h.st.Refresh {
		seen.generation++ // what is there will be adopted as the next one: it is not news later
	}
	return seen, nil
}

func (s *Source) emit(e Event) {
	if f := s.engine.cfg.OnEvent; f != nil {
		s.events.Lock()
		defer s.events.Unlock()
		f(e)
	}
}

// Token returns a valid access token, from memory as long as it is good, else
// refreshed. Where refreshing fails, or takes long, and the token at hand has
// not ended, it returns that one: the failure goes to OnEvent and comes back as
// an error once the token is really out. ctx bounds how long this caller waits,
// not the refresh.
func (s *Source) Token(ctx context.Context) (*Token, error) {
	h := s.hot.Load()
	if h != nil && monotonic() < h.until {
		return h.token, nil
	}
	patient := ctx
	if h != nil && h.good(0) { // renewing ahead of time must not hold up callers
		var cancel context.CancelFunc
		patient, cancel = context.WithTimeout(ctx, h.patience())
		defer cancel()
	}
	r, err := s.valid(ctx, patient, 0)
	if err != nil {
		return nil, err
	}
	return r.Token, nil
}

// patience is how long Token waits for a refresh while it has a good token: not
// where one failed just now, which may go on for hours.
func (h *snapshot) patience() time.Duration {
	if h.ill {
		return briefly
	}
	return 2 * time.Second
}

// briefly is a wait that no caller minds.
const briefly = 50 * time.Millisecond

// TokenFor returns an access token that is valid for at least min from now. A
// minimum that cannot be met is an error that matches ErrTemporary. With min 0
// it is Token with the details of how the token came about.
func (s *Source) TokenFor(ctx context.Context, min time.Duration) (*Result, error) {
	return s.valid(ctx, ctx, min)
}

// valid waits for a refresh as long as patient allows, which ends with ctx.
func (s *Source) valid(ctx, patient context.Context, min time.Duration) (*Result, error) {
	if h := s.hot.Load(); h != nil && s.stillGood(h, min) {
		return &Result{Token: h.token}, nil
	}
	r, err := s.do(patient, ask{min: min})
	if err != nil {
		r, err = s.atHand(ctx, min, err)
	}
	if err != nil && patient.Err() != nil && ctx.Err() == nil { // the token at hand ended meanwhile: now the refresh is waited for
		return s.valid(ctx, ctx, min)
	}
	return r, err
}

// atHand serves what is stored, else the token in memory, although a flight
// failed or takes too long, as long as it has not ended: a flight that waits for
// the lock must not hide for seconds what another process stored. Callers share
// the look, and a store that does not answer holds up none of them.
func (s *Source) atHand(ctx context.Context, min time.Duration, err error) (*Result, error) {
	var e *Error
	if s.hot.Load() == nil || !errors.As(err, &e) || errors.Is(err, ErrClosed) {
		return nil, err
	}
	gone := ctx.Done()
	if !s.hot.Load().good(min) { // then what is stored is all there may be
		gone = nil
	}
	if f, err := s.flight(ask{kind: askStored, min: min}); err == nil {
		late := time.NewTimer(briefly)
		defer late.Stop()
		select {
		case <-f.done:
			if f.result != nil {
				return f.result, nil
			}
		case <-late.C:
		case <-gone:
		}
	}
	h := s.hot.Load()
	if !h.good(min) {
		return nil, err
	}
	return &Result{Token: h.token, Warning: e}, nil
}

// good reports whether the token has not ended by the wall clock. One of
// unknown lifetime is good for no minimum.
func (h *snapshot) good(min time.Duration) bool {
	if h.token.Expiry.IsZero() {
		return min == 0
	}
	return time.Until(h.token.Expiry.Round(0)) > min // Round drops the monotonic reading: this is wall time
}

// stillGood looks at the wall clock and, by its cheap stamp, at the store, and
// gives the snapshot another while.
func (s *Source) stillGood(h *snapshot, min time.Duration) bool {
	if !h.good(min) || min == 0 && h.isDue() {
		return false
	}
	// A store that does not answer (the zero stamp) takes no good token away. A
	// file that was written just now has a stamp that proves nothing: look again.
	if at := s.engine.place.stamp(s.base); at != (stamp{}) && (!at.known || at != h.at) {
		return false
	}
	s.hot.CompareAndSwap(h, &snapshot{token: h.token, due: h.due, at: h.at, until: monotonic() + h.wait()})
	return true
}

// wait is how long the fast path may serve without another look.
func (h *snapshot) wait() time.Duration {
	if h.token.Expiry.IsZero() {
		return recheck
	}
	return max(0, min(time.Until(h.token.Expiry.Round(0)), recheck))
}

// isDue reports whether the token should be renewed by now.
func (h *snapshot) isDue() bool { return !h.due.IsZero() && !time.Now().Before(h.due) }

// RefreshOptions shape an explicit refresh. The zero value refreshes unless
// another process did since the call began.
type RefreshOptions struct {
	// Replay makes a last try although the reply to an earlier one was lost:
	// where the provider rotates refresh tokens without a grace window, that
	// can end the grant.
	Replay bool
	// SinceStart also adopts what was refreshed after this process started or
	// this source was opened: for a command that refreshes once.
	SinceStart bool
}

// Refresh gets a new access token now. Processes and goroutines that ask from
// the same generation make one request together: those that waited adopt its
// result.
func (s *Source) Refresh(ctx context.Context, o RefreshOptions) (*Result, error) {
	seen := s.first
	if !o.SinceStart {
		var err error
		if seen, err = s.see(); err != nil {
			return nil, err
		}
	}
	return s.do(ctx, ask{kind: askRefresh, since: seen, sinceStart: o.SinceStart, replay: o.Replay})
}

// Rejected reports that an API rejected an access token as invalid, and returns
// a newer one. However many callers report a token, there is at most one
// refresh for it; a token that was received less than a minute ago is not
// renewed, because its age cannot be the reason.
func (s *Source) Rejected(ctx context.Context, t *Token) (*Token, error) {
	r, err := s.do(ctx, ask{kind: askRejected, rejected: digestOf(t.AccessToken.Reveal())})
	if err != nil {
		return nil, err
	}
	return r.Token, nil
}

// do joins the flight for an ask, or starts it, and waits for it as long as
// ctx lives. The flight goes on without its callers.
func (s *Source) do(ctx context.Context, q ask) (*Result, error) {
	f, err := s.flight(q)
	if err != nil {
		return nil, err
	}
	select {
	case <-f.done:
		return f.result, f.err
	case <-ctx.Done():
		select {
		case <-f.done:
			return f.result, f.err
		default:
		}
		return nil, &Error{Class: ErrTemporary, Rule: "caller-gone", Says: "stopped waiting for the refresh, which goes on", Do: "ask again", Err: context.Cause(ctx)}
	}
}

func (s *Source) flight(q ask) (*flight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, &Error{Class: ErrClosed, Rule: "closed", Says: "the source is closed", Do: "open it again"}
	}
	if f := s.flights[q]; f != nil {
		return f, nil
	}
	f := &flight{done: make(chan struct{})}
	s.flights[q] = f
	s.running.Go(func() { s.fly(q, f) })
	return f, nil
}

// fly runs the engine for one ask; flights take turns.
func (s *Source) fly(q ask, f *flight) {
	stack.Grow()
	ctx, cancel := context.WithTimeoutCause(s.base, s.engine.cfg.callTimeout(), errors.New("the time for this call is used up"))
	defer cancel()
	defer func() {
		s.mu.Lock()
		delete(s.flights, q)
		s.mu.Unlock()
		close(f.done)
	}()
	if q.kind == askStored {
		f.result = s.meanwhile(ctx, ask{min: q.min})
		return
	}
	if !s.takeTurn() {
		if f.result = s.meanwhile(ctx, q); f.result != nil {
			s.warn(f.result)
			return
		}
		select {
		case s.turn <- struct{}{}:
		case <-ctx.Done():
			f.result, f.err = s.engine.giveUp(ctx, q, interrupted(context.Cause(ctx)))
			return
		}
	}
	defer func() { <-s.turn }()
	at := s.engine.place.stamp(ctx)
	f.result, f.err = s.engine.run(ctx, q)
	if f.err == nil {
		s.remember(f.result, at)
	}
	s.warn(f.result)
}

// takeTurn takes the turn if no other flight has it.
func (s *Source) takeTurn() bool {
	select {
	case s.turn <- struct{}{}:
		return true
	default:
		return false
	}
}

// meanwhile serves what another process stored while a flight of this one is
// under way, perhaps for minutes: it needs no turn. A token that should be
// renewed is kept to fall back on, since the one in memory may end first.
func (s *Source) meanwhile(ctx context.Context, q ask) *Result {
	was, at := s.hot.Load(), s.engine.place.stamp(ctx)
	r, enough := s.engine.ready(ctx, q)
	if r == nil {
		return nil
	}
	h := &snapshot{token: r.Token, due: r.due, at: at, until: monotonic(), ill: r.Warning != nil}
	if !enough {
		s.hot.CompareAndSwap(was, h) // else the flight has brought a newer one
		return nil
	}
	h.until += h.wait()
	s.hot.CompareAndSwap(was, h)
	return r
}

// warn tells of a token that was served although it should have been renewed,
// once for each reason.
func (s *Source) warn(r *Result) {
	says := ""
	if r != nil && r.Warning != nil {
		says = r.Warning.Error()
	}
	s.mu.Lock()
	news := says != "" && says != s.warned
	s.warned = says
	s.mu.Unlock()
	if news {
		s.emit(Noted{Grant: s.engine.place.id(), Says: says, Do: r.Warning.Do})
	}
}

// remember puts a token into the fast path. The stamp is taken before the run,
// so that what another program writes meanwhile is seen at the next look; a
// run that wrote takes the one look more.
func (s *Source) remember(r *Result, at stamp) {
	switch {
	case r.Outcome == Fresh:
		at = s.engine.place.stamp(s.base)
	case r.Warning != nil:
		at = stamp{} // what stands in the way may pass by itself: look again
	}
	h := &snapshot{token: r.Token, due: r.due, at: at, ill: r.Warning != nil}
	h.until = monotonic() + h.wait()
	s.hot.Store(h)
}

// Format keeps what the source holds out of every fmt verb: it names the grant.
func (s *Source) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "evergrant.Source(%s)", s.engine.place.id())
}

// LogValue keeps it out of structured logs too.
func (s *Source) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

// Close ends the source: what was not sent yet is not sent, and a request that
// left is waited for and its answer stored. Close returns when all is done.
func (s *Source) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop(ErrClosed)
	s.running.Wait()
	return nil
}
