package evergrant_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

// another approves once more, and gives the token answer of that login.
func (b *bed) another() (idptest.Grant, []byte) {
	g := b.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	return g, fmt.Appendf(nil, `{"access_token": %q, "refresh_token": %q, "token_type": "Bearer", "expires_in": 3600}`, g.AccessToken, g.RefreshToken)
}

// TestKeepFile: a login makes a token file that needs no flags afterwards.
func TestKeepFile(t *testing.T) {
	b := newBed(t, idptest.Config{})
	g, answer := b.another()
	b.path, b.grant = filepath.Join(t.TempDir(), "new", "token.json"), g
	cfg := b.cfg
	cfg.Params = [][2]string{{"resource", "https://a.example/"}, {"resource", "https://b.example/"}}
	if err := evergrant.KeepFile(context.Background(), b.path, answer, cfg); err != nil {
		t.Fatal(err)
	}
	if got := b.read(); !bytes.Equal(got, answer) {
		t.Errorf("the file holds %q, not the answer", got)
	}
	if info, err := os.Stat(b.path); runtime.GOOS != "windows" && (err != nil || info.Mode().Perm() != 0o600) {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
	b.cfg = evergrant.Config{RescueDirs: cfg.RescueDirs} // everything is remembered
	s := b.open()
	st, err := s.Status(context.Background())
	if err != nil || st.ClientID != "app" || st.State != evergrant.StateFresh || st.ExpiresAt.IsZero() {
		t.Errorf("status %+v, %v", st, err)
	}
	if _, err := b.refresh(evergrant.RefreshOptions{}); err != nil {
		t.Fatal(err)
	}
	b.living()
	plan, err := s.Plan(context.Background())
	if n := strings.Count(strings.Join(plan.Params, " "), "resource"); err != nil || n != 2 {
		t.Errorf("the request has the parameters %v, %v: want both resources", plan.Params, err)
	}
}

// TestKeepFileReconnects: a login into a file that is there edits it as a
// refresh does, and ends what stood in the way of the grant before.
func TestKeepFileReconnects(t *testing.T) {
	b := newBed(t, idptest.Config{})
	b.write(b.path, bytes.Replace(b.read(), []byte("{"), []byte("{\r\n  \"mine\": [1,2],"), 1))
	b.idp.Revoke(b.grant.ID, "by hand")
	if _, err := b.refresh(evergrant.RefreshOptions{}); !errors.Is(err, evergrant.ErrNeedsLogin) {
		t.Fatalf("refreshing a revoked grant gives %v", err)
	}
	g, answer := b.another()
	b.grant = g
	if err := evergrant.KeepFile(context.Background(), b.path, answer, b.cfg); err != nil {
		t.Fatal(err)
	}
	b.living()
	if got := b.read(); !bytes.Contains(got, []byte("{\r\n  \"mine\": [1,2],")) || !bytes.Contains(got, []byte("\r\n  \"id\": ")) {
		t.Errorf("the file's own members were not kept:\n%s", got)
	}
	if _, err := b.refresh(evergrant.RefreshOptions{}); err != nil {
		t.Errorf("after the login: %v", err)
	}
	b.living()
}

// TestKeepFileOfAnotherClient: nothing of another client's grant is mixed into
// the new one.
func TestKeepFileOfAnotherClient(t *testing.T) {
	b := newBed(t, idptest.Config{})
	if _, err := b.refresh(evergrant.RefreshOptions{}, func(c *evergrant.Config) { c.Params = [][2]string{{"x", "y"}} }); err != nil {
		t.Fatal(err)
	}
	_, answer := b.another()
	answer = bytes.Replace(answer, []byte(`"refresh_token"`), []byte(`"was_refresh_token"`), 1)
	cfg := b.cfg
	cfg.ClientID = "other"
	if err := evergrant.KeepFile(context.Background(), b.path, answer, cfg); err != nil {
		t.Fatal(err)
	}
	if got := b.read(); !bytes.Equal(got, answer) {
		t.Errorf("the file holds %q", got)
	}
	p, err := b.open(func(c *evergrant.Config) { *c = evergrant.Config{} }).Plan(context.Background())
	if err != nil || strings.Contains(strings.Join(p.Params, " "), "x") {
		t.Errorf("the other client's parameters are still sent: %v, %v", p.Params, err)
	}
}

// TestP3LoginWinsOverRefresh: a login that comes while a refresh is under way is
// what stays (P3).
func TestP3LoginWinsOverRefresh(t *testing.T) {
	b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
	g, answer := b.another()
	kept := make(chan error, 1)
	_, err := b.during(b.open(), func() {
		go func() { kept <- evergrant.KeepFile(context.Background(), b.path, answer, b.cfg) }()
	})
	if err != nil {
		t.Error(err)
	}
	if err := <-kept; err != nil {
		t.Fatal(err)
	}
	b.grant = g
	b.living()
	if _, err := b.refresh(evergrant.RefreshOptions{}); err != nil {
		t.Error(err)
	}
	b.living()
}

// TestKeepFileThatFails: a grant that a person made is never dropped.
func TestKeepFileThatFails(t *testing.T) {
	b := newBed(t, idptest.Config{})
	if err := os.Link(b.path, b.path+".second"); err != nil {
		t.Skip("no hard links here:", err)
	}
	_, answer := b.another()
	err := evergrant.KeepFile(context.Background(), b.path, answer, b.cfg)
	var e *evergrant.Error
	if !errors.As(err, &e) || !errors.Is(err, evergrant.ErrStorage) {
		t.Fatalf("keeping it in a hard-linked file gives %v", err)
	}
	if held, err := os.ReadFile(e.Path); err != nil || !bytes.Equal(held, answer) {
		t.Errorf("the grant is not in %q: %v", e.Path, err)
	}
	if strings.Contains(err.Error(), "5Aep") {
		t.Error("the error shows a token")
	}
}

// TestKeepInStore: as with a file, and a doubt of before is over.
func TestKeepInStore(t *testing.T) {
	b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
	var store evergrant.Memory
	for range 2 {
		g, answer := b.another()
		b.grant = g
		if err := evergrant.Keep(context.Background(), &store, "work", answer, b.cfg); err != nil {
			t.Fatal(err)
		}
		s, err := evergrant.Open(&store, "work", evergrant.Config{RescueDirs: b.cfg.RescueDirs, CallTimeout: 2 * time.Second, ExchangeTimeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Refresh(context.Background(), evergrant.RefreshOptions{}); err != nil {
			t.Fatal(err)
		}
		b.idp.Next("lost")
		if _, err := s.Refresh(context.Background(), evergrant.RefreshOptions{}); err == nil {
			t.Fatal("the lost reply was not noticed")
		}
		if st, err := s.Status(context.Background()); err != nil || st.DoubtSince.IsZero() {
			t.Errorf("no doubt: %+v, %v", st, err)
		}
		s.Close()
	}
}

// TestLoginCutByAPowerCut: a login that a power cut ended before it was stored
// has sent nothing, so the grant that is there is in no doubt.
func TestLoginCutByAPowerCut(t *testing.T) {
	b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
	var store evergrant.Memory
	if err := evergrant.Keep(context.Background(), &store, "work", b.grant.TokenFile(), b.cfg); err != nil {
		t.Fatal(err)
	}
	_, answer := b.another()
	if err := evergrant.Keep(context.Background(), &dying{Memory: &store, puts: 1}, "work", answer, b.cfg); err == nil {
		t.Fatal("the store that takes no login was not noticed")
	}
	r, err := store.Get(context.Background(), "work")
	if err != nil || len(r.Intent) == 0 {
		t.Fatalf("no intent is open: %v", err)
	}
	r.Intent = regexp.MustCompile(`"boot":\s*"[^"]*"`).ReplaceAll(r.Intent, []byte(`"boot":"before the power cut"`))
	if err := store.Put(context.Background(), r, r.Generation); err != nil {
		t.Fatal(err)
	}
	s, err := evergrant.Open(&store, "work", evergrant.Config{RescueDirs: []string{t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Refresh(context.Background(), evergrant.RefreshOptions{}); err != nil {
		t.Errorf("after the power cut: %v", err)
	}
}

// Beside a file the phase of a try is not durable, so that nothing but the intent
// itself tells that a login has sent nothing.
func TestLoginIntoAFileCutByAPowerCut(t *testing.T) {
	b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
	b.mustRefresh()
	var st map[string]any
	if err := json.Unmarshal(b.readSide(), &st); err != nil {
		t.Fatal(err)
	}
	st["intent"] = map[string]any{"attempt": "0123456789abcdef", "phase": "dialing", "generation": st["generation"], "access": st["access"],
		"started": map[string]any{"at": time.Now(), "boot": "before the power cut"}, "deadline": time.Now().Add(time.Minute),
		"brings": "0123456789abcdef01234567", "grant": st["grant"]}
	side, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	b.write(b.side(), side)
	if s, err := b.open(bare).Status(t.Context()); err != nil || s.State == evergrant.StateInDoubt {
		t.Errorf("%s, %v", s.State, err)
	}
	if _, err := b.refresh(evergrant.RefreshOptions{}, bare); err != nil {
		t.Errorf("after the power cut: %v", err)
	}
	b.living()
}

// TestDeleteFile: nothing of a grant stays, and nobody who works on it is
// disturbed.
func TestDeleteFile(t *testing.T) {
	b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: true}})
	if _, err := b.refresh(evergrant.RefreshOptions{}); err != nil {
		t.Fatal(err)
	}
	link := b.path + ".link"
	if err := os.Symlink(b.path, link); err != nil {
		t.Skip("no links here:", err)
	}
	cfg := evergrant.Config{RescueDirs: b.cfg.RescueDirs}
	if _, err := b.during(b.open(), func() {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		if err := evergrant.DeleteFile(ctx, link, cfg); !errors.Is(err, evergrant.ErrTemporary) {
			t.Errorf("deleting it during a refresh: %v", err)
		}
	}); err != nil {
		t.Error(err)
	}
	b.living()
	if err := evergrant.DeleteFile(context.Background(), link, cfg); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Dir(b.path)); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := evergrant.DeleteFile(context.Background(), b.path, cfg); !errors.Is(err, evergrant.ErrFile) {
		t.Errorf("deleting it again: %v", err)
	}
}
