package main

import (
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/evergrant/evergrant/idptest"
)

// ask runs the helper with what git would write.
func (b *bed) ask(input, action string, args ...string) ran {
	b.t.Helper()
	c := b.command(append([]string{"git-credential", b.path, action}, args...)...)
	c.Stdin = strings.NewReader(input)
	var stdout, stderr strings.Builder
	c.Stdout, c.Stderr = &stdout, &stderr
	c.Run()
	return ran{c.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// TestGitCredentialGet is whom the helper answers, and in which form.
func TestGitCredentialGet(t *testing.T) {
	b, token := ready(t, "")
	const bearer, basic = "capability[]=authtype\nauthtype=Bearer\ncredential=TOKEN\nephemeral=1\n", "username=oauth2\npassword=TOKEN\n"
	t.Run("answers", func(t *testing.T) {
		for name, row := range map[string]struct {
			input, want string
			args        []string
		}{
			"old git":                   {"protocol=https\nhost=git.example.com\n\n", basic, nil},
			"host without case":         {"protocol=https\nhost=Git.Example.COM\n\n", basic, nil},
			"end without empty line":    {"protocol=https\nhost=git.example.com\n", basic, nil},
			"usual port named":          {"protocol=https\nhost=git.example.com:443\n\n", basic, nil},
			"second host, port":         {"protocol=https\nhost=other.example:8443\n\n", basic, nil},
			"with a path":               {"protocol=https\nhost=git.example.com\npath=a/b.git\n\n", basic, nil},
			"authtype":                  {"capability[]=authtype\ncapability[]=state\nprotocol=https\nhost=git.example.com\n\n", bearer, nil},
			"authtype, Bearer wanted":   {"capability[]=authtype\nprotocol=https\nhost=git.example.com\nwwwauth[]=Basic realm=\"x\"\nwwwauth[]=bearer realm=\"x\"\n\n", bearer, nil},
			"authtype, Basic wanted":    {"capability[]=authtype\nprotocol=https\nhost=git.example.com\nwwwauth[]=Basic realm=\"x\"\n\n", basic, nil},
			"capabilities taken back":   {"capability[]=authtype\ncapability[]=\nprotocol=https\nhost=git.example.com\n\n", basic, nil},
			"user of the URL":           {"protocol=https\nhost=git.example.com\nusername=ana\n\n", strings.Replace(basic, "oauth2", "ana", 1), nil},
			"--username":                {"protocol=https\nhost=git.example.com\nusername=ana\n\n", strings.Replace(basic, "oauth2", "x", 1), []string{"--username", "x"}},
			"loopback without TLS":      {"protocol=http\nhost=127.0.0.1:3000\n\n", basic, nil},
			"without TLS":               {"protocol=http\nhost=git.example.com\n\n", "", nil},
			"looks like this machine":   {"protocol=http\nhost=localhost.example:3000\n\n", "", nil},
			"another host":              {"protocol=https\nhost=evil.example\n\n", "", nil},
			"another port":              {"protocol=https\nhost=git.example.com:8443\n\n", "", nil},
			"port of another scheme":    {"protocol=https\nhost=git.example.com:80\n\n", "", nil},
			"a host below":              {"protocol=https\nhost=git.example.com.evil.example\n\n", "", nil},
			"another protocol":          {"protocol=smtp\nhost=git.example.com\n\n", "", nil},
			"no host":                   {"protocol=https\n\n", "", nil},
			"host after the empty line": {"protocol=https\n\nhost=git.example.com\n", "", nil},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				args := append([]string{"--host", "git.example.com", "--host", "other.example:8443", "--host", "127.0.0.1:3000", "--host", "localhost.example:3000"}, row.args...)
				r := b.ask(row.input, "get", args...)
				got, expiry, _ := strings.Cut(strings.ReplaceAll(r.stdout, token, "TOKEN"), "password_expiry_utc=")
				if got != row.want || r.code != 0 || (row.want != "") != (expiry != "") || r.stderr != "" {
					t.Errorf("%d %q %q, %s", r.code, got, expiry, r.stderr)
				}
			})
		}
	})
	for name, r := range map[string]ran{
		"no --host":   b.ask("protocol=https\nhost=git.example.com\n\n", "get"),
		"not a pair":  b.ask("protocol\n\n", "get", "--host", "git.example.com"),
		"no action":   b.run("git-credential", b.path, "--host", "git.example.com"),
		"no password": b.ask("protocol=https\nhost=git.example.com\nusername=\x00\n\n", "get", "--host", "git.example.com"),
	} {
		if r.code != exitUsage || r.stdout != "" {
			t.Errorf("%s: %d %s", name, r.code, r.stderr)
		}
		r.wantHint(t)
	}
	if n := b.sent(); n != 1 {
		t.Errorf("%d refreshes", n)
	}
}

// TestGitCredentialErase: what git says was refused is renewed once, another
// helper's password not at all; store and what comes in future do nothing.
func TestGitCredentialErase(t *testing.T) {
	b := newBedOf(t, idptest.Generic, idptest.Habits{Rotation: true})
	token := b.grant.AccessToken
	args := append([]string{"--host", "git.example.com"}, b.identity()...)
	const where = "protocol=https\nhost=git.example.com\nusername=oauth2\n"
	for _, quiet := range []struct{ input, action string }{
		{where + "password=" + token + "\n\n", "store"},
		{where + "password=" + token + "\n\n", "capability"},
		{where + "\n", "erase"},
		{where + "password=another helper's\n\n", "erase"},
		{"protocol=https\nhost=evil.example\npassword=" + token + "\n\n", "erase"},
	} {
		if r := b.ask(quiet.input, quiet.action, args...); r != (ran{}) {
			t.Errorf("%s: %+v", quiet.action, r)
		}
	}
	if n := b.sent(); n != 0 {
		t.Fatalf("%d refreshes for nothing", n)
	}
	for range 3 {
		for _, name := range []string{"password", "credential"} {
			if r := b.ask(where+name+"="+token+"\n\n", "erase", args...); r != (ran{}) {
				t.Errorf("%+v", r)
			}
		}
	}
	if n := b.sent(); n != 1 {
		t.Errorf("%d refreshes for one generation", n)
	}
}

// TestGitCredentialWithGit lets git itself clone from a server that wants the
// token; a refused one is renewed by the erase that git makes, so that the next
// try works.
func TestGitCredentialWithGit(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Skip("git is not here")
	}
	b := newBedOf(t, idptest.Generic, idptest.Habits{Rotation: true})
	b.env = append(b.env, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=", "SSH_ASKPASS=", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	run := func(want int, args ...string) string {
		t.Helper()
		c := exec.CommandContext(t.Context(), git, args...)
		c.Env, c.Dir = b.env, b.dir
		out, _ := c.CombinedOutput()
		if code := c.ProcessState.ExitCode(); code != want || strings.Contains(string(out), mark) {
			t.Fatalf("git %v: %d\n%s", args, code, out)
		}
		return string(out)
	}
	run(0, "init", "-q", "-b", "main", "repo")
	run(0, "-C", "repo", "commit", "-q", "--allow-empty", "-m", "first")
	srv := gitServer(t, b, git)
	host := strings.TrimPrefix(srv.URL, "http://")
	helper := "credential.helper=!evergrant git-credential '" + b.path + "' --host " + host + " " + strings.Join(b.identity(), " ")
	remote := srv.URL + "/repo/.git"

	if out := run(0, "-c", helper, "ls-remote", remote); !strings.Contains(out, "refs/heads/main") {
		t.Errorf("%s", out)
	}
	b.Expire(b.id)
	run(128, "-c", helper, "ls-remote", remote) // git has no second try, but it says erase
	run(0, "-c", helper, "clone", "-q", remote, "copy")
	if n := b.sent(); n != 1 {
		t.Errorf("%d refreshes", n)
	}
	run(128, "-c", strings.Replace(helper, host, "other.example", 1), "ls-remote", remote)
}

// gitServer serves repositories below the bed's folder to who brings a living
// token as the password.
func gitServer(t *testing.T, b *bed, git string) *httptest.Server {
	t.Helper()
	exec, err := exec.Command(git, "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(exec)), "git-http-backend"), Dir: b.dir,
		Env: []string{"GIT_PROJECT_ROOT=" + b.dir, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + b.dir},
	}
	var one sync.Mutex // the program is no daemon
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, token, _ := r.BasicAuth()
		if _, _, living := b.FindAccess(token); !living {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		one.Lock()
		defer one.Unlock()
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv
}
