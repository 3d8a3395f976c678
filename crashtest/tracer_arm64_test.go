//go:build linux

package crashtest_test

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refuse makes the system skip the call that a thread is about to make.
func refuse(tid int) error {
	number := int32(-1)
	vec := unix.Iovec{Base: (*byte)(unsafe.Pointer(&number)), Len: 4}
	const systemCall = 0x404 // NT_ARM_SYSTEM_CALL
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SETREGSET, uintptr(tid), systemCall, uintptr(unsafe.Pointer(&vec)), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// answer makes the call that a thread has just made return an error.
func answer(tid int, errno syscall.Errno) error {
	var r unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &r); err != nil {
		return err
	}
	r.Regs[0] = -uint64(errno)
	return unix.PtraceSetRegs(tid, &r)
}
