package lockedfile

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// WriteDurable replaces the file at path by one that holds b, with the permission
// bits mode. After nil it survives a power cut: the content is synced before the
// rename, so that the name never leads to a torn file, and the directory after it.
// If it fails, path still leads to its former content, or (only when the very last
// step, the directory's sync, failed) to b without the promise.
//
// It is meant for side files that only we write: unlike [Target.Reserve] it takes
// no preflight, replaces a symbolic link instead of following it, and keeps of the
// former file only the owner (if root runs it). Callers exclude each other by a
// lock; without one the last writer wins, whole.
func WriteDurable(path string, b []byte, mode fs.FileMode) error {
	if err := WriteReplace(path, b, mode); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// WriteReplace is [WriteDurable] without the sync of the directory, which costs
// about as much as that of the file. After a power cut path leads to b or to its
// former content, whole in both cases. That is enough where finding the former
// content again does no harm (a cleared journal entry is found open and judged
// again), or where another SyncDir of the same directory follows before anybody
// relies on b.
func WriteReplace(path string, b []byte, mode fs.FileMode) error {
	return ReplaceWith(path, mode, func(*os.File) ([]byte, error) { return b, nil })
}

// ReplaceWith is [WriteReplace] of a content that may tell which file it is in (see
// [Identity]): it is asked for with the new file, still empty and under another
// name. An error of it is returned, and path stays as it is.
func ReplaceWith(path string, mode fs.FileMode, content func(*os.File) ([]byte, error)) error {
	temp := path + tempMark + strconv.FormatUint(rand.Uint64(), 36)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|noFollow, 0o600)
	if err != nil {
		return refuseDir(temp, err)
	}
	b, err := content(f)
	if err == nil {
		err = writeAndSync(f, b, mode, path)
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = retrySharing(func() error { return os.Rename(temp, path) })
	}
	if err != nil {
		os.Remove(temp)
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// tempMark stands between a file's name and the random part of its temporary name.
const tempMark = ".new-"

func writeAndSync(f *os.File, b []byte, mode fs.FileMode, path string) error {
	if fi, err := os.Lstat(path); err == nil && os.Geteuid() == 0 {
		if uid, gid, ok := ownerOf(fi); ok && (uid != 0 || gid != 0) {
			if err := f.Chown(uid, gid); err != nil {
				return err
			}
		}
	}
	if hasPermissionBits {
		if err := f.Chmod(mode.Perm()); err != nil { // the umask has no say in this
			return err
		}
	}
	if _, err := f.Write(b); err != nil {
		return err
	}
	return f.Sync()
}

// RemoveStale deletes the temporary files that killed calls of [WriteDurable] and
// [WriteReplace] for the same path left behind, and returns how many there were.
// Call it while holding the lock that excludes other writers of path: it can't
// tell a leftover from a write in progress.
func RemoveStale(path string) (int, error) {
	dir, prefix := filepath.Dir(path), filepath.Base(path)+tempMark
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("looking for leftovers of %s: %w", path, err)
	}
	n := 0
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || !e.Type().IsRegular() {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return n, fmt.Errorf("removing a leftover of %s: %w", path, err)
		}
		n++
	}
	return n, nil
}

// SyncDir makes the names in a directory durable: what was created, renamed or
// removed in it before the call stays so after a power cut. It does nothing on
// Windows, Plan 9 and WebAssembly, which have no such call, and on file systems
// that answer that they can't (EINVAL, ENOTSUP: some network and FUSE mounts).
func SyncDir(dir string) error {
	if !syncsDirectories {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing the directory: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !isSyncUnsupported(err) {
		return fmt.Errorf("syncing the directory: %w", err)
	}
	return nil
}

// SyncFile makes the content of a file durable that was written through another
// handle or by another process, and the file's newest name with it (see
// [Temp.Fill]). It proves nothing after an fsync of the same file has failed: the
// kernel reports a write error once and then forgets.
func SyncFile(path string) error {
	f, err := os.OpenFile(path, syncFlag|noFollow|nonBlock, 0)
	if err != nil {
		return fmt.Errorf("syncing a file: %w", err)
	}
	err = f.Sync()
	f.Close()
	if err != nil {
		return fmt.Errorf("syncing a file: %w", err)
	}
	return nil
}

// Patch overwrites len(b) bytes at offset in place and does not sync: for a word
// of fixed width whose old and new values are both valid after a power cut. Other
// processes see it at once. The word should not cross a multiple of 512, the
// smallest unit that a disk writes whole. Patch never makes the file longer and
// never follows a symbolic link.
func Patch(path string, offset int64, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|noFollow|nonBlock, 0)
	if err != nil {
		return fmt.Errorf("patching a file: %w", err)
	}
	err = patch(f, offset, b)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("patching %s at %d: %w", path, offset, err)
	}
	return nil
}

func patch(f *os.File, offset int64, b []byte) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() || offset < 0 || offset+int64(len(b)) > fi.Size() {
		return fs.ErrInvalid
	}
	_, err = f.WriteAt(b, offset)
	return err
}

// WriteElsewhere writes b durably, mode 0600, as the file name in the first of
// dirs that takes it, and returns the path. A missing directory is created with
// mode 0700, its parents too. A directory that is another user's, or in which
// others may write, is passed over: what is rescued there could be taken away or
// replaced. If none takes it the error joins every directory's own.
func WriteElsewhere(dirs []string, name string, b []byte) (path string, err error) {
	if name != filepath.Base(name) || !filepath.IsLocal(name) || name == "." {
		return "", fmt.Errorf("writing %q elsewhere: %w", name, fs.ErrInvalid)
	}
	errs := []error{errors.New("no directory takes the file")}
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		err := ownDirectory(dir)
		if err == nil {
			err = WriteDurable(path, b, 0o600)
		}
		if err == nil {
			return path, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

// ownDirectory creates dir durably where it is missing, and checks that nobody
// else can write in it.
func ownDirectory(dir string) error {
	if err := MakeDirectory(dir); err != nil {
		return err
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("checking %s: %w", dir, err)
	}
	link, err := os.Lstat(dir) // the link itself may be a stranger's, see below
	if err != nil {
		return fmt.Errorf("checking %s: %w", dir, err)
	}
	for _, one := range []fs.FileInfo{fi, link} {
		if uid, _, known := ownerOf(one); known && uid != os.Geteuid() {
			return refuse(dir, ForeignOwner, nil)
		}
	}
	if hasPermissionBits && fi.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("checking %s: others may write in it: %w", dir, fs.ErrPermission)
	}
	return nil
}

// MakeDirectory is os.MkdirAll with mode 0700 that syncs the parent of each directory it creates: a
// durable file in a directory whose own name is lost is lost too.
func MakeDirectory(dir string) error {
	if fi, err := os.Stat(dir); err == nil && fi.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := MakeDirectory(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("creating a directory: %w", err)
	}
	return SyncDir(parent)
}
