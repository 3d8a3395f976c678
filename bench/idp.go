//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const clientID = "app"

// simulator is `evergrant simulate` in a process of its own, which rotates
// refresh tokens as Salesforce does for partner apps. All contenders use it.
type simulator struct {
	cmd  *exec.Cmd
	base string
}

func startSimulator(evergrant string) (*simulator, error) {
	s := &simulator{}
	var err error
	s.cmd, s.base, err = startServer(evergrant, "simulate", "--persona", "salesforce", "--rotation=true")
	return s, err
}

// startServer starts a program that prints its URL in the first line.
func startServer(argv ...string) (*exec.Cmd, string, error) {
	c := exec.Command(argv[0], argv[1:]...)
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		return nil, "", fmt.Errorf("starting %s: %w", argv[0], err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		c.Process.Kill()
		return nil, "", fmt.Errorf("starting %s: reading its URL: %w", argv[0], err)
	}
	return c, strings.TrimSpace(line), nil
}

func stopServer(c *exec.Cmd) {
	c.Process.Signal(syscall.SIGTERM)
	c.Wait()
}

func (s *simulator) close() { stopServer(s.cmd) }

func (s *simulator) tokenURL() string { return s.base + "/services/oauth2/token" }

// grant is what the simulator says of a new grant.
type grant struct {
	ID    string          `json:"id"`
	Token json.RawMessage `json:"token"`
}

// grant makes a grant whose token file says Salesforce, as a real one does.
func (s *simulator) grant() (grant, error) {
	spec := fmt.Sprintf(`{"client_id":%q,"identity_base":"https://login.salesforce.com","instance_url":"https://acme.my.salesforce.com"}`, clientID)
	var g grant
	return g, s.control("POST", "grants", spec, &g)
}

// requests counts the token requests for a grant, and says whether it lives.
func (s *simulator) requests(id string) (n int, alive bool, err error) {
	var entries []struct{}
	var state struct{ Revoked bool }
	if err = s.control("GET", "ledger?grant="+id, "", &entries); err == nil {
		err = s.control("GET", "grants/"+id, "", &state)
	}
	return len(entries), !state.Revoked, err
}

func (s *simulator) control(method, path, body string, into any) error {
	req, err := http.NewRequest(method, s.base+"/_sim/"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("asking the simulator for %s: %s", path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// tokenFile writes a new grant's token file into a folder of its own.
func (b *bench) tokenFile(name string) (path string, g grant, err error) {
	if g, err = b.idp.grant(); err != nil {
		return "", g, err
	}
	dir := filepath.Join(b.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", g, err
	}
	var text bytes.Buffer
	if err := json.Indent(&text, g.Token, "", "  "); err != nil {
		return "", g, err
	}
	path = filepath.Join(dir, "token.json")
	return path, g, os.WriteFile(path, text.Bytes(), 0o600)
}

// answerBody is a token answer of the size that Salesforce's has.
var answerBody = `{"access_token":"00D000000000001!` + strings.Repeat("a", 96) + `","refresh_token":"5Aep` + strings.Repeat("r", 83) +
	`","signature":"` + strings.Repeat("s", 43) + `=","scope":"refresh_token api","instance_url":"https://acme.my.salesforce.com",` +
	`"id":"https://login.salesforce.com/id/00D000000000001EAA/005000000000001AAA","token_type":"Bearer","issued_at":"` + strconv.FormatInt(time.Now().UnixMilli(), 10) + `","expires_in":3600}`

// serveAnswers answers every POST with answerBody until ctx ends: the cheapest
// endpoint there can be, so that the client is what is measured.
func serveAnswers(ctx context.Context) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String() + "/token")
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, answerBody)
	})}
	context.AfterFunc(ctx, func() { s.Close() })
	if err := s.Serve(l); err != http.ErrServerClosed {
		return err
	}
	return nil
}
