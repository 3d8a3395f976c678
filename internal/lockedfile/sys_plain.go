//go:build !linux && !darwin && !freebsd && !windows

package lockedfile

import "os"

// Systems without extended attributes, or with ones that we don't carry over.

func attributes(*os.File) []attribute { return nil }

func copyAttributes(*os.File, *Target) (unkept []string) { return nil }

func network(path string) (NetworkInfo, error) {
	_, err := Resolve(path)
	return NetworkInfo{}, err
}
