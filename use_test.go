package evergrant_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
	"github.com/evergrant/evergrant/oauth"
)

// endpoints makes a bed's grant know the simulator's other endpoints.
func (b *bed) endpoints(p idptest.Persona) func(*evergrant.Config) {
	at := b.base
	if p == idptest.Salesforce {
		at += "/services/oauth2"
	}
	return func(c *evergrant.Config) {
		c.Endpoints = evergrant.Endpoints{Revoke: at + "/revoke", Introspect: at + "/introspect", Userinfo: at + "/userinfo"}
	}
}

// TestRFC7009Revoke: the refresh token goes first and the grant with it; no
// token is handed out or sent afterwards, and the file keeps every byte.
func TestRFC7009Revoke(t *testing.T) {
	for _, persona := range []idptest.Persona{idptest.Generic, idptest.Salesforce} {
		t.Run(string(persona), func(t *testing.T) {
			b := newBed(t, idptest.Config{Persona: persona})
			s := b.open(b.endpoints(persona))
			if _, err := s.Refresh(context.Background(), evergrant.RefreshOptions{}); err != nil {
				t.Fatal(err)
			}
			before := string(b.read())
			for range 2 { // a second one finds nothing to end, which is as good
				if err := s.Revoke(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			if st := b.idp.GrantState(b.grant.ID); !st.Revoked {
				t.Error("the grant lives on")
			}
			if string(b.read()) != before {
				t.Error("the file was changed")
			}
			sent := len(b.idp.TokenRequests(b.grant.ID))
			for name, src := range map[string]*evergrant.Source{"the same source": s, "another": b.open()} {
				if _, err := src.Token(context.Background()); !errors.Is(err, evergrant.ErrNeedsLogin) {
					t.Errorf("%s gives %v", name, err)
				}
				if _, err := src.Refresh(context.Background(), evergrant.RefreshOptions{}); !errors.Is(err, evergrant.ErrNeedsLogin) {
					t.Errorf("a refresh by %s gives %v", name, err)
				}
			}
			if n := len(b.idp.TokenRequests(b.grant.ID)); n != sent {
				t.Errorf("%d requests were sent for a grant that was revoked", n-sent)
			}
		})
	}
}

// TestRevokeThenLogin: a login after a revocation is a new grant.
func TestRevokeThenLogin(t *testing.T) {
	b := newBed(t, idptest.Config{Persona: idptest.Generic})
	s := b.open(b.endpoints(idptest.Generic))
	if err := s.Revoke(context.Background()); err != nil {
		t.Fatal(err)
	}
	g, answer := b.another()
	b.grant = g
	if err := evergrant.KeepFile(context.Background(), b.path, answer, b.cfg); err != nil {
		t.Fatal(err)
	}
	if tok, err := s.Token(context.Background()); err != nil || tok.AccessToken.Reveal() != g.AccessToken {
		t.Errorf("after the login: %v", err)
	}
}

// TestRevokeRefused: an error says whether it can be tried again, and leaves the
// grant as it was (RFC 7009 §2.2.1).
func TestRevokeRefused(t *testing.T) {
	for name, row := range map[string]struct {
		status int
		change func(*evergrant.Config)
		class  error
	}{
		"503":            {503, nil, evergrant.ErrTemporary},
		"500":            {500, nil, evergrant.ErrTemporary},
		"404":            {404, nil, evergrant.ErrMisconfigured},
		"nobody listens": {0, func(c *evergrant.Config) { c.Endpoints.Revoke = "http://127.0.0.1:1/revoke" }, evergrant.ErrTemporary},
		"no endpoint":    {0, func(c *evergrant.Config) { c.Endpoints = evergrant.Endpoints{} }, evergrant.ErrUsage},
		"plain http":     {0, func(c *evergrant.Config) { c.Endpoints.Revoke = "http://idp.example/revoke" }, evergrant.ErrMisconfigured},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, idptest.Config{Persona: idptest.Generic, Habits: idptest.Habits{RevokeStatus: row.status}})
			change := []func(*evergrant.Config){b.endpoints(idptest.Generic)}
			if row.change != nil {
				change = append(change, row.change)
			}
			s := b.open(change...)
			err := s.Revoke(context.Background())
			if !errors.Is(err, row.class) {
				t.Fatalf("it gives %v", err)
			}
			var e *evergrant.Error
			if !errors.As(err, &e) || e.Do == "" || strings.Contains(err.Error(), b.grant.RefreshToken) {
				t.Errorf("no next step, or a token in %v", err)
			}
			if row.status == 503 && e.RetryAfter != time.Second {
				t.Errorf("the provider's Retry-After came as %v", e.RetryAfter)
			}
			b.living()
			if _, err := s.Refresh(context.Background(), evergrant.RefreshOptions{}); err != nil {
				t.Errorf("refreshing afterwards: %v", err)
			}
		})
	}
}

// TestRevokeInDoubt: a grant whose reply was lost can be ended, and where the
// server knows the family of a spent token the lost one ends with it.
func TestRevokeInDoubt(t *testing.T) {
	b := newBed(t, idptest.Config{Persona: idptest.Generic, Habits: idptest.Habits{Rotation: true}})
	b.idp.Next("lost")
	if _, err := b.refresh(evergrant.RefreshOptions{}); err == nil {
		t.Fatal("the lost reply was not noticed")
	}
	s := b.open(b.endpoints(idptest.Generic))
	if err := s.Revoke(context.Background()); err != nil {
		t.Fatal(err)
	}
	if !b.idp.GrantState(b.grant.ID).Revoked {
		t.Error("the grant lives on")
	}
	if st, err := s.Status(context.Background()); err != nil || st.State != evergrant.StateNeedsLogin || !st.DoubtSince.IsZero() {
		t.Errorf("status %+v, %v", st, err)
	}
}

// accessOnly is a server that revokes access tokens and no others (RFC 7009
// §2.2.1).
func accessOnly(t *testing.T) (url string, asked *[]string) {
	asked = new([]string)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.FormValue("token_type_hint"))
		if r.FormValue("token_type_hint") == "refresh_token" {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":"unsupported_token_type"}`)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

// TestRevokeAccessTokensOnly: where refresh tokens cannot be revoked the grant
// is not said to have ended.
func TestRevokeAccessTokensOnly(t *testing.T) {
	at, asked := accessOnly(t)
	b := newBed(t, idptest.Config{Persona: idptest.Generic})
	s := b.open(func(c *evergrant.Config) { c.Endpoints.Revoke = at })
	err := s.Revoke(context.Background())
	var e *evergrant.Error
	if !errors.As(err, &e) || e.Rule != "revocation-partial" {
		t.Errorf("it gives %v", err)
	}
	if got := strings.Join(*asked, " "); got != "refresh_token access_token" {
		t.Errorf("asked for %s", got)
	}
	b.living()
	if r, err := s.TokenFor(context.Background(), 0); err != nil || r.Outcome != evergrant.Fresh {
		t.Errorf("the ended access token is not replaced: %+v, %v", r, err)
	}
}

// TestRevokeWithoutRefreshToken: the access token is revoked where there is no
// other; a grant that asks anew can do so.
func TestRevokeWithoutRefreshToken(t *testing.T) {
	grants, public := asking(t)
	cfg := grants["client_credentials"]
	b := newBed(t, idptest.Config{Persona: idptest.Generic, Clients: []idptest.Client{{ID: "app", Secret: "hush", PublicKey: public}}})
	var store evergrant.Memory
	cfg.ClientID, cfg.TokenURL, cfg.RescueDirs = "app", b.cfg.TokenURL, b.cfg.RescueDirs
	b.endpoints(idptest.Generic)(&cfg)
	if err := evergrant.Keep(context.Background(), &store, "robot", []byte(`{"access_token": null}`), cfg); err != nil {
		t.Fatal(err)
	}
	s, err := evergrant.Open(&store, "robot", evergrant.Config{ResolveSecret: cfg.ResolveSecret, RescueDirs: cfg.RescueDirs})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var e *evergrant.Error
	if err := s.Revoke(context.Background()); !errors.As(err, &e) || e.Rule != "no-token" {
		t.Errorf("without a token: %v", err)
	}
	first, err := s.Token(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Revoke(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, _, living := b.idp.FindAccess(first.AccessToken.Reveal()); living {
		t.Error("the access token lives on")
	}
	next, err := s.Token(context.Background())
	if err != nil || next.AccessToken.Reveal() == first.AccessToken.Reveal() {
		t.Errorf("asking anew: %v", err)
	}
}

// TestRevokeStops: whoever waits for another process gives up with its context,
// and nothing is sent.
func TestRevokeStops(t *testing.T) {
	b := newBed(t, idptest.Config{Persona: idptest.Generic})
	s, other := b.open(), b.open(b.endpoints(idptest.Generic))
	b.during(s, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if err := other.Revoke(ctx); !errors.Is(err, evergrant.ErrTemporary) {
			t.Errorf("it gives %v", err)
		}
	})
	b.living()
}

// TestRFC7662Introspect tells of the token that is asked about, by the client
// that the grant is for.
func TestRFC7662Introspect(t *testing.T) {
	for _, persona := range []idptest.Persona{idptest.Generic, idptest.Salesforce} {
		t.Run(string(persona), func(t *testing.T) {
			b := newBed(t, idptest.Config{Persona: persona, Clients: []idptest.Client{{ID: "app", Secret: "hush"}}})
			s := b.open(b.endpoints(persona), func(c *evergrant.Config) { c.ClientSecret = evergrant.NewSecret("hush") })
			for refreshToken, kind := range map[bool]string{false: "access", true: "refresh"} {
				i, err := s.Introspect(context.Background(), refreshToken)
				if err != nil || !i.Active || i.ClientID != "app" || i.Subject == "" {
					t.Fatalf("the %s token: %+v, %v", kind, i, err)
				}
				if refreshToken == !i.Expires.IsZero() {
					t.Errorf("the %s token ends at %v", kind, i.Expires)
				}
			}
			if err := b.idp.Revoke(b.grant.ID, "a test"); err != nil {
				t.Fatal(err)
			}
			if i, err := s.Introspect(context.Background(), false); err != nil || i.Active {
				t.Errorf("of a grant that has ended: %+v, %v", i, err)
			}
			if st, err := s.Status(context.Background()); err != nil || st.State == evergrant.StateNeedsLogin {
				t.Errorf("an answer that is no verdict ended the grant: %+v, %v", st, err)
			}
		})
	}
}

// TestIntrospectRefused: without the client's secret, and without an endpoint.
func TestIntrospectRefused(t *testing.T) {
	b := newBed(t, idptest.Config{Persona: idptest.Generic, Clients: []idptest.Client{{ID: "app", Secret: "hush"}}})
	wrong := func(c *evergrant.Config) { c.ClientSecret = evergrant.NewSecret("wrong") }
	if _, err := b.open(b.endpoints(idptest.Generic), wrong).Introspect(context.Background(), false); !errors.Is(err, evergrant.ErrMisconfigured) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("with a wrong secret: %v", err)
	}
	if _, err := b.open().Introspect(context.Background(), false); !errors.Is(err, evergrant.ErrUsage) {
		t.Errorf("without an endpoint: %v", err)
	}
	b.write(b.path, []byte(`{"access_token": "a", "client_id": "app"}`))
	if _, err := b.open(b.endpoints(idptest.Generic)).Introspect(context.Background(), true); !errors.Is(err, evergrant.ErrUsage) {
		t.Errorf("without a refresh token: %v", err)
	}
}

// TestUserinfo: by the endpoint, and by the identity URL of a Salesforce grant;
// a token that has ended is renewed first.
func TestUserinfo(t *testing.T) {
	for _, persona := range []idptest.Persona{idptest.Generic, idptest.Salesforce} {
		t.Run(string(persona), func(t *testing.T) {
			b := newBed(t, idptest.Config{Persona: persona})
			change := []func(*evergrant.Config){}
			if persona == idptest.Generic {
				change = append(change, b.endpoints(persona))
			}
			if _, err := b.refresh(evergrant.RefreshOptions{}); err != nil {
				t.Fatal(err)
			}
			u, err := b.open(change...).Userinfo(context.Background())
			if err != nil || u.Subject == "" || len(u.Members) == 0 {
				t.Fatalf("it gives %v, %v", u, err)
			}
			if text := fmt.Sprintf("%v %+v", u, u.Members); strings.Contains(text, "Simulated User") {
				t.Error("printing it shows claims")
			}
		})
	}
}

// TestIdentityURLOfAnotherHost: no access token goes where only the document
// says that it should.
func TestIdentityURLOfAnotherHost(t *testing.T) {
	reached := false
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer thief.Close()
	b := newBed(t, idptest.Config{})
	b.write(b.path, []byte(strings.Replace(string(b.read()), b.base+"/id/", thief.URL+"/id/", 1)))
	if !strings.Contains(string(b.read()), thief.URL) {
		t.Fatal("the document has no identity URL")
	}
	if _, err := b.open(func(c *evergrant.Config) { c.Provider = "" }).Userinfo(context.Background()); !errors.Is(err, evergrant.ErrUsage) || reached {
		t.Errorf("reached %v, %v", reached, err)
	}
}

// TestOIDC532UserinfoSubject: an answer about somebody else than the ID token is
// dropped (OpenID Connect Core §5.3.2).
func TestOIDC532UserinfoSubject(t *testing.T) {
	for sub, class := range map[string]error{"ann": nil, "mallory": evergrant.ErrMisconfigured} {
		t.Run(sub, func(t *testing.T) {
			who := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprintf(w, `{"sub": %q}`, sub)
			}))
			defer who.Close()
			b := newBed(t, idptest.Config{Persona: idptest.Generic})
			part := base64.RawURLEncoding.EncodeToString
			id := part([]byte(`{"alg":"RS256"}`)) + "." + part([]byte(`{"sub":"ann"}`)) + "." + part([]byte("signature"))
			_, answer := b.another()
			b.write(b.path, fmt.Appendf(nil, `%s, "id_token": %q}`, strings.TrimSuffix(string(answer), "}"), id))
			_, err := b.open(func(c *evergrant.Config) { c.Endpoints.Userinfo = who.URL }).Userinfo(context.Background())
			if class == nil && err != nil || class != nil && !errors.Is(err, class) {
				t.Errorf("it gives %v", err)
			}
		})
	}
}

// TestUserinfoRefused: a rejected token is a failure with a next step.
func TestUserinfoRefused(t *testing.T) {
	for status, class := range map[int]error{503: evergrant.ErrTemporary, 403: evergrant.ErrMisconfigured} {
		b := newBed(t, idptest.Config{Persona: idptest.Generic, Habits: idptest.Habits{ResourceStatus: status}})
		_, err := b.open(b.endpoints(idptest.Generic)).Userinfo(context.Background())
		var e *evergrant.Error
		if !errors.Is(err, class) || !errors.As(err, &e) || e.Do == "" {
			t.Errorf("%d gives %v", status, err)
		}
	}
}

// TestUserinfoOfAnEndedGrant: the access token is refused because the grant has
// ended, which only a login mends.
func TestUserinfoOfAnEndedGrant(t *testing.T) {
	b := newBed(t, rotating)
	b.mustRefresh()
	b.idp.Revoke(b.grant.ID, "by hand")
	if _, err := b.open().Userinfo(context.Background()); !errors.Is(err, evergrant.ErrMisconfigured) { // nobody knows yet
		t.Errorf("before a refresh: %v", err)
	}
	if _, err := b.refresh(evergrant.RefreshOptions{}); !errors.Is(err, evergrant.ErrNeedsLogin) {
		t.Fatal(err)
	}
	if _, err := b.open().Userinfo(context.Background()); !errors.Is(err, evergrant.ErrNeedsLogin) {
		t.Errorf("after it: %v", err)
	}
}

// TestEndpointsAreRemembered: they need not be said again.
func TestEndpointsAreRemembered(t *testing.T) {
	b := newBed(t, idptest.Config{Persona: idptest.Generic})
	if _, err := b.refresh(evergrant.RefreshOptions{}, b.endpoints(idptest.Generic)); err != nil {
		t.Fatal(err)
	}
	b.cfg = evergrant.Config{RescueDirs: b.cfg.RescueDirs}
	if _, err := b.open().Userinfo(context.Background()); err != nil {
		t.Error(err)
	}
	if err := b.open().Revoke(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestDocument: it is the whole document, and shows itself to nobody.
func TestDocument(t *testing.T) {
	b := newBed(t, idptest.Config{})
	d, err := b.open().Document(context.Background())
	if err != nil || d.Reveal() != string(b.read()) {
		t.Errorf("it is not what the file holds: %v", err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", d, d, d, d); strings.Contains(text, b.grant.RefreshToken) {
		t.Error("printing it shows tokens")
	}
	var _ oauth.Secret = d
}

// TestEndpointsOfAnotherHost: where the token endpoint is not the catalog's, no
// token goes to the catalog's other endpoints: they belong to another server,
// which would call it invalid, and that passes for revoked.
func TestEndpointsOfAnotherHost(t *testing.T) {
	b := newBed(t, idptest.Config{})
	if err := b.open().Revoke(context.Background()); !errors.Is(err, evergrant.ErrUsage) {
		t.Errorf("revoking gives %v", err)
	}
	if _, err := b.open().Introspect(context.Background(), false); !errors.Is(err, evergrant.ErrUsage) {
		t.Errorf("introspecting gives %v", err)
	}
	b.living()
}
