//go:build amd64 || arm64

package crashtest_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"

	"github.com/evergrant/evergrant/prove/figures"
)

// Made by TestMain before any test runs, and read only.
var (
	binary     string // the real program
	stracePath string
	prove      = os.Getenv("EVERGRANT_PROVE") == "1" // take every point of every scene
	onlyPoint  = os.Getenv("EVERGRANT_POINT")        // replay one point, as a failure names it
)

// uncached looks at the sources of the program, which this package does not
// import: go test would else take an earlier result for one of today's. Each
// test calls it, since what TestMain looks at is not noticed.
func uncached(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git"):
			return fs.SkipDir
		case d.Type().IsRegular() && slices.Contains([]string{".go", ".json", ".mod", ".sum"}, filepath.Ext(path)):
			_, err = os.Stat(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if code, done := amongOwnMounts(); done {
		return code
	}
	var err error
	if stracePath, err = exec.LookPath("strace"); err != nil {
		fmt.Println("FAIL: the crash tests need strace, which is not here (apt-get install strace); they are not skipped, because nothing else shows these promises")
		return 1
	}
	dir, err := os.MkdirTemp("", "crashtest")
	if err != nil {
		fmt.Println("FAIL:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "evergrant")
	build := exec.Command("go", "build", "-o", binary, "../cmd/evergrant")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Printf("FAIL: building the program: %v\n%s", err, out)
		return 1
	}
	code := m.Run()
	fmt.Println(total)
	if err := figures.Add(total.figures()...); err != nil {
		fmt.Println("FAIL:", err)
		return 1
	}
	return code
}

// amongOwnMounts runs the tests again where their mounts are their own: the
// last process that ends takes them along, and with them the loop devices, in
// whatever way it ends. Done is false in that process, and where the system
// does not permit it: there tests unmount what they have mounted, if they can.
func amongOwnMounts() (code int, done bool) {
	const inside = "CRASHTEST_OWN_MOUNTS=1"
	if os.Geteuid() != 0 || slices.Contains(os.Environ(), inside) {
		return 0, false
	}
	self, err := os.Executable()
	if err != nil {
		return 0, false
	}
	runtime.LockOSThread() // the child ends with the thread that started it
	defer runtime.UnlockOSThread()
	c := exec.Command(self, os.Args[1:]...)
	c.Stdin, c.Stdout, c.Stderr, c.Env = os.Stdin, os.Stdout, os.Stderr, append(os.Environ(), inside)
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return 0, false
	}
	c.Wait() // its end is in its state
	if code := c.ProcessState.ExitCode(); code >= 0 {
		return code, true
	}
	return 1, true
}
