//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

// A benchmark against a contender that does not do its work says nothing: each
// must leave the refresh token that the server accepts, and those that claim to
// keep the file must keep all of it.
func TestPeersRefresh(t *testing.T) {
	dir := t.TempDir()
	paths, err := tools(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	idp := idptest.New(idptest.Config{Persona: idptest.Salesforce, Habits: idptest.Habits{Rotation: true}})
	t.Cleanup(func() { idp.Close() })
	base, err := idp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := base + "/services/oauth2/token"
	for _, tt := range []struct {
		name  string
		argv  []string
		file  string // where the refresh token is afterwards
		keeps bool   // the other members stay
	}{
		{"evergrant", []string{paths["evergrant"], "refresh", "token.json", "--client-id", clientID, "--token-url", url}, "token.json", true},
		{"barerefresh", []string{paths["barerefresh"], "token.json", url, clientID}, "token.json", true},
		{"merge.sh", []string{"sh", paths["merge.sh"], "token.json", url, clientID}, "token.json", true},
		{"curl-jq.sh", []string{"sh", paths["curl-jq.sh"], ".", url, clientID}, "rt", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := idp.NewGrant(idptest.GrantSpec{ClientID: clientID})
			dir := t.TempDir()
			text := bytes.Replace(g.TokenJSON(), []byte("{"), []byte(`{"ours":"kept",`), 1)
			write(t, filepath.Join(dir, "token.json"), text)
			write(t, filepath.Join(dir, "rt"), []byte(g.RefreshToken))
			for range 3 {
				c := exec.Command(tt.argv[0], tt.argv[1:]...)
				c.Dir = dir
				if out, err := c.CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			after, err := os.ReadFile(filepath.Join(dir, tt.file))
			if err != nil {
				t.Fatal(err)
			}
			refresh := string(after)
			if tt.keeps {
				var doc map[string]string
				if err := json.Unmarshal(after, &doc); err != nil || doc["ours"] != "kept" || doc["signature"] == "" {
					t.Errorf("%v, members lost in %s", err, after)
				}
				refresh = doc["refresh_token"]
			}
			if id, generation, living := idp.Find(refresh); id != g.ID || generation != 4 || !living {
				t.Errorf("left with refresh token of generation %d, living %v; want 4, true", generation, living)
			}
		})
	}
}

// baretoken must check what `evergrant token` checks.
func TestBareTokenChecks(t *testing.T) {
	paths, err := tools(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	g := idptest.New(idptest.Config{Persona: idptest.Salesforce}).NewGrant(idptest.GrantSpec{})
	path := filepath.Join(t.TempDir(), "token.json")
	write(t, path, g.TokenJSON())
	if out, err := exec.Command(paths["baretoken"], path).Output(); err != nil || string(out) != g.AccessToken+"\n" {
		t.Errorf("valid token: %q, %v", out, err)
	}
	if err := expire(path); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(paths["baretoken"], path).Output(); err == nil {
		t.Errorf("ended token: %q, no error", out)
	}
}

func TestPaired(t *testing.T) {
	const ms = time.Millisecond
	// The peer is twice as slow throughout; one round fell on a busy moment, for both.
	ours, peer := []time.Duration{1 * ms, 100 * ms, 2 * ms}, []time.Duration{2 * ms, 200 * ms, 4 * ms}
	if q := paired(ours, peer); q != (ratio{mid: 0.5, low: 0.5, high: 0.5}) {
		t.Errorf("ratio %v, want 0.5 throughout", q)
	}
	if m := median([]int{9, 1, 5}); m != 5 {
		t.Errorf("median %d, want 5", m)
	}
}

func TestVerdict(t *testing.T) {
	for _, tt := range []struct {
		mid  float64
		want string
	}{{1.25, "yes"}, {1.24, "yes"}, {2.5, "no: 2.00 × too much"}} {
		if got := (row{}).atMost(ratio{mid: tt.mid}, 1.25).verdict(); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.mid, got, tt.want)
		}
	}
}

func TestReportKeepsTheRestOfTheDocument(t *testing.T) {
	path := filepath.Join(t.TempDir(), "benchmarks.md")
	write(t, path, []byte("before\n"+beginMark+"\nold\n"+endMark+"\nafter\n"))
	r := report{machine: []string{"a machine"}, rows: []row{{what: "a | b"}}}
	var first string
	for range 2 { // the second time changes nothing
		if err := r.write(path); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		if !strings.HasPrefix(text, "before\n"+beginMark) || !strings.HasSuffix(text, endMark+"\nafter\n") || strings.Contains(text, "old") || !strings.Contains(text, `| a \| b |`) {
			t.Errorf("got %s", text)
		}
		if first != "" && text != first {
			t.Errorf("second time %s", text)
		}
		first = text
	}
	write(t, path, []byte("no markers\n"))
	if err := r.write(path); err == nil {
		t.Error("a document without markers was written")
	}
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
