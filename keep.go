package evergrant

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/evergrant/evergrant/internal/lockedfile"
	"github.com/evergrant/evergrant/internal/tokenfile"
)

// KeepFile stores what a login brought in the token file at path: answer is a
// token answer (RFC 6749 §5.1), one JSON object. A new file is created for this
// user alone. One that is there is a reconnect: the members of the answer are
// put into it as after a refresh, and what stood in the way of the grant before
// (a doubt, a verdict) is over; a refresh that is under way gives way to it.
// Where the client or the endpoint is another one than before, the answer
// replaces the whole document.
//
// What cfg says of the grant is remembered, so that the next [OpenFile] needs no
// Config; no secret of it is. If the answer cannot be stored it is kept in a
// rescue folder, and the error's Path names the file.
func KeepFile(ctx context.Context, path string, answer []byte, cfg Config) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return fileError(path, "the token file "+path+" cannot be found from here", "give an absolute path", err)
	}
	p := &filePlace{path: path, abs: abs, fields: cfg.Fields, rescue: cfg.rescueDirs(), warn: func(string, string) {}}
	k := newcomerGrant{engine: &engine{place: p, cfg: cfg, emit: cfg.emit}, id: path, answer: answer}
	return k.keep(ctx, func(ctx context.Context, f *tokenfile.File) error { return k.create(ctx, p, f) })
}

// Keep is KeepFile for the record id of a store.
func Keep(ctx context.Context, store Store, id string, answer []byte, cfg Config) error {
	p := &storePlace{store: store, key: id, fields: cfg.Fields, rescueDirs: cfg.rescueDirs()}
	k := newcomerGrant{engine: &engine{place: p, cfg: cfg, emit: cfg.emit}, id: id, answer: answer}
	return k.keep(ctx, func(ctx context.Context, f *tokenfile.File) error {
		st, err := k.state(holding{file: f, st: newState()})
		if err != nil {
			return err
		}
		return store.Put(ctx, p.record(f, &st), 0)
	})
}

func (c *Config) emit(e Event) {
	if c.OnEvent != nil {
		c.OnEvent(e)
	}
}

// newcomerGrant is a grant that a login just brought.
type newcomerGrant struct {
	engine *engine
	id     string
	answer []byte
}

// keep creates the grant, or reconnects the one that is there. The answer may
// be the only copy of a grant that a person made: it is never dropped.
func (k *newcomerGrant) keep(ctx context.Context, create func(context.Context, *tokenfile.File) error) error {
	f, err := tokenfile.Open(k.answer, nil)
	if err != nil {
		return fileError(k.id, "the token answer for "+k.id+" cannot be used: "+err.Error(), "it must be one JSON object with the token members once", err)
	}
	for tries := 0; ; tries++ {
		_, err = k.engine.place.read(ctx)
		switch {
		case missingGrant(err):
			err = create(ctx, f)
		case err == nil:
			err = k.reconnect(ctx, f)
		}
		var moved *movedError
		again := errors.As(err, &moved) || errors.Is(err, ErrConflict) // somebody else was there in the same moment
		if err == nil || !again || tries == foreignEdits {
			break
		}
	}
	if err == nil {
		return nil
	}
	e := *asError(err)
	if p, rescueErr := lockedfile.WriteElsewhere(k.engine.cfg.rescueDirs(), "login."+randomHex(8)+".json", k.answer); rescueErr == nil {
		e.Says, e.Path = "the new grant could not be stored: "+e.Says, p
		e.Do = "the grant is kept in " + p + ", which holds secrets; put it where it belongs with `evergrant import`"
	}
	return &e
}

// missingGrant reports whether there is nothing at the place yet.
func missingGrant(err error) bool {
	return errors.Is(err, ErrNotFound) || errors.Is(err, fs.ErrNotExist)
}

// state is what stands beside the grant's new document.
func (k *newcomerGrant) state(h holding) (state, error) {
	st := h.st
	now := thisMoment()
	st.adopt(h.file.AccessToken(), h.file.RefreshToken(), now.At)
	st.Last = lastTry{}
	st.Committed, st.Learned.LoginAt, st.Learned.RotatedAt = now, now.At, now.At
	st.Learned.Rotates = nil // the new grant has not been refreshed yet
	t, err := k.engine.terms(&holding{file: h.file, st: st})
	if err != nil {
		return state{}, err
	}
	st.Grant = t.id
	if e := fileExpiry(h.file, now.At, t.lifetimes(&st)); !e.At.IsZero() {
		l := &st.Learned
		l.IssuedAt, l.ExpiresAt, l.Source = e.Issued, e.At, e.From
		if l.IssuedAt.IsZero() {
			l.IssuedAt = now.At
		}
		l.RefreshAt = refreshAt(e, l.RotatedAt, t.provider(), rand.Float64())
	}
	return st, nil
}

// create makes the first token file. The state goes first: it says where the
// refresh token may be sent, so the file never stands there without it.
func (k *newcomerGrant) create(ctx context.Context, p *filePlace, f *tokenfile.File) error {
	if info, err := os.Lstat(p.abs); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return fileError(p.path, "the token file "+p.path+" is a link that leads nowhere", "remove the link, or make the folder it leads to", nil)
	}
	dir, base := filepath.Split(p.abs)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return storageError("folder-missing", dir, "the folder of "+p.path+" cannot be made", "check the path and its permissions", err)
	}
	side := filepath.Join(dir, "."+base+sideMark)
	l, err := lockedfile.Acquire(ctx, side+".lock")
	if err != nil {
		return storageError("lock-failed", side+".lock", "the lock file beside "+p.path+" cannot be used", "the folder must be writable by this user", err)
	}
	defer l.Release()
	if _, err := os.Stat(p.abs); !errors.Is(err, fs.ErrNotExist) {
		return &movedError{}
	}
	was := newState()
	if old, err := readState(side, p.abs); err == nil { // of a token file that was deleted: its replaced tokens stay known
		was = old
		was.Grant = identity{}
	}
	st, err := k.state(holding{file: f, st: was})
	if err == nil {
		err = lockedfile.WriteDurable(side, encodeObject(&st, true), 0o600)
	}
	if err == nil {
		err = lockedfile.WriteDurable(p.abs, f.Bytes(), 0o600)
	}
	return err
}

// reconnect puts the new grant in the place of the one that is there. Its
// intent names no refresh token, because nothing is sent for it.
func (k *newcomerGrant) reconnect(ctx context.Context, f *tokenfile.File) error {
	s, err := k.engine.place.lock(ctx)
	if err != nil {
		return err
	}
	defer s.release()
	cur, err := s.read(ctx)
	if err != nil {
		return err
	}
	if _, err := k.engine.recover(ctx, s, &cur, false); err != nil { // a login must not wait for what is wrong with the grant before it
		if cur, err = s.read(ctx); err != nil {
			return err
		}
		cur.st.doubtIntent("somebody logged in before the reply was looked for")
	}
	next := f
	cfg, was := &k.engine.cfg, cur.st.remembered()
	switch {
	case cfg.ClientID != "" && cfg.ClientID != was.ClientID, cfg.TokenURL != "" && cfg.TokenURL != was.TokenURL:
		cur.st.Grant = identity{} // another grant: nothing of the old one counts
	default:
		if next, _, err = cur.file.Merge(tokenfile.Answer{Members: allMembers(f), Received: time.Now(), Lifetime: f.Times().ExpiresIn}); err != nil {
			return err
		}
	}
	st, err := k.state(holding{file: next, st: cur.st})
	if err != nil {
		return err
	}
	journal := cur.st
	journal.Intent = &intent{Attempt: randomHex(8), Phase: dialing, Owner: owner(), Generation: cur.st.Generation,
		Access: cur.st.mark(cur.file.AccessToken()), Base: cur.st.mark(string(cur.file.Bytes())), Started: thisMoment(), Grant: st.Grant}
	t, err := s.begin(ctx, cur, &journal)
	if err != nil {
		return err
	}
	defer t.discard()
	if err := t.commit(ctx, cur, next, &st); err != nil {
		return err
	}
	k.engine.emit(Adopted{Grant: k.engine.place.id(), Generation: st.Generation, Login: true})
	return nil
}

// allMembers are the members of a token answer that was read already, in its
// order.
func allMembers(f *tokenfile.File) []tokenfile.Member {
	v, _, _ := f.Doc().Lookup("")
	d := jsontext.NewDecoder(bytes.NewReader(v.Raw()))
	var ms []tokenfile.Member
	for d.ReadToken(); d.PeekKind() == '"'; { // past the brace
		name, err := d.ReadToken()
		if err != nil {
			break
		}
		text := name.String()
		value, err := d.ReadValue()
		if err != nil {
			break
		}
		ms = append(ms, tokenfile.Member{Name: text, Value: bytes.Clone(value)})
	}
	return ms
}
