package evergrant

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/evergrant/evergrant/internal/tokenfile"
	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
)

// proofName is the member of a document that holds the private key (JWK) to
// which the grant is bound (RFC 9449 §5). It stands in one record with the
// refresh token, because one is worth nothing without the other.
const proofName = "dpop_jwk"

// binding is a grant's key with the nonces its servers gave.
type binding struct {
	jwk    string
	proofs *jose.Proofs
}

// proofKey is the key's JWK without white space, "" where the grant is bound to
// none. Whatever else stands in its place is given too, and fails when it is read.
func proofKey(f *tokenfile.File) string {
	v, ok, err := f.Doc().Lookup("/" + proofName)
	if !ok || err != nil || v.Kind() == 'n' {
		return ""
	}
	jwk := jsontext.Value(bytes.Clone(v.Raw()))
	if jwk.Compact() != nil { // a name twice
		return string(v.Raw())
	}
	return string(jwk)
}

// newProofs are those of a key as the document has it.
func newProofs(jwk string) (*jose.Proofs, *Error) {
	if jwk[0] != '{' { // ParseKey would take PEM and more
		return nil, unusableKey(errors.New("it is no JSON object"))
	}
	k, err := jose.ParseKey([]byte(jwk), oauth.Secret{})
	if err != nil {
		return nil, unusableKey(err)
	}
	p, err := jose.NewProofs(k)
	if err != nil {
		return nil, unusableKey(err)
	}
	return p, nil
}

// splice merges an answer into a document. A key goes to where it is looked
// for, whatever layout the document has; fields are the caller's.
func splice(f *tokenfile.File, fields tokenfile.Fields, a tokenfile.Answer) (*tokenfile.File, error) {
	bound := slices.ContainsFunc(a.Members, func(m tokenfile.Member) bool { return m.Name == proofName })
	if !bound {
		next, _, err := f.Merge(a)
		return next, err
	}
	placed := tokenfile.Fields{proofName: "/" + proofName}
	maps.Copy(placed, fields)
	wide, err := tokenfile.Open(f.Bytes(), placed)
	if err != nil {
		return nil, err
	}
	if wide, _, err = wide.Merge(a); err != nil {
		return nil, err
	}
	return tokenfile.Open(wide.Bytes(), fields)
}

// proofs are those of the document's key; nil if it has none. They are made
// once, so that nonces are kept.
func (g *engine) proofs(h *holding) (*jose.Proofs, error) {
	jwk := proofKey(h.file)
	if jwk == "" {
		return nil, nil
	}
	if b := g.bound.Load(); b != nil && b.jwk == jwk {
		return b.proofs, nil
	}
	p, unusable := newProofs(jwk)
	if unusable != nil {
		return nil, unusable
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
// its type needs a proof for which there is no key, or none that can be read, or
// it is not bound to the key it should be (RFC 9449 §5).
func (h *holding) unusable() *Error {
	kind, jwk := h.tokenType(), proofKey(h.file)
	switch {
	case jwk != "" && jose.IsDPoP(kind):
		_, err := newProofs(jwk)
		return err
	case jwk != "":
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
	return t.authorize(req.Header, req.Method, req.URL.String())
}

func (t *Token) authorize(h http.Header, method, target string) error {
	if !t.Bound() {
		h.Set("Authorization", "Bearer "+t.AccessToken.Reveal())
		return nil
	}
	proof, err := t.proofs.Header(method, target, t.AccessToken, time.Now())
	if err != nil {
		return err
	}
	h.Set("Authorization", "DPoP "+t.AccessToken.Reveal())
	h.Set("DPoP", proof)
	return nil
}
