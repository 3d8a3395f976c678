// Package interop_test runs Evergrant against counterparts nobody here wrote:
//
//   - node oidc-provider, a certified authorization server, with one feature at a time switched on, and two servers in Go
//     made of zitadel/oidc and ory/fosite: the real binary logs in to them, keeps the grant, and ends it;
//   - jsforce and @salesforce/core, the vendor's own clients, which log in to the simulator of package idptest;
//   - Chromium, headless, which opens the login and its last page.
//
// Start with TestLoginTokenStatusRevoke, then newFlow. The programs under server/, servers/ and clients/ are the
// counterparts' side and say how those behave; package-lock.json and servers/go.sum pin them. `go test` installs the node
// packages by itself with `npm ci`, once for each version of the lock file, and compiles the servers, which are a module of
// their own. A counterpart that can't be installed is a failure, not a skip: a suite that quietly stops meeting others
// proves nothing. Chromium alone may be missing, loudly.
//
// Everything stays on the loopback interface once the packages are installed.
package interop_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

// oldestNode is the oldest major version the pinned packages run on.
const oldestNode = 20

// installTimeout bounds `npm ci`, waiting for another process that runs it included.
const installTimeout = 5 * time.Minute

// needNode makes sure the counterparts are installed, and fails the test with the reason if they can't be.
func needNode(t *testing.T) {
	t.Helper()
	if err := installed(); err != nil {
		t.Fatalf("installing the counterparts (they are part of this test, not optional): %v", err)
	}
}

var installed = sync.OnceValue(func() error {
	if err := checkNode(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), installTimeout)
	defer cancel()
	// The lock lies beside node_modules because npm ci removes that folder first.
	lock := flock.New(".install.lock")
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return fmt.Errorf("waiting for another npm ci: %w", err)
	}
	defer lock.Unlock()
	return install(ctx)
})

func checkNode() error {
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%s is not on PATH: install Node.js %d or newer with npm: %w", name, oldestNode, err)
		}
	}
	out, err := exec.Command("node", "--version").Output()
	if err != nil {
		return fmt.Errorf("asking node for its version: %w", err)
	}
	version := strings.TrimSpace(string(out))
	major, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < oldestNode {
		return fmt.Errorf("node is %s, but the pinned packages need %d or newer", version, oldestNode)
	}
	return nil
}

// install runs npm ci unless node_modules was made from exactly this lock file. The stamp is written last, so an
// install that was cut short is done again.
func install(ctx context.Context) error {
	stamp := filepath.Join("node_modules", ".installed-from")
	want, err := lockSum()
	if err != nil {
		return err
	}
	if have, err := os.ReadFile(stamp); err == nil && string(have) == want {
		return nil
	}
	// Install scripts are not run: none of the packages needs one. The cache is trusted because the checksums decide.
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefer-offline")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", errors.Join(err, ctx.Err()), out)
	}
	return os.WriteFile(stamp, []byte(want), 0o644)
}

// lockSum identifies what should be installed: both files, as npm ci refuses them when they disagree.
func lockSum() (string, error) {
	sum := sha256.New()
	for _, name := range []string{"package.json", "package-lock.json"} {
		data, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		sum.Write(data)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// TestLockFile keeps what is installed exact and independent of any one registry: exact versions, a checksum for each
// package, no addresses.
func TestLockFile(t *testing.T) {
	var manifest struct {
		Dependencies map[string]string `json:"dependencies"`
	}
	var lock struct {
		Packages map[string]struct{ Version, Resolved, Integrity string } `json:"packages"`
	}
	readJSON(t, "package.json", &manifest)
	readJSON(t, "package-lock.json", &lock)
	for name, version := range manifest.Dependencies {
		if got := lock.Packages["node_modules/"+name].Version; got != version {
			t.Errorf("%s: package.json says %q, the lock file %q", name, version, got)
		}
	}
	for path, p := range lock.Packages {
		if path != "" && (p.Integrity == "" || p.Resolved != "") {
			t.Errorf("%s: want a checksum and no address, got integrity %q, resolved %q", path, p.Integrity, p.Resolved)
		}
	}
}

func readJSON(t *testing.T, name string, v any) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("reading %s: %v", name, err)
	}
}
