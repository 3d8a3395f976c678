package evergrant_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/evergrant/evergrant"

// layers is the package map of docs/design.md: what each package may import of
// this module. A package that is not here has no place yet and fails the test.
var layers = map[string][]string{
	"":                    {"provider", "oauth", "jose", "internal/tokenfile", "internal/lockedfile", "internal/stack"},
	"provider":            {},
	"oauth":               {},
	"jose":                {"oauth"},
	"login":               {"oauth", "jose", "provider"},
	"store/keyring":       {"", "internal/lockedfile", "oauth"},
	"internal/foreign":    {"oauth", "internal/tokenfile"},
	"internal/tokenfile":  {},
	"internal/lockedfile": {},
	"internal/stack":      {},
	"idptest":             {},
	"storetest":           {""},
	"conformance":         {"idptest"},
	"cmd/evergrant":       {"", "login", "store/keyring", "internal/foreign", "provider", "oauth", "jose", "idptest", "conformance", "internal/stack"},
}

// edges are folders of programs and tests at the upper edge: they may import
// anything, and no package imports them.
var edges = []string{"bench", "canary", "conformance/peers", "conformance/report", "crashtest", "examples", "faultmatrix", "interop", "model", "mutation", "prove", "simworld"}

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath, Dir                               string
	Standard                                      bool
	GoFiles, IgnoredGoFiles, CgoFiles, OtherFiles []string
	Imports, Deps                                 []string
}

// name is the folder of the package in this module, "" for the root.
func (p pkg) name() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

func (p pkg) isEdge() bool {
	return slices.ContainsFunc(edges, func(e string) bool { return p.name() == e || strings.HasPrefix(p.name(), e+"/") })
}

// files are the package's files that are no tests, those for other systems too.
func (p pkg) files() []string {
	var fs []string
	for _, f := range slices.Concat(p.GoFiles, p.CgoFiles, p.IgnoredGoFiles) {
		if !strings.HasSuffix(f, "_test.go") {
			fs = append(fs, filepath.Join(p.Dir, f))
		}
	}
	return fs
}

func goList(t *testing.T, args ...string) []pkg {
	t.Helper()
	c := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Standard,GoFiles,IgnoredGoFiles,CgoFiles,Imports,Deps"}, args...)...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var list []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// ours are the packages of this module.
func ours(t *testing.T) []pkg {
	t.Helper()
	list := goList(t, "./...")
	if len(list) < len(layers) {
		t.Fatalf("only %d packages: %v", len(list), list)
	}
	return list
}

// importsOf parses the imports of a file, whatever system it is for.
func importsOf(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, s := range f.Imports {
		path, err := strconv.Unquote(s.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// TestLayers: imports point downwards as in the map, on every system.
func TestLayers(t *testing.T) {
	for _, p := range ours(t) {
		if p.isEdge() {
			continue
		}
		may, ok := layers[p.name()]
		if !ok {
			t.Errorf("%s is not on the map: add it here and in docs/design.md", p.name())
			continue
		}
		for _, file := range p.files() {
			for _, path := range importsOf(t, file) {
				if path != module && !strings.HasPrefix(path, module+"/") {
					continue
				}
				if to := (pkg{ImportPath: path}).name(); !slices.Contains(may, to) {
					t.Errorf("%s imports %q, which is not below it", file, path)
				}
			}
		}
	}
}

// TestLibraryIsLean: whoever imports the library does not get tests, databases,
// the simulator or anything of the command line with it.
func TestLibraryIsLean(t *testing.T) {
	banned := []string{"testing", "database/sql", "os/exec", "flag", module + "/idptest", module + "/storetest", "github.com/spf13/cobra"}
	root := goList(t, ".")[0]
	if !slices.Contains(root.Deps, "net/http") {
		t.Fatal("the dependencies are not known")
	}
	for _, b := range banned {
		if slices.Contains(root.Deps, b) {
			t.Errorf("the library depends on %s", b)
		}
	}
}

// TestSimulatorIsIndependent: the oracle shares no code with what it judges,
// and can be linked into the binary.
func TestSimulatorIsIndependent(t *testing.T) {
	for _, p := range goList(t, "-deps", "./idptest") {
		if p.name() == "idptest" {
			continue
		}
		if !p.Standard {
			t.Errorf("idptest depends on %s, which is not in the standard library", p.ImportPath)
		}
		if p.ImportPath == "testing" {
			t.Error("idptest depends on testing")
		}
	}
}

// TestOneWire: only oauth makes token requests, so that nothing sends one
// twice, follows its redirects or retries it behind the journal's back.
// http.Client is built in one other place, for the caller's own API requests,
// and the proxy makes its callers' requests.
func TestOneWire(t *testing.T) {
	for _, p := range ours(t) {
		if p.name() == "oauth" || p.name() == "idptest" || p.isEdge() {
			continue
		}
		for _, file := range p.files() {
			for _, use := range httpUses(t, file) {
				at := filepath.ToSlash(filepath.Join(p.name(), filepath.Base(file)))
				if use == "Client" && at == "client.go" || use == "Transport" && at == "cmd/evergrant/proxy.go" {
					continue
				}
				t.Errorf("%s uses http.%s: requests are made by package oauth only", file, use)
			}
		}
	}
}

// httpUses lists what a file uses of net/http that makes requests.
func httpUses(t *testing.T, file string) []string {
	t.Helper()
	if !slices.Contains(importsOf(t, file), "net/http") {
		return nil
	}
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	sends := []string{"Get", "Head", "Post", "PostForm", "NewRequest", "NewRequestWithContext", "DefaultClient", "Client", "Transport"}
	var uses []string
	ast.Inspect(f, func(n ast.Node) bool {
		if star, ok := n.(*ast.StarExpr); ok && fromHTTP(star.X) == "Client" {
			return false // the type in a signature sends nothing
		}
		if e, ok := n.(ast.Expr); ok && slices.Contains(sends, fromHTTP(e)) {
			uses = append(uses, fromHTTP(e))
		}
		return true
	})
	return uses
}

// fromHTTP is the name that an expression takes out of net/http, or "".
func fromHTTP(e ast.Expr) string {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if x, ok := s.X.(*ast.Ident); !ok || x.Name != "http" {
		return ""
	}
	return s.Sel.Name
}

// TestDangerousImports: programs are run by the command line alone, by the
// conformance cases, whose subject is a program, and by login, which opens a
// browser; and nothing needs unsafe: the system calls that the standard library lacks are wrapped by
// golang.org/x/sys.
func TestDangerousImports(t *testing.T) {
	found := 0
	for _, p := range ours(t) {
		for _, file := range p.files() {
			imports := importsOf(t, file)
			if slices.Contains(imports, "os/exec") {
				if !slices.Contains([]string{"cmd/evergrant", "conformance", "login"}, p.name()) && !p.isEdge() {
					t.Errorf("%s imports os/exec", file)
				}
				found++
			}
			if slices.Contains(imports, "unsafe") {
				t.Errorf("%s imports unsafe", file)
			}
		}
	}
	if found == 0 {
		t.Error("no file imports os/exec: this test looks at nothing")
	}
}
