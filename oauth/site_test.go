package oauth_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/evergrant/evergrant/oauth"
)

// page is one answer of a site. "BASE" in header and body becomes the site's
// URL. The zero status is 200, the zero kind application/json, "-" none.
type page struct {
	status     int
	kind, body string
	header     map[string]string
}

// asked is one request that a site saw.
type asked struct {
	method, uri, body string
	header            http.Header
}

// site is an HTTP server on this machine that answers by path, 404 elsewhere.
type site struct {
	url string

	mu   sync.Mutex
	seen []asked
}

func newSite(t testing.TB, pages map[string]page) *site {
	s := &site{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.seen = append(s.seen, asked{r.Method, r.RequestURI, string(body), r.Header})
		s.mu.Unlock()
		p, ok := pages[r.URL.EscapedPath()]
		if !ok {
			http.NotFound(w, r)
			return
		}
		p.write(w, "http://"+r.Host)
	}))
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

func (p page) write(w http.ResponseWriter, base string) {
	for name, value := range p.header {
		w.Header().Set(name, strings.ReplaceAll(value, "BASE", base))
	}
	switch p.kind {
	case "":
		w.Header().Set("Content-Type", "application/json")
	case "-":
		w.Header()["Content-Type"] = nil
	default:
		w.Header().Set("Content-Type", p.kind)
	}
	if p.status != 0 {
		w.WriteHeader(p.status)
	}
	io.WriteString(w, strings.ReplaceAll(p.body, "BASE", base))
}

// paths lists what was asked for, in its order.
func (s *site) paths() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]string, len(s.seen))
	for i, a := range s.seen {
		list[i] = a.uri
	}
	return strings.Join(list, " ")
}

// last is the latest request.
func (s *site) last(t testing.TB) asked {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) == 0 {
		t.Fatal("nothing was asked")
	}
	return s.seen[len(s.seen)-1]
}

// plain is an answer that was not sent over a wire.
func plain(status int, kind, body string) *oauth.Answer {
	return &oauth.Answer{Status: status, Header: http.Header{"Content-Type": {kind}}, Body: []byte(body)}
}

// contains checks an error's text, and that it keeps secrets.
func contains(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q in it", err, want)
		return
	}
	leakCheck(t, "error", err.Error())
}
