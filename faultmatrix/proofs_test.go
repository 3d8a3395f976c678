package faultmatrix_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/conformance"
)

// tests are the test functions of a folder, and the texts in its test files.
type tests struct {
	functions []string
	texts     []string
}

// TestProofs: every test that the table names is there.
func TestProofs(t *testing.T) {
	folders := map[string]tests{}
	n := 0
	for _, s := range sections() {
		for _, r := range s.rows {
			for _, f := range r.faults {
				for _, name := range f.proof.tests {
					n++
					if why := missing(t, folders, name); why != "" {
						t.Errorf("%s %s: %s: %s", r.id, f.name, name, why)
					}
				}
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d names were looked up", n)
	}
}

// TestProofsCanFail: what is not there is missed.
func TestProofsCanFail(t *testing.T) {
	folders := map[string]tests{}
	for _, name := range []string{"oauth TestNothing", "oauth TestProxy/no such row", "nowhere TestX", "conformance lost/never", "cmd/evergrant TestScripts/none", "TestProxy"} {
		if missing(t, folders, name) == "" {
			t.Errorf("%s is said to be there", name)
		}
	}
}

// missing says why a named proof does not exist; "" if it does.
func missing(t *testing.T, folders map[string]tests, name string) string {
	folder, test, found := strings.Cut(name, " ")
	if !found {
		return "no folder"
	}
	if folder == "conformance" {
		if !slices.ContainsFunc(conformance.Cases(), func(c conformance.Case) bool { return c.Name == test }) {
			return "no such case"
		}
		return ""
	}
	function, sub, hasSub := strings.Cut(test, "/")
	if function == "TestScripts" {
		if _, err := os.Stat(filepath.Join("..", folder, "testdata", "script", sub+".txtar")); err != nil {
			return "no such script"
		}
		return ""
	}
	in, ok := folders[folder]
	if !ok {
		in = read(t, filepath.Join("..", folder))
		folders[folder] = in
	}
	if !slices.Contains(in.functions, function) {
		return "no such test"
	}
	if hasSub && !slices.Contains(in.texts, sub) {
		return "no such subtest"
	}
	return ""
}

// read parses the test files of a folder, those for other systems too.
func read(t *testing.T, folder string) tests {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all tests
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil {
					all.functions = append(all.functions, n.Name.Name)
				}
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
					all.texts = append(all.texts, text)
				}
			}
			return true
		})
	}
	return all
}
