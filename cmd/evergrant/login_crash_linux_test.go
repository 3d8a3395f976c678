package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

// A moment is when a login is killed: before the n-th of the calls on the files
// of the grant, as strace(1) counts them; it counts by thread, so that which one
// is hit varies from run to run. Where seen is set the calls are slow instead,
// and the login is killed when it reports true.
type moment struct {
	call string
	n    int
	seen func(b *bed, before string) bool
}

func (m moment) String() string {
	if m.seen != nil {
		return "slow_" + m.call
	}
	return fmt.Sprintf("%s_%d", m.call, m.n)
}

func moments() (all []moment) {
	for call, last := range map[string]int{"openat": 5, "flock": 2, "fallocate": 1, "ftruncate": 1, "write": 3, "fsync": 3, "renameat": 2, "renameat2": 1, "unlinkat": 2, "newfstatat": 5, "close": 3} {
		for n := 1; n <= last; n++ {
			all = append(all, moment{call: call, n: n})
		}
	}
	return append(all,
		moment{call: "renameat", seen: func(b *bed, before string) bool { return text(b.path) != before }},                   // in its place, and the journal still open
		moment{call: "renameat2", seen: func(b *bed, _ string) bool { return strings.Contains(text(b.side()), `"brings"`) }}) // not in its place yet
}

func (b *bed) side() string { return filepath.Join(b.dir, ".token.json.evergrant") }

// straced is evergrant under strace, killed at this moment.
func (b *bed) straced(m moment, args ...string) *exec.Cmd {
	b.t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		b.t.Fatal("this test needs strace: apt-get install strace")
	}
	program, err := exec.LookPath("evergrant")
	if err != nil {
		b.t.Fatal(err)
	}
	inject := fmt.Sprintf("inject=%s:signal=KILL:when=%d", m.call, m.n)
	if m.seen != nil {
		inject = "inject=" + m.call + ":delay_enter=300000"
	}
	opts := []string{"-f", "-qq", "-o", filepath.Join(b.dir, ".state", "trace"), "-e", "trace=" + m.call, "-e", inject,
		"-P", b.path, "-P", b.side(), "-P", b.side() + ".lock", "-P", b.dir}
	ctx, kill := context.WithCancel(b.t.Context())
	b.t.Cleanup(kill)
	c := exec.CommandContext(ctx, strace, append(append(opts, program), args...)...)
	c.Env, c.Dir = append(b.env, "GOMAXPROCS=1"), b.dir // few threads: most moments come where they are counted
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	if m.seen != nil {
		go func() {
			for before := text(b.path); ctx.Err() == nil && !m.seen(b, before); {
				time.Sleep(time.Millisecond)
			}
			kill()
		}()
	}
	return c
}

// text is what a file holds; "" if there is none.
func text(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
}

// person runs a login that prints its address, goes there and pastes where that
// led. It reports whether the login was killed.
func (b *bed) person(m moment, args ...string) (killed bool) {
	b.t.Helper()
	c := b.straced(m, args...)
	in, err := c.StdinPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	said, err := c.StderrPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		b.t.Fatal(err)
	}
	browser := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	var all strings.Builder
	for s := bufio.NewScanner(said); s.Scan(); {
		all.WriteString(s.Text() + "\n")
		if link, ok := strings.CutPrefix(s.Text(), "  http"); ok {
			resp, err := browser.Get("http" + link)
			if err != nil {
				b.t.Fatal(err)
			}
			resp.Body.Close()
			fmt.Fprintln(in, resp.Header.Get("Location"))
		}
	}
	killed = b.ended(c.Wait(), all.String())
	if m.seen != nil && !killed {
		b.t.Error("the moment was missed")
	}
	return killed
}

// ended tells a login that was killed from one that was done.
func (b *bed) ended(err error, said string) (killed bool) {
	b.t.Helper()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return false
	case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
		return true
	}
	b.t.Errorf("the login ended with %v: %s", err, said)
	return false
}

// whole checks that the file holds tokens of one grant, that its refresh token
// is the one the provider accepts, and that the next refresh and the one after
// it work.
func (b *bed) whole(refreshes int) {
	b.t.Helper()
	for i := range refreshes + 1 {
		var doc struct {
			Refresh string `json:"refresh_token"`
		}
		if err := json.Unmarshal([]byte(b.read()), &doc); err != nil {
			b.t.Fatalf("the file is torn: %v", err)
		}
		if id, _, living := b.Find(doc.Refresh); !living {
			b.t.Fatalf("after %d refreshes the file holds a refresh token of the grant %q that is spent", i, id)
		}
		if i == refreshes {
			break
		}
		if r := b.run("refresh", b.path); r.code != 0 {
			b.t.Fatalf("refresh %d after the login: %+v", i+1, r)
		}
	}
	if left, _ := filepath.Glob(b.side() + ".*.tmp"); len(left) > 0 {
		b.t.Errorf("left behind: %q", left)
	}
}

// unspent checks that no refresh token was presented twice.
func (b *bed) unspent() {
	b.t.Helper()
	for _, id := range b.Grants() {
		for _, e := range b.TokenRequests(id) {
			if e.Verdict == idptest.Reuse {
				b.t.Errorf("request %d presents the spent refresh token %d of %s", e.Seq, e.Generation, id)
			}
		}
	}
}

// killedLogins runs f once for each moment.
func killedLogins(t *testing.T, f func(b *bed, m moment) (killed bool)) {
	if raced {
		t.Skip("many processes: the same without the race detector")
	}
	t.Parallel()
	kills := 0
	for _, m := range moments() {
		if testing.Short() && m.n > 1 {
			continue
		}
		t.Run(m.String(), func(t *testing.T) {
			b := newBedOf(t, idptest.Generic, idptest.Habits{Rotation: true})
			if f(b, m) {
				kills++
			}
			b.unspent()
		})
	}
	if !t.Failed() && kills < 8 {
		t.Errorf("only %d logins were killed", kills)
	}
	t.Logf("%d logins killed", kills)
}

// TestKilledLoginMakesNoHalfGrant: a login into a new file that is killed leaves
// no file or a whole one, and the same login works afterwards.
func TestKilledLoginMakesNoHalfGrant(t *testing.T) {
	killedLogins(t, func(b *bed, m moment) bool {
		if err := os.Remove(b.path); err != nil {
			b.t.Fatal(err)
		}
		args := []string{"login", b.base, "--client-id", clientID, "--client-secret", "env:SECRET", "--grant", "client_credentials", "--file", b.path}
		b.env = append(b.env, "SECRET=hush")
		out, err := b.straced(m, args...).CombinedOutput()
		killed := b.ended(err, string(out))
		if _, err := os.Stat(b.path); err == nil {
			if r := b.run("refresh", b.path); r.code != 0 {
				b.t.Errorf("refresh of what was kept: %+v", r)
			}
		} else if !killed {
			b.t.Error("nothing was kept")
		}
		if r := b.run(args...); r.code != 0 {
			b.t.Errorf("the login once more: %+v", r)
		}
		if r := b.run("refresh", b.path); r.code != 0 {
			b.t.Errorf("refresh: %+v", r)
		}
		return killed
	})
}

// TestKilledReconnect: a login of a person into the file of a living grant that
// is killed leaves the old grant or the new one, whole, and sends nothing of the
// old one.
func TestKilledReconnect(t *testing.T) {
	killedLogins(t, func(b *bed, m moment) bool {
		b.first()
		old := b.id
		killed := b.person(m, "login", b.base, "--client-id", clientID, "--no-browser", "--file", b.path)
		if b.sent() != 1 {
			b.t.Errorf("the login sent the refresh token of before %d times", b.sent()-1)
		}
		b.whole(2)
		if st := b.GrantState(old); st.Revoked {
			b.t.Errorf("the old grant was revoked: %s", st.Why)
		}
		return killed
	})
}

// TestKilledReconnectOfAnotherClient: as TestKilledReconnect; and the tokens of
// one client never go out for the other one.
func TestKilledReconnectOfAnotherClient(t *testing.T) {
	killedLogins(t, func(b *bed, m moment) bool {
		b.first()
		killed := b.person(m, "login", b.base, "--client-id", "second", "--no-browser", "--file", b.path)
		b.whole(1)
		for _, id := range b.Grants() {
			for _, e := range b.TokenRequests(id) {
				if want := map[bool]string{true: clientID, false: "second"}[id == b.id]; e.ClientID != want {
					b.t.Errorf("request %d sends the refresh token of %s as %s", e.Seq, want, e.ClientID)
				}
			}
		}
		return killed
	})
}
