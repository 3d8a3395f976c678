package jose_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
)

var curves = map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}

// serviceAccount is what Google's console hands out, around a key of ours.
func serviceAccount(t testing.TB) []byte {
	t.Helper()
	text, err := json.Marshal(object{
		"type": "service_account", "project_id": "p-1", "private_key_id": "0badc0de",
		"private_key": string(read(t, "rsa.pkcs8.pem")), "client_email": "robot@p-1.iam.gserviceaccount.com",
		"client_id": "1234", "auth_uri": "https://accounts.google.com/o/oauth2/auth", "token_uri": "https://oauth2.googleapis.com/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestParseKey(t *testing.T) {
	for name, want := range map[string]struct {
		alg   string
		chain int
	}{
		"rsa.pkcs8.pem":           {"RS256", 0},
		"rsa.pkcs1.pem":           {"RS256", 0},
		"rsa.pkcs8.der":           {"RS256", 0},
		"ec.prime256v1.sec1.pem":  {"ES256", 0},
		"ec.prime256v1.pkcs8.pem": {"ES256", 0},
		"ec.secp384r1.sec1.pem":   {"ES384", 0},
		"ec.secp521r1.sec1.pem":   {"ES512", 0},
		"ed25519.pem":             {"EdDSA", 0},
		"enc.aes256.pem":          {"ES256", 0},
		"enc.aes256.der":          {"ES256", 0},
		"enc.aes128-sha1.pem":     {"ES256", 0},
		"enc.aes192-sha512.pem":   {"ES256", 0},
		"enc.des3.pem":            {"ES256", 0},
		"enc.traditional.pem":     {"ES256", 0},
		"rsa.modern.p12":          {"RS256", 2},
		"ec.legacy.p12":           {"ES256", 2},
		"ec.bundle.pem":           {"ES256", 2},
	} {
		t.Run(name, func(t *testing.T) {
			k := load(t, name)
			if k.Algorithm() != want.alg || k.ID() != "" || len(k.Certificates()) != want.chain {
				t.Errorf("%v with %d certificates", k, len(k.Certificates()))
			}
			signs(t, k)
			cert, ok := k.TLSCertificate()
			if ok != (want.chain > 0) || len(cert.Certificate) != want.chain {
				t.Errorf("TLS certificate: %v, %d", ok, len(cert.Certificate))
			}
			if ok && cert.Leaf.Subject.CommonName != "client" {
				t.Errorf("the first certificate is that of %s", cert.Leaf.Subject)
			}
		})
	}
}

// signs checks that what the key signs verifies under the public key it states.
func signs(t *testing.T, k *jose.Key) {
	t.Helper()
	a, err := jose.Assertion{Issuer: "i", Subject: "s", Audience: "a"}.Sign(k, at)
	if err != nil {
		t.Fatal(err)
	}
	if head, _ := split(t, a.Reveal(), publicOf(t, k)); head["alg"] != k.Algorithm() {
		t.Errorf("alg %v", head["alg"])
	}
}

// TestParseKeySameKey: all forms of one key give one thumbprint.
func TestParseKeySameKey(t *testing.T) {
	for _, names := range [][]string{
		{"rsa.pkcs8.pem", "rsa.pkcs1.pem", "rsa.pkcs8.der", "rsa.modern.p12"},
		{"ec.prime256v1.sec1.pem", "ec.prime256v1.pkcs8.pem", "enc.aes256.pem", "enc.aes128-sha1.pem", "enc.aes192-sha512.pem",
			"enc.des3.pem", "enc.traditional.pem", "enc.aes256.der", "ec.legacy.p12", "ec.bundle.pem"},
	} {
		want := load(t, names[0]).Thumbprint()
		for _, name := range names[1:] {
			if got := load(t, name).Thumbprint(); got != want {
				t.Errorf("%s: another key", name)
			}
		}
	}
}

func TestParseKeyForms(t *testing.T) {
	text := read(t, "ec.prime256v1.pkcs8.pem")
	k := load(t, "ec.prime256v1.pkcs8.pem")
	stored, err := k.WithID("k1").JWK()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"environment variable": bytes.ReplaceAll(bytes.TrimSpace(text), []byte("\n"), []byte(`\n`)),
		"carriage returns":     bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")),
		"byte order mark":      append([]byte("\ufeff"), text...),
		"text around":          []byte("Bag Attributes\n  friendlyName: x\n" + string(text) + "\nend"),
		"JWK":                  []byte(stored.Reveal()),
		"set of one JWK":       []byte(`{"keys":[` + stored.Reveal() + `]}`),
	} {
		got, err := jose.ParseKey(data, oauth.Secret{})
		if err != nil || got.Thumbprint() != k.Thumbprint() {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	empty, err := jose.ParseKey(read(t, "ec.empty-password.p12"), oauth.Secret{})
	if err != nil || empty.Thumbprint() != k.Thumbprint() {
		t.Errorf("PKCS#12 without a password: %v, %v", empty, err)
	}
}

func TestParseKeyGoogle(t *testing.T) {
	k, err := jose.ParseKey(serviceAccount(t), oauth.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	want := jose.ServiceAccount{Email: "robot@p-1.iam.gserviceaccount.com", TokenURI: "https://oauth2.googleapis.com/token", Project: "p-1"}
	if k.ID() != "0badc0de" || k.ServiceAccount() != want || k.Algorithm() != "RS256" {
		t.Errorf("%v, %+v", k, k.ServiceAccount())
	}
	signs(t, k)
}

func TestParseKeyRefuses(t *testing.T) {
	private := func(name string) string {
		s, err := load(t, name).JWK()
		if err != nil {
			t.Fatal(err)
		}
		return s.Reveal()
	}
	public, err := load(t, "ed25519.pem").PublicJWK()
	if err != nil {
		t.Fatal(err)
	}
	other, err := jose.Generate("ES256")
	if err != nil {
		t.Fatal(err)
	}
	mixed := mix(t, private("ec.prime256v1.pkcs8.pem"), other, "x", "y")
	mixedEd := mix(t, private("ed25519.pem"), must(jose.Generate("EdDSA")), "x")
	wrong := oauth.NewSecret("wrong")
	none := oauth.Secret{}
	for _, tt := range []struct {
		name, data string
		password   oauth.Secret
		want       string
	}{
		{"empty", "", none, "the file is empty"},
		{"spaces", " \n", none, "the file is empty"},
		{"text", "hello", none, "none of PEM"},
		{"huge", strings.Repeat(" ", 1<<20+1), none, "larger than 1 MiB"},
		{"weak", string(read(t, "weak.rsa1024.pem")), none, "1024 bits"},
		{"secp256k1", string(read(t, "ec.secp256k1.sec1.pem")), none, "no private key of a known kind"},
		{"X25519", string(read(t, "x25519.pem")), none, "none of RSA, ECDSA, Ed25519"},
		{"public key", string(read(t, "public.pem")), none, "only a public one"},
		{"certificate", string(read(t, "certificate.pem")), none, "only a public one"},
		{"public JWK", string(public), none, "only a public one"},
		{"OpenSSH", string(read(t, "openssh.pem")), none, "ssh-keygen -p -m PKCS8"},
		{"scrypt", string(read(t, "enc.scrypt.pem")), password, "openssl pkcs8 -topk8"},
		{"PBES1", string(read(t, "enc.pbes1.pem")), password, "openssl pkcs8 -topk8"},
		{"no password", string(read(t, "enc.aes256.pem")), none, "password is missing or wrong"},
		{"wrong password", string(read(t, "enc.aes256.pem")), wrong, "password is missing or wrong"},
		{"wrong password, 3DES", string(read(t, "enc.des3.pem")), wrong, "password is missing or wrong"},
		{"wrong password, older", string(read(t, "enc.traditional.pem")), wrong, "password is missing or wrong"},
		{"no password, older", string(read(t, "enc.traditional.pem")), none, "password is missing or wrong"},
		{"wrong password, PKCS#12", string(read(t, "rsa.modern.p12")), wrong, "password is missing or wrong"},
		{"no password, PKCS#12", string(read(t, "ec.legacy.p12")), none, "password is missing or wrong"},
		{"cut PKCS#12", string(read(t, "rsa.modern.p12")[:900]), password, "no PKCS#12"},
		{"cut PEM", string(read(t, "ed25519.pem")[:60]), none, "damaged or cut off"},
		{"two keys", string(read(t, "ed25519.pem")) + string(read(t, "rsa.pkcs8.pem")), none, "more than one private key"},
		{"foreign certificate", string(read(t, "ed25519.pem")) + string(read(t, "certificate.pem")), none, "none of the certificates belongs"},
		{"symmetric JWK", `{"kty":"oct","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"}`, none, "none of RSA, ECDSA, Ed25519"},
		{"JWK of another public half", mixed, none, "does not belong"},
		{"JWK of another public half, Ed25519", mixedEd, none, "damaged"},
		{"JWK for encryption", strings.Replace(private("rsa.pkcs8.pem"), `"RS256"`, `"RSA-OAEP"`, 1), none, "choosing algorithm"},
		{"two JWKs", `{"keys":[{},{}]}`, none, "more than one key"},
		{"authorized_user", `{"type":"authorized_user","refresh_token":"1//canary-canary"}`, none, "a user's grant"},
		{"other JSON", `{"token":"canary-canary"}`, none, "neither a JWK nor"},
		{"half JSON", `{"private_key":"canary-canary`, none, "begins like JSON"},
	} {
		k, err := jose.ParseKey([]byte(tt.data), tt.password)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, error %v; want %q in it", tt.name, k, err, tt.want)
			continue
		}
		if quotes(err.Error(), tt.data) {
			t.Errorf("%s: the error quotes the file: %v", tt.name, err)
		}
		if strings.Contains(tt.want, "password is missing") != errors.Is(err, jose.ErrPassword) ||
			strings.Contains(tt.want, "only a public") != errors.Is(err, jose.ErrPublic) {
			t.Errorf("%s: errors.Is is wrong for %v", tt.name, err)
		}
	}
}

// mix gives a private JWK public members of another key.
func mix(t *testing.T, private string, other *jose.Key, members ...string) string {
	t.Helper()
	text, err := other.PublicJWK()
	if err != nil {
		t.Fatal(err)
	}
	var a, b object
	if json.Unmarshal([]byte(private), &a) != nil || json.Unmarshal(text, &b) != nil {
		t.Fatal("no JSON")
	}
	for _, m := range members {
		a[m] = b[m]
	}
	mixed, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	return string(mixed)
}

func must(k *jose.Key, err error) *jose.Key {
	if err != nil {
		panic(err)
	}
	return k
}

// quotes reports whether the text holds 12 bytes of the data in a row.
func quotes(text, data string) bool {
	for i := 0; i+12 <= len(text); i++ {
		if strings.Contains(data, text[i:i+12]) {
			return true
		}
	}
	return false
}

// TestParseKeyWork: a file can't keep the machine busy for hours.
func TestParseKeyWork(t *testing.T) {
	huge := []byte{2, 4, 0x7f, 0xff, 0xff, 0xff} // INTEGER 2147483647
	block, _ := pem.Decode(read(t, "enc.aes256.pem"))
	for name, data := range map[string][]byte{
		"PKCS#8":           grown(t, block.Bytes, []byte{2, 2, 0x10, 0x00}, huge),
		"PKCS#12, the MAC": grown(t, read(t, "rsa.modern.p12"), []byte{2, 2, 8, 0}, huge),
	} {
		_, err := jose.ParseKey(data, password)
		if err == nil || !strings.Contains(err.Error(), "rounds") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// grown replaces the last occurrence of old in DER and mends the lengths around
// it, which all are of the two-byte form or of one byte.
func grown(t *testing.T, der, old, with []byte) []byte {
	t.Helper()
	i := bytes.LastIndex(der, old)
	if i < 0 {
		t.Fatal("the count is not there")
	}
	return rebuilt(der, i, i+len(old), with)
}

func rebuilt(der []byte, from, to int, with []byte) []byte {
	if from == 0 && to == len(der) {
		return with
	}
	var out []byte
	for pos := 0; pos < len(der); {
		head, size := 2, int(der[pos+1])
		if size >= 0x80 {
			n := size & 0x7f
			size = 0
			for _, b := range der[pos+2 : pos+2+n] {
				size = size<<8 | int(b)
			}
			head += n
		}
		end := pos + head + size
		switch {
		case pos == from && end == to:
			out = append(out, with...)
		case pos <= from && to <= end:
			body := rebuilt(der[pos+head:end], from-pos-head, to-pos-head, with)
			out = append(append(out, der[pos]), length(len(body))...)
			out = append(out, body...)
		default:
			out = append(out, der[pos:end]...)
		}
		pos = end
	}
	return out
}

// length is a DER length below 65536.
func length(n int) []byte {
	switch {
	case n < 0x80:
		return []byte{byte(n)}
	case n < 0x100:
		return []byte{0x81, byte(n)}
	}
	return []byte{0x82, byte(n >> 8), byte(n)}
}

func TestGenerate(t *testing.T) {
	for _, alg := range []string{"", "ES256", "ES384", "ES512", "EdDSA", "RS256", "PS256", "PS512"} {
		k, err := jose.Generate(alg)
		if err != nil {
			t.Fatal(err)
		}
		if alg != "" && k.Algorithm() != alg || alg == "" && k.Algorithm() != "ES256" || k.ID() != k.Thumbprint() {
			t.Errorf("%s: %v", alg, k)
		}
		signs(t, k)
	}
	for _, alg := range []string{"none", "HS256", "es256", "RS1"} {
		if k, err := jose.Generate(alg); err == nil {
			t.Errorf("%s: %v", alg, k)
		}
	}
}

func TestWithAlgorithm(t *testing.T) {
	for _, alg := range []string{"RS384", "RS512", "PS256", "PS384", "PS512"} {
		k, err := load(t, "rsa.pkcs8.pem").WithAlgorithm(alg)
		if err != nil || k.Algorithm() != alg {
			t.Fatalf("%s: %v, %v", alg, k, err)
		}
		signs(t, k)
	}
	for _, alg := range []string{"none", "HS256", "ES256", ""} {
		if k, err := load(t, "rsa.pkcs8.pem").WithAlgorithm(alg); err == nil {
			t.Errorf("%s: %v", alg, k)
		}
	}
	if k, err := (jose.Key{}).WithAlgorithm("ES256"); err == nil {
		t.Errorf("no key: %v", k)
	}
	if k, err := load(t, "ed25519.pem").WithAlgorithm("Ed25519"); err != nil || k.Algorithm() != "EdDSA" {
		t.Errorf("the name of RFC 9864: %v, %v", k, err)
	}
}

func TestRFC7638Thumbprint(t *testing.T) {
	for _, tt := range []struct{ name, jwk, want string }{
		{"RFC 7638 §3.1", `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"},
		{"RFC 8037 A.3", `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"},
		{"RFC 9449 §6.1", `{"kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256"}`, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"},
	} {
		if got, err := jose.Thumbprint([]byte(tt.jwk)); err != nil || got != tt.want {
			t.Errorf("%s: %s, %v", tt.name, got, err)
		}
	}
	for _, bad := range []string{"", "{}", `{"kty":"oct","k":"AAAA"}`, `{"kty":"XX"}`} {
		if got, err := jose.Thumbprint([]byte(bad)); err == nil {
			t.Errorf("%s: %s", bad, got)
		}
	}
	private := must(jose.ParseKey([]byte(rfc8037), oauth.Secret{}))
	if private.Thumbprint() != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Error("the thumbprint of a private key is not that of its public half")
	}
	// By hand, for a key of ours.
	k := load(t, "ec.secp521r1.sec1.pem")
	m := jwk(t, publicOf(t, k), nil)
	sum := sha256.Sum256([]byte(`{"crv":"P-521","kty":"EC","x":"` + m["x"].(string) + `","y":"` + m["y"].(string) + `"}`))
	if k.Thumbprint() != b64.EncodeToString(sum[:]) {
		t.Error("P-521: the thumbprint is wrong")
	}
}

// TestKeyIsKept9449_4: a DPoP key goes to the record of its refresh token and
// comes back as the same key ("9449-4").
func TestKeyIsKept9449_4(t *testing.T) {
	for _, alg := range []string{"ES256", "ES384", "ES512", "EdDSA", "PS256"} {
		k := must(jose.Generate(alg))
		stored, err := k.JWK()
		if err != nil {
			t.Fatal(err)
		}
		again, err := jose.ParseKey([]byte(stored.Reveal()), oauth.Secret{})
		if err != nil || again.Thumbprint() != k.Thumbprint() || again.Algorithm() != alg || again.ID() != k.ID() {
			t.Errorf("%s: %v came back as %v, %v", alg, k, again, err)
		}
	}
	withChain := load(t, "rsa.modern.p12")
	stored, err := withChain.JWK()
	if err != nil {
		t.Fatal(err)
	}
	if again := must(jose.ParseKey([]byte(stored.Reveal()), oauth.Secret{})); len(again.Certificates()) != 2 {
		t.Error("the chain got lost")
	}
}

// TestKeyIsNotPrinted: no way of printing shows a private part.
func TestKeyIsNotPrinted(t *testing.T) {
	for _, alg := range []string{"ES256", "EdDSA", "RS256"} {
		k := must(jose.Generate(alg))
		stored, err := k.JWK()
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal([]byte(stored.Reveal()), &m); err != nil {
			t.Fatal(err)
		}
		text := printings(k) + printings(*k) + printings(struct {
			K *jose.Key
			k jose.Key
		}{k, *k}) + printings(stored)
		raw, err := b64.DecodeString(m["d"].(string))
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{m["d"].(string), string(raw), strings.Trim(fmt.Sprint(raw), "[]")} {
			if strings.Contains(text, secret) {
				t.Errorf("%s: printed %q in %.300s", alg, secret, text)
			}
		}
		if !strings.Contains(text, alg+" key [redacted]") {
			t.Errorf("%s: %.300s", alg, text)
		}
	}
}

func TestZeroKey(t *testing.T) {
	var k jose.Key
	_, okTLS := k.TLSCertificate()
	if !k.IsZero() || k.String() != "no key" || k.ID() != "" || k.Algorithm() != "" || k.Thumbprint() != "" || okTLS || k.Certificates() != nil {
		t.Error("the zero Key holds something")
	}
	if _, err := k.JWK(); err == nil {
		t.Error("JWK of no key")
	}
	if _, err := k.PublicJWK(); err == nil {
		t.Error("PublicJWK of no key")
	}
	for _, none := range []*jose.Key{nil, {}, k.WithID("x")} {
		if _, err := (jose.Assertion{Issuer: "i", Subject: "s", Audience: "a"}).Sign(none, at); err == nil {
			t.Error("signed without a key")
		}
		if _, err := jose.NewProofs(none); err == nil {
			t.Error("proofs without a key")
		}
	}
}

// rfc8037 is the private key of RFC 8037 appendix A.1.
const rfc8037 = `{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
