//go:build unix

package evergrant

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// trusted refuses a side file that somebody else may have written. mine reports
// that it is this user's own.
func trusted(have fs.FileInfo, file string) (mine bool, err error) {
	want, err := os.Stat(file)
	if err != nil {
		return false, err
	}
	if have.Mode().Perm()&0o022 != 0 {
		return false, errors.New("other users can write it")
	}
	h, ok1 := have.Sys().(*syscall.Stat_t)
	w, ok2 := want.Sys().(*syscall.Stat_t)
	if !ok1 || !ok2 {
		return true, nil
	}
	if mine = int(h.Uid) == os.Geteuid(); !mine && h.Uid != w.Uid {
		return false, errors.New("it belongs to another user than the token file")
	}
	return mine, nil
}

func inode(info fs.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Ino)
	}
	return 0
}
