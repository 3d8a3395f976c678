package evergrant

import (
	"context"
	"encoding/json"
	"time"

	"github.com/evergrant/evergrant/internal/lockedfile"
	"github.com/evergrant/evergrant/internal/tokenfile"
)

// recover resolves what an earlier run left behind, under the lock: an answer
// that was written but not put in its place is rolled forward; an open intent
// becomes "stored", "not sent" or a doubt; tokens that another program wrote
// are adopted. h becomes what there is afterwards. It reports whether an
// answer was rolled forward.
func (g *engine) recover(ctx context.Context, s session, h *holding, replay bool) (bool, error) {
	st := &h.st
	var committed bool
	if st.Intent != nil {
		var out *tokenfile.File
		if out, committed = s.committed(*h, st.Intent.Attempt); out != nil && st.mark(string(out.Bytes())) != st.Intent.Base {
			return true, g.reinstate(ctx, s, h, out)
		}
	}
	open := st.Intent != nil || st.Doubt != nil
	var answer *tokenfile.File
	if open {
		var attempt string
		var err error
		if answer, attempt, err = g.lostAnswer(s, h); err != nil {
			return false, err
		}
		if answer != nil && !committed {
			if whoWins(st, *h, answer.RefreshToken()) == ours {
				return true, g.rollForward(ctx, s, h, answer, attempt)
			}
			if err := g.putAside(attempt, answer); err != nil {
				return false, err
			}
		}
	}
	if answer == nil && !replay && st.Intent != nil && st.Intent.Phase == kept && st.Intent.spends() && st.standing(h.file.RefreshToken()) != newcomer {
		return false, heldElsewhere(st.Intent, g.place.id())
	}
	changed := g.resolve(h, committed)
	if !changed || !open {
		return false, nil // adopting alone is not worth a write: the next one carries it
	}
	return false, s.settle(ctx, *h, st)
}

// lostAnswer finds the answer of the open intent, or of one of the requests in
// doubt, that was received and did not reach its place.
func (g *engine) lostAnswer(s session, h *holding) (*tokenfile.File, string, error) {
	var attempts []string
	if h.st.Intent != nil {
		attempts = append(attempts, h.st.Intent.Attempt)
	}
	if h.st.Doubt != nil {
		attempts = append(attempts, h.st.Doubt.Attempts...)
	}
	for _, a := range attempts {
		if g.held != nil && g.held.attempt == a {
			return g.held.file, a, nil
		}
		if f, err := s.pending(*h, a); f != nil || err != nil {
			return f, a, err
		}
	}
	return nil, "", nil
}

// rollForward puts a lost answer in its place: as it was written if the
// document is still the one it was made from, else its tokens are spliced into
// what is there.
func (g *engine) rollForward(ctx context.Context, s session, h *holding, answer *tokenfile.File, attempt string) error {
	st := h.st
	if st.Intent == nil { // its request is in doubt
		st.Intent = &intent{Attempt: attempt, Phase: sending, Refresh: st.Doubt.Refresh, Access: st.Doubt.Access, Grant: st.Doubt.Grant, Owner: owner(), Started: st.Doubt.Since, Deadline: st.Doubt.Deadline, Replay: len(st.Doubt.Attempts) > 1}
	}
	in := *st.Intent
	in.Phase = sending
	st.Intent = &in
	g.held = &heldAnswer{attempt: attempt, file: answer} // until it is back in its place
	cur := *h
	for edits := 0; ; edits++ {
		next := answer
		there := cur.file.AccessToken() == answer.AccessToken() && cur.file.RefreshToken() == answer.RefreshToken() // an edit was being spliced in
		if st.mark(string(cur.file.Bytes())) != in.Base && !there {
			var err error
			if next, err = splice(cur.file, in.Grant.Fields, tokenfile.Answer{Members: answerMembers(answer)}); err != nil {
				return storageError("recover", g.place.id(), "the answer of an interrupted refresh could not be put back", "look at the files beside it", err)
			}
		}
		stored := st
		stored.Grant = st.attempted()
		rotated := in.Brings == "" && next.RefreshToken() != cur.file.RefreshToken()
		stored.rolledForward(next)
		if rotated {
			stored.Learned.Rotates, stored.Learned.RotatedAt = &rotated, stored.Committed.At
		}
		t, err := s.begin(ctx, cur, &st)
		if err != nil {
			return err
		}
		err = t.commit(ctx, cur, next, &stored)
		t.discard()
		if moved, ok := err.(*movedError); ok && edits < foreignEdits {
			if whoWins(&cur.st, moved.now, answer.RefreshToken()) == ours {
				cur.file = moved.now.file
				continue
			}
			return g.giveWay(ctx, s, h, moved.now, attempt, answer)
		}
		if err != nil {
			return storageError("recover", g.place.id(), "the answer of an interrupted refresh could not be put back", "make room or repair the file, then run again; nothing is lost", err)
		}
		g.held = nil
		h.file, h.st = next, stored
		return nil
	}
}

// giveWay leaves the document as somebody else just wrote it, and keeps the
// answer of an interrupted refresh aside.
func (g *engine) giveWay(ctx context.Context, s session, h *holding, now holding, attempt string, answer *tokenfile.File) error {
	if err := g.putAside(attempt, answer); err != nil {
		return err
	}
	now.newer = false // it is what everything starts from now
	*h = now
	g.resolve(h, false)
	return s.settle(ctx, *h, &h.st)
}

// putAside keeps an answer of an interrupted refresh that a login has replaced:
// who logged in may have meant another account.
func (g *engine) putAside(attempt string, answer *tokenfile.File) error {
	if _, err := lockedfile.WriteElsewhere(g.cfg.rescueDirs(), "aside."+attempt+".json", answer.Bytes()); err != nil {
		return storageError("aside-unwritten", g.place.id(), "the answer of an interrupted refresh could not be put aside", "nothing was sent; make room and run it again", err)
	}
	return nil
}

// rolledForward takes the tokens of an answer that was put in its place late.
func (st *state) rolledForward(f *tokenfile.File) {
	access, refresh, now := f.AccessToken(), f.RefreshToken(), thisMoment()
	if st.Intent.Brings != "" {
		st.logIn(access, refresh, now.At, st.standing(refresh) != newcomer)
		return
	}
	st.renew(access, refresh, now)
	st.forgetTimes()
}

// reinstate gives another program's document its due: it was written just before
// the exchange and came out of it, and the process ended before it could look.
// An edit is spliced into ours; a login is put back, and ours is kept aside.
func (g *engine) reinstate(ctx context.Context, s session, h *holding, out *tokenfile.File) error {
	st := h.st
	in := *st.Intent
	in.Phase, in.Base = sending, st.mark(string(h.file.Bytes())) // what comes out this time is ours
	st.Intent = &in
	stored := st
	next := out
	if whoWins(&st, holding{file: out}, h.file.RefreshToken()) == theirs {
		if err := g.putAside(in.Attempt, h.file); err != nil {
			return err
		}
		stored.Grant = st.remembered()
		stored.adopt(out.AccessToken(), out.RefreshToken(), time.Now())
	} else {
		var err error
		if next, err = splice(out, st.attempted().Fields, tokenfile.Answer{Members: answerMembers(h.file)}); err != nil {
			return storageError("recover", g.place.id(), "an edit by another program could not be put back", "look at the files beside it", err)
		}
		stored.Grant = st.attempted()
		stored.rolledForward(next)
	}
	t, err := s.begin(ctx, *h, &st)
	if err != nil {
		return err
	}
	defer t.discard()
	if err := t.commit(ctx, *h, next, &stored); err != nil {
		return storageError("recover", g.place.id(), "what another program wrote during an interrupted refresh could not be put back", "make room or repair the file, then run again", err)
	}
	h.file, h.st = next, stored
	return nil
}

// resolve decides what the document says about the open intent and doubt.
// committed tells that the document is what the intent's try wrote. It reports
// whether the state changed.
func (g *engine) resolve(h *holding, committed bool) bool {
	st := &h.st
	access, refresh := h.file.AccessToken(), h.file.RefreshToken()
	login := st.broughtBy(access, refresh)
	if committed || login {
		st.Grant = st.attempted()
	}
	switch stand := st.standing(refresh); {
	case login:
		st.logIn(access, refresh, h.written, stand != newcomer)
		return true
	case stand == newcomer, // stored by a try that ended before it could say so, or a login
		stand == current && (committed || g.renewed(h)):
		st.adopt(access, refresh, h.written)
		return true
	}
	in := st.Intent
	if in == nil {
		return false
	}
	// In a store the phase is as durable as the rest; in a file it is one write
	// that a power cut takes back.
	if booted := in.Started.Boot != "" && in.Started.Boot == bootID(); !in.spends() || in.Phase == dialing && (h.sealed || booted) {
		st.clearIntent()
	} else {
		st.doubtIntent("the process that sent it ended before the reply was stored")
	}
	return true
}

// renewed reports whether another access token stands beside the same refresh
// token: another program refreshed a grant that does not rotate. As long as a
// request is open or in doubt that proves nothing, unless the grant is known
// not to rotate: then no request can have spent the refresh token.
func (g *engine) renewed(h *holding) bool {
	st := &h.st
	fp := st.mark(h.file.AccessToken())
	if st.Intent != nil || st.Doubt != nil {
		return fp != "" && fp != st.sentWith() && st.Learned.Rotates != nil && !*st.Learned.Rotates
	}
	return fp != "" && fp != st.Access
}

// answered are the members that a rescued document gets from its answer; the
// others are the user's and may have been edited since.
var answered = []string{
	"token_type", "scope", "id", "id_token", "instance_url", "signature", "issued_at", "created_at",
	"expires_in", "expires_at", "expires_on", "expiry", "expiration", "refresh_token_expires_in", proofName,
}

// answerMembers takes the answer out of a document it was merged into.
func answerMembers(f *tokenfile.File) []tokenfile.Member {
	var ms []tokenfile.Member
	for _, m := range [][2]string{{"access_token", f.AccessToken()}, {"refresh_token", f.RefreshToken()}} {
		if b, err := json.Marshal(m[1]); err == nil && m[1] != "" {
			ms = append(ms, tokenfile.Member{Name: m[0], Value: b})
		}
	}
	for _, name := range answered {
		if v, ok, err := f.Doc().Lookup("/" + name); ok && err == nil {
			ms = append(ms, tokenfile.Member{Name: name, Value: v.Raw()})
		}
	}
	return ms
}
