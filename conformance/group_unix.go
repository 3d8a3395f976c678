//go:build unix

package conformance

import (
	"os/exec"
	"syscall"
)

// ownGroup makes the program the leader of a process group, so that a kill
// reaches the children of a script too.
func ownGroup(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func killGroup(c *exec.Cmd) { syscall.Kill(-c.Process.Pid, syscall.SIGKILL) } // gone already: fine

// askToStop sends what a shutdown sends; it tells whether it could.
func askToStop(c *exec.Cmd) bool { return syscall.Kill(-c.Process.Pid, syscall.SIGTERM) == nil }
