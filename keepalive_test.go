package evergrant_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
	"github.com/evergrant/evergrant/provider"
)

// TestKeptAlive_incumbent_42: where a refresh token dies unused, it is used at
// half of that time, although the access token is good for much longer; and the
// grant lives on where only that kept it.
func TestKeptAlive_incumbent_42(t *testing.T) {
	const day = 24 * time.Hour
	entry := filepath.Join(t.TempDir(), "own.json")
	if err := os.WriteFile(entry, []byte(`{"name":"own","title":"Own","endpoints":{"token":"https://as.example/token"},"refresh":{"rotates":"always","idle":"10d"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	catalog, err := provider.Load(entry)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		idp := idptest.New(idptest.Config{Habits: idptest.Habits{Rotation: true, AccessTTL: 90 * day, RefreshIdle: 10 * day}})
		pipe := newPipeNet()
		srv := &http.Server{Handler: idp}
		go srv.Serve(pipe)
		defer srv.Close()
		store := new(evergrant.Memory)
		grant := idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
		cfg := evergrant.Config{Provider: "own", Catalog: catalog, ClientID: "app", TokenURL: "http://127.0.0.1/token", RescueDirs: []string{t.TempDir()}}
		cfg.HTTP.Dial = pipe.dial
		if err := evergrant.Create(t.Context(), store, "g", grant.TokenJSON(), cfg); err != nil {
			t.Fatal(err)
		}
		src, err := evergrant.Open(store, "g", cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		if _, err := src.Refresh(t.Context(), evergrant.RefreshOptions{}); err != nil {
			t.Fatal(err)
		}
		status, err := src.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if in := time.Until(status.RefreshAt); in < 3*day || in > 5*day {
			t.Errorf("the next refresh is in %v, of 10 days that the refresh token may lie unused", in)
		}
		for range 8 { // a quarter of the time at a step: never used, it would be dead by now
			time.Sleep(10 * day / 4)
			if _, err := src.Token(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(idp.TokenRequests(grant.ID)); n < 4 || n > 6 {
			t.Errorf("%d refreshes in 20 days", n)
		}
		if idp.GrantState(grant.ID).Revoked {
			t.Error("the grant has ended")
		}
	})
}
