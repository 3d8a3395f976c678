package evergrant_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

// vault resolves references from a map, as a command line would.
func vault(secrets map[string]string) func(context.Context, string) (evergrant.Secret, error) {
	return func(_ context.Context, ref string) (evergrant.Secret, error) {
		if s, ok := secrets[ref]; ok {
			return evergrant.NewSecret(s), nil
		}
		return evergrant.Secret{}, fmt.Errorf("there is no %s", ref)
	}
}

func rsaPEM(t *testing.T) (string, *rsa.PublicKey) {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), &k.PublicKey
}

// asking are the grants that are renewed by asking again, with what makes the
// provider refuse them.
func asking(t *testing.T) (map[string]evergrant.Config, *rsa.PublicKey) {
	key, public := rsaPEM(t)
	resolve := vault(map[string]string{"file:key": key, "env:SECRET": "hush", "env:PASSWORD": "right", "env:SUBJECT": "subject-token"})
	return map[string]evergrant.Config{
		"client_credentials": {SecretRef: "env:SECRET", AuthMethod: "post", Grant: evergrant.Grant{Type: "client_credentials", Scope: "read"}, ResolveSecret: resolve},
		"jwt-bearer":         {KeyRef: "file:key", Grant: evergrant.Grant{Type: "jwt-bearer", Subject: "ada@example.com"}, ResolveSecret: resolve},
		"password":           {SecretRef: "env:SECRET", Grant: evergrant.Grant{Type: "password", Subject: "ada@example.com", Source: "env:PASSWORD"}, ResolveSecret: resolve},
		"token-exchange":     {SecretRef: "env:SECRET", Grant: evergrant.Grant{Type: "token-exchange", Source: "env:SUBJECT"}, ResolveSecret: resolve},
	}, public
}

// TestGrantsThatAsk: a grant without a refresh token is renewed by asking again
// (7523-2). A lost reply leaves no doubt, a refusal no verdict.
func TestGrantsThatAsk(t *testing.T) {
	grants, public := asking(t)
	for name, cfg := range grants {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, idptest.Config{Persona: idptest.Generic, Clients: []idptest.Client{{ID: "app", Secret: "hush", PublicKey: public}}})
			cfg.ClientID, cfg.TokenURL, cfg.RescueDirs = "app", b.cfg.TokenURL, b.cfg.RescueDirs
			b.path = filepath.Join(t.TempDir(), "token.json")
			if err := evergrant.KeepFile(context.Background(), b.path, []byte(`{"access_token": "first", "token_type": "Bearer"}`), cfg); err != nil {
				t.Fatal(err)
			}
			b.cfg = evergrant.Config{ResolveSecret: cfg.ResolveSecret, RescueDirs: cfg.RescueDirs, CallTimeout: 400 * time.Millisecond}
			for range 2 { // a fresh assertion each time: the provider remembers each jti
				r, err := b.refresh(evergrant.RefreshOptions{})
				if err != nil || r.Outcome != evergrant.Fresh || r.Token.Expiry.IsZero() {
					t.Fatalf("refreshing: %+v, %v", r, err)
				}
			}
			st, err := b.open().Status(context.Background())
			if err != nil || st.State != evergrant.StateFresh || st.Problem != nil {
				t.Errorf("status %+v, %v", st, err)
			}
			for fault, class := range map[idptest.Fault]error{"lost": evergrant.ErrTemporary, "error=dead": evergrant.ErrMisconfigured, "502-before": evergrant.ErrTemporary} {
				b.idp.SetHabits(func(h *idptest.Habits) { h.Fault = fault })
				if _, err := b.refresh(evergrant.RefreshOptions{}); !errors.Is(err, class) {
					t.Errorf("%s gives %v", fault, err)
				}
				b.idp.SetHabits(func(h *idptest.Habits) { h.Fault = "" })
				if st, err := b.open().Status(context.Background()); err != nil || !st.DoubtSince.IsZero() || st.State == evergrant.StateNeedsLogin {
					t.Errorf("after %s: %+v, %v", fault, st, err)
				}
				if _, err := b.refresh(evergrant.RefreshOptions{}); err != nil {
					t.Errorf("after %s: %v", fault, err)
				}
			}
		})
	}
}

// TestGrantOfADeadProcess: the open intent of a process that died is no doubt
// where nothing can be spent.
func TestGrantOfADeadProcess(t *testing.T) {
	grants, _ := asking(t)
	cfg := grants["client_credentials"]
	b := newBed(t, idptest.Config{Persona: idptest.Generic})
	var store evergrant.Memory
	cfg.ClientID, cfg.TokenURL, cfg.RescueDirs = "app", b.cfg.TokenURL, b.cfg.RescueDirs
	if err := evergrant.Keep(context.Background(), &store, "robot", []byte(`{"access_token": "first"}`), cfg); err != nil {
		t.Fatal(err)
	}
	s, err := evergrant.Open(&dying{Memory: &store}, "robot", cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Refresh(context.Background(), evergrant.RefreshOptions{}); err == nil {
		t.Fatal("the store that takes no answer was not noticed")
	}
	r, err := store.Get(context.Background(), "robot")
	if err != nil || len(r.Intent) == 0 {
		t.Fatalf("no intent is open: %v", err)
	}
	next, err := evergrant.Open(&store, "robot", evergrant.Config{ResolveSecret: cfg.ResolveSecret, RescueDirs: []string{t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if r, err := next.Refresh(context.Background(), evergrant.RefreshOptions{}); err != nil || r.Outcome != evergrant.Fresh {
		t.Errorf("the next run: %+v, %v", r, err)
	}
}

// dying takes an intent and nothing after it.
type dying struct {
	*evergrant.Memory
	puts int
}

func (d *dying) Put(ctx context.Context, r evergrant.Record, generation uint64) error {
	if d.puts++; d.puts > 2 { // the intent, and its phase
		return errors.New("the disk is gone")
	}
	return d.Memory.Put(ctx, r, generation)
}
