package faultmatrix_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
	"github.com/evergrant/evergrant/provider"
)

// slept: nobody asks for eight hours, then many at once.
func slept(tr *trial) {
	tr.begin(idptest.Config{Habits: rotating})
	tr.bubble(1, func(t *testing.T, all []*kept) {
		k := all[0]
		k.token(t)
		before := k.requests()
		time.Sleep(8 * time.Hour)
		if n := k.requests(); n != before {
			t.Errorf("%d requests while nobody asked", n-before)
		}
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() { k.token(t) })
		}
		callers.Wait()
		if n := k.requests(); n != before+1 {
			t.Errorf("%d requests after it, want 1", n-before)
		}
	})
}

// spread: grants that were refreshed in the same moment are not all due in the
// same moment again, and none before its margin.
func spread(tr *trial) {
	tr.begin(idptest.Config{Habits: rotating})
	tr.bubble(40, func(t *testing.T, all []*kept) {
		for _, k := range all {
			if _, err := k.src.Refresh(t.Context(), evergrant.RefreshOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		const step = 20 * time.Second
		due := map[time.Duration]int{} // grants by the time of their next refresh
		for at := step; at < time.Hour; at += step {
			time.Sleep(step)
			for _, k := range all {
				if k.requests() > 1 {
					continue
				}
				if k.token(t); k.requests() > 1 {
					due[at]++
				}
			}
		}
		n, most := 0, 0
		for at, grants := range due {
			n, most = n+grants, max(most, grants)
			if at < 45*time.Minute {
				t.Errorf("%d grants were refreshed after %v of an hour", grants, at)
			}
		}
		if n != len(all) || len(due) < 5 || most > len(all)/2 {
			t.Errorf("%d of %d grants, by their time: %v", n, len(all), due)
		}
	})
}

// A kept is one grant in simulated time: a server for it alone, and who keeps
// it.
type kept struct {
	idp *idptest.Server
	id  string
	src *evergrant.Source
}

func (k *kept) requests() int { return len(k.idp.TokenRequests(k.id)) }

func (k *kept) token(t *testing.T) {
	t.Helper()
	if _, err := k.src.Token(t.Context()); err != nil {
		t.Error(err)
	}
}

// bubble lets some grants with a lifetime of an hour live in simulated time.
func (tr *trial) bubble(n int, play func(*testing.T, []*kept)) {
	synctest.Test(tr.t, func(t *testing.T) {
		store := new(evergrant.Memory)
		var all []*kept
		for i := range n {
			k := &kept{idp: idptest.New(idptest.Config{Habits: rotating, Mark: tokenMark})}
			g := k.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
			k.id = g.ID
			cfg := evergrant.Config{ClientID: "app", TokenURL: "http://127.0.0.1/token", RescueDirs: []string{}}
			cfg.HTTP.Dial = func(context.Context, string, string) (net.Conn, error) { return piped(k.idp), nil }
			name := fmt.Sprint("g", i)
			tr.must(evergrant.Create(t.Context(), store, name, g.TokenFile(), cfg))
			var err error
			k.src, err = evergrant.Open(store, name, cfg)
			tr.must(err)
			defer k.src.Close()
			all = append(all, k)
		}
		play(t, all)
	})
}

// forked: a child that is started while the lock is held does not have it.
func forked(tr *trial) {
	tr.begin(idptest.Config{Habits: rotating})
	tr.cfg.CallTimeout = 20 * time.Second
	if runtime.GOOS != "linux" {
		tr.t.Skip("skipped: it needs /proc")
	}
	s := tr.open()
	tr.idp.HoldUntilReleased()
	done := make(chan error, 1)
	go func() {
		_, err := s.Refresh(context.Background(), evergrant.RefreshOptions{})
		done <- err
	}()
	for end := time.Now().Add(5 * time.Second); tr.idp.Waiting() == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	child := exec.Command("sleep", "60")
	tr.must(child.Start())
	if mine, theirs := lockFiles(tr, "self"), lockFiles(tr, fmt.Sprint(child.Process.Pid)); mine == 0 || theirs != 0 {
		tr.t.Errorf("the lock file is open %d times here and %d times in the child", mine, theirs)
	}
	tr.idp.Release()
	tr.must(<-done)
	tr.must(s.Close())
	if r, e := tr.refresh(); outcomeOf(r, e) != evergrant.Fresh {
		tr.t.Errorf("beside the child: %v", e)
	}
	tr.must(child.Process.Kill())
	child.Wait() // it was killed
}

// lockFiles counts the descriptors of a process that lead to the lock file.
func lockFiles(tr *trial, pid string) (n int) {
	fds, err := filepath.Glob("/proc/" + pid + "/fd/*")
	tr.must(err)
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, tr.dir) && strings.HasSuffix(to, ".evergrant.lock") {
			n++
		}
	}
	return n
}

// otherEndpoint: what identifies the grant was remembered with the first
// refresh, and an edit of the document moves it nowhere.
func otherEndpoint(tr *trial) {
	tr.begin(idptest.Config{Habits: rotating})
	if r, e := tr.refresh(); outcomeOf(r, e) != evergrant.Fresh {
		tr.t.Fatal(e)
	}
	trap, err := net.Listen("tcp", "127.0.0.1:0")
	tr.must(err)
	tr.ends(func() { trap.Close() })
	var met atomic.Int32
	go func() {
		for c, err := trap.Accept(); err == nil; c, err = trap.Accept() {
			met.Add(1)
			c.Close()
		}
	}()
	url := "https://" + trap.Addr().String() + "/token"
	known := fmt.Sprintf(`{"name": "trap", "title": "Trap", "endpoints": {"token": %q}}`, url) // a first run would believe it
	tr.cfg.Catalog, err = provider.LoadFS(fstest.MapFS{"trap.json": {Data: []byte(known)}})
	tr.must(err)
	doc, err := os.ReadFile(tr.path)
	tr.must(err)
	var members strings.Builder
	for _, name := range []string{"token_endpoint", "token_uri", "token_url", "tokenUrl", "issuer", "iss", "instance_url", "refresh_url"} {
		fmt.Fprintf(&members, "%q: %q,", name, url)
	}
	tr.must(os.WriteFile(tr.path, bytes.Replace(doc, []byte("{"), []byte("{"+members.String()), 1), 0o600))
	tr.cfg.TokenURL, tr.cfg.ClientID = "", "" // nothing but the file and what was remembered
	if r, e := tr.refresh(); outcomeOf(r, e) != evergrant.Fresh {
		tr.t.Error(e)
	}
	if n := tr.requests(); n != 2 || met.Load() != 0 {
		tr.t.Errorf("%d requests, and %d where the edit points to", n, met.Load())
	}
}

// unreadableState: what cannot be understood is no reason to send, and stays
// for a person to look at.
func unreadableState(tr *trial) {
	tr.begin(idptest.Config{Habits: rotating})
	if r, e := tr.refresh(); outcomeOf(r, e) != evergrant.Fresh {
		tr.t.Fatal(e)
	}
	side := filepath.Join(tr.dir, ".token.json.evergrant")
	good, err := os.ReadFile(side)
	tr.must(err)
	for name, state := range map[string]string{"cut": string(good[:len(good)/2]), "no JSON": "\x00\x01", "an array": "[]", "of a later version": `{"version": 99}`} {
		tr.must(os.WriteFile(side, []byte(state), 0o600))
		s, err := evergrant.OpenFile(tr.path, tr.cfg)
		if err == nil {
			_, err = s.Refresh(tr.t.Context(), evergrant.RefreshOptions{})
			s.Close()
		}
		if e := tr.failure(err); e == nil || e.Class != evergrant.ErrStorage || tr.requests() != 1 {
			tr.t.Errorf("%s: %v, after %d requests", name, e, tr.requests())
		}
		if now, err := os.ReadFile(side); err != nil || string(now) != state {
			tr.t.Errorf("%s: it was written over: %q, %v", name, now, err)
		}
	}
	tr.must(os.WriteFile(side, good, 0o600))
	if r, e := tr.refresh(); outcomeOf(r, e) != evergrant.Fresh {
		tr.t.Error(e)
	}
}
