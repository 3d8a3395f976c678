package interop_test

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestChromium logs in with a real browser, headless: its redirects, its policies for forms and content, its idea of
// history. What it fetched is in its own network log.
func TestChromium(t *testing.T) {
	bin := chromium(t)
	for _, row := range []struct {
		name, mode, title string
		deny              bool
	}{
		{"query", "query", "Logged in", false},
		{"form_post", "form_post", "Logged in", false},
		{"denied", "query", "Not logged in", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := newFlow(t, "")
			if row.deny {
				f.server.send(t, `{"deny":true}`)
			}
			visits := make(chan chromiumVisit, 1)
			f.evergrant.env = append(f.evergrant.env, openBy(t, func(link string) { visits <- visit(t, bin, link) })...)
			res := f.evergrant.run(t, "login", f.server.ready.Issuer, "--client-id", f.server.ready.ClientID, "--name", "work", "--response-mode", row.mode)
			if (res.code == 0) == row.deny {
				t.Errorf("exit code %d\n%s", res.code, res.stderr)
			}
			v := <-visits
			if v.err != nil {
				t.Fatal(v.err)
			}
			v.wantPage(t, row.title, f.server.ready.Issuer)
		})
	}
}

// chromium finds the browser. Only this test is skipped without it: scripts/setup installs it where it can.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("EVERGRANT_PROVE") != "" {
		t.Fatal("chromium is not installed")
	}
	t.Skip("SKIPPED, NOT PROVED: chromium is not installed, so the login page was not opened in a real browser")
	return ""
}

// A chromiumVisit is what was to be seen in the end, and what was fetched on the way.
type chromiumVisit struct {
	page    string // the document as it stands, scripts done
	fetched []*url.URL
	err     error
}

func visit(t *testing.T, bin, link string) (v chromiumVisit) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), scriptTimeout)
	defer cancel()
	netlog := filepath.Join(dir, "net.json")
	args := []string{
		"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--user-data-dir=" + filepath.Join(dir, "profile"),
		"--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--no-proxy-server", // nothing leaves this machine
		"--log-net-log=" + netlog, "--virtual-time-budget=4000", "--dump-dom",
	}
	out, err := exec.CommandContext(ctx, bin, append(args, link)...).Output()
	if err != nil {
		return chromiumVisit{err: err}
	}
	v.page = string(out)
	v.fetched, v.err = fetched(netlog)
	return v
}

// fetched reads the URLs that pages made the browser ask for from a network log.
func fetched(path string) (list []*url.URL, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var netlog struct {
		Constants struct {
			Types map[string]int `json:"logEventTypes"`
		} `json:"constants"`
		Events []struct {
			Type   int `json:"type"`
			Params struct {
				URL       string `json:"url"`
				Initiator string `json:"initiator"`
				Kind      string `json:"request_type"`
			} `json:"params"`
		} `json:"events"`
	}
	if err := json.Unmarshal(data, &netlog); err != nil {
		return nil, err
	}
	for _, e := range netlog.Events {
		p := e.Params
		own := p.Initiator == "not an origin" && p.Kind != "main frame" // for itself, not for a page: updates, time
		if e.Type == netlog.Constants.Types["URL_REQUEST_START_JOB"] && p.URL != "" && !own {
			u, err := url.Parse(p.URL)
			if err != nil {
				return nil, err
			}
			list = append(list, u)
		}
	}
	return list, nil
}

// wantPage checks the page and that nothing but the server and the listener was asked for anything.
func (v chromiumVisit) wantPage(t *testing.T, title, issuer string) {
	t.Helper()
	if !strings.Contains(v.page, "<h1>"+title+"</h1>") {
		t.Errorf("the browser shows:\n%s", v.page)
	}
	if strings.Contains(v.page, "<script") || strings.Contains(v.page, "src=") || strings.Contains(v.page, "href=") {
		t.Errorf("the page is not self-contained:\n%s", v.page)
	}
	var last *url.URL
	for _, u := range v.fetched {
		if u.Hostname() != "127.0.0.1" {
			t.Errorf("the browser went to %s", u)
		}
		if !strings.HasPrefix(u.String(), issuer) && u.Path != "/favicon.ico" {
			last = u
		}
	}
	if last == nil || last.Path != "/login-result" || last.RawQuery != "" {
		t.Errorf("the browser ended at %v, want the result page, without code and state", last)
	}
}
