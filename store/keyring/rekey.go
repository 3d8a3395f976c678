package keyring

import (
	"context"
	"fmt"
	"os"

	"github.com/evergrant/evergrant/internal/lockedfile"
)

// Rekey seals every record with a new key: a new random one in the OS keyring,
// that of a key file, or one made from a passphrase. It goes record by record,
// and other processes can go on reading and writing between two of them; those
// that were given a passphrase must know the new one too. If it does not
// finish, both keys are needed to read everything, and the same call takes it
// up again. In the end the former key is removed from the OS keyring; a former
// key file is left to its owner.
func (s *Store) Rekey(ctx context.Context, to Key) error {
	if err := s.makeFolder(); err != nil {
		return err
	}
	if err := s.Unlock(ctx); err != nil {
		return err
	}
	to = to.withEnv()
	var m meta
	err := s.exclusive(ctx, func() (err error) {
		m, err = s.beginRekey(ctx, to)
		return err
	})
	if err != nil || m.Next == nil {
		return err
	}
	for done := false; !done; {
		if err := s.reseal(ctx, m.Next.ID); err != nil {
			return err
		}
		err := s.exclusive(ctx, func() (err error) {
			done, err = s.endRekey(m)
			return err
		})
		if err != nil {
			return err
		}
	}
	if m.Key.Source == OSKeyring {
		if err := dropFromKeyring(ctx, m.Key.ID); err != nil && !lost(err) {
			return fmt.Errorf("removing the former key from the OS keyring; the new one is in use: %w", err)
		}
	}
	return nil
}

// beginRekey makes the next key, or takes up the change that was begun.
func (s *Store) beginRekey(ctx context.Context, to Key) (meta, error) {
	m, err := s.meta()
	if err != nil {
		return meta{}, err
	}
	if m == nil { // nothing to seal yet
		first, err := s.newSlot(ctx, to)
		if err != nil {
			return meta{}, err
		}
		return meta{}, s.setMeta(meta{Version: metaVersion, Key: first})
	}
	if m.Next != nil {
		if s.isNext(ctx, *m.Next, to) {
			return *m, nil
		}
		if n, err := s.count(func(id keyID) bool { return id == m.Next.ID }); err != nil || n > 0 {
			return meta{}, sealed(s.path(metaName), fmt.Sprintf("a change to another key was begun: %d grants have it, the key is %s", n, m.Next.where()), "finish that change first, with that key", err)
		}
	}
	next, err := s.newSlot(ctx, to)
	if err != nil {
		return meta{}, err
	}
	if next.ID == m.Key.ID {
		return meta{}, sealed(s.dir, "this is the key that the store has", "name another one", nil)
	}
	m.Next = &next
	return *m, s.setMeta(*m)
}

// isNext tells whether this is the key of the change that was begun. It asks
// the source even where the key is known: another key means another wish.
func (s *Store) isNext(ctx context.Context, next slot, to Key) bool {
	if next.Source != to.source() {
		return false
	}
	if next.Source == KeyFile {
		next.File = to.File
	}
	k, err := s.fetch(ctx, next, to)
	if err != nil {
		return false
	}
	s.keep(k)
	return true
}

// reseal seals the records with the next key that have another one.
func (s *Store) reseal(ctx context.Context, next keyID) error {
	stems, err := s.stems()
	if err != nil {
		return err
	}
	for _, stem := range stems {
		if id, err := s.keyOf(stem); err != nil || id == next {
			continue // what cannot be read is counted in the end
		}
		err := s.exclusive(ctx, func() error {
			e, err := s.load(ctx, stem)
			if err != nil || e == nil {
				return err
			}
			if err := s.write(ctx, stem, e); err != nil {
				return err
			}
			_, err = lockedfile.RemoveStale(s.recordPath(stem))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// endRekey makes the next key the only one, if no record needs the former. It
// says false if somebody wrote one with that key meanwhile.
func (s *Store) endRekey(m meta) (bool, error) {
	n, err := s.count(func(id keyID) bool { return id == m.Key.ID })
	if err != nil || n > 0 {
		return false, err
	}
	m.Key, m.Next = *m.Next, nil
	return true, s.setMeta(m)
}

// count counts the records by their key.
func (s *Store) count(is func(keyID) bool) (n int, err error) {
	stems, err := s.stems()
	if err != nil {
		return 0, err
	}
	for _, stem := range stems {
		id, err := s.keyOf(stem)
		if err != nil {
			return n, err
		}
		if is(id) {
			n++
		}
	}
	return n, nil
}

// keyOf reads the key id of a record without opening it.
func (s *Store) keyOf(stem string) (id keyID, err error) {
	f, err := os.Open(s.recordPath(stem))
	if err != nil {
		return id, fmt.Errorf("reading a grant: %w", err)
	}
	defer f.Close()
	if _, err := f.ReadAt(id[:], keyIDAt); err != nil {
		return id, damaged(f.Name(), "this is no grant, or only a part of one", "delete the file, or restore the folder from a backup", err)
	}
	return id, nil
}
