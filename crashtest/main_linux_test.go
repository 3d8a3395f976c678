//go:build amd64 || arm64

package crashtest_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
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

// total is what all tests came to.
var total = &counts{unavoidable: map[string]int{}}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
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
	return code
}
