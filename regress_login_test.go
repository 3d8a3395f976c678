package evergrant_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
	"github.com/evergrant/evergrant/jose"
)

// One test for each bug that a hostile reading of what keeps a login found.

// online is the answer of a login that brings no refresh token, as Google's
// second one does.
func (b *bed) online() []byte {
	g := b.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	return fmt.Appendf(nil, `{"access_token": %q, "token_type": "Bearer", "expires_in": 3600}`, g.AccessToken)
}

func (b *bed) keep(answer []byte, change ...func(*evergrant.Config)) {
	b.t.Helper()
	cfg := b.cfg
	for _, c := range change {
		c(&cfg)
	}
	if err := evergrant.KeepFile(context.Background(), b.path, answer, cfg); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) status() evergrant.Status {
	b.t.Helper()
	st, err := b.open(bare).Status(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	return st
}

// A login that brought no refresh token ended the doubt about the one that
// stayed, and the next refresh sent the spent token once more (P1, P5).
func TestLoginWithoutRefreshTokenEndsNoDoubt(t *testing.T) {
	b := newBed(t, rotating)
	b.mustRefresh()
	b.idp.Next("lost")
	if _, err := b.refresh(evergrant.RefreshOptions{}, short); err == nil {
		t.Fatal("the lost reply was not noticed")
	}
	sent := b.requests()
	b.keep(b.online())
	if st := b.status(); st.DoubtSince.IsZero() || st.ExpiresAt.IsZero() {
		t.Errorf("after the login: %+v", st)
	}
	if _, err := b.refresh(evergrant.RefreshOptions{}, bare); err == nil || b.requests() != sent {
		t.Errorf("%d requests more, %v", b.requests()-sent, err)
	}
}

// A login that brought no refresh token made a dead one, or one that was set
// back, the grant's again, and it was sent (P4, P5).
func TestLoginWithoutRefreshTokenRevivesNone(t *testing.T) {
	t.Run("dead", func(t *testing.T) {
		b := newBed(t, rotating)
		b.mustRefresh()
		b.idp.Revoke(b.grant.ID, "by hand")
		if _, err := b.refresh(evergrant.RefreshOptions{}); !errors.Is(err, evergrant.ErrNeedsLogin) {
			t.Fatal(err)
		}
		sent := b.requests()
		b.keep(b.online())
		if _, err := b.refresh(evergrant.RefreshOptions{}, bare); !errors.Is(err, evergrant.ErrNeedsLogin) || b.requests() != sent {
			t.Errorf("%d requests more, %v", b.requests()-sent, err)
		}
		if r, err := b.open(bare).TokenFor(context.Background(), 0); err != nil || r.Token.Expiry.IsZero() {
			t.Errorf("the token of the login: %+v, %v", r, err)
		}
	})
	t.Run("set back", func(t *testing.T) {
		b := newBed(t, rotating)
		first := b.read()
		b.mustRefresh()
		b.write(b.path, first)
		sent := b.requests()
		b.keep(b.online())
		if _, err := b.refresh(evergrant.RefreshOptions{}, bare); !errors.Is(err, evergrant.ErrNeedsLogin) || b.requests() != sent {
			t.Errorf("%d requests more, %v", b.requests()-sent, err)
		}
		b.neverReused()
	})
}

// An access token of one account came to stand beside the refresh token of
// another one; and a refresh token was put beside a client that was never known
// to be its own.
func TestLoginOfAnotherAccountIsNotMixed(t *testing.T) {
	idToken := func(sub string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"iss":"https://as.example","sub":%q}`, sub)) + ".c2ln"
	}
	for name, tt := range map[string]struct{ file, answer string }{
		"by sub":             {`"client_id": "app", "sub": "ada"`, `"sub": "bob"`},
		"by ID token":        {`"client_id": "app", "id_token": "` + idToken("ada") + `"`, `"id_token": "` + idToken("bob") + `"`},
		"of no known client": {`"x": 1`, `"y": 2`},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, rotating)
			b.write(b.path, []byte(`{"access_token": "a", "refresh_token": "living-one", `+tt.file+`}`))
			answer := []byte(`{"access_token": "b", "expires_in": 3600, ` + tt.answer + `}`)
			b.keep(answer)
			if got := b.read(); !bytes.Equal(got, answer) {
				t.Errorf("the file holds %s", got)
			}
			if !b.rescued("living-one") {
				t.Error("the refresh token of before is nowhere")
			}
		})
	}
	b := newBed(t, rotating)
	b.write(b.path, []byte(`{"access_token": "a", "refresh_token": "r", "client_id": "app", "sub": "ada", "mine": 1}`))
	b.keep([]byte(`{"access_token": "b", "sub": "ada"}`))
	if got := string(b.read()); !strings.Contains(got, `"refresh_token": "r"`) || !strings.Contains(got, `"mine": 1`) {
		t.Errorf("a login of the same account: %s", got)
	}
}

// A file that was never refreshed here was replaced as a whole by the login into
// it: the user's own members were gone (P8).
func TestLoginIntoAForeignFileKeepsItsMembers(t *testing.T) {
	b := newBed(t, rotating)
	b.write(b.path, bytes.Replace(b.read(), []byte("{"), []byte("{\r\n  \"mine\": [1,2],"), 1))
	g, answer := b.another()
	b.grant = g
	b.keep(answer)
	if !bytes.Contains(b.read(), []byte("{\r\n  \"mine\": [1,2],")) {
		t.Errorf("the file holds %s", b.read())
	}
	if _, err := b.refresh(evergrant.RefreshOptions{}, bare); err != nil {
		t.Error(err)
	}
	b.living()
}

// After a person's login into the file of a robot the next refresh asked as the
// robot again, and put its token in the place of the person's.
func TestLoginOfAPersonEndsTheRobot(t *testing.T) {
	b := newBed(t, idptest.Config{Persona: idptest.Generic, Clients: []idptest.Client{{ID: "app", Secret: "hush"}}, Habits: idptest.Habits{Rotation: true}})
	b.path = filepath.Join(t.TempDir(), "token.json")
	resolve := func(c *evergrant.Config) {
		c.SecretRef, c.ResolveSecret = "env:SECRET", vault(map[string]string{"env:SECRET": "hush"})
	}
	b.keep([]byte(`{"access_token": "robot's"}`), resolve, func(c *evergrant.Config) { c.Grant.Type = "client_credentials" })
	g, answer := b.another()
	b.grant = g
	b.keep(answer, resolve)
	if _, err := b.refresh(evergrant.RefreshOptions{}, bare, func(c *evergrant.Config) { resolve(c); c.SecretRef = "" }); err != nil {
		t.Fatal(err)
	}
	b.living()
	if st := b.status(); st.GrantType != "" || b.requests() != 1 {
		t.Errorf("it is still a grant of type %q; %d requests with the person's refresh token", st.GrantType, b.requests())
	}
}

// cut leaves what a login does that ends before it is done: with nothing but its
// intent, with its answer whole beside the file, or with it in its place and
// nothing else, as where the system cannot exchange names.
func (b *bed) cut(where string, answer []byte, change ...func(*evergrant.Config)) {
	b.t.Helper()
	before, old := b.read(), map[string]any{}
	if side, err := os.ReadFile(b.side()); err == nil {
		if err := json.Unmarshal(side, &old); err != nil {
			b.t.Fatal(err)
		}
	}
	b.keep(answer, change...)
	var state, doc map[string]any
	if json.Unmarshal(b.readSide(), &state) != nil || json.Unmarshal(b.read(), &doc) != nil {
		b.t.Fatal("the side file or the token file is no JSON")
	}
	salt := fmt.Sprint(state["salt"])
	mark := func(text string) string {
		sum := sha256.Sum256([]byte(salt + " " + text))
		return hex.EncodeToString(sum[:12])
	}
	if old["salt"] == nil {
		old["version"], old["salt"] = 1, salt
	}
	old["intent"] = map[string]any{
		"attempt": "0123456789abcdef", "phase": "dialing", "started": map[string]any{"at": time.Now(), "boot": "before the power cut"},
		"base": mark(string(before)), "brings": mark(fmt.Sprint(doc["access_token"], " ", doc["refresh_token"])), "grant": state["grant"],
	}
	after := b.read()
	side, _ := json.Marshal(old)
	b.write(b.side(), side)
	sum := sha256.Sum256(after)
	temp := fmt.Sprintf("%s.0123456789abcdef.000000.%s.%s.tmp", b.side(), hex.EncodeToString(sum[:8]), mark(fmt.Sprint(doc["refresh_token"])))
	switch where {
	case "intent":
		b.write(b.path, before)
	case "answer":
		b.write(b.path, before)
		b.write(temp, after)
	}
}

// A login of another client that ended in the middle left its tokens with the
// client and endpoint of before, where the new refresh token was then sent; or
// the old grant with neither.
func TestCutLoginOfAnotherClient(t *testing.T) {
	for _, where := range []string{"intent", "answer", "placed"} {
		t.Run(where, func(t *testing.T) {
			b := newBed(t, idptest.Config{Persona: idptest.Generic, Habits: idptest.Habits{Rotation: true}})
			b.mustRefresh()
			other := newBed(t, idptest.Config{Persona: idptest.Generic, Habits: idptest.Habits{Rotation: true}})
			other.grant = other.idp.NewGrant(idptest.GrantSpec{ClientID: "second"})
			answer := fmt.Appendf(nil, `{"access_token": %q, "refresh_token": %q, "expires_in": 3600}`, other.grant.AccessToken, other.grant.RefreshToken)
			b.cut(where, answer, func(c *evergrant.Config) { c.ClientID, c.TokenURL = "second", other.cfg.TokenURL })
			owner := other
			if where == "intent" {
				owner = b // its login is lost with the process; the grant of before is not
			}
			if _, err := b.refresh(evergrant.RefreshOptions{}, bare); err != nil {
				t.Fatal(err)
			}
			other.path = b.path
			owner.living()
			owner.neverReused()
			if where != "intent" && b.requests() != 1 || where == "intent" && other.requests() != 0 {
				t.Errorf("%d requests at the old provider, %d at the new one", b.requests(), other.requests())
			}
		})
	}
}

// A login that ended in the middle left its answer where the places of members
// of before were looked at: the file could not be read any more.
func TestCutLoginIntoAnotherLayout(t *testing.T) {
	for _, where := range []string{"intent", "answer", "placed"} {
		t.Run(where, func(t *testing.T) {
			b := newBed(t, rotating)
			b.write(b.path, fmt.Appendf(nil, `{"data": {"tok": %q, "ref": %q}}`, b.grant.AccessToken, b.grant.RefreshToken))
			b.cfg.Fields = map[string]string{"access_token": "/data/tok", "refresh_token": "/data/ref"}
			b.mustRefresh()
			b.cfg.Fields = nil
			answer := []byte(`{"access_token": "new", "refresh_token": "newer", "expires_in": 3600}`)
			b.cut(where, answer, func(c *evergrant.Config) { c.ClientID = "second" })
			s, err := evergrant.OpenFile(b.path, evergrant.Config{RescueDirs: b.cfg.RescueDirs})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			tok, err := s.Token(context.Background())
			if err != nil || (tok.AccessToken.Reveal() == "new") == (where == "intent") {
				t.Errorf("%v, %v", tok, err)
			}
		})
	}
}

// A login that was put in its place by the next run counted as a refresh that
// rotates, and what held back the grant before held back the new one.
func TestCutLoginIsALogin(t *testing.T) {
	b := newBed(t, rotating)
	b.mustRefresh()
	b.idp.Next("error=ip-restricted")
	b.refresh(evergrant.RefreshOptions{})
	g, answer := b.another()
	b.cut("answer", answer)
	b.grant = g
	if _, err := b.open(bare).TokenFor(context.Background(), 100*time.Hour); err == nil { // looks under the lock
		t.Error("a token of 100 hours")
	}
	if st := b.status(); st.State != evergrant.StateFresh && st.State != evergrant.StateUnknown || st.Rotates != "" || st.Last != "" {
		t.Errorf("after the login was put in its place: %+v", st)
	}
	b.living()
}

// The state of another user names no secret, wherever in it the reference
// stands: root would run what that user wrote.
func TestReferenceInAnothersJournalIsNotFollowed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can see the state of another user")
	}
	for _, where := range []string{"grant", "intent", "doubt"} {
		t.Run(where, func(t *testing.T) {
			b := newBed(t, rotating)
			b.mustRefresh()
			var st map[string]any
			if err := json.Unmarshal(b.readSide(), &st); err != nil {
				t.Fatal(err)
			}
			id := st["grant"].(map[string]any)
			id["client_secret_ref"], id["key_ref"] = "cmd:touch /owned", "cmd:touch /owned"
			id["login"] = map[string]any{"request_key_ref": "cmd:touch /owned"}
			if where != "grant" {
				delete(st, "grant")
				st[where] = map[string]any{"attempt": "a", "phase": "dialing", "refresh": st["refresh"], "grant": id, "tries": 1}
			}
			side, _ := json.Marshal(st)
			b.write(b.side(), side)
			for _, path := range []string{b.path, b.side()} {
				if err := os.Chown(path, 65534, 65534); err != nil {
					t.Fatal(err)
				}
			}
			s, err := evergrant.OpenFile(b.path, evergrant.Config{RescueDirs: b.cfg.RescueDirs, ResolveSecret: func(_ context.Context, ref string) (evergrant.Secret, error) {
				t.Errorf("%s was followed", ref)
				return evergrant.Secret{}, nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			before := len(b.idp.Ledger())
			if _, err := s.Refresh(context.Background(), evergrant.RefreshOptions{Replay: true}); !errors.Is(err, evergrant.ErrUsage) || len(b.idp.Ledger()) != before {
				t.Errorf("a request without the secret was made: %v", err)
			}
			if st, err := s.Status(context.Background()); err != nil || st.SecretRef != evergrant.Elsewhere+"cmd:touch /owned" || st.KeyRef != st.SecretRef || st.Login.RequestKeyRef != st.SecretRef {
				t.Errorf("%+v, %v", st, err)
			}
		})
	}
}

// The secret of the client of before was sent to the server of the one that
// somebody logged in with while the refresh waited for the lock.
func TestSecretIsTheNewClients(t *testing.T) {
	b := newBed(t, idptest.Config{Persona: idptest.Generic})
	var secrets []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secrets = append(secrets, r.FormValue("client_secret"))
		fmt.Fprint(w, `{"access_token": "c", "refresh_token": "d", "expires_in": 3600}`)
	}))
	defer other.Close()
	first := func(c *evergrant.Config) { c.SecretRef, c.AuthMethod = "env:FIRST", "post" }
	_, answer := b.another()
	b.keep(answer, first)
	var once sync.Once
	s := b.open(bare, func(c *evergrant.Config) {
		c.ResolveSecret = func(_ context.Context, ref string) (evergrant.Secret, error) {
			once.Do(func() {
				b.keep([]byte(`{"refresh_token": "b"}`), func(c *evergrant.Config) {
					c.ClientID, c.TokenURL, c.SecretRef, c.AuthMethod = "second", other.URL, "env:SECOND", "post"
				})
			})
			return evergrant.NewSecret("secret of " + ref), nil
		}
	})
	if _, err := s.Refresh(context.Background(), evergrant.RefreshOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, got := range secrets {
		if got != "secret of env:SECOND" {
			t.Errorf("the second client's server saw %q", got)
		}
	}
	if len(secrets) == 0 {
		t.Error("nothing was sent")
	}
}

// newProofKey is a key as a login writes it.
func newProofKey(t *testing.T) string {
	t.Helper()
	k, err := jose.Generate("ES256")
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := k.JWK()
	if err != nil {
		t.Fatal(err)
	}
	return jwk.Reveal()
}

// The key of a bound grant was lost, or put where it is not looked for, when the
// login went into a file of another layout: the grant was worth nothing.
func TestLoginKeepsItsKeyInAnyLayout(t *testing.T) {
	for name, tt := range map[string]struct {
		file   string
		fields map[string]string
	}{
		"plain":                  {file: `{"access_token": "a", "refresh_token": "r"}`},
		"nested":                 {`{"auth": {"access_token": "a", "refresh_token": "r"}, "mine": 1}`, map[string]string{"access_token": "/auth/access_token", "refresh_token": "/auth/refresh_token"}},
		"of other names":         {`{"tok": "a", "ref": "r", "mine": 1}`, map[string]string{"access_token": "/tok", "refresh_token": "/ref"}},
		"without a refresh name": {`{"tok": "a"}`, map[string]string{"access_token": "/tok"}},
		"Google's":               {file: `{"token": "a", "refresh_token": "r", "client_id": "app", "client_secret": "s", "type": "authorized_user"}`},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, idptest.Config{Persona: idptest.Generic})
			b.write(b.path, []byte(tt.file))
			b.cfg.Fields = tt.fields
			key := newProofKey(t)
			g, _ := b.another()
			b.keep(fmt.Appendf(nil, `{"access_token": %q, "refresh_token": %q, "token_type": "DPoP", "dpop_jwk": %s}`, g.AccessToken, g.RefreshToken, key))
			b.grant = g
			b.living()
			var doc struct {
				Key json.RawMessage `json:"dpop_jwk"`
			}
			var compact bytes.Buffer
			if json.Unmarshal(b.read(), &doc) != nil || json.Compact(&compact, doc.Key) != nil || compact.String() != key {
				t.Errorf("the key is not where it is looked for in %s", b.read())
			}
			s := b.open(bare)
			tok, err := s.Token(context.Background())
			if strings.Contains(tt.file, "tok") { // a layout that keeps no token_type
				return
			}
			if err != nil || !tok.Bound() {
				t.Errorf("the token is not bound: %v", err)
			}
		})
	}
}

// After a login without a key the one of before stayed, and no token was handed
// out any more.
func TestLoginWithoutAKeyEndsTheBinding(t *testing.T) {
	b := newBed(t, idptest.Config{Persona: idptest.Generic})
	b.keep(fmt.Appendf(nil, `{"access_token": "a", "refresh_token": "r", "token_type": "DPoP", "mine": 1, "dpop_jwk": %s}`, newProofKey(t)))
	g, answer := b.another()
	b.grant = g
	b.keep(answer)
	if tok, err := b.open(bare).Token(context.Background()); err != nil || tok.Bound() {
		t.Errorf("%v, %v", tok, err)
	}
	if _, err := b.refresh(evergrant.RefreshOptions{}, bare); err != nil || !bytes.Contains(b.read(), []byte(`"mine": 1`)) {
		t.Errorf("%v in %s", err, b.read())
	}
	b.living()
}

// A key that cannot be read counted as none: the refresh token went out without
// its proof, and the bound token as a bearer token.
func TestUnreadableKeyIsNoneOfNone(t *testing.T) {
	for name, jwk := range map[string]string{
		"a string":   `"{\"kty\":\"EC\"}"`,
		"a list":     `[]`,
		"a number":   `7`,
		"empty":      `{}`,
		"public":     `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
		"symmetric":  `{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}`,
		"cut short":  `{"kty":"EC","crv":"P-256"}`,
		"not ours":   `{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA","d":"AA"}`,
		"weak (RSA)": `{"kty":"RSA","n":"AQAB","e":"AQAB","d":"AQAB"}`,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, idptest.Config{Persona: idptest.Generic})
			b.write(b.path, fmt.Appendf(nil, `{"access_token": %q, "refresh_token": %q, "token_type": "DPoP", "dpop_jwk": %s}`, b.grant.AccessToken, b.grant.RefreshToken, jwk))
			s := b.open()
			var e *evergrant.Error
			if tok, err := s.Token(context.Background()); !errors.As(err, &e) || e.Rule != "proof-key" {
				t.Errorf("Token gives %v, %v", tok, err)
			}
			if _, err := s.Refresh(context.Background(), evergrant.RefreshOptions{}); !errors.As(err, &e) || e.Rule != "proof-key" || b.requests() != 0 {
				t.Errorf("Refresh gives %v after %d requests", err, b.requests())
			}
			if strings.Contains(e.Error(), "c2VjcmV0") {
				t.Error("the error shows the key")
			}
		})
	}
}

// A document without a place for a token took the login without it, silently.
func TestLoginThatDoesNotFitIsNotDropped(t *testing.T) {
	b := newBed(t, idptest.Config{Persona: idptest.Generic})
	b.write(b.path, []byte(`{"list": ["a"], "access_token": "x", "refresh_token": "y"}`))
	b.cfg.Fields = map[string]string{"access_token": "/list/0"}
	g, answer := b.another()
	err := evergrant.KeepFile(context.Background(), b.path, answer, b.cfg)
	if err == nil && !bytes.Contains(b.read(), []byte(g.RefreshToken)) || err != nil && !b.rescued(g.RefreshToken) {
		t.Errorf("the refresh token is neither in the file nor rescued: %v, %s", err, b.read())
	}
}

// What followed a member that came twice was left out of the file, the refresh
// token too.
func TestTwinMembersOfALogin(t *testing.T) {
	b := newBed(t, rotating)
	b.mustRefresh()
	g, _ := b.another()
	b.grant = g
	b.keep(fmt.Appendf(nil, `{"access_token": %q, "x": 1, "x": 2, "refresh_token": %q}`, g.AccessToken, g.RefreshToken))
	b.living()
}

// A time that the document had from the token before was taken for the new one's.
func TestTimesOfTheTokenBefore(t *testing.T) {
	b := newBed(t, idptest.Config{Persona: idptest.Generic})
	b.mustRefresh()
	b.write(b.path, fmt.Appendf(nil, `{"access_token": "a", "refresh_token": "r", "expires_at": %d}`, time.Now().Add(-time.Hour).Unix()))
	g, _ := b.another()
	b.keep(fmt.Appendf(nil, `{"access_token": %q, "refresh_token": %q}`, g.AccessToken, g.RefreshToken))
	if st := b.status(); st.State == evergrant.StateExpired {
		t.Errorf("the token of a login of now: %+v", st)
	}
}

// Where the answer has no lifetime, the catalog's was not counted from the
// login.
func TestLifetimeOfALogin(t *testing.T) {
	b := newBed(t, idptest.Config{Persona: idptest.Generic})
	b.path = filepath.Join(t.TempDir(), "token.json")
	b.keep([]byte(`{"access_token": "a", "refresh_token": "r"}`), func(c *evergrant.Config) { c.SessionLifetime = time.Hour })
	if st := b.status(); st.ExpiresAt.IsZero() || time.Until(st.ExpiresAt) > time.Hour {
		t.Errorf("%+v", st)
	}
}

// Members named by the user were looked for in a file that a login had just
// made in the standard layout.
func TestFieldsOfANewFile(t *testing.T) {
	b := newBed(t, rotating)
	b.path = filepath.Join(t.TempDir(), "token.json")
	g, answer := b.another()
	b.grant = g
	b.keep(answer, func(c *evergrant.Config) { c.Fields = map[string]string{"access_token": "/data/tok"} })
	if _, err := b.refresh(evergrant.RefreshOptions{}, bare); err != nil {
		t.Fatal(err)
	}
	b.living()
}

// The replaced tokens of a token file that was deleted were forgotten by the
// login that made a new one.
func TestReplacedTokensOutliveTheFile(t *testing.T) {
	b := newBed(t, rotating)
	first := b.read()
	b.mustRefresh()
	if err := os.Remove(b.path); err != nil {
		t.Fatal(err)
	}
	_, answer := b.another()
	b.keep(answer)
	b.write(b.path, first)
	if _, err := b.refresh(evergrant.RefreshOptions{}, bare); !errors.Is(err, evergrant.ErrNeedsLogin) {
		t.Errorf("the replaced token was taken: %v", err)
	}
	b.neverReused()
}

// A grant that is asked for anew and got a refresh token beside its access token
// was in doubt after a crash, or held back for a rescue file that was gone.
func TestAskedGrantWithARefreshTokenIsInNoDoubt(t *testing.T) {
	grants, _ := asking(t)
	cfg := grants["client_credentials"]
	b := newBed(t, idptest.Config{Persona: idptest.Generic, Clients: []idptest.Client{{ID: "app", Secret: "hush"}}})
	var store evergrant.Memory
	cfg.ClientID, cfg.TokenURL, cfg.RescueDirs = "app", b.cfg.TokenURL, b.cfg.RescueDirs
	ctx := context.Background()
	if err := evergrant.Keep(ctx, &store, "robot", []byte(`{"access_token": "first", "refresh_token": "useless"}`), cfg); err != nil {
		t.Fatal(err)
	}
	open := func(s evergrant.Store) *evergrant.Source {
		src, err := evergrant.Open(s, "robot", evergrant.Config{ResolveSecret: cfg.ResolveSecret, RescueDirs: []string{t.TempDir()}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { src.Close() })
		return src
	}
	for range 2 {
		s := open(&dying{Memory: &store})
		if _, err := s.Refresh(ctx, evergrant.RefreshOptions{}); err == nil {
			t.Fatal("the store that takes no answer was not noticed")
		}
		b.idp.Next("error=invalid_scope")
		if _, err := open(&store).Refresh(ctx, evergrant.RefreshOptions{}); !errors.Is(err, evergrant.ErrMisconfigured) {
			t.Fatal(err)
		}
		if st, err := open(&store).Status(ctx); err != nil || !st.DoubtSince.IsZero() || st.State == evergrant.StateInDoubt {
			t.Errorf("%+v, %v", st, err)
		}
		if r, err := open(&store).Refresh(ctx, evergrant.RefreshOptions{}); err != nil || r.Outcome != evergrant.Fresh {
			t.Errorf("the next run: %+v, %v", r, err)
		}
	}
}

// Logins of two processes into a file that is not there yet: one makes it, the
// other reconnects.
func TestLoginsAtOnce(t *testing.T) {
	b := newBed(t, idptest.Config{Persona: idptest.Generic, Habits: idptest.Habits{Rotation: true}})
	b.path = filepath.Join(t.TempDir(), "new", "token.json")
	var wg sync.WaitGroup
	ids := map[string]idptest.Grant{}
	for range 6 {
		g, answer := b.another()
		ids[g.RefreshToken] = g
		wg.Go(func() {
			if err := evergrant.KeepFile(context.Background(), b.path, answer, b.cfg); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var doc struct {
		Refresh string `json:"refresh_token"`
	}
	if err := json.Unmarshal(b.read(), &doc); err != nil {
		t.Fatal(err)
	}
	b.grant = ids[doc.Refresh]
	b.mustRefresh()
	b.living()
}

// What stands in the way of keeping a login never costs the login.
func TestLoginThatCannotBeKeptIsRescued(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for name, tt := range map[string]struct {
		ctx context.Context
		at  func(b *bed)
	}{
		"ended, new file":   {ended, func(b *bed) { b.path += ".new" }},
		"ended, reconnect":  {ended, func(*bed) {}},
		"no folder":         {context.Background(), func(b *bed) { b.path += "/below/token.json" }},
		"a dangling link":   {context.Background(), func(b *bed) { os.Symlink(b.path+".gone", b.path+".link"); b.path += ".link" }},
		"a damaged file":    {context.Background(), func(b *bed) { b.write(b.path, []byte(`{"access_token": `)) }},
		"a damaged journal": {context.Background(), func(b *bed) { b.write(b.side(), []byte(`{`)) }},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, rotating)
			tt.at(b)
			g, answer := b.another()
			err := evergrant.KeepFile(tt.ctx, b.path, answer, b.cfg)
			var e *evergrant.Error
			if !errors.As(err, &e) || !b.rescued(g.RefreshToken) {
				t.Fatalf("%v, and the login is in no rescue file", err)
			}
			if held, err := os.ReadFile(e.Path); err != nil || !bytes.Equal(held, answer) {
				t.Errorf("the error names %q: %v", e.Path, err)
			}
		})
	}
}

// An answer that cannot be read is kept for a person: it was dropped.
func TestUnreadableAnswerOfALoginIsRescued(t *testing.T) {
	for _, answer := range []string{`{"data": {"access_token": "kept-one"}}`, `{"access_token": "kept-one", "refresh_token": 7}`, `access_token=kept-one`} {
		b := newBed(t, rotating)
		var e *evergrant.Error
		err := evergrant.KeepFile(context.Background(), b.path, []byte(answer), b.cfg)
		if !errors.As(err, &e) || !errors.Is(err, evergrant.ErrFile) || !b.rescued("kept-one") || strings.Contains(err.Error(), "kept-one") {
			t.Errorf("%s: %v", answer, err)
		}
	}
}

// A login through a link goes into the file that it leads to.
func TestLoginThroughALink(t *testing.T) {
	b := newBed(t, rotating)
	link := filepath.Join(t.TempDir(), "link.json")
	if err := os.Symlink(b.path, link); err != nil {
		t.Skip("no links here:", err)
	}
	g, answer := b.another()
	if err := evergrant.KeepFile(context.Background(), link, answer, b.cfg); err != nil {
		t.Fatal(err)
	}
	b.grant = g
	b.living()
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v", err)
	}
}

// TestP7LoginLeavesNoSecret: what a login remembers are references.
func TestP7LoginLeavesNoSecret(t *testing.T) {
	grants, _ := asking(t)
	for name, cfg := range grants {
		b := newBed(t, idptest.Config{Persona: idptest.Generic})
		b.path = filepath.Join(t.TempDir(), "token.json")
		b.keep([]byte(`{"access_token": "first-token"}`), func(c *evergrant.Config) {
			c.SecretRef, c.KeyRef, c.Grant, c.AuthMethod = cfg.SecretRef, cfg.KeyRef, cfg.Grant, cfg.AuthMethod
			c.ClientSecret = evergrant.NewSecret("literal-hush")
		})
		s := b.open(func(c *evergrant.Config) { c.ResolveSecret = cfg.ResolveSecret })
		st, _ := s.Status(context.Background())
		plan, _ := s.Plan(context.Background())
		_, err := s.Refresh(context.Background(), evergrant.RefreshOptions{})
		said := fmt.Sprintf("%+v %+v %v %s", st, plan, err, b.readSide())
		for _, secret := range []string{"hush", "PRIVATE KEY", "right\"", "subject-token", "first-token"} {
			if strings.Contains(said, secret) {
				t.Errorf("%s: %q is in %s", name, secret, said)
			}
		}
	}
}

// TestLoginAfterAKilledRefresh: the answer of a refresh that was killed before it
// was in its place is put there first: the login may bring no refresh token.
func TestLoginAfterAKilledRefresh(t *testing.T) {
	b := newBed(t, rotating)
	b.mustRefresh()
	b.killed(false)
	b.keep(b.online())
	b.living()
	if _, err := b.refresh(evergrant.RefreshOptions{}, bare); err != nil {
		t.Error(err)
	}
	b.living()
	b.neverReused()
}

// TestLoginDoesNotWaitForARescueFile: what keeps a refresh from being sent does
// not keep a person from logging in.
func TestLoginDoesNotWaitForARescueFile(t *testing.T) {
	b := newBed(t, rotating)
	var side []byte
	if _, err := b.during(b.open(), func() { side = b.readSide() }); err != nil {
		t.Fatal(err)
	}
	b.write(b.path, b.grant.TokenFile())
	b.write(b.side(), bytes.Replace(side, []byte(`"sending"`), []byte(`"rescued"`), 1))
	if _, err := b.refresh(evergrant.RefreshOptions{}); !errors.Is(err, evergrant.ErrStorage) {
		t.Fatal(err)
	}
	sent := b.requests()
	b.keep(b.online())
	if _, err := b.refresh(evergrant.RefreshOptions{}, bare); err == nil || b.requests() != sent {
		t.Errorf("the refresh token in doubt was sent: %v", err)
	}
	g, answer := b.another()
	b.keep(answer)
	b.grant = g
	if _, err := b.refresh(evergrant.RefreshOptions{}, bare); err != nil {
		t.Error(err)
	}
	b.living()
}
