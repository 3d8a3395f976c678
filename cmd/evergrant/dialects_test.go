package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

// TestDialects: providers that call parameters by names of their own, from the
// login by browser to a refresh, against a simulator that refuses the standard's
// names. All that is put over a catalog entry is where the simulator is.
func TestDialects(t *testing.T) {
	secret := []string{"--client-secret", "env:SECRET"}
	for name, row := range map[string]struct {
		entry  string         // of a provider that is not in the catalog
		args   []string       // of the login
		sent   []string       // parameters that the authorization request must have
		keeps  map[string]any // members of the document
		lasts  bool           // there is a refresh token to use
		refuse string         // what a login without args says
	}{
		"amazon-sp": {
			args: append(secret, "--var", "application_id=amzn1.sp.solution."+clientID, "--var", "version=beta"), lasts: true,
			sent: []string{"application_id", "redirect_uri", "state", "version"}, keeps: map[string]any{"selling_partner_id": "A3SELLER", "mws_auth_token": nil},
			refuse: `needs a value for "application_id"`,
		},
		"bigcommerce": {args: secret, keeps: map[string]any{"context": "stores/g5cd38"}, sent: []string{"client_id", "redirect_uri", "response_type", "state"}},
		"shopify": {
			args: append(secret, "--var", "shop=acme", "--scope", "read_orders"), lasts: true,
			sent: []string{"client_id", "redirect_uri", "response_type", "scope", "state"}, keeps: map[string]any{"shop": "acme.myshopify.com"},
		},
		"tiktok": {
			args: append(secret, "--scope", "user.info.basic"), lasts: true,
			sent: []string{"client_key", "code_challenge", "code_challenge_method", "redirect_uri", "response_type", "scope", "state"},
		},
		"wechat": {
			entry: `"title":"WeChat","client_auth":["post"],"pkce":"no","request":{"rename":{"client_id":"appid","client_secret":"secret"}},`,
			args:  append(secret, "--scope", "snsapi_login"), lasts: true,
			sent: []string{"appid", "redirect_uri", "response_type", "scope", "state"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBedOf(t, idptest.Generic, idptest.Habits{Dialect: name, RequireSecret: true, RefreshSecret: true, CallbackIss: "absent"})
			b.env = append(b.env, "SECRET=s3cr3t", "BROWSER=browse")
			own := fmt.Sprintf(`{"name":%q,%s"endpoints":{"authorize":"%s/authorize","token":"%s/token"}}`, name, row.entry, b.base, b.base)
			if err := os.WriteFile(filepath.Join(b.dir, "own.json"), []byte(own), 0o600); err != nil {
				t.Fatal(err)
			}
			login := []string{"login", name, "--catalog", "own.json", "--client-id", clientID, "--file", "mine.json", "--timeout", "20s"}
			if row.refuse != "" {
				r := b.run(append(login, secret...)...)
				if r.wantHint(t); r.code != exitUsage || !strings.Contains(r.stderr, row.refuse) || !strings.Contains(r.stderr, "--var") {
					t.Errorf("without its variables: %+v", r)
				}
			}
			if r := b.run(append(login, row.args...)...); r.code != 0 {
				t.Fatalf("login: %+v", r)
			}
			if got := asked(b); !slices.Equal(got, row.sent) {
				t.Errorf("the authorization request has %q, want %q", got, row.sent)
			}
			b.path = filepath.Join(b.dir, "mine.json")
			var document map[string]any
			if err := json.Unmarshal([]byte(b.read()), &document); err != nil {
				t.Fatal(err)
			}
			for member, want := range row.keeps {
				if document[member] != want {
					t.Errorf("%s is %v, want %v", member, document[member], want)
				}
			}
			r := b.run("refresh", "mine.json", "--catalog", "own.json")
			if row.lasts && r.code != 0 {
				t.Errorf("refresh: %+v", r)
			}
		})
	}
}

// asked are the names of the parameters of the last authorization request.
func asked(b *bed) []string {
	var names []string
	for _, e := range b.Ledger() {
		if e.Path == "/authorize" {
			names = slices.Sorted(slices.Values(e.Params))
		}
	}
	return names
}

// TestAWS: a login by the AWS CLI is taken over, refreshed in the dialect of IAM
// Identity Center, and given back.
func TestAWS(t *testing.T) {
	for _, into := range []string{"file", "name"} {
		t.Run(into, func(t *testing.T) {
			t.Parallel()
			b := newAWS(t)
			b.env = append(b.env, "EVERGRANT_STORE="+filepath.Join(b.dir, "grants"), "EVERGRANT_KEY_FILE="+filepath.Join(b.dir, "key"))
			b.must("store", "init", "--key-file", filepath.Join(b.dir, "key"))
			grant := map[string]string{"file": "mine.json", "name": "aws"}[into]
			b.must("import", "cache.json", "--"+into, grant, "--token-url", b.base+"/token")
			b.must("refresh", grant)
			b.must("refresh", grant)
			if got := verdicts(b); got != "issued issued" {
				t.Errorf("the ledger says %q", got)
			}
			if r := b.must("token", grant); !strings.Contains(r.stdout, mark) {
				t.Errorf("token: %+v", r)
			}
			r := b.must("export", grant, "--format", "aws-sso", "--token-url", "https://oidc.eu-central-1.amazonaws.com/token")
			var back map[string]string
			if err := json.Unmarshal([]byte(r.stdout), &back); err != nil {
				t.Fatal(err)
			}
			if _, _, living := b.Find(back["refreshToken"]); !living || back["clientSecret"] != awsSecret || back["region"] != "eu-central-1" || back["registrationExpiresAt"] == "" {
				t.Errorf("exported without a living refresh token or something else: %d members, %+v", len(back), r.stderr)
			}
			b.Next("error=dead")
			r = b.run("refresh", grant)
			if r.wantHint(t); r.code != exitNeedsLogin || !strings.Contains(r.stderr, "aws sso login") {
				t.Errorf("a dead one: %+v", r)
			}
		})
	}
}

// TestAWSInPlace: the cache of the AWS CLI is refreshed where it is, so that its
// own tools go on with it.
func TestAWSInPlace(t *testing.T) {
	t.Parallel()
	b := newAWS(t)
	cache := filepath.Join(b.dir, "cache.json")
	b.must("refresh", "cache.json", "--provider", "aws-sso", "--token-url", b.base+"/token", "--client-id", clientID, "--client-secret", "json:"+cache+"#/clientSecret",
		"--field", "access_token=/accessToken", "--field", "refresh_token=/refreshToken", "--field", "expires_at=/expiresAt")
	b.must("refresh", "cache.json")
	if got := verdicts(b); got != "issued issued" {
		t.Errorf("the ledger says %q", got)
	}
	b.path = cache
	var now map[string]any
	if err := json.Unmarshal([]byte(b.read()), &now); err != nil {
		t.Fatal(err)
	}
	until, _ := now["expiresAt"].(string)
	at, err := time.Parse(time.RFC3339, until)
	if left := time.Until(at); err != nil || left < 50*time.Minute || left > 70*time.Minute {
		t.Errorf("expiresAt is %q, %v", until, err)
	}
	refresh, _ := now["refreshToken"].(string)
	if _, _, living := b.Find(refresh); !living || len(now) != 8 {
		t.Errorf("the refresh token lives: %t, of %d members", living, len(now))
	}
}

const awsSecret = "s3cr3t-of-aws"

// newAWS is a bed with a simulated Identity Center, and what the AWS CLI keeps
// of a login there in cache.json.
func newAWS(t *testing.T) *bed {
	b := newBedOf(t, idptest.Generic, idptest.Habits{Dialect: "aws-sso", RefreshSecret: true, Rotation: true})
	cache := fmt.Sprintf(`{"startUrl": "https://acme.awsapps.com/start", "region": "eu-central-1", "accessToken": %q, "expiresAt": "2026-01-01T00:00:00Z", "clientId": %q, "clientSecret": %q, "registrationExpiresAt": "2027-01-01T00:00:00Z", "refreshToken": %q}`,
		b.grant.AccessToken, clientID, awsSecret, b.grant.RefreshToken)
	if err := os.WriteFile(filepath.Join(b.dir, "cache.json"), []byte(cache), 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

// must runs the program, which must do it.
func (b *bed) must(args ...string) ran {
	b.t.Helper()
	r := b.run(args...)
	if r.code != 0 {
		b.t.Fatalf("%s: %+v", args, r)
	}
	return r
}

// verdicts are those on the requests for the grant.
func verdicts(b *bed) string {
	var words []string
	for _, e := range b.TokenRequests(b.id) {
		words = append(words, e.Verdict)
	}
	return strings.Join(words, " ")
}
