package keyring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/internal/lockedfile"
)

// Rename gives a grant another id. It waits until nobody works on either id,
// and refuses to overwrite: the error matches evergrant.ErrConflict where the
// new id is taken, and evergrant.ErrNotFound where there is no old one. At each
// moment there is exactly one record, under the old id or under the new one.
//
// A grant with a refresh under way or in doubt ([evergrant.Record.Unsettled])
// keeps its name until that is settled: the error matches [ErrUnsettled].
func (s *Store) Rename(ctx context.Context, from, to string) error {
	if to == "" {
		return fmt.Errorf("renaming %q: %w: the new name is empty", from, fs.ErrInvalid)
	}
	if from == to {
		return fmt.Errorf("renaming %q: %w: it has that name", from, evergrant.ErrConflict)
	}
	if err := s.Unlock(ctx); err != nil {
		return err
	}
	for _, id := range []string{min(from, to), max(from, to)} { // one order for all
		unlock, err := s.Lock(ctx, id)
		if err != nil {
			return err
		}
		defer unlock()
	}
	return s.exclusive(ctx, func() error { return s.rename(ctx, from, to) })
}

// ErrUnsettled: a refresh of the grant is under way or in doubt.
var ErrUnsettled = errors.New("a refresh is under way or in doubt: refresh the grant first, then rename it")

func (s *Store) rename(ctx context.Context, from, to string) error {
	oldStem, newStem := stemOf(from), stemOf(to)
	e, err := s.load(ctx, oldStem)
	switch {
	case err != nil:
		return err
	case e == nil:
		return fmt.Errorf("renaming %q: %w", from, evergrant.ErrNotFound)
	case e.record.Unsettled():
		return fmt.Errorf("renaming %q: %w", from, ErrUnsettled)
	}
	if _, err := os.Lstat(s.recordPath(newStem)); err == nil {
		return fmt.Errorf("renaming %q: %w: there is a grant %q", from, evergrant.ErrConflict, to)
	}
	if err := s.forget(newStem); err != nil {
		return err
	}
	// The record first says that it is the new one and may still have the old
	// name, then the file moves, then the permission is taken back.
	e.record.ID, e.moving = to, from
	if err := s.write(ctx, oldStem, e); err != nil {
		return err
	}
	if err := os.Rename(s.recordPath(oldStem), s.recordPath(newStem)); err != nil {
		return fmt.Errorf("renaming %q: %w", from, err)
	}
	if err := lockedfile.SyncDir(s.dir); err != nil {
		return err
	}
	e.moving = ""
	return errors.Join(s.write(ctx, newStem, e), s.forget(oldStem))
}
