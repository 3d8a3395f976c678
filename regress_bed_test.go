package evergrant_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

// The regress_ files hold one test for each bug that a hostile reading of the
// engine found; docs/track-record.md lists them. This file holds what only
// they need.

var rotating = idptest.Config{Habits: idptest.Habits{Rotation: true}}

// newPipeBed is newBed on the pipe network, for a synctest bubble. Its grant
// belongs in a store: files have the times of the real clock. answer, if not
// nil, answers instead of the simulated server.
func newPipeBed(t *testing.T, c idptest.Config, answer http.Handler) *bed {
	t.Helper()
	if c.Persona == "" {
		c.Persona = idptest.Salesforce
	}
	b := &bed{t: t, idp: idptest.New(c), base: "http://127.0.0.1", path: filepath.Join(t.TempDir(), "token.json")}
	if answer == nil {
		answer = b.idp
	}
	pipe := newPipeNet()
	srv := &http.Server{Handler: answer}
	go srv.Serve(pipe)
	t.Cleanup(func() { b.idp.Close(); srv.Close() })
	b.grant = b.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	b.write(b.path, b.grant.TokenFile())
	b.cfg = evergrant.Config{ClientID: "app", Provider: string(c.Persona), TokenURL: b.base + b.tokenPath(c.Persona), RescueDirs: []string{t.TempDir()}}
	if c.Persona == idptest.Generic {
		b.cfg.Provider = ""
	}
	b.cfg.HTTP.Dial = pipe.dial
	return b
}

// inStore puts the grant, as its file is now, into a store as record "g".
func (b *bed) inStore() *brittle {
	b.t.Helper()
	store := &brittle{Store: new(evergrant.Memory)}
	if err := evergrant.Create(b.t.Context(), store, "g", b.read(), b.cfg); err != nil {
		b.t.Fatal(err)
	}
	return store
}

// openRecord opens record "g"; the source is closed with the test.
func (b *bed) openRecord(store evergrant.Store, change ...func(*evergrant.Config)) *evergrant.Source {
	b.t.Helper()
	cfg := b.cfg
	for _, c := range change {
		c(&cfg)
	}
	s, err := evergrant.Open(store, "g", cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { s.Close() })
	return s
}

// refreshRecord opens record "g" anew, as another process would, and refreshes.
func (b *bed) refreshRecord(store evergrant.Store, change ...func(*evergrant.Config)) (*evergrant.Result, error) {
	b.t.Helper()
	s := b.openRecord(store, change...)
	defer s.Close()
	return s.Refresh(context.Background(), evergrant.RefreshOptions{})
}

// livingIn checks that record "g" holds the refresh token that the provider
// accepts.
func (b *bed) livingIn(store evergrant.Store) {
	b.t.Helper()
	r, err := store.Get(context.Background(), "g")
	if err != nil {
		b.t.Fatal(err)
	}
	if st := b.idp.GrantState(b.grant.ID); st.Revoked || st.RefreshToken == "" || !bytes.Contains(r.Data, []byte(st.RefreshToken)) {
		b.t.Errorf("the grant was lost: the record does not hold the living refresh token (%s)", st.Why)
	}
}

// requests counts the token requests that presented the grant.
func (b *bed) requests() int { return len(b.idp.TokenRequests(b.grant.ID)) }

// neverReused checks that no spent refresh token was presented.
func (b *bed) neverReused() {
	b.t.Helper()
	for _, e := range b.idp.TokenRequests(b.grant.ID) {
		if e.Verdict == idptest.Reuse {
			b.t.Errorf("request %d presents the spent refresh token %d", e.Seq, e.Generation)
		}
	}
}

func (b *bed) side() string { return sideOf(b.path) }

func sideOf(path string) string {
	dir, base := filepath.Split(path)
	return filepath.Join(dir, "."+base+".evergrant")
}

func (b *bed) readSide() []byte {
	b.t.Helper()
	data, err := os.ReadFile(b.side())
	if err != nil {
		b.t.Fatal(err)
	}
	return data
}

// setClocks makes the side file look as if the wall clock had been ahead by
// wall when it was written, and the moment of writing had been earlier by
// earlier.
func (b *bed) setClocks(wall, earlier time.Duration) {
	b.t.Helper()
	shift := wall - earlier
	side := regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]*"`).ReplaceAllFunc(b.readSide(), func(m []byte) []byte {
		at, err := time.Parse(`"`+time.RFC3339Nano+`"`, string(m))
		if err != nil {
			b.t.Fatal(err)
		}
		return at.Add(shift).AppendFormat(nil, `"`+time.RFC3339Nano+`"`)
	})
	side = regexp.MustCompile(`"uptime_ns": \d+`).ReplaceAllFunc(side, func(m []byte) []byte {
		var up time.Duration
		fmt.Sscanf(string(m), `"uptime_ns": %d`, &up)
		return fmt.Appendf(nil, `"uptime_ns": %d`, up-earlier)
	})
	b.write(b.side(), side)
}

// otherBoot makes the side file one that was written before the last boot.
func (b *bed) otherBoot() {
	b.t.Helper()
	b.write(b.side(), regexp.MustCompile(`"boot": "[^"]*"`).ReplaceAll(b.readSide(), []byte(`"boot": "another"`)))
}

// killed refreshes and leaves what a process would that is killed with the
// answer whole on disk: before the exchange of names, or right after it. It
// returns the path of the temporary file.
func (b *bed) killed(exchanged bool) string {
	b.t.Helper()
	before := b.read()
	var side []byte
	if _, err := b.during(b.open(), func() { side = b.readSide() }); err != nil {
		b.t.Fatal(err)
	}
	answer := b.read()
	member := func(name string) string {
		m := regexp.MustCompile(`"` + name + `": "([0-9a-f]+)"`).FindSubmatch(side)
		if m == nil {
			b.t.Fatalf("the side file has no %s", name)
		}
		return string(m[1])
	}
	refresh := b.idp.GrantState(b.grant.ID).RefreshToken
	content, mark := sha256.Sum256(answer), sha256.Sum256([]byte(member("salt")+" "+refresh))
	temp := fmt.Sprintf("%s.%s.000000.%s.%s.tmp", b.side(), member("attempt"), hex.EncodeToString(content[:8]), hex.EncodeToString(mark[:12]))
	b.write(b.side(), side)
	if exchanged {
		b.write(temp, before)
	} else {
		b.write(temp, answer)
		b.write(b.path, before)
	}
	return temp
}

// bare forgets all that identifies the grant: what a later run gives.
func bare(c *evergrant.Config) { *c = evergrant.Config{RescueDirs: c.RescueDirs, HTTP: c.HTTP} }

// short bounds a call and its exchange.
func short(c *evergrant.Config) { c.ExchangeTimeout = 300 * time.Millisecond }

func (b *bed) mustRefresh() *evergrant.Result {
	b.t.Helper()
	r, err := b.refresh(evergrant.RefreshOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// tempName is like, for another number and content.
func (b *bed) tempName(like, number string, content []byte) string {
	parts := strings.Split(filepath.Base(like), ".")
	sum := sha256.Sum256(content)
	n := len(parts)
	parts[n-4], parts[n-3] = number, hex.EncodeToString(sum[:8])
	return filepath.Join(filepath.Dir(like), strings.Join(parts, "."))
}
