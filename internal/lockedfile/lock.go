package lockedfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"

	"github.com/gofrs/flock"
)

// Waiters poll, because a blocking flock can't be ended by a context. The jitter
// keeps 64 waiters from knocking at the same instant; the mean of 11 ms costs a
// waiter about 90 tries of some 10 µs a second.
const (
	pollMin = 2 * time.Millisecond
	pollMax = 20 * time.Millisecond
)

// recreations bounds how often one try follows a lock file that is deleted and
// created anew under its hands.
const recreations = 16

// Lock is an exclusive lock that the kernel keeps on an open file. Its zero value
// is of no use: call [Acquire] or [TryAcquire].
type Lock struct {
	path string
	fl   *flock.Flock
}

// Acquire waits until it holds the lock on the file path or ctx ends. The file is
// created empty with mode 0600 where it is missing; it is never written, renamed
// or deleted. A symbolic link, anything but a regular file, and (except for root)
// a file of another user are refused with a [*RefusedError], as is a directory in
// which the file can't be created.
//
// The lock excludes every other Acquire of the same path on this machine, in this
// process as well, and is freed by the kernel when the process ends. It guards
// files: the race detector can't see it, so memory that goroutines share needs its
// own mutex.
//
// If somebody deletes the lock file, its holder keeps a lock that newcomers can't
// see. So the lock is only taken to be held while path still leads to the locked
// file, which is checked after locking; a second holder can exist only if the file
// was deleted during the first one's time, which [Lock.Check] tells the first.
//
// When ctx ends the error wraps [ErrBusy] and [context.Cause]. It wraps
// [ErrUnsupported] where the file system has no locks.
func Acquire(ctx context.Context, path string) (*Lock, error) {
	for {
		if ctx.Err() != nil {
			return nil, busyError(ctx, path)
		}
		l, err := TryAcquire(path)
		if err == nil || !errors.Is(err, ErrBusy) {
			return l, err
		}
		pause := time.NewTimer(pollMin + rand.N(pollMax-pollMin))
		select {
		case <-ctx.Done():
			pause.Stop()
		case <-pause.C:
		}
	}
}

// busyError tells who stood in the way, where the system says so.
func busyError(ctx context.Context, path string) error {
	if pid, ok := Holder(path); ok {
		return fmt.Errorf("waiting for %s, held by process %d: %w: %w", path, pid, ErrBusy, context.Cause(ctx))
	}
	return fmt.Errorf("waiting for %s: %w: %w", path, ErrBusy, context.Cause(ctx))
}

// Holder returns the process that holds the lock on path, where the system says
// so: on Linux, for a holder in the same pid namespace. It is for messages only;
// by the time it returns the holder may be gone. Nothing is ever written into the
// lock file to find out.
func Holder(path string) (pid int, ok bool) { return holder(path) }

// TryAcquire is [Acquire] without waiting: where the lock is held its error wraps
// [ErrBusy].
func TryAcquire(path string) (*Lock, error) {
	for range recreations {
		if err := ensureLockFile(path); err != nil {
			return nil, err
		}
		l, err := lockOnce(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errReplaced) {
			continue // deleted between two steps of ours
		}
		return l, err
	}
	return nil, fmt.Errorf("locking %s, which is deleted again and again: %w", path, ErrBusy)
}

// errReplaced says that the path no longer leads to the file that was locked.
var errReplaced = errors.New("the file was replaced meanwhile")

// ensureLockFile creates the file where it is missing. It opens an existing file
// without O_CREATE, because Linux refuses that flag (fs.protected_regular) for a
// file of another user in a world-writable directory, even to root.
func ensureLockFile(path string) error {
	li, err := os.Lstat(path)
	if err == nil {
		return checkLockFile(path, li)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return refuseDir(path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|noFollow, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil // somebody was faster; the lock decides
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("creating the lock file: %w", err) // no directory: don't try again
	}
	if err != nil {
		return refuseDir(path, err)
	}
	defer f.Close()
	return f.Chmod(0o600) // a strange umask may have taken the owner's own rights
}

// checkLockFile refuses what a stranger may have planted under the lock's name.
func checkLockFile(path string, fi fs.FileInfo) error {
	if !fi.Mode().IsRegular() {
		return refuse(path, LockNotRegular, nil)
	}
	uid, _, known := ownerOf(fi)
	if euid := os.Geteuid(); known && euid != 0 && uid != euid {
		return refuse(path, LockForeignOwner, nil)
	}
	return nil
}

// lockOnce opens, locks and verifies. The file is opened for reading and writing
// because NFS turns flock into a byte-range lock, which needs a writable handle.
func lockOnce(path string) (*Lock, error) {
	fl := flock.New(path, flock.SetFlag(os.O_RDWR|noFollow|nonBlock), flock.SetPermissions(0o600))
	ok, err := fl.TryLock()
	switch {
	case err != nil && isLockUnsupported(err):
		return nil, fmt.Errorf("locking %s: %w: %w", path, ErrUnsupported, err)
	case err != nil && isLoop(err):
		return nil, refuse(path, LockNotRegular, err)
	case err != nil:
		return nil, fmt.Errorf("locking %s: %w", path, err)
	case !ok:
		return nil, fmt.Errorf("locking %s: %w", path, ErrBusy)
	}
	if err := verifyLock(fl, path); err != nil {
		fl.Unlock()
		return nil, err
	}
	return &Lock{path: path, fl: fl}, nil
}

// verifyLock checks that path still leads to the file that was locked, and that
// this very file is one that we may trust.
func verifyLock(fl *flock.Flock, path string) error {
	held, err := fl.Stat()
	if err != nil {
		return fmt.Errorf("reading the locked file: %w", err)
	}
	now, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("reading the lock file: %w", err)
	}
	if !os.SameFile(held, now) {
		return errReplaced
	}
	return checkLockFile(path, held)
}

// Path returns the name of the lock file.
func (l *Lock) Path() string { return l.path }

// Check tells whether the lock still protects anything: it returns an error that
// wraps [fs.ErrNotExist], or says that the file was replaced, where somebody
// deleted the lock file while it was held. It costs two stat calls, so it can be
// asked just before a step that can't be taken back.
func (l *Lock) Check() error {
	if !l.fl.Locked() {
		return fmt.Errorf("checking %s: %w", l.path, fs.ErrClosed)
	}
	if err := verifyLock(l.fl, l.path); err != nil {
		return fmt.Errorf("checking %s: %w", l.path, err)
	}
	return nil
}

// Release frees the lock and leaves the file where it is. A second Release does
// nothing.
func (l *Lock) Release() error {
	if err := l.fl.Unlock(); err != nil {
		return fmt.Errorf("releasing %s: %w", l.path, err)
	}
	return nil
}
