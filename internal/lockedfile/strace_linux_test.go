package lockedfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/internal/lockedfile"
)

// strace runs a child under strace(1) with the given options and returns what the
// child printed and the trace. A missing strace fails the test: the order of
// syncs and renames is the promise of this package.
func strace(t *testing.T, options []string, command string, args ...string) (out string, trace []string) {
	t.Helper()
	cmd, file := straced(t, options, command, args...)
	b, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	lines, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; strace says: %s", err, b)
	}
	return strings.TrimSpace(string(b)), strings.Split(string(lines), "\n")
}

func straced(t *testing.T, options []string, command string, args ...string) (cmd *exec.Cmd, file string) {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("this test needs strace: apt-get install strace")
	}
	file = filepath.Join(t.TempDir(), "trace")
	all := append([]string{"-f", "-y", "-qq", "-o", file}, options...)
	all = append(append(all, os.Args[0]), args...)
	cmd = exec.Command(path, all...)
	cmd.Env = append(os.Environ(), childEnv+"="+command)
	return cmd, file
}

// The calls that decide about durability, as they start in a trace. A call that
// another thread interrupted ("<unfinished ...>") is counted where it started;
// only one thread makes these calls, so their order is kept.
var steps = []struct {
	step string
	line *regexp.Regexp
}{
	{"fallocate", regexp.MustCompile(`\bfallocate\(\d+<[^>]*/\.reserved>`)},
	{"rename to the answer's name", regexp.MustCompile(`\brenameat2?\(.*"\.reserved", .*"\.filled"`)},
	{"fsync of the answer under its name", regexp.MustCompile(`\bf(data)?sync\(\d+<[^>]*/\.filled>`)},
	{"exchange", regexp.MustCompile(`\brenameat2\(.*"\.filled", .*"token\.json", RENAME_EXCHANGE`)},
	{"plain rename", regexp.MustCompile(`\brename(at2?)?\(.*"\.filled", .*"token\.json"[,)]`)},
	{"rename of a side file", regexp.MustCompile(`\brename(at2?)?\(.*/token\.json\.new-\w+", .*/token\.json"`)},
	{"fsync of a side file", regexp.MustCompile(`\bfsync\(\d+<[^>]*/token\.json\.new-\w+>`)},
	{"fsync of the directory", regexp.MustCompile(`\bfsync\(\d+<[^>]*/dir>`)},
	{"removal", regexp.MustCompile(`\bunlinkat\(.*"\.filled"`)},
	{"other fsync", regexp.MustCompile(`\bf(data)?sync\(`)},
}

// stepsOf names the steps of a trace; an exchange that the system refused is no step.
func stepsOf(trace []string) []string {
	var done []string
	for _, line := range trace {
		for _, s := range steps {
			if s.line.MatchString(line) {
				if !strings.Contains(line, " = -1 ") {
					done = append(done, s.step)
				}
				break
			}
		}
	}
	return done
}

// target writes token.json in a directory called dir, as the patterns above want it.
func target(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dir", "token.json")
	if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("old"), 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

const durability = "trace=fsync,fdatasync,rename,renameat,renameat2,fallocate,unlinkat"

func TestOrderOfSyncs(t *testing.T) {
	for _, tt := range []struct {
		name, command string
		inject        string
		says          string
		want          []string
	}{
		{
			name: "replace", command: "replace", says: "exchanged true",
			want: []string{"fallocate", "rename to the answer's name", "fsync of the answer under its name", "exchange", "fsync of the directory", "removal"},
		}, {
			name: "replace without exchange", command: "replace", inject: "renameat2:error=EINVAL", says: "exchanged false",
			want: []string{"fallocate", "rename to the answer's name", "fsync of the answer under its name", "plain rename", "fsync of the directory"},
		}, {
			name: "replace without fallocate", command: "replace", inject: "fallocate:error=EOPNOTSUPP", says: "exchanged true",
			want: []string{"rename to the answer's name", "fsync of the answer under its name", "exchange", "fsync of the directory", "removal"},
		}, {
			name: "side file", command: "durable",
			want: []string{"fsync of a side file", "rename of a side file", "fsync of the directory"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := target(t)
			options := []string{"-e", durability}
			if tt.inject != "" {
				options = append(options, "-e", "inject="+tt.inject)
			}
			out, trace := strace(t, options, tt.command, path, "new")
			if out != tt.says {
				t.Errorf("the child says %q, want %q", out, tt.says)
			}
			if got := stepsOf(trace); !slices.Equal(got, tt.want) {
				t.Errorf("steps %q\nwant  %q\n%s", got, tt.want, strings.Join(trace, "\n"))
			}
			has(t, path, "new")
		})
	}
}

// TestNoRenameBack: where exchanging back is refused, the former content must not
// be renamed over the new one.
func TestNoRenameBack(t *testing.T) {
	path := target(t)
	out, _ := strace(t, []string{"-e", durability, "-e", "inject=renameat2:error=EINVAL:when=2"}, "swap-back", path, "new")
	if out != "stays" {
		t.Errorf("the child says %q", out)
	}
	has(t, path, "new")
	has(t, filepath.Join(filepath.Dir(path), ".filled"), "old")
}

// TestFailedSync: the answer is not trusted to a file whose fsync failed once.
func TestFailedSync(t *testing.T) {
	path := target(t)
	out, trace := strace(t, []string{"-e", durability, "-e", "inject=fsync:error=EIO:when=1"}, "refill", path)
	if out != "exchanged true" {
		t.Errorf("the child says %q\n%s", out, strings.Join(trace, "\n"))
	}
	has(t, path, "new")
	if got := names(t, filepath.Dir(path)); len(got) != 1 {
		t.Errorf("left %q", got)
	}
}

func TestErrorsOfTheSystem(t *testing.T) {
	for _, tt := range []struct{ inject, command, want string }{
		{"flock:error=ENOLCK", "try", "error: unsupported"},
		{"flock:error=ENOSYS", "try", "error: unsupported"},
		{"flock:error=EOPNOTSUPP", "try", "error: unsupported"},
		{"fallocate:error=ENOSPC", "replace", "error: refused no-space"},
		{"fallocate:error=EDQUOT", "replace", "error: refused no-space"},
		{"fallocate:error=EINTR:when=1", "replace", "exchanged true"},
		{"renameat2:error=ENOSYS", "replace", "exchanged false"},
		{"statx:error=ENOSYS", "inspect", ""},
	} {
		t.Run(tt.inject, func(t *testing.T) {
			path := target(t)
			name, _, _ := strings.Cut(tt.inject, ":")
			file := path
			if tt.command == "try" {
				file = path + ".lock"
			}
			out, _ := strace(t, []string{"-e", "trace=" + name, "-e", "inject=" + tt.inject}, tt.command, file, "new")
			if out != tt.want {
				t.Errorf("the child says %q, want %q", out, tt.want)
			}
			left := slices.DeleteFunc(names(t, filepath.Dir(path)), func(n string) bool { return strings.HasPrefix(n, "token.json") })
			if len(left) > 0 {
				t.Errorf("left %q", left)
			}
		})
	}
}

// TestKilledAnywhere kills the child at each call that touches the files: the
// target is whole, old or new, and only names of ours are left beside it.
func TestKilledAnywhere(t *testing.T) {
	killed := 0
	for _, command := range []string{"replace", "durable"} {
		for _, call := range []string{"openat", "fallocate", "fchmod", "pwrite64", "write", "ftruncate", "renameat", "renameat2", "fsync", "unlinkat"} {
			for n := 1; n <= 12; n++ {
				path := target(t)
				inject := fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n)
				only := func(name string) string { return filepath.Join(filepath.Dir(path), name) }
				cmd, _ := straced(t, []string{"-P", only(""), "-P", path, "-P", only(".reserved"), "-P", only(".filled"), "-e", "trace=" + call, "-e", inject}, command, path, "new")
				err := cmd.Run()
				b, readErr := os.ReadFile(path)
				if readErr != nil || !bytes.Equal(b, []byte("old")) && !bytes.Equal(b, []byte("new")) {
					t.Fatalf("%s killed at %s %d: the target holds %q, %v", command, call, n, b, readErr)
				}
				checkLeftovers(t, path)
				if err == nil {
					break // there is no n-th call
				}
				killed++
			}
		}
	}
	if killed < 20 {
		t.Errorf("killed only %d times; does strace -P still match?", killed)
	}
	t.Logf("%d kills", killed)
}

func checkLeftovers(t *testing.T, path string) {
	t.Helper()
	for _, name := range names(t, filepath.Dir(path)) {
		switch {
		case name == "token.json", name == ".reserved", strings.HasPrefix(name, "token.json.new-"):
		case name == ".filled":
			// Before the exchange it is the whole answer, or (killed before the
			// fsync, without a power cut) all that was written; after, the old file.
		default:
			t.Errorf("left %s", name)
		}
	}
}

// TestLockFileReplacedWhileWaiting: a waiter that has opened the lock file before
// it was deleted gets a lock on a file that nobody else can find any more, and has
// to notice. strace holds the waiter between open and flock.
func TestLockFileReplacedWhileWaiting(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".lock")
	for range 3 {
		os.Remove(path)
		first, err := lockedfile.TryAcquire(path)
		if err != nil {
			t.Fatal(err)
		}
		cmd, file := straced(t, []string{"-e", "trace=flock", "-e", "inject=flock:delay_enter=200000"}, "count", path, path+".missing", "1")
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		cmd.Stdout = out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool { b, _ := os.ReadFile(file); return bytes.Contains(b, []byte("EAGAIN")) })
		time.Sleep(50 * time.Millisecond) // into the next delay; a miss only weakens the test
		os.Remove(path)
		second, err := lockedfile.TryAcquire(path)
		if err != nil {
			t.Fatal(err)
		}
		first.Release()
		time.Sleep(500 * time.Millisecond) // two more tries of the waiter
		has(t, out.Name(), "")
		second.Release()
		cmd.Wait()
		if b, err := os.ReadFile(out.Name()); err != nil || !bytes.Contains(b, []byte("no such file")) {
			t.Errorf("the waiter never got the lock: %q, %v", b, err)
		}
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for range 1000 {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("waited for 10 s in vain")
}
