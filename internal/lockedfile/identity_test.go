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
	id, err := lockedfile.Identity(path)
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

func TestIdentityIsOfARegularFile(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	put(t, file, "")
	if err := os.Symlink(file, link); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	for _, path := range []string{dir, link, filepath.Join(dir, "none")} {
		if id, err := lockedfile.Identity(path); err == nil {
			t.Errorf("%s is %s", path, id)
		}
	}
	var refused *lockedfile.RefusedError
	if _, err := lockedfile.Identity(link); !errors.As(err, &refused) {
		t.Errorf("a link: %v", err)
	}
}
