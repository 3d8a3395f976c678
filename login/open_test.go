package login_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/login"
)

// TestOpenRefused_8628_2: what is not a web page is not handed to the system.
func TestOpenRefused_8628_2(t *testing.T) {
	said := browserScript(t)
	for _, link := range []string{
		"javascript:alert(1)", "file:///etc/passwd", "data:text/html,x", "ftp://x.example", "mailto:a@x.example", "-https://x.example", "--help", "",
		"http://x.example/", "http://127.0.0.1.evil.example/", "//x.example", "https:", "https:///path", "https://u:p@x.example/",
		"https://x.example/\n--help", "https://x.example/ --help", "https://x.example/\x1b", "https://x.example/$(id)", "https://x.example/`id`",
		"https://x.example/'", "https://x.example/;id", "https://x.example/|id", "https://x.example/\\\\host", "smb://x.example", "vscode://x",
		"HTTPS\n://x", "https://ex ample.com", "https://exämple.com/",
	} {
		if err := login.Open(link); err == nil || errors.Is(err, login.ErrNoBrowser) {
			t.Errorf("%q: %v", link, err)
		}
	}
	if got := said(); got != "" {
		t.Errorf("a browser was started with %q", got)
	}
}

// browserScript makes $BROWSER a script that writes down its arguments, one a
// line.
func browserScript(t *testing.T) func() string {
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell script")
	}
	dir := t.TempDir()
	script, out := filepath.Join(dir, "a browser"), filepath.Join(dir, "said")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nfor a in \"$@\"; do echo \"$a\"; done >> '"+out+"'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BROWSER", `"`+script+`" --new "two words"`)
	return func() string {
		b, err := os.ReadFile(out)
		if err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
		return string(b)
	}
}

func TestOpenBROWSER(t *testing.T) {
	said := browserScript(t)
	script := os.Getenv("BROWSER")
	link := "https://x.example/authorize?a=%20b&scope=c+d&state=1~2"
	for _, tt := range []struct{ env, want string }{
		{script, "--new\ntwo words\n" + link + "\n"},
		{script + " --url=%s", "--new\ntwo words\n--url=" + link + "\n"},
		{"/nowhere/browser:" + script, "--new\ntwo words\n" + link + "\n"},
		{":" + script, "--new\ntwo words\n" + link + "\n"},
	} {
		before := len(said())
		t.Setenv("BROWSER", tt.env)
		if err := login.Open(link); err != nil || said()[before:] != tt.want {
			t.Errorf("%s: %q, %v", tt.env, said()[before:], err)
		}
	}
	for _, env := range []string{"/nowhere/browser", "false", ":"} {
		t.Setenv("BROWSER", env)
		if err := login.Open(link); err == nil {
			t.Errorf("%s: no error", env)
		}
	}
	t.Setenv("BROWSER", "none")
	if err := login.Open(link); !errors.Is(err, login.ErrNoBrowser) {
		t.Error(err)
	}
}

// TestOpenStaysOpen: a browser that runs on is not waited for.
func TestOpenStaysOpen(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs sleep")
	}
	t.Setenv("BROWSER", "sh -c 'sleep 2'")
	start := time.Now()
	if err := login.Open("http://127.0.0.1:5/"); err != nil || time.Since(start) > 1900*time.Millisecond {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	t.Cleanup(func() { time.Sleep(2200*time.Millisecond - time.Since(start)) }) // goleak looks for what waits for it
}

// TestOpenNowhere: in an SSH session and without a screen there is a message
// instead of a failure.
func TestOpenNowhere(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("about X and Wayland")
	}
	for _, name := range []string{"BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "SSH_TTY", "WSL_DISTRO_NAME"} {
		t.Setenv(name, "")
	}
	err := login.Open("https://x.example/")
	if !errors.Is(err, login.ErrNoBrowser) || !strings.Contains(err.Error(), "screen") {
		t.Error(err)
	}
	t.Setenv("SSH_CONNECTION", "1 2 3 4")
	if err = login.Open("https://x.example/"); !errors.Is(err, login.ErrNoBrowser) || !strings.Contains(err.Error(), "SSH") {
		t.Error(err)
	}
	t.Setenv("SSH_CONNECTION", "")
	t.Setenv("WSL_DISTRO_NAME", "Debian")
	t.Setenv("PATH", t.TempDir())
	if err = login.Open("https://x.example/"); !errors.Is(err, login.ErrNoBrowser) || !strings.Contains(err.Error(), "WSL") {
		t.Error(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rundll32.exe"), []byte("#!/bin/sh\necho \"$1 $2 $#\" > '"+dir+"/said'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	if err = login.Open("https://x.example/?a=1&b=2"); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(dir + "/said"); string(b) != "url.dll,FileProtocolHandler https://x.example/?a=1&b=2 2\n" {
		t.Errorf("%q", b)
	}
}
