package faultmatrix_test

import (
	"bufio"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/oauth"
)

// FuzzWire: whatever bytes a server writes, one request is an answer or an
// error that says that the request was sent, within bounds.
func FuzzWire(f *testing.F) {
	body := `{"access_token":"a","refresh_token":"b","expires_in":3600}`
	for _, text := range []string{
		whole([]byte(body)), coded(string(zipped([]byte(body)))), coded(string(zipped([]byte(body)))[:20]),
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 429 X\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n" + body, "HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n\r\n\x78\x9c\x03\x00", "", "\x15\x03\x03\x00\x02\x02\x28",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := oauth.RefreshRequest("http://127.0.0.1/token", oauth.NewSecret("rt-"+tokenMark), oauth.None("app"))
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := net.Pipe()
		served := make(chan struct{})
		go func() {
			defer close(served)
			defer theirs.Close()
			if r, err := http.ReadRequest(bufio.NewReader(theirs)); err == nil {
				io.Copy(io.Discard, r.Body)
				theirs.Write(text)
			}
		}()
		c := oauth.Client{Timeout: 5 * time.Second, Dial: func(context.Context, string, string) (net.Conn, error) { return ours, nil }}
		a, err := c.Send(t.Context(), r, nil)
		<-served
		if err != nil {
			if e, ok := err.(*oauth.SendError); !ok || !e.Sent || strings.Contains(err.Error(), tokenMark) {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		if len(a.Body) > 512<<10 {
			t.Fatalf("a body of %d bytes", len(a.Body))
		}
		oauth.ParseToken(a, oauth.Dialect{})
	})
}

// FuzzAnswers: the readers of the smaller answers neither panic nor call good
// what is not there.
func FuzzAnswers(f *testing.F) {
	for _, text := range []string{
		`{"device_code":"d","user_code":"u","verification_uri":"https://a/","expires_in":600,"interval":5}`,
		`{"request_uri":"urn:x","expires_in":60}`, `{"sub":"a","email":"b"}`, `{"error":"unsupported_token_type"}`, `{"client_id":"https://a/c","redirect_uris":["http://127.0.0.1/"]}`,
		`{}`, `[]`, ``, "\xef\xbb\xbf{}", `{"expires_in":1e400}`, `<html>`, "http://127.0.0.1/callback?code=a&state=s&iss=https%3A%2F%2Fa",
	} {
		f.Add(200, []byte(text))
		f.Add(400, []byte(text))
	}
	f.Fuzz(func(t *testing.T, status int, text []byte) {
		a := &oauth.Answer{Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: text, Received: time.Now()}
		r := &oauth.Request{URL: "https://as.example/x"}
		if d, err := oauth.ParseDevice(a, r); err == nil && d.Code.IsZero() {
			t.Fatalf("a device answer without a code: %q", text)
		}
		if p, err := oauth.ParsePushed(a, r); err == nil && p.RequestURI == "" {
			t.Fatalf("a pushed request without an address: %q", text)
		}
		oauth.ParseUserinfo(a, r)
		oauth.ParseRevocation(a, r)
		oauth.ParseClientDocument(a, "https://a/c")
		want := oauth.Expected{State: oauth.NewSecret("s")}
		oauth.ParsePasted(string(text), want)
		if c, err := oauth.ParseCallback(string(text), want); err == nil && c.Code.IsZero() {
			t.Fatalf("a callback without a code: %q", text)
		}
	})
}

// TestParsersAreFuzzed: every exported function of the product that reads what
// others wrote is called by a fuzz test.
func TestParsersAreFuzzed(t *testing.T) {
	parsers, fuzzed := map[string]string{}, map[string]bool{}
	walk(t, func(path string, f *ast.File) {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			switch {
			case !ok || fn.Recv != nil:
			case strings.HasSuffix(path, "_test.go"):
				if strings.HasPrefix(fn.Name.Name, "Fuzz") {
					calls(fn, fuzzed)
				}
			case strings.HasPrefix(fn.Name.Name, "Parse") && inProduct(path):
				parsers[fn.Name.Name] = path
			}
		}
	})
	if len(parsers) < 10 {
		t.Fatalf("only %d parsers were found", len(parsers))
	}
	for name, path := range parsers {
		if !fuzzed[name] {
			t.Errorf("%s: no fuzz test calls %s", path, name)
		}
	}
}

// inProduct tells files of the product from those of the simulator and the
// programs at the edge.
func inProduct(path string) bool {
	first, _, found := strings.Cut(filepath.ToSlash(path), "/")
	return !found || slices.Contains([]string{"oauth", "jose", "provider", "login", "store", "internal"}, first)
}

func calls(fn *ast.FuncDecl, names map[string]bool) {
	ast.Inspect(fn, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok {
			switch f := c.Fun.(type) {
			case *ast.SelectorExpr:
				names[f.Sel.Name] = true
			case *ast.Ident:
				names[f.Name] = true
			}
		}
		return true
	})
}

// walk parses every Go file of the repository.
func walk(t *testing.T, see func(path string, f *ast.File)) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("parsing: %w", err)
		}
		name, err := filepath.Rel("..", path)
		see(name, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
