//go:build darwin || freebsd || netbsd

package lockedfile

import (
	"os"
	"syscall"
)

// birthOf knows the time of birth, which these systems tell with the rest.
func birthOf(f *os.File) (number uint64, birth int64, err error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	st := fi.Sys().(*syscall.Stat_t)
	return uint64(st.Ino), st.Birthtimespec.Nano(), nil
}
