package evergrant_test

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"

	"github.com/evergrant/evergrant"
)

// readCounter counts how often a grant is read.
type readCounter struct {
	evergrant.Store
	reads atomic.Int64
}

func (s *readCounter) Get(ctx context.Context, id string) (evergrant.Record, error) {
	s.reads.Add(1)
	return s.Store.Get(ctx, id)
}

// TestFirstToken holds the first token after opening to one look at the store,
// which sees what another program wrote in between.
func TestFirstToken(t *testing.T) {
	for _, changed := range []bool{false, true} {
		t.Run(map[bool]string{false: "as it was", true: "changed"}[changed], func(t *testing.T) {
			store, ctx := &readCounter{Store: new(evergrant.Memory)}, t.Context()
			cfg := evergrant.Config{ClientID: "app", TokenURL: "http://127.0.0.1:1/token"}
			document := []byte(`{"access_token":"first","refresh_token":"r","expires_in":3600}`)
			if err := evergrant.Create(ctx, store, "g", document, cfg); err != nil {
				t.Fatal(err)
			}
			s, err := evergrant.Open(store, "g", cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			want := "first"
			if changed {
				r, err := store.Get(ctx, "g")
				if err != nil {
					t.Fatal(err)
				}
				want, r.Data = "other", bytes.Replace(r.Data, []byte("first"), []byte("other"), 1)
				if err := store.Put(ctx, r, r.Generation); err != nil {
					t.Fatal(err)
				}
			}
			before := store.reads.Load()
			tok, err := s.Token(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if got := tok.AccessToken.Reveal(); got != want {
				t.Errorf("token %q, want %q", got, want)
			}
			if n := store.reads.Load() - before; !changed && n != 1 {
				t.Errorf("%d reads of the store, want 1", n)
			}
		})
	}
}
