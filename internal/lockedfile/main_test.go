package lockedfile_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/internal/lockedfile"
)

// childEnv makes the test binary run one of the commands below and nothing else:
// locks and crashes are only worth testing between real processes.
const childEnv = "LOCKEDFILE_TEST_CHILD"

func TestMain(m *testing.M) {
	command := os.Getenv(childEnv)
	if command == "" {
		os.Exit(m.Run())
	}
	if err := child(command, os.Args[1:]); err != nil {
		fmt.Println("error:", describe(err))
		os.Exit(1)
	}
}

// describe prints what tests in the parent can compare.
func describe(err error) string {
	var refused *lockedfile.RefusedError
	switch {
	case errors.As(err, &refused):
		return "refused " + refused.Reason
	case errors.Is(err, lockedfile.ErrUnsupported):
		return "unsupported"
	case errors.Is(err, lockedfile.ErrBusy):
		return "busy"
	}
	return err.Error()
}

func child(command string, args []string) error {
	runtime.LockOSThread() // strace counts calls by thread
	switch command {
	case "hold": // until stdin ends
		l, err := lockedfile.Acquire(context.Background(), args[0])
		if err != nil {
			return err
		}
		fmt.Println("held")
		io.Copy(io.Discard, os.Stdin)
		return l.Release()
	case "count":
		return count(args[0], args[1], args[2])
	case "inspect":
		_, err := lockedfile.Inspect(args[0])
		return err
	case "try":
		_, err := lockedfile.TryAcquire(args[0])
		return err
	case "replace":
		return replace(args[0], args[1])
	case "durable":
		return lockedfile.WriteDurable(args[0], []byte(args[1]), 0o600)
	case "refill":
		return refill(args[0])
	case "swap-back":
		return swapBack(args[0], args[1])
	}
	return fmt.Errorf("unknown command %q", command)
}

// count adds one to the number in a file, n times, each under the lock, in the
// most careless way: read, truncate, write.
func count(lock, file, n string) error {
	times, err := strconv.Atoi(n)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for range times {
		l, err := lockedfile.Acquire(ctx, lock)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		was, err := strconv.Atoi(string(b))
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(strconv.Itoa(was+1)), 0o600); err != nil {
			return err
		}
		if err := l.Release(); err != nil {
			return err
		}
	}
	return nil
}

// replace does the whole sequence and says whether names were exchanged.
func replace(path, content string) error {
	target, err := lockedfile.Inspect(path)
	if err != nil {
		return err
	}
	temp, err := target.Reserve(".reserved", 4096)
	if err != nil {
		return err
	}
	defer temp.Close()
	if err := temp.Fill([]byte(content), ".filled"); err != nil {
		return err
	}
	exchanged, err := temp.Swap()
	if err != nil {
		return err
	}
	if err := lockedfile.SyncDir(target.Dir); err != nil {
		return err
	}
	fmt.Println("exchanged", exchanged)
	return temp.Remove()
}

// swapBack exchanges twice and says how the second time went.
func swapBack(path, content string) error {
	target, err := lockedfile.Inspect(path)
	if err != nil {
		return err
	}
	temp, err := target.Reserve(".reserved", 4096)
	if err != nil {
		return err
	}
	defer temp.Close()
	err = temp.Fill([]byte(content), ".filled")
	_, first := temp.Swap()
	if err := errors.Join(err, first); err != nil {
		return err
	}
	if _, err := temp.Swap(); err != nil {
		fmt.Println("stays")
	}
	return nil
}

// refill shows that a Temp whose fsync failed takes no second Fill or Swap, and
// that a new one does.
func refill(path string) error {
	target, err := lockedfile.Inspect(path)
	if err != nil {
		return err
	}
	first, err := target.Reserve(".first", 64)
	if err != nil {
		return err
	}
	if err := first.Fill([]byte("new"), ".answer"); err == nil {
		return errors.New("the injected error did not show")
	}
	if err := first.Fill([]byte("new"), ".answer"); !errors.Is(err, fs.ErrInvalid) {
		return fmt.Errorf("second Fill after a failed fsync: %v", err)
	}
	if _, err := first.Swap(); !errors.Is(err, fs.ErrInvalid) {
		return fmt.Errorf("Swap after a failed fsync: %v", err)
	}
	if err := first.Remove(); err != nil {
		return err
	}
	return replace(path, "new")
}

// holder starts a process that holds the lock, and returns when it does.
func holder(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], path)
	cmd.Env = append(os.Environ(), childEnv+"=hold")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if strings.TrimSpace(line) != "held" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	return cmd
}

// write creates a file in a new directory.
func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// has fails unless the file holds exactly content.
func has(t *testing.T, path, content string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != content {
		t.Fatalf("%s holds %q, want %q", filepath.Base(path), b, content)
	}
}

// names lists a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := []string{}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// refused fails unless err is a RefusedError with this reason and a hint.
func refused(t *testing.T, err error, reason string) {
	t.Helper()
	var r *lockedfile.RefusedError
	if !errors.As(err, &r) || r.Reason != reason {
		t.Fatalf("got %v, want a refusal for %q", err, reason)
	}
	if r.Hint == "" {
		t.Errorf("refusal %q has no hint", reason)
	}
}
