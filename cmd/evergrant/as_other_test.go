//go:build !unix

package main

import (
	"os/exec"
	"testing"
)

func runAs(*testing.T, *exec.Cmd, uint32) {}
