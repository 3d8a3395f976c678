//go:build !unix && !windows

package lockedfile

import (
	"errors"
	"io/fs"
	"os"
)

// Plan 9 and WebAssembly: no owners, no links, and no locks either, so that
// Acquire answers ErrUnsupported. The rest works as far as the system goes.
const (
	noFollow = 0
	nonBlock = 0
	syncFlag = os.O_RDWR

	hasPermissionBits = false
	renamesOpenFiles  = false
	syncsDirectories  = false
)

func ownerOf(fs.FileInfo) (uid, gid int, known bool) { return -1, -1, false }
func linksOf(fs.FileInfo) uint64                     { return 1 }
func isNoSpace(error) bool                           { return false }
func isReadOnlyFS(error) bool                        { return false }
func isLoop(error) bool                              { return false }
func isLockUnsupported(err error) bool               { return errors.Is(err, errors.ErrUnsupported) }
func isSyncUnsupported(error) bool                   { return false }
func accessDirectory(*os.Root) error                 { return nil }
func retrySharing(f func() error) error              { return f() }
func preallocate(f *os.File, size int64) error       { return f.Truncate(max(size, 0)) }

// holder is known on Linux only.
func holder(path string) (pid int, ok bool) { return 0, false }

func examine(*os.Root, string, fs.FileInfo) (facts, error) { return facts{links: 1}, nil }

// birthOf knows nothing: there are no numbers of files either.
func birthOf(*os.File) (uint64, int64, error) { return 0, 0, errors.ErrUnsupported }
