package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

// A bed is a folder with a token file and a simulated provider, for tests that
// a table makes shorter than scripts.
type bed struct {
	*idptest.Server
	t     *testing.T
	base  string
	dir   string
	path  string // of the token file
	id    string // of the grant
	grant idptest.Grant
	env   []string

	sieve *sieve
	route string // path of the token endpoint
	as    uint32 // user to run the program as; 0: this one
}

func newBed(t *testing.T, habits idptest.Habits) *bed {
	t.Helper()
	return newBedOf(t, idptest.Salesforce, habits)
}

func newBedOf(t *testing.T, persona idptest.Persona, habits idptest.Habits) *bed {
	t.Helper()
	b := &bed{t: t, dir: t.TempDir(), route: "/token", sieve: newSieve()}
	t.Cleanup(b.search)
	if persona == idptest.Salesforce {
		b.route = "/services/oauth2/token"
	}
	b.Server = idptest.New(idptest.Config{Persona: persona, Habits: habits, Mark: mark})
	t.Cleanup(func() { b.Close() })
	var err error
	if b.base, err = b.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(b.dir, ".state")
	b.env = append(os.Environ(), "HOME="+b.dir, "XDG_STATE_HOME="+state, "TMPDIR="+state, "TZ=UTC", "HTTP_PROXY=", "http_proxy=")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	b.path = filepath.Join(b.dir, "token.json")
	b.write(b.login().TokenFile())
	return b
}

// search looks for tokens in all that is left when the test is over.
func (b *bed) search() {
	err := b.sieve.left(b.dir, filepath.Base(b.path))
	leaks, err2 := b.sieve.close()
	if err := errors.Join(err, err2); err != nil || len(leaks) > 0 {
		b.t.Errorf("tokens in %q: %v", leaks, err)
	}
}

// login makes a new grant without writing it anywhere.
func (b *bed) login() idptest.Grant {
	g := b.NewGrant(idptest.GrantSpec{ClientID: clientID, IdentityBase: "https://login.salesforce.com"})
	b.grant = g
	b.id = g.ID
	return g
}

func (b *bed) write(text []byte) {
	b.t.Helper()
	if err := os.WriteFile(b.path, text, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) read() string {
	b.t.Helper()
	text, err := os.ReadFile(b.path)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

// identity are the flags of a first run.
func (b *bed) identity() []string {
	return []string{"--client-id", clientID, "--token-url", b.base + b.route}
}

// first makes the first refresh.
func (b *bed) first() {
	b.t.Helper()
	if r := b.run(append([]string{"refresh", b.path}, b.identity()...)...); r.code != 0 {
		b.t.Fatalf("the first refresh: %+v", r)
	}
}

// sent counts the token requests for the grant.
func (b *bed) sent() int { return len(b.TokenRequests(b.id)) }

// ran is what a caller of the program sees.
type ran struct {
	code           int
	stdout, stderr string
}

func (b *bed) run(args ...string) ran {
	b.t.Helper()
	return b.start(args...)()
}

// start starts the program; the returned function waits for its end.
func (b *bed) start(args ...string) func() ran {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	c := exec.CommandContext(ctx, "evergrant", args...)
	runAs(b.t, c, b.as)
	c.Env, c.Dir = b.env, b.dir
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Start(); err != nil {
		cancel()
		b.t.Fatal(err)
	}
	return func() ran {
		b.t.Helper()
		defer cancel()
		var exit *exec.ExitError
		if err := c.Wait(); err != nil && !errors.As(err, &exit) {
			b.t.Fatal(err)
		}
		b.sieve.told(stdout.String(), stderr.String(), asksForToken(args))
		return ran{c.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	}
}

// asksForToken reports whether a command line asks for a token on stdout.
func asksForToken(args []string) bool {
	return slices.Contains([]string{"token", "exec", "git-credential", "export"}, args[0]) || slices.Contains(args, "--show-token")
}

// wantHint checks what every failure owes a person: a message, a next step, no
// token.
func (r ran) wantHint(t *testing.T) {
	t.Helper()
	if !strings.HasPrefix(r.stderr, "evergrant: ") && !strings.Contains(r.stderr, "\nevergrant: ") || !strings.Contains(r.stderr, "\nhint: ") {
		t.Errorf("no message or no hint: %q", r.stderr)
	}
	if strings.Contains(r.stdout+r.stderr, mark) {
		t.Errorf("a token was shown: %q %q", r.stdout, r.stderr)
	}
}
