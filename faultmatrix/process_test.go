package faultmatrix_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

// built is the folder of the program; TestMain removes it.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "faultmatrix")
	if err != nil {
		return "", err
	}
	c := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, "evergrant"), "../cmd/evergrant")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("building the program: %w\n%s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, _ := built(); dir != "" {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// program is the path of the real binary.
func program(t *testing.T) string {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "evergrant")
}

// A ran is what a caller of the program sees.
type ran struct {
	code           int
	stdout, stderr string
}

// ready begins a trial whose engine is the program.
func (tr *trial) ready(h idptest.Habits) {
	tr.t.Helper()
	if runtime.GOOS == "windows" {
		tr.t.Skip("skipped: it needs a shell")
	}
	tr.begin(idptest.Config{Habits: h})
	tr.must(os.WriteFile(filepath.Join(tr.dir, "secret"), []byte("s-"+secretMark+"\n"), 0o600))
}

// command is the program with the flags of a first run.
func (tr *trial) command(name string) []string {
	return []string{name, tr.path, "--client-id", "app", "--client-secret", "file:" + filepath.Join(tr.dir, "secret"), "--token-url", tr.base + "/token", "--timeout", "5s", "-v"}
}

// env keeps what the program writes inside the trial's folder.
func (tr *trial) env() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + tr.dir, "XDG_STATE_HOME=" + filepath.Join(tr.dir, "rescue"), "TMPDIR=" + filepath.Join(tr.dir, "rescue")}
}

// shell runs the program after some words of a shell, which say around what it
// stands as "$0" "$@".
func (tr *trial) shell(words string, env []string, args ...string) ran {
	tr.t.Helper()
	ctx, cancel := context.WithTimeout(tr.t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "sh", append([]string{"-c", words, program(tr.t)}, args...)...)
	c.Dir, c.Env = tr.dir, env
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		tr.t.Fatal(err)
	}
	r := ran{c.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	tr.say("%s", r.stderr)
	if args[0] != "token" {
		tr.say("%s", r.stdout)
	}
	return r
}

// around runs a refresh in a strange place of the process, which must go well
// or refuse before anything is sent, and an ordinary one afterwards.
func around(words string, codes ...int) proof {
	return shows(func(tr *trial) {
		tr.ready(rotating)
		r := tr.shell(words, tr.env(), tr.command("refresh")...)
		tr.ended(r, codes...)
		tr.ended(tr.shell(plain, tr.env(), tr.command("refresh")...), 0)
	})
}

// plain are the words of a shell that change nothing.
const plain = `exec "$0" "$@"`

// ended checks an exit code, and that nothing was sent where it says so.
func (tr *trial) ended(r ran, codes ...int) {
	tr.t.Helper()
	ok := false
	for _, c := range codes {
		ok = ok || c == r.code
	}
	if !ok {
		tr.t.Errorf("exit code %d, want %v: %s", r.code, codes, r.stderr)
	}
	if n := tr.requests(); r.code == 6 && n != 0 {
		tr.t.Errorf("refused to store, and sent %d requests", n)
	}
	if r.code != 0 && !strings.Contains(r.stderr, "hint: ") && !strings.HasPrefix(r.stderr, "runtime: ") {
		tr.t.Errorf("no hint: %q", r.stderr)
	}
}
