package lockedfile

import (
	"os"
	"strconv"
)

// Identity tells an open regular file from every other one that its file system
// has held: by its inode number, and where the system tells it by the time of its
// birth in nanoseconds. A file that is renamed within its file system stays the
// same; a copy, whatever makes it, is another one, as is a file that was deleted
// and made again. So a file that holds its own identity was written where it is.
//
// It is no proof against who writes the file system itself, such as the maker of
// a disk image. Linux tells the birth on ext4, xfs, btrfs, tmpfs and most others,
// and nobody can set it. macOS, FreeBSD and NetBSD tell it, and unpacking a file can
// set it there, so that who made the archive has only the number to guess;
// elsewhere too the number stands alone (Windows counts in it how often it was
// used). Some file systems that have no numbers of their own (FAT, sshfs) make them
// up anew at each mount, or for each name.
func Identity(f *os.File) (string, error) {
	number, birth, err := birthOf(f)
	if err != nil {
		return "", &os.PathError{Op: "identity", Path: f.Name(), Err: err}
	}
	id := strconv.FormatUint(number, 10)
	if birth != 0 {
		id += "-" + strconv.FormatInt(birth, 10)
	}
	return id, nil
}
