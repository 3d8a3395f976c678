//go:build aix || solaris

package lockedfile

import (
	"io/fs"
	"os"
)

// examine knows the link count only; flags and mounts show when the file is opened
// or renamed.
func examine(_ *os.Root, _ string, info fs.FileInfo) (facts, error) {
	return facts{links: linksOf(info)}, nil
}
