package lockedfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/evergrant/evergrant/internal/lockedfile"
)

func TestResolve(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(
		os.Mkdir(at("sub"), 0o700),
		os.WriteFile(at("sub/real"), nil, 0o600),
		os.Symlink("sub/real", at("one")),
		os.Symlink("one", at("two")),
		os.Symlink("missing", at("dangling")),
		os.Symlink("loop-b", at("loop-a")),
		os.Symlink("loop-a", at("loop-b")),
	); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, want string }{
		{"sub/real", "sub/real"}, {"one", "sub/real"}, {"two", "sub/real"}, {"sub/../two", "sub/real"},
	} {
		if got, err := lockedfile.Resolve(at(tt.path)); err != nil || got != at(tt.want) {
			t.Errorf("Resolve(%s) = %s, %v; want %s", tt.path, got, err, tt.want)
		}
	}
	for _, missing := range []string{"nothing", "dangling"} {
		if _, err := lockedfile.Resolve(at(missing)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Resolve(%s) = %v, want ErrNotExist", missing, err)
		}
	}
	var sys *fs.PathError
	if _, err := lockedfile.Resolve(at("loop-a")); !errors.As(err, &sys) {
		t.Errorf("Resolve(loop-a) = %v, want a *fs.PathError", err)
	}
	t.Chdir(dir)
	if got, err := lockedfile.Resolve("two"); err != nil || got != at("sub/real") {
		t.Errorf("Resolve of a relative path = %s, %v", got, err)
	}
}

func TestInspect(t *testing.T) {
	path := write(t, "content")
	target, err := lockedfile.Inspect(path)
	if err != nil {
		t.Fatal(err)
	}
	if target.Path != path || target.Dir != filepath.Dir(path) || target.Base != "token.json" || target.Size != 7 || target.Loose {
		t.Errorf("Inspect = %+v", target)
	}
	has(t, path, "content")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if target, err = lockedfile.Inspect(path); err != nil || !target.Loose || target.Mode != 0o640 {
		t.Errorf("group-readable: %+v, %v; want Loose and no error", target, err)
	}
	if _, err := lockedfile.Inspect(path + ".missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestInspectRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(path string) error
		want string
	}{
		{"hard link", func(p string) error { return os.Link(p, p+".second") }, lockedfile.HardLinked},
		{"read-only", func(p string) error { return os.Chmod(p, 0o444) }, lockedfile.ReadOnly},
		{"symlink", func(p string) error { return errors.Join(os.Rename(p, p+".real"), os.Symlink(p+".real", p)) }, lockedfile.NotRegular},
		{"directory", func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) }, lockedfile.NotRegular},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, "old")
			if err := tt.do(path); err != nil {
				t.Fatal(err)
			}
			_, err := lockedfile.Inspect(path)
			refused(t, err, tt.want)
		})
	}
}
