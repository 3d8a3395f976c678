package evergrant_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// site is one place in the sources: the function or package-level name around
// it, as the lists above write it.
type site struct {
	name string
	at   token.Position
}

// checked is a package with its types.
type checked struct {
	pkg
	fset  *token.FileSet
	files []*ast.File
	info  *types.Info
	types *types.Package
}

// typed type-checks the product's packages as this system builds them, once for
// all guards. What they import is read from the compiler's export data.
func typed(t *testing.T) []checked {
	t.Helper()
	product.once.Do(func() { product.all = typeCheck(t) })
	if product.all == nil {
		t.Fatal("the product could not be type-checked")
	}
	return product.all
}

var product struct {
	once sync.Once
	all  []checked
}

func typeCheck(t *testing.T) []checked {
	t.Helper()
	exports := exportFiles(t)
	fset := token.NewFileSet()
	imports := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		file, ok := exports[path]
		if !ok {
			return nil, fmt.Errorf("no export data of %q", path)
		}
		return os.Open(file)
	})
	var all []checked
	for _, p := range ours(t) {
		if isTool(p) {
			continue
		}
		c := checked{pkg: p, fset: fset, info: &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{}}}
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			c.files = append(c.files, f)
		}
		var err error
		if c.types, err = (&types.Config{Importer: imports}).Check(p.ImportPath, fset, c.files, c.info); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// isTool tells programs and packages that are no part of the product.
func isTool(p pkg) bool {
	if _, ok := layers[p.name()]; ok {
		return slices.Contains([]string{"conformance", "storetest", "idptest"}, p.name())
	}
	return true
}

// exportFiles finds the export data of all packages that the product needs.
func exportFiles(t *testing.T) map[string]string {
	t.Helper()
	c := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Export", "./cmd/evergrant", "./idptest", "./storetest")
	out, err := c.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	files := map[string]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct{ ImportPath, Export string }
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return files
		} else if err != nil {
			t.Fatal(err)
		}
		files[p.ImportPath] = p.Export
	}
}

// each calls see for every node, with the name of the function or variable it
// is in.
func (c checked) each(see func(n ast.Node, in site)) {
	for _, f := range c.files {
		eachNode(c.pkg, c.fset, f, see)
	}
}

func eachNode(p pkg, fset *token.FileSet, f *ast.File, see func(n ast.Node, in site)) {
	for _, d := range f.Decls {
		for name, node := range named(d) {
			if p.name() != "" {
				name = p.name() + "." + name
			}
			ast.Inspect(node, func(n ast.Node) bool {
				if n != nil {
					see(n, site{name, fset.Position(n.Pos())})
				}
				return true
			})
		}
	}
}

// named splits a declaration into what has a name: functions, with their
// receiver's type, and the specs of variables, constants and types.
func named(d ast.Decl) map[string]ast.Node {
	switch d := d.(type) {
	case *ast.FuncDecl:
		name := d.Name.Name
		if d.Recv != nil {
			name = receiver(d.Recv.List[0].Type) + "." + name
		}
		return map[string]ast.Node{name: d}
	case *ast.GenDecl:
		nodes := map[string]ast.Node{}
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.ValueSpec:
				nodes[s.Names[0].Name] = s
			case *ast.TypeSpec:
				nodes[s.Name.Name] = s
			}
		}
		return nodes
	}
	return nil
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}

// callee is the function or method that a call calls; nil for conversions and
// function values.
func (c checked) callee(call *ast.CallExpr) *types.Func {
	var id *ast.Ident
	switch f := ast.Unparen(call.Fun).(type) {
	case *ast.Ident:
		id = f
	case *ast.SelectorExpr:
		id = f.Sel
	default:
		return nil
	}
	f, _ := c.info.Uses[id].(*types.Func)
	return f
}

const reveal = "(" + module + "/oauth.Secret).Reveal"

// reveals reports whether a node is, or names, Secret.Reveal.
func (c checked) reveals(n ast.Node) bool {
	id, ok := n.(*ast.Ident)
	if !ok {
		return false
	}
	f, ok := c.info.Uses[id].(*types.Func)
	return ok && f.FullName() == reveal
}

// prints reports whether a function turns its arguments into text for people:
// what fmt, log and slog do, and own functions named like them.
func prints(f *types.Func) bool {
	if f == nil {
		return false
	}
	if p := f.Pkg(); p != nil && slices.Contains([]string{"fmt", "log", "log/slog"}, p.Path()) {
		return f.Name() != "New" // makes a logger
	}
	name := strings.ToLower(f.Name())
	return strings.HasSuffix(name, "printf") || strings.HasSuffix(name, "errorf") || strings.HasSuffix(name, "logf")
}

// match compares what was found with what a list allows.
func match(t *testing.T, what string, found []site, allowed []string) {
	t.Helper()
	seen := map[string]bool{}
	for _, s := range found {
		seen[s.name] = true
		if !slices.Contains(allowed, s.name) {
			t.Errorf("%s: %s %s", s.at, s.name, what)
		}
	}
	for _, name := range allowed {
		if !seen[name] {
			t.Errorf("%s is listed and no longer %s", name, what)
		}
	}
}

// TestSecretsAreNotPrinted: secrets become text only in named functions, and of
// these only one may hand the text to something that prints.
func TestSecretsAreNotPrinted(t *testing.T) {
	var revealing, printing []site
	for _, c := range typed(t) {
		c.each(func(n ast.Node, in site) {
			if c.reveals(n) {
				revealing = append(revealing, in)
			}
			for _, arg := range c.printed(n) {
				ast.Inspect(arg, func(n ast.Node) bool {
					if c.reveals(n) {
						printing = append(printing, in)
					}
					return true
				})
			}
		})
	}
	match(t, "reveals a secret", revealing, revealers)
	match(t, "prints a revealed secret", printing, printers)
}

// TestOpaqueIsNotPrinted: what is printed is text, a number, a time, an error
// or another type that says how it is printed. A struct, a map or a slice of
// bytes that is printed as a whole may hold a token.
func TestOpaqueIsNotPrinted(t *testing.T) {
	n := 0
	var bytesPrinted []site
	for _, c := range typed(t) {
		c.each(func(node ast.Node, in site) {
			for _, arg := range c.printed(node) {
				n++
				of := c.info.Types[arg].Type
				switch {
				case of.String() == "[]byte":
					bytesPrinted = append(bytesPrinted, in)
				case !plain(of):
					t.Errorf("%s: %s prints a %s", c.fset.Position(arg.Pos()), in.name, of)
				}
			}
		})
	}
	if n < 100 {
		t.Errorf("only %d arguments were looked at", n)
	}
	match(t, "prints bytes", bytesPrinted, bytePrinters)
}

// printed are the arguments of a call that prints; the writer to print to is
// none of them.
func (c checked) printed(n ast.Node) []ast.Expr {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return nil
	}
	f := c.callee(call)
	switch {
	case !prints(f) || len(call.Args) == 0:
		return nil
	case strings.HasPrefix(f.Name(), "Fprint"):
		return call.Args[1:]
	}
	return call.Args
}

// plain tells types that show nothing but what they are.
func plain(t types.Type) bool {
	for _, name := range []string{"Error", "String", "Format", "LogValue"} {
		if m, _, _ := types.LookupFieldOrMethod(t, true, nil, name); m != nil {
			if _, ok := m.(*types.Func); ok {
				return true
			}
		}
	}
	switch u := t.Underlying().(type) {
	case *types.Basic:
		return true
	case *types.Slice:
		b, isBasic := u.Elem().Underlying().(*types.Basic)
		return plain(u.Elem()) && !(isBasic && b.Kind() == types.Byte)
	case *types.Interface:
		return u.NumMethods() == 0 // the ...any of a function that passes them on
	}
	return false
}

// syntax calls see for every node of the product, the files for other systems
// too.
func syntax(t *testing.T, see func(n ast.Node, in site)) {
	t.Helper()
	for _, p := range ours(t) {
		if isTool(p) {
			continue
		}
		for _, file := range p.files() {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			eachNode(p, fset, f, see)
		}
	}
}

// uses finds where a name is taken out of a package of the standard library.
func uses(t *testing.T, pkg, name string) []site {
	t.Helper()
	var found []site
	syntax(t, func(n ast.Node, in site) {
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == name {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == pkg {
				found = append(found, in)
			}
		}
	})
	return found
}

// TestSleeps: whoever waits can be told to stop, named places apart.
func TestSleeps(t *testing.T) { match(t, "sleeps", uses(t, "time", "Sleep"), sleepers) }

// TestExits: the process ends in main, after all that is deferred.
func TestExits(t *testing.T) {
	found := uses(t, "os", "Exit")
	for _, name := range []string{"Fatal", "Fatalf", "Fatalln"} {
		found = append(found, uses(t, "log", name)...)
	}
	match(t, "ends the process", found, enders)
}

// TestNoInit: importing a package does nothing.
func TestNoInit(t *testing.T) {
	looked := 0
	syntax(t, func(n ast.Node, in site) {
		if f, ok := n.(*ast.FuncDecl); ok {
			looked++
			if f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: an init function", in.at)
			}
		}
	})
	if looked < 500 {
		t.Errorf("only %d functions were looked at", looked)
	}
}

// TestNoMutableGlobals: package-level variables are only read, but for those
// named: tables, sentinels, values that are made once.
func TestNoMutableGlobals(t *testing.T) {
	var found []site
	for _, c := range typed(t) {
		changed := map[types.Object]token.Pos{}
		c.each(func(n ast.Node, _ site) {
			for _, e := range c.changes(n) {
				if v := c.global(e); v != nil {
					changed[v] = e.Pos()
				}
			}
		})
		for v, pos := range changed {
			name := v.Name()
			switch {
			case v.Pkg() != c.types:
				name = v.Pkg().Name() + "." + name
			case c.name() != "":
				name = c.name() + "." + name
			}
			found = append(found, site{name, c.fset.Position(pos)})
		}
	}
	match(t, "is changed after it was made", found, variables)
}

// changes are the expressions that a node changes, or lets others change.
func (c checked) changes(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		return n.Lhs
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			return []ast.Expr{n.X}
		}
	case *ast.RangeStmt:
		return slices.DeleteFunc([]ast.Expr{n.Key, n.Value}, func(e ast.Expr) bool { return e == nil })
	case *ast.CallExpr:
		if f, ok := n.Fun.(*ast.Ident); ok && slices.Contains([]string{"delete", "clear", "copy"}, f.Name) {
			return n.Args[:1]
		}
		if s, ok := n.Fun.(*ast.SelectorExpr); ok && c.takesAddress(s) {
			return []ast.Expr{s.X}
		}
	}
	return nil
}

// takesAddress reports whether calling a method takes the address of the
// variable it is called on.
func (c checked) takesAddress(s *ast.SelectorExpr) bool {
	sel := c.info.Selections[s]
	if sel == nil || sel.Kind() != types.MethodVal {
		return false
	}
	_, byPointer := sel.Obj().Type().(*types.Signature).Recv().Type().(*types.Pointer)
	_, isPointer := sel.Recv().(*types.Pointer)
	return byPointer && !isPointer
}

// global is the package-level variable that an expression is, or is a part of;
// nil if there is none.
func (c checked) global(e ast.Expr) types.Object {
	switch x := ast.Unparen(e).(type) {
	case *ast.IndexExpr:
		return c.global(x.X)
	case *ast.StarExpr:
		return c.global(x.X)
	case *ast.SelectorExpr:
		if _, ok := c.info.Selections[x]; ok {
			return c.global(x.X)
		}
		return packageVar(c.info.Uses[x.Sel])
	case *ast.Ident:
		return packageVar(c.info.Uses[x])
	}
	return nil
}

func packageVar(o types.Object) types.Object {
	if v, ok := o.(*types.Var); ok && !v.IsField() && v.Pkg() != nil && v.Parent() == v.Pkg().Scope() {
		return v
	}
	return nil
}

// usedBy finds where the product uses objects of other packages, by the path of
// the package and the name of the object, the type of a method in front of it.
func usedBy(t *testing.T, want func(path, name string) bool) []site {
	t.Helper()
	var found []site
	for _, c := range typed(t) {
		c.each(func(n ast.Node, in site) {
			id, ok := n.(*ast.Ident)
			if !ok {
				return
			}
			o := c.info.Uses[id]
			if o == nil || o.Pkg() == nil || o.Pkg() == c.types {
				return
			}
			if path, name := o.Pkg().Path(), objectName(o); name != "" && want(path, name) {
				found = append(found, in)
			}
		})
	}
	return found
}

// objectName is a function's, variable's or type's name; "" for what is local
// or a field.
func objectName(o types.Object) string {
	if f, ok := o.(*types.Func); ok {
		if r := f.Signature().Recv(); r != nil {
			of := r.Type()
			if p, ok := of.(*types.Pointer); ok {
				of = p.Elem()
			}
			if n, ok := of.(*types.Named); ok {
				return n.Obj().Name() + "." + f.Name()
			}
			return ""
		}
	}
	if o.Parent() == o.Pkg().Scope() {
		return o.Name()
	}
	return ""
}

// TestWhoSends: few functions make the wire send, and all of them are known.
func TestWhoSends(t *testing.T) {
	match(t, "sends", usedBy(t, func(path, name string) bool { return path == module+"/oauth" && name == "Client.Send" }), senders)
}

// TestNoDefaultHTTP: nothing of net/http is used that all packages of a process
// share: its client follows redirects with a secret, its server serves what
// anybody registered.
func TestNoDefaultHTTP(t *testing.T) {
	shared := []string{"DefaultClient", "DefaultTransport", "Get", "Head", "Post", "PostForm", "DefaultServeMux", "Handle", "HandleFunc", "ListenAndServe", "ListenAndServeTLS", "Serve", "ServeTLS"}
	match(t, "uses what net/http shares", usedBy(t, func(path, name string) bool { return path == "net/http" && slices.Contains(shared, name) }), sharers)
}

// TestWhoRunsPrograms: programs are started in named places, whatever package
// they are started by.
func TestWhoRunsPrograms(t *testing.T) {
	match(t, "starts a program", usedBy(t, func(path, name string) bool {
		switch path {
		case "os/exec":
			return name == "Command" || name == "CommandContext"
		case "os":
			return name == "StartProcess"
		case "syscall", "golang.org/x/sys/unix", "golang.org/x/sys/windows":
			return name == "Exec" || name == "ForkExec" || name == "StartProcess" || name == "CreateProcess"
		case "github.com/cli/browser":
			return strings.HasPrefix(name, "Open")
		}
		return false
	}), execs)
}

// TestRandomness: what must not be guessed comes from crypto/rand.
func TestRandomness(t *testing.T) {
	match(t, "uses math/rand", usedBy(t, func(path, _ string) bool { return strings.HasPrefix(path, "math/rand") }), randoms)
}

// TestQuiet: only the command line writes to the streams of the process, and
// nobody to the standard logger.
func TestQuiet(t *testing.T) {
	match(t, "writes to the process's streams", usedBy(t, func(path, name string) bool {
		return path == "os" && (name == "Stdout" || name == "Stderr") || path == "log" && name != "New" && name != "Logger"
	}), talkers)
}

// TestVerified: TLS is verified, always.
func TestVerified(t *testing.T) {
	looked := 0
	syntax(t, func(n ast.Node, in site) {
		if id, ok := n.(*ast.Ident); ok {
			looked++
			if id.Name == "InsecureSkipVerify" {
				t.Errorf("%s: %s names InsecureSkipVerify", in.at, in.name)
			}
		}
	})
	if looked < 10000 {
		t.Errorf("only %d names were looked at", looked)
	}
}

// TestGoroutines: it is known who starts goroutines, and tests look for those
// that outlive their owner.
func TestGoroutines(t *testing.T) {
	var found []site
	packages := map[string]bool{}
	for _, c := range typed(t) {
		c.each(func(n ast.Node, in site) {
			start := false
			switch n := n.(type) {
			case *ast.GoStmt:
				start = true
			case *ast.CallExpr:
				f := c.callee(n)
				start = f != nil && f.FullName() == "(*sync.WaitGroup).Go"
			}
			if start {
				found = append(found, in)
				packages[c.name()] = true
			}
		})
	}
	match(t, "starts goroutines", found, goroutines)
	for name := range packages {
		folder, ok := leakTests[name]
		if !ok {
			t.Errorf("package %q starts goroutines, and no tests are named that look for leaks", name)
			continue
		}
		files, err := filepath.Glob(filepath.Join(filepath.FromSlash(folder), "*_test.go"))
		if err != nil || !slices.ContainsFunc(files, func(f string) bool { return slices.Contains(importsOf(t, f), "go.uber.org/goleak") }) {
			t.Errorf("package %q: no test in %s uses goleak", name, folder)
		}
	}
}

// TestForeignImports: a package imports only the modules that it is known to
// need, on any system.
func TestForeignImports(t *testing.T) {
	looked := 0
	for _, p := range ours(t) {
		if p.isEdge() {
			continue
		}
		for _, file := range p.files() {
			for _, path := range importsOf(t, file) {
				first, _, _ := strings.Cut(path, "/")
				if path == "C" || path == "plugin" {
					t.Errorf("%s imports %q", file, path)
				}
				if !strings.Contains(first, ".") || path == module || strings.HasPrefix(path, module+"/") {
					continue
				}
				looked++
				if !slices.ContainsFunc(thirdParty[p.name()], func(m string) bool { return path == m || strings.HasPrefix(path, m+"/") }) {
					t.Errorf("%s imports %q, which this package is not known to need", file, path)
				}
			}
		}
	}
	if looked < 10 {
		t.Errorf("only %d imports were looked at", looked)
	}
}

// TestGuardsSee: the guards find what is planted.
func TestGuardsSee(t *testing.T) {
	const source = `package p
import "fmt"
var table = map[string]int{}
var list = []int{1}
var kept struct{ n int }
var fine = 1
func f(b []byte, m map[string]string) { table["a"] = fine; list[0]++; kept.n = 2; fmt.Println(b, m, struct{}{}) }`
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "p.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	c := checked{fset: fset, files: []*ast.File{f}, info: &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{}}}
	exports := exportFiles(t)
	imports := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	if _, err := (&types.Config{Importer: imports}).Check("p", fset, c.files, c.info); err != nil {
		t.Fatal(err)
	}
	changed, printed := map[string]bool{}, 0
	c.each(func(n ast.Node, _ site) {
		for _, e := range c.changes(n) {
			if v := c.global(e); v != nil {
				changed[v.Name()] = true
			}
		}
		for _, a := range c.printed(n) {
			if !plain(c.info.Types[a].Type) {
				printed++
			}
		}
	})
	if got := slices.Sorted(maps.Keys(changed)); !slices.Equal(got, []string{"kept", "list", "table"}) || printed != 3 {
		t.Errorf("changed %v, %d printed", got, printed)
	}
}
