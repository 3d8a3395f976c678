package interop_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evergrant/evergrant/store/keyring"
)

// workDir holds the built binary. It is removed when all tests are done.
var workDir string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if desk := os.Getenv(browserDesk); desk != "" {
		return handIn(desk, os.Args[len(os.Args)-1])
	}
	var err error
	if workDir, err = os.MkdirTemp("", "evergrant-interop-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(workDir)
	return m.Run()
}

var built = sync.OnceValues(func() (string, error) { return build("evergrant", "..", "./cmd/evergrant") })

// build compiles a program of the module in a folder.
func build(name, dir, pkg string) (string, error) {
	bin := filepath.Join(workDir, name)
	if runtime.GOOS == "windows" {
		bin += ".exe"
	}
	cmd := exec.Command("go", "build", "-o", bin, pkg)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s in %s: %w\n%s", pkg, dir, err, out)
	}
	return bin, nil
}

// A command is the real binary, run with a home folder of its own.
type command struct {
	bin  string
	home string
	env  []string // beyond that of the test

	stdin  *os.File    // of the next one; nil: none
	stderr *transcript // of the last one started
	told   sieve
}

func newCommand(t *testing.T) *command {
	t.Helper()
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	if err := keyring.CreateKeyFile(filepath.Join(home, "key")); err != nil {
		t.Fatal(err)
	}
	c := &command{bin: bin, home: home, env: []string{
		"HOME=" + home, "XDG_CONFIG_HOME=", "XDG_STATE_HOME=", "XDG_DATA_HOME=",
		"EVERGRANT_STORE=" + filepath.Join(home, "store"), "EVERGRANT_KEY_FILE=" + filepath.Join(home, "key"), "BROWSER=none",
	}}
	t.Cleanup(func() { c.search(t) })
	return c
}

// A transcript is what a running program wrote until now.
type transcript struct {
	mu    sync.Mutex
	text  bytes.Buffer
	grown chan struct{} // closed, and replaced, when text grew
	ended chan struct{} // closed when the program has ended
}

func (s *transcript) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.grown)
	s.grown = make(chan struct{})
	return s.text.Write(b)
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// waitFor waits for what a pattern matches, and returns its groups.
func (s *transcript) waitFor(t *testing.T, pattern *regexp.Regexp) []string {
	t.Helper()
	late := time.After(scriptTimeout)
	for ended := false; ; {
		s.mu.Lock()
		found, grown := pattern.FindStringSubmatch(s.text.String()), s.grown
		s.mu.Unlock()
		if found != nil {
			return found
		}
		select {
		case <-grown:
		case <-s.ended:
			if ended {
				t.Fatalf("the program has ended without %s:\n%s", pattern, s)
			}
			ended = true // look once more
		case <-late:
			t.Fatalf("waiting for %s in:\n%s", pattern, s)
		}
	}
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
	cmd.Env = append(os.Environ(), c.env...)
	var stdout bytes.Buffer
	stderr := &transcript{grown: make(chan struct{}), ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &stdout, stderr
	c.stderr = stderr
	if c.stdin != nil {
		cmd.Stdin = c.stdin
	}
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	var end error
	go func() {
		end = cmd.Wait()
		close(stderr.ended)
	}()
	return func() result {
		t.Helper()
		defer cancel()
		<-stderr.ended
		var exit *exec.ExitError
		if end != nil && !errors.As(end, &exit) {
			t.Fatal(end)
		}
		r := result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
		c.told.note(args, r)
		return r
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
