//go:build unix

package main

import (
	"fmt"
	"syscall"
)

// become replaces this process by the command, which then gets signals, the
// terminal and the exit code of its own.
func become(path string, args, env []string) error {
	err := syscall.Exec(path, args, env)
	return usageError{fmt.Errorf("running %s: %w", path, err), "check the command after --"}
}
