package evergrant

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"

	"github.com/evergrant/evergrant/internal/lockedfile"
	"github.com/evergrant/evergrant/internal/tokenfile"
)

// storePlace is the place of a grant in a Store: the document and the state
// are one record, so a commit is one compare-and-set.
type storePlace struct {
	store      Store
	key        string
	fields     tokenfile.Fields
	rescueDirs []string
	last       atomic.Pointer[decoded]
}

// decoded is a record's Data as it was last read or written, with what it
// holds: reading the same bytes again costs a comparison.
type decoded struct {
	data []byte
	h    holding // without intent
}

func (p *storePlace) id() string { return p.key }

func (p *storePlace) read(ctx context.Context) (holding, error) {
	r, err := p.store.Get(ctx, p.key)
	if errors.Is(err, ErrNotFound) {
		return holding{}, fileError(p.key, "there is no grant "+p.key, "check the name", err)
	}
	if err != nil {
		return holding{}, storageError("store-read", p.key, "the grant "+p.key+" could not be read from its store", "look at the cause and try again", err)
	}
	h, err := p.decode(r)
	if err != nil {
		return holding{}, storageError("record-unreadable", p.key, "the record of "+p.key+" cannot be read", "restore it from a backup", err)
	}
	return h, nil
}

// Record.Data is the length of the document in decimal, a line feed, the
// document byte for byte, and the state as JSON.

func encodeData(document []byte, st *state) []byte {
	b := strconv.AppendInt(make([]byte, 0, len(document)+1<<10), int64(len(document)), 10)
	b = append(append(b, '\n'), document...)
	return append(b, encodeObject(st, false)...)
}

func splitData(b []byte) (document, st []byte, err error) {
	size, rest, _ := bytes.Cut(b, []byte{'\n'})
	n, err := strconv.Atoi(string(size))
	if err != nil || n < 0 || n > len(rest) {
		return nil, nil, errors.New("reading a record: its length is wrong")
	}
	return rest[:n], rest[n:], nil
}

// Unsettled reports whether a refresh of the grant is under way or in doubt. Such
// a record keeps its ID: an answer that could not be stored is kept under it, and
// a later run looks there. Data that this package did not write, or that is
// sealed, tells nothing: then only Intent counts.
func (r Record) Unsettled() bool {
	if len(r.Intent) > 0 {
		return true
	}
	_, rest, err := splitData(r.Data)
	if err != nil {
		return false
	}
	st, err := decodeState(rest)
	return err == nil && st.Doubt != nil
}

func (p *storePlace) decode(r Record) (holding, error) {
	h, err := p.decodeData(r.Data)
	if err != nil {
		return holding{}, err
	}
	if h.st.Generation = r.Generation; len(r.Intent) > 0 {
		h.st.Intent = new(intent)
		if err := decodeObject(r.Intent, h.st.Intent); err != nil {
			return holding{}, fmt.Errorf("reading the intent: %w", err)
		}
	}
	return h, nil
}

func (p *storePlace) decodeData(data []byte) (holding, error) {
	if l := p.last.Load(); l != nil && bytes.Equal(l.data, data) {
		return l.h, nil
	}
	document, rest, err := splitData(data)
	if err != nil {
		return holding{}, err
	}
	st, err := decodeState(rest)
	if err != nil {
		return holding{}, err
	}
	f, err := p.parse(document, &st)
	if err != nil {
		return holding{}, err
	}
	h := holding{file: f, st: st, sealed: true}
	p.last.Store(&decoded{data: data, h: h})
	return h, nil
}

// encode makes a record's Data.
func (p *storePlace) encode(f *tokenfile.File, st state) []byte {
	st.Intent = nil
	data := encodeData(f.Bytes(), &st)
	p.last.Store(&decoded{data: data, h: holding{file: f, st: st, sealed: true}})
	return data
}

// parse reads a document with the fields the user named, now or before.
func (p *storePlace) parse(document []byte, st *state) (*tokenfile.File, error) {
	if len(p.fields) > 0 {
		return tokenfile.Open(document, p.fields)
	}
	return tokenfile.Open(document, st.remembered().Fields)
}

// record is what is stored for a document and its state. The intent stands
// apart, so that a driver can see that there is one.
func (p *storePlace) record(f *tokenfile.File, st *state) Record {
	r := Record{
		ID: p.key, Generation: st.Generation, RefreshAt: st.Learned.RefreshAt,
		Meta: map[string]string{"provider": st.Grant.Provider}, Data: p.encode(f, *st),
	}
	if st.Intent != nil {
		r.Intent = encodeObject(st.Intent, false)
	}
	return r
}

func (p *storePlace) stamp(ctx context.Context) stamp {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	r, err := p.store.Get(ctx, p.key)
	if err != nil {
		return stamp{}
	}
	return stamp{generation: r.Generation, intent: string(r.Intent), data: digestOf(r.Data), known: true}
}

func (p *storePlace) lock(ctx context.Context) (session, error) {
	unlock, err := p.store.Lock(ctx, p.key)
	if err != nil {
		e := &Error{Class: ErrTemporary, Rule: "lock-busy", Says: "the lock of " + p.key + " could not be had in time", Do: "try again", Err: err}
		return nil, e
	}
	return &storeSession{p: p, unlock: unlock}, nil
}

// storeSession is a record under its lock.
type storeSession struct {
	p      *storePlace
	unlock func()
}

func (s *storeSession) release() { s.unlock() }

func (s *storeSession) read(ctx context.Context) (holding, error) { return s.p.read(ctx) }

func (s *storeSession) pending(h holding, attempt string) (*tokenfile.File, error) {
	found, err := rescued(s.p.rescueDirs, s.p.key, attempt)
	if err != nil {
		return nil, err
	}
	for _, r := range found {
		b, err := wholeFile(r.path, r.hash)
		if err != nil {
			return nil, err
		}
		if b == nil {
			continue
		}
		if f, err := s.p.parse(b, &h.st); err == nil {
			return f, nil
		}
	}
	return nil, nil
}

// committed is never the case: document and intent are one record.
func (s *storeSession) committed(holding, string) (*tokenfile.File, bool) { return nil, false }

func (s *storeSession) rescue(attempt string, next *tokenfile.File) (string, error) {
	b := next.Bytes()
	return lockedfile.WriteElsewhere(s.p.rescueDirs, rescueName(s.p.key, attempt, contentHash(b)), b)
}

func (s *storeSession) begin(ctx context.Context, h holding, st *state) (try, error) {
	r := s.p.record(h.file, st)
	if err := s.p.store.Put(ctx, r, h.st.Generation); err != nil {
		return nil, storageError("intent-unwritten", s.p.key, "the intent could not be stored, so nothing was sent", "look at the store", err)
	}
	return &storeTry{s: s, h: h, r: r, in: *st.Intent}, nil
}

func (s *storeSession) put(ctx context.Context, f *tokenfile.File, st *state, generation uint64) error {
	return s.p.store.Put(ctx, s.p.record(f, st), generation)
}

func (s *storeSession) settle(ctx context.Context, h holding, st *state) error {
	if err := s.note(ctx, h, st); err != nil {
		return err
	}
	s.sweep(st)
	return nil
}

// sweep removes rescue files: with no request open or in doubt they belong to
// nobody.
func (s *storeSession) sweep(st *state) {
	if st.Intent != nil || st.Doubt != nil {
		return
	}
	found, _ := rescued(s.p.rescueDirs, s.p.key, "")
	for _, r := range found {
		os.Remove(r.path)
	}
}

// late is a context for what must be written whoever is still waiting.
func late(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
}

func (s *storeSession) note(ctx context.Context, h holding, st *state) error {
	ctx, cancel := late(ctx)
	defer cancel()
	if err := s.put(ctx, h.file, st, h.st.Generation); err != nil {
		return storageError("state-unwritten", s.p.key, "the state of "+s.p.key+" could not be stored", "look at the store", err)
	}
	return nil
}

// storeTry is one try on a record.
type storeTry struct {
	s  *storeSession
	h  holding
	r  Record // as begin stored it
	in intent
}

func (t *storeTry) mark(p phase) error {
	ctx, cancel := late(context.Background())
	defer cancel()
	t.in.Phase = p
	if p == sending {
		t.in.Started = thisMoment() // the request leaves now, however long the dialing took
	}
	t.r.Intent = encodeObject(&t.in, false) // the rest is as begin stored it
	return t.s.p.store.Put(ctx, t.r, t.r.Generation)
}

func (t *storeTry) commit(ctx context.Context, cur holding, next *tokenfile.File, st *state) error {
	ctx, cancel := late(ctx)
	defer cancel()
	err := t.s.put(ctx, next, st, t.h.st.Generation)
	if err == nil {
		t.s.sweep(st)
	}
	if errors.Is(err, ErrConflict) {
		now, readErr := t.s.p.read(ctx)
		if readErr != nil {
			return readErr
		}
		if now.st.Generation == st.Generation && bytes.Equal(now.file.Bytes(), next.Bytes()) {
			t.s.sweep(st)
			return nil // an earlier write of ours took effect and was reported as failed
		}
		t.h = now
		now.newer = true
		return &movedError{now: now}
	}
	return err
}

func (t *storeTry) copyAt() string { return "" }

func (t *storeTry) discard() {}
