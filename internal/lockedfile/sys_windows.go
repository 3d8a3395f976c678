package lockedfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/windows"
)

const (
	noFollow = 0
	nonBlock = 0
	syncFlag = os.O_RDWR // FlushFileBuffers wants a handle that may write

	hasPermissionBits = false // an access list instead, see copyAttributes
	renamesOpenFiles  = false
	syncsDirectories  = false
)

func ownerOf(fs.FileInfo) (uid, gid int, known bool) { return -1, -1, false }

func linksOf(fs.FileInfo) uint64 { return 1 }

func isNoSpace(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) ||
		errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}

func isReadOnlyFS(err error) bool { return errors.Is(err, windows.ERROR_WRITE_PROTECT) }

func isLoop(error) bool { return false }

func isLockUnsupported(err error) bool {
	return errors.Is(err, windows.ERROR_NOT_SUPPORTED) || errors.Is(err, windows.ERROR_INVALID_FUNCTION)
}

func isSyncUnsupported(error) bool { return false }

// accessDirectory leaves the answer to Reserve, which creates a file there.
func accessDirectory(*os.Root) error { return nil }

func examine(root *os.Root, name string, info fs.FileInfo) (facts, error) {
	f, err := root.Open(name)
	if err != nil {
		return facts{}, err
	}
	defer f.Close()
	var found windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(windows.Handle(f.Fd()), &found); err != nil {
		return facts{}, err
	}
	return facts{links: uint64(found.NumberOfLinks)}, nil
}

// sharingPatience bounds how long a virus scanner, an indexer or a reader may keep
// a file from being renamed by having it open.
const sharingPatience = 2 * time.Second

// retrySharing repeats f while another program has the file open.
func retrySharing(f func() error) error {
	pause := time.Millisecond
	for end := time.Now().Add(sharingPatience); ; pause = min(2*pause, 100*time.Millisecond) {
		err := f()
		if err == nil || !isSharing(err) || time.Now().After(end) {
			return err
		}
		time.Sleep(pause)
	}
}

func isSharing(err error) bool {
	return errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_ACCESS_DENIED) ||
		errors.Is(err, windows.ERROR_LOCK_VIOLATION)
}

// preallocate sets the length, for which NTFS reserves clusters.
func preallocate(f *os.File, size int64) error { return f.Truncate(max(size, 0)) }

func attributes(*os.File) []attribute { return nil }

// copyAttributes gives the file the target's access list. A new file would have
// the directory's, which may let more people read.
func copyAttributes(f *os.File, t *Target) (unkept []string) {
	if err := copyAccessList(filepath.Join(t.Dir, filepath.Base(f.Name())), t.Path); err != nil {
		return []string{"access list"}
	}
	return nil
}

func copyAccessList(to, from string) error {
	sd, err := windows.GetNamedSecurityInfo(from, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return err
	}
	list, _, err := sd.DACL()
	if err != nil {
		return err
	}
	what := windows.SECURITY_INFORMATION(windows.DACL_SECURITY_INFORMATION)
	if control, _, err := sd.Control(); err == nil && control&windows.SE_DACL_PROTECTED != 0 {
		what |= windows.PROTECTED_DACL_SECURITY_INFORMATION
	}
	return windows.SetNamedSecurityInfo(to, windows.SE_FILE_OBJECT, what, nil, nil, list, nil)
}

// holder is known on Linux only.
func holder(path string) (pid int, ok bool) { return 0, false }

func network(path string) (NetworkInfo, error) {
	real, err := Resolve(path)
	if err != nil {
		return NetworkInfo{}, err
	}
	volume := filepath.VolumeName(real)
	if len(volume) > 2 { // \\server\share
		return NetworkInfo{Kind: "smb", Remote: true}, nil
	}
	name, err := windows.UTF16PtrFromString(volume + `\`)
	if err != nil {
		return NetworkInfo{}, err
	}
	if windows.GetDriveType(name) == windows.DRIVE_REMOTE {
		return NetworkInfo{Kind: "smb", Remote: true}, nil
	}
	return NetworkInfo{}, nil
}

// birthOf is the file's index, which NTFS gives out only once. The time of its
// creation tells nothing: a file that is renamed to the name of one that was there a
// moment ago may inherit that one's.
func birthOf(f *os.File) (number uint64, birth int64, err error) {
	var found windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(windows.Handle(f.Fd()), &found); err != nil {
		return 0, 0, err
	}
	return uint64(found.FileIndexHigh)<<32 | uint64(found.FileIndexLow), 0, nil
}
