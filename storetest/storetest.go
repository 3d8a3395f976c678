// Package storetest is the conformance suite of evergrant.Store: every driver
// passes it with one line, [Run]. It says the contract in code.
//
// What needs other processes (a lock freed by the death of its holder) is left
// to the drivers that have processes to share with.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/evergrant/evergrant"
)

// Run runs the suite. open returns an empty store; it is called once per case.
func Run(t *testing.T, open func(t *testing.T) evergrant.Store) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

var cases = []struct {
	name string
	run  func(*testing.T, evergrant.Store)
}{
	{"get what was put", getWhatWasPut},
	{"no sharing of memory", noSharing},
	{"zero creates once", zeroCreates},
	{"generations fence", generationsFence},
	{"one of many writers wins", oneWriterWins},
	{"delete is fenced", deleteIsFenced},
	{"list in order and in pages", listInPages},
	{"due in order", dueInOrder},
	{"lock excludes", lockExcludes},
	{"lock waits as long as its context", lockWaits},
	{"locks of different ids are independent", locksIndependent},
}

func record(id string, generation uint64) evergrant.Record {
	return evergrant.Record{
		ID: id, Generation: generation, RefreshAt: time.Unix(1_800_000_000, 0).UTC(),
		Meta: map[string]string{"provider": "salesforce"}, Data: []byte(fmt.Sprint("data ", generation)), Intent: []byte("{}"),
	}
}

func put(t *testing.T, s evergrant.Store, r evergrant.Record, generation uint64) {
	t.Helper()
	if err := s.Put(t.Context(), r, generation); err != nil {
		t.Fatalf("Put(%s, generation %d): %v", r.ID, generation, err)
	}
}

func wants(t *testing.T, err, class error) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Fatalf("got error %v, want one that matches %v", err, class)
	}
}

func getWhatWasPut(t *testing.T, s evergrant.Store) {
	_, err := s.Get(t.Context(), "a")
	wants(t, err, evergrant.ErrNotFound)
	want := record("a", 1)
	put(t, s, want, 0)
	got, err := s.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != want.ID || got.Generation != want.Generation || !got.RefreshAt.Equal(want.RefreshAt) ||
		got.Meta["provider"] != "salesforce" || string(got.Data) != string(want.Data) || string(got.Intent) != string(want.Intent) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	want.Intent, want.RefreshAt = nil, time.Time{}
	put(t, s, want, 1) // the same generation: a journal entry
	if got, err = s.Get(t.Context(), "a"); err != nil || got.Intent != nil || !got.RefreshAt.IsZero() {
		t.Errorf("after clearing: %+v, %v", got, err)
	}
}

func noSharing(t *testing.T, s evergrant.Store) {
	r := record("a", 1)
	put(t, s, r, 0)
	r.Data[0], r.Meta["provider"] = 'X', "changed"
	got, err := s.Get(t.Context(), "a")
	if err != nil || string(got.Data) != "data 1" || got.Meta["provider"] != "salesforce" {
		t.Fatalf("the store shares memory with its caller: %+v, %v", got, err)
	}
	got.Data[0] = 'Y'
	if again, _ := s.Get(t.Context(), "a"); string(again.Data) != "data 1" {
		t.Error("the store shares memory with its reader")
	}
}

func zeroCreates(t *testing.T, s evergrant.Store) {
	put(t, s, record("a", 1), 0)
	wants(t, s.Put(t.Context(), record("a", 1), 0), evergrant.ErrConflict)
	wants(t, s.Put(t.Context(), record("b", 2), 1), evergrant.ErrConflict)
}

func generationsFence(t *testing.T, s evergrant.Store) {
	put(t, s, record("a", 1), 0)
	put(t, s, record("a", 2), 1)
	wants(t, s.Put(t.Context(), record("a", 2), 1), evergrant.ErrConflict)
	if got, err := s.Get(t.Context(), "a"); err != nil || string(got.Data) != "data 2" {
		t.Errorf("a late writer changed the record: %+v, %v", got, err)
	}
}

func oneWriterWins(t *testing.T, s evergrant.Store) {
	put(t, s, record("a", 1), 0)
	const writers = 16
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() { errs[i] = s.Put(context.Background(), record("a", 2), 1) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			wants(t, err, evergrant.ErrConflict)
		}
	}
	if won != 1 {
		t.Errorf("%d writers of one generation won", won)
	}
}

func deleteIsFenced(t *testing.T, s evergrant.Store) {
	wants(t, s.Delete(t.Context(), "a", 1), evergrant.ErrNotFound)
	put(t, s, record("a", 3), 0)
	wants(t, s.Delete(t.Context(), "a", 2), evergrant.ErrConflict)
	if err := s.Delete(t.Context(), "a", 3); err != nil {
		t.Fatal(err)
	}
	_, err := s.Get(t.Context(), "a")
	wants(t, err, evergrant.ErrNotFound)
	put(t, s, record("a", 1), 0)
}

func ids(rs []evergrant.Record) (out []string) {
	for _, r := range rs {
		out = append(out, r.ID)
	}
	return out
}

func listInPages(t *testing.T, s evergrant.Store) {
	for _, id := range []string{"c", "a", "e", "b", "d"} {
		put(t, s, record(id, 1), 0)
	}
	for _, tt := range []struct {
		after string
		n     int
		want  []string
	}{{"", 2, []string{"a", "b"}}, {"b", 2, []string{"c", "d"}}, {"d", 9, []string{"e"}}, {"e", 9, nil}, {"", 0, nil}} {
		got, err := s.List(t.Context(), tt.after, tt.n)
		if err != nil || !slices.Equal(ids(got), tt.want) {
			t.Errorf("List(%q, %d) = %v, %v; want %v", tt.after, tt.n, ids(got), err, tt.want)
		}
	}
}

func dueInOrder(t *testing.T, s evergrant.Store) {
	now := time.Unix(1_800_000_000, 0).UTC()
	for id, at := range map[string]time.Time{"later": now.Add(time.Second), "first": now.Add(-time.Hour), "now": now, "never": {}} {
		r := record(id, 1)
		r.RefreshAt = at
		put(t, s, r, 0)
	}
	if got, err := s.Due(t.Context(), now, 9); err != nil || !slices.Equal(ids(got), []string{"first", "now"}) {
		t.Errorf("Due = %v, %v", ids(got), err)
	}
	if got, err := s.Due(t.Context(), now, 1); err != nil || !slices.Equal(ids(got), []string{"first"}) {
		t.Errorf("Due, one = %v, %v", ids(got), err)
	}
}

func lockExcludes(t *testing.T, s evergrant.Store) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	inside, most := 0, 0
	for range 32 {
		wg.Go(func() {
			unlock, err := s.Lock(context.Background(), "a") // the record need not exist
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			inside++
			most = max(most, inside)
			mu.Unlock()
			time.Sleep(time.Millisecond) // hold it long enough for the others to try
			mu.Lock()
			inside--
			mu.Unlock()
			unlock()
			unlock() // a second unlock frees nobody else's
		})
	}
	wg.Wait()
	if most != 1 {
		t.Errorf("%d holders at once", most)
	}
}

func lockWaits(t *testing.T, s evergrant.Store) {
	unlock, err := s.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := s.Lock(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Lock of a held lock: %v", err)
	}
	unlock()
	again, err := s.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func locksIndependent(t *testing.T, s evergrant.Store) {
	a, err := s.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer a()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	b, err := s.Lock(ctx, "b")
	if err != nil {
		t.Fatalf("the lock of a keeps b: %v", err)
	}
	b()
}
