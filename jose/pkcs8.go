package jose

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"hash"

	"github.com/evergrant/evergrant/oauth"
)

// maxIterations bounds the work that a key file can demand: some 5 s.
const maxIterations = 10_000_000

var (
	errTooMuchWork = errors.New("the file asks for more than 10 million rounds to open it")
	errScheme      = errors.New("the key is encrypted in a way that is not known here; write it anew: openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE -out NEW")
)

// encryptedKey is EncryptedPrivateKeyInfo (RFC 5958 §3).
type encryptedKey struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

// pbes2 and kdf are the parameters of RFC 8018 appendix A.4 and A.2.
type pbes2 struct{ KDF, Cipher pkix.AlgorithmIdentifier }

type kdf struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

// Object identifiers as text: they are compared only, and text needs no
// initialisation at the start of the program.
const (
	oidPBES2  = "1.2.840.113549.1.5.13"
	oidPBKDF2 = "1.2.840.113549.1.5.12"
)

func looksEncrypted(der []byte) bool {
	var e encryptedKey
	rest, err := asn1.Unmarshal(der, &e)
	return err == nil && len(rest) == 0 && len(e.Data) > 0
}

func parseEncrypted(der []byte, password oauth.Secret) (*Key, error) {
	var e encryptedKey
	if rest, err := asn1.Unmarshal(der, &e); err != nil || len(rest) > 0 {
		return nil, errors.New("the encrypted key is damaged")
	}
	if e.Algorithm.Algorithm.String() != oidPBES2 {
		return nil, errScheme
	}
	var p pbes2
	if _, err := asn1.Unmarshal(e.Algorithm.Parameters.FullBytes, &p); err != nil {
		return nil, errScheme
	}
	mode, err := p.decrypter(password)
	if err != nil {
		return nil, err
	}
	plain, ok := unpad(mode, e.Data)
	if !ok {
		return nil, ErrPassword
	}
	private := parsePlain(plain)
	if private == nil {
		return nil, ErrPassword // a wrong password passes the padding once in 256
	}
	return newKey(private)
}

func (p pbes2) decrypter(password oauth.Secret) (cipher.BlockMode, error) {
	block, size, ok := blockCipher(p.Cipher.Algorithm.String())
	var iv []byte
	if _, err := asn1.Unmarshal(p.Cipher.Parameters.FullBytes, &iv); err != nil || !ok {
		return nil, errScheme
	}
	key, err := p.derive(password, size)
	if err != nil {
		return nil, err
	}
	b, err := block(key)
	if err != nil || len(iv) != b.BlockSize() {
		return nil, errScheme
	}
	return cipher.NewCBCDecrypter(b, iv), nil
}

func (p pbes2) derive(password oauth.Secret, size int) ([]byte, error) {
	var k kdf
	if p.KDF.Algorithm.String() != oidPBKDF2 {
		return nil, errScheme // scrypt
	}
	if _, err := asn1.Unmarshal(p.KDF.Parameters.FullBytes, &k); err != nil || k.Iterations < 1 {
		return nil, errScheme
	}
	if k.Iterations > maxIterations {
		return nil, errTooMuchWork
	}
	h := prf(k.PRF.Algorithm)
	if h == nil || k.KeyLength != 0 && k.KeyLength != size {
		return nil, errScheme
	}
	key, err := pbkdf2.Key(h, password.Reveal(), k.Salt, k.Iterations, size)
	if err != nil {
		return nil, errScheme
	}
	return key, nil
}

func blockCipher(oid string) (block func([]byte) (cipher.Block, error), keySize int, ok bool) {
	switch oid {
	case "2.16.840.1.101.3.4.1.2":
		return aes.NewCipher, 16, true
	case "2.16.840.1.101.3.4.1.22":
		return aes.NewCipher, 24, true
	case "2.16.840.1.101.3.4.1.42":
		return aes.NewCipher, 32, true
	case "1.2.840.113549.3.7": // what older OpenSSL and Salesforce guides write
		return des.NewTripleDESCipher, 24, true
	}
	return nil, 0, false
}

// prf: SHA-1 is the default (RFC 8018 appendix A.2).
func prf(oid asn1.ObjectIdentifier) func() hash.Hash {
	if len(oid) == 0 {
		return sha1.New
	}
	switch oid.String() {
	case "1.2.840.113549.2.7":
		return sha1.New
	case "1.2.840.113549.2.8":
		return sha256.New224
	case "1.2.840.113549.2.9":
		return sha256.New
	case "1.2.840.113549.2.10":
		return sha512.New384
	case "1.2.840.113549.2.11":
		return sha512.New
	}
	return nil
}

// unpad decrypts and takes the padding of RFC 8018 §6.1.1 off.
func unpad(mode cipher.BlockMode, data []byte) ([]byte, bool) {
	size := mode.BlockSize()
	if len(data) == 0 || len(data)%size != 0 {
		return nil, false
	}
	plain := make([]byte, len(data))
	mode.CryptBlocks(plain, data)
	n := int(plain[len(plain)-1])
	if n < 1 || n > size {
		return nil, false
	}
	for _, b := range plain[len(plain)-n:] {
		if int(b) != n {
			return nil, false
		}
	}
	return plain[:len(plain)-n], true
}

// tooMuchWork looks through a PKCS#12 file for a count of rounds that is out of
// bounds: an integer that follows a salt, wherever it lies in the clear.
func tooMuchWork(der []byte) bool { return deepWork(der, 16) }

func deepWork(der []byte, depth int) bool {
	afterSalt := false
	for len(der) > 0 && depth > 0 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(der, &v)
		if err != nil {
			return false
		}
		der = rest
		universal := v.Class == asn1.ClassUniversal
		if universal && v.Tag == asn1.TagInteger && afterSalt {
			var n int64
			if _, err := asn1.Unmarshal(v.FullBytes, &n); err != nil || n > maxIterations {
				return true
			}
		}
		afterSalt = universal && v.Tag == asn1.TagOctetString
		if (v.IsCompound || afterSalt) && deepWork(v.Bytes, depth-1) {
			return true
		}
	}
	return false
}
