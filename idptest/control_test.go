package idptest_test

import (
	"encoding/json"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

func newInt(b []byte) *big.Int { return new(big.Int).SetBytes(b) }

// steer sends a control request as another process would.
func (b *bed) steer(method, path, body string) answer {
	r, _ := http.NewRequest(method, b.base+"/_sim/"+path, strings.NewReader(body))
	return b.do(r)
}

func TestControl(t *testing.T) {
	b := listen(t, idptest.Config{Persona: sf})
	help := b.steer("GET", "", "")
	for _, h := range idptest.HabitTable() {
		if !strings.Contains(help.body, h.Name) {
			t.Errorf("help lacks habit %s", h.Name)
		}
	}
	for _, name := range append(idptest.FaultNames(), idptest.ErrorNames()...) {
		if !strings.Contains(help.body, name) {
			t.Errorf("help lacks %s", name)
		}
	}
	made := b.steer("POST", "grants", `{"client_id":"app","scope":"id"}`)
	var out struct {
		ID    string
		Token struct {
			Refresh string `json:"refresh_token"`
			Access  string `json:"access_token"`
			Scope   string
		}
	}
	if err := json.Unmarshal([]byte(made.body), &out); err != nil || out.Token.Scope != "id" {
		t.Fatalf("grant %s, %v", made.body, err)
	}
	if a := b.steer("PATCH", "habits", `{"rotation":true,"grace":"1m"}`); !strings.Contains(a.body, `"rotation": true`) || !b.s.Habits().Rotation || b.s.Habits().Grace != time.Minute {
		t.Errorf("habits: %s", a.body)
	}
	b.steer("POST", "next", `["bom","error=inactive_user"]`)
	if a := b.refresh(out.Token.Refresh); !strings.HasPrefix(a.body, "\ufeff") {
		t.Errorf("first of the queue: %q", a.body)
	}
	b.wantError(b.refresh(out.Token.Refresh), "inactive_user", "user is inactive")
	if a := b.steer("POST", "clock", `{"advance":"1h"}`); a.status != 200 || time.Until(b.s.Now()) < 59*time.Minute {
		t.Errorf("clock: %s", a.body)
	}
	if a := b.steer("GET", "ledger?grant="+out.ID, ""); strings.Count(a.body, `"generation": 1`) != 2 || strings.Contains(a.body, out.Token.Refresh) {
		t.Errorf("ledger: %s", a.body)
	}
	if a := b.steer("POST", "find", `{"refresh_token":"`+out.Token.Refresh+`"}`); !strings.Contains(a.body, `"generation": 1`) || !strings.Contains(a.body, `"living": false`) {
		t.Errorf("find: %s", a.body)
	}
	b.steer("POST", "grants/"+out.ID+"/expire", "")
	b.steer("POST", "grants/"+out.ID+"/revoke", "")
	if a := b.steer("GET", "grants/"+out.ID, ""); !strings.Contains(a.body, `"revoked": true`) {
		t.Errorf("state: %s", a.body)
	}
	for path, body := range map[string]string{"next": `["nonsense"]`, "clock": `{"advance":"soon"}`, "grants": `{"unknown":1}`, "grants/none/revoke": ""} {
		if a := b.steer("POST", path, body); a.status != 400 || a.member("error") == "" {
			t.Errorf("%s %s: %d %s", path, body, a.status, a.body)
		}
	}
	if a := b.steer("PATCH", "habits", `{"rotation":false,"reuse":"maybe"}`); a.status != 400 || !b.s.Habits().Rotation {
		t.Errorf("bad habits: %d %s", a.status, a.body)
	}
	for _, path := range []string{"faults", "errors", "grants", "waiting", "habits"} {
		if a := b.steer("GET", path, ""); a.status != 200 || !json.Valid([]byte(a.body)) {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	for _, e := range b.s.Ledger() {
		if strings.HasPrefix(e.Path, "/_sim") {
			t.Errorf("control request in the ledger: %+v", e)
		}
	}
}

func TestHoldFromOutside(t *testing.T) {
	b := listen(t, idptest.Config{})
	b.steer("POST", "hold", `{"n":0}`)
	done := make(chan answer)
	go func() { done <- b.refresh(b.grant().RefreshToken) }()
	for !strings.Contains(b.steer("GET", "waiting", "").body, "1") {
		time.Sleep(time.Millisecond)
	}
	select {
	case <-done:
		t.Fatal("answered while held")
	default:
	}
	b.steer("POST", "release", "")
	b.wantOK(<-done)
	if a := b.steer("POST", "idle", ""); !strings.Contains(a.body, "true") {
		t.Errorf("idle: %s", a.body)
	}
	b.wantOK(b.refresh(b.grant().RefreshToken)) // the hold is over
}

// TestControlIsLocal: a page that rebinds its name to loopback, or posts a form
// from elsewhere, gets nothing.
func TestControlIsLocal(t *testing.T) {
	b := listen(t, idptest.Config{})
	for host, want := range map[string]int{"evil.example": 403, "evil.example:80": 403, "localhost": 200, "127.0.0.1:99": 200, "[::1]:99": 200, strings.TrimPrefix(b.base, "http://"): 200} {
		r, _ := http.NewRequest("GET", b.base+"/_sim/ledger", nil)
		r.Host = host
		if a := b.do(r); a.status != want {
			t.Errorf("Host %s: %d, want %d", host, a.status, want)
		}
	}
	r, _ := http.NewRequest("POST", b.base+"/_sim/release", nil)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if a := b.do(r); a.status != 403 {
		t.Errorf("cross-site: %d", a.status)
	}
}
