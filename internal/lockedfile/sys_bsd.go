//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package lockedfile

import (
	"io/fs"
	"os"
	"syscall"
)

// The immutable and append-only flags of the user and of the system have the same
// values on all BSDs and macOS (chflags(2)).
const frozenFlags = 0x00000002 | 0x00000004 | 0x00020000 | 0x00040000

func examine(root *os.Root, name string, info fs.FileInfo) (facts, error) {
	dir, err := root.Stat(".")
	if err != nil {
		return facts{}, err
	}
	return facts{links: linksOf(info), immutable: frozen(info), dirImmutable: frozen(dir)}, nil
}

func frozen(fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && st.Flags&frozenFlags != 0
}
