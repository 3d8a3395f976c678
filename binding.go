package evergrant

import (
	"net/http"
	"time"

	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
)

// proofMember is the member of a document that holds the private key (JWK) to
// which the grant is bound (RFC 9449 §5). It stands in one record with the
// refresh token, because one is worth nothing without the other.
const proofMember = "/dpop_jwk"

// binding is a grant's key with the nonces its servers gave.
type binding struct {
	jwk    string
	proofs *jose.Proofs
}

// proofKey is the key's JWK, "" where the grant is bound to none.
func (h *holding) proofKey() string {
	v, ok, err := h.file.Doc().Lookup(proofMember)
	if !ok || err != nil || v.Kind() != '{' {
		return ""
	}
	return string(v.Raw())
}

// proofs are those of the document's key; nil if it has none. They are made
// once, so that nonces are kept.
func (g *engine) proofs(h *holding) (*jose.Proofs, error) {
	jwk := h.proofKey()
	if jwk == "" {
		return nil, nil
	}
	if b := g.bound.Load(); b != nil && b.jwk == jwk {
		return b.proofs, nil
	}
	k, err := jose.ParseKey([]byte(jwk), oauth.Secret{})
	if err != nil {
		return nil, unusableKey(err)
	}
	p, err := jose.NewProofs(k)
	if err != nil {
		return nil, unusableKey(err)
	}
	g.bound.Store(&binding{jwk: jwk, proofs: p})
	return p, nil
}

// prove gives a token request its proof, if the grant is bound to a key.
func (g *engine) prove(req *oauth.Request, h *holding) (*jose.Proofs, error) {
	p, err := g.proofs(h)
	if p == nil || err != nil {
		return nil, err
	}
	return p, p.Attach(req, time.Now())
}

// unusable says why the access token is not handed out although it is there:
// its type needs a proof for which there is no key, or it is not bound to the
// key it should be (RFC 9449 §5).
func (h *holding) unusable() *Error {
	kind := h.tokenType()
	switch bound := h.proofKey() != ""; {
	case bound && jose.IsDPoP(kind):
		return nil
	case bound:
		return lostBinding()
	case !bearer(kind):
		return needsProof(kind)
	}
	return nil
}

// Bound reports whether the token is bound to a key of the grant, so that each
// request needs a proof beside it (RFC 9449). [Source.Client] adds it.
func (t *Token) Bound() bool { return t.proofs != nil }

// Authorize adds the token to a request: the Authorization header and, for a
// token that is bound to a key, the proof for this one request. It replaces
// what the request has of both.
func (t *Token) Authorize(req *http.Request) error {
	if !t.Bound() {
		req.Header.Set("Authorization", "Bearer "+t.AccessToken.Reveal())
		return nil
	}
	proof, err := t.proofs.Header(req.Method, req.URL.String(), t.AccessToken, time.Now())
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "DPoP "+t.AccessToken.Reveal())
	req.Header.Set("DPoP", proof)
	return nil
}

// renonced keeps the nonce of an API's answer and reports whether the answer
// asks for nothing but it (RFC 9449 §9).
func (t *Token) renonced(req *http.Request, resp *http.Response) bool {
	return t.Bound() && t.proofs.Learn(req.URL.String(), resp.Header) && jose.WantsNonce(resp.StatusCode, resp.Header, nil)
}
