package evergrant

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
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
	warned string     // the last warning; belongs to the flight whose turn it is

	mu      sync.Mutex
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
	return err
}

// see is what an explicit refresh compares with later.
func (s *Source) see() (since, error) {
	h, err := s.engine.look(s.base)
	if err != nil {
		return since{}, err
	}
	seen := since{known: true, generation: h.st.Generation, access: h.file.AccessToken(), refresh: h.file.RefreshToken()}
	if h.undecided() {
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
// refreshed. Where refreshing fails and the token at hand has not ended, it
// returns that one: the failure goes to OnEvent and comes back as an error
// once the token is really out. ctx bounds how long this caller waits, not the
// refresh.
func (s *Source) Token(ctx context.Context) (*Token, error) {
	if h := s.hot.Load(); h != nil && monotonic() < h.until {
		return h.token, nil
	}
	r, err := s.valid(ctx, 0)
	if err != nil {
		return nil, err
	}
	return r.Token, nil
}

// TokenFor returns an access token that is valid for at least min from now. A
// minimum that cannot be met is an error that matches ErrTemporary. With min 0
// it is Token with the details of how the token came about.
func (s *Source) TokenFor(ctx context.Context, min time.Duration) (*Result, error) {
	return s.valid(ctx, min)
}

func (s *Source) valid(ctx context.Context, min time.Duration) (*Result, error) {
	if h := s.hot.Load(); h != nil && s.stillGood(h, min) {
		return &Result{Token: h.token}, nil
	}
	return s.do(ctx, ask{min: min})
}

// stillGood looks at the wall clock and, by its cheap stamp, at the store, and
// gives the snapshot another while.
func (s *Source) stillGood(h *snapshot, min time.Duration) bool {
	left := time.Until(h.token.Expiry.Round(0)) // Round drops the monotonic reading: this is wall time
	if h.token.Expiry.IsZero() {
		if min > 0 {
			return false
		}
		left = recheck
	}
	if left <= max(min, 0) || min == 0 && h.isDue() || s.engine.place.stamp() != h.at {
		return false
	}
	s.hot.CompareAndSwap(h, &snapshot{token: h.token, due: h.due, at: h.at, until: monotonic() + clampWait(left)})
	return true
}

// isDue reports whether the token should be renewed by now.
func (h *snapshot) isDue() bool { return !h.due.IsZero() && !time.Now().Before(h.due) }

func clampWait(left time.Duration) time.Duration { return max(0, min(left, recheck)) }

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

// Rejected reports that an API rejected the access token of a generation
// (Token.Generation) as invalid, and returns a newer one. However many callers
// report it, there is at most one refresh per generation.
func (s *Source) Rejected(ctx context.Context, generation uint64) (*Token, error) {
	r, err := s.do(ctx, ask{kind: askRejected, generation: generation})
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
	ctx, cancel := context.WithTimeoutCause(s.base, s.engine.cfg.callTimeout(), errors.New("the time for this call is used up"))
	defer cancel()
	defer func() {
		s.mu.Lock()
		delete(s.flights, q)
		s.mu.Unlock()
		close(f.done)
	}()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		f.err = interrupted(context.Cause(ctx))
		return
	}
	at := s.engine.place.stamp()
	f.result, f.err = s.engine.run(ctx, q)
	if f.err == nil {
		s.remember(f.result, at)
	}
	s.warn(f.result)
}

// warn tells of a token that was served although it should have been renewed,
// once for each reason. Only the flight whose turn it is calls it.
func (s *Source) warn(r *Result) {
	if r == nil || r.Warning == nil {
		s.warned = ""
		return
	}
	if says := r.Warning.Error(); says != s.warned {
		s.warned = says
		s.emit(Noted{Grant: s.engine.place.id(), Says: says, Do: r.Warning.Do})
	}
}

// remember puts a token into the fast path. The stamp is taken before the run,
// so that what another program writes meanwhile is seen at the next look; a
// run that wrote takes the one look more.
func (s *Source) remember(r *Result, at stamp) {
	wait := recheck
	if !r.Token.Expiry.IsZero() {
		wait = clampWait(time.Until(r.Token.Expiry.Round(0)))
	}
	if r.Outcome == Fresh {
		at = s.engine.place.stamp()
	}
	s.hot.Store(&snapshot{token: r.Token, due: r.due, at: at, until: monotonic() + wait})
}

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
