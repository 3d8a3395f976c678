package lockedfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/evergrant/evergrant/internal/lockedfile"
)

func identity(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	id, err := lockedfile.Identity(f)
	if err != nil || id == "" {
		t.Fatalf("%q, %v", id, err)
	}
	return id
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	put(t, one, "")
	id := identity(t, one)

	put(t, one, "other content")
	if got := identity(t, one); got != id {
		t.Errorf("a write made it another file: %s, then %s", id, got)
	}
	put(t, two, "other content")
	if identity(t, two) == id {
		t.Error("a copy is the same file")
	}
	if err := os.Rename(one, two); err != nil {
		t.Fatal(err)
	}
	if got := identity(t, two); got != id {
		t.Errorf("renamed it is another file: %s, then %s", id, got)
	}
	for range 20 { // most file systems give the number of a deleted file to the next one
		if err := os.Remove(two); err != nil {
			t.Fatal(err)
		}
		put(t, two, "")
		if identity(t, two) == id {
			t.Error("deleted and made again it is the same file")
		}
	}
}

// TestReplaceWith: a file that says which it is says it of itself, under its
// final name too, and what cannot say it takes no file away.
func TestReplaceWith(t *testing.T) {
	path := write(t, "former")
	refused := errors.New("refused")
	if err := lockedfile.ReplaceWith(path, 0o600, func(*os.File) ([]byte, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Errorf("the error is lost: %v", err)
	}
	has(t, path, "former")
	if err := lockedfile.ReplaceWith(path, 0o600, func(f *os.File) ([]byte, error) {
		id, err := lockedfile.Identity(f)
		return []byte(id), err
	}); err != nil {
		t.Fatal(err)
	}
	has(t, path, identity(t, path))
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}
