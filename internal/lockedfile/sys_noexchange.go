//go:build !linux && !darwin

package lockedfile

import "os"

// exchange is not to be had: Windows' ReplaceFile keeps a backup, but in several
// steps that a crash can come between.
func exchange(*os.Root, string, string) error { return errNoExchange }
