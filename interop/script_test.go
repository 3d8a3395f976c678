package interop_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// scriptTimeout bounds a whole client script, and each wait for an event of a server.
const scriptTimeout = 45 * time.Second

// runScript runs a node script that does one job and prints its outcome as JSON. input is given to it as JSON in the
// environment variable INPUT, so that no token is in the arguments. A script that fails fails the test with its stderr.
func runScript(t *testing.T, script, scenario string, env []string, input, output any) {
	t.Helper()
	needNode(t)
	ctx, cancel := context.WithTimeout(t.Context(), scriptTimeout)
	defer cancel()
	in, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "node", script, scenario)
	cmd.Env = append(append(os.Environ(), env...), "INPUT="+string(in))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node %s %s: %v\n%s", script, scenario, err, stderr.Bytes())
	}
	if err := json.Unmarshal(out, output); err != nil {
		t.Fatalf("node %s %s: %v\nstdout: %s\nstderr: %s", script, scenario, err, out, stderr.Bytes())
	}
}

// An event is one JSON line of a server script.
type event struct {
	Event string `json:"event"`

	// Of "ready".
	Issuer                string `json:"issuer"`
	AuthorizationEndpoint string `json:"authorization_endpoint"`
	TokenEndpoint         string `json:"token_endpoint"`
	ClientID              string `json:"client_id"`
	RedirectURI           string `json:"redirect_uri"`

	// Of "token" and "server_error".
	GrantType    string `json:"grant_type"`
	RefreshToken string `json:"refresh_token"` // fingerprint
	Status       int    `json:"status"`
	Error        string `json:"error"`
	Detail       string `json:"detail"`

	// Of "request".
	Path       string   `json:"path"`
	Method     string   `json:"method"`
	Params     []string `json:"params"`
	ClientAuth string   `json:"client_auth"`
	Scheme     string   `json:"scheme"`
	DPoP       bool     `json:"dpop"`
}

// A script is a server, in node or Go, that is told what to do on stdin and reports on stdout, a JSON line each.
type script struct {
	stdin io.WriteCloser

	mu     sync.Mutex
	grown  *sync.Cond // events grew, or the script ended
	events []event
	ended  bool
}

// startScript starts a node server script and waits until it is ready. The script ends with the test.
func startScript(t *testing.T, name string, args ...string) *script {
	t.Helper()
	needNode(t)
	return startServer(t, exec.Command("node", append([]string{name}, args...)...))
}

// startServer starts a server that talks as the scripts do.
func startServer(t *testing.T, cmd *exec.Cmd) *script {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &script{stdin: stdin}
	s.grown = sync.NewCond(&s.mu)
	read := make(chan struct{})
	go func() {
		defer close(read)
		s.read(stdout)
	}()
	t.Cleanup(func() {
		stdin.Close() // the script ends when its stdin does
		<-read
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("%s: %v\n%s", cmd, err, stderr.Bytes())
		}
	})
	s.wait(t, 1, func(e event) bool { return e.Event == "ready" })
	return s
}

func (s *script) read(stdout io.Reader) {
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			e = event{Event: "unreadable", Detail: lines.Text()}
		}
		s.mu.Lock()
		s.events = append(s.events, e)
		s.grown.Broadcast()
		s.mu.Unlock()
	}
	s.mu.Lock()
	s.ended = true
	s.grown.Broadcast()
	s.mu.Unlock()
}

// wait returns the first n events that match, waiting for them if need be.
func (s *script) wait(t *testing.T, n int, match func(event) bool) []event {
	t.Helper()
	late := false
	timer := time.AfterFunc(scriptTimeout, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		late = true
		s.grown.Broadcast()
	})
	defer timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if found := filter(s.events, match); len(found) >= n {
			return found[:n]
		}
		if late || s.ended {
			t.Fatalf("waiting for %d events: late %t, script ended %t, seen %+v", n, late, s.ended, s.events)
		}
		s.grown.Wait()
	}
}

// count says how many events that match were seen until now.
func (s *script) count(match func(event) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(filter(s.events, match))
}

// send gives the script a command and waits until it has taken it.
func (s *script) send(t *testing.T, line string) {
	t.Helper()
	taken := func(e event) bool { return e.Event == "command" }
	n := s.count(taken)
	if _, err := io.WriteString(s.stdin, line+"\n"); err != nil {
		t.Fatal(err)
	}
	s.wait(t, n+1, taken)
}

func filter(events []event, match func(event) bool) []event {
	var found []event
	for _, e := range events {
		if match(e) {
			found = append(found, e)
		}
	}
	return found
}
