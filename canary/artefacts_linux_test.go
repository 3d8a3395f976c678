package main_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/evergrant/evergrant/canary/search"
	"github.com/evergrant/evergrant/idptest"
	"github.com/evergrant/evergrant/prove/figures"
)

// marks stand in every token and in the client's secret.
const (
	tokenMark  = "c4n4ryTOKENmark"
	secretMark = "c4n4ryCLIENTmark"
)

// work is a folder that holds all that the program may write, and a provider.
type work struct {
	t       *testing.T
	dir     string
	program string
	idp     *idptest.Server
	url     string
	path    string // of the token file
	grant   idptest.Grant
	found   *search.Search
	mu      sync.Mutex // of found
	samples int        // of /proc
}

func newWork(t *testing.T, program string) *work {
	t.Helper()
	w := &work{t: t, dir: t.TempDir(), program: program}
	var err error
	if w.found, err = search.New(tokenMark, secretMark); err != nil {
		t.Fatal(err)
	}
	w.idp = idptest.New(idptest.Config{
		Persona: idptest.Salesforce, Mark: tokenMark, Habits: idptest.Habits{Rotation: true, MaxApprovals: -1},
		Clients: []idptest.Client{{ID: "app", Secret: secretMark}},
	})
	t.Cleanup(func() { w.idp.Close() })
	base, err := w.idp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.url, w.path = base+"/services/oauth2/token", filepath.Join(w.dir, "box", "token.json")
	for _, name := range []string{"box", "home", "state", "config", "cache", "data", "run", "tmp"} {
		if err := os.Mkdir(filepath.Join(w.dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(w.secret(), []byte(secretMark+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *work) secret() string { return filepath.Join(w.dir, "client-secret") }

// login writes a new grant into the token file.
func (w *work) login(age time.Duration) {
	w.t.Helper()
	w.idp.Advance(-age)
	w.grant = w.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	w.idp.Advance(age)
	if err := os.WriteFile(w.path, w.grant.TokenFile(), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// env keeps all that a process writes inside the folder, and gives it no
// secret.
func (w *work) env() []string {
	at := func(name string) string { return filepath.Join(w.dir, name) }
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + at("home"), "TMPDIR=" + at("tmp"), "XDG_STATE_HOME=" + at("state"), "XDG_CONFIG_HOME=" + at("config"),
		"XDG_CACHE_HOME=" + at("cache"), "XDG_DATA_HOME=" + at("data"), "XDG_RUNTIME_DIR=" + at("run"),
	}
}

// A command is one run of the program through its front door.
type command struct {
	args   []string
	fault  idptest.Fault  // of the token request
	ref    string         // of the client's secret; "": the file
	old    bool           // the access token has ended
	signal syscall.Signal // sent while the provider holds its answer back; 0: none
	until  string         // a file that the program's child makes: the signal is sent then
	shows  bool           // it prints a token because it was asked to
	gives  bool           // it puts the token into its child's environment because it was asked to
	crash  bool           // the dying process shall tell all that Go's runtime knows
}

// run runs a command and searches its output and its processes.
func (w *work) run(c command) {
	w.t.Helper()
	var age time.Duration
	if c.old {
		age = 3 * time.Hour
	}
	w.login(age)
	if c.fault != "" {
		w.idp.Next(c.fault)
	}
	if c.ref == "" {
		c.ref = "file:" + w.secret()
	}
	at, _, _ := strings.Cut(strings.Join(c.args, " "), " --")
	args := slices.Clone(c.args)
	if slices.Contains([]string{"refresh", "token", "exec", "watch", "doctor"}, args[0]) {
		args = slices.Insert(args, 1, w.path, "--client-id", "app", "--client-secret", c.ref, "--provider", "salesforce", "--token-url", w.url, "--timeout", "400ms", "-v")
		if args[0] == "doctor" {
			args = args[:2]
		}
	}
	p := exec.Command(w.program, args...)
	p.Dir, p.Env = filepath.Join(w.dir, "box"), w.env()
	if c.crash {
		p.Env = append(p.Env, "GOTRACEBACK=system")
	}
	var stdout, stderr bytes.Buffer
	p.Stdout, p.Stderr = &stdout, &stderr
	p.WaitDelay = 5 * time.Second
	if c.signal != 0 && c.until == "" {
		w.idp.HoldUntilReleased()
	}
	if err := p.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan struct{})
	var sampler sync.WaitGroup
	sampler.Go(func() { w.sample(at, p.Process.Pid, c.gives, ended) })
	if c.signal != 0 {
		w.interrupt(at, p.Process, c)
	}
	p.Wait() // each way to end is right here
	close(ended)
	sampler.Wait()
	if c.shows != strings.Contains(stdout.String(), tokenMark) {
		w.t.Errorf("%s: shows a token: %t\n%s", at, !c.shows, w.hide(stderr.String()))
	}
	if !c.shows {
		w.found.Text(at+": stdout", stdout.String())
	}
	w.found.Text(at+": stderr", stderr.String())
}

// hide makes a text printable.
func (w *work) hide(text string) string {
	return strings.NewReplacer(tokenMark, "[found]", secretMark, "[found]").Replace(text)
}

// interrupt signals the program when it has sent its request, or when its child
// has run; an answer that was held back goes out a little later.
func (w *work) interrupt(name string, p *os.Process, c command) {
	there := func() bool { return w.idp.Waiting() > 0 }
	if c.until != "" {
		there = func() bool { _, err := os.Stat(c.until); return err == nil }
	}
	for began := time.Now(); !there(); time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			w.t.Errorf("%s: it did not come as far as it should before the %v", name, c.signal)
			break
		}
	}
	p.Signal(c.signal)
	time.Sleep(20 * time.Millisecond) // the program is to do something about it before the answer is there
	w.idp.Release()
}

// sample searches what other users may see, or could be told, of a process and
// its children while it runs.
func (w *work) sample(name string, pid int, gives bool, ended <-chan struct{}) {
	for {
		for _, p := range append(children(pid), pid) {
			for _, file := range []string{"cmdline", "environ"} {
				if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p, file)); err == nil && len(b) > 0 && !(gives && file == "environ") {
					w.mu.Lock()
					w.found.Text(fmt.Sprintf("%s: /proc/PID/%s", name, file), string(b))
					w.samples++
					w.mu.Unlock()
				}
			}
		}
		select {
		case <-ended:
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func children(pid int) []int {
	var all []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		b, _ := os.ReadFile(task)
		for word := range strings.FieldsSeq(string(b)) {
			var child int
			if fmt.Sscan(word, &child); child > 0 {
				all = append(append(all, child), children(child)...)
			}
		}
	}
	return all
}

// ways are the program's commands, with what can happen to them.
func ways(secret, hooked string) []command {
	return []command{
		{args: []string{"refresh"}},
		{args: []string{"refresh", "--json"}},
		{args: []string{"refresh", "--dry-run"}},
		{args: []string{"refresh", "--show-token"}, shows: true},
		{args: []string{"refresh"}, ref: "cmd:cat " + secret},
		{args: []string{"refresh"}, ref: "file:/missing"},
		{args: []string{"token"}, shows: true},
		{args: []string{"token", "--format", "env"}, shows: true, old: true},
		{args: []string{"token", "--min-ttl", "9000h"}},
		{args: []string{"exec", "--", "sleep", "0.05"}, gives: true},
		{args: []string{"watch"}, signal: syscall.SIGTERM, old: true},
		{args: []string{"watch", "--on-change", "env >/dev/null; touch " + hooked}, signal: syscall.SIGTERM, until: hooked, old: true},
		{args: []string{"doctor"}},
		{args: []string{"status", "token.json"}},
		{args: []string{"status", "token.json", "--json"}},
		{args: []string{"token", "no-such-file"}},
		{args: []string{"refresh"}, signal: syscall.SIGTERM},
		{args: []string{"refresh"}, signal: syscall.SIGKILL},
		{args: []string{"refresh"}, signal: syscall.SIGQUIT, crash: true}, // Go's runtime tells of all goroutines
		{args: []string{"refresh"}, signal: syscall.SIGABRT, crash: true},
		{args: []string{"refresh"}, signal: syscall.SIGSEGV, crash: true},
		{args: []string{"status", "token.json"}},
	}
}

// failures are what a provider may answer: each fault and each refusal.
func failures() []command {
	var list []command
	for _, row := range idptest.FaultTable() {
		if f := idptest.Fault(row.Name); row.Arg == "" && f.Valid() == nil {
			list = append(list, command{args: []string{"refresh"}, fault: f})
		}
	}
	for _, name := range idptest.ErrorNames() {
		list = append(list, command{args: []string{"refresh", "--json"}, fault: idptest.Fault("error=" + name)})
	}
	return list
}

// TestArtefacts runs the program in every way that could make it talk, and
// searches all that is left, token files apart.
func TestArtefacts(t *testing.T) {
	allowCores(t)
	program := filepath.Join(t.TempDir(), "evergrant")
	if out, err := exec.Command("go", "build", "-o", program, "../cmd/evergrant").CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	t.Run("ways", func(t *testing.T) {
		t.Parallel()
		w := newWork(t, program)
		w.play(ways(w.secret(), filepath.Join(w.dir, "hooked")))
	})
	part := 0
	for some := range slices.Chunk(failures(), 25) {
		part++
		t.Run(fmt.Sprint("failures ", part), func(t *testing.T) {
			t.Parallel()
			newWork(t, program).play(some)
		})
	}
}

// allowCores lifts the limit for what is started: a core would be found in the
// folder.
func allowCores(t *testing.T) {
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{Cur: old.Max, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Setrlimit(syscall.RLIMIT_CORE, &old) })
	pattern, _ := os.ReadFile("/proc/sys/kernel/core_pattern")
	t.Logf("core limit %d, pattern %q", old.Max, bytes.TrimSpace(pattern))
}

// play runs commands one after another on one file, as the state beside it is
// part of what is searched, and judges.
func (w *work) play(list []command) {
	t := w.t
	for _, c := range list {
		w.run(c)
	}
	w.mustFindPlants()
	if err := w.found.Tree(w.dir, w.mayHold); err != nil {
		t.Error(err)
	}
	for _, h := range w.found.Hits {
		t.Errorf("a secret stands in %s", h)
	}
	// A fast machine sees less of each process, but something of each: its
	// command line, and what -v says.
	if w.found.Bytes < int64(1000*len(list)) || w.samples < len(list) {
		t.Errorf("too little was looked at: %d samples, %s", w.samples, w.found)
	}
	t.Logf("%d commands, %d samples of /proc; %s", len(list), w.samples, w.found)
	err := figures.Add(figures.Figure{Name: figures.Commands, N: float64(len(list))}, figures.Figure{Name: figures.Bytes, Kind: "commands", N: float64(w.found.Bytes)},
		figures.Figure{Name: figures.Artefacts, N: float64(w.found.Items)}, figures.Figure{Name: figures.Leaks, N: float64(len(w.found.Hits))})
	if err != nil {
		t.Error(err)
	}
}

// mayHold names the files that hold secrets by their nature: the token file,
// and whole answers that wait for it, which have a mode that keeps others out.
func (w *work) mayHold(path string) bool {
	name := filepath.Base(path)
	answer := strings.HasPrefix(name, ".token.json.evergrant.") && strings.HasSuffix(name, ".tmp") ||
		strings.Contains(path, "/evergrant/rescue/")
	if info, err := os.Lstat(path); answer && err == nil && !info.IsDir() && info.Mode().Perm() != 0o600 {
		w.t.Errorf("%s holds tokens and has mode %v", path, info.Mode())
	}
	return answer || path == w.path || path == w.secret()
}

// mustFindPlants shows that the search can fail: it finds what is there by
// design, and a leak in another form.
func (w *work) mustFindPlants() {
	w.t.Helper()
	plant, err := search.New(tokenMark, secretMark)
	if err != nil {
		w.t.Fatal(err)
	}
	token, err := os.ReadFile(w.path)
	if err != nil {
		w.t.Fatal(err)
	}
	for name, r := range map[string]io.Reader{
		"the token file":      bytes.NewReader(token),
		"the secret's file":   strings.NewReader(secretMark),
		"base64 of the file":  strings.NewReader(base64.StdEncoding.EncodeToString(token)),
		"a child's arguments": strings.NewReader("curl\x00-H\x00Authorization: Bearer " + w.grant.AccessToken + "\x00"),
	} {
		before := len(plant.Hits)
		if err := plant.Reader(name, r); err != nil || len(plant.Hits) == before {
			w.t.Errorf("%s: not found: %v", name, err)
		}
	}
}
