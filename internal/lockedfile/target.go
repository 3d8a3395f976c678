package lockedfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Target is a file that can be replaced. It is made by [Inspect] and holds what
// the new file has to have in common with the old one; it holds no handle and
// needs no Close.
type Target struct {
	Path string // absolute
	Dir  string // the directory of Path
	Base string // the last component of Path

	Mode fs.FileMode // permission bits, and no others
	UID  int         // owner; -1 where the system has none
	GID  int         // group; -1 where the system has none
	Size int64       // bytes, at the time of Inspect

	// Loose reports that group or others may read or write the file. That is the
	// user's decision and kept, but a file of secrets deserves a warning.
	Loose bool

	dir   fs.FileInfo // identity of the directory
	attrs []attribute // extended attributes to carry over
}

// attribute is one extended attribute of a file.
type attribute struct {
	name  string
	value []byte
}

// probe is what the checks of Inspect look at.
type probe struct {
	*Target
	root *os.Root
	info fs.FileInfo
}

// facts are what examine finds beyond an fs.FileInfo.
type facts struct {
	links        uint64
	mountPoint   bool
	immutable    bool // the immutable or append-only flag of the file
	dirImmutable bool // the same of its directory
}

// Inspect finds out whether the file at path can be replaced, and by what. The
// path must be resolved ([Resolve]): a symbolic link is refused like anything else
// that is no regular file.
//
// A refusal is a [*RefusedError]. A missing file gives an error that wraps
// [fs.ErrNotExist]. The file is opened for writing once, because only that asks
// the mount, the immutable flag, security modules and a remote server at once; it
// is neither written nor truncated.
func Inspect(path string) (*Target, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("inspecting %s: %w", path, err)
	}
	t := &Target{Path: abs, Dir: filepath.Dir(abs), Base: filepath.Base(abs)}
	root, err := os.OpenRoot(t.Dir)
	if err != nil {
		return nil, fmt.Errorf("inspecting %s: %w", path, err)
	}
	defer root.Close()
	if err := t.describe(root); err != nil {
		return nil, err
	}
	return t, nil
}

// describe fills in t and runs the checks, cheapest and most telling first.
func (t *Target) describe(root *os.Root) error {
	info, err := root.Lstat(t.Base)
	if err != nil {
		return fmt.Errorf("inspecting %s: %w", t.Path, err)
	}
	if t.dir, err = root.Stat("."); err != nil {
		return fmt.Errorf("inspecting %s: %w", t.Dir, err)
	}
	t.Mode = info.Mode().Perm()
	t.Size = info.Size()
	t.Loose = t.Mode&0o066 != 0 && hasPermissionBits
	t.UID, t.GID = -1, -1
	if uid, gid, ok := ownerOf(info); ok {
		t.UID, t.GID = uid, gid
	}
	p := probe{Target: t, root: root, info: info}
	for _, check := range []func(probe) error{
		checkRegular, checkOwner, checkMode, checkFlags, checkOpen, checkDirectory,
	} {
		if err := check(p); err != nil {
			return err
		}
	}
	return nil
}

func checkRegular(p probe) error {
	if !p.info.Mode().IsRegular() {
		return refuse(p.Path, NotRegular, nil)
	}
	return nil
}

// checkOwner lets root pass: it can give the new file any owner, and where it
// can't (a user namespace) Reserve says so.
func checkOwner(p probe) error {
	euid := os.Geteuid()
	if p.UID < 0 || euid <= 0 {
		return nil
	}
	if p.UID != euid {
		return refuse(p.Path, ForeignOwner, nil)
	}
	if p.groupMatters() && !memberOf(p.GID) {
		return refuse(p.Path, ForeignGroup, nil)
	}
	return nil
}

// groupMatters tells whether anybody would notice another group on the new file.
func (t *Target) groupMatters() bool { return t.Mode&0o070 != 0 }

func memberOf(gid int) bool {
	groups, err := os.Getgroups()
	return err != nil || gid == os.Getegid() || slices.Contains(groups, gid)
}

// checkMode takes a missing owner's write bit for the user's wish, also for root,
// who could write all the same.
func checkMode(p probe) error {
	if p.Mode&0o200 == 0 {
		return refuse(p.Path, ReadOnly, nil)
	}
	return nil
}

// checkFlags asks for what only the system's own calls tell.
func checkFlags(p probe) error {
	facts, err := examine(p.root, p.Base, p.info)
	if err != nil {
		return fmt.Errorf("inspecting %s: %w", p.Path, err)
	}
	switch {
	case facts.links > 1:
		return refuse(p.Path, HardLinked, nil)
	case facts.mountPoint:
		return refuse(p.Path, MountPoint, nil)
	case facts.immutable:
		return refuse(p.Path, Immutable, nil)
	case facts.dirImmutable:
		return refuse(p.Dir, DirectoryReadOnly, nil)
	}
	return nil
}

// checkOpen opens the file as a writer would and takes its extended attributes
// from that very handle.
func checkOpen(p probe) error {
	f, err := p.root.OpenFile(p.Base, os.O_WRONLY|noFollow|nonBlock, 0)
	switch {
	case err == nil:
	case isReadOnlyFS(err):
		return refuse(p.Path, ReadOnlyFilesystem, err)
	case isLoop(err):
		return refuse(p.Path, NotRegular, err)
	case errors.Is(err, fs.ErrPermission):
		return refuse(p.Path, ReadOnly, err)
	default:
		return fmt.Errorf("opening %s for writing: %w", p.Path, err)
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !os.SameFile(fi, p.info) {
		return fmt.Errorf("inspecting %s: %w", p.Path, errors.Join(errReplaced, err))
	}
	p.attrs = attributes(f)
	return nil
}

func checkDirectory(p probe) error {
	err := accessDirectory(p.root)
	switch {
	case err == nil:
		return nil
	case isReadOnlyFS(err):
		return refuse(p.Dir, ReadOnlyFilesystem, err)
	}
	return refuse(p.Dir, DirectoryReadOnly, err)
}

// OwnLike gives a side file (a lock, a state) the owner of the file beside which
// it stands. Root needs it: a lock file that root created would lock the owner
// out for good. For everybody else it does nothing. The side file must be a
// regular file with one name: root gives no other file away.
func OwnLike(side, file string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	want, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("adopting %s: %w", side, err)
	}
	uid, gid, known := ownerOf(want)
	if !known {
		return nil
	}
	f, err := os.OpenFile(side, os.O_RDONLY|noFollow|nonBlock, 0)
	if err != nil {
		return fmt.Errorf("adopting %s: %w", side, err)
	}
	defer f.Close()
	have, err := f.Stat()
	if err != nil {
		return fmt.Errorf("adopting %s: %w", side, err)
	}
	if u, g, _ := ownerOf(have); u == uid && g == gid {
		return nil
	}
	if !have.Mode().IsRegular() || linksOf(have) > 1 {
		return refuse(side, NotRegular, nil)
	}
	if err := f.Chown(uid, gid); err != nil {
		return fmt.Errorf("adopting %s: %w", side, err)
	}
	return nil
}
