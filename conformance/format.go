package conformance

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// formatCases hand the program token files that other programs wrote and read.
func formatCases() []Case {
	return []Case{
		formatCase("crlf", "a file with the line ends of Windows is compared and edited by people there", crlf, func(t *trial, before, after document) {
			if n := bytes.Count(after.raw, []byte("\n")); n != bytes.Count(after.raw, []byte("\r\n")) || n == 0 {
				t.failf("the line ends were CRLF and are not any more")
			}
		}),
		formatCase("bom", "a file that begins with a byte order mark, as some editors write it", bom, func(t *trial, before, after document) {
			if !bytes.HasPrefix(after.raw, byteOrderMark) {
				t.failf("the byte order mark is gone")
			}
		}),
		formatCase("unknown-members", "Salesforce files have instance_url and id: without them the token is of no use", strangers, keptMembers),
		formatCase("nested-members", "programs keep their own things in the file", nested, keptMembers),
		formatCase("long-numbers", "an id of 20 digits that went through floating point is another id", longNumber, keptMembers),
		formatCase("order", "people read the file, and version control shows what changed", strangers, func(t *trial, before, after document) {
			if !slices.Equal(before.names(), after.names()) {
				t.failf("the members were %s and are %s", strings.Join(before.names(), ", "), strings.Join(after.names(), ", "))
			}
		}),
		formatCase("bytes", "all that is not a new value stays as it was, byte for byte", strangers, sameBytes),
		formatCase("bytes-crlf", "the same, with the line ends of Windows", crlf, sameBytes),
		formatCase("bytes-compact", "the same, on one line without spaces", compact, sameBytes),
		formatCase("bytes-tabs", "the same, indented with tabs", tabs, sameBytes),
		formatCase("bytes-escapes", "the same, with escaped and with plain letters", escapes, sameBytes),
		formatCase("bytes-no-newline", "the same, without a line end at the end", noNewline, sameBytes),
		{"symlink", "format", "a link to the place where the secrets are kept, replaced by a file, leaves a stale one there", rotating, func(t *trial) {
			target := filepath.Join(t.dir, "kept", "real.json")
			t.check(os.Mkdir(filepath.Dir(target), 0o700))
			t.check(os.Rename(t.path, target))
			if err := os.Symlink(target, t.path); err != nil {
				t.skip("this system allows no symbolic link")
				return
			}
			twice(t)
			if info, err := os.Lstat(t.path); err != nil || info.Mode()&os.ModeSymlink == 0 {
				t.failf("the link was replaced by a file")
			}
			t.path = target
			t.alive()
		}},
		{"mode-0640", "format", "a group that may read the file must be able to do so afterwards", rotating, func(t *trial) {
			t.check(os.Chmod(t.path, 0o640))
			t.refreshes("the run")
			t.sameMode(0o640)
		}},
		{"spaces-in-name", "format", "a path is not always one word", rotating, func(t *trial) {
			path := filepath.Join(t.dir, "my $HOME 'token' file.json")
			t.check(os.Rename(t.path, path))
			t.path = path
			twice(t)
		}},
	}
}

// formatCase refreshes twice a file that was written in some way, and compares.
func formatCase(name, why string, written func([]byte) []byte, compare func(t *trial, before, after document)) Case {
	return Case{name, "format", why, rotating, func(t *trial) {
		t.write(written(t.read()))
		before := t.document()
		twice(t)
		compare(t, before, t.document())
	}}
}

func keptMembers(t *trial, before, after document) {
	if err := before.kept(after); err != nil {
		t.failf("%v", err)
	}
}

func sameBytes(t *trial, before, after document) {
	was, is := before.still(), after.still()
	if bytes.Equal(was, is) {
		return
	}
	at := 0
	for at < min(len(was), len(is)) && was[at] == is[at] {
		at++
	}
	t.failf("bytes outside the new values have changed, from %q to %q", snippet(was, at), snippet(is, at))
}

// snippet is a bit of a blanked document around a place.
func snippet(b []byte, at int) string {
	return string(b[max(0, min(at-10, len(b))):min(len(b), at+20)])
}

func crlf(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")) }
func bom(b []byte) []byte  { return append(slices.Clone(byteOrderMark), b...) }
func tabs(b []byte) []byte { return bytes.ReplaceAll(b, []byte("  "), []byte("\t")) }

func noNewline(b []byte) []byte { return bytes.TrimRight(b, "\n") }

// compact is the document on one line without white space.
func compact(b []byte) []byte {
	d, err := parse(b)
	if err != nil {
		return b // the simulator's own file always parses
	}
	out, sep := []byte{}, byte('{')
	for _, m := range d.members {
		out = append(out, sep, '"')
		out = append(append(out, m.name...), '"', ':')
		out = append(out, m.value...)
		sep = ','
	}
	return append(out, '}', '\n')
}

// with puts members before those that the file has.
func with(b []byte, members string) []byte {
	return append([]byte("{\n"+members), bytes.TrimPrefix(b, []byte("{\n"))...)
}

func strangers(b []byte) []byte {
	return with(b, "  \"instance_url\": \"https://example.my.salesforce.com\",\n  \"id\": \"https://login.salesforce.com/id/00D/005\",\n  \"note\" : \"kept by hand\",\n")
}

func nested(b []byte) []byte {
	return with(b, "  \"meta\": { \"labels\": [\"a\", {\"b\": null}], \"on\": true },\n")
}

func longNumber(b []byte) []byte {
	return with(b, "  \"org\": 12345678901234567890,\n  \"rate\": 0.1000000000000000055,\n")
}

func escapes(b []byte) []byte {
	return with(b, "  \"owner\": \"J\\u00fcrgen <é> \\/ & co\",\n")
}
