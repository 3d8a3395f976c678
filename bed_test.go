package evergrant_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

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

// age makes the token file one that was written long ago, as its issued_at
// tells.
func (b *bed) age(d time.Duration) {
	b.t.Helper()
	re := regexp.MustCompile(`"issued_at": "\d+"`)
	old := fmt.Sprintf(`"issued_at": "%d"`, time.Now().Add(-d).UnixMilli())
	b.write(b.path, re.ReplaceAll(b.read(), []byte(old)))
}

// living asks the provider whether the refresh token in the file is the one it
// accepts.
func (b *bed) living() {
	b.t.Helper()
	if st := b.idp.GrantState(b.grant.ID); st.Revoked || st.RefreshToken == "" || !bytes.Contains(b.read(), []byte(st.RefreshToken)) {
		b.t.Errorf("the grant was lost: the file does not hold the living refresh token (%s)", st.Why)
	}
}

// during makes a refresh and calls meanwhile while the provider has processed
// the request and holds its answer back.
func (b *bed) during(s *evergrant.Source, meanwhile func()) (*evergrant.Result, error) {
	b.t.Helper()
	b.idp.HoldUntilReleased()
	type end struct {
		r   *evergrant.Result
		err error
	}
	done := make(chan end, 1)
	go func() {
		r, err := s.Refresh(context.Background(), evergrant.RefreshOptions{})
		done <- end{r, err}
	}()
	for b.idp.Waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	meanwhile()
	b.idp.Release()
	e := <-done
	return e.r, e.err
}

// rescued reports whether a rescue file holds the token.
func (b *bed) rescued(token string) bool {
	for _, dir := range b.cfg.RescueDirs {
		files, _ := filepath.Glob(filepath.Join(dir, "*"))
		for _, f := range files {
			if data, err := os.ReadFile(f); err == nil && bytes.Contains(data, []byte(token)) {
				return true
			}
		}
	}
	return false
}
