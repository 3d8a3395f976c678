package keyring_test

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/store/keyring"
)

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// untouched runs calls that must fail alike and leave the file as it is.
func untouched(t *testing.T, s *keyring.Store, path, id string, class error) {
	t.Helper()
	before := read(t, path)
	for _, call := range []func() error{
		func() error { _, err := s.Get(t.Context(), id); return err },
		func() error { return s.Put(t.Context(), record(id, 9), 1) },
		func() error { return s.Put(t.Context(), record(id, 9), 0) },
		func() error { return s.Delete(t.Context(), id, 1) },
		func() error { return s.Rename(t.Context(), id, "elsewhere") },
	} {
		fails(t, call(), class, filepath.Dir(path))
	}
	if string(read(t, path)) != string(before) {
		t.Error("the file was changed")
	}
}

func TestFlippedBits(t *testing.T) {
	s, dir, _ := place(t)
	r := record("a", 1)
	r.Data = []byte(token)
	put(t, s, r, 0)
	path := filepath.Join(dir, "a.grant")
	whole := read(t, path)
	if _, err := s.Get(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		b := append([]byte(nil), whole...)
		b[i] ^= 1 << (i % 8)
		write(t, path, b)
		_, err := s.Get(t.Context(), "a")
		class := keyring.ErrDamaged
		if 8 <= i && i < 24 { // the key id
			class = keyring.ErrSealed
		}
		fails(t, err, class, path)
	}
	untouched(t, s, path, "a", keyring.ErrDamaged)
}

func TestTruncated(t *testing.T) {
	s, dir, _ := place(t)
	put(t, s, record("a", 1), 0)
	put(t, s, record("b", 1), 0)
	path := filepath.Join(dir, "a.grant")
	whole := read(t, path)
	for n := 0; n < len(whole); n += 37 {
		write(t, path, whole[:n])
		_, err := s.Get(t.Context(), "a")
		fails(t, err, keyring.ErrDamaged, path)
	}
	untouched(t, s, path, "a", keyring.ErrDamaged)
	rs, err := s.List(t.Context(), "", 9) // one bad file does not hide the others
	fails(t, err, keyring.ErrDamaged, path)
	if len(rs) != 1 || rs[0].ID != "b" {
		t.Errorf("listed %d records", len(rs))
	}
}

func TestNewerFormat(t *testing.T) {
	s, dir, _ := place(t)
	put(t, s, record("a", 1), 0)
	path := filepath.Join(dir, "a.grant")
	b := read(t, path)
	b[7] = 2
	write(t, path, b)
	_, err := s.Get(t.Context(), "a")
	fails(t, err, keyring.ErrDamaged, "version 2")
}

func TestCopiedUnderAnotherName(t *testing.T) {
	s, dir, _ := place(t)
	put(t, s, record("a", 1), 0)
	path := filepath.Join(dir, "b.grant")
	write(t, path, read(t, filepath.Join(dir, "a.grant")))
	_, err := s.Get(t.Context(), "b")
	fails(t, err, keyring.ErrDamaged, `"a" under another name`)
	untouched(t, s, path, "b", keyring.ErrDamaged)
	has(t, s, "a", 1)
}

// TestPutBack: an older copy of a record is told from the newest one, within a
// generation too, by a process that never saw the newest one.
func TestPutBack(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after func(*testing.T, *keyring.Store)
	}{
		{"an older generation", func(t *testing.T, s *keyring.Store) { put(t, s, record("a", 2), 1) }},
		{"an older journal", func(t *testing.T, s *keyring.Store) {
			r := record("a", 1)
			r.Intent = []byte("{}")
			put(t, s, r, 1)
		}},
		{"one before a new login", func(t *testing.T, s *keyring.Store) {
			if err := s.Delete(t.Context(), "a", 1); err != nil {
				t.Fatal(err)
			}
			put(t, s, record("a", 1), 0)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, dir, key := place(t)
			put(t, s, record("a", 1), 0)
			path := filepath.Join(dir, "a.grant")
			old := read(t, path)
			tt.after(t, s)
			newest := read(t, path)
			write(t, path, old)
			other := open(t, dir, keyring.Key{File: key})
			_, err := other.Get(t.Context(), "a")
			fails(t, err, keyring.ErrDamaged, path)
			untouched(t, other, path, "a", keyring.ErrDamaged)
			write(t, path, newest)
			if _, err := other.Get(t.Context(), "a"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPutBackAfterDelete: whoever brings a deleted grant back means it.
func TestPutBackAfterDelete(t *testing.T) {
	s, dir, _ := place(t)
	put(t, s, record("a", 1), 0)
	path := filepath.Join(dir, "a.grant")
	b := read(t, path)
	if err := s.Delete(t.Context(), "a", 1); err != nil {
		t.Fatal(err)
	}
	write(t, path, b)
	has(t, s, "a", 1)
}

// TestMarkOutlivesRecord: what a Delete that was cut short leaves behind says
// nothing about the next grant of that name.
func TestMarkOutlivesRecord(t *testing.T) {
	s, dir, _ := place(t)
	put(t, s, record("a", 1), 0)
	put(t, s, record("a", 2), 1)
	path := filepath.Join(dir, ".a.seen")
	b := read(t, path)
	if err := s.Delete(t.Context(), "a", 2); err != nil {
		t.Fatal(err)
	}
	write(t, path, b)
	put(t, s, record("a", 1), 0)
	has(t, s, "a", 1)
}

// TestTornMark: the side file that tells older copies stops nobody.
func TestTornMark(t *testing.T) {
	s, dir, _ := place(t)
	put(t, s, record("a", 1), 0)
	for _, b := range [][]byte{nil, []byte("torn"), make([]byte, 28)} {
		write(t, filepath.Join(dir, ".a.seen"), b)
		has(t, s, "a", 1)
		put(t, s, record("a", 1), 1)
	}
}

// TestReadersAmongWriters: no reader takes a record that is being replaced, or
// deleted and made anew, for an older copy.
func TestReadersAmongWriters(t *testing.T) {
	s, _, _ := place(t)
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	wg.Go(func() {
		defer stop()
		for g := range uint64(60) {
			put(t, s, record("a", 2*g+1), 0)
			put(t, s, record("a", 2*g+2), 2*g+1)
			if err := s.Delete(t.Context(), "a", 2*g+2); err != nil {
				t.Error(err)
			}
		}
	})
	for range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.Get(t.Context(), "a"); err != nil && !errors.Is(err, evergrant.ErrNotFound) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestVector: the record of the package comment opens, with its key and under
// its name only.
func TestVector(t *testing.T) {
	const (
		key   = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
		meta  = `{"version": 1, "key": {"id": "086a8c6abbf866c15f5ac02601bb33fa", "source": "file"}}`
		grant = "ZXZlcmdyYQEIaoxqu/hmwV9awCYBuzP68PHy8/T19vf4+fr7/P3+/wAAAAAAAAADAAAAAAAAAAcalAeVnQDo0jpmWCqU" +
			"o5kBHdQ4V4GhPNIu79rsRyt6rl5KOannCLEm1PlyEcmTZQxf1yMBrbQmqseW8qsQ5YD4oyywFsK9HR7xksS0lcD5cke9" +
			"+EjDThJ8Fx2p7mE52Abn+Embd7GmEKBSdJtHVTtFhLzoIhzZ"
	)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "key"), []byte(key))
	write(t, filepath.Join(dir, "store.json"), []byte(meta))
	b, err := base64.StdEncoding.DecodeString(grant)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "work-sf.grant"), b)
	s := open(t, dir, keyring.Key{File: filepath.Join(dir, "key")})
	r, err := s.Get(t.Context(), "work-sf")
	if err != nil {
		t.Fatal(err)
	}
	if r.Generation != 3 || string(r.Data) != "data" || string(r.Intent) != "{}" || r.Meta["provider"] != "salesforce" || r.RefreshAt.Unix() != 1_800_000_000 {
		t.Errorf("got %+v", r)
	}
}
