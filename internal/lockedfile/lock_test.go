package lockedfile_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evergrant/evergrant/internal/lockedfile"
)

func TestLockExcludesGoroutines(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".lock")
	var wg sync.WaitGroup
	var inside, n atomic.Int32
	for range 16 {
		wg.Go(func() {
			for range 4 {
				l, err := lockedfile.Acquire(t.Context(), path)
				if err != nil {
					t.Error(err)
					return
				}
				if others := inside.Add(1); others != 1 {
					t.Errorf("%d goroutines hold the lock", others)
				}
				runtime.Gosched()
				n.Add(1)
				inside.Add(-1)
				if err := l.Release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n.Load() != 64 {
		t.Errorf("counted %d, want 64", n.Load())
	}
}

func TestLockExcludesProcesses(t *testing.T) {
	dir := t.TempDir()
	lock, counter := filepath.Join(dir, ".lock"), filepath.Join(dir, "counter")
	if err := os.WriteFile(counter, []byte("0"), 0o600); err != nil {
		t.Fatal(err)
	}
	const processes, rounds = 64, 4
	cmds := make([]*exec.Cmd, processes)
	for i := range cmds {
		cmds[i] = exec.Command(os.Args[0], lock, counter, strconv.Itoa(rounds))
		cmds[i].Env = append(os.Environ(), childEnv+"=count")
		if err := cmds[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	has(t, counter, strconv.Itoa(processes*rounds))
	if fi, err := os.Stat(lock); err != nil || fi.Size() != 0 {
		t.Errorf("the lock file has %v, %v; want it there and empty", fi, err)
	}
}

func TestKilledHolderFreesLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".lock")
	for range 5 {
		cmd := holder(t, path)
		if _, err := lockedfile.TryAcquire(path); !errors.Is(err, lockedfile.ErrBusy) {
			t.Fatalf("TryAcquire beside a holder: %v", err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		l, err := lockedfile.TryAcquire(path)
		if err != nil {
			t.Fatalf("after the holder was killed: %v", err)
		}
		l.Release()
	}
}

func TestHolder(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux names the holder of a lock")
	}
	path := filepath.Join(t.TempDir(), ".lock")
	if pid, ok := lockedfile.Holder(path); ok {
		t.Errorf("a missing lock file is held by %d", pid)
	}
	cmd := holder(t, path)
	if pid, ok := lockedfile.Holder(path); !ok || pid != cmd.Process.Pid {
		t.Errorf("Holder = %d, %v; want %d", pid, ok, cmd.Process.Pid)
	}
}

func TestAcquireEndsWithContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".lock")
	held, err := lockedfile.TryAcquire(path)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("the user lost patience")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, cause)
		defer cancel()
		start := time.Now()
		l, err := lockedfile.Acquire(ctx, path)
		if !errors.Is(err, lockedfile.ErrBusy) || !errors.Is(err, cause) {
			t.Fatalf("Acquire = %v, %v; want ErrBusy and the cause", l, err)
		}
		if waited := time.Since(start); waited != 3*time.Second {
			t.Errorf("waited %v, want 3s", waited)
		}
	})
	held.Release()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lockedfile.Acquire(ended, path); !errors.Is(err, context.Canceled) {
		t.Errorf("Acquire with an ended context: %v", err)
	}
}

func TestAcquireWaitsForRelease(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".lock")
	synctest.Test(t, func(t *testing.T) {
		held, err := lockedfile.TryAcquire(path)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		time.AfterFunc(time.Second, func() { held.Release() })
		l, err := lockedfile.Acquire(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Release()
		if waited := time.Since(start); waited < time.Second || waited > time.Second+20*time.Millisecond {
			t.Errorf("got the lock after %v, want within 20ms of its release at 1s", waited)
		}
	})
}

func TestReleaseTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".lock")
	l, err := lockedfile.TryAcquire(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Check(); err != nil {
		t.Errorf("Check while held: %v", err)
	}
	for range 2 {
		if err := l.Release(); err != nil {
			t.Error(err)
		}
	}
	if err := l.Check(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Check after Release: %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("Release must leave the file: %v", err)
	}
}

func TestLockFileDeletedWhileHeld(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".lock")
	first, err := lockedfile.TryAcquire(path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Release()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := first.Check(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Check after deletion: %v", err)
	}
	second, err := lockedfile.TryAcquire(path)
	if err != nil {
		t.Fatalf("the new file is free: %v", err)
	}
	defer second.Release()
	if err := first.Check(); err == nil {
		t.Error("the first holder's lock protects nothing, and Check does not say so")
	}
	if err := second.Check(); err != nil {
		t.Errorf("the second holder: %v", err)
	}
}

func TestLockFileRefused(t *testing.T) {
	for _, tt := range []struct {
		name  string
		plant func(path string) error
		want  string
	}{
		{"symlink", func(p string) error { return os.Symlink(filepath.Join(filepath.Dir(p), "elsewhere"), p) }, lockedfile.LockNotRegular},
		{"symlink to a file", func(p string) error {
			return errors.Join(os.WriteFile(p+".real", nil, 0o600), os.Symlink(p+".real", p))
		}, lockedfile.LockNotRegular},
		{"directory", func(p string) error { return os.Mkdir(p, 0o700) }, lockedfile.LockNotRegular},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), ".lock")
			if err := tt.plant(path); err != nil {
				t.Fatal(err)
			}
			_, err := lockedfile.TryAcquire(path)
			refused(t, err, tt.want)
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), "elsewhere")); err == nil {
				t.Error("the link was followed")
			}
		})
	}
}

func TestLockInMissingDirectory(t *testing.T) {
	_, err := lockedfile.TryAcquire(filepath.Join(t.TempDir(), "missing", ".lock"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
}

func ExampleAcquire() {
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()

	lock, err := lockedfile.Acquire(ctx, filepath.Join(dir, ".token.json.evergrant.lock"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer lock.Release()
	fmt.Println("alone")
	// Output: alone
}
