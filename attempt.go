package evergrant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/evergrant/evergrant/internal/lockedfile"
	"github.com/evergrant/evergrant/internal/tokenfile"
	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
)

// holdFor bounds the tries to put an answer anywhere at all.
const holdFor = 20 * time.Second

// holdDelays are the waits between the tries to store an answer where it
// belongs; after them it goes into a rescue file.
var holdDelays = []time.Duration{20 * time.Millisecond, 100 * time.Millisecond, 400 * time.Millisecond, time.Second}

// attempt is one journalled try to refresh: what it started from and where its
// outcome goes.
type attempt struct {
	g       *engine
	s       session
	h       holding
	t       terms
	q       ask
	st      state // with the intent; becomes what is stored
	stored  state // what is stored with the answer
	try     try
	proofs  *jose.Proofs // nil unless the grant is bound to a key
	replay  bool
	leaves  atomic.Pointer[moment] // when the request began to leave; nil: it did not
	sent    string                 // the refresh token that was sent
	secrets []oauth.Secret
	dialect oauth.Dialect
}

// unanswered brings a request without a whole answer to its outcome.
func (x *attempt) unanswered(ctx context.Context, err error) outcome {
	var se *oauth.SendError
	if errors.As(err, &se) && !se.Sent && ctx.Err() != nil {
		if err := x.unspent(ctx, finding{}); err != nil {
			return outcome{err: asError(err)}
		}
		return outcome{err: interrupted(context.Cause(ctx))}
	}
	f := classifySend(err)
	if se != nil && len(se.Partial) > 0 {
		if o, ok := x.salvage(ctx, se); ok {
			return o
		}
		x.keepRaw(&f, se.Partial)
	}
	return x.conclude(ctx, f)
}

// salvage stores the new refresh token of an answer that was cut off after it:
// the provider has replaced the one that was sent, so the one that came is the
// grant's, whatever else is missing.
func (x *attempt) salvage(ctx context.Context, se *oauth.SendError) (outcome, bool) {
	access, refresh := oauth.FindTokens(se.Partial, x.dialect)
	if refresh.IsZero() || refresh.Reveal() == x.sent || se.Status < 200 || se.Status > 299 {
		return outcome{}, false
	}
	token := &oauth.TokenAnswer{AccessToken: access, RefreshToken: refresh}
	for _, m := range [][2]string{{"access_token", access.Reveal()}, {"refresh_token", refresh.Reveal()}} {
		if b, err := json.Marshal(m[1]); err == nil && m[1] != "" {
			token.Members = append(token.Members, oauth.Member{Name: m[0], Value: b})
		}
	}
	return x.store(ctx, &oauth.Answer{Status: se.Status, Body: se.Partial, Received: time.Now()}, token), true
}

// keepRaw puts an answer that cannot be used into the rescue folder, for a
// person: it may hold the only copy of a new refresh token.
func (x *attempt) keepRaw(f *finding, body []byte) {
	if len(body) == 0 {
		return
	}
	if p, err := lockedfile.WriteElsewhere(x.g.cfg.rescueDirs(), "answer."+x.st.Intent.Attempt+".raw", body); err == nil {
		f.Kept, f.Do = p, "the answer is kept in "+p+" for a person to look at; it holds secrets"
	}
}

// answered brings an answer to its outcome. A usable one is stored before
// anything in it is interpreted (P2).
func (x *attempt) answered(ctx context.Context, a *oauth.Answer, token *oauth.TokenAnswer, parseErr error) outcome {
	if parseErr == nil && usable(a, token) {
		return x.store(ctx, a, token)
	}
	if token != nil { // servers have been seen to quote a token
		token.Error, token.ErrorDescription = oauth.Scrub(token.Error, x.secrets...), oauth.Scrub(token.ErrorDescription, x.secrets...)
	}
	if x.proofs != nil && jose.WantsNonce(a.Status, a.Header, a.Body) { // nothing was refused but the proof
		return x.renonce(ctx)
	}
	f := classifyAnswer(x.t.provider(), a, token)
	if f.Outcome == Uncertain && a.Status >= 500 && x.t.neverRotates(&x.h.st) {
		f.Outcome = Transient
	}
	if f.Outcome == Dead && x.t.asserts() { // the provider's word is about this assertion, not about a login
		f.Outcome = Misconfigured
		if f.Code == "invalid_grant" { // other codes say more, such as that consent is missing
			f.Rule, f.Says, f.Do = "assertion-refused", "the provider gives no token for this grant", "check the key, subject, audience and scope it was set up with, and this machine's clock"
		}
	}
	if parseErr != nil && a.Status/100 == 2 {
		f.Detail = parseErr.Error()
		x.keepRaw(&f, a.Body)
	} else if token != nil && !token.RefreshToken.IsZero() && token.RefreshToken.Reveal() != x.sent {
		x.keepRaw(&f, a.Body)
	}
	return x.conclude(ctx, f)
}

// wantsNonce is the rule of an answer that only asks for a nonce in the proof.
const wantsNonce = "proof-nonce"

// renonce frees the refresh token of a try whose proof lacked the server's
// nonce (RFC 9449 §8), which is known now.
func (x *attempt) renonce(ctx context.Context) outcome {
	f := finding{Outcome: Transient, Rule: wantsNonce, Says: "the provider wants a nonce in the proof of possession, and refuses the one it gave itself", Do: "check this machine's clock and try again"}
	o := outcome{found: f, err: f.failure(), again: !x.q.nonced} // RFC 9449 §8: the second time it is a failure
	if !x.q.nonced {
		f = finding{} // no failure yet: nothing is to be held back for it
	}
	if err := x.unspent(ctx, f); err != nil {
		o.err.Err, o.again = err, false
	}
	return o
}

// conclude journals an outcome that brought no token.
func (x *attempt) conclude(ctx context.Context, f finding) outcome {
	if f.Outcome == Uncertain && x.t.asserts() {
		f.Outcome, f.Do = Transient, "try again: a grant of this kind is asked for anew each time"
	}
	o := outcome{found: f, err: f.failure()}
	switch f.Outcome {
	case Uncertain:
		if left := x.leaves.Load(); left != nil { // dialing may have taken longer than a window is open
			in := *x.st.Intent
			in.Started = *left
			x.st.Intent = &in
		}
		since := x.st.Intent.Started.At
		x.st.doubtIntent(f.Says)
		x.remember(f)
		defer x.g.emit(InDoubt{Grant: x.g.place.id(), Since: since, Says: f.Says}) // once it is durable
		o.again = x.t.grace() > 0
		o.err.InDoubt = x.st.Doubt.Since.At
		if o.err.Path = f.Kept; f.Kept == "" {
			o.err.Do = x.st.Doubt.failure(x.t.expiry(&x.h)).Do
		}
	case Dead:
		return x.ended(ctx, f)
	case Busy, Transient:
		o.again = !x.servesAnyway() || f.Outcome == Busy && x.t.healable(&x.h.st, time.Now()) // it is the one in doubt that still runs
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
func (x *attempt) servesAnyway() bool {
	return x.q.kind == askToken && servable(x.q, &x.h, x.t.expiry(&x.h), time.Now())
}

// unspent clears the intent of a try that did not spend the refresh token. An
// earlier doubt stays.
func (x *attempt) unspent(ctx context.Context, f finding) error {
	in := x.st.Intent
	x.st.clearIntent()
	x.remember(f)
	if x.st.Doubt != nil && f.Outcome != "" {
		later := *x.st.Doubt                                         // others may share it
		if left := x.leaves.Load(); left != nil && x.t.grace() > 0 { // some servers say no and do it: then the window began with this one
			later.left(in, *left)
		}
		later.RetryAt = time.Now().UTC().Add(backoff(x.st.Last.Failed, lastTryDelays))
		x.st.Doubt = &later
	}
	return x.s.note(ctx, x.h, &x.st)
}

// remember notes the outcome for status and for back-off across calls.
func (x *attempt) remember(f finding) {
	if f.Outcome == "" {
		return
	}
	l := &x.st.Last
	*l = lastTry{At: time.Now().UTC().Round(0), Outcome: f.Outcome, Rule: f.Rule, Says: f.Says, Failed: l.Failed + 1, Broke: l.Broke, BrokeLast: l.BrokeLast}
	if left := x.leaves.Load(); left != nil && f.Broke {
		if l.BrokeLast = left.At; l.Broke.IsZero() {
			l.Broke = left.At
		}
	}
	wait := max(f.RetryAfter, backoff(l.Failed, retryDelays))
	if f.Outcome == Blocked {
		wait = max(wait, probeBlocked)
	}
	l.RetryAt = l.At.Add(wait)
}

// ended records the provider's verdict, unless the document has another
// refresh token by now: then that one is the grant.
func (x *attempt) ended(ctx context.Context, f finding) outcome {
	now, err := x.s.read(ctx)
	if err == nil && whoWins(&x.st, now, x.sent) == theirs {
		x.st.clearIntent()
		x.st.adopt(now.file.AccessToken(), now.file.RefreshToken(), now.written)
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
	if x.st.Grant.TokenURL == "" {
		v.Grant = x.t.id // so that the next try need not be told again
	}
	if x.st.Doubt != nil {
		v.LostAt = x.st.Doubt.Since.At
	} else if x.st.Grant.TokenURL != x.t.id.TokenURL {
		v.Do = "check that " + x.t.id.TokenURL + " issued the token, and to the client " + x.t.id.ClientID + " (neither has worked for this grant yet); if so: " + f.Do
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
func (x *attempt) store(ctx context.Context, a *oauth.Answer, token *oauth.TokenAnswer) outcome {
	if says := otherAccount(x.h.file, token); says != "" {
		return x.setAside(ctx, a, says)
	}
	merge := tokenfile.Answer{Members: x.members(token), Received: a.Received, Lifetime: x.lifetime(a, token)}
	cur := x.h
	var next *tokenfile.File
	var changes []tokenfile.Change
	for began, tries, edits := time.Now(), 0, 0; ; {
		var err error
		if next, changes, err = cur.file.Merge(merge); err == nil {
			err = x.misplaced(token, next)
		}
		if err != nil {
			return x.unmergeable(ctx, a, err)
		}
		x.take(a, token, next)
		if err = x.try.commit(ctx, cur, next, &x.stored); err == nil {
			break
		}
		var moved *movedError
		switch {
		case errors.As(err, &moved) && whoWins(&x.st, moved.now, next.RefreshToken()) == theirs:
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
func (x *attempt) lifetime(a *oauth.Answer, token *oauth.TokenAnswer) time.Duration {
	if e := x.expiry(a, token); !e.At.IsZero() {
		return e.At.Sub(a.Received)
	}
	return 0
}

func (x *attempt) expiry(a *oauth.Answer, token *oauth.TokenAnswer) expiry {
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
func (x *attempt) take(a *oauth.Answer, token *oauth.TokenAnswer, next *tokenfile.File) {
	st := x.st
	now := thisMoment()
	refresh := next.RefreshToken()
	rotated := refresh != x.sent
	answered := *st.Intent
	answered.Deadline = now.At // this request has arrived; what is in doubt may still travel
	st.Intent = &answered
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
		l.RefreshAt = refreshAt(e, l.RotatedAt, x.t.provider(), chance())
	}
	x.stored = st
}

// handOut interprets what is stored: only now may anything about the answer
// stand in the way of using it.
func (x *attempt) handOut(r *Result, token *oauth.TokenAnswer, h *holding) outcome {
	o := outcome{result: r, found: finding{Outcome: Fresh}}
	switch e := x.t.expiry(h); {
	case token.AccessToken.IsZero():
		o.err = &Error{Class: ErrTemporary, Outcome: Uncertain, Rule: "no-access-token", Do: "run it again",
			Says: "the answer brought a new refresh token, which is stored, and no access token"}
	case h.unusable() != nil:
		o.err = h.unusable()
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
func (x *attempt) noteChanges(h *holding) {
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
func (x *attempt) hold(next *tokenfile.File, cause error, last bool) (outcome, bool) {
	x.g.held = &heldAnswer{attempt: x.st.Intent.Attempt, file: next}
	p, err := x.s.rescue(x.st.Intent.Attempt, next)
	if err != nil && !last {
		return outcome{}, false
	}
	if err == nil {
		x.tellRescue(p)
	}
	e := storageError("answer-held", p, "the new token could not be stored and is kept in "+p, "make room or repair the file; the next run puts it back from there", cause)
	if at := x.try.copyAt(); err != nil && at != "" {
		e = storageError("answer-held", at, "the new token could not be put in its place; a copy that the next run takes is in "+at,
			"repair the file or its folder and run it again, before the machine is restarted", errors.Join(cause, err))
	} else if err != nil {
		e = storageError("answer-unstored", x.g.place.id(), "the new token could not be made durable anywhere",
			"do not restart the machine; repair the disk and run it again: a copy that a power cut would take may lie beside the file", errors.Join(cause, err))
	}
	e.Outcome = Uncertain
	x.g.emit(Held{Grant: x.g.place.id(), Path: p, Says: e.Says})
	return outcome{err: e, found: finding{Outcome: Uncertain}}, true
}

// tellRescue notes in the journal where the answer is, so that a run that looks
// elsewhere does not take it for lost.
func (x *attempt) tellRescue(path string) {
	in := *x.st.Intent
	in.Phase, in.Rescue = kept, path
	st := x.st
	st.Intent = &in
	if x.s.note(context.Background(), x.h, &st) != nil {
		x.try.mark(kept) // no room for the name; if even this fails, the open intent says sending
	}
}

// misplaced reports that a merge left a new token out of the document: then the
// answer must not count as stored.
func (x *attempt) misplaced(token *oauth.TokenAnswer, next *tokenfile.File) error {
	if !token.RefreshToken.IsZero() && next.RefreshToken() != token.RefreshToken.Reveal() ||
		!token.AccessToken.IsZero() && next.AccessToken() != token.AccessToken.Reveal() {
		return errors.New("the document has no place for the new token")
	}
	return nil
}

// unmergeable keeps an answer that does not fit the document for a person. The
// intent becomes a doubt, so that the token that was sent is not sent lightly.
func (x *attempt) unmergeable(ctx context.Context, a *oauth.Answer, cause error) outcome {
	f := finding{Outcome: Uncertain, Rule: "answer-unmergeable", Says: "the new token does not fit into the document", Detail: cause.Error(), Do: "look at the document's members"}
	x.keepRaw(&f, a.Body)
	o := x.conclude(ctx, f)
	o.again = false
	o.err.Class, o.err.Do = ErrStorage, f.Do
	return o
}

// superseded gives way to a login that another program wrote while the answer
// was on its way: theirs is the grant now, ours is kept aside.
func (x *attempt) superseded(ctx context.Context, now holding, next *tokenfile.File) outcome {
	says := "somebody else stored a newer token while the refresh was under way; theirs is kept"
	if now.file.RefreshToken() == next.RefreshToken() {
		// The grant does not rotate: nothing of ours is worth keeping.
	} else if p, err := lockedfile.WriteElsewhere(x.g.cfg.rescueDirs(), "aside."+x.st.Intent.Attempt+".json", next.Bytes()); err == nil {
		says += ", the answer is in " + p
	}
	st := now.st // of a store: as the login wrote it
	st.Intent, st.Doubt = nil, nil
	if st.standing(now.file.RefreshToken()) == newcomer {
		st.adopt(now.file.AccessToken(), now.file.RefreshToken(), time.Now())
	}
	if err := x.s.settle(ctx, now, &st); err != nil {
		return outcome{err: asError(err)}
	}
	h := holding{file: now.file, st: st, written: time.Now()}
	x.g.emit(Adopted{Grant: x.g.place.id(), Generation: st.Generation, Login: true})
	x.g.emit(Noted{Grant: x.g.place.id(), Says: says})
	r := x.g.result(&h, x.t)
	r.Adopted = true
	return outcome{result: r}
}

// setAside keeps the answer for another account out of the token file.
func (x *attempt) setAside(ctx context.Context, a *oauth.Answer, says string) outcome {
	var p string
	var err error
	for began := time.Now(); ; time.Sleep(holdDelays[len(holdDelays)-1]) {
		if p, err = lockedfile.WriteElsewhere(x.g.cfg.rescueDirs(), "aside."+x.st.Intent.Attempt+".json", a.Body); err == nil || time.Since(began) > holdFor {
			break
		}
	}
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

// members converts the answer's members for the merge, under their standard
// names.
func (x *attempt) members(token *oauth.TokenAnswer) []tokenfile.Member {
	ms := make([]tokenfile.Member, 0, min(len(token.Members), maxMembers))
	for _, m := range token.Members {
		name := firstOf(x.dialect.Rename[m.Name], m.Name)
		if name == proofName {
			continue // the key is ours, whatever a server says
		}
		if len(ms) < maxMembers || name == "access_token" || name == "refresh_token" {
			ms = append(ms, tokenfile.Member{Name: name, Value: m.Value})
		}
	}
	if n := len(token.Members) - len(ms); n > 0 {
		x.g.emit(Noted{Grant: x.g.place.id(), Says: fmt.Sprintf("the answer has %d members; %d of them were left out", len(token.Members), n), Do: "look at it with -v: it may not be the provider's"})
	}
	return ms
}

// maxMembers of an answer are stored; honest ones have a dozen.
const maxMembers = 256

// text is the content of a JSON string, "" for any other value.
func text(raw []byte) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}
