//go:build linux || darwin || freebsd

package lockedfile

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// attributes reads the extended attributes that a replacement should have too.
// What can't be read can't be kept and is left out.
func attributes(f *os.File) []attribute {
	var all []attribute
	for _, name := range attributeNames(f) {
		if contentBound(name) {
			continue
		}
		if v, err := attributeValue(f, name); err == nil {
			all = append(all, attribute{name, v})
		}
	}
	return all
}

// attributeNames lists them; the size is asked for first, and again if the list
// grew in between.
func attributeNames(f *os.File) []string {
	for range 4 {
		n, err := unix.Flistxattr(int(f.Fd()), nil)
		if err != nil || n == 0 {
			return nil
		}
		buf := make([]byte, n)
		n, err = unix.Flistxattr(int(f.Fd()), buf)
		if errors.Is(err, unix.ERANGE) {
			continue
		}
		if err != nil {
			return nil
		}
		return strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 })
	}
	return nil
}

func attributeValue(f *os.File, name string) ([]byte, error) {
	n, err := unix.Fgetxattr(int(f.Fd()), name, nil)
	if err != nil || n == 0 {
		return nil, err
	}
	v := make([]byte, n)
	n, err = unix.Fgetxattr(int(f.Fd()), name, v)
	return v[:max(n, 0)], err
}

// copyAttributes sets the target's attributes and removes those that the file got
// from its directory (a default ACL). It returns the names that it could not keep:
// an unprivileged process may read some that it may not set.
func copyAttributes(f *os.File, t *Target) (unkept []string) {
	for _, a := range t.attrs {
		if now, err := attributeValue(f, a.name); err == nil && len(now) > 0 && bytes.Equal(now, a.value) {
			continue // a security label is often right already and may not be set
		}
		if err := unix.Fsetxattr(int(f.Fd()), a.name, a.value, 0); err != nil {
			unkept = append(unkept, a.name)
		}
	}
	for _, name := range inherited() {
		if !slices.ContainsFunc(t.attrs, func(a attribute) bool { return a.name == name }) {
			unix.Fremovexattr(int(f.Fd()), name) // nearly always: there is none
		}
	}
	return unkept
}

// contentBound are attributes that describe the content (hashes and signatures of
// it); on other content they are wrong and may make the file unreadable.
func contentBound(name string) bool {
	return name == "security.ima" || name == "security.evm" || name == "security.capability"
}

// inherited are attributes that a new file may get from its directory, to be
// removed where the target has none. Only Linux shows ACLs as attributes.
func inherited() []string { return []string{"system.posix_acl_access"} }
