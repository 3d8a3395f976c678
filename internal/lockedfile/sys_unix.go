//go:build unix

package lockedfile

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	noFollow = unix.O_NOFOLLOW
	nonBlock = unix.O_NONBLOCK // opening a planted pipe must not hang
	syncFlag = os.O_RDONLY

	hasPermissionBits = true
	renamesOpenFiles  = true
	syncsDirectories  = true
)

func ownerOf(fi fs.FileInfo) (uid, gid int, known bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return -1, -1, false
	}
	return int(st.Uid), int(st.Gid), true
}

func linksOf(fi fs.FileInfo) uint64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink)
	}
	return 1
}

func isNoSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG)
}

func isReadOnlyFS(err error) bool { return errors.Is(err, unix.EROFS) }

// isLoop recognises the answer to O_NOFOLLOW on a symbolic link: ELOOP, except
// on FreeBSD (EMLINK) and NetBSD (EFTYPE, which has no portable name).
func isLoop(err error) bool {
	return errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EMLINK)
}

func isLockUnsupported(err error) bool {
	return errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOLCK) ||
		errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTSUP)
}

func isSyncUnsupported(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EOPNOTSUPP)
}

// withDir calls f with the descriptor of the directory that root holds.
func withDir(root *os.Root, f func(fd int) error) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	conn, err := d.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := conn.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// accessDirectory asks whether names can be created in the directory.
func accessDirectory(root *os.Root) error {
	return withDir(root, func(fd int) error {
		return faccessat(fd, ".", unix.W_OK|unix.X_OK)
	})
}

// retrySharing is for Windows; elsewhere nobody can keep a file from being renamed
// by having it open.
func retrySharing(f func() error) error { return f() }

// fillZeros takes the space by writing it.
func fillZeros(f *os.File, size int64) error {
	block := make([]byte, min(size, 64<<10))
	for at := int64(0); at < size; at += int64(len(block)) {
		if _, err := f.WriteAt(block[:min(int64(len(block)), size-at)], at); err != nil {
			return err
		}
	}
	return nil
}

// numberOf is the inode number.
func numberOf(f *os.File) (uint64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return uint64(fi.Sys().(*syscall.Stat_t).Ino), nil
}
