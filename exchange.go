package evergrant

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/evergrant/evergrant/internal/lockedfile"
	"github.com/evergrant/evergrant/internal/tokenfile"
	"github.com/evergrant/evergrant/oauth"
)

// holdFor bounds the tries to put an answer anywhere at all.
const holdFor = 20 * time.Second

// holdDelays are the waits between the tries to store an answer where it
// belongs; after them it goes into a rescue file.
var holdDelays = []time.Duration{20 * time.Millisecond, 100 * time.Millisecond, 400 * time.Millisecond, time.Second}

// exchange is one journalled try: what it started from and where its outcome
// goes.
type exchange struct {
	g      *engine
	s      session
	h      holding
	t      terms
	q      ask
	st     state // with the intent; becomes what is stored
	stored state // what is stored with the answer
	try    try
	replay bool
	sent   string // the refresh token that was sent
}

// unanswered brings a request without a whole answer to its outcome.
func (x *exchange) unanswered(ctx context.Context, err error) outcome {
	var se *oauth.SendError
	if errors.As(err, &se) && !se.Sent && ctx.Err() != nil {
		if err := x.unspent(ctx, finding{}); err != nil {
			return outcome{err: asError(err)}
		}
		return outcome{err: interrupted(context.Cause(ctx))}
	}
	return x.conclude(ctx, classifySend(err))
}

// answered brings an answer to its outcome. A usable one is stored before
// anything in it is interpreted (P2).
func (x *exchange) answered(ctx context.Context, a *oauth.Answer, token *oauth.TokenAnswer, parseErr error) outcome {
	if parseErr == nil && usable(a, token) {
		return x.store(ctx, a, token)
	}
	f := classifyAnswer(x.t.provider(), a, token)
	f.Detail = oauth.Scrub(f.Detail, x.secrets()...) // servers have been seen to quote a token
	f.Code = oauth.Scrub(f.Code, x.secrets()...)
	if f.Outcome == Uncertain && a.Status >= 500 && x.t.neverRotates(&x.h.st) {
		f.Outcome = Transient
	}
	if parseErr != nil && a.Status/100 == 2 { // it may hold the only copy of a new refresh token
		f.Detail = parseErr.Error()
		if p, err := lockedfile.WriteElsewhere(x.g.cfg.rescueDirs(), "answer."+x.st.Intent.Attempt+".raw", a.Body); err == nil && len(a.Body) > 0 {
			f.Do = "the answer is kept in " + p + " for a person to look at; it holds secrets"
		}
	}
	return x.conclude(ctx, f)
}

// secrets are what the provider may quote.
func (x *exchange) secrets() []oauth.Secret {
	return []oauth.Secret{oauth.NewSecret(x.sent), oauth.NewSecret(x.h.file.AccessToken()), x.g.cfg.ClientSecret}
}

// conclude journals an outcome that brought no token.
func (x *exchange) conclude(ctx context.Context, f finding) outcome {
	o := outcome{found: f, err: f.failure()}
	switch f.Outcome {
	case Uncertain:
		since := x.st.Intent.Started
		x.st.doubtIntent(f.Says)
		x.remember(f)
		x.g.emit(InDoubt{Grant: x.g.place.id(), Since: since, Says: f.Says})
		o.again = x.t.grace() > 0
		o.err.InDoubt = x.st.Doubt.Since
		o.err.Do = x.st.Doubt.failure(x.t.expiry(&x.h)).Do
	case Dead:
		return x.ended(ctx, f)
	case Busy, Transient:
		o.again = !x.servesAnyway()
		fallthrough
	default:
		if err := x.unspent(ctx, f); err != nil {
			o.err.Err = err
		}
		return o
	}
	if err := x.s.note(ctx, x.h, &x.st); err != nil {
		o.err.Err = err // the intent stays open as it is: the next run takes it for a doubt
	}
	return o
}

// servesAnyway reports whether a valid token is at hand for the ask, so that
// waiting for the provider would only cost time.
func (x *exchange) servesAnyway() bool {
	return x.q.kind == askToken && servable(x.q, &x.h, x.t.expiry(&x.h), time.Now())
}

// unspent clears the intent of a try that did not spend the refresh token. An
// earlier doubt stays.
func (x *exchange) unspent(ctx context.Context, f finding) error {
	x.st.clearIntent()
	x.remember(f)
	if x.st.Doubt != nil && f.Outcome != "" {
		x.st.Doubt.RetryAt = time.Now().UTC().Add(backoff(x.st.Last.Failed, lastTryDelays))
	}
	return x.s.note(ctx, x.h, &x.st)
}

// remember notes the outcome for status and for back-off across calls.
func (x *exchange) remember(f finding) {
	if f.Outcome == "" {
		return
	}
	l := &x.st.Last
	*l = lastTry{At: time.Now().UTC().Round(0), Outcome: f.Outcome, Rule: f.Rule, Says: f.Says, Failed: l.Failed + 1}
	wait := max(f.RetryAfter, backoff(l.Failed, retryDelays))
	if f.Outcome == Blocked {
		wait = max(wait, probeBlocked)
	}
	l.RetryAt = l.At.Add(wait)
}

// ended records the provider's verdict, unless the document has another
// refresh token by now: then that one is the grant.
func (x *exchange) ended(ctx context.Context, f finding) outcome {
	now, err := x.s.read(ctx)
	if err == nil && now.file.RefreshToken() != x.sent {
		x.st.clearIntent()
		x.st.adopt(now.file.AccessToken(), now.file.RefreshToken(), thisMoment())
		if err := x.s.settle(ctx, now, &x.st); err != nil {
			return outcome{err: asError(err)}
		}
		x.g.emit(Adopted{Grant: x.g.place.id(), Generation: x.st.Generation, Login: true})
		return outcome{again: true, found: finding{Outcome: Busy, Says: "another program changed the grant meanwhile"}, err: f.failure()}
	}
	v := &verdict{
		Refresh: x.st.mark(x.sent), TokenURL: x.t.id.TokenURL, ClientID: x.t.id.ClientID,
		At: time.Now().UTC().Round(0), Rule: f.Rule, Code: f.Code, Says: f.Says, Do: f.Do,
	}
	if x.st.Doubt != nil {
		v.LostAt = x.st.Doubt.Since
	} else if x.st.Grant.TokenURL != x.t.id.TokenURL {
		v.Do = "check that " + x.t.id.TokenURL + " is the host that issued the token (it never worked for this grant); else: " + f.Do
	}
	x.st.Dead, x.st.Intent, x.st.Doubt = v, nil, nil
	x.remember(f)
	o := outcome{found: f, err: v.failure()}
	o.err.Detail = f.Detail
	if err := x.s.note(ctx, x.h, &x.st); err != nil {
		o.err.Err = err
	}
	x.g.emit(Ended{Grant: x.g.place.id(), Code: f.Code, Says: v.Says})
	return o
}

// store keeps a usable answer: merged over the document as it is now, durable,
// and only then interpreted.
func (x *exchange) store(ctx context.Context, a *oauth.Answer, token *oauth.TokenAnswer) outcome {
	if says := otherAccount(x.h.file, token); says != "" {
		return x.setAside(ctx, a, says)
	}
	merge := tokenfile.Answer{Members: members(token), Received: a.Received, Lifetime: x.lifetime(a, token)}
	cur := x.h
	var next *tokenfile.File
	var changes []tokenfile.Change
	for began, tries, edits := time.Now(), 0, 0; ; {
		var err error
		if next, changes, err = cur.file.Merge(merge); err == nil {
			x.take(a, token, next)
			err = x.try.commit(ctx, cur, next, &x.stored)
		}
		if err == nil {
			break
		}
		var moved *movedError
		switch {
		case errors.As(err, &moved) && isLogin(holding{file: moved.now.file, st: x.st}, next.RefreshToken()):
			return x.superseded(ctx, moved.now, next)
		case errors.As(err, &moved) && edits < foreignEdits:
			edits++
			cur.file = moved.now.file
		default:
			if tries >= len(holdDelays) {
				if o, held := x.hold(next, err, time.Since(began) > holdFor); held {
					return o
				}
			}
			time.Sleep(backoff(tries+1, holdDelays))
			tries++
		}
	}
	x.g.held = nil
	h := holding{file: next, st: x.stored}
	r := x.g.result(&h, x.t)
	r.Outcome, r.Changes, r.Replayed = Fresh, changed(changes), x.replay
	r.Rotated = next.RefreshToken() != x.sent
	x.g.emit(Refreshed{Grant: x.g.place.id(), Generation: x.stored.Generation, Expiry: r.Token.Expiry, Rotated: r.Rotated, Replayed: x.replay})
	return x.handOut(r, token, &h)
}

// lifetime is how long the access token received is valid; 0 if nobody knows.
func (x *exchange) lifetime(a *oauth.Answer, token *oauth.TokenAnswer) time.Duration {
	if e := x.expiry(a, token); !e.At.IsZero() {
		return e.At.Sub(a.Received)
	}
	return 0
}

func (x *exchange) expiry(a *oauth.Answer, token *oauth.TokenAnswer) expiry {
	received := a.Received.UTC().Round(0)
	switch token.ExpiresInState {
	case oauth.ExpiresInOK:
		return answerExpiry(received, token.ExpiresIn, token.AccessToken.Reveal(), x.t.lifetimes(&x.st))
	case oauth.ExpiresInZeroOrNegative: // stored, and due at once
		return expiry{At: received, From: "answer", Issued: received}
	}
	return answerExpiry(received, 0, token.AccessToken.Reveal(), x.t.lifetimes(&x.st))
}

// take makes the state that goes with the answer.
func (x *exchange) take(a *oauth.Answer, token *oauth.TokenAnswer, next *tokenfile.File) {
	st := x.st
	now := thisMoment()
	refresh := next.RefreshToken()
	if x.replay && x.st.Doubt != nil && x.st.Doubt.Deadline.After(now.At) {
		st.QuietUntil = x.st.Doubt.Deadline // the request in doubt may still arrive
	}
	rotated := refresh != x.sent
	st.renew(next.AccessToken(), refresh, now)
	st.Grant = x.t.id
	st.Last = lastTry{At: now.At, Outcome: Fresh}
	l := &st.Learned
	l.Rotates = &rotated
	if rotated || l.RotatedAt.IsZero() || x.t.provider() != nil && x.t.provider().Refresh.Idle > 0 {
		l.RotatedAt = now.At // an idle limit counts from the last use
	}
	if !token.AccessToken.IsZero() {
		e := x.expiry(a, token)
		l.IssuedAt, l.ExpiresAt, l.Source, l.TokenType = e.Issued, e.At, e.From, token.TokenType
		l.RefreshAt = refreshAt(e, l.RotatedAt, x.t.provider(), rand.Float64())
	}
	x.stored = st
}

// handOut interprets what is stored: only now may anything about the answer
// stand in the way of using it.
func (x *exchange) handOut(r *Result, token *oauth.TokenAnswer, h *holding) outcome {
	o := outcome{result: r, found: finding{Outcome: Fresh}}
	switch e := x.t.expiry(h); {
	case token.AccessToken.IsZero():
		o.err = &Error{Class: ErrTemporary, Outcome: Uncertain, Rule: "no-access-token", Do: "run it again",
			Says: "the answer brought a new refresh token, which is stored, and no access token"}
	case !bearer(token.TokenType):
		o.err = &Error{Class: ErrMisconfigured, Outcome: Misconfigured, Rule: "token-type", Path: x.g.place.id(),
			Says: "the provider sent a token of type " + token.TokenType + ", which was not asked for; it is stored and not handed out",
			Do:   "check the client's registration at the provider"}
	case x.q.kind == askToken && x.q.min > 0 && !servable(x.q, h, e, time.Now()):
		o.err = tooShort(x.q.min, time.Until(e.At))
		if e.At.IsZero() {
			o.err = unknownLifetime()
		}
	}
	if o.err != nil {
		o.result = nil
	}
	x.noteChanges(h)
	return o
}

// noteChanges tells what a person should know about an answer that is no
// failure.
func (x *exchange) noteChanges(h *holding) {
	if before, now := x.h.file.Text("scope"), h.file.Text("scope"); narrower(before, now) {
		x.g.emit(Noted{Grant: x.g.place.id(), Says: "the provider narrowed the scope from \"" + before + "\" to \"" + now + "\"", Do: "log in again if a scope is missing"})
	}
	if before, now := x.h.file.Text("instance_url"), h.file.Text("instance_url"); before != "" && now != before {
		x.g.emit(Noted{Grant: x.g.place.id(), Says: "instance_url is now " + now, Do: "use it for the next calls"})
	}
}

// hold keeps an answer that its place did not take in a rescue file. The
// intent stays open, so that nothing is sent for this grant until the answer
// is back in its place. It reports false where not even that worked and there
// is time left.
func (x *exchange) hold(next *tokenfile.File, cause error, last bool) (outcome, bool) {
	x.g.held = &heldAnswer{attempt: x.st.Intent.Attempt, file: next}
	p, err := x.s.rescue(x.st.Intent.Attempt, next)
	if err != nil && !last {
		return outcome{}, false
	}
	e := storageError("answer-held", p, "the new token could not be stored and is kept in "+p, "make room or repair the file; the next run puts it back from there", cause)
	if err != nil {
		e = storageError("answer-unstored", "", "the new token could not be stored anywhere", "keep this process running if you can; it holds the only copy", errors.Join(cause, err))
	}
	e.Outcome = Uncertain
	x.g.emit(Held{Grant: x.g.place.id(), Path: p, Says: e.Says})
	return outcome{err: e, found: finding{Outcome: Uncertain}}, true
}

// superseded gives way to a login that another program wrote while the answer
// was on its way: theirs is the grant now, ours is kept aside.
func (x *exchange) superseded(ctx context.Context, now holding, next *tokenfile.File) outcome {
	attempt := x.st.Intent.Attempt
	x.st.adopt(now.file.AccessToken(), now.file.RefreshToken(), thisMoment())
	x.st.Grant = x.t.id
	h := holding{file: now.file, st: x.st, written: time.Now()}
	if err := x.s.settle(ctx, h, &x.st); err != nil {
		return outcome{err: asError(err)}
	}
	says := "somebody logged in while the refresh was under way; their token is kept"
	if p, err := x.s.rescue(attempt, next); err == nil {
		says += ", the answer is in " + p
	}
	x.g.emit(Adopted{Grant: x.g.place.id(), Generation: x.st.Generation, Login: true})
	x.g.emit(Noted{Grant: x.g.place.id(), Says: says})
	r := x.g.result(&h, x.t)
	r.Adopted = true
	return outcome{result: r}
}

// setAside keeps the answer for another account out of the token file.
func (x *exchange) setAside(ctx context.Context, a *oauth.Answer, says string) outcome {
	p, err := lockedfile.WriteElsewhere(x.g.cfg.rescueDirs(), "aside."+x.st.Intent.Attempt+".json", a.Body)
	x.st.Aside = &aside{Refresh: x.st.mark(x.sent), At: time.Now().UTC().Round(0), Path: p, Says: says}
	x.st.Intent, x.st.Doubt = nil, nil
	f := finding{Outcome: Blocked, Rule: "other-account", Says: says}
	x.remember(f)
	e := x.st.Aside.failure()
	e.Outcome, e.Err = Blocked, err
	if err := x.s.note(ctx, x.h, &x.st); err != nil {
		e.Err = err
	}
	return outcome{found: f, err: e}
}

// otherAccount says in words that an answer names another account than the
// document: by id where it is an identity URL whose path ends in organisation
// and user (Salesforce), or by sub.
func otherAccount(f *tokenfile.File, token *oauth.TokenAnswer) string {
	for _, m := range token.Members {
		if m.Name != "id" && m.Name != "sub" {
			continue
		}
		was, is := f.Text(m.Name), text(m.Value)
		if was == "" || is == "" || m.Name == "id" && !strings.Contains(was, "://") {
			continue
		}
		if m.Name == "id" {
			was, is = account(was), account(is)
		}
		if was != is {
			return "the provider answered for another account (" + is + ", not " + was + ")"
		}
	}
	return ""
}

// account is the end of an identity URL: ORG/USER, each without the three
// check letters that turn Salesforce's 15-letter ids into 18.
func account(url string) string {
	dir, user := path.Split(strings.TrimRight(url, "/"))
	_, org := path.Split(strings.TrimRight(dir, "/"))
	short := func(id string) string {
		if len(id) == 18 {
			return id[:15]
		}
		return id
	}
	return short(org) + "/" + short(user)
}

// bearer reports whether a token of this type is sent as it is (RFC 6750).
// Only the types that need a proof beside them are not; providers write the
// others in many ways.
func bearer(tokenType string) bool {
	switch strings.ToLower(tokenType) {
	case "mac", "dpop", "pop":
		return false
	}
	return true
}

// narrower reports whether a scope of before is missing in now.
func narrower(before, now string) bool {
	have := strings.Fields(now)
	for _, s := range strings.Fields(before) {
		if now != "" && !slices.Contains(have, s) {
			return true
		}
	}
	return false
}

// members converts the answer's members for the merge.
func members(token *oauth.TokenAnswer) []tokenfile.Member {
	ms := make([]tokenfile.Member, len(token.Members))
	for i, m := range token.Members {
		ms[i] = tokenfile.Member{Name: m.Name, Value: m.Value}
	}
	return ms
}

// text is the content of a JSON string, "" for any other value.
func text(raw []byte) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}
