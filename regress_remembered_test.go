package evergrant_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

// referring is a bed whose grant needs a secret, which a first refresh has named
// by reference, and the references that were followed.
func referring(t *testing.T) (b *bed, followed *[]string) {
	t.Helper()
	b = newBed(t, idptest.Config{Clients: []idptest.Client{{ID: "app", Secret: "s3cr3t"}}, Habits: idptest.Habits{RefreshSecret: true}})
	followed = new([]string)
	b.cfg.ResolveSecret = func(_ context.Context, ref string) (evergrant.Secret, error) {
		*followed = append(*followed, ref)
		return evergrant.NewSecret("s3cr3t"), nil
	}
	if _, err := b.refresh(evergrant.RefreshOptions{}, said); err != nil {
		t.Fatal(err)
	}
	*followed = nil
	return b, followed
}

func unsaid(c *evergrant.Config) {
	*c = evergrant.Config{RescueDirs: c.RescueDirs, ResolveSecret: c.ResolveSecret}
}

func said(c *evergrant.Config) { c.SecretRef = "cmd:secret" }

// moveTo copies the token file and side files with these endings to another
// place, and makes that the place of the bed.
func (b *bed) moveTo(path string, sides ...string) {
	b.t.Helper()
	was := b.path
	b.write(path, b.read())
	b.path = path
	for _, end := range sides {
		data, err := os.ReadFile(sideOf(was) + end)
		if err != nil {
			b.t.Fatal(err)
		}
		b.write(sideOf(path)+end, data)
	}
}

// A side file may be somebody else's work: unpacked from an archive, cloned from
// a repository. Its files belong to this user then, and a reference in it would
// run a command.
func TestReferenceIsFollowedWhereItWasSaid(t *testing.T) {
	for name, tt := range map[string]struct {
		move    func(b *bed)
		follows bool
	}{
		"left where it is": {func(*bed) {}, true},
		"the folder renamed": {func(b *bed) {
			dir := filepath.Dir(b.path)
			if err := os.Rename(dir, dir+" moved"); err != nil {
				b.t.Fatal(err)
			}
			b.path = filepath.Join(dir+" moved", filepath.Base(b.path))
		}, true},
		"the files renamed": {func(b *bed) {
			path := filepath.Join(b.t.TempDir(), "other.json")
			if err := os.Rename(b.side(), sideOf(path)); err != nil {
				b.t.Fatal(err)
			}
			b.moveTo(path)
		}, true},
		"its lock file deleted": {func(b *bed) {
			if err := os.Remove(b.side() + ".lock"); err != nil {
				b.t.Fatal(err)
			}
		}, true},
		"copied":                {func(b *bed) { b.moveTo(filepath.Join(b.t.TempDir(), "token.json"), "", ".lock") }, false},
		"copied to a neighbour": {func(b *bed) { b.moveTo(b.path+"2", "") }, false},
		"checked out anew": {func(b *bed) { // as version control and archives do it: the lock stays
			side := b.readSide()
			if err := os.Remove(b.side()); err != nil {
				b.t.Fatal(err)
			}
			b.write(b.side(), side)
		}, false},
		"made by hand": {func(b *bed) {
			var st map[string]any
			if err := json.Unmarshal(b.readSide(), &st); err != nil {
				b.t.Fatal(err)
			}
			delete(st, "self")
			side, _ := json.Marshal(st)
			b.write(b.side(), side)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			b, followed := referring(t)
			tt.move(b)
			before := len(b.idp.Ledger())
			_, err := b.refresh(evergrant.RefreshOptions{}, unsaid)
			if tt.follows {
				if err != nil || !slices.Equal(*followed, []string{"cmd:secret"}) {
					t.Errorf("%v, followed %q", err, *followed)
				}
				return
			}
			var e *evergrant.Error
			if !errors.As(err, &e) || !errors.Is(err, evergrant.ErrUsage) || !strings.Contains(e.Do, "--client-secret") || !strings.Contains(e.Do, b.cfg.TokenURL) {
				t.Errorf("it gave %v", err)
			}
			s := b.open(unsaid)
			if p, err := s.Plan(context.Background()); err != nil || p.Problem == nil || p.Problem.Rule != e.Rule {
				t.Errorf("a dry run says %+v, %v", p, err)
			}
			if len(*followed) > 0 || len(b.idp.Ledger()) != before {
				t.Errorf("followed %q, %d requests", *followed, len(b.idp.Ledger())-before)
			}
			if _, err := b.refresh(evergrant.RefreshOptions{}, unsaid, said); err != nil {
				t.Fatalf("said once more: %v", err)
			}
			if _, err := b.refresh(evergrant.RefreshOptions{}, unsaid); err != nil {
				t.Errorf("it was not remembered: %v", err)
			}
			b.living()
		})
	}
}

// What is written while a reference is not followed must not make it one that is,
// nor one that was never there.
func TestReferenceStaysUnfollowedThroughAWrite(t *testing.T) {
	b, followed := referring(t)
	b.moveTo(filepath.Join(t.TempDir(), "token.json"), "", ".lock")
	was := b.readSide()
	if _, err := b.refresh(evergrant.RefreshOptions{}, unsaid, func(c *evergrant.Config) { c.ClientSecret = evergrant.NewSecret("s3cr3t") }); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(was, b.readSide()) {
		t.Fatal("nothing was written")
	}
	if _, err := b.refresh(evergrant.RefreshOptions{}, unsaid); !errors.Is(err, evergrant.ErrUsage) || len(*followed) > 0 {
		t.Errorf("%v, followed %q, the side file %s", err, *followed, b.readSide())
	}
}

// Root may refresh a file for its owner, whose references it does not follow, and
// leaves them to the owner as they were.
func TestReferenceStaysItsOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can see the state of another user")
	}
	b, followed := referring(t)
	for _, path := range []string{b.path, b.side()} {
		if err := os.Chown(path, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second meets what the first has written
		if _, err := b.refresh(evergrant.RefreshOptions{}, unsaid, func(c *evergrant.Config) { c.ClientSecret = evergrant.NewSecret("s3cr3t") }); err != nil {
			t.Fatal(err)
		}
		if _, err := b.refresh(evergrant.RefreshOptions{}, unsaid); !errors.Is(err, evergrant.ErrUsage) {
			t.Errorf("root followed it: %v", err)
		}
	}
	if len(*followed) > 0 {
		t.Errorf("followed %q", *followed)
	}
	for _, path := range []string{b.path, b.side()} {
		if err := os.Chown(path, 0, 0); err != nil { // root is the owner now, who said it
			t.Fatal(err)
		}
	}
	if _, err := b.refresh(evergrant.RefreshOptions{}, unsaid); err != nil || !slices.Equal(*followed, []string{"cmd:secret"}) {
		t.Errorf("the owner's own is lost: %v, followed %q, %s", err, *followed, b.readSide())
	}
}

// All that has to be said again is named at once: a key without its certificate is
// another way to authenticate.
func TestUnfollowedReferencesAreNamedTogether(t *testing.T) {
	b := newBed(t, idptest.Config{})
	b.mustRefresh()
	var st map[string]any
	if err := json.Unmarshal(b.readSide(), &st); err != nil {
		t.Fatal(err)
	}
	id := st["grant"].(map[string]any)
	id["key_ref"], id["cert_ref"], id["key_alg"] = "file:key.pem", "file:cert.pem", "PS256"
	side, _ := json.Marshal(st)
	b.write(b.side(), side)
	_, err := b.refresh(evergrant.RefreshOptions{}, unsaid)
	var e *evergrant.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	for _, want := range []string{"--key,", "--cert", "--key-alg PS256"} {
		if !strings.Contains(e.Do, want) {
			t.Errorf("no %s: %s", want, e.Do)
		}
	}
	for _, want := range []string{"file:key.pem", "file:cert.pem"} {
		if !strings.Contains(e.Says, want) {
			t.Errorf("no %s: %s", want, e.Says)
		}
	}
}

// A first refresh that ended in a verdict left only endpoint and client behind:
// the provider was gone for good, and without its fields the file was no token
// file any more.
func TestFirstVerdictIsRememberedWhole(t *testing.T) {
	b := newBed(t, rotating)
	b.write(b.path, fmt.Appendf(nil, `{"auth": {"token": "gone", "refresh": %q}}`, b.grant.RefreshToken))
	told := func(c *evergrant.Config) {
		c.Fields = map[string]string{"access_token": "/auth/token", "refresh_token": "/auth/refresh"}
		short(c)
	}
	b.idp.Next("lost")
	if _, err := b.refresh(evergrant.RefreshOptions{}, told); !errors.Is(err, evergrant.ErrTemporary) {
		t.Fatal(err)
	}
	if _, err := b.refresh(evergrant.RefreshOptions{Replay: true}, bare); !errors.Is(err, evergrant.ErrNeedsLogin) {
		t.Fatal(err)
	}
	if _, err := b.refresh(evergrant.RefreshOptions{}, bare); !errors.Is(err, evergrant.ErrNeedsLogin) {
		t.Errorf("the verdict is forgotten: %v", err)
	}
	if st, err := b.open(bare).Status(t.Context()); err != nil || st.Provider != b.cfg.Provider || st.TokenURL != b.cfg.TokenURL || st.ClientID != "app" {
		t.Errorf("%+v, %v", st, err)
	}
}

// A variable that was given for a grant whose endpoint was known, from its file or
// from a try before, was ignored without a word: the token of a sandbox went to
// production.
func TestVariableLeadsAwayFromWhatIsKnown(t *testing.T) {
	b := newBed(t, rotating)
	for name, tt := range map[string]struct {
		file string
		vars map[string]string
		want string
	}{
		"of the file":        {`{"refresh_token": "r", "id": "https://login.salesforce.com/id/00D000000000001EAA/005000000000001AAA"}`, map[string]string{"host": "test.salesforce.com"}, "https://test.salesforce.com/services/oauth2/token"},
		"of nothing":         {`{"refresh_token": "r"}`, map[string]string{"host": "test.salesforce.com"}, "https://test.salesforce.com/services/oauth2/token"},
		"back to production": {`{"refresh_token": "r", "id": "https://test.salesforce.com/id/00D000000000001EAA/005000000000001AAA"}`, map[string]string{"host": "login.salesforce.com"}, "https://login.salesforce.com/services/oauth2/token"},
	} {
		t.Run(name, func(t *testing.T) {
			b.path = filepath.Join(t.TempDir(), "token.json")
			b.write(b.path, []byte(tt.file))
			s := b.open(bare, func(c *evergrant.Config) { c.Provider, c.ClientID, c.Vars = "salesforce", "app", tt.vars })
			if p, err := s.Plan(t.Context()); err != nil || p.URL != tt.want {
				t.Errorf("it would go to %q: %+v, %v", p.URL, p.Problem, err)
			}
		})
	}
	t.Run("remembered", func(t *testing.T) {
		b := newBed(t, rotating)
		b.mustRefresh()
		side := bytes.ReplaceAll(b.readSide(), []byte(b.cfg.TokenURL), []byte("https://login.salesforce.com/services/oauth2/token"))
		b.write(b.side(), side)
		for vars, want := range map[string]string{"test.salesforce.com": "https://test.salesforce.com/services/oauth2/token", "login.salesforce.com": "https://login.salesforce.com/services/oauth2/token"} {
			s := b.open(bare, func(c *evergrant.Config) { c.Vars = map[string]string{"host": vars} })
			if p, err := s.Plan(t.Context()); err != nil || p.URL != want {
				t.Errorf("with %s it would go to %q: %+v, %v", vars, p.URL, p.Problem, err)
			}
		}
	})
}
