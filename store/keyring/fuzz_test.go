package keyring_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/evergrant/evergrant/store/keyring"
)

// FuzzSealed: whatever stands in a record's file, it is read as what was put
// there or refused, and looking at it changes nothing.
func FuzzSealed(f *testing.F) {
	dir := f.TempDir()
	key := filepath.Join(dir, "key")
	if err := keyring.CreateKeyFile(key); err != nil {
		f.Fatal(err)
	}
	s, err := keyring.Open(keyring.Config{Dir: filepath.Join(dir, "store"), Key: keyring.Key{File: key}})
	if err != nil {
		f.Fatal(err)
	}
	good := record("a", 1)
	if err := s.Put(f.Context(), good, 0); err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(dir, "store", "a.grant")
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	for _, b := range [][]byte{whole, whole[:len(whole)/2], append(bytes.Clone(whole), 0), nil, []byte("{}"), bytes.Repeat([]byte{0xff}, 64)} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := s.Get(t.Context(), "a")
		if (err == nil) != bytes.Equal(b, whole) || err == nil && !bytes.Equal(r.Data, good.Data) {
			t.Fatalf("%d bytes were read as %q, %v", len(b), r.Data, err)
		}
		s.List(t.Context(), "", 9) // must not end the program
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, b) {
			t.Fatalf("the file was changed, %v", err)
		}
	})
}
