//go:build unix

package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// nobody is a user who may do nothing here.
const nobody = 65534

// public is a copy of the program where other users can reach it: the folder
// that testscript puts it in is this user's alone.
var public = sync.OnceValues(func() (string, error) {
	from, err := exec.LookPath("evergrant")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(filepath.Dir(filepath.Dir(from)), "public")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // testscript removes it with all that is in it
		return "", err
	}
	in, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer in.Close()
	path := filepath.Join(dir, "evergrant")
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return "", err
	}
	defer out.Close()
	_, err = io.Copy(out, in)
	return path, err
})

// runAs makes a command run as another user, which only root can.
func runAs(t *testing.T, c *exec.Cmd, user uint32) {
	t.Helper()
	if user == 0 {
		return
	}
	path, err := public()
	if err != nil {
		t.Fatal(err)
	}
	c.Path = path
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
}
