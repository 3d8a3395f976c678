// Command fosite runs an authorization server made of github.com/ory/fosite with its in-memory store, on a free port of
// 127.0.0.1: OAuth 2.0 alone, without OpenID Connect. Whoever comes to log in is approved at once. See package serve for
// how it talks.
//
// Clients: native (public, PKCE demanded), web (secret, basic).
//
// Habits worth knowing, seen with 0.49.0:
//   - every refresh replaces the refresh token, without a grace window; a spent one ends the whole grant;
//   - a refresh token is given for the scopes offline and offline_access;
//   - introspection wants Basic, with a client that has a secret.
package main

import (
	"crypto/rand"
	"encoding/json"
	"log"
	"net/http"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/storage"
	"golang.org/x/crypto/bcrypt"

	"github.com/evergrant/evergrant/interop/servers/serve"
)

// secret is what a form must escape, as RFC 6749 §2.3.1 says for Basic too.
const secret = "p%c+t:&=/? ~s"

func main() {
	serve.On("native", func(issuer string) http.Handler {
		s, err := newServer()
		if err != nil {
			log.Fatal(err)
		}
		mux := http.NewServeMux()
		mux.HandleFunc("GET /.well-known/oauth-authorization-server", metadata(issuer))
		mux.HandleFunc("GET /auth", s.authorize)
		mux.HandleFunc("POST /par", s.push)
		mux.HandleFunc("POST /token", s.token)
		mux.HandleFunc("POST /introspect", s.introspect)
		mux.HandleFunc("POST /revoke", s.revoke)
		return mux
	})
}

// server is fosite behind its endpoints.
type server struct {
	fosite.OAuth2Provider
}

func newServer() (*server, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(secret), bcrypt.MinCost)
	if err != nil {
		return nil, err
	}
	store := storage.NewMemoryStore()
	for _, c := range []*fosite.DefaultClient{{ID: "native", Public: true}, {ID: "web", Secret: hash}} {
		c.RedirectURIs = []string{"http://127.0.0.1/callback"}
		c.ResponseTypes, c.GrantTypes = []string{"code"}, []string{"authorization_code", "refresh_token", "client_credentials"}
		c.Scopes = []string{"photos", "offline_access"}
		store.Clients[c.ID] = c
	}
	config := &fosite.Config{AccessTokenLifespan: time.Hour, EnforcePKCEForPublicClients: true, GlobalSecret: make([]byte, 32)}
	rand.Read(config.GlobalSecret)
	return &server{compose.Compose(config, store, compose.NewOAuth2HMACStrategy(config),
		compose.OAuth2AuthorizeExplicitFactory, compose.OAuth2ClientCredentialsGrantFactory, compose.OAuth2RefreshTokenGrantFactory,
		compose.OAuth2TokenIntrospectionFactory, compose.OAuth2TokenRevocationFactory, compose.OAuth2PKCEFactory, compose.PushedAuthorizeHandlerFactory,
	)}, nil
}

// metadata are those of RFC 8414.
func metadata(issuer string) http.HandlerFunc {
	m := map[string]any{
		"issuer": issuer, "authorization_endpoint": issuer + "/auth", "token_endpoint": issuer + "/token",
		"introspection_endpoint": issuer + "/introspect", "revocation_endpoint": issuer + "/revoke", "pushed_authorization_request_endpoint": issuer + "/par",
		"response_types_supported": []string{"code"}, "code_challenge_methods_supported": []string{"S256"},
		"grant_types_supported": []string{"authorization_code", "refresh_token", "client_credentials"},
		"scopes_supported":      []string{"photos", "offline_access"}, "token_endpoint_auth_methods_supported": []string{"none", "client_secret_basic", "client_secret_post"},
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(m)
	}
}

func session() *fosite.DefaultSession {
	return &fosite.DefaultSession{Subject: "ada", Username: "ada"}
}

func (s *server) authorize(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	req, err := s.NewAuthorizeRequest(ctx, r)
	if err != nil {
		s.WriteAuthorizeError(ctx, w, req, err)
		return
	}
	for _, scope := range req.GetRequestedScopes() {
		req.GrantScope(scope)
	}
	res, err := s.NewAuthorizeResponse(ctx, req, session())
	if err != nil {
		s.WriteAuthorizeError(ctx, w, req, err)
		return
	}
	s.WriteAuthorizeResponse(ctx, w, req, res)
}

func (s *server) push(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	req, err := s.NewPushedAuthorizeRequest(ctx, r)
	if err != nil {
		s.WritePushedAuthorizeError(ctx, w, req, err)
		return
	}
	res, err := s.NewPushedAuthorizeResponse(ctx, req, session())
	if err != nil {
		s.WritePushedAuthorizeError(ctx, w, req, err)
		return
	}
	s.WritePushedAuthorizeResponse(ctx, w, req, res)
}

func (s *server) token(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	req, err := s.NewAccessRequest(ctx, r, session())
	if err != nil {
		s.WriteAccessError(ctx, w, req, err)
		return
	}
	if req.GetGrantTypes().ExactOne("client_credentials") {
		for _, scope := range req.GetRequestedScopes() {
			req.GrantScope(scope)
		}
	}
	res, err := s.NewAccessResponse(ctx, req)
	if err != nil {
		s.WriteAccessError(ctx, w, req, err)
		return
	}
	s.WriteAccessResponse(ctx, w, req, res)
}

func (s *server) introspect(w http.ResponseWriter, r *http.Request) {
	res, err := s.NewIntrospectionRequest(r.Context(), r, session())
	if err != nil {
		s.WriteIntrospectionError(r.Context(), w, err)
		return
	}
	s.WriteIntrospectionResponse(r.Context(), w, res)
}

func (s *server) revoke(w http.ResponseWriter, r *http.Request) {
	s.WriteRevocationResponse(r.Context(), w, s.NewRevocationRequest(r.Context(), r))
}
