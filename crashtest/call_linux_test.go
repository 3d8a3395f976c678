//go:build amd64 || arm64

package crashtest_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A call is one system call of a traced process.
type call struct {
	pid  int
	name string
	text string // what it names, and for a read from the socket how the answer begins
	ret  string // "": it never returned
	on   string // what it is about, by the part it plays: "token", "side", "answer" …
	key  string // names the call across runs: name, what it is about, how often so far
	buf  uint64 // where a read puts its bytes, in the process
	late bool   // the process had been told to stop
}

// done reports whether the call returned without an error.
func (c call) done() bool { return c.ret != "" && !strings.HasPrefix(c.ret, "-1 ") }

// emptyForm is the name of a temporary file that holds no answer yet.
var emptyForm = regexp.MustCompile(`^\.token\.json\.evergrant\..*\.(reserved|0+\.0+)\.tmp$`)

// about says which of our files a call touches, several joined by ">".
func about(words []string, b *bed) string {
	var all []string
	for _, w := range words {
		if o := object(w, b); o != "" {
			all = append(all, o)
		}
	}
	if i := slices.IndexFunc(all, func(o string) bool { return o != "folder" }); i >= 0 {
		all = slices.DeleteFunc(all, func(o string) bool { return o == "folder" }) // only where the name is looked up
	}
	return strings.Join(slices.Compact(all), ">")
}

// object names a file by the part it plays; temporary names are random.
func object(path string, b *bed) string {
	path = strings.TrimSuffix(path, " (deleted)")
	base := filepath.Base(path)
	switch {
	case strings.HasPrefix(path, "socket:"), strings.HasPrefix(path, "TCP:"):
		return "socket"
	case path == b.box:
		return "folder"
	case base == "token.json":
		return "token"
	case base == ".token.json.evergrant":
		return "side"
	case base == ".token.json.evergrant.lock":
		return "lock"
	case strings.HasPrefix(base, ".token.json.evergrant.new-"):
		return "newside"
	case emptyForm.MatchString(base):
		return "reserved"
	case strings.HasPrefix(base, ".token.json.evergrant.") && strings.HasSuffix(base, ".tmp"):
		return "answer"
	case strings.HasPrefix(path, filepath.Join(b.root, "state")+"/"), strings.HasPrefix(path, filepath.Join(b.root, "tmp")+"/"):
		return "rescue"
	}
	return ""
}
