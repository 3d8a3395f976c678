package evergrant

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Memory is a Store that lives as long as the process, for tests and for
// programs that keep their grants elsewhere. Its zero value is empty and ready
// to use.
type Memory struct {
	mu      sync.Mutex
	records map[string]Record
	locks   map[string]chan struct{}
}

// Get implements Store.
func (m *Memory) Get(ctx context.Context, id string) (Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.records[id]
	if !ok {
		return Record{}, fmt.Errorf("reading %q: %w", id, ErrNotFound)
	}
	return r.clone(), ctx.Err()
}

// Put implements Store.
func (m *Memory) Put(ctx context.Context, r Record, generation uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if have := m.records[r.ID].Generation; have != generation {
		return fmt.Errorf("writing %q: %w: generation %d, not %d", r.ID, ErrConflict, have, generation)
	}
	if m.records == nil {
		m.records = map[string]Record{}
	}
	m.records[r.ID] = r.clone()
	return nil
}

// Delete implements Store.
func (m *Memory) Delete(ctx context.Context, id string, generation uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.records[id]
	switch {
	case !ok:
		return fmt.Errorf("deleting %q: %w", id, ErrNotFound)
	case r.Generation != generation:
		return fmt.Errorf("deleting %q: %w", id, ErrConflict)
	}
	delete(m.records, id)
	return nil
}

// List implements Store.
func (m *Memory) List(ctx context.Context, after string, n int) ([]Record, error) {
	return m.pick(n, func(r Record) bool { return r.ID > after }, func(a, b Record) int { return cmp.Compare(a.ID, b.ID) })
}

// Due implements Store.
func (m *Memory) Due(ctx context.Context, before time.Time, n int) ([]Record, error) {
	due := func(r Record) bool { return !r.RefreshAt.IsZero() && !r.RefreshAt.After(before) }
	return m.pick(n, due, func(a, b Record) int {
		return cmp.Or(a.RefreshAt.Compare(b.RefreshAt), cmp.Compare(a.ID, b.ID))
	})
}

func (m *Memory) pick(n int, want func(Record) bool, order func(a, b Record) int) ([]Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Record
	for _, r := range m.records {
		if want(r) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, order)
	out = slices.Clone(out[:min(n, len(out))])
	for i := range out {
		out[i] = out[i].clone()
	}
	return out, nil
}

// Lock implements Store. The lock of an id that nobody holds takes no memory.
func (m *Memory) Lock(ctx context.Context, id string) (func(), error) {
	for {
		m.mu.Lock()
		held, taken := m.locks[id]
		if !taken {
			if m.locks == nil {
				m.locks = map[string]chan struct{}{}
			}
			mine := make(chan struct{})
			m.locks[id] = mine
			m.mu.Unlock()
			return sync.OnceFunc(func() {
				m.mu.Lock()
				defer m.mu.Unlock()
				delete(m.locks, id)
				close(mine)
			}), nil
		}
		m.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return nil, fmt.Errorf("locking %q: %w", id, context.Cause(ctx))
		}
	}
}

// clone keeps callers from sharing memory with the store.
func (r Record) clone() Record {
	r.Meta, r.Data, r.Intent = maps.Clone(r.Meta), bytes.Clone(r.Data), bytes.Clone(r.Intent)
	return r
}
