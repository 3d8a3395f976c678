package interop_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/evergrant/evergrant/idptest"
)

// TestJSForce lets jsforce 3.10 work with the simulator. What the client prints is one half of the evidence, the
// simulator's ledger the other.
func TestJSForce(t *testing.T) {
	t.Run("code flow with PKCE, identity, query", func(t *testing.T) {
		sim := newSimulator(t, idptest.Habits{RequirePKCE: true})
		var got struct {
			Organization, User, Username, InstanceURL string
			TotalSize, Records                        int
		}
		sim.jsforce(t, "login", &got)
		if got.Organization != user.OrgID || got.User != user.ID || got.Username != user.Name || got.InstanceURL != sim.base {
			t.Errorf("identity %+v, want that of %+v at %s", got, user, sim.base)
		}
		if got.Records == 0 || got.Records != got.TotalSize {
			t.Errorf("query gave %d of %d records", got.Records, got.TotalSize)
		}
		sim.wantTokenRequests(t, "authorization_code issued")
	})

	t.Run("ten calls at once with a dead access token make one refresh", func(t *testing.T) {
		sim := newSimulator(t, idptest.Habits{DelayBefore: 200 * time.Millisecond})
		var got struct {
			Answers, Refreshes int
			Replaced           bool
		}
		sim.jsforce(t, "refresh", &got)
		if got.Answers != 10 || got.Refreshes != 1 || !got.Replaced {
			t.Errorf("%+v, want 10 answers after 1 refresh that replaced the access token", got)
		}
		sim.wantTokenRequests(t, "authorization_code issued", "refresh_token issued")
	})

	t.Run("refreshes again and again without rotation", func(t *testing.T) {
		sim := newSimulator(t, idptest.Habits{})
		var got struct{ Failures []*failure }
		sim.jsforce(t, "refreshTwice", &got)
		if diff := cmp.Diff([]*failure{nil, nil}, got.Failures); diff != "" {
			t.Error(diff)
		}
		sim.wantTokenRequests(t, "authorization_code issued", "refresh_token issued", "refresh_token issued")
	})

	t.Run("loses a rotated refresh token", func(t *testing.T) {
		sim := newSimulator(t, idptest.Habits{Rotation: true})
		var got struct{ Failures []*failure }
		sim.jsforce(t, "refreshTwice", &got)
		want := []*failure{nil, {"Error", "Unable to refresh session due to: expired access/refresh token"}}
		if diff := cmp.Diff(want, got.Failures); diff != "" {
			t.Error(diff)
		}
		sim.wantTokenRequests(t, "authorization_code issued", "refresh_token issued", "refresh_token reuse")
	})

	t.Run("client credentials", func(t *testing.T) {
		sim := newSimulator(t, idptest.Habits{})
		sim.wantSession(t, "clientCredentials")
		sim.wantTokenRequests(t, "client_credentials issued")
	})

	t.Run("JWT bearer", func(t *testing.T) {
		sim := newSimulator(t, idptest.Habits{})
		sim.wantSession(t, "jwt")
		sim.wantTokenRequests(t, "urn:ietf:params:oauth:grant-type:jwt-bearer issued")
	})

	t.Run("revoke", func(t *testing.T) {
		sim := newSimulator(t, idptest.Habits{})
		var got struct{ Again, Refresh, Call *failure }
		sim.jsforce(t, "revoke", &got)
		if got.Again == nil || !strings.Contains(got.Again.Name+got.Again.Message, "invalid") {
			t.Errorf("revoking again: %+v, want a refusal", got.Again)
		}
		if diff := cmp.Diff(&failure{"invalid_grant", "expired access/refresh token"}, got.Refresh); diff != "" {
			t.Errorf("refresh after revocation: %s", diff)
		}
		if diff := cmp.Diff(&failure{"INVALID_SESSION_ID", "Session expired or invalid"}, got.Call); diff != "" {
			t.Errorf("API call after revocation: %s", diff)
		}
	})

	t.Run("errors", func(t *testing.T) {
		sim := newSimulator(t, idptest.Habits{})
		sim.Next("none", "error=busy") // the log-in, then the first refresh
		got := map[string]*failure{}
		sim.jsforce(t, "errors", &got)
		want := map[string]*failure{
			"busy":          {"invalid_grant", "token request is already being processed"},
			"unknownToken":  {"invalid_grant", "expired access/refresh token"},
			"unknownClient": {"invalid_client_id", "client identifier invalid"},
			"badCode":       {"invalid_grant", "invalid authorization code"},
			"afterwards":    nil, // none of that hurt the grant
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// TestSalesforceCore lets @salesforce/core, the library under the vendor's command line, work with the simulator. Each
// scenario is a process of its own that finds the login in the home folder.
func TestSalesforceCore(t *testing.T) {
	t.Run("device flow, saved, refreshed by a later process", func(t *testing.T) {
		sim := newSimulator(t, idptest.Habits{DevicePolls: 1, DeviceInterval: time.Second})
		sim.wantCoreLogin(t, "device")
		sim.wantCoreRefresh(t)
		sim.wantTokenRequests(t,
			"device refused:authorization_pending", "device issued",
			"refresh_token issued", // when the login is saved
			"refresh_token issued")
	})

	t.Run("device flow with rotation ends at the first refresh", func(t *testing.T) {
		sim := newSimulator(t, idptest.Habits{DeviceInterval: time.Second, Rotation: true})
		sim.wantCoreLogin(t, "device")
		got := sim.coreRefresh(t)
		want := "Error authenticating with the refresh token due to: expired access/refresh token"
		if got.Failure == nil || !strings.Contains(got.Failure.Message, want) {
			t.Errorf("%+v, want the failure %q", got.Failure, want)
		}
		// The token that was spent when the login was saved is the one that was stored.
		sim.wantTokenRequests(t, "device issued", "refresh_token issued", "refresh_token reuse")
	})

	t.Run("web flow, saved, refreshed by a later process", func(t *testing.T) {
		sim := newSimulator(t, idptest.Habits{})
		sim.wantCoreLogin(t, "web")
		sim.wantCoreRefresh(t)
		sim.wantTokenRequests(t, "authorization_code issued", "refresh_token issued")
	})

	t.Run("JWT flow, saved, renewed by a later process", func(t *testing.T) {
		sim := newSimulator(t, idptest.Habits{})
		sim.wantCoreLogin(t, "jwt")
		sim.wantCoreRefresh(t)
		const jwt = "urn:ietf:params:oauth:grant-type:jwt-bearer issued"
		sim.wantTokenRequests(t, jwt, jwt)
	})
}

// user is who approves everything at the simulator.
var user = idptest.User{Name: "ada@example.com", OrgID: "00D41000000F8A0EAK", ID: "005410000000001AAE"}

// clientKey signs the assertions of the JWT client.
var clientKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// A simulator is a running idptest server with a home folder for its clients.
type simulator struct {
	*idptest.Server
	base string
	home string
	pem  string // private key of the JWT client
}

func newSimulator(t *testing.T, habits idptest.Habits) *simulator {
	t.Helper()
	key, err := clientKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	server := idptest.New(idptest.Config{
		Persona: idptest.Salesforce,
		Habits:  habits,
		Users:   []idptest.User{user},
		Clients: []idptest.Client{{ID: "public"}, {ID: "confidential", Secret: "s3cret"}, {ID: "signer", PublicKey: &key.PublicKey}},
	})
	base, err := server.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return &simulator{
		Server: server, base: base, home: t.TempDir(),
		pem: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}
}

// A scenarioInput is what a client script is told.
type scenarioInput struct {
	Base           string `json:"base"`
	ClientID       string `json:"clientId"`
	ClientSecret   string `json:"clientSecret,omitempty"`
	RedirectURI    string `json:"redirectUri"`
	Username       string `json:"username"`
	Calls          int    `json:"calls"`
	PrivateKey     string `json:"privateKey,omitempty"`
	PrivateKeyFile string `json:"privateKeyFile,omitempty"`
	AccessToken    string `json:"accessToken,omitempty"`
	RefreshToken   string `json:"refreshToken,omitempty"`
}

func (s *simulator) input(scenario string) scenarioInput {
	in := scenarioInput{Base: s.base, ClientID: "public", RedirectURI: "http://localhost:1717/OauthRedirect", Username: user.Name, Calls: 10}
	switch scenario {
	case "clientCredentials":
		in.ClientID, in.ClientSecret = "confidential", "s3cret"
	case "jwt":
		in.ClientID, in.PrivateKey = "signer", s.pem
	}
	return in
}

func (s *simulator) jsforce(t *testing.T, scenario string, got any) {
	t.Helper()
	runScript(t, "clients/jsforce.mjs", scenario, nil, s.input(scenario), got)
}

// wantSession runs a flow without a person: it gives a session that works and no refresh token.
func (s *simulator) wantSession(t *testing.T, scenario string) {
	t.Helper()
	var got struct {
		Organization string
		RefreshToken bool
		TotalSize    int
	}
	s.jsforce(t, scenario, &got)
	if got.Organization != user.OrgID || got.RefreshToken || got.TotalSize == 0 {
		t.Errorf("%+v, want records of organization %s and no refresh token", got, user.OrgID)
	}
}

// core runs @salesforce/core in the simulator's home folder, without what would leave this machine or hide there.
func (s *simulator) core(t *testing.T, scenario string, got any) {
	t.Helper()
	in := s.input(scenario)
	if scenario == "jwt" {
		in.PrivateKeyFile = filepath.Join(s.home, "server.key")
		if err := os.WriteFile(in.PrivateKeyFile, []byte(s.pem), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	runScript(t, "clients/core.mjs", scenario, []string{
		"HOME=" + s.home, "USERPROFILE=" + s.home,
		"SF_USE_GENERIC_UNIX_KEYCHAIN=true", // a key file in the home folder instead of the desktop's keyring
		"SF_DISABLE_DNS_CHECK=true", "SFDX_DISABLE_DNS_CHECK=true",
		"SF_DISABLE_TELEMETRY=true", "SF_AUTOUPDATE_DISABLE=true", "SF_DISABLE_LOG_FILE=true",
	}, in, got)
}

func (s *simulator) wantCoreLogin(t *testing.T, scenario string) {
	t.Helper()
	var got struct {
		Username, Organization, InstanceURL, OrgEdition, APIVersion string
		IsDevHub                                                    bool
		TotalSize                                                   int
	}
	s.core(t, scenario, &got)
	if got.Username != user.Name || got.Organization != user.OrgID || got.InstanceURL != s.base {
		t.Errorf("login %+v, want that of %+v at %s", got, user, s.base)
	}
	// These come from API calls whose failure the library hides.
	if got.IsDevHub || got.OrgEdition == "" || got.APIVersion == "" || got.TotalSize == 0 {
		t.Errorf("login %+v, want no Dev Hub, an edition, an API version and records", got)
	}
}

type coreRefresh struct {
	Failure  *failure
	Replaced bool // the connection has another access token
	Saved    bool // and so has the home folder
}

func (s *simulator) coreRefresh(t *testing.T) coreRefresh {
	t.Helper()
	var got coreRefresh
	s.core(t, "refresh", &got)
	return got
}

func (s *simulator) wantCoreRefresh(t *testing.T) {
	t.Helper()
	if got := s.coreRefresh(t); got.Failure != nil || !got.Replaced || !got.Saved {
		t.Errorf("%+v (failure %+v), want a new access token, saved", got, got.Failure)
	}
}

// wantTokenRequests compares the ledger's token requests, "grant type verdict" each, in order.
func (s *simulator) wantTokenRequests(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, e := range s.Ledger() {
		if e.GrantType != "" {
			got = append(got, e.GrantType+" "+e.Verdict)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("token requests:\n%s", diff)
	}
}

// A failure is an Error as a JavaScript program sees it.
type failure struct{ Name, Message string }
