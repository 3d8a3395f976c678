package evergrant_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

// fuzzDocument is the token file beside the fuzzed state.
const fuzzDocument = `{"access_token":"A1fuzzed","refresh_token":"R1fuzzed","issued_at":"1738348388166"}`

// seedStates are states as this program writes them, in the forms that a grant
// goes through, and texts that only look like one.
func seedStates(f *testing.F) [][]byte {
	f.Helper()
	idp := idptest.New(idptest.Config{Persona: idptest.Salesforce, Habits: idptest.Habits{Rotation: true}})
	base, err := idp.Listen("127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	defer idp.Close()
	path := filepath.Join(f.TempDir(), "token.json")
	if err := os.WriteFile(path, idp.NewGrant(idptest.GrantSpec{ClientID: "app"}).TokenFile(), 0o600); err != nil {
		f.Fatal(err)
	}
	var all [][]byte
	for _, fault := range []idptest.Fault{"none", "status=503", "lost", "error=invalid_client"} {
		idp.Next(fault)
		s, err := evergrant.OpenFile(path, evergrant.Config{
			ClientID: "app", Provider: "salesforce", TokenURL: base + "/services/oauth2/token", Params: [][2]string{{"a", "b"}},
			ExchangeTimeout: 100 * time.Millisecond, CallTimeout: 200 * time.Millisecond, RescueDirs: []string{f.TempDir()},
		})
		if err != nil {
			f.Fatal(err)
		}
		s.Refresh(f.Context(), evergrant.RefreshOptions{}) // a failure leaves a state too
		s.Close()
		side, err := os.ReadFile(filepath.Join(filepath.Dir(path), ".token.json.evergrant"))
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, side)
	}
	for _, text := range []string{
		``, `{}`, `[]`, `{"version":1}`, `{"version":2,"salt":"x"}`, `{"version":1,"salt":"x"}`, `{"version":1,"salt":"x"} {}`,
		`{"version":1,"salt":"x","generation":18446744073709551615}`, `{"version":1,"salt":"x","committed":{"at":"9999-12-31T23:59:59Z"}}`,
		`{"version":1,"salt":"x","grant":{"params":["a"],"fields":{"access_token":"/x"},"session_lifetime_s":1e300}}`,
		`{"version":1,"salt":"x","dead":{"refresh":""},"aside":{},"doubt":{"attempts":"a b","tries":-1},"intent":{"phase":"sending"}}`,
		`{"version":1,"salt":"x","learned":{"expires_at":"0001-01-01T00:00:00Z","rotates":true,"lifetime_s":-1}}`,
		`{"version":1,"salt":"x","salt":"y"}`, `{"version":null}`, "{\"version\":1,\"salt\":\"\xff\"}",
	} {
		all = append(all, []byte(text))
	}
	return all
}

// look opens a grant and asks everything that only reads. What it says must
// not be half understood: a state that is refused gives an error of a known
// class, and one that is taken gives the same answer twice.
func look(t *testing.T, open func() (*evergrant.Source, error)) {
	t.Helper()
	s, err := open()
	if err != nil {
		return
	}
	defer s.Close()
	first, err := s.Status(t.Context())
	if err != nil {
		return
	}
	again, err := s.Status(t.Context())
	if err != nil || first.State != again.State || first.Generation != again.Generation {
		t.Fatalf("the same state reads as %+v and as %+v, %v", first, again, err)
	}
	s.Plan(t.Context())
}

// FuzzSideFile: whatever stands in the side file, it is read or refused, the
// token file is not touched, and nothing that is refused is written over.
func FuzzSideFile(f *testing.F) {
	for _, b := range seedStates(f) {
		f.Add(b)
	}
	path := filepath.Join(f.TempDir(), "token.json") // one for all: making folders would be most of the work
	f.Fuzz(func(t *testing.T, b []byte) {
		side := filepath.Join(filepath.Dir(path), ".token.json.evergrant")
		for name, text := range map[string][]byte{path: []byte(fuzzDocument), side: b} {
			if err := os.WriteFile(name, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		look(t, func() (*evergrant.Source, error) { return evergrant.OpenFile(path, offline()) })
		if got, err := os.ReadFile(path); err != nil || string(got) != fuzzDocument {
			t.Fatalf("the token file is now %q, %v", got, err)
		}
		if got, err := os.ReadFile(side); err != nil || !json.Valid(b) && !bytes.Equal(got, b) {
			t.Fatalf("a state that cannot be read was written over: %q, %v", got, err)
		}
	})
}

// offline is a configuration that reaches nobody.
func offline() evergrant.Config {
	return evergrant.Config{ClientID: "app", TokenURL: "http://127.0.0.1:1/token", RescueDirs: []string{}}
}

// FuzzRecord: the same for a record of a store, whose data is a length, the
// document and the state, and whose intent stands apart.
func FuzzRecord(f *testing.F) {
	record := func(state string) []byte {
		return []byte(strconv.Itoa(len(fuzzDocument)) + "\n" + fuzzDocument + state)
	}
	for _, b := range seedStates(f) {
		f.Add(record(string(b)), []byte(nil))
	}
	whole := record(`{"version":1,"salt":"x"}`)
	for _, intent := range []string{`{}`, `{"attempt":"a","phase":"sending","deadline":"2026-01-01T00:00:00Z"}`, `{"phase":"unheard"}`, `null`, `{"started":{"at":1}}`} {
		f.Add(whole, []byte(intent))
	}
	for _, data := range []string{"", "\n", "-1\n{}", "99999999999999999999\n{}", "+2\n{}{}", "3\n{}"} {
		f.Add([]byte(data), []byte(nil))
	}
	f.Fuzz(func(t *testing.T, data, intent []byte) {
		store := new(evergrant.Memory)
		r := evergrant.Record{ID: "g", Generation: 1, Data: data, Intent: intent}
		if err := store.Put(t.Context(), r, 0); err != nil {
			t.Fatal(err)
		}
		look(t, func() (*evergrant.Source, error) { return evergrant.Open(store, "g", offline()) })
		got, err := store.Get(t.Context(), "g")
		if err != nil || !bytes.Equal(got.Data, data) || !bytes.Equal(got.Intent, intent) {
			t.Fatalf("looking at a record changed it: %q %q, %v", got.Data, got.Intent, err)
		}
	})
}

// TestFuzzNotVacuous: the seeds reach both ends of the decoder.
func TestFuzzNotVacuous(t *testing.T) {
	states := map[string]bool{`{"version":1,"salt":"x"}`: true, `{"version":2,"salt":"x"}`: false, `{"version":1}`: false, `{"version":1,"salt":"x"} {}`: false}
	for text, good := range states {
		path := filepath.Join(t.TempDir(), "token.json")
		for name, b := range map[string]string{path: fuzzDocument, filepath.Join(filepath.Dir(path), ".token.json.evergrant"): text} {
			if err := os.WriteFile(name, []byte(b), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := evergrant.OpenFile(path, offline())
		if err == nil {
			_, err = s.Status(t.Context())
			s.Close()
		}
		if good != (err == nil) || err != nil && !strings.Contains(err.Error(), "token.json") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
