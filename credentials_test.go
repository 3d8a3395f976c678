package evergrant_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
)

// TestCredentialsAuth: each way of client authentication by its names, and what
// it lacks.
func TestCredentialsAuth(t *testing.T) {
	key, err := jose.Generate("ES256")
	if err != nil {
		t.Fatal(err)
	}
	secret := evergrant.Credentials{Secret: evergrant.NewSecret(strings.Repeat("s", 32))}
	short := evergrant.Credentials{Secret: evergrant.NewSecret("short")}
	keyed := evergrant.Credentials{Key: key}
	for _, tt := range []struct {
		method string
		has    evergrant.Credentials
		want   string // members of the form, or Authorization
		lacks  string // rule of the error
	}{
		{"none", evergrant.Credentials{}, "client_id", ""},
		{"post", short, "client_id client_secret", ""},
		{"client_secret_post", short, "client_id client_secret", ""},
		{"basic", short, "Authorization", ""},
		{"client_secret_basic", short, "Authorization", ""},
		{"private_key_jwt", keyed, "client_id client_assertion_type client_assertion", ""},
		{"client_secret_jwt", secret, "client_id client_assertion_type client_assertion", ""},
		{"post", keyed, "", "client-secret-missing"},
		{"basic", evergrant.Credentials{}, "", "client-secret-missing"},
		{"client_secret_jwt", short, "", "client-secret-short"},
		{"private_key_jwt", secret, "", "client-key-missing"},
		{"tls_client_auth", keyed, "", "client-cert-missing"},
		{"self_signed_tls_client_auth", secret, "", "client-cert-missing"},
		{"digest", secret, "", "client-auth-unknown"},
		{"", secret, "", "client-auth-unknown"},
	} {
		auth, err := tt.has.Auth(tt.method, "app", "https://as.example")
		var e *evergrant.Error
		if tt.lacks != "" {
			if !errors.As(err, &e) || e.Rule != tt.lacks || !errors.Is(err, evergrant.ErrUsage) {
				t.Errorf("%q: %v, want %s", tt.method, err, tt.lacks)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tt.method, err)
			continue
		}
		var req oauth.Request
		if err := auth(&req); err != nil {
			t.Errorf("%q: %v", tt.method, err)
		}
		var got []string
		for _, p := range req.Form {
			got = append(got, p.Name)
		}
		for name := range req.Header {
			got = append(got, name)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%q: puts %q into the request, want %q", tt.method, s, tt.want)
		}
	}
}

// TestCredentials: what a Config names is fetched once each, and decides how a
// client authenticates that was not told how.
func TestCredentials(t *testing.T) {
	key, err := jose.Generate("RS256")
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := key.JWK()
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]evergrant.Secret{"secret": evergrant.NewSecret("canary-of-the-client"), "key": jwk}
	asked := map[string]int{}
	resolve := func(_ context.Context, ref string) (evergrant.Secret, error) {
		asked[ref]++
		s, ok := named[ref]
		if !ok {
			return s, errors.New("locked")
		}
		return s, nil
	}
	for _, tt := range []struct {
		cfg    evergrant.Config
		method string
		fails  error
	}{
		{evergrant.Config{}, "none", nil},
		{evergrant.Config{SecretRef: "secret"}, "", nil},
		{evergrant.Config{ClientSecret: evergrant.NewSecret("given"), SecretRef: "gone"}, "", nil},
		{evergrant.Config{KeyRef: "key", KeyAlg: "PS256"}, "private_key_jwt", nil},
		{evergrant.Config{KeyRef: "key", SecretRef: "secret"}, "", nil},
		{evergrant.Config{KeyRef: "key", KeyAlg: "ES256"}, "", evergrant.ErrUsage},
		{evergrant.Config{KeyRef: "secret"}, "", evergrant.ErrUsage},
		{evergrant.Config{SecretRef: "gone"}, "", evergrant.ErrTemporary},
	} {
		clear(asked)
		tt.cfg.ResolveSecret = resolve
		has, err := tt.cfg.Credentials(t.Context())
		if tt.fails != nil {
			if !errors.Is(err, tt.fails) {
				t.Errorf("%s: %v, want %v", tt.cfg.KeyRef+tt.cfg.SecretRef, err, tt.fails)
			}
			continue
		}
		if err != nil || has.Method() != tt.method {
			t.Errorf("%s: %q, %v, want %q", tt.cfg.KeyRef+tt.cfg.SecretRef, has.Method(), err, tt.method)
		}
		for ref, n := range asked {
			if n > 1 {
				t.Errorf("%s was fetched %d times", ref, n)
			}
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
			if s := fmt.Sprintf(verb, has); strings.Contains(s, "canary") || s != "[redacted]" {
				t.Errorf("%s shows %s", verb, s)
			}
		}
	}
}
