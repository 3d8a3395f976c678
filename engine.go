package evergrant

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evergrant/evergrant/internal/tokenfile"
	"github.com/evergrant/evergrant/oauth"
	"github.com/evergrant/evergrant/provider"
)

// The refresh protocol (docs/design.md, "The refresh, step by step"). run is
// the whole of it; everything it decides is in decide.go and classify.go, and
// everything it keeps is in a place.

// engine refreshes one grant. Its runs are made one at a time by a Source; what
// only looks may go on beside one.
type engine struct {
	place place
	cfg   Config
	emit  func(Event)
	held  *heldAnswer             // an answer that no place has taken yet
	bound atomic.Pointer[binding] // the key that the tokens are bound to, if there is one
	seen  atomic.Pointer[glance]
	known atomic.Pointer[provider.Provider] // the last entry looked up by name
}

// heldAnswer is an answer that could not be stored: it is kept in memory until
// it can, and no refresh is made meanwhile.
type heldAnswer struct {
	attempt string
	file    *tokenfile.File
}

// readTimeout bounds a look at the store on which a token hangs that is good
// anyway; writeTimeout bounds what must be written whoever is still waiting.
const (
	readTimeout  = 2 * time.Second
	writeTimeout = 30 * time.Second
)

// outcome is what one round under the lock came to.
type outcome struct {
	result *Result
	err    *Error    // a failure; with result nil
	until  time.Time // not zero: nothing may be sent before
	found  finding   // of the try, if one was made
	again  bool      // the round may be made again in this call
	now    *identity // not nil: the grant has become this one, whose credentials are needed
}

// run answers an ask: without the lock if the token at hand is good, else in
// rounds under the lock until there is a token, a verdict or no time left.
func (g *engine) run(ctx context.Context, q ask) (*Result, error) {
	h, err := g.look(ctx)
	if err != nil {
		return nil, err
	}
	t, err := g.terms(&h)
	if err == nil && q.kind == askToken && !h.undecided() {
		if d := decide(q, &h, t, time.Now()); d.do == serve {
			r := g.result(&h, t)
			r.Warning = d.err
			return r, nil
		}
	}
	if err != nil {
		return g.fallback(q, &h, t, asError(err))
	}
	secrets, err := g.cfg.credentials(ctx, t.id)
	if err != nil {
		return g.fallback(q, &h, t, asError(err))
	}
	var last *Error
	for n := 1; ; n++ {
		o := g.round(ctx, q, secrets)
		if o.now != nil {
			if secrets, err = g.cfg.credentials(ctx, *o.now); err != nil {
				return g.giveUp(ctx, q, asError(err))
			}
			continue
		}
		q.nonced = q.nonced || o.found.Rule == wantsNonce
		if o.found.Outcome == Uncertain {
			o.again = o.again && !q.lost // a grace window may be counted too: one replay a call
			q.lost = true
		}
		if cause := context.Cause(ctx); o.err != nil && o.err.Rule == "interrupted" && last != nil && !errors.Is(cause, ErrClosed) {
			o.err, o.again = outOfTime(last, cause), false // the call's time ended: what stood in the way is the news
		}
		if o.err != nil && !o.again {
			return g.giveUp(ctx, q, o.err)
		}
		if !o.again {
			return o.result, nil
		}
		last = o.err
		if !g.pause(ctx, o, n) {
			return g.giveUp(ctx, q, outOfTime(last, context.Cause(ctx)))
		}
	}
}

// ready looks for a token without the lock. It is enough where it answers the
// ask, else something to fall back on; nil if there is none.
func (g *engine) ready(ctx context.Context, q ask) (r *Result, enough bool) {
	h, t, err := g.view(ctx)
	now := time.Now()
	if err != nil || q.kind != askToken || h.undecided() || !servable(q, &h, t.expiry(&h), now) {
		return nil, false
	}
	d := decide(q, &h, t, now)
	r = g.result(&h, t)
	r.Warning = d.err
	return r, d.do == serve && !t.healable(&h.st, now) // the flight under way may bring back what was lost
}

// glance is what was last read without the lock, with the stamp from before.
type glance struct {
	h  holding
	at stamp
}

// look reads without the lock, and only if the place changed since it was read
// last. Tokens that another program wrote count as adopted, as they will be
// under the lock.
func (g *engine) look(ctx context.Context) (holding, error) {
	at := g.place.stamp(ctx)
	if s := g.seen.Load(); s != nil && at.known && s.at == at {
		return s.h, nil
	}
	h, err := g.place.read(ctx)
	if err != nil {
		return h, err
	}
	if h.st.Intent == nil {
		g.resolve(&h, false)
	}
	g.seen.Store(&glance{h: h, at: at})
	return h, nil
}

// view is a look with what identifies the grant.
func (g *engine) view(ctx context.Context) (holding, terms, error) {
	h, err := g.look(ctx)
	if err != nil {
		return h, terms{}, err
	}
	t, err := g.terms(&h)
	return h, t, err
}

// pause waits before another round. It reports false when the call has no time
// left for it.
func (g *engine) pause(ctx context.Context, o outcome, n int) bool {
	wait := time.Until(o.until)
	if o.until.IsZero() {
		wait = jittered(backoff(n, retryDelays))
		if o.found.RetryAfter > wait {
			wait = o.found.RetryAfter
		}
		if o.found.Outcome == Uncertain || o.found.Rule == wantsNonce {
			wait = 0 // inside a grace window every moment counts; a nonce is at hand
		}
	}
	if end, ok := ctx.Deadline(); ok && time.Now().Add(wait).After(end) {
		return false
	}
	switch {
	case !o.until.IsZero():
		g.emit(Waiting{Grant: g.place.id(), Until: o.until, Says: o.err.Says})
	case o.found.Outcome != Uncertain:
		g.emit(Retrying{Grant: g.place.id(), Outcome: o.found.Outcome, Says: o.found.Says, After: wait})
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// giveUp ends a call with an error, unless a token can be served all the same
// (P6).
func (g *engine) giveUp(ctx context.Context, q ask, err *Error) (*Result, error) {
	if cause := context.Cause(ctx); errors.Is(cause, ErrClosed) && err.Outcome == "" {
		return nil, interrupted(cause)
	}
	if q.kind != askToken {
		return nil, err
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout) // ctx may be what ended the call
	defer cancel()
	h, readErr := g.look(late)
	if readErr != nil || h.undecided() {
		return nil, err
	}
	t, _ := g.terms(&h)
	return g.fallback(q, &h, t, err)
}

// fallback serves the token at hand with err as a warning, if it has not ended.
func (g *engine) fallback(q ask, h *holding, t terms, err *Error) (*Result, error) {
	if q.kind != askToken || h.undecided() || !servable(q, h, t.expiry(h), time.Now()) {
		return nil, err
	}
	r := g.result(h, t)
	r.Warning = err
	return r, nil
}

// round is one turn under the lock: recover what an earlier run left, read
// again, decide, and send at most once.
func (g *engine) round(ctx context.Context, q ask, c credentials) outcome {
	if ctx.Err() != nil {
		return outcome{err: interrupted(context.Cause(ctx))}
	}
	s, err := g.place.lock(ctx)
	if err != nil {
		return outcome{err: asError(err)}
	}
	defer s.release()
	h, err := s.read(ctx)
	if err != nil {
		return outcome{err: asError(err)}
	}
	before := h.st.Generation
	recovered, err := g.recover(ctx, s, &h, q.replay)
	if err != nil {
		return outcome{err: asError(err)}
	}
	t, err := g.terms(&h)
	if err != nil {
		return outcome{err: asError(err)}
	}
	if !c.fit(t.id) {
		return outcome{now: &t.id}
	}
	if q.kind == askRejected && digestOf(h.file.AccessToken()) == q.rejected {
		g.learnRejection(&h, t)
	}
	d := decide(q, &h, t, time.Now())
	switch d.do {
	case serve:
		r := g.result(&h, t)
		r.Warning, r.Adopted, r.Recovered = d.err, d.adopted, recovered
		if d.adopted || h.st.Generation != before {
			g.emit(Adopted{Grant: g.place.id(), Generation: r.Token.Generation, Login: h.st.Learned.LoginAt.Equal(h.st.Committed.At)})
		}
		return outcome{result: r}
	case fail:
		return outcome{err: d.err}
	case wait:
		return outcome{err: d.err, until: d.until, again: true}
	}
	return g.attempt(ctx, s, h, t, c, d, q)
}

// learnRejection notes the age at which the token at hand was rejected, for
// grants of whose tokens nobody says how long they live. The last one counts:
// an early rejection may have had other causes.
func (g *engine) learnRejection(h *holding, t terms) {
	if age := ageAtRejection(t.expiry(h).Issued, time.Now()); age > 0 {
		h.st.Learned.Lifetime = seconds(age)
	}
}

// attempt makes the journalled try and brings its outcome to the place.
func (g *engine) attempt(ctx context.Context, s session, h holding, t terms, c credentials, d decision, q ask) outcome {
	req, err := g.request(&h, t, c)
	if err != nil {
		return outcome{err: asError(err)}
	}
	// A request that leaves is given its whole time, whatever is left of the
	// call: an answer that its own caller cuts off may hold the only copy of a
	// new refresh token.
	deadline := time.Now().Add(t.timeout)
	proofs, err := g.prove(req, &h)
	if err != nil {
		return outcome{err: asError(err)}
	}
	x := &attempt{g: g, proofs: proofs, secrets: req.Secrets(), dialect: g.dialect(t), s: s, h: h, t: t, q: q, st: h.st, replay: d.replay, sent: h.file.RefreshToken()}
	x.st.Intent = &intent{
		Attempt: randomHex(8), Phase: dialing, Owner: owner(), Generation: h.st.Generation,
		Refresh: h.st.mark(x.sent), Access: h.st.mark(h.file.AccessToken()), Base: h.st.mark(string(h.file.Bytes())),
		Started: thisMoment(), Deadline: deadline.UTC().Round(0), Replay: d.replay, Row: d.row, Grant: t.id,
	}
	if g.cfg.TokenURL == "" && h.st.remembered().TokenURL == "" {
		g.emit(Identified{Grant: g.place.id(), Provider: t.id.Provider, TokenURL: t.id.TokenURL})
	}
	if x.try, err = s.begin(ctx, h, &x.st); err != nil {
		return outcome{err: asError(err)}
	}
	defer x.try.discard()
	answer, err := g.send(ctx, req, c.Certificates, deadline, func() error {
		now := thisMoment() // before the mark: a grace window cannot have begun earlier
		x.leaves.Store(&now)
		return x.try.mark(sending)
	})
	if err != nil {
		return x.unanswered(ctx, err)
	}
	if proofs != nil {
		proofs.Learn(req.URL, answer.Header)
	}
	token, err := oauth.ParseToken(answer, x.dialect)
	return x.answered(ctx, answer, token, err)
}

// send makes the one exchange. The caller may stop waiting until the request
// begins to leave; from then on only the exchange's own deadline ends it.
func (g *engine) send(ctx context.Context, req *oauth.Request, certs []tls.Certificate, deadline time.Time, mark func() error) (*oauth.Answer, error) {
	client := g.cfg.HTTP
	if len(certs) > 0 {
		client.Certificates = certs
	}
	own, cancel := context.WithDeadlineCause(context.WithoutCancel(ctx), deadline, errors.New("the provider did not answer in time"))
	defer cancel()
	var mu sync.Mutex
	leaving := false
	stop := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		if !leaving {
			cancel()
		}
	})
	defer stop()
	return client.Send(own, req, func() error {
		mu.Lock()
		defer mu.Unlock()
		if err := context.Cause(ctx); err != nil {
			return err
		}
		leaving = true
		return mark()
	})
}

// owner names this process for a person who finds its intent.
func owner() string {
	host, _ := os.Hostname()
	return fmt.Sprintf("pid %d on %s", os.Getpid(), host)
}

// result is the token at hand.
func (g *engine) result(h *holding, t terms) *Result {
	e := t.expiry(h)
	kind := firstOf(h.tokenType(), "Bearer")
	proofs, _ := g.proofs(h) // a key that cannot be read was told before a token of its kind is handed out
	return &Result{
		Token: &Token{AccessToken: oauth.NewSecret(h.file.AccessToken()), Type: kind, Expiry: e.At, Generation: h.st.Generation, proofs: proofs},
		due:   t.due(h, e),
	}
}

func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Class: ErrStorage, Rule: "internal", Says: err.Error(), Do: "look at the cause and try again", Err: err}
}
