package keyring_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/oauth"
	"github.com/evergrant/evergrant/store/keyring"
)

// childEnv makes the test binary run one of the commands below and nothing
// else: locks and crashes are only worth testing between real processes.
const childEnv = "KEYRING_TEST_CHILD"

func TestMain(m *testing.M) {
	os.Unsetenv(keyring.EnvKeyFile) // the person's own
	command := os.Getenv(childEnv)
	if command != "" {
		if err := child(command, os.Args[1:]); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func child(command string, args []string) error {
	if command == "os-keyring" {
		return osKeyring(args[0])
	}
	s, err := keyring.Open(keyring.Config{Dir: args[0], Key: keyring.Key{File: args[1]}})
	if err != nil {
		return err
	}
	ctx := context.Background()
	switch command {
	case "hold": // until stdin ends
		unlock, err := s.Lock(ctx, args[2])
		if err != nil {
			return err
		}
		fmt.Println("held")
		io.Copy(io.Discard, os.Stdin)
		unlock()
		return nil
	case "win": // some generations, as often as this process is the first
		return win(ctx, s, args[2], args[3])
	case "put":
		return putForever(ctx, s, args[2])
	case "rename":
		return renameForever(ctx, s, args[2], args[3])
	case "rekey":
		return rekeyForever(ctx, s, args[1], args[2])
	}
	return fmt.Errorf("unknown command %q", command)
}

// win tries to write each generation up to the last and prints those it wrote.
func win(ctx context.Context, s *keyring.Store, id, last string) error {
	n, err := strconv.ParseUint(last, 10, 64)
	for g := uint64(2); g <= n && err == nil; g++ {
		switch err = s.Put(ctx, record(id, g), g-1); {
		case err == nil:
			fmt.Println(g)
		case errors.Is(err, evergrant.ErrConflict):
			err = nil
		}
	}
	return err
}

// putForever prints each generation when it is stored.
func putForever(ctx context.Context, s *keyring.Store, id string) error {
	r, err := s.Get(ctx, id)
	for g := r.Generation; err == nil; g++ {
		if err = s.Put(ctx, record(id, g+1), g); err == nil {
			fmt.Println(g + 1)
		}
	}
	return err
}

func renameForever(ctx context.Context, s *keyring.Store, a, b string) error {
	if _, err := s.Get(ctx, b); err == nil {
		a, b = b, a
	}
	for {
		if err := s.Rename(ctx, a, b); err != nil {
			return err
		}
		fmt.Println(b)
		a, b = b, a
	}
}

// rekeyForever changes between two key files, and first finishes what another
// process began.
func rekeyForever(ctx context.Context, s *keyring.Store, a, b string) error {
	for {
		d, err := s.Describe()
		if err != nil {
			return err
		}
		to := keyring.Key{File: b}
		if strings.HasSuffix(d.Where, b) {
			to.File = a
		}
		if err := s.Rekey(ctx, to); err != nil {
			return err
		}
		fmt.Println(to.File)
	}
}

// process is a child under way.
type process struct {
	*exec.Cmd
	in    io.Closer
	lines *bufio.Scanner
	last  string // line read
}

func start(t *testing.T, command string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), childEnv+"="+command)
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
	return &process{Cmd: cmd, in: in, lines: bufio.NewScanner(out)}
}

// line is the next line the child prints.
func (p *process) line() string {
	if p.lines.Scan() {
		p.last = p.lines.Text()
	}
	return p.last
}

// kill ends the child without warning and returns the last line it printed.
func (p *process) kill(t *testing.T) string {
	t.Helper()
	time.Sleep(rand.N(8 * time.Millisecond)) // any moment of what it does next
	p.Process.Kill()
	last := p.last
	for p.lines.Scan() {
		last = p.lines.Text()
	}
	p.Wait()
	if strings.HasPrefix(last, "error:") || last == "" {
		t.Fatalf("the child says %q", last)
	}
	return last
}

// token is what must never be seen in a file.
const token = "5AepCANARYrefreshCANARYtoken"

func record(id string, generation uint64) evergrant.Record {
	return evergrant.Record{
		ID: id, Generation: generation, Meta: map[string]string{"account": "canary@example.com"},
		Data: fmt.Appendf(nil, "%s generation %d %s", token, generation, strings.Repeat("x", 3000)),
	}
}

// keyFile makes one in a folder of its own.
func keyFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := keyring.CreateKeyFile(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, dir string, key keyring.Key) *keyring.Store {
	t.Helper()
	s, err := keyring.Open(keyring.Config{Dir: dir, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// place is a new folder with a key file.
func place(t *testing.T) (s *keyring.Store, dir, key string) {
	t.Helper()
	dir, key = filepath.Join(t.TempDir(), "grants"), keyFile(t)
	return open(t, dir, keyring.Key{File: key}), dir, key
}

func put(t *testing.T, s *keyring.Store, r evergrant.Record, generation uint64) {
	t.Helper()
	if err := s.Put(t.Context(), r, generation); err != nil {
		t.Fatalf("Put(%s, generation %d): %v", r.ID, generation, err)
	}
}

// has fails unless the store holds this record whole.
func has(t *testing.T, s *keyring.Store, id string, generation uint64) {
	t.Helper()
	r, err := s.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if want := record(id, generation); r.ID != id || r.Generation != generation || string(r.Data) != string(want.Data) || r.Meta["account"] != want.Meta["account"] {
		t.Fatalf("got %s of generation %d, want %s of %d, whole", r.ID, r.Generation, id, generation)
	}
}

// fails wants an error of a class that names what it is about and says what to
// do, and holds no secret.
func fails(t *testing.T, err, class error, says string) {
	t.Helper()
	var e *keyring.Error
	if !errors.Is(err, class) || !errors.As(err, &e) || e.Hint() == "" || !strings.Contains(err.Error(), says) {
		t.Fatalf("got %v, want one that matches %q, says %q and has a hint", err, class, says)
	}
	if strings.Contains(err.Error(), "CANARY") {
		t.Errorf("the error shows a secret: %v", err)
	}
}

func secret(text string) func(context.Context) (oauth.Secret, error) {
	return func(context.Context) (oauth.Secret, error) { return oauth.NewSecret(text), nil }
}
