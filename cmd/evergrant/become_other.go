//go:build !unix

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// become runs the command and passes its exit code on: this system cannot
// replace a process.
func become(path string, args, env []string) error {
	c := exec.Command(path, args[1:]...)
	c.Env, c.Stdin, c.Stdout, c.Stderr = env, os.Stdin, os.Stdout, os.Stderr
	err := c.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return toldExit(exit.ExitCode())
	case err != nil:
		return usageError{fmt.Errorf("running %s: %w", path, err), "check the command after --"}
	}
	return nil
}
