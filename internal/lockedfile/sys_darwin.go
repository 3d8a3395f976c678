package lockedfile

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// exchange swaps two names of the directory in one step, which APFS can do.
func exchange(root *os.Root, a, b string) error {
	err := withDir(root, func(fd int) error {
		return unix.RenameatxNp(fd, a, fd, b, unix.RENAME_SWAP)
	})
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENOTSUP):
		return fmt.Errorf("%w: %w", errNoExchange, err)
	}
	return err
}
