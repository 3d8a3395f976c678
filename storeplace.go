package evergrant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

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

// recordData is the plaintext of Record.Data.
type recordData struct {
	Document []byte          `json:"document"`
	State    json.RawMessage `json:"state"`
}

// Create puts a token response, a JSON object with at least a refresh_token,
// into a store as the first record of a grant. It returns an error that
// matches ErrConflict where the id is taken.
func Create(ctx context.Context, store Store, id string, document []byte, cfg Config) error {
	f, err := tokenfile.Open(document, cfg.Fields)
	if err != nil {
		return fileError(id, "the token response for "+id+" cannot be used: "+err.Error(), "it must be one JSON object with the token members once", err)
	}
	st := newState()
	st.adopt(f.AccessToken(), f.RefreshToken(), thisMoment())
	r, err := (&storePlace{store: store, key: id}).record(f, &st)
	if err != nil {
		return err
	}
	return store.Put(ctx, r, 0)
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

func decodeRecord(r Record) (holding, error) {
	var d recordData
	if err := json.Unmarshal(r.Data, &d); err != nil {
		return holding{}, err
	}
	st, err := decodeState(d.State)
	if err != nil {
		return holding{}, err
	}
	if st.Intent = nil; len(r.Intent) > 0 {
		st.Intent = new(intent)
		if err := json.Unmarshal(r.Intent, st.Intent); err != nil {
			return holding{}, fmt.Errorf("reading the intent: %w", err)
		}
	}
	f, err := tokenfile.Open(d.Document, st.Grant.Fields)
	return holding{file: f, st: st}, err
}

// record is what is stored for a document and its state. The intent stands
// apart, so that a driver can see that there is one.
func (p *storePlace) record(f *tokenfile.File, st *state) (Record, error) {
	plain := *st
	plain.Intent = nil
	r := Record{ID: p.key, Generation: st.Generation, RefreshAt: st.Learned.RefreshAt, Meta: map[string]string{"provider": st.Grant.Provider}}
	var err error
	if r.Data, err = json.Marshal(recordData{Document: f.Bytes(), State: plain.encode()}); err != nil {
		return Record{}, err
	}
	if st.Intent != nil {
		r.Intent, err = json.Marshal(st.Intent)
	}
	return r, err
}

func (p *storePlace) stamp() stamp {
	r, err := p.store.Get(context.Background(), p.key)
	if err != nil {
		return stamp{}
	}
	return stamp{generation: r.Generation}
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
	// A generation that was adopted or created under another number is not
	// written yet: the intent goes with the stored one.
	if err := s.put(ctx, h.file, st, h.st.Generation); err != nil {
		return nil, storageError("intent-unwritten", s.p.key, "the intent could not be stored, so nothing was sent", "look at the store", err)
	}
	return &storeTry{s: s, h: h, st: st}, nil
}

func (s *storeSession) put(ctx context.Context, f *tokenfile.File, st *state, generation uint64) error {
	r, err := s.p.record(f, st)
	if err != nil {
		return err
	}
	return s.p.store.Put(ctx, r, generation)
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
	st *state
}

func (t *storeTry) sending() error {
	in := *t.st.Intent
	in.Phase = sending
	st := *t.st
	st.Intent = &in
	return t.s.put(context.Background(), t.h.file, &st, t.h.st.Generation)
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
