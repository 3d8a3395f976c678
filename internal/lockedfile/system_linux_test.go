package lockedfile_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/evergrant/evergrant/internal/lockedfile"
)

const nobody = 65534

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root")
	}
}

// publicDir is a directory that other users can enter, with a copy of the test
// binary (the go command's own directory is closed to them).
func publicDir(t *testing.T) (dir, binary string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "lockedfile")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(dir, "child")
	if err := errors.Join(os.WriteFile(binary, b, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return dir, binary
}

// runAs runs a child as another user, whose group is the same number.
func runAs(t *testing.T, binary string, uid uint32, command string, args ...string) string {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), childEnv+"="+command)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestOtherUsers(t *testing.T) {
	needRoot(t)
	dir, binary := publicDir(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	mine := func(name string, mode fs.FileMode, uid, gid int) error {
		return errors.Join(os.WriteFile(at(name), []byte("old"), 0o600), os.Chmod(at(name), mode), os.Chown(at(name), uid, gid))
	}
	if err := errors.Join(
		os.Mkdir(at("theirs"), 0o755), os.Chown(at("theirs"), nobody, nobody),
		mine("theirs/root-owned", 0o666, 0, 0),
		mine("theirs/own", 0o600, nobody, nobody),
		mine("theirs/own-private-other-group", 0o600, nobody, 0),
		mine("theirs/own-shared-other-group", 0o640, nobody, 0),
		mine("own-in-closed-directory", 0o600, nobody, nobody),
		mine("theirs/.root-lock", 0o666, 0, 0),
	); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ command, file, want string }{
		{"inspect", "theirs/root-owned", "error: refused " + lockedfile.ForeignOwner},
		{"inspect", "theirs/own", ""},
		{"inspect", "theirs/own-private-other-group", ""},
		{"inspect", "theirs/own-shared-other-group", "error: refused " + lockedfile.ForeignGroup},
		{"inspect", "own-in-closed-directory", "error: refused " + lockedfile.DirectoryReadOnly},
		{"try", "theirs/.root-lock", "error: refused " + lockedfile.LockForeignOwner},
		{"try", "theirs/.own-lock", ""},
		{"try", ".lock-in-closed-directory", "error: refused " + lockedfile.DirectoryReadOnly},
	} {
		if got := runAs(t, binary, nobody, tt.command, at(tt.file)); got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.command, tt.file, got, tt.want)
		}
	}
	if got := runAs(t, binary, nobody, "replace", at("theirs/own-private-other-group"), "new"); got != "exchanged true" {
		t.Errorf("replace of a private file of another group: %q", got)
	}
	if l, err := lockedfile.TryAcquire(at("theirs/.own-lock")); err != nil {
		t.Errorf("root and another user's lock file: %v", err)
	} else {
		l.Release()
	}
}

func TestRootKeepsForeignOwner(t *testing.T) {
	needRoot(t)
	path := write(t, "old")
	if err := errors.Join(os.Chmod(path, 0o640), os.Chown(path, nobody, 1234)); err != nil {
		t.Fatal(err)
	}
	side := path + ".lock"
	l, err := lockedfile.TryAcquire(side)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	if err := lockedfile.OwnLike(side, path); err != nil {
		t.Error(err)
	}
	other := write(t, "root's own")
	for name, make := range map[string]func(string, string) error{"link": os.Symlink, "second name": os.Link} {
		at := path + "." + name
		if err := make(other, at); err != nil {
			t.Fatal(err)
		}
		if err := lockedfile.OwnLike(at, path); err == nil {
			t.Errorf("root gave away a file behind a %s", name)
		}
	}
	if fi, err := os.Stat(other); err != nil || fi.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("root gave away another file: %v", err)
	}
	temp := prepare(t, path, "new")
	if _, err := temp.Swap(); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{path: 0o640, side: 0o600} {
		fi, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		st := fi.Sys().(*syscall.Stat_t)
		if fi.Mode() != mode || st.Uid != nobody || st.Gid != 1234 {
			t.Errorf("%s: mode %v, owner %d:%d", filepath.Base(name), fi.Mode(), st.Uid, st.Gid)
		}
	}
	// Side files keep their owner too.
	if err := lockedfile.WriteDurable(side, []byte("state"), 0o600); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(side); err != nil || fi.Sys().(*syscall.Stat_t).Uid != nobody {
		t.Errorf("WriteDurable by root took the file from its owner: %v", err)
	}
}

func TestExtendedAttributesKept(t *testing.T) {
	path := write(t, "old")
	// POSIX ACL, version 2: user::rw-, user:65534:r--, group::---, mask::r--, other::---
	acl, err := hex.DecodeString("02000000" + "01000600ffffffff" + "02000400feff0000" + "04000000ffffffff" + "10000400ffffffff" + "20000000ffffffff")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{"user.note": []byte("keep me"), "user.empty": {}}
	if err := unix.Setxattr(path, "user.note", want["user.note"], 0); errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("SKIPPED: the temporary directory's file system has no extended attributes")
	}
	if err := errors.Join(
		unix.Setxattr(path, "user.empty", nil, 0),
		unix.Setxattr(path, "system.posix_acl_access", acl, 0),
	); err != nil {
		t.Fatal(err)
	}
	want["system.posix_acl_access"] = acl
	temp := prepare(t, path, "new")
	if got := temp.Unkept(); len(got) > 0 {
		t.Errorf("Unkept = %q", got)
	}
	if _, err := temp.Swap(); err != nil {
		t.Fatal(err)
	}
	has(t, path, "new")
	for name, value := range want {
		got := make([]byte, 256)
		n, err := unix.Getxattr(path, name, got)
		if err != nil || !bytes.Equal(got[:n], value) {
			t.Errorf("%s = %x, %v; want %x", name, got[:max(n, 0)], err, value)
		}
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o640 {
		t.Errorf("mode %v, %v; want 0640, the ACL's mask in the group bits", fi.Mode(), err)
	}
}

// TestDefaultACLNotInherited: a directory's default ACL must not give the new file
// readers that the old one did not have.
func TestDefaultACLNotInherited(t *testing.T) {
	path := write(t, "old")
	acl, err := hex.DecodeString("02000000" + "01000700ffffffff" + "02000700feff0000" + "04000000ffffffff" + "10000700ffffffff" + "20000000ffffffff")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(filepath.Dir(path), "system.posix_acl_default", acl, 0); err != nil {
		t.Skip("SKIPPED: no ACLs here:", err)
	}
	temp := prepare(t, path, "new")
	if _, err := temp.Swap(); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.Getxattr(path, "system.posix_acl_access", make([]byte, 256)); !errors.Is(err, unix.ENODATA) {
		t.Errorf("the new file has an ACL of %d bytes, %v", n, err)
	}
}

func mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	needRoot(t)
	if err := syscall.Mount(source, target, kind, flags, data); err != nil {
		t.Skipf("SKIPPED: mounting is not permitted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(target, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func TestMountPointRefused(t *testing.T) {
	path, source := write(t, "old"), write(t, "elsewhere")
	mount(t, source, path, "", syscall.MS_BIND, "")
	_, err := lockedfile.Inspect(path)
	refused(t, err, lockedfile.MountPoint)
	_, err = lockedfile.Inspect(source)
	if err != nil {
		t.Errorf("the source of the bind mount is an ordinary file: %v", err)
	}
}

func TestReadOnlyFilesystem(t *testing.T) {
	dir := t.TempDir()
	mount(t, "tmpfs", dir, "tmpfs", 0, "size=1m")
	path := filepath.Join(dir, "token.json")
	if err := errors.Join(
		os.WriteFile(path, []byte("old"), 0o600),
		syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""),
	); err != nil {
		t.Fatal(err)
	}
	_, err := lockedfile.Inspect(path)
	refused(t, err, lockedfile.ReadOnlyFilesystem)
	_, err = lockedfile.TryAcquire(path + ".lock")
	refused(t, err, lockedfile.ReadOnlyFilesystem)
}

// TestFullDisk: a reservation on a full disk is refused and leaves nothing; one
// that was made before takes its answer on a disk that is full by then.
func TestFullDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	mount(t, "tmpfs", dir, "tmpfs", 0, "size=256k")
	path := filepath.Join(dir, "token.json")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	target, err := lockedfile.Inspect(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = target.Reserve(".too-large", 1<<20)
	refused(t, err, lockedfile.NoSpace)
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("a refused reservation left %q", got)
	}
	temp, err := target.Reserve(".reserved", 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer temp.Close()
	if err := os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	_, err = target.Reserve(".second", 4096)
	refused(t, err, lockedfile.NoSpace)
	answer := strings.Repeat("x", 64<<10)
	if err := temp.Fill([]byte(answer), ".filled"); err != nil {
		t.Fatalf("the space was reserved: %v", err)
	}
	if _, err := temp.Swap(); err != nil {
		t.Fatal(err)
	}
	has(t, path, answer)
	if info, err := lockedfile.Network(path); err != nil || info.Kind != "tmpfs" || info.Remote {
		t.Errorf("Network in a directory with a space = %+v, %v", info, err)
	}
}

func TestNetworkLocal(t *testing.T) {
	info, err := lockedfile.Network(write(t, ""))
	if err != nil || info.Remote || info.LocalLocks || info.Kind == "" {
		t.Errorf("Network = %+v, %v; want a local kind (are the tests run on a network file system?)", info, err)
	}
	if _, err := lockedfile.Network("/missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestNetworkKinds(t *testing.T) {
	const nfs, cifs, nine, fuse, ext4 = 0x6969, 0xFE534D42, 0x01021997, 0x65735546, 0xEF53
	line := func(kind, options string) string {
		return "36 35 0:42 / /home\\040dir rw,noatime shared:1 - " + kind + " server:/x rw," + options
	}
	for _, tt := range []struct {
		magic         uint32
		line          string
		kind          string
		remote, local bool
	}{
		{nfs, line("nfs4", "vers=4.2,local_lock=none"), "nfs4", true, false},
		{nfs, line("nfs", "vers=3,local_lock=all"), "nfs", true, true},
		{nfs, line("nfs", "vers=3,local_lock=flock"), "nfs", true, true},
		{nfs, line("nfs", "vers=3,local_lock=posix"), "nfs", true, false},
		{nfs, line("nfs", "vers=3,nolock"), "nfs", true, true},
		{nfs, "", "nfs", true, false},
		{cifs, line("cifs", "vers=3.1.1,nobrl"), "cifs", true, true},
		{cifs, line("cifs", "vers=3.1.1"), "cifs", true, false},
		{nine, line("9p", "trans=virtio"), "9p", true, true},
		{fuse, line("fuse.sshfs", "user_id=0"), "fuse.sshfs", true, true},
		{fuse, line("fuseblk", "user_id=0"), "fuseblk", false, false},
		{ext4, line("ext4", "nolock"), "ext4", false, false},
	} {
		got := lockedfile.JudgeMount(tt.magic, tt.line)
		if got.Kind != tt.kind || got.Remote != tt.remote || got.LocalLocks != tt.local || (got.Why != "") != tt.local {
			t.Errorf("%#x %q = %+v", tt.magic, tt.line, got)
		}
	}
}

func TestImmutableRefused(t *testing.T) {
	needRoot(t)
	for name, flag := range map[string]int{"immutable": 0x10, "append-only": 0x20} {
		t.Run(name, func(t *testing.T) {
			path := write(t, "old")
			setFlags(t, path, flag)
			_, err := lockedfile.Inspect(path)
			refused(t, err, lockedfile.Immutable)
		})
		t.Run(name+" directory", func(t *testing.T) {
			path := write(t, "old")
			setFlags(t, filepath.Dir(path), flag)
			_, err := lockedfile.Inspect(path)
			refused(t, err, lockedfile.DirectoryReadOnly)
		})
	}
}

// setFlags adds an inode flag (ioctl_iflags(2)) and takes it away in the end.
func setFlags(t *testing.T, path string, flag int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	now, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		t.Skip("SKIPPED: this file system has no flags:", err)
	}
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, now|flag); err != nil {
		t.Skip("SKIPPED: setting the flag is not permitted here:", err)
	}
	t.Cleanup(func() {
		if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, now); err != nil {
			t.Error(err)
		}
	})
}

func TestPipeAsTarget(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := lockedfile.Inspect(path)
	refused(t, err, lockedfile.NotRegular)
	_, err = lockedfile.TryAcquire(path)
	refused(t, err, lockedfile.LockNotRegular)
	if err := lockedfile.Patch(path, 0, nil); err == nil {
		t.Error("patched a pipe")
	}
}
