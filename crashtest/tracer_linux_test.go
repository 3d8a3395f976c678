//go:build amd64 || arm64

package crashtest_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The tracer stops a process at each of its system calls and asks what to do.
// strace can do the same, but counts calls by thread, and which thread of a Go
// program makes a call changes from run to run. Here a point is "the third
// openat of the side file", on whatever thread, so that every point is met.

// Where the arguments of a call name a file: by descriptor, or by name.
type shape struct {
	name  string
	fds   []int
	names []int
}

// shapes are the calls by which a process reaches its files and its socket;
// other calls change nothing that outlives the process.
var shapes = map[uint64]shape{
	unix.SYS_OPENAT: {"openat", []int{0}, []int{1}}, unix.SYS_NEWFSTATAT: {"newfstatat", []int{0}, []int{1}},
	unix.SYS_UNLINKAT: {"unlinkat", []int{0}, []int{1}}, unix.SYS_MKDIRAT: {"mkdirat", []int{0}, []int{1}},
	unix.SYS_FACCESSAT2: {"faccessat2", []int{0}, []int{1}}, unix.SYS_READLINKAT: {"readlinkat", []int{0}, []int{1}},
	unix.SYS_FCHMODAT: {"fchmodat", []int{0}, []int{1}}, unix.SYS_FCHOWNAT: {"fchownat", []int{0}, []int{1}},
	unix.SYS_STATX: {"statx", []int{0}, []int{1}}, unix.SYS_STATFS: {"statfs", nil, []int{0}},
	unix.SYS_RENAMEAT: {"renameat", []int{0, 2}, []int{1, 3}}, unix.SYS_RENAMEAT2: {"renameat2", []int{0, 2}, []int{1, 3}},
	unix.SYS_LINKAT: {"linkat", []int{0, 2}, []int{1, 3}},
	unix.SYS_READ:   {"read", []int{0}, nil}, unix.SYS_PREAD64: {"pread64", []int{0}, nil},
	unix.SYS_WRITE: {"write", []int{0}, nil}, unix.SYS_PWRITE64: {"pwrite64", []int{0}, nil},
	unix.SYS_FSYNC: {"fsync", []int{0}, nil}, unix.SYS_FDATASYNC: {"fdatasync", []int{0}, nil},
	unix.SYS_FTRUNCATE: {"ftruncate", []int{0}, nil}, unix.SYS_FALLOCATE: {"fallocate", []int{0}, nil},
	unix.SYS_FCHMOD: {"fchmod", []int{0}, nil}, unix.SYS_FCHOWN: {"fchown", []int{0}, nil},
	unix.SYS_FLOCK: {"flock", []int{0}, nil}, unix.SYS_FSTAT: {"fstat", []int{0}, nil},
	unix.SYS_FSTATFS: {"fstatfs", []int{0}, nil}, unix.SYS_GETDENTS64: {"getdents64", []int{0}, nil},
	unix.SYS_CLOSE: {"close", []int{0}, nil}, unix.SYS_FCNTL: {"fcntl", []int{0}, nil}, unix.SYS_IOCTL: {"ioctl", []int{0}, nil},
	unix.SYS_FGETXATTR: {"fgetxattr", []int{0}, nil}, unix.SYS_FSETXATTR: {"fsetxattr", []int{0}, nil},
	unix.SYS_FLISTXATTR: {"flistxattr", []int{0}, nil}, unix.SYS_FREMOVEXATTR: {"fremovexattr", []int{0}, nil},
	unix.SYS_EPOLL_CTL: {"epoll_ctl", []int{2}, nil}, unix.SYS_SOCKET: {"socket", nil, nil}, unix.SYS_CONNECT: {"connect", []int{0}, nil},
	unix.SYS_GETSOCKOPT: {"getsockopt", []int{0}, nil}, unix.SYS_SETSOCKOPT: {"setsockopt", []int{0}, nil},
	unix.SYS_GETSOCKNAME: {"getsockname", []int{0}, nil}, unix.SYS_GETPEERNAME: {"getpeername", []int{0}, nil},
	unix.SYS_SENDTO: {"sendto", []int{0}, nil}, unix.SYS_RECVFROM: {"recvfrom", []int{0}, nil}, unix.SYS_SHUTDOWN: {"shutdown", []int{0}, nil},
}

// tracer is one process under ptrace(2). All of it happens on one thread.
type tracer struct {
	b      *bed
	pid    int
	before func(call) trouble // asked before each call of ours
	calls  []call
	keys   map[string]int
	inside map[int]int           // by thread: the call it is in; -1: one of no interest
	known  map[int]bool          // threads that were seen
	fails  map[int]syscall.Errno // by thread: what the call it is in will return
	proc   string                // what others could see of it at the first trouble
	told   atomic.Bool           // a signal was sent to it
}

// trouble is what befalls a call. The zero value lets it be.
type trouble struct {
	signal syscall.Signal // sent to the process before the call
	errno  syscall.Errno  // returned instead of making the call
}

// none lets every call be.
func none(call) trouble { return trouble{} }

// follow runs a command of the bed under the tracer to its end.
func (b *bed) follow(args []string, before func(call) trouble) (result, []call, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t := &tracer{b: b, before: before, keys: map[string]int{}, inside: map[int]int{}, known: map[int]bool{}, fails: map[int]syscall.Errno{}}
	out, err1 := os.CreateTemp(b.said, "stdout")
	errs, err2 := os.CreateTemp(b.said, "stderr")
	if err := errors.Join(err1, err2); err != nil {
		return result{}, nil, err
	}
	defer out.Close()
	defer errs.Close()
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr, cmd.Env, cmd.Dir = out, errs, b.env(), b.root
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return result{}, nil, err
	}
	t.pid = cmd.Process.Pid
	defer cmd.Process.Release() // waited for below
	over := make(chan struct{})
	go b.ender(t, over)
	ws, err := t.run()
	close(over)
	r := result{args: args, exit: ws.ExitStatus(), proc: t.proc}
	if ws.Signaled() {
		r.signal = ws.Signal()
	}
	o, err1 := os.ReadFile(out.Name())
	e, err2 := os.ReadFile(errs.Name())
	r.out, r.err = string(o), string(e)
	return r, t.calls, errors.Join(err, err1, err2)
}

// ender tells a command that would go on for ever to stop once it has nothing
// more to do, unless it was told already: a second signal would end it at once.
// It ends one that hangs.
func (b *bed) ender(t *tracer, over <-chan struct{}) {
	var settled <-chan time.Time
	if b.stops {
		settled = b.whenSettled()
	}
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for {
		select {
		case <-over:
			return
		case <-settled:
			settled = nil
			if !t.told.Swap(true) {
				unix.Kill(t.pid, syscall.SIGTERM)
			}
		case <-limit.C:
			unix.Kill(t.pid, syscall.SIGKILL)
		}
	}
}

// run goes from stop to stop until the process has ended.
func (t *tracer) run() (unix.WaitStatus, error) {
	var ws unix.WaitStatus
	if _, err := unix.Wait4(t.pid, &ws, unix.WALL, nil); err != nil {
		return ws, fmt.Errorf("waiting for the first stop: %w", err)
	}
	t.known[t.pid] = true
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(t.pid, options); err != nil {
		return ws, err
	}
	if err := unix.PtraceSyscall(t.pid, 0); err != nil {
		return ws, err
	}
	for {
		tid, err := unix.Wait4(-t.pid, &ws, unix.WALL|wnothread, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return ws, fmt.Errorf("waiting for a stop: %w", err)
		}
		if ws.Exited() || ws.Signaled() {
			if tid == t.pid {
				return ws, nil
			}
			continue
		}
		unix.PtraceSyscall(tid, t.stopped(tid, ws)) // ESRCH: it was killed meanwhile
	}
}

// wnothread keeps wait4 to the children of this thread, as the process group
// keeps it to the traced process: other tests wait for theirs at the same time.
const wnothread = 0x20000000

// stopped looks at a stop and returns the signal to go on with.
func (t *tracer) stopped(tid int, ws unix.WaitStatus) int {
	sig := ws.StopSignal()
	switch {
	case sig == syscall.SIGTRAP|0x80:
		t.syscall(tid)
		return 0
	case ws.TrapCause() > 0: // a new thread
		return 0
	case sig == syscall.SIGSTOP && !t.known[tid]: // it begins so
		t.known[tid] = true
		return 0
	}
	return int(sig)
}

// callInfo is struct ptrace_syscall_info, ptrace(2).
type callInfo struct {
	op    uint8
	_     [3]uint8
	arch  uint32
	ip    uint64
	sp    uint64
	entry [7]uint64 // the number and the arguments; at the exit: the result, and a byte that tells an error
}

func (t *tracer) syscall(tid int) {
	var info callInfo
	const getInfo, atEntry, atExit = 0x420e, 1, 2
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, getInfo, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0); errno != 0 {
		return // killed meanwhile
	}
	switch info.op {
	case atEntry:
		t.enter(tid, info.entry[0], info.entry[1:])
	case atExit:
		if i, ok := t.inside[tid]; ok && i >= 0 {
			ret := int64(info.entry[0])
			if errno := t.fails[tid]; errno != 0 && answer(tid, errno) == nil {
				ret = -int64(errno)
			}
			delete(t.fails, tid)
			t.leave(tid, &t.calls[i], ret)
		}
		delete(t.inside, tid)
	}
}

func (t *tracer) enter(tid int, number uint64, args []uint64) {
	t.inside[tid] = -1
	sh, ok := shapes[number]
	if !ok {
		return
	}
	c := call{pid: tid, name: sh.name, buf: args[1], late: t.told.Load()}
	var words []string
	for i := range max(len(sh.fds), len(sh.names)) {
		if i < len(sh.fds) {
			if w := t.descriptor(int32(args[sh.fds[i]])); w != "" {
				words = append(words, w)
			}
		}
		if i < len(sh.names) {
			words = append(words, t.text(tid, args[sh.names[i]]))
		}
	}
	if sh.name == "socket" {
		words = []string{"socket:"}
	}
	c.text = strings.Join(words, ", ")
	if c.on = about(words, t.b); c.on == "" {
		return
	}
	t.keys[c.name+" "+c.on]++
	c.key = fmt.Sprintf("%s %s #%d", c.name, c.on, t.keys[c.name+" "+c.on])
	t.inside[tid] = len(t.calls)
	t.calls = append(t.calls, c)
	do := t.before(c)
	if do != (trouble{}) && t.proc == "" {
		t.proc = t.inSight()
	}
	if do.signal != 0 {
		t.told.Store(true)
		unix.Kill(t.pid, do.signal) // with SIGKILL the call is not made
	}
	if do.errno != 0 && refuse(tid) == nil {
		t.fails[tid] = do.errno
	}
}

// inSight is what others may see of the process while it stands still.
func (t *tracer) inSight() string {
	var all []byte
	for _, name := range []string{"cmdline", "environ"} {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", t.pid, name)) // of one that is ending: nothing
		all = append(append(all, b...), 0)
	}
	return string(all)
}

// leave notes the result, and what a read brought.
func (t *tracer) leave(tid int, c *call, ret int64) {
	c.ret = fmt.Sprint(ret)
	if c.on == "socket" && ret > 0 && (c.name == "read" || c.name == "recvfrom") {
		head := make([]byte, min(ret, 9))
		unix.PtracePeekData(tid, uintptr(c.buf), head)
		c.text += " " + string(head)
	}
	if ret < 0 {
		c.ret = "-1 " + unix.ErrnoName(syscall.Errno(-ret))
	}
}

// descriptor is what a file descriptor leads to; "" for the working folder.
func (t *tracer) descriptor(fd int32) string {
	if fd < 0 {
		return ""
	}
	name, err := os.Readlink(filepath.Join("/proc", fmt.Sprint(t.pid), "fd", fmt.Sprint(fd)))
	if err != nil {
		return "-"
	}
	return name
}

// text reads a string of the process.
func (t *tracer) text(tid int, at uint64) string {
	var all []byte
	word := make([]byte, 8)
	for len(all) < 4096 {
		if _, err := unix.PtracePeekData(tid, uintptr(at)+uintptr(len(all)), word); err != nil {
			break
		}
		for i, b := range word {
			if b == 0 {
				return string(append(all, word[:i]...))
			}
		}
		all = append(all, word...)
	}
	return string(all)
}
