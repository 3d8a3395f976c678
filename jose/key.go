// Package jose makes and checks everything signed that OAuth needs: JWT
// assertions (RFC 7523), client authentication by key (private_key_jwt), DPoP
// proofs (RFC 9449), request objects (RFC 9101), ID tokens and signed
// authorization responses (JARM).
//
// Begin with [ParseKey], which reads a private key in any of the usual files,
// or [Generate]. Then [PrivateKeyJWT] for a client that authenticates by key,
// [Assertion.Sign] for the JWT bearer grant, [NewProofs] for DPoP,
// [Provider.VerifyIDToken] for what a login brings back.
//
// The package promises: private keys are RSA of at least 2048 bits, P-256,
// P-384, P-521 or Ed25519; nothing is signed or accepted with "none"; every
// signed thing has an own jti; no error and no printed value holds a key, a
// secret, a token or a password.
//
// It sends and stores nothing, so it doesn't fetch key sets either. It doesn't
// decrypt (JWE), and knows no secp256k1, Ed448 or ML-DSA.
package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	gojose "github.com/go-jose/go-jose/v4"

	"github.com/evergrant/evergrant/oauth"
)

const (
	minRSA = 2048 // bits (RFC 7518 §3.3)
	maxRSA = 8192 // beyond it a signature takes a second
)

// Key is a private key with the algorithm it signs with and, where they are
// known, its id and certificates. It doesn't change: With… methods return
// another Key. However it is printed or marshalled, only the algorithm and the
// id show; [Key.JWK] gives the key itself. The zero Key can't sign.
type Key struct {
	// A function, because fmt prints unexported fields of a struct that holds a
	// Key without asking our Format: it then shows an address. A pointer won't
	// do: with a verb that doesn't suit it, fmt follows it.
	hidden func() *material
}

type material struct {
	signer  crypto.Signer
	id, alg string
	chain   []*x509.Certificate // leaf first
	account ServiceAccount
}

// signer returns the private key, or nil.
func (k Key) signer() crypto.Signer { return k.get().signer }

func hide(m *material) *Key { return &Key{func() *material { return m }} }

// get returns what the key holds: nothing for the zero Key, but never nil.
func (k Key) get() *material {
	if k.hidden == nil {
		return &material{}
	}
	return k.hidden()
}

// Generate makes a new key for ES256 (also if alg is ""), ES384, ES512, EdDSA
// (Ed25519), or RS256, RS384, RS512, PS256, PS384, PS512 (2048 bits). Its id is
// its thumbprint.
func Generate(alg string) (*Key, error) {
	var signer crypto.Signer
	var err error
	switch alg {
	case "":
		alg = "ES256"
		fallthrough
	case "ES256":
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		signer, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		signer, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
		signer, err = rsa.GenerateKey(rand.Reader, minRSA)
	default:
		return nil, fmt.Errorf("generating key: unknown algorithm %.20q (ES256, ES384, ES512, EdDSA, RS256 … PS512)", alg)
	}
	if err != nil {
		return nil, fmt.Errorf("generating key: %w", err)
	}
	m := &material{signer: signer, alg: alg}
	m.id = m.thumbprint()
	return hide(m), nil
}

// newKey checks a private key and gives it the first algorithm that fits it.
func newKey(private any) (*Key, error) {
	algs, err := algorithmsOf(private)
	if err != nil {
		return nil, err
	}
	return hide(&material{signer: private.(crypto.Signer), alg: algs[0]}), nil
}

// algorithmsOf lists what a private or public key can be used with (RFC 7518
// §3.1, RFC 8037 §3.1), and refuses weak and unknown ones.
func algorithmsOf(key any) ([]string, error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return algorithmsOf(&k.PublicKey)
	case *ecdsa.PrivateKey:
		return algorithmsOf(&k.PublicKey)
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSA || n > maxRSA {
			return nil, fmt.Errorf("the RSA key has %d bits, from %d to %d are accepted (RFC 7518 §3.3)", n, minRSA, maxRSA)
		}
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return []string{"ES256"}, nil
		case elliptic.P384():
			return []string{"ES384"}, nil
		case elliptic.P521():
			return []string{"ES512"}, nil
		}
		return nil, errors.New("the curve is none of P-256, P-384, P-521")
	case ed25519.PrivateKey, ed25519.PublicKey:
		return []string{"EdDSA"}, nil
	}
	return nil, errors.New("the key is none of RSA, ECDSA, Ed25519")
}

// ID is the key's id (kid), or "".
func (k Key) ID() string { return k.get().id }

// WithID returns the key with another id; "" takes it away.
func (k Key) WithID(id string) *Key {
	m := k.copied()
	m.id = id
	return hide(m)
}

// Algorithm is what the key signs with (RFC 7518 §3.1), or "" for the zero Key.
func (k Key) Algorithm() string { return k.get().alg }

// WithAlgorithm returns the key with another algorithm of its kind: an RSA key
// signs RS256 unless told to sign, for example, PS256.
func (k Key) WithAlgorithm(alg string) (*Key, error) {
	m := k.copied()
	algs, err := algorithmsOf(m.signer)
	if err != nil {
		return nil, fmt.Errorf("choosing algorithm: %w", err)
	}
	if alg == "Ed25519" { // the name of RFC 9864 for the same
		alg = "EdDSA"
	}
	if !slices.Contains(algs, alg) {
		return nil, fmt.Errorf("choosing algorithm: the key can sign %q, not %.20q", algs, alg)
	}
	m.alg = alg
	return hide(m), nil
}

// copied gives a material of one's own, without a signer for the zero Key.
func (k Key) copied() *material {
	m := *k.get()
	return &m
}

// Certificates returns the chain that came with the key, the key's own
// certificate first, or nil.
func (k Key) Certificates() []*x509.Certificate { return slices.Clone(k.get().chain) }

// TLSCertificate returns the key and its chain for mutual TLS (RFC 8705). ok is
// false if no certificate came with the key.
func (k Key) TLSCertificate() (cert tls.Certificate, ok bool) {
	m := k.get()
	if len(m.chain) == 0 {
		return tls.Certificate{}, false
	}
	for _, c := range m.chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	cert.PrivateKey, cert.Leaf = m.signer, m.chain[0]
	return cert, true
}

// ServiceAccount tells what else stood in a Google service-account file; zero
// for a key of another kind.
func (k Key) ServiceAccount() ServiceAccount { return k.get().account }

// Thumbprint is the SHA-256 thumbprint of the public key (RFC 7638), base64url:
// the jkt of a DPoP binding. "" for the zero Key.
func (k Key) Thumbprint() string { return k.get().thumbprint() }

func (m *material) thumbprint() string {
	if m.signer == nil {
		return ""
	}
	return thumbprint(gojose.JSONWebKey{Key: m.signer.Public()})
}

// Thumbprint is the SHA-256 thumbprint (RFC 7638), base64url, of a public or
// private JWK.
func Thumbprint(jwk []byte) (string, error) {
	var k gojose.JSONWebKey
	if err := k.UnmarshalJSON(jwk); err != nil {
		return "", errors.New("taking thumbprint: this is not a JWK of a known kind")
	}
	sum := thumbprint(k)
	if sum == "" {
		return "", errors.New("taking thumbprint: this is not an asymmetric key")
	}
	return sum, nil
}

func thumbprint(k gojose.JSONWebKey) string {
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// JWK returns the private key as JSON (RFC 7517) with its id, algorithm and
// certificates. [ParseKey] reads it back: keep a DPoP key so, in one record
// with the refresh token that is bound to it (RFC 9449 §5).
func (k Key) JWK() (oauth.Secret, error) {
	m := k.get()
	if m.signer == nil {
		return oauth.Secret{}, errNoKey
	}
	text, err := gojose.JSONWebKey{Key: m.signer, KeyID: m.id, Algorithm: m.alg, Certificates: m.chain}.MarshalJSON()
	if err != nil {
		return oauth.Secret{}, errors.New("writing key: it can't be expressed as a JWK")
	}
	return oauth.NewSecret(string(text)), nil
}

// PublicJWK returns the public key as JSON, with its id, algorithm and "use":
// "sig", as a client registers it (RFC 7591 §2, jwks).
func (k Key) PublicJWK() (json.RawMessage, error) {
	m := k.get()
	if m.signer == nil {
		return nil, errNoKey
	}
	public := gojose.JSONWebKey{Key: m.signer.Public(), KeyID: m.id, Algorithm: m.alg, Use: "sig"}
	text, err := public.MarshalJSON()
	if err != nil {
		return nil, errors.New("writing public key: it can't be expressed as a JWK")
	}
	return text, nil
}

// IsZero reports whether there is no key.
func (k Key) IsZero() bool { return k.signer() == nil }

// String shows the algorithm and the id.
func (k Key) String() string {
	m := k.get()
	switch {
	case m.signer == nil:
		return "no key"
	case m.id == "":
		return m.alg + " key [redacted]"
	}
	return fmt.Sprintf("%s key [redacted] %.80q", m.alg, m.id)
}

// Format writes what String returns, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// LogValue returns what String returns.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText returns what String returns: a Key is not stored by accident.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

var errNoKey = errors.New("there is no private key")

// certHash is the x5t#S256 of a certificate (RFC 7515 §4.1.8).
func certHash(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
