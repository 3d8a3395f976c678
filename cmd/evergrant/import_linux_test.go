package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/evergrant/evergrant/idptest"
)

// TestImportOfNoCredentials: a file of a gigabyte is not read whole to find out
// that it is none.
func TestImportOfNoCredentials(t *testing.T) {
	b := newBedOf(t, idptest.Generic, idptest.Habits{})
	path := filepath.Join(t.TempDir(), "large") // beside what is searched for tokens: nothing in it counts as searched
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<30); err != nil {
		t.Fatal(err)
	}
	c := b.command("import", path)
	out, _ := c.CombinedOutput()
	most := c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10
	if c.ProcessState.ExitCode() != exitUsage || !strings.Contains(string(out), "larger than 16 MiB") || most > 300 && !raced {
		t.Errorf("exit %d, %d MiB, %s", c.ProcessState.ExitCode(), most, out)
	}
}
