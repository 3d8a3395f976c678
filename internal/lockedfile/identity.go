package lockedfile

import (
	"strconv"
)

// Identity tells the file at path from every other one that its file system has
// held: by its inode number, and where the system tells it by the time of its
// birth in nanoseconds. A file that is renamed within its file system stays the
// same; a copy, whatever makes it, is another one, as is a file that was deleted
// and made again. Like a lock file it must be regular, and a symbolic link is not
// followed: else the error is a [*RefusedError].
//
// It is no proof against who writes the file system itself, such as the maker of
// a disk image. Linux tells the birth on ext4, xfs, btrfs, tmpfs and most others;
// macOS, FreeBSD, NetBSD and Windows tell it; elsewhere the number stands alone.
// Some file systems that have no numbers of their own (FAT, sshfs) make them up
// anew at each mount.
func Identity(path string) (string, error) {
	number, birth, err := birthOf(path)
	if err != nil {
		return "", err
	}
	id := strconv.FormatUint(number, 10)
	if birth != 0 {
		id += "-" + strconv.FormatInt(birth, 10)
	}
	return id, nil
}
