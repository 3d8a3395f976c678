// Package lockedfile excludes other processes from a file and replaces the file
// so that neither a crash nor a power cut can leave it torn, empty or lost.
//
// Call [Resolve] first to find the file behind a symbolic link, then [Acquire] a
// lock on a side file next to it, then [Inspect] to learn whether the file can be
// replaced at all. All refusals come as a [*RefusedError], before anything was
// changed. [Target.Reserve] then takes the space for the new content, [Temp.Fill]
// makes the new content durable under a name of the caller's choice, and
// [Temp.Swap] puts it in place:
//
//	path, err := lockedfile.Resolve("token.json")
//	lock, err := lockedfile.Acquire(ctx, side(path))
//	defer lock.Release()
//	target, err := lockedfile.Inspect(path)
//	temp, err := target.Reserve(".token.json.tmp", 64<<10) // still free to give up
//	err = temp.Fill(answer, ".token.json."+attempt)        // durable from here on
//	exchanged, err := temp.Swap()                          // in place from here on
//	err = lockedfile.SyncDir(target.Dir)                   // in place after a power cut too
//	err = temp.Remove()
//
// Side files that nobody else edits are written by [WriteDurable], [WriteReplace]
// and [Patch].
//
// # Promises
//
//   - A lock belongs to an open file: it ends with its process, however that dies,
//     and it excludes other goroutines of the same process as well.
//   - The target is never opened for truncation. At each moment its name leads to
//     the whole old content or to the whole new content.
//   - Owner, group, permission bits and extended attributes (POSIX ACLs and the
//     SELinux label among them) are the old file's; see the limits.
//   - After a failed fsync the same file is never synced again: the kernel may have
//     dropped the dirty pages and report success the second time.
//   - Symbolic links are not followed in the last component, and once inspected
//     the directory is held by an open handle, so that swapping it for a link in
//     between leads nowhere.
//
// # Limits by system
//
//   - Exchanging names ([Temp.Swap] returns true) needs Linux 3.15 with a file
//     system that can do it (ext4, xfs, btrfs, tmpfs, overlayfs), or macOS on APFS.
//     Elsewhere a plain rename overwrites what another program wrote a moment ago.
//   - Only Linux tells mount points from other files and reserves space without
//     writing it. Elsewhere a bind-mounted file is noticed when the rename fails
//     with EBUSY, and the space is taken by writing zeros.
//   - Extended attributes are kept on Linux, macOS and FreeBSD; macOS ACLs
//     (which are no extended attributes) are not. Windows keeps the access list;
//     other systems keep the permission bits and the owner.
//   - Windows, Plan 9 and WebAssembly cannot sync a directory: [SyncDir] does
//     nothing there, and a power cut may undo a rename that was reported as done.
//   - Locks on network file systems reach only as far as the mount lets them:
//     ask [Network].
package lockedfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

var (
	// ErrBusy says that somebody else holds the lock.
	ErrBusy = errors.New("lockedfile: lock is held elsewhere")

	// ErrUnsupported says that the file system has no locks. It wraps
	// [errors.ErrUnsupported]. Going on without a lock is the caller's decision,
	// and for a token that can be spent only once it is the wrong one.
	ErrUnsupported error = unsupported("lockedfile: file system has no locks")
)

// Reasons a file is refused, the values of [RefusedError.Reason].
const (
	NotRegular         = "not-regular"          // a directory, device, pipe or link
	HardLinked         = "hard-linked"          // a second name would keep the old content
	ForeignOwner       = "foreign-owner"        // owned by another user whom we can't restore
	ForeignGroup       = "foreign-group"        // has rights for a group that we can't restore
	ReadOnly           = "read-only"            // owner may not write, or opening for writing failed
	MountPoint         = "mount-point"          // bind-mounted: can't be renamed over
	Immutable          = "immutable"            // immutable or append-only flag
	DirectoryReadOnly  = "directory-read-only"  // no file can be created next to it
	DirectoryChanged   = "directory-changed"    // not the directory that was inspected
	ReadOnlyFilesystem = "read-only-filesystem" // mounted read-only
	NoSpace            = "no-space"             // disk full, over quota or over a size limit
	LockNotRegular     = "lock-not-regular"     // the lock file is a link, directory, device …
	LockForeignOwner   = "lock-foreign-owner"   // the lock file is another user's
)

// RefusedError says why a file is not touched. It is returned before anything
// was changed, so the caller can still do nothing at all.
type RefusedError struct {
	Path   string // the file, or the directory that stands in the way
	Reason string // one of the constants above
	Hint   string // what the user can do about it, a sentence without full stop
	Err    error  // the system's own error, nil where our check found it
}

// Error names the path, the reason and the system's error; the hint is left to
// the caller's own line.
func (e *RefusedError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s is refused (%s): %v", e.Path, e.Reason, e.Err)
	}
	return fmt.Sprintf("%s is refused (%s)", e.Path, e.Reason)
}

// Unwrap gives the system's error.
func (e *RefusedError) Unwrap() error { return e.Err }

// hintFor says what the user can do about a reason.
func hintFor(reason string) string {
	switch reason {
	case NotRegular:
		return "name a regular file"
	case HardLinked:
		return "the file has a second name that would keep the old content; remove one of them, or replace it by a symbolic link"
	case ForeignOwner:
		return "run as the owner of the file, or change its owner with chown"
	case ForeignGroup:
		return "join the group of the file, or change the group with chgrp"
	case ReadOnly:
		return "give the owner write permission with chmod u+w"
	case MountPoint:
		return "the file itself is mounted and can't be replaced; mount its directory instead"
	case Immutable:
		return "remove the flag with chattr -i -a (chflags nouchg on BSD and macOS)"
	case DirectoryReadOnly:
		return "the new file has to be created in this directory; make it writable and searchable for this user"
	case DirectoryChanged:
		return "the directory was replaced meanwhile; try again"
	case ReadOnlyFilesystem:
		return "the file system is mounted read-only; remount it or move the file"
	case NoSpace:
		return "free some space or raise the quota"
	case LockNotRegular:
		return "something else has the name of the lock file; move it away"
	case LockForeignOwner:
		return "the lock file belongs to another user; run as that user, or let its owner remove it"
	}
	return ""
}

// refuse builds a RefusedError with the hint of its reason.
func refuse(path, reason string, err error) *RefusedError {
	return &RefusedError{Path: path, Reason: reason, Hint: hintFor(reason), Err: err}
}

// refuseDir turns a failure to create path into a refusal where the system's
// error says that its directory can't take it, and else only adds context.
func refuseDir(path string, err error) error {
	dir := filepath.Dir(path)
	switch {
	case isReadOnlyFS(err):
		return refuse(dir, ReadOnlyFilesystem, err)
	case isNoSpace(err):
		return refuse(dir, NoSpace, err)
	case errors.Is(err, fs.ErrPermission):
		return refuse(dir, DirectoryReadOnly, err)
	}
	return fmt.Errorf("creating %s: %w", path, err)
}

// Resolve returns the absolute path of the file that a chain of symbolic links
// leads to: the file that has to be replaced so that the link stays a link.
// The file must exist. Errors wrap what the system said: [fs.ErrNotExist] for a
// missing file and for a link that dangles, ELOOP for a link that leads to itself.
func Resolve(path string) (string, error) {
	if _, err := os.Stat(path); err != nil {
		return "", explainStat(path, err)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", fmt.Errorf("resolving %s: %w", path, err)
	}
	abs, err := filepath.Abs(real)
	if err != nil {
		return "", fmt.Errorf("resolving %s: %w", path, err)
	}
	return abs, nil
}

// explainStat tells a link that leads nowhere from a missing file: the system's
// "no such file" about a name that the user can list is confusing.
func explainStat(path string, err error) error {
	if li, lerr := os.Lstat(path); lerr == nil && li.Mode()&fs.ModeSymlink != 0 {
		to, _ := os.Readlink(path)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("resolving %s: the link leads to %s, which is missing: %w", path, to, err)
		}
		return fmt.Errorf("resolving %s: following the link to %s: %w", path, to, err)
	}
	return fmt.Errorf("resolving %s: %w", path, err)
}
