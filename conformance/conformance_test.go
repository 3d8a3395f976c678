package conformance_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/conformance"
)

// built is the evergrant program, made once.
func built(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "evergrant")
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	if out, err := exec.Command("go", "build", "-o", path, "../cmd/evergrant").CombinedOutput(); err != nil {
		t.Fatalf("building evergrant: %v\n%s", err, out)
	}
	return path
}

func judge(t *testing.T, r conformance.Runner, pattern string) conformance.Scorecard {
	t.Helper()
	cases, err := conformance.Select(pattern)
	if err != nil {
		t.Fatal(err)
	}
	card, err := r.Run(t.Context(), cases)
	if err != nil {
		t.Fatal(err)
	}
	return card
}

// TestEvergrant: Evergrant passes every case.
func TestEvergrant(t *testing.T) {
	card := judge(t, conformance.Runner{Command: []string{built(t), "refresh", "{file}", "--timeout", "10s", "--token-url", "{token_url}", "--client-id", "{client_id}"}}, "")
	for _, r := range card.With(conformance.Failed) {
		t.Errorf("%s: %s", r.Name, strings.Join(r.Says, "; "))
	}
	for _, r := range card.With(conformance.Skipped) {
		t.Logf("SKIPPED %s: %s", r.Name, strings.Join(r.Says, "; "))
	}
	if n := card.Total().Passed; n < 150 {
		t.Errorf("only %d cases were played", n)
	}
}

// TestScript: a script of curl and jq passes what it can and fails what it must,
// so that a pass says something.
func TestScript(t *testing.T) {
	for _, tool := range []string{"sh", "curl", "jq"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: %v", err)
		}
	}
	fails := []string{"shapes/rt-null", "lost/lost-rotating", "lost/unprocessed", "races/hold", "crash/stop", "format/crlf", "hostile/dup-access", "refusals/revoked-stops"}
	passes := []string{"basic/refresh", "basic/rotation", "shapes/exp-string", "refusals/404-page", "lost/lost-static", "format/unknown-members", "redirects/307-other", "secrets/printed-success"}
	if runtime.GOOS == "linux" {
		fails = append(fails, "hostile/endless", "secrets/arguments")
	}
	card := judge(t, conformance.Runner{Command: []string{"sh", "peers/curl-jq.sh", "{file}", "{token_url}", "{client_id}"}},
		"^("+strings.Join(append(fails, passes...), "|")+")$")
	if len(card.Results) != len(fails)+len(passes) {
		t.Fatalf("%d cases played of %d", len(card.Results), len(fails)+len(passes))
	}
	for _, r := range card.Results {
		want := conformance.Passed
		if slices.Contains(fails, r.Name) {
			want = conformance.Failed
		}
		if r.Outcome != want {
			t.Errorf("%s %s: %s", r.Name, r.Outcome, strings.Join(r.Says, "; "))
		}
	}
}

// TestBad: programs that are wrong in one way each fail the case for it.
func TestBad(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	eg := built(t)
	refresh := eg + ` refresh "$EVERGRANT_CONFORMANCE_FILE" --quiet --timeout 5s --token-url "$EVERGRANT_CONFORMANCE_TOKEN_URL" --client-id "$EVERGRANT_CONFORMANCE_CLIENT_ID"`
	const follow = `sed 's/curl -sSf/curl -sSfL/' peers/curl-jq.sh > "$TMPDIR/x"; sh "$TMPDIR/x" "$EVERGRANT_CONFORMANCE_FILE" "$EVERGRANT_CONFORMANCE_TOKEN_URL" "$EVERGRANT_CONFORMANCE_CLIENT_ID"`
	tests := []struct{ name, script, fails, says string }{
		{"does nothing", `true`, "basic/refresh", "the access token in the file is the old one"},
		{"always succeeds", refresh + `; true`, "refusals/revoked", "the exit code is 0"},
		{"always fails", refresh + `; false`, "basic/refresh", "failed (exit status 1)"},
		{"prints the file", refresh + `; cat "$EVERGRANT_CONFORMANCE_FILE"`, "secrets/printed-success", "a token stands in the output"},
		{"keeps a copy", refresh + ` && cp "$EVERGRANT_CONFORMANCE_FILE" "$EVERGRANT_CONFORMANCE_FILE.bak"`, "secrets/copies", "tokens/token.json.bak holds a token"},
		{"copy in the temporary folder", refresh + ` && cp "$EVERGRANT_CONFORMANCE_FILE" "$TMPDIR/x"`, "secrets/copies", "tmp/x holds a token"},
		{"opens the mode", refresh + ` && chmod 644 "$EVERGRANT_CONFORMANCE_FILE"`, "secrets/mode", "was 0600 and is 0644"},
		{"adds a byte", refresh + ` && echo >> "$EVERGRANT_CONFORMANCE_FILE"`, "format/bytes", "bytes outside the new values have changed"},
		{"adds a value", refresh + `; echo 1 >> "$EVERGRANT_CONFORMANCE_FILE"`, "lost/lost-rotating", "the file holds more than one JSON value"},
		{"deletes on failure", refresh + ` || { rm "$EVERGRANT_CONFORMANCE_FILE"; false; }`, "refusals/revoked", "the token file is gone"},
		{"takes its time", `sleep 60`, "basic/refresh", "still going after"},
		{"follows redirects", follow, "redirects/307-other", "the refresh token was sent to a second host"},
		{"believes redirects", follow, "redirects/307-same", "a refresh token that the server never issued"},
		{"empties the file for a moment", `cp "$EVERGRANT_CONFORMANCE_FILE" "$TMPDIR/x"; : > "$EVERGRANT_CONFORMANCE_FILE"; sleep 0.02; cat "$TMPDIR/x" > "$EVERGRANT_CONFORMANCE_FILE"; ` + refresh, "races/reader", "the file is empty"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := exec.LookPath("curl"); err != nil && strings.Contains(tt.script, "curl") {
				t.Skipf("SKIPPED: %v", err)
			}
			r := conformance.Runner{Command: []string{"sh", "-c", tt.script}}
			if strings.HasPrefix(tt.script, "sleep") {
				r.Limit = 100_000_000 // 100 ms
			}
			card := judge(t, r, "^"+tt.fails+"$")
			if got := card.Results[0]; got.Outcome != conformance.Failed || !strings.Contains(strings.Join(got.Says, "; "), tt.says) {
				t.Errorf("%s: %q, want one with %q", got.Outcome, got.Says, tt.says)
			}
		})
	}
}

// TestPointless: a program that does not refresh at all is not judged further.
func TestPointless(t *testing.T) {
	if _, err := exec.LookPath("false"); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	card := judge(t, conformance.Runner{Command: []string{"false"}}, "")
	if total := card.Total(); total.Failed != 1 || total.Passed != 0 || total.Skipped != len(card.Results)-1 {
		t.Errorf("%+v", total)
	}
	var b strings.Builder
	if err := card.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"FAILED basic/refresh", "why it matters:", "SKIPPED races/hold: basic/refresh failed", "0 of 1 cases passed"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the scorecard lacks %q:\n%s", want, b.String())
		}
	}
}

// TestCases: names are unique and say their group, and each has its reason.
func TestCases(t *testing.T) {
	seen := map[string]bool{}
	var groups []string
	for _, c := range conformance.Cases() {
		if seen[c.Name] || !strings.HasPrefix(c.Name, c.Group+"/") || len(c.Why) < 5 || strings.Contains(c.Why, "\n") {
			t.Errorf("%+q is not a proper case", c.Name)
		}
		seen[c.Name] = true
		if !slices.Contains(groups, c.Group) {
			groups = append(groups, c.Group)
		}
	}
	want := strings.Fields("basic shapes refusals lost races crash write format hostile redirects secrets")
	if !slices.Equal(groups, want) {
		t.Errorf("groups %v", groups)
	}
	if _, err := conformance.Select("^nothing$"); err == nil {
		t.Error("a pattern that matches nothing is no error")
	}
	if _, err := conformance.Select("("); err == nil {
		t.Error("a pattern that is none is no error")
	}
}

// TestStopped: a run that is called off ends soon, leaves nothing behind and is
// an error.
func TestStopped(t *testing.T) {
	if _, err := exec.LookPath("sleep"); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (conformance.Runner{Command: []string{"sleep", "60"}}).Run(ctx, conformance.Cases()[:1]); err == nil {
		t.Error("no error")
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for _, command := range [][]string{nil, {"no-such-program-anywhere"}} {
		if _, err := (conformance.Runner{Command: command}).Run(t.Context(), conformance.Cases()); err == nil {
			t.Errorf("%q can't be run, and there is no error", command)
		}
	}
}

// TestJSON: a scorecard is written and read back alike.
func TestJSON(t *testing.T) {
	card := conformance.Scorecard{Command: []string{"x"}, Results: []conformance.Result{{Name: "a/b", Group: "a", Outcome: conformance.Failed, Says: []string{"no"}}}}
	raw, err := json.Marshal(card)
	if err != nil {
		t.Fatal(err)
	}
	var back conformance.Scorecard
	if err := json.Unmarshal(raw, &back); err != nil || back.Total() != (conformance.Tally{Failed: 1}) {
		t.Errorf("%s: %+v, %v", raw, back, err)
	}
}
