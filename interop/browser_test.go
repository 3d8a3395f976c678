package interop_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// browserDesk is where a program that is started as a browser hands in the URL.
const browserDesk = "INTEROP_BROWSER_DESK"

// handIn is what this binary does when it is started as $BROWSER: like the command of a real browser, it hands the URL to
// a browser that runs already, and ends.
func handIn(desk, link string) int {
	res, err := http.PostForm(desk, url.Values{"url": {link}})
	if err == nil {
		res.Body.Close()
	}
	if err != nil || res.StatusCode != http.StatusOK {
		fmt.Fprintln(os.Stderr, "handing the URL in:", err)
		return 1
	}
	return 0
}

// A browser is what the person in front of it would use: it follows redirects, keeps cookies, and submits each form as it
// stands, which consents to everything.
type browser struct {
	env    []string // makes a program open URLs here
	client *http.Client
	refuse bool // of the confirmation that enter comes to

	mu      sync.Mutex
	visited []*url.URL
	ended   chan *page // one for each URL handed in
}

// A page is where a browser came to rest.
type page struct {
	url    *url.URL
	status int
	header http.Header
	body   string
	err    error
}

// newBrowser starts a browser that trusts roots; nil means none but plain http.
func newBrowser(t *testing.T, roots *x509.CertPool) *browser {
	t.Helper()
	b := &browser{ended: make(chan *page, 16)}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	b.client = &http.Client{Jar: jar, Transport: transport, Timeout: scriptTimeout, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		b.note(next.URL)
		if len(via) > 20 {
			return errors.New("too many redirects")
		}
		return nil
	}}
	b.env = openBy(t, func(link string) { b.ended <- b.browse(link) })
	return b
}

// openBy gives the environment in which a program's browser is open. It is called for each URL, one after another.
func openBy(t *testing.T, open func(link string)) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	desk := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		link := r.PostFormValue("url")
		running.Go(func() { open(link) })
	}))
	t.Cleanup(func() {
		desk.Close()
		running.Wait()
	})
	return []string{"BROWSER=" + self, browserDesk + "=" + desk.URL}
}

// browse goes on until there is neither redirect nor form.
func (b *browser) browse(link string) *page {
	req, err := http.NewRequest(http.MethodGet, link, nil)
	for range 10 {
		if err != nil {
			return &page{err: err}
		}
		b.note(req.URL)
		p := b.load(req)
		if p.err != nil || !strings.Contains(p.body, "<form") {
			return p
		}
		req, err = submission(p, "")
	}
	return &page{err: errors.New("one form after another")}
}

func (b *browser) load(req *http.Request) *page {
	res, err := b.client.Do(req)
	if err != nil {
		return &page{err: err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return &page{url: res.Request.URL, status: res.StatusCode, header: res.Header, body: string(body), err: err}
}

// enter types text into the one field of a page, and goes on from there.
func (b *browser) enter(link, text string) *page {
	req, err := http.NewRequest(http.MethodGet, link, nil)
	if err != nil {
		return &page{err: err}
	}
	p := b.load(req)
	if p.err != nil {
		return p
	}
	if req, p.err = submission(p, text); p.err != nil {
		return p
	}
	if p = b.load(req); p.err != nil || !strings.Contains(p.body, "<form") {
		return p
	}
	if b.refuse {
		p.body = strings.ReplaceAll(p.body, `name="confirm"`, `name="abort"`)
	}
	if req, p.err = submission(p, ""); p.err != nil {
		return p
	}
	return b.load(req)
}

func (b *browser) note(u *url.URL) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.visited = append(b.visited, u)
}

// seen are the URLs that the browser went to and whose path ends so.
func (b *browser) seen(path string) (list []*url.URL) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, u := range b.visited {
		if strings.HasSuffix(u.Path, path) {
			list = append(list, u)
		}
	}
	return list
}

// last waits for the next URL handed in to come to an end.
func (b *browser) last(t *testing.T) *page {
	t.Helper()
	select {
	case p := <-b.ended:
		if p.err != nil {
			t.Fatalf("the browser: %v", p.err)
		}
		return p
	case <-time.After(scriptTimeout):
		t.Fatal("no browser was opened, or it is stuck")
		return nil
	}
}

// wantResultPage checks where a login leaves the browser.
func (b *browser) wantResultPage(t *testing.T, title string) {
	t.Helper()
	p := b.last(t)
	if p.url.RawQuery != "" || p.url.Path != "/login-result" || !strings.Contains(p.body, "<h1>"+title+"</h1>") {
		t.Errorf("the browser ended at %s with %q, want %q and neither code nor state", p.url, p.body, title)
	}
	if p.header.Get("Referrer-Policy") != "no-referrer" || p.header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers of the result page: %v", p.header)
	}
}

var (
	formTag  = regexp.MustCompile(`(?is)<form\b[^>]*>`)
	inputTag = regexp.MustCompile(`(?is)<input\b[^>]*>`)
	attrText = regexp.MustCompile(`(?is)\b([a-z]+)="([^"]*)"`)
)

func attrs(tag string) map[string]string {
	m := map[string]string{}
	for _, a := range attrText.FindAllStringSubmatch(tag, -1) {
		m[strings.ToLower(a[1])] = html.UnescapeString(a[2])
	}
	return m
}

// submission submits the one form of a page, with text in each field that has no value.
func submission(p *page, text string) (*http.Request, error) {
	form := attrs(formTag.FindString(p.body))
	action, err := p.url.Parse(form["action"])
	if err != nil {
		return nil, err
	}
	fields := url.Values{}
	for _, tag := range inputTag.FindAllString(p.body, -1) {
		if in := attrs(tag); in["name"] != "" && in["value"] != "" {
			fields.Set(in["name"], in["value"])
		} else if in["name"] != "" && text != "" {
			fields.Set(in["name"], text)
		}
	}
	if !strings.EqualFold(form["method"], http.MethodPost) {
		action.RawQuery = fields.Encode()
		return http.NewRequest(http.MethodGet, action.String(), nil)
	}
	req, err := http.NewRequest(http.MethodPost, action.String(), strings.NewReader(fields.Encode()))
	if err == nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return req, err
}
