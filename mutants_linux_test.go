package evergrant_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

const (
	tracedURL = "EVERGRANT_TEST_TRACED_URL" // of the token endpoint; set in the child
	handedOut = "/the-token-is-handed-out"  // looked for by the child when it has the token
)

// TestP2SyncedBeforeUsed watches by strace(1) what a refresh asks the kernel
// for: the journal is durable before the provider is called, the answer before
// it takes the token file's place, and that place before anybody has the token.
func TestP2SyncedBeforeUsed(t *testing.T) {
	if url := os.Getenv(tracedURL); url != "" {
		refreshTraced(t, url)
		return
	}
	b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
	log := filepath.Join(t.TempDir(), "trace")
	if out, err := b.traced("-o", log, "-e", "trace=fsync,rename,renameat,renameat2,connect,newfstatat,fstatat64,statx").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.living()
	trace, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"sync journal", "rename journal", "sync folder", "connect", "sync answer", "exchange", "sync folder", "hand out"}
	got := durable(string(trace), filepath.Dir(b.path))
	for _, step := range want {
		i := slices.Index(got, step)
		if i < 0 {
			t.Fatalf("no %q where it should be: got %q, want these in their order: %q", step, durable(string(trace), filepath.Dir(b.path)), want)
		}
		got = got[i+1:]
	}
}

// traced is a refresh in a child process under strace.
func (b *bed) traced(options ...string) *exec.Cmd {
	b.t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		b.t.Fatal("this test needs strace: apt-get install strace")
	}
	c := exec.Command(strace, append(append([]string{"-f", "-y", "-qq"}, options...), os.Args[0], "-test.run=^TestP2SyncedBeforeUsed$")...)
	c.Env = append(os.Environ(), tracedURL+"="+b.cfg.TokenURL)
	c.Dir = filepath.Dir(b.path)
	return c
}

// TestP3LoginBeforeTheExchange: a login that comes after our last look at the
// file and before the exchange, which strace makes a long time, is found in
// what the exchange brought out, and gets its place back.
func TestP3LoginBeforeTheExchange(t *testing.T) {
	b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
	login := b.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	ready := filepath.Join(t.TempDir(), "login.json")
	b.write(ready, login.TokenFile())
	wrote, stop := make(chan error, 1), make(chan struct{})
	go func() { wrote <- renameWhenFilled(ready, b.path, 400*time.Millisecond, stop) }()
	out, err := b.traced("-o", os.DevNull, "-e", "trace=renameat2", "-e", "inject=renameat2:delay_enter=1000000").CombinedOutput()
	close(stop)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.read(), login.TokenFile()) {
		t.Error("the login was overwritten")
	}
}

// refreshTraced is what the child does in the folder of the token file.
func refreshTraced(t *testing.T, url string) {
	s, err := evergrant.OpenFile("token.json", evergrant.Config{ClientID: "app", Provider: "salesforce", TokenURL: url, RescueDirs: []string{t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Refresh(t.Context(), evergrant.RefreshOptions{}); err != nil {
		t.Fatal(err)
	}
	os.Stat(handedOut)
}

// durable names the calls of a trace that decide about durability, in order.
func durable(trace, dir string) []string {
	steps := []struct{ name, line string }{
		{"sync journal", `\bfsync\(\d+<.*/\.token\.json\.evergrant\.new-`},
		{"rename journal", `\brename.*/\.token\.json\.evergrant\.new-.*/\.token\.json\.evergrant"`},
		{"sync folder", `\bfsync\(\d+<` + regexp.QuoteMeta(dir) + `>`},
		{"connect", `\bconnect\(`},
		{"sync answer", `\bfsync\(\d+<.*/\.token\.json\.evergrant\..*\.tmp>`},
		{"exchange", `\brename.*\.tmp".*"token\.json"`},
		{"hand out", regexp.QuoteMeta(handedOut)},
	}
	var got []string
	for line := range strings.SplitSeq(trace, "\n") {
		for _, s := range steps {
			if regexp.MustCompile(s.line).MatchString(line) {
				got = append(got, s.name)
			}
		}
	}
	return got
}
