package evergrant

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/evergrant/evergrant/internal/lockedfile"
	"github.com/evergrant/evergrant/internal/tokenfile"
)

// A plain token file keeps two side files next to the file a chain of links
// leads to, both 0600:
//
//	.NAME.evergrant.lock   empty, locked, never renamed or deleted
//	.NAME.evergrant        the state, replaced atomically
//
// and, while an answer is stored, the temporary file
//
//	.NAME.evergrant.ATTEMPT.N.HASH.TOKEN.tmp
//
// whose name carries the attempt, a number that no other file of it has, a hash
// of its content and the fingerprint of the new refresh token, so that a later
// run can tell a whole answer of the open intent from any other leftover. The
// rename of the token file is the one commit point.
const (
	sideMark   = ".evergrant"
	tempEnd    = ".tmp"
	answerRoom = 64 << 10 // reserved for what an answer may add to the file
	hashBytes  = 8        // of the content's hash in a name

	// foreignWrite bounds the wait of a commit for another program that is in
	// the middle of rewriting the file, foreignRead that of a reader, and
	// foreignEdits the number of edits that are followed.
	foreignWrite = 2 * time.Second
	foreignRead  = 200 * time.Millisecond
	foreignEdits = 20
)

// phaseWord is how the phase of an intent that was not sent stands in the side
// file; the intent is its last member.
var phaseWord = []byte(`"phase": "` + string(dialing) + `"`)

// filePlace is the place of a grant in a plain token file.
type filePlace struct {
	path   string // as given, for messages
	abs    string
	fields tokenfile.Fields
	rescue []string // folders for answers that the file's own folder did not take
	warn   func(says, do string)
}

// filePaths are the names around one resolved token file.
type filePaths struct{ file, dir, side string }

func (p filePaths) lock() string { return p.side + ".lock" }

func (p *filePlace) id() string { return p.path }

// where resolves the file anew each time: a link may have been pointed
// elsewhere since.
func (p *filePlace) where() (filePaths, error) {
	file, err := lockedfile.Resolve(p.abs)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return filePaths{}, fileError(p.path, "there is no token file "+p.path, "check the path; a first token file comes from a login", err)
		}
		return filePaths{}, fileError(p.path, "the token file "+p.path+" cannot be reached", "check the path and its links", err)
	}
	dir, base := filepath.Split(file)
	return filePaths{file: file, dir: filepath.Clean(dir), side: filepath.Join(dir, "."+base+sideMark)}, nil
}

// read takes the token file first and the state second. A token that was
// renamed into place and may not be durable yet is then always seen together
// with its open intent. A state that this user may not read hides nothing from
// somebody who may not write either.
func (p *filePlace) read(context.Context) (holding, error) {
	at, err := p.where()
	if err != nil {
		return holding{}, err
	}
	return p.readAt(at, true)
}

// readAt reads the document, then the state. A document that is cut short may
// be in the middle of being written in place by another program: it is looked
// at again. blind takes a state that may not be read for none.
func (p *filePlace) readAt(at filePaths, blind bool) (holding, error) {
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		b, written, err := readDocument(at.file)
		if err != nil {
			return holding{}, err
		}
		st, err := readState(at.side, at.file)
		if blind && errors.Is(err, fs.ErrPermission) {
			st, err = newState(), nil
		}
		if err != nil {
			return holding{}, err
		}
		h, err := p.parse(b, st)
		if err == nil {
			h.written = written
			return h, nil
		}
		if time.Since(written) > time.Minute || time.Since(began) > foreignRead {
			return holding{}, err
		}
	}
}

// parse reads the document with the fields the user named, now or before.
func (p *filePlace) parse(b []byte, st state) (holding, error) {
	if in := st.Intent; in != nil && in.Brings != "" { // a login may have given the file another layout
		if f, err := tokenfile.Open(b, in.Grant.Fields); err == nil && st.broughtBy(f.AccessToken(), f.RefreshToken()) {
			return holding{file: f, st: st}, nil
		}
	}
	fields := p.fields
	if len(fields) == 0 {
		fields = st.remembered().Fields
	}
	f, err := tokenfile.Open(b, fields)
	if err != nil {
		return holding{}, fileError(p.path, "the token file "+p.path+" cannot be used: "+err.Error(),
			"it must be one JSON object with access_token and refresh_token once each; --field names other members", err)
	}
	return holding{file: f, st: st}, nil
}

func readDocument(path string) (b []byte, written time.Time, err error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err == nil {
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, time.Time{}, fileError(path, "the token file "+path+" cannot be read", "check the path and its permissions", err)
	}
	return b, info.ModTime(), nil
}

// readState reads the side file; none means a grant never seen before. It says
// where a refresh token is sent, so it is believed only from this user or the
// token file's owner.
func readState(path, file string) (state, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newState(), nil
	}
	var st state
	if err == nil {
		st, err = loadState(f, file)
		f.Close()
	}
	if err == nil && st.Intent != nil && st.Intent.Phase == sending { // nothing was written since its phase was turned
		if info, err := os.Stat(path); err == nil {
			st.Intent.leftAt(info.ModTime())
		}
	}
	do := "it may hold the journal of a refresh under way; restore it, or delete it if you know that none is"
	switch {
	case errors.Is(err, errNewer):
		do = "use the newer version of evergrant that wrote it"
	case errors.Is(err, fs.ErrPermission):
		do = "only the user who refreshes the file can; `evergrant token` works for others as long as the token is good"
	}
	if err != nil {
		return state{}, storageError("state-unreadable", path, "the side file "+path+" cannot be used", do, err)
	}
	return st, nil
}

// writeSide replaces a side file and returns what is in it. With references the
// state names the file that it stands in: one that was copied, unpacked, restored
// or checked out is another file, and who made it could not know which.
func writeSide(side string, st *state) (b []byte, err error) {
	err = lockedfile.ReplaceWith(side, 0o600, func(f *os.File) ([]byte, error) {
		out := *st
		if st.borrowed {
			out = st.lent()
		}
		out.Self = ""
		if out.refers() {
			id, err := lockedfile.Identity(f)
			if err != nil {
				return nil, err
			}
			out.Self = id
		}
		b = encodeObject(&out, true)
		return b, nil
	})
	return b, err
}

// vouch sees to it that only references are followed that this user said for
// this very side file: one may run a command, or give a file away.
func (st *state) vouch(side *os.File, mine bool) error {
	if !st.refers() {
		return nil
	}
	id, err := lockedfile.Identity(side)
	if err != nil {
		return err
	}
	if st.borrowed = !mine && id == st.Self; !mine || id != st.Self {
		st.disown()
	}
	return nil
}

func loadState(f *os.File, file string) (state, error) {
	b, err := io.ReadAll(f)
	if err != nil {
		return state{}, err
	}
	st, err := decodeState(b)
	if err != nil {
		return st, err
	}
	var mine bool
	side, err := f.Stat()
	if err == nil {
		mine, err = trusted(side, file)
	}
	if err != nil {
		return st, err
	}
	return st, st.vouch(f, mine)
}

func (p *filePlace) stamp(context.Context) stamp {
	at, err := p.where()
	if err != nil {
		return stamp{}
	}
	doc, state := stampOf(at.file), stampOf(at.side)
	// Within a tick of the file system's clock a second write of the same
	// length would look the same.
	old := time.Now().Add(-fileTick)
	return stamp{known: doc.mod.Before(old) && state.mod.Before(old), doc: doc, state: state}
}

// fileTick is longer than the clock ticks of the usual file systems.
const fileTick = 50 * time.Millisecond

func stampOf(path string) fileStamp {
	info, err := os.Stat(path)
	if err != nil {
		return fileStamp{}
	}
	return fileStamp{mod: info.ModTime(), size: info.Size(), node: inode(info)}
}

func (p *filePlace) lock(ctx context.Context) (session, error) {
	at, err := p.where()
	if err != nil {
		return nil, err
	}
	l, err := lockedfile.Acquire(ctx, at.lock())
	switch {
	case err == nil:
		lockedfile.OwnLike(at.lock(), at.file) // where it fails, the owner's own run says so
		return &fileSession{p: p, at: at, l: l}, nil
	case errors.Is(err, lockedfile.ErrBusy):
		return nil, &Error{Class: ErrTemporary, Rule: "lock-busy", Says: "another process holds the lock of " + p.path + " and did not finish in time",
			Do: "try again, or give it longer with --timeout", Path: at.lock(), Err: err}
	case errors.Is(err, lockedfile.ErrUnsupported):
		return nil, storageError("lock-unsupported", at.lock(), "the file system of "+p.path+" has no file locks, and nothing is refreshed without one",
			"keep the token file on a local file system", err)
	default:
		return nil, storageError("lock-failed", at.lock(), "the lock file beside "+p.path+" cannot be used",
			"the folder must be writable by this user; nothing was sent", err)
	}
}

// fileSession is a token file under its lock.
type fileSession struct {
	p  *filePlace
	at filePaths
	l  *lockedfile.Lock
}

func (s *fileSession) release() { s.l.Release() }

func (s *fileSession) read(context.Context) (holding, error) { return s.p.readAt(s.at, false) }

// pending looks for the temporary file of the attempt, then for a rescue file.
func (s *fileSession) pending(h holding, attempt string) (*tokenfile.File, error) {
	temps, err := s.temps(attempt)
	if err != nil {
		return nil, err
	}
	found, err := rescued(s.p.rescue, s.at.file, attempt)
	if err != nil {
		return nil, err
	}
	for _, t := range append(temps, found...) {
		if f, err := s.whole(t, h.st); f != nil || err != nil {
			return f, err
		}
	}
	return nil, nil
}

// committed looks for the temporary file that went through the exchange: its
// name still has the hash of what is in the token file now.
func (s *fileSession) committed(h holding, attempt string) (out *tokenfile.File, yes bool) {
	temps, _ := s.temps(attempt)
	hash := contentHash(h.file.Bytes())
	for _, t := range temps {
		if t.hash != hash || t.token != h.st.mark(h.file.RefreshToken()) {
			continue
		}
		yes = true
		b, err := os.ReadFile(t.path)
		if err != nil || contentHash(b) == hash || out != nil && h.st.Intent != nil && h.st.mark(string(b)) == h.st.Intent.Base {
			continue
		}
		if was, err := s.p.parse(b, h.st); err == nil { // several: the one that is not what the try started from
			out = was.file
		}
	}
	return out, yes
}

// tempFile is a temporary file by its name.
type tempFile struct{ path, hash, token string }

// temps lists the temporary files of an attempt; "" lists all.
func (s *fileSession) temps(attempt string) ([]tempFile, error) {
	names, err := os.ReadDir(s.at.dir)
	if err != nil {
		return nil, storageError("folder-unreadable", s.at.dir, "the folder of "+s.p.path+" cannot be listed", "check its permissions", err)
	}
	var out []tempFile
	prefix := filepath.Base(s.at.side) + "."
	for _, e := range names {
		rest, ours := strings.CutPrefix(e.Name(), prefix)
		rest, temp := strings.CutSuffix(rest, tempEnd)
		if parts := strings.Split(rest, "."); ours && temp && len(parts) == 4 && (attempt == "" || parts[0] == attempt) {
			out = append(out, tempFile{path: filepath.Join(s.at.dir, e.Name()), hash: parts[2], token: parts[3]})
		}
	}
	return out, nil
}

// whole reads a file that should hold an answer; nil if it is a leftover.
func (s *fileSession) whole(t tempFile, st state) (*tokenfile.File, error) {
	b, err := wholeFile(t.path, t.hash)
	if b == nil || err != nil {
		return nil, err
	}
	h, err := s.p.parse(b, st)
	if err != nil || t.token != "" && st.mark(h.file.RefreshToken()) != t.token {
		return nil, nil
	}
	return h.file, nil
}

// begin is the preflight and the intent: first the room for the answer, then
// the state, whose durable write makes the name of the reserved file durable
// too.
func (s *fileSession) begin(_ context.Context, h holding, st *state) (try, error) {
	if err := s.refuseLocalLocks(); err != nil {
		return nil, err
	}
	target, err := s.inspect()
	if err != nil {
		return nil, err
	}
	t := &fileTry{s: s, target: target, attempt: st.Intent.Attempt, expect: h.file.Bytes()}
	if err := t.reserve(len(t.expect)); err != nil {
		return nil, s.refused(err)
	}
	b, err := s.writeState(st, true)
	if i := bytes.LastIndex(b, phaseWord); i >= 0 { // none: an answer is rolled forward, nothing will be sent
		t.phaseAt = int64(i + len(phaseWord) - len(dialing) - 1)
	}
	if err != nil {
		t.discard()
		return nil, storageError("intent-unwritten", s.at.side, "the intent could not be made durable beside "+s.p.path+", so nothing was sent",
			"check the folder's space and permissions", err)
	}
	return t, nil
}

// inspect refuses a file that could not be replaced.
func (s *fileSession) inspect() (*lockedfile.Target, error) {
	target, err := lockedfile.Inspect(s.at.file)
	if err != nil {
		return nil, s.refused(err)
	}
	if target.Loose {
		s.p.warn("the token file "+s.p.path+" can be read by other users", "chmod 600 "+s.p.path)
	}
	return target, nil
}

// refuseLocalLocks keeps off mounts whose locks do not reach the other
// machines that share the file.
func (s *fileSession) refuseLocalLocks() error {
	n, err := lockedfile.Network(s.at.file)
	if err != nil || !n.Remote {
		return nil // not known to be one: the lock itself has worked
	}
	if n.LocalLocks {
		return storageError("lock-local", s.at.file, "the network file system of "+s.p.path+" is mounted with locks that other machines do not see",
			"mount it without nolock and local_lock, or keep the token file on a local file system", nil)
	}
	s.p.warn("the token file "+s.p.path+" is on a network file system ("+n.Kind+")", "every machine that refreshes it must mount it with working locks")
	return nil
}

// refused turns a preflight refusal into the error for a person.
func (s *fileSession) refused(err error) error {
	var r *lockedfile.RefusedError
	if errors.As(err, &r) {
		return storageError("refused-"+r.Reason, r.Path, "the new token could not be stored in "+s.p.path+", so nothing was sent", r.Hint, err)
	}
	return storageError("refused", s.at.file, "the new token could not be stored in "+s.p.path+", so nothing was sent", "check the file and its folder", err)
}

// writeState replaces the side file and returns what is in it. Where the directory need not be synced,
// an older state may come back after a power cut: with an intent that the next
// run resolves from the token file, so nothing is lost by it.
func (s *fileSession) writeState(st *state, syncDir bool) ([]byte, error) {
	if err := s.l.Check(); err != nil {
		return nil, err // the lock file was deleted: the state may be another process's by now
	}
	b, err := writeSide(s.at.side, st)
	if err == nil && syncDir {
		err = lockedfile.SyncDir(s.at.dir)
	}
	if err != nil {
		return nil, err
	}
	lockedfile.OwnLike(s.at.side, s.at.file)
	return b, nil
}

func (s *fileSession) settle(_ context.Context, h holding, st *state) error {
	if err := lockedfile.SyncFile(s.at.file); err != nil {
		return s.unsettled(err)
	}
	if err := lockedfile.SyncDir(s.at.dir); err != nil {
		return s.unsettled(err)
	}
	if _, err := s.writeState(st, true); err != nil {
		return s.unsettled(err)
	}
	s.sweep(st)
	return nil
}

func (s *fileSession) unsettled(err error) error {
	return storageError("state-unwritten", s.at.side, "the state beside "+s.p.path+" could not be written",
		"check the folder's space and permissions; nothing was sent", err)
}

func (s *fileSession) note(_ context.Context, _ holding, st *state) error {
	if _, err := s.writeState(st, true); err != nil {
		return s.unsettled(err)
	}
	return nil
}

func (s *fileSession) rescue(attempt string, next *tokenfile.File) (string, error) {
	b := next.Bytes()
	return lockedfile.WriteElsewhere(s.p.rescue, rescueName(s.at.file, attempt, contentHash(b)), b)
}

// sweep removes temporary and rescue files: under the lock, with no request
// open or in doubt, they belong to nobody. Failures are left to the next sweep.
func (s *fileSession) sweep(st *state) {
	if st.Intent != nil || st.Doubt != nil {
		return
	}
	temps, _ := s.temps("")
	found, _ := rescued(s.p.rescue, s.at.file, "")
	for _, t := range append(temps, found...) {
		os.Remove(t.path)
	}
	lockedfile.RemoveStale(s.at.side)
}

// fileTry is one try on a token file. A temporary file is filled once: its
// content may be the only durable copy of the answer, so a next one is filled
// before it goes.
type fileTry struct {
	s       *fileSession
	target  *lockedfile.Target
	temp    *lockedfile.Temp // reserved; nil once it is filled
	filled  *lockedfile.Temp // holds the answer, or what came out of an exchange
	whole   string           // path of a whole copy of the answer; "" if there is none
	attempt string
	number  string // of the file that is reserved or filled
	phaseAt int64  // offset of the phase word in the side file
	expect  []byte // what the token file should hold when names are exchanged
}

func (t *fileTry) tempName(hash, token string) string {
	return strings.Join([]string{filepath.Base(t.s.at.side), t.attempt, t.number, hash, token}, ".") + tempEnd
}

// reserve makes room for the answer under a name as long as the final one, so
// that the rename needs no room in the folder either. The number keeps one file
// of an attempt from ever taking the place of another.
func (t *fileTry) reserve(size int) (err error) {
	t.number = randomHex(3)
	name := t.tempName(strings.Repeat("0", 2*hashBytes), strings.Repeat("0", 2*markBytes))
	t.temp, err = t.target.Reserve(name, int64(size+answerRoom))
	return err
}

// mark flips the phase in place, which needs no room on a full disk. It need
// not be synced: it is believed only within the same boot, and a page of the
// kernel outlives the process. Nothing is sent if the lock or the journal is no
// longer ours.
func (t *fileTry) mark(p phase) error {
	if err := t.s.l.Check(); err != nil {
		return err
	}
	b, err := os.ReadFile(t.s.at.side)
	if err != nil {
		return err
	}
	if t.phaseAt == 0 || len(b) < int(t.phaseAt)+len(p) || !bytes.Contains(b, []byte(t.attempt)) ||
		!slices.Contains(phases, phase(b[t.phaseAt:int(t.phaseAt)+len(p)])) {
		return errors.New("the journal beside the token file was changed by somebody else")
	}
	return lockedfile.Patch(t.s.at.side, t.phaseAt, []byte(p))
}

// discard frees the room. A filled file stays until its answer is known to be
// in its place: the next run may need it.
func (t *fileTry) discard() {
	if t.temp != nil {
		t.temp.Remove()
		t.temp = nil
	}
	if t.filled != nil {
		t.filled.Close()
		t.filled = nil
	}
}

// commit stores next. First the answer is made durable in a file of its own,
// where recovery finds it whatever happens next. The token file is read once
// more just before the exchange, and what came out of the exchange is looked at
// after it: what another program wrote in between is given back to the engine,
// never overwritten.
func (t *fileTry) commit(_ context.Context, cur holding, next *tokenfile.File, st *state) error {
	if err := t.fill(next, st); err != nil {
		return err
	}
	if err := t.look(cur); err != nil {
		return err
	}
	if err := t.swap(cur, next); err != nil {
		return err
	}
	if err := lockedfile.SyncDir(t.s.at.dir); err != nil {
		return err
	}
	if _, err := t.s.writeState(st, false); err != nil {
		t.s.p.warn("the token is stored, but the side file "+t.s.at.side+" could not be written", "check the folder's space; the next run clears the intent")
		return nil // the token is durable; an open intent is resolved from it
	}
	t.discard()
	t.s.sweep(st)
	return nil
}

// fill makes the answer durable in a temporary file of its own name.
func (t *fileTry) fill(next *tokenfile.File, st *state) error {
	if t.temp == nil { // used up by an earlier round
		if err := t.reserve(len(next.Bytes())); err != nil {
			return err
		}
	}
	before := t.filled
	temp := t.temp
	t.temp = nil
	if err := temp.Fill(next.Bytes(), t.tempName(contentHash(next.Bytes()), st.mark(next.RefreshToken()))); err != nil {
		t.spoiled(temp, next.Bytes()) // fsync is not tried again on the same file
		return err
	}
	t.filled, t.whole = temp, temp.Path()
	if before != nil && before.Path() != temp.Path() {
		before.Remove()
	}
	return nil
}

// spoiled lets go of a file that could not be made durable. If it holds the
// whole answer it stays: a copy that a power cut may take is better than none,
// and recovery knows it by its hash.
func (t *fileTry) spoiled(temp *lockedfile.Temp, want []byte) {
	b, err := os.ReadFile(temp.Path())
	if err == nil && !bytes.Equal(b, want) {
		temp.Remove()
		return
	}
	temp.Close()
	if err == nil {
		t.whole = temp.Path()
	}
}

func (t *fileTry) copyAt() string { return t.whole }

// look reads the file again and gives it back if it is not what is expected.
// A program that rewrites the file in place shows it cut for a moment: that is
// waited for.
func (t *fileTry) look(cur holding) error {
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		b, _, err := readDocument(t.s.at.file)
		if err == nil && bytes.Equal(b, t.expect) {
			return nil
		}
		var now holding
		if err == nil {
			now, err = t.s.p.parse(b, cur.st)
		}
		if err == nil {
			t.expect = b
			return &movedError{now: now}
		}
		if time.Since(began) > foreignWrite {
			return fmt.Errorf("another program damaged the file: %w", err)
		}
	}
}

// swap exchanges the filled file with the token file and judges what came out.
func (t *fileTry) swap(cur holding, next *tokenfile.File) error {
	for {
		exchanged, err := t.filled.Swap()
		if err != nil || !exchanged { // not exchanged: renamed, the window of a plain rename stays
			return err
		}
		t.whole = "" // the answer is in its place, and what came out has the name
		out, err := os.ReadFile(t.filled.Path())
		if err != nil {
			return err
		}
		if bytes.Equal(out, t.expect) {
			return nil
		}
		now, err := t.s.p.parse(out, cur.st)
		if err == nil && whoWins(&cur.st, now, next.RefreshToken()) == ours { // theirs is an edit, to be spliced into it
			t.expect = next.Bytes()
			return &movedError{now: now}
		}
		// A login, or a write under way: it gets its name back, then we look again.
		if _, err := t.filled.Swap(); err != nil {
			return err
		}
		if err := t.look(cur); err != nil {
			return err
		}
	}
}
