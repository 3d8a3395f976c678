package evergrant_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A featureTable is a table of a page, whose last column names tests.
type featureTable struct {
	page, title string
	ids         []string // what its first column must have, in order; nil: not checked
	least       int      // rows
	untested    []string // first columns of rows that have a reason in place of a test
}

var featureTables = []featureTable{
	{page: "docs/features.md", title: "Chilkat's OAuth2 class", ids: numbers(60), least: 60, untested: []string{"57"}},
	{page: "docs/features.md", title: "Comparable command lines and agents", least: 35},
	{page: "docs/standards.md", title: "Core and best practice", ids: strings.Fields(`9700-1 9700-2 9700-3 9700-4 9700-5 9700-6 9700-7 9700-8
		9700-9 9700-10 9700-11 6749/2.1-1 2.1-2 2.1-3 2.1-4 2.1-5 2.1-6 2.1-7 2.1-8 2.1-9 2.1-10 6750-1 6750-2 8252-1 8252-2 8252-3
		7636-1 9207-1 8628-1 8628-2 7009-1 7662-1 8414-1 9728-1 9470-1`), least: 35, untested: []string{"9700-11"}},
	{page: "docs/standards.md", title: "Assertions, exchange, sender constraint", ids: strings.Fields(`7521/7523-1 7522-1 7523-2 8693-1 8705-1
		9449-1 9449-2 9449-3 9449-4 9126-1 9101-1 9068-1`), least: 12},
	{page: "docs/standards.md", title: "FAPI 2.0, the client's clauses", least: 10},
	{page: "docs/standards.md", title: "FAPI 2.0, the client modules by name", least: 25},
}

func numbers(n int) []string {
	var list []string
	for i := range n {
		list = append(list, strconv.Itoa(i+1))
	}
	return list
}

// TestFeatures: every row of the pages names a test, and every test that they
// name is there.
func TestFeatures(t *testing.T) {
	folders := map[string]testFolder{}
	named := 0
	for _, table := range featureTables {
		rows := tableRows(t, table.page, table.title)
		if len(rows) < table.least {
			t.Errorf("%s, %s: %d rows", table.page, table.title, len(rows))
		}
		var ids []string
		for _, cells := range rows {
			ids = append(ids, cells[0])
			tests := quoted.FindAllStringSubmatch(cells[len(cells)-1], -1)
			if without := slices.Contains(table.untested, cells[0]); without == (len(tests) > 0) {
				t.Errorf("%s, %s, %s: %d tests", table.page, table.title, cells[0], len(tests))
			}
			for _, name := range tests {
				named++
				if why := missingTest(t, folders, name[1]); why != "" {
					t.Errorf("%s, %s: %s: %s", table.page, cells[0], name[1], why)
				}
			}
		}
		if table.ids != nil && !slices.Equal(ids, table.ids) {
			t.Errorf("%s, %s: rows %q", table.page, table.title, ids)
		}
	}
	if named < 250 {
		t.Errorf("only %d names were looked up", named)
	}
}

// TestFeaturesCanFail: what is not there is missed.
func TestFeaturesCanFail(t *testing.T) {
	folders := map[string]testFolder{}
	for _, name := range []string{"TestNothing", "oauth TestNothing", "nowhere TestX", "oauth TestProxy/no such row", "oauth TestProxy/9700-2 no state", "cmd/evergrant TestScripts/none", "TestScripts", "oauth ExampleX", "oauth"} {
		if missingTest(t, folders, name) == "" {
			t.Errorf("%s is said to be there", name)
		}
	}
	for _, name := range []string{"oauth TestProxy/socks refuses", "oauth TestAuthorizationRefused/9700-2 no state", "TestFeatures"} {
		if why := missingTest(t, folders, name); why != "" {
			t.Errorf("%s: %s", name, why)
		}
	}
}

// TestOpenSource: #55, nothing to unlock.
func TestOpenSource(t *testing.T) {
	text, err := os.ReadFile("LICENSE")
	if err != nil || !strings.Contains(string(text), "Apache License") || !strings.Contains(string(text), "Version 2.0") {
		t.Errorf("LICENSE: %v", err)
	}
}

var quoted = regexp.MustCompile("`([^`]+)`")

// tableRows are the cells of the table under a heading, without its head.
func tableRows(t *testing.T, page, title string) [][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(page))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## "+title+"\n")
	if !found {
		t.Fatalf("%s has no section %q", page, title)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var rows [][]string
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	if len(rows) < 2 || strings.Trim(strings.Join(rows[1], ""), "-:") != "" {
		t.Fatalf("%s, %s: no table", page, title)
	}
	for _, cells := range rows {
		if len(cells) != len(rows[0]) {
			t.Errorf("%s, %s: %d cells in %q", page, title, len(cells), cells[0])
		}
	}
	return rows[2:]
}

// A testFolder is what the test files of a package hold: the texts in each
// function, and under "" those outside of all.
type testFolder map[string]map[string]bool

// missingTest says why a test that a page names does not exist; "" if it does.
func missingTest(t *testing.T, folders map[string]testFolder, name string) string {
	t.Helper()
	folder, test := ".", name
	if !strings.HasPrefix(name, "Test") {
		var ok bool
		if folder, test, ok = strings.Cut(name, " "); !ok {
			return "it names no test"
		}
	}
	function, sub, hasSub := strings.Cut(test, "/")
	if function == "TestScripts" {
		if _, err := os.Stat(filepath.Join(folder, "testdata", "script", sub+".txtar")); err != nil || sub == "" {
			return "no such script"
		}
		return ""
	}
	in, ok := folders[folder]
	if !ok {
		in = readTests(t, folder)
		folders[folder] = in
	}
	if in[function] == nil || !strings.HasPrefix(function, "Test") && !strings.HasPrefix(function, "Fuzz") {
		return "no such test"
	}
	if hasSub && !in.hasText(function, sub) {
		return "no such subtest"
	}
	return ""
}

// hasText finds the name of a subtest: a text of the test or of a table outside
// of it, or two, where the first is put before the names of a table.
func (f testFolder) hasText(function, name string) bool {
	has := func(text string) bool { return f[function][text] || f[""][text] }
	if has(name) {
		return true
	}
	for i := 1; i < len(name); i++ {
		if has(name[:i]) && has(name[i:]) {
			return true
		}
	}
	return false
}

// readTests parses the test files of a folder, those for other systems too.
func readTests(t *testing.T, folder string) testFolder {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	in := testFolder{"": {}}
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			texts := in[""]
			if fn, ok := d.(*ast.FuncDecl); ok {
				texts = map[string]bool{}
				if fn.Recv == nil {
					in[fn.Name.Name] = texts
				}
			}
			ast.Inspect(d, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if text, err := strconv.Unquote(lit.Value); err == nil {
						texts[text] = true
					}
				}
				return true
			})
		}
	}
	return in
}
