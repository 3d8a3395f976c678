package evergrant

import (
	"context"
	"errors"
	"time"
)

// Record is one grant in a Store. Data and Intent are opaque to the store.
type Record struct {
	ID         string
	Generation uint64            // counts the successful refreshes; from 1
	RefreshAt  time.Time         // when a keeper should look at it; zero: only on a report
	Meta       map[string]string // public, for lists: provider, account …; may be nil
	Data       []byte            // the grant, sealed where the store's owner seals
	Intent     []byte            // the journal of a try under way; nil if there is none
}

// Store keeps many grants. A driver knows no OAuth, sees no plaintext where
// its owner seals Data, and never retries: behaviour is in this package once.
// The suite in package storetest says the contract in code, and every driver
// passes it.
type Store interface {
	// Get returns a record; an error that matches ErrNotFound if there is none.
	Get(ctx context.Context, id string) (Record, error)
	// Put replaces the record, durably before it returns, if its generation is
	// still the one given; 0 creates. Else it changes nothing and returns an
	// error that matches ErrConflict.
	Put(ctx context.Context, r Record, generation uint64) error
	// Delete removes the record if its generation is still the one given.
	Delete(ctx context.Context, id string, generation uint64) error
	// List returns up to n records with ids greater than after, in order of id.
	List(ctx context.Context, after string, n int) ([]Record, error)
	// Due returns up to n records whose RefreshAt is set and not later than
	// before, the most overdue first.
	Due(ctx context.Context, before time.Time, n int) ([]Record, error)
	// Lock excludes every other Lock of the same id, of any process that
	// shares the store, until unlock is called or the holder dies. It waits as
	// long as ctx lives. The record need not exist. Locks exclude, generations
	// fence: Put is safe without the lock too.
	Lock(ctx context.Context, id string) (unlock func(), err error)
}

var (
	// ErrNotFound: the store has no such record.
	ErrNotFound = errors.New("evergrant: no such grant")
	// ErrConflict: the record is no longer of the generation that was given.
	ErrConflict = errors.New("evergrant: the grant was changed meanwhile")
)
