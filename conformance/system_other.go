//go:build !linux

package conformance

import "errors"

// seesProcesses: memory and arguments of processes can be read.
const seesProcesses = false

var errLinuxOnly = errors.New("needs Linux")

func groupMemory(int) int64        { return 0 }
func arguments(int) []byte         { return nil }
func mountSmall(string, int) error { return errLinuxOnly }
func remountReadOnly(string) error { return errLinuxOnly }
func remountWritable(string) error { return errLinuxOnly }
func unmount(string)               {}
