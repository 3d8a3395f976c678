package evergrant

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/evergrant/evergrant/internal/lockedfile"
	"github.com/evergrant/evergrant/internal/tokenfile"
)

// storePlace is the place of a grant in a Store: the document and the state
// are one record, so a commit is one compare-and-set.
type storePlace struct {
	store      Store
	key        string
	rescueDirs []string
}

// Create puts a token response, a JSON object with at least a refresh_token,
// into a store as the first record of a grant. A lifetime in it without a time
// to count from (expires_in alone) counts from now. It returns an error that
// matches ErrConflict where the id is taken.
func Create(ctx context.Context, store Store, id string, document []byte, cfg Config) error {
	f, err := tokenfile.Open(document, cfg.Fields)
	if err != nil {
		return fileError(id, "the token response for "+id+" cannot be used: "+err.Error(), "it must be one JSON object with the token members once", err)
	}
	st := newState()
	now := thisMoment()
	st.adopt(f.AccessToken(), f.RefreshToken(), now)
	if e := fileExpiry(f, now.At, lifetimeSources{session: cfg.SessionLifetime}); !e.At.IsZero() {
		l := &st.Learned
		l.IssuedAt, l.ExpiresAt, l.Source = e.Issued, e.At, e.From
		l.RefreshAt = refreshAt(e, time.Time{}, nil, rand.Float64())
	}
	return store.Put(ctx, (&storePlace{store: store, key: id}).record(f, &st), 0)
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
	h, err := decodeRecord(r)
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

func decodeData(b []byte) (document, st []byte, err error) {
	size, rest, _ := bytes.Cut(b, []byte{'\n'})
	n, err := strconv.Atoi(string(size))
	if err != nil || n < 0 || n > len(rest) {
		return nil, nil, errors.New("reading a record: its length is wrong")
	}
	return rest[:n], rest[n:], nil
}

func decodeRecord(r Record) (holding, error) {
	document, rest, err := decodeData(r.Data)
	if err != nil {
		return holding{}, err
	}
	st, err := decodeState(rest)
	if err != nil {
		return holding{}, err
	}
	if len(r.Intent) > 0 {
		st.Intent = new(intent)
		if err := decodeObject(r.Intent, st.Intent); err != nil {
			return holding{}, fmt.Errorf("reading the intent: %w", err)
		}
	}
	f, err := tokenfile.Open(document, st.Grant.Fields)
	return holding{file: f, st: st}, err
}

// record is what is stored for a document and its state. The intent stands
// apart, so that a driver can see that there is one.
func (p *storePlace) record(f *tokenfile.File, st *state) Record {
	plain := *st
	plain.Intent = nil
	r := Record{
		ID: p.key, Generation: st.Generation, RefreshAt: st.Learned.RefreshAt,
		Meta: map[string]string{"provider": st.Grant.Provider}, Data: encodeData(f.Bytes(), &plain),
	}
	if st.Intent != nil {
		r.Intent = encodeObject(st.Intent, false)
	}
	return r
}

func (p *storePlace) stamp() stamp {
	r, err := p.store.Get(context.Background(), p.key)
	if err != nil {
		return stamp{}
	}
	return stamp{generation: r.Generation, intent: string(r.Intent), known: true}
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

func (s *storeSession) pending(h holding, attempts []string) (*tokenfile.File, error) {
	for _, attempt := range attempts {
		for _, dir := range s.p.rescueDirs {
			found, _ := filepath.Glob(filepath.Join(dir, rescueName(s.p.key, attempt, "*")))
			for _, name := range found {
				if b, _, err := readDocument(name); err == nil && strings.HasSuffix(name, "."+contentHash(b)+".json") {
					return tokenfile.Open(b, h.st.Grant.Fields)
				}
			}
		}
	}
	return nil, nil
}

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
	return s.note(ctx, h, st)
}

func (s *storeSession) note(_ context.Context, h holding, st *state) error {
	// The caller may be gone; what became of a request is stored all the same.
	if err := s.put(context.Background(), h.file, st, h.st.Generation); err != nil {
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

func (t *storeTry) sending() error {
	t.in.Phase = sending
	t.r.Intent = encodeObject(&t.in, false)
	return t.s.p.store.Put(context.Background(), t.r, t.r.Generation)
}

func (t *storeTry) commit(_ context.Context, cur holding, next *tokenfile.File, st *state) error {
	err := t.s.put(context.Background(), next, st, t.h.st.Generation)
	if errors.Is(err, ErrConflict) {
		now, readErr := t.s.p.read(context.Background())
		if readErr != nil {
			return readErr
		}
		t.h = now
		return &movedError{now: now}
	}
	return err
}

func (t *storeTry) discard() {}
