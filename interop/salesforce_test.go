package interop_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

// TestLoginSalesforce logs in to the simulator by every flow of the vendor that has a refresh token or a key at its end,
// with the catalog's entry at another address. The same simulator satisfies the vendor's own clients.
func TestLoginSalesforce(t *testing.T) {
	t.Run("web, into a file", func(t *testing.T) {
		sim := newSalesforce(t, idptest.Habits{RequirePKCE: true, Rotation: true})
		file := filepath.Join(sim.home, "token.json")
		sim.login(t, "--client-id", "public", "--file", file)
		sim.browser.wantResultPage(t, "Logged in")
		kept := sim.keptFile(t, file)
		for _, name := range []string{"access_token", "refresh_token", "instance_url", "id", "signature", "issued_at", "token_type", "scope"} {
			if _, ok := kept[name]; !ok {
				t.Errorf("the file has no %s: %v", name, kept)
			}
		}
		sim.evergrant.run(t, "refresh", file).wantExit(t, 0)
		sim.evergrant.run(t, "refresh", file).wantExit(t, 0)
		if again := sim.keptFile(t, file); again["refresh_token"] == kept["refresh_token"] || again["instance_url"] != kept["instance_url"] {
			t.Errorf("after two refreshes: %v", again)
		}
		sim.wantTokenRequests(t, "authorization_code issued", "refresh_token issued", "refresh_token issued")
		sim.evergrant.run(t, "revoke", file, "--catalog", sim.catalog).wantExit(t, 0)
		sim.evergrant.run(t, "refresh", file).wantExit(t, 3)
	})

	t.Run("device, in the vendor's dialect", func(t *testing.T) {
		sim := newSalesforce(t, idptest.Habits{DevicePolls: 1, DeviceInterval: time.Second})
		sim.login(t, "--client-id", "public", "--name", "work", "--device")
		sim.evergrant.run(t, "refresh", "work").wantExit(t, 0)
		sim.wantTokenRequests(t, "device refused:authorization_pending", "device issued", "refresh_token issued")
	})

	t.Run("JWT bearer", func(t *testing.T) {
		sim := newSalesforce(t, idptest.Habits{})
		key := filepath.Join(sim.home, "server.key")
		if err := os.WriteFile(key, []byte(sim.pem), 0o600); err != nil {
			t.Fatal(err)
		}
		sim.login(t, "--client-id", "signer", "--name", "work", "--grant", "jwt-bearer", "--key", "file:"+key, "--subject", user.Name, "--audience", "https://login.salesforce.com")
		sim.evergrant.run(t, "refresh", "work").wantExit(t, 0)
		sim.wantTokenRequests(t, "urn:ietf:params:oauth:grant-type:jwt-bearer issued", "urn:ietf:params:oauth:grant-type:jwt-bearer issued")
	})

	t.Run("client credentials", func(t *testing.T) {
		sim := newSalesforce(t, idptest.Habits{})
		sim.login(t, "--client-id", "confidential", "--client-secret", "env:SECRET", "--name", "work", "--grant", "client_credentials")
		sim.evergrant.run(t, "refresh", "work").wantExit(t, 0)
		sim.wantTokenRequests(t, "client_credentials issued", "client_credentials issued")
	})

	t.Run("token exchange", func(t *testing.T) {
		sim := newSalesforce(t, idptest.Habits{})
		sim.login(t, "--client-id", "confidential", "--client-secret", "env:SECRET", "--name", "work", "--grant", "token-exchange", "--source", "env:SUBJECT", "--source-type", "urn:ietf:params:oauth:token-type:jwt")
		sim.evergrant.run(t, "token", "work").wantExit(t, 0)
		sim.wantTokenRequests(t, "urn:ietf:params:oauth:grant-type:token-exchange issued")
	})
}

// TestLoginThenJSForce hands a grant that Evergrant obtained to jsforce, which uses and refreshes it.
func TestLoginThenJSForce(t *testing.T) {
	sim := newSalesforce(t, idptest.Habits{})
	sim.login(t, "--client-id", "public", "--name", "work")
	sim.browser.wantResultPage(t, "Logged in")
	res := sim.evergrant.run(t, "export", "work", "--format", "token-response")
	res.wantExit(t, 0)
	in := sim.input("adopt")
	var kept struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.Unmarshal([]byte(res.stdout), &kept); err != nil {
		t.Fatal(err)
	}
	in.AccessToken, in.RefreshToken = kept.AccessToken, kept.RefreshToken
	var got struct {
		TotalSize int
		Replaced  bool
	}
	runScript(t, "clients/jsforce.mjs", "adopt", nil, in, &got)
	if got.TotalSize == 0 || !got.Replaced {
		t.Errorf("%+v, want records and a refresh of the grant", got)
	}
}

// A salesforce is the simulator with the command that logs in to it.
type salesforce struct {
	*simulator
	evergrant *command
	browser   *browser
	catalog   string
}

func newSalesforce(t *testing.T, habits idptest.Habits) *salesforce {
	t.Helper()
	s := &salesforce{simulator: newSimulator(t, habits), evergrant: newCommand(t), browser: newBrowser(t, nil)}
	at := s.base + "/services/oauth2/"
	entry, err := json.Marshal(map[string]any{"name": "salesforce", "endpoints": map[string]string{
		"authorize": at + "authorize", "token": at + "token", "device": at + "token", "revoke": at + "revoke",
		"introspect": at + "introspect", "userinfo": at + "userinfo", "discovery": s.base + "/.well-known/openid-configuration",
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.catalog = filepath.Join(t.TempDir(), "salesforce.json")
	if err := os.WriteFile(s.catalog, entry, 0o600); err != nil {
		t.Fatal(err)
	}
	s.evergrant.env = append(append(s.evergrant.env, s.browser.env...), "SECRET=s3cret", "SUBJECT=issued-by-another-provider")
	return s
}

func (s *salesforce) login(t *testing.T, args ...string) {
	t.Helper()
	s.evergrant.run(t, append([]string{"login", "salesforce", "--catalog", s.catalog}, args...)...).wantExit(t, 0)
}

func (s *salesforce) keptFile(t *testing.T, path string) map[string]any {
	t.Helper()
	var v map[string]any
	readJSON(t, path, &v)
	return v
}
