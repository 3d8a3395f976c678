package lockedfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Temp is a file that is going to replace a [Target]. It lives through one
// Reserve, one Fill and one Swap (or two, to swap back), in this order, and is
// not safe for use by several goroutines. Close it in the end.
type Temp struct {
	target *Target
	root   *os.Root // the target's directory, held open so that it can't be swapped
	file   *os.File // nil once closed
	name   string   // last component; what was at the target after an exchange
	state  tempState
	unkept []string
}

// tempState says what may be called next.
type tempState int

const (
	reserved tempState = iota // Fill
	spoiled                   // Remove: a write or fsync failed, its content is unknown
	filled                    // Swap
	swapped                   // Swap (back), if names were exchanged
	spent                     // nothing: the name is gone
)

func (s tempState) String() string {
	return [...]string{"reserved", "spoiled", "filled", "swapped", "spent"}[s]
}

// Reserve creates the file name next to the target, takes size bytes for it on the
// disk, and gives it the target's owner, group, permission bits and extended
// attributes, so that none of this can fail any more when there is an answer to
// store. Nothing is synced: the reservation protects from a full disk, not from a
// power cut.
//
// The name must be a single new component. A refusal is a [*RefusedError]
// ([NoSpace], [ForeignOwner], [ForeignGroup], [DirectoryReadOnly], …); whatever
// fails, no file stays behind.
//
// On file systems that copy on write with checksums (ZFS) and on network file
// systems a reservation is a good sign, not a guarantee.
func (t *Target) Reserve(name string, size int64) (*Temp, error) {
	if name != filepath.Base(name) || !filepath.IsLocal(name) || name == "." || name == t.Base {
		return nil, fmt.Errorf("reserving %q next to %s: %w", name, t.Path, fs.ErrInvalid)
	}
	root, err := os.OpenRoot(t.Dir)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", t.Dir, err)
	}
	if now, err := root.Stat("."); err != nil || !os.SameFile(now, t.dir) {
		root.Close()
		return nil, refuse(t.Dir, DirectoryChanged, err)
	}
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|noFollow, 0o600)
	if err != nil {
		root.Close()
		return nil, refuseDir(filepath.Join(t.Dir, name), err)
	}
	temp := &Temp{target: t, root: root, file: f, name: name}
	if err := temp.prepare(size); err != nil {
		temp.Remove()
		return nil, err
	}
	return temp, nil
}

// prepare takes the space and dresses the file up as the target. The order
// matters: a change of owner may clear permission bits, and with an ACL the
// group bits are its mask, so the mode comes last.
func (t *Temp) prepare(size int64) error {
	err := preallocate(t.file, size)
	switch {
	case err == nil:
	case isNoSpace(err):
		return refuse(t.target.Dir, NoSpace, err)
	default:
		return fmt.Errorf("reserving %d bytes in %s: %w", size, t.target.Dir, err)
	}
	if err := t.takeOwner(); err != nil {
		return err
	}
	t.unkept = copyAttributes(t.file, t.target)
	if !hasPermissionBits {
		return nil
	}
	if err := t.file.Chmod(t.target.Mode); err != nil {
		return fmt.Errorf("setting the mode of %s: %w", t.Path(), err)
	}
	return nil
}

// takeOwner gives the file the target's owner and group, each only where it
// differs, because an unprivileged user may change the group alone.
func (t *Temp) takeOwner() error {
	fi, err := t.file.Stat()
	if err != nil {
		return fmt.Errorf("reading the owner of %s: %w", t.Path(), err)
	}
	uid, gid, ok := ownerOf(fi)
	if !ok {
		return nil
	}
	if uid != t.target.UID {
		if err := t.file.Chown(t.target.UID, -1); err != nil {
			return refuse(t.target.Path, ForeignOwner, err)
		}
	}
	if gid != t.target.GID {
		if err := t.file.Chown(-1, t.target.GID); err != nil && t.target.groupMatters() {
			return refuse(t.target.Path, ForeignGroup, err)
		}
	}
	return nil
}

// Unkept names the extended attributes that this system or this user could not
// carry over; it is empty in the usual case.
func (t *Temp) Unkept() []string { return t.unkept }

// Path is where the file is: under its reserved name, after Fill under the name
// given there. After a Swap that exchanged it is where the *former* content of the
// target is, so that the caller can look at what came out.
func (t *Temp) Path() string { return filepath.Join(t.target.Dir, t.name) }

// Fill writes b, gives the file the name, and makes content and name durable.
// It can be called once. After nil a power cut keeps the file and its name; the
// target is still untouched. An empty name keeps the reserved one.
//
// The rename comes before the fsync. One fsync of the file then covers both: on
// ext4 it commits the journal transaction that also holds the rename (the rename
// touched the inode's ctime), on xfs it forces the log up to the inode's last
// change, which is the rename, and btrfs logs the inode's new name along with it.
// Syncing first and renaming afterwards would need a second sync, of the directory,
// for the same result. The rename comes before the write, too: see write. A crash in
// between leaves a file that is empty or torn under a name that carries the hash
// of its content, which recovery compares.
//
// After an error the Temp is spoiled and can only be removed. The fsync is not
// repeated, since Linux forgets the failed pages after reporting them once and
// would report success ("fsyncgate"): reserve a new Temp and
// fill that.
func (t *Temp) Fill(b []byte, name string) error {
	if t.state != reserved || t.file == nil {
		return fmt.Errorf("filling %s, which is %v: %w", t.Path(), t.state, fs.ErrInvalid)
	}
	t.state = spoiled
	if err := t.write(b, name); err != nil {
		return fmt.Errorf("filling %s: %w", t.Path(), err)
	}
	t.state = filled
	return nil
}

// write renames, cuts and writes, in this order: the one write is the last step
// before the sync, so that a process killed at any point after it has left the
// whole of b under a name by which recovery finds it.
func (t *Temp) write(b []byte, name string) error {
	if !renamesOpenFiles {
		// Windows: its rename wants the file closed, so the name comes last.
		err := errors.Join(t.overwrite(b), t.file.Sync(), t.file.Close())
		t.file = nil
		return errors.Join(err, t.rename(name))
	}
	if err := t.rename(name); err != nil {
		return err
	}
	if err := t.overwrite(b); err != nil {
		return err
	}
	return t.file.Sync()
}

// overwrite cuts the file to the length of b and writes it at once.
func (t *Temp) overwrite(b []byte) error {
	if err := t.file.Truncate(int64(len(b))); err != nil {
		return err
	}
	_, err := t.file.WriteAt(b, 0)
	return err
}

func (t *Temp) rename(name string) error {
	if name == "" || name == t.name {
		return nil
	}
	if name != filepath.Base(name) || !filepath.IsLocal(name) || name == t.target.Base {
		return fmt.Errorf("renaming to %q: %w", name, fs.ErrInvalid)
	}
	if err := retrySharing(func() error { return t.root.Rename(t.name, name) }); err != nil {
		return err
	}
	t.name = name
	return nil
}

// Swap puts the file in the target's place, in one step that no reader can see
// halfway. With exchanged true the two files exchanged their names: [Temp.Path]
// now leads to what was at the target, which the caller can compare and, by
// another Swap, exchange back. With exchanged false the system can't do that, the
// former file is gone and so is Path.
//
// An exchange needs both names: if the target was deleted, the error wraps
// [fs.ErrNotExist] and nothing has changed (a plain rename, elsewhere, brings the
// target back).
//
// Nothing is synced. Until [SyncDir] has returned, a power cut may undo the swap
// (the file is then found under the name that Fill gave it), but it can't leave
// anything else at the target than one of the two complete files.
func (t *Temp) Swap() (exchanged bool, err error) {
	if t.state != filled && t.state != swapped {
		return false, fmt.Errorf("swapping %s, which is %v: %w", t.Path(), t.state, fs.ErrInvalid)
	}
	exchanged, err = t.exchangeOrRename()
	switch {
	case err != nil:
		return false, fmt.Errorf("replacing %s: %w", t.target.Path, err)
	case !exchanged:
		t.state = spent
	case t.state == filled:
		t.state = swapped
	default:
		t.state = filled
	}
	return exchanged, nil
}

func (t *Temp) exchangeOrRename() (bool, error) {
	err := exchange(t.root, t.name, t.target.Base)
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, errNoExchange) {
		return false, err
	}
	if t.state == swapped {
		return false, err // never rename the former content over the new one
	}
	return false, retrySharing(func() error { return t.root.Rename(t.name, t.target.Base) })
}

// errNoExchange says that this system or file system can't exchange two names.
var errNoExchange error = unsupported("exchanging names")

// unsupported is an [errors.ErrUnsupported] that says what is.
type unsupported string

func (e unsupported) Error() string { return string(e) + ": " + errors.ErrUnsupported.Error() }
func (unsupported) Unwrap() error   { return errors.ErrUnsupported }

// Remove deletes the file at [Temp.Path], if it is still there, and closes the
// Temp. After a Swap that exchanged this deletes the former content. Not synced: a
// power cut may bring the file back, so leftovers have to be expected.
func (t *Temp) Remove() error {
	defer t.Close()
	if !renamesOpenFiles && t.file != nil {
		t.file.Close()
		t.file = nil
	}
	if t.state == spent {
		return nil
	}
	err := retrySharing(func() error { return t.root.Remove(t.name) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing %s: %w", t.Path(), err)
	}
	t.state = spent
	return nil
}

// Close releases the handles and leaves the files where they are; Swap and Remove
// fail from then on. A second Close does nothing.
func (t *Temp) Close() error {
	var err error
	if t.file != nil {
		err = t.file.Close()
		t.file = nil
	}
	return errors.Join(err, t.root.Close())
}
