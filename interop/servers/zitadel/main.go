// Command zitadel runs the OpenID provider of github.com/zitadel/oidc with the storage of its own example, on a free port
// of 127.0.0.1. Whoever comes to log in is approved at once. See package serve for how it talks.
//
//	zitadel JWKS    public keys of the clients that sign, as a file
//
// Clients: native (public, PKCE), web (secret, basic), signer (private_key_jwt), device (secret, basic), service (the issuer
// of assertions; subject and issuer are the same here), sid1 (client credentials, made by the example).
//
// Habits worth knowing, seen with 3.51.17:
//   - every refresh replaces the refresh token, without a grace window; a spent one fails and nothing else happens;
//   - an ID token comes with each refresh, without the nonce;
//   - the refresh token of a device login is no good: the example's storage forgets which client it is for;
//   - metadata name no iss parameter, and none is sent.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/evergrant/evergrant/interop/servers/serve"
)

func main() {
	serve.On("native", func(issuer string) http.Handler {
		keys, err := readKeys(os.Args[1])
		if err != nil {
			log.Fatal(err)
		}
		h, err := handler(issuer, keys)
		if err != nil {
			log.Fatal(err)
		}
		return h
	})
}

func readKeys(path string) (keys jose.JSONWebKeySet, err error) {
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &keys)
	}
	return keys, err
}

func handler(issuer string, keys jose.JSONWebKeySet) (http.Handler, error) {
	storage.RegisterClients(storage.DeviceClient("device", "")) // its device flow asks its own list whether there is one
	s := &store{storage.NewStorage(storage.NewUserStore(issuer)), keys}
	config := &op.Config{
		CodeMethodS256: true, AuthMethodPost: true, AuthMethodPrivateKeyJWT: true, GrantTypeRefreshToken: true, RequestObjectSupported: true,
		DeviceAuthorization: op.DeviceAuthorizationConfig{Lifetime: time.Minute, PollInterval: time.Second, UserFormPath: "/device", UserCode: op.UserCodeBase20},
	}
	rand.Read(config.CryptoKey[:])
	provider, err := op.NewProvider(config, s, op.StaticIssuer(issuer), op.WithAllowInsecure(), op.WithCustomTokenEndpoint(op.NewEndpoint("token")))
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/approve", func(w http.ResponseWriter, r *http.Request) {
		id := r.FormValue("id")
		if err := s.CheckUsernamePassword("test-user@127.0.0.1", "verysecure", id); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		http.Redirect(w, r, op.AuthCallbackURL(provider)(op.ContextWithIssuer(r.Context(), issuer), id), http.StatusFound)
	})
	mux.HandleFunc("/device", func(w http.ResponseWriter, r *http.Request) {
		if err := s.CompleteDeviceAuthorization(r.Context(), r.FormValue("user_code"), "id1"); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	mux.Handle("/", provider)
	return mux, nil
}

// store is the example's, with clients of our own.
type store struct {
	*storage.Storage
	keys jose.JSONWebKeySet
}

var errUnknown = errors.New("unknown client, secret or key")

func (s *store) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	if c, ok := clients[id]; ok {
		return c, nil
	}
	return nil, errUnknown
}

func (s *store) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	if c, ok := clients[id]; ok && c.secret != "" && c.secret == secret {
		return nil
	}
	return errUnknown
}

func (s *store) GetKeyByIDAndClientID(_ context.Context, keyID, clientID string) (*jose.JSONWebKey, error) {
	if clientID == "signer" || clientID == "service" {
		for _, k := range s.keys.Key(keyID) {
			return &k, nil
		}
	}
	return nil, errUnknown
}

// secret is what a form must escape, as RFC 6749 §2.3.1 says for Basic too.
const secret = "p%c+t:&=/? ~s"

var clients = map[string]*client{
	"native": {id: "native", auth: oidc.AuthMethodNone, grants: []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken}},
	"web":    {id: "web", auth: oidc.AuthMethodBasic, secret: secret, grants: []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken, oidc.GrantTypeTokenExchange}},
	"signer": {id: "signer", auth: oidc.AuthMethodPrivateKeyJWT, grants: []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken}},
	"device": {id: "device", auth: oidc.AuthMethodBasic, secret: secret, grants: []oidc.GrantType{oidc.GrantTypeDeviceCode, oidc.GrantTypeRefreshToken}},
}

// client is the registration of one.
type client struct {
	id, secret string
	auth       oidc.AuthMethod
	grants     []oidc.GrantType
}

func (c *client) GetID() string                    { return c.id }
func (c *client) RedirectURIs() []string           { return []string{"http://127.0.0.1/callback"} }
func (c *client) PostLogoutRedirectURIs() []string { return nil }
func (c *client) AuthMethod() oidc.AuthMethod      { return c.auth }
func (c *client) ResponseTypes() []oidc.ResponseType {
	return []oidc.ResponseType{oidc.ResponseTypeCode}
}
func (c *client) GrantTypes() []oidc.GrantType         { return c.grants }
func (c *client) LoginURL(id string) string            { return "/approve?id=" + id }
func (c *client) AccessTokenType() op.AccessTokenType  { return op.AccessTokenTypeBearer }
func (c *client) IDTokenLifetime() time.Duration       { return time.Hour }
func (c *client) DevMode() bool                        { return false }
func (c *client) IsScopeAllowed(string) bool           { return false }
func (c *client) IDTokenUserinfoClaimsAssertion() bool { return false }
func (c *client) ClockSkew() time.Duration             { return 0 }
func (c *client) ApplicationType() op.ApplicationType {
	if c.id == "device" { // a device must not authenticate if it is native
		return op.ApplicationTypeWeb
	}
	return op.ApplicationTypeNative // whose redirect may have any port
}
func (c *client) RestrictAdditionalIdTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}
func (c *client) RestrictAdditionalAccessTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}
