package evergrant_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

// bed is a simulated authorization server with one grant and its token file.
type bed struct {
	t     *testing.T
	idp   *idptest.Server
	base  string
	grant idptest.Grant
	path  string
	cfg   evergrant.Config
}

// newBed starts a server with these habits and writes the grant's token file.
func newBed(t *testing.T, c idptest.Config) *bed {
	t.Helper()
	if c.Persona == "" {
		c.Persona = idptest.Salesforce
	}
	b := &bed{t: t, idp: idptest.New(c)}
	t.Cleanup(func() { b.idp.Close() })
	var err error
	if b.base, err = b.idp.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	b.grant = b.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	b.path = filepath.Join(t.TempDir(), "token.json")
	b.write(b.path, b.grant.TokenFile())
	b.cfg = evergrant.Config{ClientID: "app", Provider: string(c.Persona), TokenURL: b.base + b.tokenPath(c.Persona), RescueDirs: []string{t.TempDir()}}
	if c.Persona == idptest.Generic {
		b.cfg.Provider = ""
	}
	return b
}

func (b *bed) tokenPath(p idptest.Persona) string {
	if p == idptest.Generic {
		return "/token"
	}
	return "/services/oauth2/token"
}

func (b *bed) write(path string, data []byte) {
	b.t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) read() []byte {
	b.t.Helper()
	data, err := os.ReadFile(b.path)
	if err != nil {
		b.t.Fatal(err)
	}
	return data
}

// open opens the token file; the source is closed with the test.
func (b *bed) open(change ...func(*evergrant.Config)) *evergrant.Source {
	b.t.Helper()
	cfg := b.cfg
	for _, c := range change {
		c(&cfg)
	}
	s, err := evergrant.OpenFile(b.path, cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { s.Close() })
	return s
}

// refresh opens the file anew, as another process would, and refreshes.
func (b *bed) refresh(o evergrant.RefreshOptions, change ...func(*evergrant.Config)) (*evergrant.Result, error) {
	b.t.Helper()
	s := b.open(change...)
	defer s.Close()
	return s.Refresh(context.Background(), o)
}
