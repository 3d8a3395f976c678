package lockedfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// faccessat asks with the effective ids, by which files are created.
func faccessat(fd int, name string, mode uint32) error {
	return unix.Faccessat(fd, name, mode, unix.AT_EACCESS)
}

// examine asks statx, which knows mount points since Linux 5.8 and flags since
// 4.11; an older kernel's word on mount points comes from /proc.
func examine(root *os.Root, name string, info fs.FileInfo) (facts, error) {
	found := facts{links: linksOf(info)}
	err := withDir(root, func(fd int) error {
		file, known, err := statxAttributes(fd, name)
		if err != nil {
			return err
		}
		dir, _, err := statxAttributes(fd, "")
		if err != nil {
			return err
		}
		const frozen = unix.STATX_ATTR_IMMUTABLE | unix.STATX_ATTR_APPEND
		found.immutable = file&frozen != 0
		found.dirImmutable = dir&frozen != 0
		found.mountPoint = file&unix.STATX_ATTR_MOUNT_ROOT != 0
		if known&unix.STATX_ATTR_MOUNT_ROOT == 0 {
			found.mountPoint = isMounted(filepath.Join(root.Name(), name))
		}
		return nil
	})
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		// No statx, or a sandbox that denies it.
		found.mountPoint = isMounted(filepath.Join(root.Name(), name))
		return found, nil
	}
	return found, err
}

// statxAttributes returns the set attributes and those that the kernel knows.
func statxAttributes(fd int, name string) (set, known uint64, err error) {
	var st unix.Statx_t
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	if err := unix.Statx(fd, name, flags, unix.STATX_TYPE, &st); err != nil {
		return 0, 0, fmt.Errorf("statx: %w", err)
	}
	return st.Attributes, st.Attributes_mask, nil
}

// preallocate reserves blocks without writing them. The file has its full length
// afterwards, so that filling it changes no allocation.
func preallocate(f *os.File, size int64) error {
	if size <= 0 {
		return nil
	}
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return fillZeros(f, size)
		}
		return err
	}
}

// exchange swaps two names of the directory in one step. EPERM is taken for a
// sandbox that doesn't know the call: where it is the file's, the plain rename
// that follows gets the same answer.
func exchange(root *os.Root, a, b string) error {
	err := withDir(root, func(fd int) error {
		return unix.Renameat2(fd, a, fd, b, unix.RENAME_EXCHANGE)
	})
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS),
		errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: %w", errNoExchange, err)
	}
	return err
}

// holder looks the file up in /proc/locks.
func holder(path string) (pid int, ok bool) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return 0, false
	}
	dev := uint64(st.Dev) // 32 bits wide on some architectures
	id := fmt.Sprintf("%02x:%02x:%d", unix.Major(dev), unix.Minor(dev), st.Ino)
	f, err := os.Open("/proc/locks")
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// 1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF
		w := strings.Fields(lines.Text())
		if len(w) > 5 && w[1] == "FLOCK" && w[3] == "WRITE" && w[5] == id {
			pid, err := strconv.Atoi(w[4])
			return pid, err == nil && pid > 0
		}
	}
	return 0, false
}

// mount is one line of /proc/self/mountinfo.
type mount struct {
	dev     string // major:minor, as stat has it
	point   string
	kind    string
	options []string // of the mount and of the file system
}

// mounts reads /proc/self/mountinfo (proc_pid_mountinfo(5)); nil where there is none.
func mounts() []mount {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	return parseMounts(f)
}

func parseMounts(r io.Reader) []mount {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var all []mount
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20) // overlay mounts list their layers
	for lines.Scan() {
		left, right, ok := strings.Cut(lines.Text(), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 6 || len(r) < 1 {
			continue
		}
		m := mount{dev: l[2], point: unescape.Replace(l[4]), kind: r[0], options: strings.Split(l[5], ",")}
		if len(r) > 2 {
			m.options = append(m.options, strings.Split(r[2], ",")...)
		}
		all = append(all, m)
	}
	return all
}

func isMounted(path string) bool {
	for _, m := range mounts() {
		if m.point == path {
			return true
		}
	}
	return false
}

// mountOf finds the mount that a resolved path is on: of those on its device (all
// of them where none matches: btrfs subvolumes show other numbers) the one with
// the longest mount point, the last mounted among equals.
func mountOf(path string, dev string) mount {
	var best mount
	found := false
	for _, onDevice := range []bool{true, false} {
		for _, m := range mounts() {
			if onDevice && m.dev != dev || !contains(m.point, path) {
				continue
			}
			if !found || len(m.point) >= len(best.point) {
				best, found = m, true
			}
		}
		if found {
			break
		}
	}
	return best
}

// contains tells whether path is at or below dir.
func contains(dir, path string) bool {
	return dir == "/" || path == dir || strings.HasPrefix(path, dir+"/")
}

// remoteKind knows the file systems that other machines may share, by the magic
// number of statfs(2). The number decides, for /proc may be missing or be another
// namespace's.
func remoteKind(magic uint32) (kind string, ok bool) {
	switch magic {
	case 0x6969:
		return "nfs", true
	case 0x517B:
		return "smb", true
	case 0xFF534D42:
		return "cifs", true
	case 0xFE534D42:
		return "smb2", true
	case 0x01021997:
		return "9p", true
	case 0x65735546:
		return "fuse", true
	case 0x5346414F:
		return "afs", true
	case 0x6B414653:
		return "afs", true
	case 0x00C36400:
		return "ceph", true
	case 0x0BD00BD0:
		return "lustre", true
	case 0x47504653:
		return "gpfs", true
	case 0x7461636F:
		return "ocfs2", true
	case 0x01161970:
		return "gfs2", true
	case 0x73757245:
		return "coda", true
	case 0x20030528:
		return "orangefs", true
	case 0x19830326:
		return "beegfs", true
	case 0x786F4256:
		return "vboxsf", true
	case 0xBACBACBC:
		return "vmhgfs", true
	}
	return "", false
}

// localKind knows the usual file systems of one machine, for which the mount
// options need not be read.
func localKind(magic uint32) (kind string, ok bool) {
	switch magic {
	case 0xEF53:
		return "ext4", true
	case 0x58465342:
		return "xfs", true
	case 0x9123683E:
		return "btrfs", true
	case 0x01021994:
		return "tmpfs", true
	case 0x794C7630:
		return "overlay", true
	case 0xF2F52010:
		return "f2fs", true
	case 0x2FC12FC1:
		return "zfs", true
	}
	return "", false
}

func network(path string) (NetworkInfo, error) {
	real, err := Resolve(path)
	if err != nil {
		return NetworkInfo{}, err
	}
	var fsys unix.Statfs_t
	if err := unix.Statfs(real, &fsys); err != nil {
		return NetworkInfo{}, fmt.Errorf("asking for the file system of %s: %w", path, err)
	}
	if kind, ok := localKind(uint32(fsys.Type)); ok {
		return NetworkInfo{Kind: kind}, nil // reading mountinfo takes longer than all the rest
	}
	m := mountOf(real, deviceOf(real))
	return judge(uint32(fsys.Type), m), nil
}

// deviceOf is the device number as mountinfo writes it.
func deviceOf(path string) string {
	fi, err := os.Lstat(path)
	if err != nil {
		return ""
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	dev := uint64(st.Dev)
	return fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev))
}

// localFUSE are FUSE file systems over a local disk: what the kernel grants there
// holds for everybody who can reach the file.
func localFUSE(kind string) bool {
	switch kind {
	case "fuseblk", "fuse.fuse-overlayfs", "fuse.encfs", "fuse.gocryptfs", "fuse.cryfs", "fuse.portal", "fuse.bindfs":
		return true
	}
	return false
}

// judge tells from the magic number and the mount how far a lock reaches.
func judge(magic uint32, m mount) NetworkInfo {
	kind, remote := remoteKind(magic)
	if !remote || localFUSE(m.kind) {
		return NetworkInfo{Kind: m.kind}
	}
	if m.kind == "" {
		m.kind = kind
	}
	info := NetworkInfo{Kind: m.kind, Remote: true}
	for _, o := range m.options {
		switch {
		case kind == "nfs" && (o == "nolock" || o == "local_lock=all" || o == "local_lock=flock"),
			(kind == "cifs" || kind == "smb2" || kind == "smb") && (o == "nobrl" || o == "nolock"),
			kind == "lustre" && (o == "localflock" || o == "noflock"),
			kind == "ocfs2" && o == "localflocks",
			kind == "gfs2" && o == "localflocks":
			info.LocalLocks, info.Why = true, "mount option "+o
		}
	}
	switch kind {
	case "9p", "vboxsf", "vmhgfs", "fuse":
		// 9p servers commonly grant every lock, the virtual machines' shared folders
		// have none, and a FUSE server (sshfs, virtiofs, rclone) has to opt in to
		// see locks, which can't be told from here.
		info.LocalLocks, info.Why = true, "locks are usually not passed on by "+m.kind
	}
	return info
}

// birthOf asks statx. Where there is none, or a sandbox denies it, nobody tells
// the birth.
func birthOf(f *os.File) (number uint64, birth int64, err error) {
	var st unix.Statx_t
	err = unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &st)
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		number, err = numberOf(f)
		return number, 0, err
	case err != nil:
		return 0, 0, err
	case st.Mask&unix.STATX_BTIME == 0:
		return st.Ino, 0, nil
	}
	return st.Ino, st.Btime.Sec*1e9 + int64(st.Btime.Nsec), nil
}
