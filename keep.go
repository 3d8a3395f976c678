package evergrant

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/evergrant/evergrant/internal/lockedfile"
	"github.com/evergrant/evergrant/internal/tokenfile"
	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
)

// KeepFile stores what a login brought in the token file at path: answer is a
// token answer (RFC 6749 §5.1), one JSON object. A new file is created for this
// user alone. One that is there is a reconnect: the members of the answer are
// put into it as after a refresh, and what stood in the way of the grant before
// (a doubt, a verdict) is over; a refresh that is under way gives way to it.
// Where the answer has no refresh token, the one that is there stays, with all
// that is known of it. Where the client, the endpoint or the kind of grant is
// another one than before, or the refresh token that is there cannot be of this
// login, the answer replaces the whole document; a refresh token that would go
// with it is put into a rescue folder first.
//
// What cfg says of the grant is remembered, so that the next [OpenFile] needs no
// Config; no secret of it is. If the answer cannot be stored it is kept in a
// rescue folder, and the error's Path names the file.
func KeepFile(ctx context.Context, path string, answer []byte, cfg Config) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return fileError(path, "the token file "+path+" cannot be found from here", "give an absolute path", err)
	}
	p := &filePlace{path: path, abs: abs, fields: cfg.Fields, rescue: cfg.rescueDirs(),
		warn: func(says, do string) { cfg.emit(Noted{Grant: path, Says: says, Do: do}) }}
	k := newcomerGrant{engine: &engine{place: p, cfg: cfg, emit: cfg.emit}, id: path, answer: answer}
	return k.keep(ctx, func(ctx context.Context, f *tokenfile.File) error { return k.create(ctx, p, f) })
}

// Keep is KeepFile for the record id of a store.
func Keep(ctx context.Context, store Store, id string, answer []byte, cfg Config) error {
	k, p := newRecord(store, id, answer, cfg)
	return k.keep(ctx, func(ctx context.Context, f *tokenfile.File) error {
		st, err := k.state(holding{file: f, st: newState()})
		if err != nil {
			return err
		}
		return store.Put(ctx, p.record(f, &st), 0)
	})
}

// Create puts a token response, a JSON object with at least a refresh_token,
// into a store as the first record of a grant, as Keep does where there is none.
// A lifetime in it without a time to count from (expires_in alone) counts from
// now; its members may be elsewhere, as cfg.Fields says. It returns an error that
// matches ErrConflict where the id is taken, and keeps no copy of the response.
func Create(ctx context.Context, store Store, id string, document []byte, cfg Config) error {
	f, err := tokenfile.Open(document, cfg.Fields)
	if err != nil {
		return fileError(id, "the token response for "+id+" cannot be used: "+err.Error(), "it must be one JSON object with the token members once", err)
	}
	k, p := newRecord(store, id, document, cfg)
	k.file = f
	st, err := k.state(holding{file: f, st: newState()})
	if err != nil {
		return err
	}
	st.Committed = moment{} // nobody says when it was issued: a refresh does not take it for one of just now
	return store.Put(ctx, p.record(f, &st), 0)
}

// newRecord is a grant for a record of a store.
func newRecord(store Store, id string, answer []byte, cfg Config) (*newcomerGrant, *storePlace) {
	p := &storePlace{store: store, key: id, fields: cfg.Fields, rescueDirs: cfg.rescueDirs()}
	return &newcomerGrant{engine: &engine{place: p, cfg: cfg, emit: cfg.emit}, id: id, answer: answer}, p
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
	file   *tokenfile.File // the answer, read
}

// keep creates the grant, or reconnects the one that is there. The answer may
// be the only copy of a grant that a person made: it is never dropped.
func (k *newcomerGrant) keep(ctx context.Context, create func(context.Context, *tokenfile.File) error) error {
	err := k.read()
	for tries := 0; err == nil; tries++ {
		_, err = k.engine.place.read(ctx)
		switch {
		case missingGrant(err):
			err = create(ctx, k.file)
		case err == nil:
			if err = k.reconnect(ctx); missingGrant(err) {
				err = &movedError{}
			}
		}
		var moved *movedError
		again := errors.As(err, &moved) || errors.Is(err, ErrConflict) // somebody else was there in the same moment
		if err == nil {
			return nil
		}
		if again && tries < foreignEdits {
			err = nil
		}
	}
	return k.rescued(ctx, err)
}

// read reads the answer.
func (k *newcomerGrant) read() (err error) {
	if k.file, err = tokenfile.Open(k.answer, nil); err != nil {
		return fileError(k.id, "the token answer for "+k.id+" cannot be used: "+err.Error(), "it must be one JSON object with the token members once", err)
	}
	return nil
}

// rescued puts an answer that cannot be stored into the rescue folder.
func (k *newcomerGrant) rescued(ctx context.Context, cause error) error {
	e := *asError(cause)
	if gone := context.Cause(ctx); gone != nil && !errors.Is(gone, context.DeadlineExceeded) && errors.Is(cause, lockedfile.ErrBusy) {
		e.Rule, e.Says, e.Err = "interrupted", "the login was stopped before it was kept", gone // nobody else is to blame
	}
	e.Says = "the new grant could not be stored: " + e.Says
	p, err := lockedfile.WriteElsewhere(k.engine.cfg.rescueDirs(), "login."+randomHex(8)+".json", k.answer)
	if err != nil {
		e.Do, e.Err = "no rescue folder took it either, so log in again once this is mended: "+e.Do, errors.Join(e.Err, err)
		return &e
	}
	e.Path, e.Do = p, "the grant is kept in "+p+", which holds secrets; put it where it belongs with `evergrant import`"
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
	st.logIn(h.file.AccessToken(), h.file.RefreshToken(), now.At, k.file.RefreshToken() == "")
	st.Committed = now
	st.Grant.Grant, st.Grant.Login = k.engine.cfg.Grant, k.engine.cfg.Login // a login says how: the zero Grant is one with a refresh token
	t, err := k.engine.terms(&holding{file: h.file, st: st})
	if err != nil {
		return state{}, err
	}
	st.Grant = t.id
	if f, err := tokenfile.Open(h.file.Bytes(), t.id.Fields); err != nil || f.AccessToken() != h.file.AccessToken() {
		st.Grant.Fields = nil // the answer stands there as it came
	}
	e := fileExpiry(k.file, now.At, t.lifetimes(&st)) // of the answer: what else the document says is of the token before
	if e.At.IsZero() && e.Issued.IsZero() {
		e.Issued = now.At
		e.At, e.From = fallbackExpiry(now.At, h.file.AccessToken(), t.lifetimes(&st))
	}
	if !e.At.IsZero() || h.file != k.file {
		l := &st.Learned
		l.IssuedAt, l.ExpiresAt, l.Source = e.Issued, e.At, e.From
		if l.IssuedAt.IsZero() {
			l.IssuedAt = now.At
		}
		l.RefreshAt = refreshAt(e, l.RotatedAt, t.provider(), chance())
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
	if err := lockedfile.MakeDirectory(filepath.Clean(dir)); err != nil {
		return storageError("folder-missing", dir, "the folder of "+p.path+" cannot be made", "check the path and its permissions", err)
	}
	side := filepath.Join(dir, "."+base+sideMark)
	l, err := lockedfile.Acquire(ctx, side+".lock")
	if err != nil {
		return storageError("lock-failed", side+".lock", "the lock file beside "+p.path+" cannot be used", "the folder must be writable by this user", err)
	}
	defer l.Release()
	was := newState()
	if old, err := readState(side, side); err == nil { // of a token file that was deleted: its replaced tokens stay known
		was = old
		was.Grant, was.Learned = identity{}, learned{}
	}
	st, err := k.state(holding{file: f, st: was})
	if err == nil {
		err = absent(p.abs)
	}
	if err == nil {
		_, err = writeSide(side, &st)
	}
	if err == nil {
		err = lockedfile.SyncDir(filepath.Dir(side))
	}
	if err == nil {
		err = absent(p.abs) // by now somebody else's file may be there, who takes no lock
	}
	if err == nil {
		err = lockedfile.WriteDurable(p.abs, f.Bytes(), 0o600)
	}
	return err
}

// absent is a *movedError where there is a file by now.
func absent(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return &movedError{}
	}
	return nil
}

// reconnect puts the new grant in the place of the one that is there. Its
// intent names no refresh token, because nothing is sent for it. Until the
// document is the new one the journal keeps whose the old one is.
func (k *newcomerGrant) reconnect(ctx context.Context) error {
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
	next, from, err := k.into(cur)
	if err != nil {
		return err
	}
	st, err := k.state(holding{file: next, st: from})
	if err != nil {
		return err
	}
	journal := cur.st
	journal.Intent = &intent{Attempt: randomHex(8), Phase: dialing, Owner: owner(), Generation: cur.st.Generation,
		Access: cur.st.mark(cur.file.AccessToken()), Base: cur.st.mark(string(cur.file.Bytes())), Started: thisMoment(),
		Brings: cur.st.both(next.AccessToken(), next.RefreshToken()), Grant: st.Grant}
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

// into gives the document with the answer in it, and the state it starts from.
func (k *newcomerGrant) into(cur holding) (*tokenfile.File, state, error) {
	from := cur.st
	if k.another(cur) { // nothing of the old one counts
		from.Grant, from.Learned = identity{}, learned{}
		return k.file, from, k.putAside(cur.file)
	}
	fields := k.engine.cfg.Fields
	if len(fields) == 0 {
		fields = from.remembered().Fields
	}
	a := tokenfile.Answer{Members: allMembers(k.file), Received: time.Now(), Lifetime: k.file.Times().ExpiresIn}
	if proofKey(k.file) == "" && proofKey(cur.file) != "" { // it binds the old tokens only
		a.Members = append(a.Members, tokenfile.Member{Name: proofName, Value: []byte("null")})
	}
	next, err := splice(cur.file, fields, a)
	if err == nil && !k.holds(next) {
		err = storageError("login-misplaced", k.id, "the document "+k.id+" has no place for the new tokens", "choose another place, or name the members with --field", nil)
	}
	return next, from, err
}

// holds reports whether a document has all of the answer without which it is
// worth nothing.
func (k *newcomerGrant) holds(f *tokenfile.File) bool {
	same := func(answer, document string) bool { return answer == "" || answer == document }
	return same(k.file.AccessToken(), f.AccessToken()) && same(k.file.RefreshToken(), f.RefreshToken()) && proofKey(k.file) == proofKey(f)
}

// another reports whether the login is for another grant than the one that is
// there: of another client, endpoint or kind; or without a refresh token, and
// the one that is there is not known to be of the same client, account and key.
func (k *newcomerGrant) another(cur holding) bool {
	cfg, was := &k.engine.cfg, cur.st.remembered()
	client := firstOf(was.ClientID, cur.file.Text("client_id"))
	differ := func(a, b string) bool { return a != "" && b != "" && a != b }
	switch {
	case differ(cfg.ClientID, client), differ(cfg.TokenURL, was.TokenURL), differ(cfg.Provider, was.Provider):
		return true
	case was.TokenURL != "" && cfg.Grant.Type != was.Grant.Type:
		return true
	case k.file.RefreshToken() != "" || cur.file.RefreshToken() == "":
		return false
	}
	return cfg.ClientID != "" && client == "" || proofKey(k.file) != proofKey(cur.file) || k.otherAccount(cur.file)
}

// otherAccount reports whether the answer names another account than the
// document, by id, by sub, or in its ID token.
func (k *newcomerGrant) otherAccount(was *tokenfile.File) bool {
	var t oauth.TokenAnswer
	for _, m := range allMembers(k.file) {
		t.Members = append(t.Members, oauth.Member{Name: m.Name, Value: m.Value})
	}
	a, b := subject(was.Text("id_token")), subject(k.file.Text("id_token"))
	return a != "" && b != "" && a != b || otherAccount(was, &t) != ""
}

// subject is whom an ID token is about, as it says itself: whoever logs in may
// be anybody, and only sameness is asked for.
func subject(idToken string) string {
	u, err := jose.Inspect(oauth.NewSecret(idToken))
	var claims struct{ Iss, Sub string }
	if err != nil || json.Unmarshal(u.Claims, &claims) != nil || claims.Sub == "" {
		return ""
	}
	return claims.Iss + " " + claims.Sub
}

// putAside keeps a document whose refresh token the login does not replace: it
// may be the only copy of a living grant.
func (k *newcomerGrant) putAside(old *tokenfile.File) error {
	if k.file.RefreshToken() != "" || old.RefreshToken() == "" {
		return nil
	}
	p, err := lockedfile.WriteElsewhere(k.engine.cfg.rescueDirs(), "aside."+randomHex(8)+".json", old.Bytes())
	if err != nil {
		return storageError("aside-unwritten", k.id, "the grant of before could not be put aside", "make room and log in again", err)
	}
	k.engine.emit(Noted{Grant: k.id, Says: "the login brought no refresh token and is for another grant; the one of before is in " + p, Do: "delete it if it is not needed: it holds secrets"})
	return nil
}

// allMembers are the members of a token answer that was read already, in its
// order.
func allMembers(f *tokenfile.File) []tokenfile.Member {
	v, _, _ := f.Doc().Lookup("")
	d := jsontext.NewDecoder(bytes.NewReader(v.Raw()), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
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

// DeleteFile removes a token file, a link to it, and all that is kept beside it
// and in the rescue folders, once nobody works on it any more. It tells the
// provider nothing: see [Source.Revoke]. Errors match ErrFile where there is no
// such file, ErrTemporary where another process does not finish before ctx ends,
// and ErrStorage.
func DeleteFile(ctx context.Context, path string, cfg Config) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return fileError(path, "the token file "+path+" cannot be found from here", "give an absolute path", err)
	}
	p := &filePlace{path: path, abs: abs, rescue: cfg.rescueDirs(), warn: func(string, string) {}}
	locked, err := p.lock(ctx)
	if err != nil {
		return err
	}
	defer locked.release()
	s := locked.(*fileSession)
	names := []string{s.at.file} // first: whoever comes without the lock finds nothing to write
	if abs != s.at.file {
		names = append(names, abs)
	}
	temps, err := s.temps("")
	if err != nil {
		return err
	}
	found, err := rescued(p.rescue, s.at.file, "")
	if err != nil {
		return err
	}
	for _, t := range append(temps, found...) {
		names = append(names, t.path)
	}
	for _, n := range append(names, s.at.side, s.at.lock()) { // the lock last: until then it keeps others off
		if err := os.Remove(n); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return storageError("undeleted", n, n+" could not be deleted", "look at the permissions of its folder", err)
		}
	}
	if err := lockedfile.SyncDir(s.at.dir); err != nil {
		return storageError("undeleted", s.at.dir, "a power cut may bring "+path+" back", "delete it again", err)
	}
	return nil
}
