package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/evergrant/evergrant/idptest"
)

// The scripts' own commands:
//
//	idp PERSONA [habit=value…]   start a simulated provider ($IDP, $TOKEN_URL) and write token.json as another tool would;
//	                             also secret=S (a confidential client), clock=-3h (the provider's clock), tls (and ca.pem)
//	login [FILE]                 somebody logs in: a new grant is written to FILE (token.json)
//	known [FILE]                 the first refresh, after which no flags are needed
//	run CODE ARG…                run evergrant; it must end with CODE, print a hint if that is not 0, and show no token
//	show CODE ARG…               the same for what is asked to show a token: it must be on stdout
//	habit NAME=VALUE…            change the provider's ways         fault NAME…  what goes wrong with the next requests
//	ledger [VERDICT…]            the requests for the grant since the last look had these verdicts, in order; none: nothing was sent
//	request FIELD VALUE          what the provider saw of the last request: params, user_agent, auth, client_id
//	alive [FILE]                 the refresh token in FILE is one the provider accepts
//	keep FILE…, unchanged FILE…  not a byte, the mode or the place of FILE differs
//	hold, release, waiting N     keep answers back; let them go; wait until N are kept back
//	signal NAME                  send TERM, INT, HUP or KILL to the programs in the background
//	ends CODE                    wait for the one program in the background; it ends with CODE
//	hole                         a port that takes connections and says nothing ($HOLE); reached: wait for one
//	within DURATION              no more than this passed since the last run or signal
//	eventually FILE TEXT         FILE holds it within ten seconds
var scriptCommands = map[string]func(*testscript.TestScript, bool, []string){
	"idp": positive(cmdIDP), "login": positive(cmdLogin), "known": positive(cmdKnown),
	"run": positive(cmdRun), "show": positive(cmdShow),
	"habit": positive(cmdHabit), "fault": positive(cmdFault), "ledger": positive(cmdLedger), "request": positive(cmdRequest),
	"alive": cmdAlive, "keep": positive(cmdKeep), "unchanged": positive(cmdUnchanged),
	"hold": positive(cmdHold), "release": positive(cmdRelease), "waiting": positive(cmdWaiting),
	"signal": positive(cmdSignal), "ends": positive(cmdEnds),
	"hole": positive(cmdHole), "reached": positive(cmdReached), "within": positive(cmdWithin), "eventually": positive(cmdEventually),
}

// mark stands in every token and code of the simulator. It must never be
// printed or left in a file that is no token file.
const mark = "c4n4ry"

// clientID is the app that the grants are for.
const clientID = "app"

// world is what one script plays in.
type world struct {
	*idptest.Server
	base    string
	grant   string
	spec    idptest.GrantSpec
	path    string // of the token endpoint
	told    int    // ledger entries judged so far
	kept    map[string]string
	began   time.Time // of the last run or signal
	reached chan struct{}
	sieve   *sieve
}

type worldKey struct{}

func setupScript(e *testscript.Env) error {
	w := &world{kept: map[string]string{}, sieve: newSieve()}
	e.Values[worldKey{}] = w
	for _, dir := range []string{"home", "state"} {
		if err := os.Mkdir(filepath.Join(e.WorkDir, dir), 0o700); err != nil {
			return err
		}
	}
	e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
	e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
	e.Setenv("TZ", "UTC")
	e.Setenv("MARK", mark)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		e.Setenv(name, "")
	}
	e.Defer(func() {
		if w.Server != nil {
			w.Close()
		}
		err := w.sieve.left(e.WorkDir)
		leaks, err2 := w.sieve.close()
		if err := errors.Join(err, err2); err != nil || len(leaks) > 0 {
			e.T().Fatal("tokens in ", leaks, err)
		}
	})
	return nil
}

func condition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Geteuid() == 0, nil
	}
	return false, fmt.Errorf("there is no condition %q", name)
}

// positive makes a command that can't be negated.
func positive(f func(*testscript.TestScript, *world, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg {
			ts.Fatalf("it cannot be negated")
		}
		f(ts, worldOf(ts), args)
	}
}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

func cmdIDP(ts *testscript.TestScript, w *world, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: idp salesforce|generic [habit=value…]")
	}
	cfg := idptest.Config{Persona: idptest.Persona(args[0]), Mark: mark}
	w.spec = idptest.GrantSpec{ClientID: clientID}
	w.path = "/token"
	if cfg.Persona == idptest.Salesforce {
		w.path = "/services/oauth2/token"
		w.spec.IdentityBase, w.spec.InstanceURL = "https://login.salesforce.com", "https://acme.my.salesforce.com"
	}
	if w.Server != nil {
		w.Close()
	}
	secure := false
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "secret":
			cfg.Clients = []idptest.Client{{ID: clientID, Secret: value}}
		case "clock":
			d, err := time.ParseDuration(value)
			ts.Check(err)
			cfg.Clock = func() time.Time { return time.Now().Add(d) }
		case "tls":
			secure = true
		default:
			ts.Check(cfg.Habits.Set(name, value))
		}
	}
	w.Server = idptest.New(cfg)
	var err error
	if secure {
		var ca []byte
		w.base, ca, err = w.ListenTLS("127.0.0.1:0")
		ts.Check(os.WriteFile(ts.MkAbs("ca.pem"), ca, 0o600))
	} else {
		w.base, err = w.Listen("127.0.0.1:0")
	}
	ts.Check(err)
	ts.Setenv("IDP", w.base)
	ts.Setenv("TOKEN_URL", w.base+w.path)
	cmdLogin(ts, w, nil)
}

func cmdLogin(ts *testscript.TestScript, w *world, args []string) {
	g := w.NewGrant(w.spec)
	w.grant, w.told = g.ID, 0
	ts.Check(os.WriteFile(ts.MkAbs(fileOf(args)), g.TokenFile(), 0o600))
}

func fileOf(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return "token.json"
}

func cmdKnown(ts *testscript.TestScript, w *world, args []string) {
	cmdRun(ts, w, []string{"0", "refresh", fileOf(args), "--quiet", "--client-id", clientID, "--token-url", w.base + w.path, "--client-secret", ts.Getenv("SECRET_REF")})
	w.told = len(w.TokenRequests(w.grant))
}

func cmdRun(ts *testscript.TestScript, w *world, args []string) {
	stdout, stderr := runProgram(ts, w, args)
	mail := slices.Contains(args, "xoauth2") || slices.Contains(args, "oauthbearer") // the token is asked for, in base64
	w.sieve.told(stdout, stderr, mail)
	if strings.Contains(stdout+stderr, mark) {
		ts.Fatalf("a token was shown")
	}
}

func cmdShow(ts *testscript.TestScript, w *world, args []string) {
	stdout, stderr := runProgram(ts, w, args)
	w.sieve.told(stdout, stderr, true)
	if strings.Contains(stderr, mark) || !strings.Contains(stdout, mark) {
		ts.Fatalf("the token is not on stdout, or it is on stderr")
	}
}

func runProgram(ts *testscript.TestScript, w *world, args []string) (stdout, stderr string) {
	want, err := strconv.Atoi(args[0])
	if err != nil || len(args) < 2 {
		ts.Fatalf("usage: run CODE ARG…")
	}
	w.began = time.Now()
	err = ts.Exec("evergrant", args[1:]...)
	stdout, stderr = ts.ReadFile("stdout"), ts.ReadFile("stderr")
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if code != want {
		ts.Fatalf("it ended with exit code %d, not %d", code, want)
	}
	if code != 0 && !slices.Contains(args, "exec") && !strings.Contains(stdout+stderr, "hint") {
		ts.Fatalf("there is no hint")
	}
	return stdout, stderr
}

func cmdHabit(ts *testscript.TestScript, w *world, args []string) {
	h := w.Habits()
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		ts.Check(h.Set(name, value))
	}
	w.SetHabits(func(now *idptest.Habits) { *now = h })
}

func cmdFault(ts *testscript.TestScript, w *world, args []string) {
	for _, arg := range args {
		ts.Check(idptest.Fault(arg).Valid())
		w.Next(idptest.Fault(arg))
	}
}

func cmdLedger(ts *testscript.TestScript, w *world, want []string) {
	w.WaitIdle(5 * time.Second)
	all := w.TokenRequests(w.grant)
	var got []string
	for _, e := range all[min(w.told, len(all)):] {
		word := e.Verdict
		if !e.Delivered && e.Processed {
			word += ",lost"
		}
		got = append(got, word)
	}
	w.told = len(all)
	if !slices.Equal(got, want) {
		ts.Fatalf("the ledger says %q, not %q", got, want)
	}
}

func cmdRequest(ts *testscript.TestScript, w *world, args []string) {
	all := w.TokenRequests(w.grant)
	if len(all) == 0 || len(args) != 2 {
		ts.Fatalf("usage: request FIELD VALUE, after a request")
	}
	e := all[len(all)-1]
	got, ok := map[string]string{
		"params": strings.Join(e.Params, ","), "user_agent": e.UserAgent, "auth": e.AuthScheme, "client_id": e.ClientID,
	}[args[0]]
	if !ok || got != args[1] {
		ts.Fatalf("%s is %q, not %q", args[0], got, args[1])
	}
}

func cmdAlive(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	refresh := refreshTokenOf(ts.ReadFile(fileOf(args)))
	if _, _, living := w.Find(refresh); living == neg {
		ts.Fatalf("the refresh token lives: %v", living)
	}
}

// refreshTokenOf takes the refresh token out of a token file without parsing
// it: the parser is what is tested.
func refreshTokenOf(text string) string {
	_, rest, _ := strings.Cut(text, `"refresh_token"`)
	parts := strings.SplitN(rest, `"`, 3)
	if len(parts) < 3 {
		return ""
	}
	return parts[1]
}

func cmdKeep(ts *testscript.TestScript, w *world, args []string) {
	for _, name := range args {
		w.kept[name] = look(ts.MkAbs(name))
	}
}

func cmdUnchanged(ts *testscript.TestScript, w *world, args []string) {
	for _, name := range args {
		if now := look(ts.MkAbs(name)); now != w.kept[name] {
			ts.Fatalf("%s was %s and is %s", name, w.kept[name], now)
		}
	}
}

// look is everything about a file that a failure must leave alone.
func look(path string) string {
	info, err := os.Lstat(path)
	if err != nil {
		return "missing"
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Sprintf("%v, unreadable", info.Mode())
	}
	return fmt.Sprintf("%v, %d bytes, sum %x, written %v", info.Mode(), len(b), sha256.Sum256(b), info.ModTime())
}

func cmdHold(_ *testscript.TestScript, w *world, _ []string)    { w.HoldUntilReleased() }
func cmdRelease(_ *testscript.TestScript, w *world, _ []string) { w.Release() }

func cmdWaiting(ts *testscript.TestScript, w *world, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	await(ts, func() bool { return w.Waiting() >= n })
}

// await polls for something another process does.
func await(ts *testscript.TestScript, done func() bool) {
	for began := time.Now(); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			ts.Fatalf("it did not happen within ten seconds")
		}
	}
}

var signals = map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": os.Interrupt, "HUP": syscall.SIGHUP, "KILL": os.Kill}

func cmdSignal(ts *testscript.TestScript, w *world, args []string) {
	w.began = time.Now()
	for _, c := range ts.BackgroundCmds() {
		if err := c.Process.Signal(signals[args[0]]); err != nil && runtime.GOOS != "windows" {
			ts.Fatalf("%v", err)
		}
	}
}

func cmdEnds(ts *testscript.TestScript, _ *world, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	list := ts.BackgroundCmds()
	if len(list) != 1 {
		ts.Fatalf("%d programs are in the background", len(list))
	}
	await(ts, func() bool { return list[0].ProcessState != nil })
	if got := list[0].ProcessState.ExitCode(); got != want {
		ts.Fatalf("it ended with exit code %d, not %d", got, want)
	}
}

func cmdHole(ts *testscript.TestScript, w *world, _ []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	w.reached = make(chan struct{}, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.reached <- struct{}{}
			defer c.Close()
		}
	}()
	ts.Defer(func() { l.Close() })
	ts.Setenv("HOLE", "https://"+l.Addr().String()+"/token")
}

func cmdReached(ts *testscript.TestScript, w *world, _ []string) {
	select {
	case <-w.reached:
	case <-time.After(10 * time.Second):
		ts.Fatalf("nobody connected within ten seconds")
	}
}

func cmdWithin(ts *testscript.TestScript, w *world, args []string) {
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	if took := time.Since(w.began); took > d && !raced {
		ts.Fatalf("it took %v", took)
	}
}

func cmdEventually(ts *testscript.TestScript, _ *world, args []string) {
	await(ts, func() bool {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && strings.Contains(string(b), args[1])
	})
}
