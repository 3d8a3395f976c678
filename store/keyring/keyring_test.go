package keyring_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/store/keyring"
	"github.com/evergrant/evergrant/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) evergrant.Store { s, _, _ := place(t); return s })
}

// TestStoreOpenedTwice: two Stores of one folder are as two processes are.
func TestStoreOpenedTwice(t *testing.T) {
	s, dir, key := place(t)
	other := open(t, dir, keyring.Key{File: key})
	put(t, s, record("a", 1), 0)
	has(t, other, "a", 1)
	put(t, other, record("a", 2), 1)
	if err := s.Put(t.Context(), record("a", 2), 1); !errors.Is(err, evergrant.ErrConflict) {
		t.Errorf("a late Put: %v", err)
	}
	has(t, s, "a", 2)
}

func TestProcessesOneWinner(t *testing.T) {
	s, dir, key := place(t)
	put(t, s, record("a", 1), 0)
	const last = 40
	won := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 6 {
		p := start(t, "win", dir, key, "a", strconv.Itoa(last))
		wg.Go(func() {
			for p.lines.Scan() {
				mu.Lock()
				won[p.lines.Text()]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for g := 2; g <= last; g++ {
		if n := won[strconv.Itoa(g)]; n != 1 {
			t.Errorf("generation %d was written %d times", g, n)
		}
	}
	if len(won) != last-1 {
		t.Errorf("the children say %v", won)
	}
	has(t, s, "a", last)
}

// TestProcessesOneCreator: a new store gets one key, however many begin at once.
func TestProcessesOneCreator(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "grants")
	var wg sync.WaitGroup
	stores := make([]*keyring.Store, 2)
	for i := range stores {
		stores[i] = open(t, dir, keyring.Key{Source: keyring.Passphrase, Passphrase: secret("correct horse")})
	}
	for i, s := range stores {
		wg.Go(func() {
			if err := s.Put(t.Context(), record(strconv.Itoa(i), 1), 0); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range stores {
		has(t, stores[0], strconv.Itoa(i), 1)
	}
}

func TestProcessesLock(t *testing.T) {
	s, dir, key := place(t)
	p := start(t, "hold", dir, key, "a")
	if line := p.line(); line != "held" {
		t.Fatalf("the child says %q", line)
	}
	put(t, s, record("a", 1), 0) // the lock keeps nobody from writing: generations do
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.Lock(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("while another process holds it: %v", err)
	}
	p.kill(t)
	unlock, err := s.Lock(t.Context(), "a")
	if err != nil {
		t.Fatalf("the lock of a killed process: %v", err)
	}
	unlock()
}

// TestKilledPut: what a killed process was told is stored is stored, and what
// it was storing is there whole or not at all.
func TestKilledPut(t *testing.T) {
	s, dir, key := place(t)
	put(t, s, record("a", 1), 0)
	for round := range 12 {
		p := start(t, "put", dir, key, "a")
		for range 1 + round%5 {
			p.line()
		}
		told, err := strconv.ParseUint(p.kill(t), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Get(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if r.Generation != told && r.Generation != told+1 {
			t.Errorf("generation %d was stored, and %d is there", told, r.Generation)
		}
		has(t, s, "a", r.Generation)
	}
}

func TestRename(t *testing.T) {
	s, dir, _ := place(t)
	put(t, s, record("old", 3), 0)
	put(t, s, record("taken", 1), 0)
	for _, tt := range []struct {
		from, to string
		want     error
	}{{"old", "taken", evergrant.ErrConflict}, {"none", "new", evergrant.ErrNotFound}, {"old", "old", evergrant.ErrConflict}, {"old", "", os.ErrInvalid}} {
		if err := s.Rename(t.Context(), tt.from, tt.to); !errors.Is(err, tt.want) {
			t.Errorf("Rename(%q, %q): %v", tt.from, tt.to, err)
		}
	}
	has(t, s, "old", 3)
	has(t, s, "taken", 1)
	if err := s.Rename(t.Context(), "old", "new"); err != nil {
		t.Fatal(err)
	}
	has(t, s, "new", 3)
	if _, err := s.Get(t.Context(), "old"); !errors.Is(err, evergrant.ErrNotFound) {
		t.Errorf("the old name: %v", err)
	}
	copied := filepath.Join(dir, "old.grant") // the permission to have that name has ended
	write(t, copied, read(t, filepath.Join(dir, "new.grant")))
	_, err := s.Get(t.Context(), "old")
	fails(t, err, keyring.ErrDamaged, copied)
	if err := os.Remove(copied); err != nil {
		t.Fatal(err)
	}
	put(t, s, record("new", 4), 3)
	put(t, s, record("old", 1), 0)
}

// TestRenameInDoubt: what was rescued of an answer is filed under the old name.
func TestRenameInDoubt(t *testing.T) {
	s, _, _ := place(t)
	r := record("a", 1)
	r.Intent = []byte("{}")
	put(t, s, r, 0)
	if err := s.Rename(t.Context(), "a", "b"); err == nil || !strings.Contains(err.Error(), "in doubt") {
		t.Errorf("got %v", err)
	}
	has(t, s, "a", 1)
}

// TestRenameAfterALostReply: the doubt stands in the grant's own data.
func TestRenameAfterALostReply(t *testing.T) {
	s, _, _ := place(t)
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer srv.Close()
	cfg := evergrant.Config{ClientID: "app", TokenURL: srv.URL, RescueDirs: []string{t.TempDir()}}
	if err := evergrant.Create(t.Context(), s, "a", []byte(`{"access_token":"at","refresh_token":"rt"}`), cfg); err != nil {
		t.Fatal(err)
	}
	src, err := evergrant.Open(s, "a", cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if _, err := src.Refresh(t.Context(), evergrant.RefreshOptions{}); err == nil {
		t.Fatal("the reply was not lost")
	}
	if r, err := s.Get(t.Context(), "a"); err != nil || len(r.Intent) > 0 || !r.Unsettled() {
		t.Fatalf("the grant is not in doubt: %v", err)
	}
	if err := s.Rename(t.Context(), "a", "b"); !errors.Is(err, keyring.ErrUnsettled) {
		t.Errorf("got %v", err)
	}
}

// TestKilledRename: there is exactly one record at each moment.
func TestKilledRename(t *testing.T) {
	s, dir, key := place(t)
	a, b := strings.Repeat("a", 300), strings.Repeat("b", 300) // not told by the file's name
	put(t, s, record(a, 1), 0)
	for round := range 16 {
		p := start(t, "rename", dir, key, a, b)
		for range 1 + round%3 {
			p.line()
		}
		p.kill(t)
		rs, err := s.List(t.Context(), "", 9)
		if err != nil || len(rs) != 1 {
			t.Fatalf("%d records, %v", len(rs), err)
		}
		r := rs[0]
		if r.ID != a && r.ID != b {
			t.Fatalf("listed %q", r.ID)
		}
		has(t, s, r.ID, 1)
		put(t, s, record(r.ID, 1), 1) // it can be written, whatever the rename left
	}
}

// ids are hard on file systems.
var ids = []string{
	"work-sf", "Work-SF", "WORK-SF", "me@example.com", "con", "CON", "com1.x", "aux.", ".hidden", "..", "a/b", `a\b`, "a:b", "a%2fb",
	"naïve", "nai\u0308ve", "trailing ", "trailing.", "*?<>|\"", "\x00", "\xff\xfe", "store", "store.json", "~", "a.grant", "a.lock",
	strings.Repeat("long", 100), strings.Repeat("LONG", 100), strings.Repeat("LONG", 100) + "er", strings.Repeat("y", 109) + "É", strings.Repeat("z", 200),
}

func TestAnyID(t *testing.T) {
	s, dir, _ := place(t)
	for i, id := range ids {
		put(t, s, record(id, uint64(i+1)), 0)
		unlock, err := s.Lock(t.Context(), id)
		if err != nil {
			t.Fatalf("Lock(%q): %v", id, err)
		}
		unlock()
	}
	for i, id := range ids {
		has(t, s, id, uint64(i+1))
	}
	rs, err := s.List(t.Context(), "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rs {
		got = append(got, r.ID)
	}
	if want := slices.Sorted(slices.Values(ids)); !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
	seen := map[string]bool{}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		name := strings.ToLower(e.Name())
		if seen[name] || len(name) > 143-len(".new-0123456789abc") || strings.ContainsAny(name, `/\:*?"<>|`) {
			t.Errorf("%q is not safe everywhere", e.Name())
		}
		if first, _, _ := strings.Cut(name, "."); slices.Contains([]string{"con", "com1", "aux"}, first) {
			t.Errorf("%q is a device on Windows", e.Name())
		}
		seen[name] = true
	}
	for i, id := range ids {
		if err := s.Delete(t.Context(), id, uint64(i+1)); err != nil {
			t.Errorf("Delete(%q): %v", id, err)
		}
	}
}

// TestCanary: nothing of a grant but its name can be seen in the folder.
func TestCanary(t *testing.T) {
	s, dir, _ := place(t)
	r := record("a", 1)
	r.Intent = []byte(token)
	put(t, s, r, 0)
	put(t, s, record("a", 2), 1)
	if err := s.Rename(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	files := 0
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, needle := range []string{"CANARY", "canary", "xxxx", hex.EncodeToString([]byte("CANARY")), base64.StdEncoding.EncodeToString([]byte(token))[:12]} {
			if bytes.Contains(b, []byte(needle)) {
				t.Errorf("%s shows %q", path, needle)
			}
		}
		if fi, err := e.Info(); err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, fi.Mode())
		}
		files++
	}
	if fi, err := os.Stat(dir); err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v", fi.Mode())
	}
	if files < 4 {
		t.Errorf("looked at %d files only", files)
	}
}

func TestLooseFolder(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits here")
	}
	s, dir, _ := place(t)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	err := s.Put(t.Context(), record("a", 1), 0)
	fails(t, err, os.ErrPermission, dir)
}

func TestDefaultDir(t *testing.T) {
	base := t.TempDir()
	t.Setenv("XDG_DATA_HOME", base)
	if got, err := keyring.DefaultDir(); err != nil || got != filepath.Join(base, "evergrant", "grants") {
		t.Errorf("got %q, %v", got, err)
	}
	t.Setenv("XDG_DATA_HOME", "relative") // "must be absolute", XDG Base Directory Specification
	t.Setenv("HOME", base)
	got, err := keyring.DefaultDir()
	if err != nil || !filepath.IsAbs(got) || filepath.Base(got) != "grants" {
		t.Errorf("got %q, %v", got, err)
	}
}
