//go:build linux

package crashtest_test

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// refuse makes the system skip the call that a thread is about to make.
func refuse(tid int) error {
	var r unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &r); err != nil {
		return err
	}
	r.Orig_rax = ^uint64(0)
	return unix.PtraceSetRegs(tid, &r)
}

// answer makes the call that a thread has just made return an error.
func answer(tid int, errno syscall.Errno) error {
	var r unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &r); err != nil {
		return err
	}
	r.Rax = -uint64(errno)
	return unix.PtraceSetRegs(tid, &r)
}
