// Package keyring keeps grants on a person's own machine: one sealed file per
// grant in a folder, under a key that the operating system's keyring holds, or
// a key file, or a passphrase. Call [Open] first; the [Store] it returns is an
// evergrant.Store.
//
//	store, err := keyring.Open(keyring.Config{})
//	err = store.Unlock(ctx) // may ask the person; the other calls do it themselves
//	source, err := evergrant.Open(store, "work-sf", evergrant.Config{})
//
// # Promises
//
//   - No token stands in the keyring: it holds 32 random bytes, because some
//     keyrings take no more than 2560 bytes an item. Everything of a grant is
//     in its file, sealed, its metadata and times too. Only its name can be
//     seen, in the file's name.
//   - Put, Delete, Rename and Rekey are durable before they return. A crash
//     leaves a record's former state or its new one, whole.
//   - A record that was altered, cut short, copied under another name or put
//     back from an older copy is refused with an error that names its file and
//     matches [ErrDamaged]. The older copy is told by a side file, so that it is
//     not told where the whole folder was put back, or the side file removed.
//   - With a wrong or missing key nothing is written, and no new key is ever
//     made for a folder that has one: the error matches [ErrSealed].
//   - Locks are the kernel's, on side files that are never deleted: they end
//     with the process that holds them.
//
// # Limits
//
//   - The folder belongs to one user of one machine. It can be shared through a
//     network file system only as far as that one's locks reach.
//   - Whoever can run programs as this user can ask the keyring for the key too.
//   - store.json is part of the store: it says where the key is, and for a
//     passphrase it has the salt. Back the folder up as a whole. A copy taken
//     before a [Store.Rekey] needs the former key, which a keyring then no
//     longer has.
//   - A keyring can ask the person to unlock it, and its client cannot be
//     interrupted: a call whose context ends leaves a goroutine until the
//     keyring has answered. On Linux the connection to the session bus stays
//     open as long as the process.
//   - On Windows the permission bits of folder and files say nothing; what the
//     user's profile inherits applies.
//
// # The folder
//
//	store.json       where the key is; no secret
//	store.lock       held while a file of the store is replaced
//	NAME.grant       the record
//	.NAME.lock       held by whoever works on the grant ([Store.Lock])
//	.NAME.seen       what the newest copy of the record is, to notice older ones
//
// NAME is the id where it consists of a-z, 0-9 and "-_.@+". Any other byte, a
// leading dot, and the first letter of a name that Windows keeps for a device
// (con, com1 …) become % and two hex digits, so that ids that differ in case
// only differ on any file system. A name of more than 110 bytes is cut to 60, at
// an escape's edge, and followed by ~ and the first 40 hex digits of the id's
// SHA-256.
//
// # Format
//
// A record's file, integers big-endian:
//
//	 0   7  "evergra"
//	 7   1  version, 1
//	 8  16  key id: HKDF-SHA256(key, no salt, "evergrant key id v1")
//	24  16  lineage: random, chosen when the record is created
//	40   8  generation
//	48   8  edition: counts the writes of the record
//	56  32  salt: random, for each write
//	88  12  nonce: random, for each write
//	100     ciphertext and 16 bytes of tag
//
// The ciphertext is AES-256-GCM under HKDF-SHA256(key, salt, "evergrant grant
// v1"), with the first 88 bytes as associated data. Each write has a key of its
// own: random nonces under one key would allow 2^32 writes, a 256-bit salt asks
// for no count, and there is no wrapped key to keep. The key id commits to the
// key, which GCM alone does not.
//
// The plaintext is a list of fields, each a length (unsigned LEB128) and that
// many bytes: id, moving (the id whose file this was, while a rename is under
// way, else empty), the time to look at it (RFC 3339 in UTC, empty if none),
// data, intent, then a name and a value per item of metadata. The id is compared
// with the file's name: in the associated data it would bind no better, and a
// rename could not be one atomic step.
//
// A passphrase's key is scrypt (RFC 7914) with the cost and the salt of
// store.json, 32 bytes; a key file and a keyring's item are the key in base64.
//
// A test vector: with the key 00 01 02 … 1f, the file work-sf.grant is in base64
//
//	ZXZlcmdyYQEIaoxqu/hmwV9awCYBuzP68PHy8/T19vf4+fr7/P3+/wAAAAAAAAADAAAAAAAAAAca
//	lAeVnQDo0jpmWCqUo5kBHdQ4V4GhPNIu79rsRyt6rl5KOannCLEm1PlyEcmTZQxf1yMBrbQmqseW
//	8qsQ5YD4oyywFsK9HR7xksS0lcD5cke9+EjDThJ8Fx2p7mE52Abn+Embd7GmEKBSdJtHVTtFhLzo
//	IhzZ
//
// and holds generation 3, edition 7, a time of 2027-01-15T08:00:00Z, the data
// "data", the intent "{}" and the metadata provider=salesforce. Its key id is
// 086a8c6abbf866c15f5ac02601bb33fa.
package keyring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/internal/lockedfile"
)

// Config says where a store is and what opens it. The zero value is the user's
// own store under a key in the OS keyring.
type Config struct {
	Dir string // the folder; "": DefaultDir. Created with mode 0700 at the first Put or Lock
	Key Key    // of a new store; for an existing one only what opens it is looked at
}

// Store keeps grants in a folder. It implements evergrant.Store, holds no
// handle between calls and needs no Close. It is safe for use by several
// goroutines, and any number of processes may have the same folder open.
type Store struct {
	dir  string
	with Key
	gate chan struct{} // taken by whoever replaces files; a waiter can give up
	ask  chan struct{} // taken by whoever asks for a key

	mu   sync.Mutex
	keys map[keyID]*master // those that were had so far
}

var _ evergrant.Store = (*Store)(nil)

// Open returns the store in a folder. It touches neither the keyring nor the
// disk, but for store.json: a store that exists decides what its key is, and a
// Config that names another source is an error that matches [ErrSealed].
func Open(cfg Config) (*Store, error) {
	dir, err := cfg.dir()
	if err != nil {
		return nil, err
	}
	s := &Store{
		dir: dir, with: cfg.Key.withEnv(),
		gate: make(chan struct{}, 1), ask: make(chan struct{}, 1),
		keys: map[keyID]*master{},
	}
	m, err := s.meta()
	if err != nil || m == nil {
		return s, err
	}
	if want := cfg.Key.Source; want != "" && want != m.Key.Source && (m.Next == nil || want != m.Next.Source) {
		return nil, sealed(s.path(metaName), "the key of this store is "+m.Key.where()+", not "+string(want), "leave the source out, or change the key of the store first", nil)
	}
	return s, nil
}

func (c Config) dir() (string, error) {
	dir := c.Dir
	if dir == "" {
		var err error
		if dir, err = DefaultDir(); err != nil {
			return "", err
		}
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("opening the store: %w", err)
	}
	return abs, nil
}

// DefaultDir is the folder evergrant/grants in $XDG_DATA_HOME where that is an
// absolute path, else in ~/.local/share; on macOS in ~/Library/Application
// Support, and on Windows in %LocalAppData%, which does not roam: locks and
// rotating tokens do not survive being copied between machines.
func DefaultDir() (string, error) {
	base, err := os.Getenv("XDG_DATA_HOME"), error(nil)
	switch {
	case filepath.IsAbs(base):
	case runtime.GOOS == "windows":
		base, err = os.UserCacheDir()
	case runtime.GOOS == "darwin" || runtime.GOOS == "ios":
		base, err = os.UserConfigDir()
	default:
		base, err = os.UserHomeDir()
		base = filepath.Join(base, ".local", "share")
	}
	if err != nil {
		return "", fmt.Errorf("finding the folder of the store: %w", err)
	}
	return filepath.Join(base, "evergrant", "grants"), nil
}

// Get implements evergrant.Store.
func (s *Store) Get(ctx context.Context, id string) (evergrant.Record, error) {
	e, err := s.read(ctx, stemOf(id))
	if err != nil {
		return evergrant.Record{}, err
	}
	if e == nil {
		return evergrant.Record{}, fmt.Errorf("reading %q: %w", id, evergrant.ErrNotFound)
	}
	e.record.ID = id
	return e.record, nil
}

// Has reports whether there is a file of that record, whole or not. It needs no
// key.
func (s *Store) Has(id string) bool {
	_, err := os.Lstat(s.recordPath(stemOf(id)))
	return !errors.Is(err, fs.ErrNotExist)
}

// Put implements evergrant.Store. The first Put of a store makes its key, or
// takes the one that Config names.
func (s *Store) Put(ctx context.Context, r evergrant.Record, generation uint64) error {
	if r.ID == "" || r.Generation == 0 {
		return fmt.Errorf("writing %q: %w: a record needs an id and a generation", r.ID, fs.ErrInvalid)
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	return s.exclusive(ctx, func() error { return s.put(ctx, r, generation) })
}

func (s *Store) put(ctx context.Context, r evergrant.Record, generation uint64) error {
	stem := stemOf(r.ID)
	e, err := s.load(ctx, stem)
	if err != nil {
		return err
	}
	if e == nil {
		if generation != 0 {
			return conflict("writing", r.ID, 0, generation)
		}
		if e, err = s.fresh(stem); err != nil {
			return err
		}
	} else if e.record.Generation != generation {
		return conflict("writing", r.ID, e.record.Generation, generation)
	}
	e.record, e.moving = r, ""
	return s.write(ctx, stem, e)
}

func conflict(doing, id string, have, generation uint64) error {
	return fmt.Errorf("%s %q: %w: generation %d, not %d", doing, id, evergrant.ErrConflict, have, generation)
}

// Delete implements evergrant.Store. A file that cannot be opened is not
// deleted either: which generation it has is not known.
func (s *Store) Delete(ctx context.Context, id string, generation uint64) error {
	stem := stemOf(id)
	if _, err := os.Lstat(s.recordPath(stem)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting %q: %w", id, evergrant.ErrNotFound)
	}
	if err := s.Unlock(ctx); err != nil {
		return err
	}
	return s.exclusive(ctx, func() error {
		e, err := s.load(ctx, stem)
		switch {
		case err != nil:
			return err
		case e == nil:
			return fmt.Errorf("deleting %q: %w", id, evergrant.ErrNotFound)
		case e.record.Generation != generation:
			return conflict("deleting", id, e.record.Generation, generation)
		}
		return s.remove(stem)
	})
}

// remove takes the record away first: while it is there, so is what tells an
// older copy of it.
func (s *Store) remove(stem string) error {
	path := s.recordPath(stem)
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("deleting %s: %w", path, err)
	}
	if err := lockedfile.SyncDir(s.dir); err != nil {
		return err
	}
	return s.forget(stem)
}

// List implements evergrant.Store. Records that cannot be opened are left out:
// with n others, or as many as there are, comes an error that names their files.
func (s *Store) List(ctx context.Context, after string, n int) ([]evergrant.Record, error) {
	if n <= 0 {
		return nil, ctx.Err()
	}
	names, errs := s.names(ctx)
	var out []evergrant.Record
	for _, f := range names {
		if len(out) == n {
			break
		}
		if f.id <= after {
			continue
		}
		e, err := s.read(ctx, f.stem)
		if err != nil {
			errs = append(errs, err)
		} else if e != nil {
			e.record.ID = f.id
			out = append(out, e.record)
		}
	}
	return out, errors.Join(errs...)
}

// Due implements evergrant.Store, with the same errors as List. It opens every
// record: the times are sealed too, and a person has tens of grants.
func (s *Store) Due(ctx context.Context, before time.Time, n int) ([]evergrant.Record, error) {
	all, err := s.List(ctx, "", 1<<30)
	due := slices.DeleteFunc(all, func(r evergrant.Record) bool { return r.RefreshAt.IsZero() || r.RefreshAt.After(before) })
	slices.SortFunc(due, func(a, b evergrant.Record) int {
		return cmp.Or(a.RefreshAt.Compare(b.RefreshAt), cmp.Compare(a.ID, b.ID))
	})
	return due[:min(max(n, 0), len(due))], err
}

// Lock implements evergrant.Store.
func (s *Store) Lock(ctx context.Context, id string) (func(), error) {
	if err := s.makeFolder(); err != nil {
		return nil, err
	}
	l, err := lockedfile.Acquire(ctx, s.side(stemOf(id), lockEnd))
	if err != nil {
		return nil, fmt.Errorf("locking %q: %w", id, err)
	}
	return sync.OnceFunc(func() { l.Release() }), nil
}

// exclusive runs f while no other call of any process replaces a file of the
// store. One lock serves all records, because it is held for the milliseconds
// of a replacement and never for a request, and because a change of the key
// must not miss a record that is just being created.
func (s *Store) exclusive(ctx context.Context, f func() error) error {
	select {
	case s.gate <- struct{}{}:
		defer func() { <-s.gate }()
	case <-ctx.Done():
		return fmt.Errorf("waiting for the store: %w", context.Cause(ctx))
	}
	l, err := lockedfile.Acquire(ctx, s.path(lockName))
	if err != nil {
		return fmt.Errorf("waiting for the store: %w", err)
	}
	defer l.Release()
	return f()
}
