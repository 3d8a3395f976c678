package jose

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	gojose "github.com/go-jose/go-jose/v4"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/evergrant/evergrant/oauth"
)

const maxKeyFile = 1 << 20

// Reasons why ParseKey fails that a caller may act on.
var (
	// ErrPassword means that the key is encrypted and the password is missing or
	// wrong.
	ErrPassword = errors.New("the password is missing or wrong")
	// ErrPublic means that the data holds a public key or certificate only.
	ErrPublic = errors.New("there is no private key, only a public one or a certificate")
)

// ParseKey reads a private key from the content of a file:
//
//   - PEM: PKCS#8, PKCS#1 (RSA), SEC 1 (EC); encrypted PKCS#8 (PBES2) and the
//     older encryption of OpenSSL; certificates beside it become its chain;
//     line breaks may be written as \n, as in environment variables
//   - DER of the same
//   - PKCS#12 (PFX) with its chain
//   - JWK (RFC 7517), or a set of one
//   - the JSON key of a Google service account
//
// The password is for encrypted ones and else ignored. An RSA key signs RS256
// unless the JWK names another algorithm; see [Key.WithAlgorithm]. Errors say
// what the data looks like and never quote it.
func ParseKey(data []byte, password oauth.Secret) (*Key, error) {
	k, err := parseKey(data, password)
	if err != nil {
		return nil, fmt.Errorf("reading key: %w", err)
	}
	return k, nil
}

func parseKey(data []byte, password oauth.Secret) (*Key, error) {
	if len(data) > maxKeyFile {
		return nil, errors.New("the file is larger than 1 MiB")
	}
	if len(data) > 0 && data[0] == 0x30 { // a DER sequence; no text begins with "0"
		return parseDER(data, password)
	}
	text := bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\ufeff")))
	switch {
	case len(text) == 0:
		return nil, errors.New("the file is empty")
	case text[0] == '{':
		return parseJSON(text, password)
	case bytes.Contains(text, []byte("-----BEGIN ")):
		return parsePEM(text, password)
	}
	return nil, errors.New("this is none of PEM, PKCS#12, JWK, Google JSON key")
}

func parseDER(der []byte, password oauth.Secret) (*Key, error) {
	if private := parsePlain(der); private != nil {
		return newKey(private)
	}
	if looksEncrypted(der) {
		return parseEncrypted(der, password)
	}
	return parsePKCS12(der, password)
}

// parsePlain tries the three unencrypted forms; nil if it is none.
func parsePlain(der []byte) any {
	if k, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return k
	}
	if k, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return k
	}
	if k, err := x509.ParseECPrivateKey(der); err == nil {
		return k
	}
	return nil
}

// parsePEM takes the first private key and all certificates.
func parsePEM(text []byte, password oauth.Secret) (*Key, error) {
	if !bytes.Contains(text, []byte("\n")) {
		text = bytes.ReplaceAll(text, []byte(`\n`), []byte("\n"))
	}
	var key *Key
	var chain []*x509.Certificate
	var others string
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, errors.New("a certificate beside the key is damaged")
			}
			chain = append(chain, c)
		case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
			if key != nil {
				return nil, errors.New("there is more than one private key")
			}
			k, err := parseBlock(block, password)
			if err != nil {
				return nil, err
			}
			key = k
		case "EC PARAMETERS": // OpenSSL writes it before the key
		default:
			others = block.Type
		}
	}
	if key == nil {
		return nil, noKey(others, chain != nil)
	}
	return withChain(key, chain)
}

// noKey says what stands there instead of a key.
func noKey(blockType string, certificate bool) error {
	switch {
	case blockType == "OPENSSH PRIVATE KEY":
		return errors.New("this is OpenSSH's own format; convert a copy of it with: ssh-keygen -p -m PKCS8 -f FILE")
	case blockType == "PUBLIC KEY", blockType == "RSA PUBLIC KEY", certificate:
		return ErrPublic
	case blockType != "":
		return errors.New("there is no PEM block of a private key")
	}
	return errors.New("the PEM block is damaged or cut off")
}

func parseBlock(block *pem.Block, password oauth.Secret) (*Key, error) {
	der := block.Bytes
	if block.Type == "ENCRYPTED PRIVATE KEY" {
		return parseEncrypted(der, password)
	}
	if block.Headers["DEK-Info"] != "" {
		// Deprecated because it doesn't authenticate. It is how `openssl genrsa
		// -aes256 -traditional` writes keys, and nobody can be asked many times.
		plain, err := x509.DecryptPEMBlock(block, []byte(password.Reveal())) //lint:ignore SA1019 see above
		if err != nil {
			return nil, ErrPassword
		}
		if der = plain; parsePlain(der) == nil {
			return nil, ErrPassword // the check of the padding misses one in 256
		}
	}
	private := parsePlain(der)
	if private == nil {
		return nil, errors.New("the PEM block holds no private key of a known kind, or is damaged")
	}
	return newKey(private)
}

// withChain puts the key's own certificate first.
func withChain(k *Key, chain []*x509.Certificate) (*Key, error) {
	if len(chain) == 0 {
		return k, nil
	}
	m := k.copied()
	for i, c := range chain {
		if samePublic(m.signer.Public(), c.PublicKey) {
			m.chain = append([]*x509.Certificate{c}, append(chain[:i:i], chain[i+1:]...)...)
			return hide(m), nil
		}
	}
	return nil, errors.New("none of the certificates belongs to the key")
}

func samePublic(a, b any) bool {
	p, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && p.Equal(b)
}

func parsePKCS12(der []byte, password oauth.Secret) (*Key, error) {
	if tooMuchWork(der) {
		return nil, errTooMuchWork
	}
	private, leaf, others, err := pkcs12.DecodeChain(der, password.Reveal())
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword), errors.Is(err, pkcs12.ErrDecryption):
		return nil, ErrPassword
	case err != nil:
		return nil, errors.New("this is no PKCS#12 file that can be read; " + pkcs12Hint)
	}
	k, err := newKey(private)
	if err != nil {
		return nil, err
	}
	return withChain(k, append([]*x509.Certificate{leaf}, others...))
}

const pkcs12Hint = "if it is one, write it anew: openssl pkcs12 -in FILE -nodes | openssl pkcs12 -export -out NEW"

// keyFile is what the JSON kinds of key files are told apart by.
type keyFile struct {
	Type         string            `json:"type"`
	PrivateKey   string            `json:"private_key"`
	PrivateKeyID string            `json:"private_key_id"`
	ClientEmail  string            `json:"client_email"`
	TokenURI     string            `json:"token_uri"`
	ProjectID    string            `json:"project_id"`
	Kty          string            `json:"kty"`
	Keys         []json.RawMessage `json:"keys"`
}

func parseJSON(text []byte, password oauth.Secret) (*Key, error) {
	var f keyFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, errors.New("this begins like JSON and is not")
	}
	switch {
	case f.Kty != "":
		return parseJWK(text)
	case len(f.Keys) == 1:
		return parseJWK(f.Keys[0])
	case len(f.Keys) > 1:
		return nil, errors.New("the JWK set has more than one key: take one out")
	case f.PrivateKey != "":
		return parseServiceAccount(f, password)
	case f.Type == "authorized_user":
		return nil, errors.New("this is a Google file of a user's grant, not of a service account")
	}
	return nil, errors.New("this JSON is neither a JWK nor the key of a service account")
}

func parseServiceAccount(f keyFile, password oauth.Secret) (*Key, error) {
	k, err := parsePEM([]byte(f.PrivateKey), password)
	if err != nil {
		return nil, err
	}
	m := k.copied()
	m.id = f.PrivateKeyID
	m.account = ServiceAccount{Email: f.ClientEmail, TokenURI: f.TokenURI, Project: f.ProjectID}
	return hide(m), nil
}

func parseJWK(text []byte) (*Key, error) {
	var jwk gojose.JSONWebKey
	if err := jwk.UnmarshalJSON(text); err != nil {
		return nil, errors.New("the JWK is damaged, of an unknown kind, or RSA of more than 4096 bits")
	}
	if jwk.IsPublic() {
		return nil, ErrPublic
	}
	if err := checkJWK(jwk.Key); err != nil {
		return nil, err
	}
	k, err := newKey(jwk.Key)
	if err == nil && jwk.Algorithm != "" {
		k, err = k.WithAlgorithm(jwk.Algorithm)
	}
	if err != nil {
		return nil, err
	}
	m := k.copied()
	m.id, m.chain = jwk.KeyID, jwk.Certificates
	return hide(m), nil
}

// checkJWK makes sure that the two halves of a JWK are one key: with a foreign
// public half every signature would be refused, far from the cause.
func checkJWK(private any) error {
	wrong := errors.New("the public half of the JWK does not belong to the private half")
	switch k := private.(type) {
	case *rsa.PrivateKey:
		if k.Validate() != nil {
			return wrong
		}
	case *ecdsa.PrivateKey:
		scalar, err := k.Bytes()
		if err != nil {
			return wrong
		}
		again, err := ecdsa.ParseRawPrivateKey(k.Curve, scalar)
		if err != nil || !again.PublicKey.Equal(&k.PublicKey) {
			return wrong
		}
	case ed25519.PrivateKey:
		if !ed25519.NewKeyFromSeed(k.Seed()).Equal(k) {
			return wrong
		}
	}
	return nil
}
