package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
