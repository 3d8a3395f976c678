package login

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
)

// identity verifies the ID token of an answer to a request with the scope
// openid. Without the issuer and its keys there is no identity: claims that
// can't be checked are not handed on.
func (w *wire) identity(ctx context.Context, t *oauth.TokenAnswer, k granted) (*jose.IDToken, error) {
	token := member(t, "id_token")
	if token == "" || !slices.Contains(k.scope, "openid") || k.srv.Issuer == "" || k.srv.Keys == "" {
		return nil, nil
	}
	check := w.checker(k.srv)
	want := jose.IDTokenRequest{Now: time.Now(), Nonce: k.nonce.Reveal(), AccessToken: t.AccessToken, Code: k.code}
	var err error
	for range 2 { // a server that has just changed its keys may answer with the old set once
		if check.JWKS, err = w.cfg.HTTP.FetchJWKS(ctx, k.srv.Keys); err != nil {
			return nil, failure("fetching the server's keys", err)
		}
		var id *jose.IDToken
		if id, err = check.VerifyIDToken(token, want); err == nil {
			return id, nil
		}
		if jose.ReasonOf(err) != jose.NoKey {
			break
		}
	}
	return nil, &Error{Kind: Untrusted, Says: "the server's ID token is not to be trusted", Do: "don't go on with this login; check issuer, client id and the clock of this machine", Err: err}
}

// checker is who may sign, and how.
func (w *wire) checker(s Server) jose.Provider {
	p := jose.Provider{Issuer: s.Issuer, ClientID: w.cfg.ClientID}
	for _, alg := range s.IDTokenAlgs {
		if asymmetric(alg) {
			p.Algorithms = append(p.Algorithms, alg)
		}
	}
	return p
}

// asymmetric: what is signed with the client's own secret is not believed from
// the server's word alone.
func asymmetric(alg string) bool {
	return len(alg) == 5 && slices.Contains([]string{"RS", "PS", "ES", "Ed"}, alg[:2])
}

// member is the text of a member that is there once.
func member(t *oauth.TokenAnswer, name string) string {
	var found string
	for _, m := range t.Members {
		if m.Name != name {
			continue
		}
		if found != "" || json.Unmarshal(m.Value, &found) != nil {
			return ""
		}
	}
	return found
}
