package evergrant_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

// TestRefreshFile is the first job: the file of another tool is refreshed, and
// again with nothing but the file. Only the values that the answer brought
// change; the refresh token is kept where no new one came.
func TestRefreshFile(t *testing.T) {
	for _, rotates := range []bool{false, true} {
		b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: rotates}})
		for n, change := range []func(*evergrant.Config){
			func(*evergrant.Config) {},
			func(c *evergrant.Config) { *c = evergrant.Config{RescueDirs: c.RescueDirs} }, // client and endpoint are remembered
		} {
			before := b.read()
			r, err := b.refresh(evergrant.RefreshOptions{}, change)
			if err != nil {
				t.Fatal(err)
			}
			if r.Outcome != evergrant.Fresh || r.Rotated != rotates || r.Adopted || r.Recovered || r.Replayed || r.Warning != nil {
				t.Errorf("rotates %t, run %d: %+v", rotates, n, r)
			}
			want := []string{"access_token", "issued_at", "signature"}
			if rotates {
				want = append(want, "refresh_token")
			}
			slices.Sort(want)
			if got := changedMembers(t, before, b.read()); !slices.Equal(got, want) {
				t.Errorf("rotates %t, run %d: %q changed, want %q", rotates, n, got, want)
			}
			if bytes.Count(b.read(), []byte("\r\n")) != bytes.Count(before, []byte("\r\n")) {
				t.Errorf("rotates %t, run %d: the line ends changed", rotates, n)
			}
			if sent := b.idp.TokenRequests(b.grant.ID); len(sent) != n+1 || sent[n].ClientID != "app" {
				t.Errorf("rotates %t, run %d: %d requests", rotates, n, len(sent))
			}
			b.living()
		}
	}
}

// changedMembers are the names of members whose values differ, sorted. The
// documents must have the same names.
func changedMembers(t *testing.T, before, after []byte) []string {
	t.Helper()
	var a, b map[string]any
	if err := json.Unmarshal(before, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(after, &b); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name, value := range b {
		if was, ok := a[name]; !ok || was != value {
			names = append(names, name)
		}
	}
	if len(a) != len(b) {
		t.Errorf("%d members became %d", len(a), len(b))
	}
	slices.Sort(names)
	return names
}
