//go:build darwin || freebsd

package lockedfile

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func network(path string) (NetworkInfo, error) {
	real, err := Resolve(path)
	if err != nil {
		return NetworkInfo{}, err
	}
	var fsys unix.Statfs_t
	if err := unix.Statfs(real, &fsys); err != nil {
		return NetworkInfo{}, fmt.Errorf("asking for the file system of %s: %w", path, err)
	}
	kind := unix.ByteSliceToString(fsys.Fstypename[:])
	return NetworkInfo{Kind: kind, Remote: fsys.Flags&unix.MNT_LOCAL == 0}, nil
}
