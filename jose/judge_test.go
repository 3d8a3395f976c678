package jose_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
)

// This file signs and verifies JWTs with crypto/* alone, so that what the
// package makes and accepts is not judged by the library it uses.

var b64 = base64.RawURLEncoding

var at = time.Unix(1_800_000_000, 0)

type object = map[string]any

// split verifies a compact JWS and returns its header and claims.
func split(t *testing.T, token string, public any) (head, claims object) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	var raw [3][]byte
	for i, p := range parts {
		var err error
		if raw[i], err = b64.DecodeString(p); err != nil {
			t.Fatal(err)
		}
	}
	for i, to := range []*object{&head, &claims} {
		d := json.NewDecoder(bytes.NewReader(raw[i]))
		d.UseNumber()
		if err := d.Decode(to); err != nil {
			t.Fatal(err)
		}
	}
	if !verify(head["alg"].(string), public, parts[0]+"."+parts[1], raw[2]) {
		t.Fatalf("the signature is wrong (%v)", head["alg"])
	}
	return head, claims
}

func digest(alg, text string) (crypto.Hash, []byte) {
	h := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[2:]]
	w := h.New()
	w.Write([]byte(text))
	return h, w.Sum(nil)
}

func verify(alg string, public any, input string, sig []byte) bool {
	switch k := public.(type) {
	case ed25519.PublicKey:
		return alg == "EdDSA" && ed25519.Verify(k, []byte(input), sig)
	case *ecdsa.PublicKey:
		_, sum := digest(alg, input)
		n := (k.Curve.Params().BitSize + 7) / 8
		if alg[:2] != "ES" || len(sig) != 2*n {
			return false
		}
		return ecdsa.Verify(k, sum, new(big.Int).SetBytes(sig[:n]), new(big.Int).SetBytes(sig[n:]))
	case *rsa.PublicKey:
		h, sum := digest(alg, input)
		if alg[:2] == "PS" {
			return rsa.VerifyPSS(k, h, sum, sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return alg[:2] == "RS" && rsa.VerifyPKCS1v15(k, h, sum, sig) == nil
	case []byte:
		m := hmac.New(sha256.New, k)
		m.Write([]byte(input))
		return alg == "HS256" && hmac.Equal(m.Sum(nil), sig)
	}
	return false
}

// forge signs whatever it is told to.
func forge(t testing.TB, private any, head, claims object) string {
	t.Helper()
	h, err := json.Marshal(head)
	if err != nil {
		t.Fatal(err)
	}
	c, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return forgeRaw(t, private, head["alg"], string(h), string(c))
}

func forgeRaw(t testing.TB, private, alg any, head, claims string) string {
	t.Helper()
	input := b64.EncodeToString([]byte(head)) + "." + b64.EncodeToString([]byte(claims))
	sig, err := signature(private, fmt.Sprint(alg), input)
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + b64.EncodeToString(sig)
}

func signature(private any, alg, input string) ([]byte, error) {
	switch k := private.(type) {
	case nil:
		return nil, nil
	case ed25519.PrivateKey:
		return ed25519.Sign(k, []byte(input)), nil
	case *ecdsa.PrivateKey:
		_, sum := digest(alg, input)
		r, s, err := ecdsa.Sign(rand.Reader, k, sum)
		if err != nil {
			return nil, err
		}
		n := (k.Curve.Params().BitSize + 7) / 8
		sig := make([]byte, 2*n)
		r.FillBytes(sig[:n])
		s.FillBytes(sig[n:])
		return sig, nil
	case *rsa.PrivateKey:
		h, sum := digest(alg, input)
		if alg[:2] == "PS" {
			return rsa.SignPSS(rand.Reader, k, h, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.SignPKCS1v15(rand.Reader, k, h, sum)
	case []byte:
		h := sha256.New
		if alg == "HS512" {
			h = sha512.New
		}
		m := hmac.New(h, k)
		m.Write([]byte(input))
		return m.Sum(nil), nil
	}
	return nil, fmt.Errorf("%T", private)
}

// jwk writes a public key by hand.
func jwk(t testing.TB, public any, extra object) object {
	t.Helper()
	var k object
	switch p := public.(type) {
	case ed25519.PublicKey:
		k = object{"kty": "OKP", "crv": "Ed25519", "x": b64.EncodeToString(p)}
	case *rsa.PublicKey:
		k = object{"kty": "RSA", "n": b64.EncodeToString(p.N.Bytes()), "e": b64.EncodeToString(big.NewInt(int64(p.E)).Bytes())}
	case *ecdsa.PublicKey:
		point, err := p.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		n := len(point) / 2
		k = object{"kty": "EC", "crv": p.Curve.Params().Name, "x": b64.EncodeToString(point[1 : 1+n]), "y": b64.EncodeToString(point[1+n:])}
	default:
		t.Fatalf("%T", public)
	}
	maps.Copy(k, extra)
	return k
}

func jwks(t testing.TB, keys ...object) []byte {
	t.Helper()
	text, err := json.Marshal(object{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// password opens every encrypted file in testdata/keys.
var password = oauth.NewSecret("horse-Battery9")

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/keys/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func load(t testing.TB, name string) *jose.Key {
	t.Helper()
	k, err := jose.ParseKey(read(t, name), password)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return k
}

// publicOf reads the public JWK of a key by hand.
func publicOf(t *testing.T, k *jose.Key) any {
	t.Helper()
	text, err := k.PublicJWK()
	if err != nil {
		t.Fatal(err)
	}
	return publicKey(t, text)
}

func publicKey(t *testing.T, text []byte) any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	if m["d"] != nil || m["p"] != nil {
		t.Fatal("the public JWK holds private members")
	}
	member := func(name string) []byte {
		raw, err := b64.DecodeString(m[name].(string))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	switch m["kty"] {
	case "OKP":
		return ed25519.PublicKey(member("x"))
	case "RSA":
		return &rsa.PublicKey{N: new(big.Int).SetBytes(member("n")), E: int(new(big.Int).SetBytes(member("e")).Int64())}
	case "EC":
		curve := curves[m["crv"].(string)]
		k, err := ecdsa.ParseUncompressedPublicKey(curve, append([]byte{4}, append(member("x"), member("y")...)...))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	t.Fatalf("kty %v", m["kty"])
	return nil
}

// printings formats a value in every way the standard library has.
func printings(v any) string {
	var b bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T", "%10.3s"} {
		fmt.Fprintf(&b, verb+" "+verb+" "+verb+"\n", v, []any{v}, struct{ v any }{v})
	}
	if text, err := json.Marshal(object{"k": v}); err == nil {
		b.Write(text)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(h).Info("m", "k", v, slog.Group("g", "k", v))
	}
	return b.String()
}
