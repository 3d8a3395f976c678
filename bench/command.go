//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// identify are the flags of a first run; later ones need none.
func (b *bench) identify() []string {
	return []string{"--client-id", clientID, "--provider", "salesforce", "--token-url", b.idp.tokenURL()}
}

// known is a token file that Evergrant has refreshed once, so that it needs no
// flags: the state in which a file is for nearly all of its life.
func (b *bench) known(name string) (path string, err error) {
	path, _, err = b.tokenFile(name)
	if err == nil {
		_, err = b.launch.run(append([]string{b.tools["evergrant"], "refresh", path, "--quiet"}, b.identify()...)...)
	}
	return path, err
}

// refresh compares whole processes that refresh a token file.
func (b *bench) refresh() error {
	ours, err := b.known("ours")
	if err != nil {
		return err
	}
	bare, _, err := b.tokenFile("bare")
	if err != nil {
		return err
	}
	merge, _, err := b.tokenFile("merge")
	if err != nil {
		return err
	}
	plain, err := b.refreshTokenFile("plain")
	if err != nil {
		return err
	}
	url := b.idp.tokenURL()
	r, err := b.launch.compare(200, []contender{
		{"evergrant", []string{b.tools["evergrant"], "refresh", ours}},
		{"bare", []string{b.tools["barerefresh"], bare, url, clientID}},
		{"curl|jq", []string{b.tools["sh"], b.tools["curl-jq.sh"], plain, url, clientID}},
		{"merge", []string{b.tools["sh"], b.tools["merge.sh"], merge, url, clientID}},
	})
	if err != nil {
		return err
	}
	const what = "`evergrant refresh FILE`, whole process"
	figure := func(name, title string) string { return title + ": " + r.times(name) }
	memory := row{
		what: what + ", peak memory", ours: fmt.Sprintf("%.1f MiB", r.peak("evergrant")),
		peer: fmt.Sprintf("bare Go %.1f MiB, `curl | jq` %.1f MiB", r.peak("bare"), r.peak("curl|jq")), target: "≤ 10 MiB",
	}
	if p := r.peak("evergrant"); p > 10 {
		memory.missed = fmt.Sprintf("%.1f MiB too much", p-10)
	}
	b.report.add(
		row{what: what, ours: r.times("evergrant"), peer: figure("curl|jq", "`curl | jq`, keeps only the refresh token")}.atMost(r.ratio("evergrant", "curl|jq"), 0.25),
		row{what: what, ours: r.times("evergrant"), peer: figure("merge", "script with curl and 2 jq that keeps the file"), ratio: r.ratio("evergrant", "merge").String()},
		row{what: what, ours: r.times("evergrant"), peer: figure("bare", "bare Go: lock, POST, fsync, rename")}.atMost(r.ratio("evergrant", "bare"), 1.3),
		memory,
	)
	return nil
}

// refreshTokenFile is a folder with a refresh token alone in the file rt.
func (b *bench) refreshTokenFile(name string) (dir string, err error) {
	path, g, err := b.tokenFile(name)
	if err != nil {
		return "", err
	}
	var t struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.Unmarshal(g.Token, &t); err != nil {
		return "", err
	}
	dir = filepath.Dir(path)
	return dir, os.WriteFile(filepath.Join(dir, "rt"), []byte(t.RefreshToken), 0o600)
}

// token compares whole processes that hand out a token that is still valid.
func (b *bench) token() error {
	path, err := b.known("valid")
	if err != nil {
		return err
	}
	r, err := b.launch.compare(300, []contender{
		{"evergrant", []string{b.tools["evergrant"], "token", path}},
		{"bare", []string{b.tools["baretoken"], path}},
		{"jq", []string{b.tools["jq"], "-r", ".access_token", path}},
		{"version", []string{b.tools["evergrant"], "version"}},
	})
	if err != nil {
		return err
	}
	const what = "`evergrant token FILE`, valid token, whole process"
	b.report.add(
		row{what: what, ours: r.times("evergrant"), peer: "bare Go: read, check, print: " + r.times("bare")}.atMost(r.ratio("evergrant", "bare"), 1.5),
		row{what: what, ours: r.times("evergrant"), peer: "`jq -r .access_token`, checks nothing: " + r.times("jq"), ratio: r.ratio("evergrant", "jq").String()},
		row{what: "of that, start-up (`evergrant version`)", ours: r.times("version"), peer: "bare Go: read, check, print: " + r.times("bare"), ratio: r.ratio("version", "bare").String()},
	)
	return nil
}

const herdSize = 32

// herd starts many processes on one expired file at once and asks the server how
// often it was asked.
func (b *bench) herd() error {
	ours, n, took, err := b.stampede("herd-ours", func(path string) []string {
		return append([]string{b.tools["evergrant"], "token", path}, b.identify()...)
	})
	if err != nil {
		return err
	}
	script, scriptN, scriptTook, err := b.stampede("herd-script", func(path string) []string {
		return []string{b.tools["sh"], b.tools["merge.sh"], path, b.idp.tokenURL(), clientID}
	})
	if err != nil {
		return err
	}
	r := row{
		what:   fmt.Sprintf("%d processes, one expired file", herdSize),
		ours:   fmt.Sprintf("requests: %d, %s, %s", n, fate(ours), ms(took)),
		peer:   fmt.Sprintf("script that keeps the file: requests: %d, %s, %s", scriptN, fate(script), ms(scriptTook)),
		target: "1 request",
	}
	if n != 1 || !ours {
		r.missed = fmt.Sprintf("%d requests, %s", n, fate(ours))
	}
	b.report.add(r)
	return nil
}

// fate is what became of a grant.
func fate(alive bool) string {
	if alive {
		return "grant alive"
	}
	return "grant revoked by the server"
}

// stampede starts the same command many times on an expired token file. Commands
// may fail: the server's ledger is the judge.
func (b *bench) stampede(name string, argv func(path string) []string) (alive bool, n int, took time.Duration, err error) {
	path, g, err := b.tokenFile(name)
	if err != nil {
		return false, 0, 0, err
	}
	if err := expire(path); err != nil {
		return false, 0, 0, err
	}
	begun := time.Now()
	var wg sync.WaitGroup
	for range herdSize {
		wg.Go(func() {
			a := argv(path)
			exec.Command(a[0], a[1:]...).Run()
		})
	}
	wg.Wait()
	took = time.Since(begun)
	n, alive, err = b.idp.requests(g.ID)
	return alive, n, took, err
}

var issuedAt = regexp.MustCompile(`"issued_at": "\d+"`)

// expire makes the token in a file three hours old: a Salesforce session lasts two.
func expire(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	old := fmt.Sprintf(`"issued_at": "%d"`, time.Now().Add(-3*time.Hour).UnixMilli())
	return os.WriteFile(path, issuedAt.ReplaceAll(text, []byte(old)), 0o600)
}

// syncs counts the calls that wait for the disk.
func (b *bench) syncs() error {
	path, err := b.known("syncs")
	if err != nil {
		return err
	}
	bare, _, err := b.tokenFile("syncs-bare")
	if err != nil {
		return err
	}
	ours, err := b.countSyncs(b.tools["evergrant"], "refresh", path)
	if err != nil {
		return err
	}
	theirs, err := b.countSyncs(b.tools["barerefresh"], bare, b.idp.tokenURL(), clientID)
	if err != nil {
		return err
	}
	none, err := b.countSyncs(b.tools["evergrant"], "token", path)
	if err != nil {
		return err
	}
	b.report.add(row{
		what: "fsync calls of one refresh", ours: fmt.Sprintf("%d (`token`: %d)", ours, none),
		peer: fmt.Sprintf("bare Go: %d, scripts: 0", theirs), ratio: fmt.Sprintf("%.1f", float64(ours)/float64(max(theirs, 1))),
	})
	return nil
}

// countSyncs runs a command under strace and adds up its fsync and fdatasync.
func (b *bench) countSyncs(argv ...string) (int, error) {
	summary := filepath.Join(b.dir, "strace.txt")
	c := exec.Command(b.tools["strace"], append([]string{"-f", "-c", "-o", summary, "-e", "trace=fsync,fdatasync,exit_group"}, argv...)...)
	if out, err := c.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("counting system calls: %w\n%s", err, out)
	}
	text, err := os.ReadFile(summary)
	if err != nil {
		return 0, err
	}
	total := 0
	for line := range strings.Lines(string(text)) {
		// % time, seconds, usecs/call, calls, [errors,] name
		if f := strings.Fields(line); len(f) >= 5 && strings.HasSuffix(f[len(f)-1], "sync") {
			n, err := strconv.Atoi(f[3])
			if err != nil {
				return 0, fmt.Errorf("reading strace's summary: %w", err)
			}
			total += n
		}
	}
	return total, nil
}
