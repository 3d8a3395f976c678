//go:build unix && !linux

package lockedfile

import (
	"os"

	"golang.org/x/sys/unix"
)

// faccessat asks with the real ids: not every system knows AT_EACCESS. They
// differ from the effective ones in a set-user-id program only, for which Reserve
// has the last word.
func faccessat(fd int, name string, mode uint32) error {
	return unix.Faccessat(fd, name, mode, 0)
}

func preallocate(f *os.File, size int64) error { return fillZeros(f, size) }

// holder is known on Linux only.
func holder(path string) (pid int, ok bool) { return 0, false }
