package lockedfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/evergrant/evergrant/internal/lockedfile"
)

func TestWriteDurable(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".state")
	for _, f := range []func(string, []byte, fs.FileMode) error{lockedfile.WriteDurable, lockedfile.WriteReplace} {
		for _, content := range []string{"one", "", "three, longer than the others"} {
			if err := f(path, []byte(content), 0o640); err != nil {
				t.Fatal(err)
			}
			has(t, path, content)
		}
	}
	if fi, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && fi.Mode() != 0o640 {
		t.Errorf("mode %v, %v; want 0640 whatever the umask", fi.Mode(), err)
	}
	if got := names(t, filepath.Dir(path)); !slices.Equal(got, []string{".state"}) {
		t.Errorf("the directory has %q", got)
	}
	err := lockedfile.WriteDurable(filepath.Join(path, "below-a-file"), nil, 0o600)
	if err == nil {
		t.Error("writing below a file succeeded")
	}
}

func TestWriteDurableReplacesLink(t *testing.T) {
	dir := t.TempDir()
	victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, ".state")
	if err := errors.Join(os.WriteFile(victim, []byte("mine"), 0o600), os.Symlink(victim, path)); err != nil {
		t.Fatal(err)
	}
	if err := lockedfile.WriteDurable(path, []byte("state"), 0o600); err != nil {
		t.Fatal(err)
	}
	has(t, victim, "mine")
	has(t, path, "state")
}

// TestWriteDurableNeverTorn reads while others write: each read must find one
// writer's content, whole.
func TestWriteDurableNeverTorn(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".state")
	content := func(i int) []byte { return []byte(strings.Repeat(string(rune('a'+i)), 1+i*3000)) }
	if err := lockedfile.WriteReplace(path, content(0), 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 25 {
				if err := lockedfile.WriteReplace(path, content(i), 0o600); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 500 {
		b, err := os.ReadFile(path)
		if err != nil || len(b) == 0 || string(b) != string(content(int(b[0]-'a'))) {
			t.Fatalf("read %d bytes, %v", len(b), err)
		}
	}
	wg.Wait()
}

func TestRemoveStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".state")
	if err := errors.Join(
		os.WriteFile(path, []byte("keep"), 0o600),
		os.WriteFile(path+".new-abc", nil, 0o600),
		os.WriteFile(path+".lock", nil, 0o600),
		os.WriteFile(path+"2.new-abc", nil, 0o600),
	); err != nil {
		t.Fatal(err)
	}
	if n, err := lockedfile.RemoveStale(path); n != 1 || err != nil {
		t.Errorf("RemoveStale = %d, %v", n, err)
	}
	if got := names(t, filepath.Dir(path)); !slices.Equal(got, []string{".state", ".state.lock", ".state2.new-abc"}) {
		t.Errorf("left %q", got)
	}
}

func TestPatch(t *testing.T) {
	path := write(t, "phase:dialing.")
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := lockedfile.Patch(path, 6, []byte("sending.")); err != nil {
		t.Fatal(err)
	}
	has(t, path, "phase:sending.")
	for _, tt := range []struct {
		offset int64
		b      string
	}{{14, "x"}, {13, "xy"}, {-1, "x"}} {
		if err := lockedfile.Patch(path, tt.offset, []byte(tt.b)); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Patch at %d with %q: %v", tt.offset, tt.b, err)
		}
	}
	has(t, path, "phase:sending.")
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("Patch made another file: %v", err)
	}
	if err := lockedfile.Patch(path+".missing", 0, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Patch of a missing file: %v", err)
	}
}

func TestSync(t *testing.T) {
	path := write(t, "old")
	if err := errors.Join(lockedfile.SyncFile(path), lockedfile.SyncDir(filepath.Dir(path))); err != nil {
		t.Error(err)
	}
	if err := lockedfile.SyncFile(path + ".missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("SyncFile of a missing file: %v", err)
	}
}

func TestWriteElsewhere(t *testing.T) {
	base := t.TempDir()
	at := func(name string) string { return filepath.Join(base, name) }
	if err := errors.Join(
		os.WriteFile(at("file"), nil, 0o600),
		os.Mkdir(at("open"), 0o700), os.Chmod(at("open"), 0o777),
	); err != nil {
		t.Fatal(err)
	}
	good := at("a/b/c")
	dirs := []string{at("file/below"), at("file"), good, at("never")}
	if runtime.GOOS != "windows" {
		dirs = slices.Insert(dirs, 0, at("open"))
	}
	path, err := lockedfile.WriteElsewhere(dirs, "rescue.json", []byte("answer"))
	if err != nil || path != filepath.Join(good, "rescue.json") {
		t.Fatalf("WriteElsewhere = %s, %v", path, err)
	}
	has(t, path, "answer")
	for _, tt := range []struct {
		path string
		want fs.FileMode
	}{{path, 0o600}, {good, 0o700 | fs.ModeDir}, {at("a"), 0o700 | fs.ModeDir}} {
		if fi, err := os.Stat(tt.path); err != nil || runtime.GOOS != "windows" && fi.Mode() != tt.want {
			t.Errorf("%s has mode %v, %v", tt.path, fi.Mode(), err)
		}
	}
	if _, err := os.Stat(at("never")); err == nil {
		t.Error("went on after a success")
	}
	if _, err := lockedfile.WriteElsewhere(dirs[:2], "rescue.json", nil); err == nil {
		t.Error("no directory is fit, and no error")
	}
	for _, name := range []string{"", "../x", "a/b", "."} {
		if path, err := lockedfile.WriteElsewhere([]string{good}, name, nil); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("name %q: %s, %v", name, path, err)
		}
	}
}
