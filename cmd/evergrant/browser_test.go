package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/idptest"
)

// The person of the scripts, as programs beside evergrant:
//
//	browse URL         a browser: it leaves the terminal at once, logs in at the
//	                   provider, comes back, and keeps the last page as page.html;
//	                   with STRAY=1 somebody else's callback comes first
//	paste COMMAND…     runs a login that prints its URL, goes there with a browser
//	                   that finds nobody listening, and pastes where it ended
//	genkey FILE        makes a private key

// browse is a browser.
func browse() {
	if len(os.Args) == 2 {
		check(exec.Command(os.Args[0], "now", os.Args[1]).Start())
		return
	}
	link := os.Args[2]
	if os.Getenv("STRAY") != "" {
		u, err := url.Parse(link)
		check(err)
		resp, err := http.Get(u.Query().Get("redirect_uri") + "?code=stolen&state=of-another-login")
		check(err)
		if resp.StatusCode != http.StatusBadRequest {
			check(fmt.Errorf("the stray callback got %s", resp.Status))
		}
	}
	resp, err := http.Get(link)
	check(err)
	page, err := io.ReadAll(resp.Body)
	check(err)
	check(os.WriteFile("page.tmp", page, 0o600))
	check(os.Rename("page.tmp", "page.html"))
}

// paste is a person who copies addresses.
func paste() {
	c := exec.Command(os.Args[1], os.Args[2:]...)
	c.Stdout = os.Stdout
	in, err := c.StdinPipe()
	check(err)
	said, err := c.StderrPipe()
	check(err)
	check(c.Start())
	browser := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for s := bufio.NewScanner(said); s.Scan(); {
		fmt.Fprintln(os.Stderr, s.Text())
		if link, ok := strings.CutPrefix(s.Text(), "  http"); ok {
			resp, err := browser.Get("http" + link)
			check(err)
			fmt.Fprintln(in, os.Getenv("PASTE_FIRST"))
			fmt.Fprintln(in, resp.Header.Get("Location"))
		}
	}
	var exit *exec.ExitError
	if err := c.Wait(); errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	} else {
		check(err)
	}
}

// genkey makes a private key.
func genkey() {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	check(err)
	check(os.WriteFile(os.Args[1], pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(9)
	}
}

// TestLoginPortInUse: the message names the port, before a person is bothered.
func TestLoginPortInUse(t *testing.T) {
	b := newBedOf(t, idptest.Generic, idptest.Habits{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	b.env = append(b.env, "BROWSER=browse")
	r := b.run("login", b.base, "--client-id", clientID, "--file", "new.json", "--redirect-port", port)
	r.wantHint(t)
	if r.code != exitUsage || !strings.Contains(r.stderr, port) {
		t.Errorf("exit %d, %q", r.code, r.stderr)
	}
	if files, _ := filepath.Glob(filepath.Join(b.dir, "*new.json*")); len(files) > 0 {
		t.Errorf("it made %v", files)
	}
}
