package interop_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestLoginTokenStatusRevoke takes a named grant through its whole life with the commands a person types on a machine
// without a keyring: make the store, log in by browser at a certified authorization server, print the token, look, refresh,
// end it, delete it.
func TestLoginTokenStatusRevoke(t *testing.T) {
	server := startOIDC(t, "--feature", "revocation")
	evergrant, browser := newCommand(t), newBrowser(t, nil)
	evergrant.env = append(append(evergrant.env, browser.env...), "EVERGRANT_KEY_FILE=")

	evergrant.run(t, "store", "init", "--key-file", filepath.Join(t.TempDir(), "key")).wantExit(t, 0)
	res := evergrant.run(t, "login", server.ready.Issuer, "--client-id", server.ready.ClientID, "--name", "work")
	res.wantExit(t, 0)
	browser.wantResultPage(t, "Logged in")
	for _, want := range []string{"work: logged in", "account", "ada", "refresh token   yes", "sealed in"} {
		if !strings.Contains(res.stdout, want) {
			t.Errorf("login does not say %q:\n%s", want, res.stdout)
		}
	}

	first := evergrant.token(t, "work")
	server.wantAccepted(t, first)
	res.wantNoSecrets(t, first)

	row := evergrant.status(t, "work")
	if row.State != "fresh" || row.Issuer != server.ready.Issuer || row.ClientID != server.ready.ClientID || !row.HasRefreshToken {
		t.Errorf("status: %+v", row)
	}

	res = evergrant.run(t, "refresh", "work")
	res.wantExit(t, 0)
	second := evergrant.token(t, "work")
	if second == first {
		t.Error("the refresh brought no other access token")
	}
	server.wantAccepted(t, second)
	res.wantNoSecrets(t, first, second)
	server.wantNoReuse(t)

	evergrant.run(t, "revoke", "work").wantExit(t, 0)
	server.wait(t, 1, func(e event) bool { return e.Path == "/token/revocation" && e.Status == 200 })
	server.wantRefused(t, second)
	evergrant.run(t, "refresh", "work").wantExit(t, 3)

	evergrant.run(t, "delete", "work", "--yes").wantExit(t, 0)
	evergrant.run(t, "token", "work").wantExit(t, 2)
}

// token is what `token` prints.
func (c *command) token(t *testing.T, grant string) string {
	t.Helper()
	res := c.run(t, "token", grant)
	res.wantExit(t, 0)
	return strings.TrimSpace(res.stdout)
}

// statusRow is one of `status --json`.
type statusRow struct {
	State           string `json:"state"`
	Provider        string `json:"provider"`
	Issuer          string `json:"issuer"`
	ClientID        string `json:"client_id"`
	HasRefreshToken bool   `json:"has_refresh_token"`
}

func (c *command) status(t *testing.T, grant string) statusRow {
	t.Helper()
	res := c.run(t, "status", grant, "--json")
	res.wantExit(t, 0)
	var rows []statusRow
	if err := json.Unmarshal([]byte(res.stdout), &rows); err != nil || len(rows) != 1 {
		t.Fatalf("status: %v\n%s", err, res.stdout)
	}
	return rows[0]
}

// requests are those that the server answered at a path.
func (s *oidcServer) requests(t *testing.T, path string) []event {
	t.Helper()
	s.send(t, `{}`)
	s.mu.Lock()
	defer s.mu.Unlock()
	return filter(s.events, func(e event) bool { return e.Event == "request" && e.Path == path })
}

// wantNoReuse checks that no spent refresh token or code was ever sent.
func (s *oidcServer) wantNoReuse(t *testing.T) {
	t.Helper()
	for _, e := range s.requests(t, "/token") {
		if e.Status != 200 && e.Error != "authorization_pending" && e.Error != "use_dpop_nonce" {
			t.Errorf("a token request was refused: %+v", e)
		}
	}
	if n := s.count(func(e event) bool { return e.Event == "revoked" }); n != 0 {
		t.Errorf("the server took %d grants away", n)
	}
}

// wantParams checks which parameters the last request to a path had.
func (s *oidcServer) wantParams(t *testing.T, path string, want ...string) event {
	t.Helper()
	all := s.requests(t, path)
	if len(all) == 0 {
		t.Fatalf("no request for %s", path)
	}
	last := all[len(all)-1]
	if slices.Sort(want); !slices.Equal(last.Params, want) {
		t.Errorf("%s had the parameters %v, want %v", path, last.Params, want)
	}
	return last
}
