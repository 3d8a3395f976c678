//go:build amd64 || arm64

package crashtest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

// mark is in every token that a test makes. Where it shows up in an output or
// a side file, a secret has leaked (P7).
const mark = "EGCANARY"

// A scene is one command against one kind of server, to be broken at each of
// its system calls.
type scene struct {
	name    string
	command []string // without the file and the flags that name the grant
	persona idptest.Persona
	habits  idptest.Habits
	expired bool          // the access token has ended before the command runs
	grace   bool          // the command knows the server's grace window
	timeout time.Duration // of the broken run: bounds the deadline of its request, which later runs wait for; 0: 3 s
	stops   bool          // the command goes on until it is told to stop

	// first breaks an earlier run of the same command, so that the one in the
	// scene has something to recover from.
	first func(call) trouble
}

// A bed is one grant at a server of its own, with its token file and all that
// a process may write: nothing is shared between two beds.
type bed struct {
	scene
	root  string // of everything below
	box   string // the token file's folder, which holds nothing else
	file  string
	idp   *idptest.Server
	base  string
	grant idptest.Grant
	old   []byte // the token file as it was written
	began int    // requests that had been processed before the scene
	said  string // where the output of a traced process goes
}

// newBed makes a bed under root, which must be empty. The box is in there
// unless the caller says otherwise by making it first.
func newBed(sc scene, root string) (*bed, error) {
	if sc.timeout == 0 {
		sc.timeout = 3 * time.Second
	}
	b := &bed{scene: sc, root: root, box: filepath.Join(root, "box"), said: root}
	b.file = filepath.Join(b.box, "token.json")
	h := sc.habits
	h.MaxApprovals = -1
	b.idp = idptest.New(idptest.Config{Persona: sc.persona, Habits: h, Mark: mark})
	var err error
	if b.base, err = b.idp.Listen("127.0.0.1:0"); err != nil {
		return nil, err
	}
	for _, dir := range []string{"box", "home", "state", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			return nil, err
		}
	}
	if sc.expired {
		b.idp.Advance(-3 * time.Hour)
	}
	b.grant = b.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	if sc.expired {
		b.idp.Advance(3 * time.Hour)
	}
	b.old = b.grant.TokenFile()
	if err := os.WriteFile(b.file, b.old, 0o600); err != nil {
		return nil, err
	}
	if sc.expired && sc.persona == idptest.Generic { // its lifetime counts from the file's time
		ago := time.Now().Add(-3 * time.Hour)
		err = os.Chtimes(b.file, ago, ago)
	}
	if sc.grace {
		err = errors.Join(err, os.WriteFile(filepath.Join(root, "catalog.json"), []byte(graceCatalog), 0o600))
	}
	if sc.first != nil && err == nil {
		_, _, err = b.follow(b.args(b.timeout, b.command...), sc.first)
		b.began = b.processed()
	}
	return b, err
}

// graceCatalog is a provider whose spent refresh tokens are honoured for a
// minute, as the scenes with grace have it.
const graceCatalog = `{
  "name": "graceful", "title": "Graceful",
  "endpoints": {"token": "https://token.graceful.example/token"},
  "refresh": {"rotates": "always", "grace": "1m", "reuse": "revokes"}
}`

// close ends the bed. Its server's ledger has been judged then.
func (b *bed) close() {
	n := b.sent()
	total.add(func(c *counts) { c.requests += n })
	b.idp.Close()
}

// args is a command line for this bed's token file.
func (b *bed) args(timeout time.Duration, command ...string) []string {
	args := append(slices.Clone(command), b.file, "-v", "--client-id", "app", "--timeout", timeout.String())
	switch {
	case b.grace:
		args = append(args, "--catalog", filepath.Join(b.root, "catalog.json"), "--provider", "graceful")
	case b.persona == idptest.Salesforce:
		args = append(args, "--provider", "salesforce")
	}
	path := "/token"
	if b.persona == idptest.Salesforce {
		path = "/services/oauth2/token"
	}
	return append(args, "--token-url", b.base+path)
}

// env is all a process gets: nothing of the machine's leaks in, and what is
// rescued lands under root. One processor and no preemption by signals keep
// the calls of the exchange on one thread, so that the N-th call is the same
// one each time.
func (b *bed) env() []string {
	dir := func(name string) string { return filepath.Join(b.root, name) }
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir("home"), "XDG_STATE_HOME=" + dir("state"), "TMPDIR=" + dir("tmp"),
		"GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1",
	}
}

// A result is what a process said and how it ended.
type result struct {
	args     []string
	out, err string
	exit     int            // -1: ended by a signal
	signal   syscall.Signal // that ended it; 0: none
	proc     string         // its arguments and environment as /proc showed them where it was broken; "": not looked at
}

func (r result) String() string {
	how := fmt.Sprintf("exit %d", r.exit)
	if r.signal != 0 {
		how = r.signal.String()
	}
	return fmt.Sprintf("%s: %s\n\tstdout %q\n\tstderr %q", strings.Join(r.args[:min(2, len(r.args))], " "), how, r.out, r.err)
}

// start prepares a process of name with the bed's environment.
func (b *bed) start(name string, args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	cmd := exec.Command(name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env, cmd.Dir = &out, &errs, b.env(), b.root
	cmd.WaitDelay = 5 * time.Second // a killed strace may leave a child that holds the pipes
	return cmd, &out, &errs
}

// ended makes a result of a process that was waited for.
func ended(cmd *exec.Cmd, out, errs *bytes.Buffer, args []string) result {
	r := result{args: args, out: out.String(), err: errs.String(), exit: -1}
	if st, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok {
		if st.Signaled() {
			r.signal = st.Signal()
		} else {
			r.exit = st.ExitStatus()
		}
	}
	return r
}

// run is one fresh, unbroken process.
func (b *bed) run(command ...string) (result, error) {
	args := b.args(20*time.Second, command...)
	cmd, out, errs := b.start(binary, args...)
	err := cmd.Run()
	if cmd.ProcessState == nil {
		return result{}, err
	}
	return ended(cmd, out, errs, args), nil
}

// sent is how many token requests of the grant have arrived.
func (b *bed) sent() int { return len(b.idp.TokenRequests(b.grant.ID)) }

// processed is how many of them took effect.
func (b *bed) processed() int {
	n := 0
	for _, e := range b.idp.TokenRequests(b.grant.ID) {
		if e.Processed {
			n++
		}
	}
	return n
}

// stored reads the token file: the two tokens, or why it is not one.
func (b *bed) stored() (access, refresh string, err error) {
	data, err := os.ReadFile(b.file)
	if err != nil {
		return "", "", err
	}
	var f struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return "", "", fmt.Errorf("the token file is cut or mixed: %w", err)
	}
	return f.Access, f.Refresh, nil
}

// journal is the part of the side file that tests look into: to wait for a
// deadline, and to see that nothing is left open.
type journal struct {
	Generation uint64 `json:"generation"`
	Intent     *struct {
		Phase    string    `json:"phase"`
		Deadline time.Time `json:"deadline"`
	} `json:"intent"`
	Doubt *struct {
		Deadline time.Time `json:"deadline"`
	} `json:"doubt"`
}

func (b *bed) side() string { return filepath.Join(b.box, ".token.json.evergrant") }

func (b *bed) journal() (journal, error) {
	data, err := os.ReadFile(b.side())
	if errors.Is(err, os.ErrNotExist) {
		return journal{}, nil
	}
	var j journal
	if err == nil {
		err = json.Unmarshal(data, &j)
	}
	return j, err
}

// rescued lists the files that were put aside.
func (b *bed) rescued() []string {
	var all []string
	for _, dir := range []string{"state", "tmp", "home"} {
		filepath.WalkDir(filepath.Join(b.root, dir), func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				all = append(all, path)
			}
			return nil
		})
	}
	return all
}

// whenSettled ticks once the token file has a new token, or after a while.
func (b *bed) whenSettled() <-chan time.Time {
	c := make(chan time.Time, 1)
	go func() {
		for range 100 {
			time.Sleep(20 * time.Millisecond)
			if j, err := b.journal(); err == nil && j.Generation > 0 && j.Intent == nil && b.processed() > b.began {
				break
			}
		}
		c <- time.Now().Add(100 * time.Millisecond)
	}()
	return c
}
