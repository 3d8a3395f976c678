package jose

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	gojose "github.com/go-jose/go-jose/v4"

	"github.com/evergrant/evergrant/oauth"
)

// claims are the payload of a JWT, header what its protected header has beyond
// alg.
type (
	claims map[string]any
	header map[string]any
)

// sign makes a compact JWS (RFC 7515 §7.1). With embed the public key stands in
// the header (jwk) instead of the key's id.
func (k *Key) sign(h header, c claims, embed bool) (string, error) {
	if k == nil || k.signer() == nil {
		return "", errNoKey
	}
	m := k.get()
	if !embed && m.id != "" && h["kid"] == nil {
		h["kid"] = m.id
	}
	return compact(gojose.SigningKey{Algorithm: gojose.SignatureAlgorithm(m.alg), Key: m.signer}, h, c, embed)
}

// signSecret is sign with a client secret: HS256. A secret shorter than the
// hash is refused (RFC 7518 §3.2): each signature would let an eavesdropper
// guess it offline.
func signSecret(secret oauth.Secret, h header, c claims) (string, error) {
	if n := len(secret.Reveal()); n < 32 {
		return "", fmt.Errorf("the client secret has %d bytes, HS256 needs 32 (RFC 7518 §3.2)", n)
	}
	return compact(gojose.SigningKey{Algorithm: gojose.HS256, Key: []byte(secret.Reveal())}, h, c, false)
}

func compact(key gojose.SigningKey, h header, c claims, embed bool) (string, error) {
	opts := &gojose.SignerOptions{EmbedJWK: embed}
	for name, value := range h {
		opts.WithHeader(gojose.HeaderKey(name), value)
	}
	signer, err := gojose.NewSigner(key, opts)
	if err != nil {
		return "", errors.New("the key and its algorithm don't fit together")
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", errors.New("a claim can't be expressed in JSON")
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", errors.New("a header parameter can't be expressed in JSON, or the signature failed")
	}
	return jws.CompactSerialize()
}

// certHeader adds what tells a server which certificate the key belongs to.
func (k *Key) certHeader(h header, which CertHeader) error {
	if which == 0 {
		return nil
	}
	if k == nil || len(k.Certificates()) == 0 {
		return errors.New("no certificate came with the key, and the header is to name one")
	}
	chain := k.get().chain
	leaf := chain[0]
	if which&X5TS256 != 0 {
		h["x5t#S256"] = certHash(leaf)
	}
	if which&X5T != 0 {
		sum := sha1.Sum(leaf.Raw) // RFC 7515 §4.1.7 has no other; a name, not a proof
		h["x5t"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if which&X5C != 0 {
		var list []string
		for _, c := range chain {
			list = append(list, base64.StdEncoding.EncodeToString(c.Raw))
		}
		h["x5c"] = list
	}
	return nil
}

// newID is a fresh jti: 130 bits (RFC 7519 §4.1.7).
func newID() string { return rand.Text() }
