package simworld_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/canary/search"
	"github.com/evergrant/evergrant/idptest"
)

var errLeak = errors.New("simworld: a token shows")

// A sieve looks for tokens in all that the keepers of a life tell or store
// beside the document (I4).
type sieve struct {
	mu    sync.Mutex
	found *search.Search
}

// leaks reports whether a token shows in what a program might print.
func (s *sieve) leaks(v any) bool {
	return s.holds(fmt.Sprintf("%T", v), fmt.Sprintf("%v\n%+v\n", v, v))
}

// holds reports whether a token shows in a text, in any form.
func (s *sieve) holds(name, text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.found.Hits)
	s.found.Text(name, text)
	return len(s.found.Hits) > before
}

// heard is told each event.
func (l *life) heard(k *keeper, e evergrant.Event) {
	if l.sieve.leaks(e) {
		l.fail("I4: a token shows in %T", e)
	}
	l.note(k, "event %T", e)
}

// transcribed is told each line of the transcript that `-v` shows.
func (l *life) transcribed(line string) {
	if l.sieve.holds("transcript", line+"\n") {
		l.fail("I4: a token shows in the transcript")
	}
}

// stored is the durable record as the judge reads it.
type stored struct {
	doc struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	state struct {
		Generation uint64          `json:"generation"`
		Doubt      json.RawMessage `json:"doubt"`
		Aside      json.RawMessage `json:"aside"`
	}
	intent struct {
		Attempt string `json:"attempt"`
		Phase   string `json:"phase"`
		Replay  bool   `json:"replay"`
	}
	open bool // there is an intent
	gen  int  // of the refresh token, by the server's count
	data []byte
}

// parse reads a record, strictly (I1).
func parse(r evergrant.Record, found *sieve) (s stored, err error) {
	size, rest, _ := bytes.Cut(r.Data, []byte{'\n'})
	n, err := strconv.Atoi(string(size))
	if err != nil || n > len(rest) {
		return s, fmt.Errorf("its length: %v", err)
	}
	if err := json.Unmarshal(rest[:n], &s.doc); err != nil {
		return s, fmt.Errorf("the document: %w", err)
	}
	if err := json.Unmarshal(rest[n:], &s.state); err != nil {
		return s, fmt.Errorf("the state: %w", err)
	}
	if s.open = len(r.Intent) > 0; s.open {
		if err := json.Unmarshal(r.Intent, &s.intent); err != nil {
			return s, fmt.Errorf("the intent: %w", err)
		}
	}
	if found.holds("state", string(rest[n:])) || found.holds("intent", string(r.Intent)) || found.leaks(r.Meta) {
		return s, errLeak
	}
	s.data = r.Data
	return s, nil
}

// isMark reports whether a record turns only the phase of the open intent.
func (l *life) isMark(r evergrant.Record) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stored.open && len(r.Intent) > 0 && bytes.Equal(r.Data, l.stored.data)
}

// storedLocked takes in a record that became durable.
func (l *life) storedLocked(k *keeper, r evergrant.Record) {
	l.checks++
	s, err := parse(r, l.sieve)
	if err != nil {
		l.failLocked("I1/I4: the record does not parse: %v", err)
		return
	}
	before := l.stored.gen
	_, s.gen, _ = l.idp.Find(s.doc.Refresh)
	if s.gen == 0 {
		l.failLocked("I2: the stored refresh token was never issued")
	}
	if k != nil && s.gen < before {
		l.failLocked("I2: refresh token %d replaces %d", s.gen, before)
	}
	if s.state.Generation > l.stored.state.Generation {
		l.posts = nil // their outcome is known
	}
	if k != nil && !s.open {
		for _, p := range l.posts {
			p.concluded = p.concluded || p.k == k
		}
	}
	l.stored = s
	l.durable[s.doc.Access] = true
	l.noteLocked(k, "stored: generation %d, token %d, intent %s replay %t, doubt %t", r.Generation, s.gen, s.intent.Phase, s.intent.Replay, len(s.state.Doubt) > 0)
}

// judgeSendLocked is I3: what must be so when a request leaves.
func (l *life) judgeSendLocked(w *wire) {
	l.checks++
	l.count.requests++
	s := &l.stored
	l.noteLocked(w.k, "%s sends token %d", w.id, w.gen)
	switch {
	case w.gen == 0:
		l.failLocked("I3: a refresh token is sent that was never issued")
	case l.lockedBy != w.k:
		l.failLocked("I3: a request leaves without the lock")
	case !s.open || s.intent.Phase != "sending":
		l.failLocked("I3: a request leaves without a durable intent")
	case w.gen != s.gen:
		l.failLocked("I3: refresh token %d is sent, %d is stored", w.gen, s.gen)
	}
	if s.intent.Replay {
		l.count.replays++
	}
	for _, p := range l.posts {
		if p.gen == w.gen && (p.broken || p.k.dead && !p.concluded) && !l.busyLocked(p) {
			l.judgeReplayLocked(w, p)
			break
		}
	}
	l.posts = append(l.posts, w)
	if n := len(l.posts) - 50; n > 0 {
		l.posts = l.posts[n:]
	}
}

// busyLocked reports whether a request was refused as busy, which comes before
// any fault that was meant for it, and the keeper lived to read that.
func (l *life) busyLocked(p *wire) bool {
	for _, e := range l.idp.TokenRequests(l.grant.ID) {
		if e.Conn == p.id {
			return e.Verdict == idptest.Busy && e.Delivered && (p.concluded || !p.k.dead)
		}
	}
	return false
}

// judgeReplayLocked judges a request that follows one of unknown outcome with
// the same refresh token.
func (l *life) judgeReplayLocked(w, first *wire) {
	if !l.stored.intent.Replay {
		l.failLocked("I3: token %d is sent again after %s, whose outcome is unknown, and the journal does not say so", w.gen, first.id)
		return
	}
	if !l.maker.habits.Rotation { // nothing to lose
		return
	}
	// A window begins with the request that the server handled. No client can
	// know which one that was, and it may have been the last (docs/design.md, "In
	// doubt"): where an earlier one was, nothing is left to lose.
	now, last := time.Now(), first
	for _, p := range l.posts {
		if p.gen == w.gen {
			last = p
		}
	}
	inGrace := l.maker.grace() > 0 && now.Sub(last.at) <= l.maker.grace()/2+35*time.Second
	if !inGrace && !l.accessOverLocked(now) && now.After(l.rejecting) {
		l.failLocked("I3: token %d is replayed %s after %s, although an access token is left", w.gen, now.Sub(first.at), first.id)
	}
}

// accessOverLocked reports whether the stored access token has ended, by the
// server's word or by its lifetime.
func (l *life) accessOverLocked(now time.Time) bool {
	if _, _, living := l.idp.FindAccess(l.stored.doc.Access); !living {
		return true
	}
	since, ok := l.arrived[l.stored.doc.Access]
	return !ok || !now.Before(since.Add(l.maker.habits.AccessTTL))
}

// judgeUnlockLocked is I2: what must be so when a keeper lets the lock go.
func (l *life) judgeUnlockLocked(k *keeper) {
	l.checks++
	var left []*wire
	for _, w := range l.pending {
		switch {
		case l.stored.gen >= w.got, w.k.dead, w.k != k:
		case l.stored.open || len(l.stored.state.Aside) > 0:
			left = append(left, w)
		default:
			l.failLocked("I2: refresh token %d came by %s, %d is stored, and no intent says why", w.got, w.id, l.stored.gen)
		}
	}
	l.pending = left
}

// judgeCallLocked judges what a living keeper answered.
func (l *life) judgeCallLocked(k *keeper, c call, token *evergrant.Token, err error, storeWorked bool) {
	l.checks++
	switch {
	case errors.Is(err, errLeak):
		l.failLocked("I4: a token shows in a result")
	case err != nil && l.sieve.leaks(err):
		l.failLocked("I4: a token shows in an error")
	case errors.Is(err, evergrant.ErrNeedsLogin):
		l.judgeVerdictLocked(err)
	case err != nil && storeWorked && c.patience > time.Minute && (c.kind == "token" || c.kind == "token-for") && l.goodLocked():
		l.failLocked("a valid access token was not served: %v", err)
	case err == nil && !l.durable[token.AccessToken.Reveal()]:
		l.failLocked("an access token was handed out before it was durable")
	}
}

// goodLocked reports whether the stored access token is good by everybody's
// word.
func (l *life) goodLocked() bool {
	access := l.stored.doc.Access
	_, _, living := l.idp.FindAccess(access)
	since, ok := l.arrived[access]
	return living && ok && time.Now().Before(since.Add(l.maker.habits.AccessTTL-time.Second))
}

// judgeVerdictLocked judges "log in again".
func (l *life) judgeVerdictLocked(err error) {
	defer l.finishLocked()
	if l.idp.GrantState(l.grant.ID).Why == revokedByUser {
		l.revocations++
		return
	}
	if _, _, living := l.idp.Find(l.stored.doc.Refresh); living {
		l.failLocked("a grant that lives was declared ended: %v", err)
		return
	}
	l.lostLocked()
}

// judgeHealed judges the end of a grant's time: its newest refresh token is
// the stored one.
func (l *life) judgeHealed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checks++
	if _, _, living := l.idp.Find(l.stored.doc.Refresh); !living && !l.closed {
		l.failLocked("the keepers are content with a refresh token that is spent")
	}
	if l.stored.open || len(l.stored.state.Doubt) > 0 {
		l.failLocked("a grant that was refreshed is still in doubt")
	}
}

// lostLocked counts a lost grant, and fails if anything could have been done.
func (l *life) lostLocked() {
	why := l.avoidableLocked()
	if why == "" {
		l.count.unavoidable++
		l.noteLocked(nil, "LOST, and nobody could help it")
		return
	}
	l.count.avoidable++
	l.failLocked("an avoidable loss: %s (server: %s)", why, l.idp.GrantState(l.grant.ID).Why)
}

// avoidableLocked says what could have saved the grant; "": nothing. The token
// that is stored was spent by requests whose new token is not stored: each of
// them must be excused.
func (l *life) avoidableLocked() string {
	var spent time.Time
	for _, e := range l.idp.TokenRequests(l.grant.ID) {
		if e.Verdict == idptest.Reuse && e.Generation < l.stored.gen {
			return fmt.Sprintf("request %d presented the replaced token %d", e.Seq, e.Generation)
		}
		if e.Generation != l.stored.gen || e.NewGeneration == 0 || e.NewGeneration == e.Generation {
			continue
		}
		w := l.wires[e.Conn]
		if spent.IsZero() {
			spent = w.at
		}
		if why := l.unexcusedLocked(w, e); why != "" {
			return why
		}
	}
	if spent.IsZero() {
		return "no request had spent its refresh token"
	}
	for _, c := range l.chances {
		if c.from.After(spent) && c.to.Before(spent.Add(l.maker.grace()/2)) {
			return fmt.Sprintf("the call at %s met no fault, %s after the reply was lost, in a grace window of %s", l.clock(c.from), c.from.Sub(spent), l.maker.grace())
		}
	}
	return ""
}

// unexcusedLocked says why a reply need not have been lost; "": it had to be.
func (l *life) unexcusedLocked(w *wire, e idptest.Entry) string {
	switch {
	case w.got == 0 && !e.Delivered:
		return ""
	case !w.k.dead:
		return fmt.Sprintf("token %d came by %s to a keeper that lives", e.NewGeneration, w.id)
	case l.rescued(e.NewGeneration):
		return fmt.Sprintf("token %d came by %s and is in a rescue file", e.NewGeneration, w.id)
	}
	return ""
}

// rescued reports whether a refresh token is in a rescue file that the keepers
// look for.
func (l *life) rescued(gen int) bool {
	files, _ := filepath.Glob(filepath.Join(l.folder, "machine*", "*.json"))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		if m := tokenMember.FindSubmatch(b); m != nil {
			if _, n, _ := l.idp.Find(string(m[1])); n == gen {
				return true
			}
		}
	}
	return false
}

// firedLocked counts a fault that took place; "" counts only that the world is
// not clean.
func (l *life) firedLocked(fault string) {
	l.fired++
	if fault != "" {
		l.faults[fault]++
	}
}

// clock is the time within the life.
func (l *life) clock(t time.Time) string { return t.Sub(l.began).String() }

func (l *life) note(k *keeper, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noteLocked(k, format, args...)
}

// noteLocked adds to the trace, of which the last events are kept.
func (l *life) noteLocked(k *keeper, format string, args ...any) {
	name := "world"
	if k != nil {
		name = k.name
	}
	l.trace[l.traced%len(l.trace)] = fmt.Sprintf("%s %s: %s", l.clock(time.Now()), name, fmt.Sprintf(format, args...))
	l.traced++
}

func (l *life) fail(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failLocked(format, args...)
}

// failLocked reports the first violation of a life with its last events.
func (l *life) failLocked(format string, args ...any) {
	if l.failed {
		return
	}
	l.failed = true
	var b strings.Builder
	for i := max(0, l.traced-len(l.trace)); i < l.traced; i++ {
		fmt.Fprintf(&b, "\t%s\n", l.trace[i%len(l.trace)])
	}
	l.t.Errorf("%s\nreplay: go test ./simworld -seed %d -life %s/%d -v; record %s\n%s", fmt.Sprintf(format, args...), l.seed, l.class.name, l.place, l.id, &b)
	l.finishLocked()
}
