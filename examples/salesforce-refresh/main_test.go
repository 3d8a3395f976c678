package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

// TestRun runs the example on a file of a simulated Salesforce. The example
// names no endpoint: that is remembered from a refresh before.
func TestRun(t *testing.T) {
	idp := idptest.New(idptest.Config{Persona: idptest.Salesforce, Habits: idptest.Habits{Rotation: true}})
	defer idp.Close()
	base, err := idp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	grant := idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	path := filepath.Join(t.TempDir(), "token.json")
	if err := os.WriteFile(path, grant.TokenFile(), 0o600); err != nil {
		t.Fatal(err)
	}
	src, err := evergrant.OpenFile(path, evergrant.Config{ClientID: "app", Provider: "salesforce", TokenURL: base + "/services/oauth2/token"})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if _, err := src.Refresh(t.Context(), evergrant.RefreshOptions{}); err != nil {
		t.Fatal(err)
	}

	out, err := exec.Command("go", "run", ".", path, "app").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"access_token updated\n", "refresh_token updated\n", "valid until 2"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if n := len(idp.TokenRequests(grant.ID)); n != 2 {
		t.Errorf("%d token requests, want 2", n)
	}
	now, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(now), idp.GrantState(grant.ID).RefreshToken) {
		t.Error("the file does not hold the living refresh token")
	}
}
