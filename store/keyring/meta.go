package keyring

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/evergrant/evergrant/internal/lockedfile"
)

// metaVersion is the layout of store.json.
const metaVersion = 1

// meta is store.json: which key seals the records. While the key is changed
// there are two, and what is written is sealed with the next one.
type meta struct {
	Version int   `json:"version"`
	Key     slot  `json:"key"`
	Next    *slot `json:"next,omitempty"`
}

// slot is one key and where it comes from.
type slot struct {
	ID     keyID     `json:"id"`
	Source KeySource `json:"source"`
	File   string    `json:"file,omitempty"`   // of a KeyFile, absolute
	Scrypt *cost     `json:"scrypt,omitempty"` // of a Passphrase
}

// where says it to a person.
func (s slot) where() string {
	switch s.Source {
	case OSKeyring:
		return "in the OS keyring (" + keyringName() + ")"
	case KeyFile:
		return "in the key file " + s.File
	}
	return "made from a passphrase"
}

// MarshalText writes the id as hex digits.
func (id keyID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (id *keyID) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(id) {
		return errors.New("this is no key id")
	}
	copy(id[:], b)
	return nil
}

// meta reads store.json; nil if there is none.
func (s *Store) meta() (*meta, error) {
	path := s.path(metaName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the store: %w", err)
	}
	var m meta
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields() // what is not understood may say how to find a key
	err = d.Decode(&m)
	if err == nil && m.Version != metaVersion {
		err = fmt.Errorf("its version is %d", m.Version)
	}
	if err != nil {
		return nil, sealed(path, "the store's own file cannot be read", "restore it from a backup, or use the newer version that wrote it", err)
	}
	return &m, nil
}

func (s *Store) setMeta(m meta) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the store: %w", err)
	}
	if err := lockedfile.WriteDurable(s.path(metaName), append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the store: %w", err)
	}
	return nil
}

// Description says what a store is sealed with.
type Description struct {
	Dir      string    // the folder, absolute
	Source   KeySource // where the key comes from
	KeyID    string    // which key it is, in hex; "" while there is no record
	Where    string    // the source in words, to complete "the key is …"
	Changing bool      // a Rekey was begun and not finished
}

// Describe tells where the store and its key are. It needs no key.
func (s *Store) Describe() (Description, error) {
	m, err := s.meta()
	if err != nil {
		return Description{}, err
	}
	if m == nil {
		next := slot{Source: s.with.source(), File: s.with.File}
		return Description{Dir: s.dir, Source: next.Source, Where: next.where()}, nil
	}
	return Description{Dir: s.dir, Source: m.Key.Source, KeyID: m.Key.ID.String(), Where: m.Key.where(), Changing: m.Next != nil}, nil
}

// Unlock gets the key, which may ask a person; the other calls then need not.
// A store without records has no key yet, and nothing is made.
func (s *Store) Unlock(ctx context.Context) error {
	m, err := s.meta()
	if err != nil {
		return err
	}
	if m == nil {
		return s.noOrphans()
	}
	return s.ready(ctx, m)
}

// ready gets one of the keys that may seal: in the middle of a change the
// person may know either passphrase.
func (s *Store) ready(ctx context.Context, m *meta) error {
	_, err := s.obtain(ctx, m.Key, s.with)
	if err != nil && m.Next != nil {
		if _, nextErr := s.obtain(ctx, *m.Next, s.with); nextErr == nil {
			return nil
		}
	}
	return err
}

// noOrphans refuses a folder of records whose store.json is gone: a new key
// beside the old one would only hide the loss.
func (s *Store) noOrphans() error {
	stems, err := s.stems()
	if err != nil || len(stems) == 0 {
		return err
	}
	return sealed(s.path(metaName), "the store's own file is missing", "restore the whole folder from a backup: that file says which key opens the grants", fs.ErrNotExist)
}

// prepare makes the folder and the key ready before the store's lock is taken,
// so that nobody else waits for a person.
func (s *Store) prepare(ctx context.Context) error {
	if err := s.makeFolder(); err != nil {
		return err
	}
	m, err := s.meta()
	if err != nil {
		return err
	}
	if m != nil {
		return s.ready(ctx, m)
	}
	return s.exclusive(ctx, func() error { return s.initialize(ctx) })
}

// initialize gives a new store its key, unless somebody was faster.
func (s *Store) initialize(ctx context.Context) error {
	m, err := s.meta()
	if err != nil || m != nil {
		return err
	}
	if err := s.noOrphans(); err != nil {
		return err
	}
	first, err := s.newSlot(ctx, s.with)
	if err != nil {
		return err
	}
	return s.setMeta(meta{Version: metaVersion, Key: first})
}

// newSlot makes a key, or takes the one of a key file.
func (s *Store) newSlot(ctx context.Context, from Key) (slot, error) {
	next := slot{Source: from.source()}
	secret, err := []byte(nil), error(nil)
	switch next.Source {
	case OSKeyring:
		secret = randomKey()
	case KeyFile:
		if next.File, err = filepath.Abs(from.File); err == nil && from.File != "" {
			secret, err = readKeyFile(next.File)
		} else {
			err = sealed(s.dir, "no key file is named", "name one, or set "+EnvKeyFile, err)
		}
	case Passphrase:
		next.Scrypt = newCost()
		if secret, err = next.Scrypt.key(ctx, from.Passphrase); err != nil {
			err = sealed(s.dir, "there is no passphrase for the key", "give one", err)
		}
	default:
		err = sealed(s.dir, "unknown source of keys: "+string(next.Source), "use keyring, file or passphrase", nil)
	}
	if err != nil {
		return slot{}, err
	}
	k, err := newMaster(secret)
	if err != nil {
		return slot{}, err
	}
	if next.Source == OSKeyring {
		if err := fileInKeyring(ctx, k); err != nil {
			return slot{}, s.unreachable(err)
		}
	}
	next.ID = k.id
	s.keep(k)
	return next, nil
}

// unreachable is the error of a machine without a keyring that answers.
func (s *Store) unreachable(err error) error {
	return sealed(s.dir, "the OS keyring ("+keyringName()+") cannot be used", "unlock it, or keep the grants under a key file or a passphrase instead", err)
}

// sealingKey is the key for what is written now; the caller holds the store's
// lock. While the key is changed a writer that has no access to the next one
// (it was given the former passphrase) goes on with the former: losing a token
// is worse than a record that the change has to visit again.
func (s *Store) sealingKey(ctx context.Context) (*master, error) {
	m, err := s.meta()
	if err != nil {
		return nil, err
	}
	if m == nil {
		return nil, sealed(s.path(metaName), "the store's own file is missing", "restore the whole folder from a backup", fs.ErrNotExist)
	}
	if m.Next == nil {
		return s.obtain(ctx, m.Key, s.with)
	}
	if m.Next.Source == Passphrase && s.had(m.Next.ID) == nil { // don't ask under the lock
		return s.obtain(ctx, m.Key, s.with)
	}
	if k, err := s.obtain(ctx, *m.Next, s.with); err == nil {
		return k, nil
	}
	return s.obtain(ctx, m.Key, s.with)
}

// key is the key with an id that a record's file names.
func (s *Store) key(ctx context.Context, id keyID, path string) (*master, error) {
	if k := s.had(id); k != nil {
		return k, nil
	}
	m, err := s.meta()
	switch {
	case err != nil:
		return nil, err
	case m == nil:
		return nil, sealed(s.path(metaName), "the store's own file is missing", "restore the whole folder from a backup: that file says which key opens the grants", fs.ErrNotExist)
	case id == m.Key.ID:
		return s.obtain(ctx, m.Key, s.with)
	case m.Next != nil && id == m.Next.ID:
		return s.obtain(ctx, *m.Next, s.with)
	}
	return nil, sealed(path, "this grant is sealed with another key than the store's", "if it came from a backup, restore the whole folder; else delete the file", nil)
}

func (s *Store) had(id keyID) *master {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[id]
}

func (s *Store) keep(k *master) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[k.id] = k
}

// obtain gets a key from its source, one caller at a time, and checks that it
// is the one.
func (s *Store) obtain(ctx context.Context, of slot, from Key) (*master, error) {
	if k := s.had(of.ID); k != nil {
		return k, nil
	}
	select {
	case s.ask <- struct{}{}:
		defer func() { <-s.ask }()
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the key: %w", context.Cause(ctx))
	}
	if k := s.had(of.ID); k != nil {
		return k, nil
	}
	k, err := s.fetch(ctx, of, from)
	if err != nil {
		return nil, err
	}
	s.keep(k)
	return k, nil
}

func (s *Store) fetch(ctx context.Context, of slot, from Key) (*master, error) {
	switch of.Source {
	case OSKeyring:
		secret, err := askKeyring(ctx, of.ID)
		if lost(err) {
			return nil, sealed(s.dir, "the OS keyring ("+keyringName()+") has no longer the key "+of.ID.String(), "restore the keyring; without the key the grants cannot be opened, and a new login needs another folder", err)
		}
		if err != nil {
			return nil, s.unreachable(err)
		}
		return s.checked(of, secret, "the key in the OS keyring is another one", "restore the keyring")
	case KeyFile:
		if from.File == "" {
			return s.fromFile(of, of.File)
		}
		k, err := s.fromFile(of, from.File)
		if err != nil { // it may be the key before or after a Rekey
			if k, err := s.fromFile(of, of.File); err == nil {
				return k, nil
			}
		}
		return k, err
	case Passphrase:
		secret, err := of.Scrypt.key(ctx, from.Passphrase)
		if err != nil {
			return nil, sealed(s.dir, "the store is sealed with a passphrase", "give the passphrase", err)
		}
		return s.checked(of, secret, "the passphrase is wrong", "try again")
	}
	return nil, sealed(s.path(metaName), "unknown source of keys: "+string(of.Source), "use the newer version that wrote it", nil)
}

func (s *Store) fromFile(of slot, path string) (*master, error) {
	secret, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	return s.checked(of, secret, "the key file "+path+" is not that of this store", "name the file that was used when the store was made: "+of.File)
}

// checked compares with the id, which commits to the key.
func (s *Store) checked(of slot, secret []byte, says, do string) (*master, error) {
	k, err := newMaster(secret)
	if err != nil {
		return nil, err
	}
	if k.id != of.ID {
		return nil, sealed(s.dir, says, do, nil)
	}
	return k, nil
}
