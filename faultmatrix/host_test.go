package faultmatrix_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

func hostRows() []row {
	const fresh = evergrant.Fresh
	return []row{
		{"3.3-1", "killed", []fault{
			{name: "at each system call that touches file, side file or socket", says: "the next run heals; a loss only where the reply was not written yet", proof: by("crashtest TestKill")},
			{name: "while another process waits for the lock", says: "one request", proof: by("crashtest TestPair")},
			{name: "while it replaces a file", says: "old or new, never torn", proof: by("internal/lockedfile TestKilledAnywhere")},
			{name: "while the answer is stored, by the clock", says: "old or new, never torn", proof: by("conformance crash/storing")},
		}},
		{"3.3-2", "errors of the file system", []fault{
			{name: "ENOSPC, EIO, EROFS, EDQUOT, EINTR, EACCES, EMFILE at each system call", says: "nothing sent, or stored, or in the file that the message names; the next run heals", proof: by("crashtest TestError")},
			{name: "full disk before", says: "refused, nothing sent", proof: by("cmd/evergrant TestMounts/a full disk")},
			{name: "full disk while the answer travels", says: "stored: the room was taken before", proof: by("cmd/evergrant TestMounts/a disk that is full while the answer travels")},
			{name: "read-only file system", says: "refused, nothing sent", proof: by("cmd/evergrant TestMounts/a read-only file system")},
			{name: "EXDEV: the file is a mount of its own", says: "refused, nothing sent", proof: by("cmd/evergrant TestMounts/a file that is a mount of its own")},
			{name: "no file may grow at all", says: "refused, nothing sent", proof: around(`ulimit -f 0; `+plain, 6)},
			{name: "short writes by a limit of 512 bytes a file", says: "stored, or refused and nothing sent", proof: around(`ulimit -f 1; `+plain, 0, 6)},
			{name: "the store fails after the answer came", says: "held in memory, then in a rescue file; nothing more is sent", proof: by(". TestP2HeldInMemory", ". TestP2DurableBeforeUsed", ". TestRescueElsewhereIsNotForgotten")},
		}},
		{"3.3-3", "fsync fails once and then says it went well", []fault{
			{name: "on the answer", says: "written anew to another file", proof: by("internal/lockedfile TestFailedSync", "crashtest TestError")},
		}},
		{"3.3-4", "power cut", []fault{
			{name: "after every write point, on ext4, xfs and btrfs", says: "what was acknowledged is durable", proof: by("crashtest TestPowerCut", "internal/lockedfile TestPowerCut")},
			{name: "the order of syncs", says: "answer, exchange, folder", proof: by("internal/lockedfile TestOrderOfSyncs", ". TestP2SyncedBeforeUsed")},
		}},
		{"3.3-5", "many at once", []fault{
			{name: "64 processes on one file", says: "one request for each generation", proof: by("cmd/evergrant TestCrowd", ". TestP1OneRefreshPerGeneration", "conformance races/together")},
			{name: "histories of processes", says: "linearizable", proof: by(". TestHistories")},
			{name: "goroutines of one process", says: "one flight", proof: by(". TestP1OneFlightInProcess", ". TestP1FlightIsShared")},
			{name: "16 goroutines with a source each", want: fresh, says: "one request", proof: shows(crowd)},
			{name: "fork: a child inherits the lock's descriptor", want: fresh, says: "it does not: the child has no such descriptor, and the next refresh has the lock beside it", proof: shows(forked)},
		}},
		{"3.3-6", "locks that hold nothing", []fault{
			{name: "flock answers ENOSYS, ENOLCK or EOPNOTSUPP", says: "refused, nothing sent", proof: by("internal/lockedfile TestErrorsOfTheSystem", "crashtest TestError")},
			{name: "a network file system whose locks other machines do not see", says: "refused, nothing sent", proof: by("internal/lockedfile TestNetworkKinds", "internal/lockedfile TestNetworkLocal")},
			{name: "a file system that grants every lock", says: "found by a second process", proof: notYet("needs a file system that lies; the kind of mount is asked instead")},
			{name: "a lock of any age", says: "nothing is stolen from a living holder", proof: by("internal/lockedfile TestAcquireEndsWithContext", "internal/lockedfile TestAcquireWaitsForRelease")},
		}},
		{"3.3-7", "the lock file is tampered with", []fault{
			{name: "deleted while held", says: "its holder sends and writes nothing more", proof: by(". TestDeletedLockStopsItsHolder", "internal/lockedfile TestLockFileDeletedWhileHeld")},
			{name: "replaced while somebody waits", says: "the inode is looked at again", proof: by("internal/lockedfile TestLockFileReplacedWhileWaiting")},
			{name: "a symbolic link, a folder, another user's", says: "refused", proof: by("internal/lockedfile TestLockFileRefused", "internal/lockedfile TestOtherUsers")},
			{name: "a symbolic link in its place", says: "refused, nothing sent, the link's target untouched", proof: shows(linkedLock)},
		}},
		{"3.3-8", "clocks", []fault{
			{name: "set back, also across a start", says: "opens no grace window, keeps the grant", proof: by(". TestClockSetBackOpensNoGrace")},
			{name: "a year ahead", says: "silences nobody", proof: by(". TestClockAheadSilencesNobody")},
			{name: "the server's, years off, jumping and drifting, for years", says: "no loss, no loop", proof: by("simworld TestWorld")},
			{name: "the exchange's deadline while the clock jumps", says: "by both clocks", proof: by("oauth TestWallClock", "oauth TestWallClockBeforeSending")},
			{name: "19 January 2038, in the program's own clock", want: fresh, proof: shows(func(tr *trial) { inYear(tr, time.Date(2038, 1, 19, 3, 14, 0, 0, time.UTC)) })},
			{name: "7 February 2106, in the program's own clock", want: fresh, proof: shows(func(tr *trial) { inYear(tr, time.Date(2106, 2, 7, 6, 28, 0, 0, time.UTC)) })},
			{name: "29 February and the end of a year", want: fresh, proof: shows(func(tr *trial) { inYear(tr, time.Date(2024, 2, 29, 23, 30, 0, 0, time.UTC)) })},
			{name: "an expiry in 1969, 2038, 2106 or 9999 in the file", says: "ended or good, and refreshed all the same", proof: shows(expiries)},
			{name: "daylight saving", says: "all times are UTC", proof: around(`TZ=Europe/Berlin `+plain, 0)},
		}},
		{"3.3-9", "suspend", []fault{
			{name: "for hours between two calls", want: fresh, says: "one request for all who ask afterwards", proof: shows(slept)},
			{name: "during the exchange", says: "ends by the wall clock", proof: by("oauth TestWallClock")},
			{name: "a keeper that waits", says: "looks again", proof: by("cmd/evergrant TestScripts/watch", "cmd/evergrant TestScripts/watch-patience")},
		}},
		{"3.3-10", "asked to stop", []fault{
			{name: "SIGTERM at each system call", says: "finished or not begun, nothing in doubt", proof: by("crashtest TestTerminate")},
			{name: "before sending, and after", says: "the intent is cleared; the answer is waited for and stored", proof: by("cmd/evergrant TestScripts/signal-before", "cmd/evergrant TestScripts/signal-after")},
			{name: "the caller leaves in the middle", want: fresh, says: "the exchange goes on and is stored", proof: shows(abandoned)},
		}},
		{"3.3-11", "scarce resources", []fault{
			{name: "out of memory: killed", says: "as any kill", proof: by("crashtest TestKill")},
			{name: "GOMEMLIMIT of 1 MiB", says: "slower", proof: around(`GOMEMLIMIT=1MiB `+plain, 0)},
			{name: "no descriptor left at each system call", says: "nothing sent, or stored", proof: by("crashtest TestError")},
			{name: "six descriptors in all", says: "works, or the runtime ends it before it sends", proof: around(`ulimit -n 6; `+plain, 0, 2, 4, 6)},
			{name: "ten descriptors in all", says: "works, or fails before it sends", proof: around(`ulimit -n 10; `+plain, 0, 2, 4, 6)},
			{name: "no more processes", says: "the runtime ends before main, or it works", proof: notYet("the limit does not bind root, and threads are the runtime's")},
		}},
		{"3.3-12", "closed standard streams", []fault{
			{name: "stdin closed", says: "works", proof: around(plain+` <&-`, 0)},
			{name: "stdout closed", says: "the token is durable, exit code 1", proof: around(plain+` >&-`, 0, 1)},
			{name: "stderr closed", says: "works", proof: around(plain+` 2>&-`, 0)},
			{name: "all three closed", says: "the token is durable; no file of ours takes a stream's number", proof: around(plain+` <&- >&- 2>&-`, 0, 1)},
			{name: "a full device, and a reader that left", says: "the token is durable", proof: by("cmd/evergrant TestScripts/output-lost")},
		}},
		{"3.3-13", "strange surroundings", []fault{
			{name: "no HOME and no environment", says: "works: the rescue folder is needed only in need", proof: around(`exec env -i "$0" "$@"`, 0)},
			{name: "HOME that does not exist", says: "works", proof: around(`HOME=/nonexistent XDG_STATE_HOME= `+plain, 0)},
			{name: "umask 000", says: "side files are private all the same", proof: shows(umask)},
			{name: "umask 777", says: "works: modes are set, not inherited", proof: around(`umask 777; `+plain, 0)},
			{name: "a read-only folder", says: "refused, nothing sent; a good token is served", proof: by("cmd/evergrant TestOwners/a folder that this user can't write")},
			{name: "a tmpfs", says: "works", proof: by("cmd/evergrant TestMounts/a full disk")},
			{name: "run as root on another user's file", says: "owner and mode stay", proof: by("cmd/evergrant TestOwners/root keeps the owner", "internal/lockedfile TestRootKeepsForeignOwner")},
			{name: "another user's file", says: "refused", proof: by("cmd/evergrant TestOwners/another user's file is refused")},
		}},
		{"3.3-14", "token files in every form", []fault{
			{name: "CRLF, tabs, byte order mark, unknown members, a mebibyte", says: "no other byte changes", proof: by("cmd/evergrant TestForms", "conformance format/bytes", "conformance format/bom", "conformance format/crlf")},
			{name: "UTF-16", says: "stays UTF-16", proof: by("cmd/evergrant TestUTF16")},
			{name: "numbers of 100,000 digits", want: fresh, says: "kept to the digit", proof: shows(longNumbers)},
			{name: "comments", want: "", says: "refused: not JSON, nothing sent", proof: shows(comments)},
			{name: "random documents and answers", says: "only the values change", proof: by("internal/tokenfile TestMergeRandom", "internal/tokenfile TestEditInEveryFormat")},
			{name: "hard link", says: "refused, nothing sent", proof: by("cmd/evergrant TestPlaces/a hard link is refused")},
			{name: "symbolic link", says: "stays one; its target is replaced", proof: by("cmd/evergrant TestPlaces/a symbolic link stays one", "conformance format/symlink")},
		}},
	}
}

// crowd refreshes one file from many sources at once.
func crowd(tr *trial) {
	tr.begin(idptest.Config{Habits: rotating})
	tr.cfg.CallTimeout = 20 * time.Second
	const n = 16
	var sources []*evergrant.Source
	for range n {
		sources = append(sources, tr.open())
	}
	failed := make(chan *evergrant.Error, n)
	tr.idp.HoldUntilReleased() // all have begun before the first is through
	var begun sync.WaitGroup
	begun.Add(n)
	for _, s := range sources {
		go func() {
			defer s.Close()
			begun.Done()
			_, err := s.Refresh(context.Background(), evergrant.RefreshOptions{})
			failed <- tr.failure(err)
		}()
	}
	begun.Wait()
	time.Sleep(100 * time.Millisecond)
	tr.idp.Release()
	for range n {
		if e := <-failed; e != nil {
			tr.t.Errorf("one of them: %v", e)
		}
	}
	if got := tr.requests(); got != 1 {
		tr.t.Errorf("%d requests for one generation", got)
	}
}

// linkedLock puts a link where the lock file belongs.
func linkedLock(tr *trial) {
	tr.begin(idptest.Config{Habits: rotating})
	target, lock := filepath.Join(tr.dir, "precious"), filepath.Join(tr.dir, ".token.json.evergrant.lock")
	tr.must(os.WriteFile(target, []byte("mine"), 0o600))
	if err := os.Symlink(target, lock); err != nil {
		tr.t.Skipf("skipped: this system allows no symbolic link: %v", err)
	}
	if _, e := tr.refresh(); e == nil || e.Class != evergrant.ErrStorage || tr.requests() != 0 {
		tr.t.Errorf("%v, after %d requests", e, tr.requests())
	}
	if b, err := os.ReadFile(target); err != nil || string(b) != "mine" {
		tr.t.Errorf("the link's target is %q, %v", b, err)
	}
	tr.must(os.Remove(lock))
	if r, e := tr.refresh(); outcomeOf(r, e) != evergrant.Fresh {
		tr.t.Error(e)
	}
}

// abandoned: the caller's context ends while the answer is on its way.
func abandoned(tr *trial) {
	tr.begin(idptest.Config{Habits: rotating})
	tr.cfg.CallTimeout = 20 * time.Second
	s := tr.open()
	tr.idp.HoldUntilReleased()
	ctx, cancel := context.WithCancel(tr.t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.Refresh(ctx, evergrant.RefreshOptions{})
		done <- err
	}()
	for end := time.Now().Add(5 * time.Second); tr.idp.Waiting() == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err == nil {
		tr.t.Error("the caller was kept waiting for the answer")
	}
	tr.idp.Release()
	tr.must(s.Close()) // waits for what was sent
	if g := tr.idp.GrantState(tr.grant.ID); g.Generation != 2 || g.RefreshToken != tr.stored() {
		tr.t.Error("the answer was dropped")
	}
}

// inYear keeps a grant over a moment that has broken programs, in a bubble
// whose clock stands there.
func inYear(tr *trial, at time.Time) {
	tr.begin(idptest.Config{Habits: rotating})
	synctest.Test(tr.t, func(t *testing.T) {
		time.Sleep(time.Until(at))
		idp := idptest.New(idptest.Config{Habits: rotating, Mark: tokenMark})
		g := idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
		store := new(evergrant.Memory)
		cfg := evergrant.Config{ClientID: "app", TokenURL: "http://127.0.0.1/token", RescueDirs: []string{}}
		cfg.HTTP.Dial = func(context.Context, string, string) (net.Conn, error) { return piped(idp), nil }
		tr.must(evergrant.Create(t.Context(), store, "g", g.TokenFile(), cfg))
		s, err := evergrant.Open(store, "g", cfg)
		tr.must(err)
		defer s.Close()
		for range 4 { // over the moment, and on
			r, err := s.TokenFor(t.Context(), 10*time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if left := time.Until(r.Token.Expiry); left < 10*time.Minute || left > time.Hour {
				t.Errorf("at %v the token ends %v", time.Now().UTC(), r.Token.Expiry)
			}
			time.Sleep(55 * time.Minute)
		}
		if n := len(idp.TokenRequests(g.ID)); n != 3 {
			t.Errorf("%d requests for three ends of a lifetime", n)
		}
	})
}

// piped is a connection to the provider that serves one request.
func piped(idp *idptest.Server) net.Conn {
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		r, err := http.ReadRequest(bufio.NewReader(theirs))
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		rec := httptest.NewRecorder()
		idp.ServeHTTP(rec, r)
		io.WriteString(theirs, whole(rec.Body.Bytes()))
	}()
	return ours
}

// expiries are files whose access token ends at a strange time.
func expiries(tr *trial) {
	tr.begin(idptest.Config{Habits: rotating})
	for _, at := range []string{"1969-12-31T23:59:59Z", "2038-01-19T03:14:08Z", "2106-02-07T06:28:16Z", "9999-12-31T23:59:59Z"} {
		tr.login()
		doc := strings.Replace(string(tr.grant.TokenFile()), "{", fmt.Sprintf("{\"expires_at\": %q,", at), 1)
		tr.must(os.WriteFile(tr.path, []byte(doc), 0o600))
		if st := tr.status(); st.State == evergrant.StateNeedsLogin {
			tr.t.Errorf("%s: %+v", at, st)
		}
		if r, e := tr.refresh(); outcomeOf(r, e) != evergrant.Fresh {
			tr.t.Errorf("%s: %v", at, e)
		}
		if left := time.Until(tr.status().ExpiresAt); left > time.Hour || left < 50*time.Minute {
			tr.t.Errorf("%s: after the refresh it ends in %v", at, left)
		}
	}
}

// umask: nothing that the program makes is open to others.
func umask(tr *trial) {
	tr.ready(rotating)
	tr.ended(tr.shell("umask 000; "+plain, tr.env(), tr.command("refresh")...), 0)
	files, err := filepath.Glob(filepath.Join(tr.dir, ".*"))
	tr.must(err)
	for _, f := range files {
		if info, err := os.Lstat(f); err != nil || info.Mode().Perm()&0o077 != 0 {
			tr.t.Errorf("%s has mode %v, %v", filepath.Base(f), info.Mode(), err)
		}
	}
	if len(files) == 0 {
		tr.t.Error("no side file was looked at")
	}
}

func longNumbers(tr *trial) {
	tr.begin(idptest.Config{Habits: rotating})
	number := `"n": ` + strings.Repeat("7", 100_000) + `.5e-99,`
	tr.must(os.WriteFile(tr.path, []byte(strings.Replace(string(tr.grant.TokenFile()), "{", "{"+number, 1)), 0o600))
	tr.meet()
	if doc, err := os.ReadFile(tr.path); err != nil || !bytes.Contains(doc, []byte(number)) {
		tr.t.Errorf("the number is not what it was: %v", err)
	}
}

func comments(tr *trial) {
	tr.begin(idptest.Config{Habits: rotating})
	good := tr.grant.TokenFile()
	odd := append([]byte("// mine\n"), good...)
	tr.must(os.WriteFile(tr.path, odd, 0o600))
	s, err := evergrant.OpenFile(tr.path, tr.cfg)
	if err == nil {
		_, err = s.Refresh(tr.t.Context(), evergrant.RefreshOptions{})
		s.Close()
	}
	if e := tr.failure(err); e == nil || e.Class != evergrant.ErrFile || tr.requests() != 0 {
		tr.t.Errorf("%v, after %d requests", e, tr.requests())
	}
	if now, err := os.ReadFile(tr.path); err != nil || !bytes.Equal(now, odd) {
		tr.t.Errorf("the file was changed: %v", err)
	}
	tr.must(os.WriteFile(tr.path, good, 0o600))
	tr.refresh()
}
