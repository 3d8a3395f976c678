package lockedfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/internal/lockedfile"
)

// prepare goes as far as a filled Temp.
func prepare(t *testing.T, path, content string) *lockedfile.Temp {
	t.Helper()
	target, err := lockedfile.Inspect(path)
	if err != nil {
		t.Fatal(err)
	}
	temp, err := target.Reserve(".reserved", 4096)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { temp.Close() })
	if err := temp.Fill([]byte(content), ".filled"); err != nil {
		t.Fatal(err)
	}
	return temp
}

func TestReplace(t *testing.T) {
	path := write(t, "old")
	temp := prepare(t, path, "new")
	has(t, path, "old")
	has(t, temp.Path(), "new")
	if got := names(t, filepath.Dir(path)); !slices.Equal(got, []string{".filled", "token.json"}) {
		t.Errorf("after Fill the directory has %q", got)
	}
	exchanged, err := temp.Swap()
	if err != nil {
		t.Fatal(err)
	}
	has(t, path, "new")
	if exchanged {
		has(t, temp.Path(), "old")
	}
	if err := lockedfile.SyncDir(filepath.Dir(path)); err != nil {
		t.Error(err)
	}
	if err := temp.Remove(); err != nil {
		t.Error(err)
	}
	if got := names(t, filepath.Dir(path)); !slices.Equal(got, []string{"token.json"}) {
		t.Errorf("in the end the directory has %q", got)
	}
}

func TestSwapFindsForeignWrite(t *testing.T) {
	path := write(t, "old")
	temp := prepare(t, path, "ours")
	foreign := path + ".theirs"
	if err := errors.Join(os.WriteFile(foreign, []byte("a new login"), 0o600), os.Rename(foreign, path)); err != nil {
		t.Fatal(err)
	}
	exchanged, err := temp.Swap()
	if err != nil {
		t.Fatal(err)
	}
	if !exchanged {
		t.Skip("SKIPPED: this system can't exchange names")
	}
	has(t, path, "ours")
	has(t, temp.Path(), "a new login")
	if exchanged, err = temp.Swap(); err != nil || !exchanged {
		t.Fatalf("exchanging back: %v, %v", exchanged, err)
	}
	has(t, path, "a new login")
	has(t, temp.Path(), "ours")
}

func TestSwapWithoutTarget(t *testing.T) {
	path := write(t, "old")
	temp := prepare(t, path, "new")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	exchanged, err := temp.Swap()
	if err == nil && !exchanged {
		has(t, path, "new") // a system without exchange
		return
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Swap with a deleted target: %v, %v", exchanged, err)
	}
	has(t, temp.Path(), "new")
}

func TestTempOrder(t *testing.T) {
	path := write(t, "old")
	target, err := lockedfile.Inspect(path)
	if err != nil {
		t.Fatal(err)
	}
	temp, err := target.Reserve(".reserved", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := temp.Swap(); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("Swap before Fill: %v", err)
	}
	if err := temp.Fill([]byte("new"), ""); err != nil {
		t.Fatal(err)
	}
	if err := temp.Fill([]byte("newer"), ""); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a second Fill would overwrite the only durable copy: %v", err)
	}
	has(t, filepath.Join(target.Dir, ".reserved"), "new")
	if err := temp.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(temp.Remove(), temp.Close()); err != nil {
		t.Errorf("Remove and Close again: %v", err)
	}
	has(t, path, "old")
}

func TestReserveNames(t *testing.T) {
	path := write(t, "old")
	target, err := lockedfile.Inspect(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", ".", "..", "a/b", "../a", "/a", "token.json"} {
		if temp, err := target.Reserve(name, 1); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Reserve(%q) = %v, %v", name, temp, err)
		}
	}
	victim := filepath.Join(target.Dir, "victim")
	if err := errors.Join(os.WriteFile(victim, []byte("mine"), 0o600), os.Symlink(victim, filepath.Join(target.Dir, "link"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "victim"} {
		if temp, err := target.Reserve(name, 1); !errors.Is(err, fs.ErrExist) {
			t.Errorf("Reserve(%q), which exists: %v, %v", name, temp, err)
		}
	}
	has(t, victim, "mine")
}

func TestReserveInSwappedDirectory(t *testing.T) {
	path := write(t, "old")
	target, err := lockedfile.Inspect(path)
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if err := os.Rename(target.Dir, target.Dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, target.Dir); err != nil {
		t.Fatal(err)
	}
	_, err = target.Reserve(".reserved", 1)
	refused(t, err, lockedfile.DirectoryChanged)
	if got := names(t, other); len(got) > 0 {
		t.Errorf("the other directory got %q", got)
	}
}

func TestFillLargerThanReserved(t *testing.T) {
	path := write(t, "old")
	target, err := lockedfile.Inspect(path)
	if err != nil {
		t.Fatal(err)
	}
	temp, err := target.Reserve(".reserved", 10)
	if err != nil {
		t.Fatal(err)
	}
	defer temp.Close()
	long := strings.Repeat("x", 100_000)
	if err := temp.Fill([]byte(long), ""); err != nil {
		t.Fatal(err)
	}
	has(t, temp.Path(), long)
}

// BenchmarkReplace sets the whole sequence against the two syncs that cannot be
// saved and against what most programs do (which loses the new content in a power
// cut).
func BenchmarkReplace(b *testing.B) {
	content := []byte(strings.Repeat("x", 1000))
	start := func(b *testing.B) string {
		path := filepath.Join(b.TempDir(), "token.json")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			b.Fatal(err)
		}
		return path
	}
	b.Run("reserve-fill-swap-syncdir-remove", func(b *testing.B) {
		path := start(b)
		for b.Loop() {
			target, err := lockedfile.Inspect(path)
			if err != nil {
				b.Fatal(err)
			}
			temp, err := target.Reserve(".reserved", 64<<10)
			if err != nil {
				b.Fatal(err)
			}
			err = temp.Fill(content, ".filled")
			_, swapErr := temp.Swap()
			if err := errors.Join(err, swapErr, lockedfile.SyncDir(target.Dir), temp.Remove()); err != nil {
				b.Fatal(err)
			}
		}
	})
	bare := func(b *testing.B, syncDir bool) {
		path := start(b)
		for b.Loop() {
			f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
			if err != nil {
				b.Fatal(err)
			}
			_, err = f.Write(content)
			if err := errors.Join(err, f.Sync(), f.Close(), os.Rename(path+".tmp", path)); err != nil {
				b.Fatal(err)
			}
			if syncDir {
				if err := lockedfile.SyncDir(filepath.Dir(path)); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.Run("bare-write-fsync-rename", func(b *testing.B) { bare(b, false) })
	b.Run("bare-write-fsync-rename-syncdir", func(b *testing.B) { bare(b, true) })
	b.Run("write-durable", func(b *testing.B) {
		path := start(b)
		for b.Loop() {
			if err := lockedfile.WriteDurable(path, content, 0o600); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkLock(b *testing.B) {
	path := filepath.Join(b.TempDir(), ".lock")
	for b.Loop() {
		l, err := lockedfile.TryAcquire(path)
		if err != nil {
			b.Fatal(err)
		}
		l.Release()
	}
}
