package login

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
)

// fetchKeys has the keys for the ID token before anything is spent: an answer
// that could not be judged would have to be dropped, with the only refresh token
// that some providers ever give.
func (w *wire) fetchKeys(ctx context.Context, srv Server, scope []string) (err error) {
	if !slices.Contains(scope, "openid") || srv.Issuer == "" || srv.Keys == "" {
		return nil
	}
	w.keys, err = w.cfg.HTTP.FetchJWKS(ctx, srv.Keys)
	return failure("fetching the server's keys", err)
}

// identity verifies the ID token of an answer to a request with the scope
// openid. Without the issuer and its keys there is no identity: claims that
// can't be checked are not handed on.
func (w *wire) identity(ctx context.Context, t *oauth.TokenAnswer, k granted) (*jose.IDToken, error) {
	token := member(t, "id_token")
	if token == "" || !slices.Contains(k.scope, "openid") || k.srv.Issuer == "" || k.srv.Keys == "" {
		return nil, nil
	}
	return w.verify(ctx, k.srv, token, jose.IDTokenRequest{Now: time.Now(), Nonce: k.nonce.Reveal(), AccessToken: t.AccessToken, Code: k.code})
}

// hybrid verifies the ID token of a callback (OpenID Connect Core §3.3.2) before
// its code is redeemed: it says who answered, and that the code is theirs. Where
// the server's keys are not known it is not read; then only an iss can have said
// who answered.
func (w *wire) hybrid(ctx context.Context, cb *oauth.Callback, k granted) error {
	token := cb.Params.Get("id_token")
	if token == "" {
		return nil
	}
	if k.srv.Issuer == "" || k.srv.Keys == "" {
		if k.srv.IssRequired && !cb.Params.Has("iss") {
			return &Error{Kind: Untrusted, Says: "the callback does not say which server it comes from", Do: "leave id_token out of response_type", Err: oauth.ErrIssuer}
		}
		return nil
	}
	_, err := w.verify(ctx, k.srv, token, jose.IDTokenRequest{Now: time.Now(), Nonce: k.nonce.Reveal(), Code: cb.Code})
	return err
}

func (w *wire) verify(ctx context.Context, srv Server, token string, want jose.IDTokenRequest) (*jose.IDToken, error) {
	check := w.checker(srv)
	check.JWKS = w.keys
	var err error
	for range 3 { // a server that has just changed its keys may answer with the old set once
		if check.JWKS == nil {
			if check.JWKS, err = w.cfg.HTTP.FetchJWKS(ctx, srv.Keys); err != nil {
				return nil, failure("fetching the server's keys", err)
			}
		}
		var id *jose.IDToken
		if id, err = check.VerifyIDToken(token, want); err == nil {
			return id, nil
		}
		if jose.ReasonOf(err) != jose.NoKey {
			break
		}
		check.JWKS = nil
	}
	return nil, &Error{Kind: Untrusted, Says: "the server's ID token is not to be trusted", Do: "don't go on with this login; check issuer, client id and the clock of this machine", Err: err}
}

// clockLeeway is how wrong this machine's clock may be: by the time the ID token
// is looked at, the code is spent. Nonce and code say that the token is of this
// login; its times add little.
const clockLeeway = 5 * time.Minute

// checker is who may sign, and how.
func (w *wire) checker(s Server) jose.Provider {
	p := jose.Provider{Issuer: s.Issuer, ClientID: w.cfg.ClientID, Leeway: clockLeeway}
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
