package evergrant

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// An answer that its place does not take is kept in a rescue file, which a later
// run finds by its name.

// rescueName is the name of a rescue file for an attempt on a grant. The
// grant's path or id is hashed: a folder is shared by all of a user's grants.
func rescueName(grant, attempt, hash string) string {
	return contentHash([]byte(grant)) + "." + attempt + "." + hash + rescueEnd
}

const rescueEnd = ".json"

// rescued lists the rescue files of an attempt, or with "" all of a grant.
func rescued(dirs []string, grant, attempt string) ([]tempFile, error) {
	var out []tempFile
	for _, dir := range dirs {
		names, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) { // never needed, or another user's
			return nil, storageError("rescue-unreadable", dir, "the folder for rescued answers cannot be listed", "nothing was sent; look at the cause and run it again", err)
		}
		for _, e := range names {
			rest, ours := strings.CutPrefix(e.Name(), contentHash([]byte(grant))+".")
			rest, whole := strings.CutSuffix(rest, rescueEnd)
			id, hash, _ := strings.Cut(rest, ".")
			if ours && whole && (attempt == "" || attempt == id) {
				out = append(out, tempFile{path: filepath.Join(dir, e.Name()), hash: hash})
			}
		}
	}
	return out, nil
}

// rescueFolders are the places for an answer that could not be stored where it
// belongs, in order.
func rescueFolders() []string {
	var dirs []string
	if d := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(d) {
		dirs = append(dirs, filepath.Join(d, "evergrant", "rescue"))
	} else if home, err := os.UserHomeDir(); err == nil {
		dirs = append(dirs, filepath.Join(home, ".local", "state", "evergrant", "rescue"))
	}
	return append(dirs, filepath.Join(os.TempDir(), fmt.Sprintf("evergrant-%d", os.Getuid()), "rescue"))
}

// wholeFile reads a file whose content should have this hash; nil if it has
// not. A file that cannot be read now may be the only copy of an answer: that
// is an error, so that nobody takes it for a leftover.
func wholeFile(path, hash string) ([]byte, error) {
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, storageError("answer-unreadable", path, "the answer of an interrupted refresh cannot be read", "nothing was sent; look at the cause and run it again", err)
	case contentHash(b) != hash:
		return nil, nil
	}
	return b, nil
}

func contentHash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:hashBytes])
}
