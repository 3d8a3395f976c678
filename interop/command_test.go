package interop_test

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
)

// workDir holds the built binary. It is removed when all tests are done.
var workDir string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if workDir, err = os.MkdirTemp("", "evergrant-interop-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(workDir)
	return m.Run()
}

var built = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(workDir, "evergrant")
	if runtime.GOOS == "windows" {
		bin += ".exe"
	}
	cmd := exec.Command("go", "build", "-o", bin, "./cmd/evergrant")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/evergrant: %w\n%s", err, out)
	}
	return bin, nil
})

// A command is the real binary, run with a home folder of its own.
type command struct {
	bin  string
	home string
}

func newCommand(t *testing.T) *command {
	t.Helper()
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return &command{bin: bin, home: t.TempDir()}
}

// A result is what a caller of the binary sees.
type result struct {
	code   int
	stdout string
	stderr string
}

func (c *command) run(t *testing.T, args ...string) result {
	t.Helper()
	return c.start(t, args...)()
}

// start starts the binary; the returned function waits for its end.
func (c *command) start(t *testing.T, args ...string) func() result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	cmd := exec.CommandContext(ctx, c.bin, args...)
	cmd.Env = append(os.Environ(), "HOME="+c.home, "XDG_CONFIG_HOME=", "XDG_STATE_HOME=", "XDG_DATA_HOME=")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	return func() result {
		t.Helper()
		defer cancel()
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	}
}

// wantExit fails the test unless the command ended with code, and with a hint when it is not 0.
func (r result) wantExit(t *testing.T, code int) {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit code %d, want %d\nstdout: %s\nstderr: %s", r.code, code, r.stdout, r.stderr)
	}
	if code != 0 && !strings.Contains(r.stderr, "hint: ") {
		t.Errorf("no hint with exit code %d:\n%s", code, r.stderr)
	}
}

// wantNoSecrets fails the test if one of the secrets is in what the command printed.
func (r result) wantNoSecrets(t *testing.T, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		if strings.Contains(r.stdout+r.stderr, s) {
			t.Errorf("a token is in the output:\nstdout: %s\nstderr: %s", r.stdout, r.stderr)
		}
	}
}
