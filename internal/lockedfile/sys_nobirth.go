//go:build unix && !linux && !darwin && !freebsd && !netbsd

package lockedfile

import "syscall"

// birthOf knows the number only.
func birthOf(path string) (number uint64, birth int64, err error) {
	fi, err := lstatRegular(path)
	if err != nil {
		return 0, 0, err
	}
	return uint64(fi.Sys().(*syscall.Stat_t).Ino), 0, nil
}
