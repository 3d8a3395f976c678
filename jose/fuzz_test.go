package jose_test

import (
	"strings"
	"testing"

	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
)

func FuzzParseKey(f *testing.F) {
	for _, name := range []string{"rsa.pkcs1.pem", "rsa.pkcs8.der", "ec.prime256v1.sec1.pem", "ed25519.pem", "enc.aes256.pem", "enc.aes256.der",
		"enc.traditional.pem", "rsa.modern.p12", "ec.legacy.p12", "ec.bundle.pem", "openssh.pem", "public.pem"} {
		f.Add(read(f, name))
	}
	f.Add(serviceAccount(f))
	f.Add([]byte(rfc8037))
	f.Add([]byte(`{"keys":[` + rfc8037 + `]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := jose.ParseKey(data, password)
		if err != nil {
			if k != nil || quotes(strings.TrimPrefix(err.Error(), "reading key: "), string(data)) && !strings.Contains(string(data), "openssl") {
				t.Fatalf("%v, %v", k, err)
			}
			return
		}
		if k.Algorithm() == "" || k.Thumbprint() == "" {
			t.Fatalf("%v", k)
		}
		signs(t, k)
		stored, err := k.JWK()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := jose.ParseKey([]byte(stored.Reveal()), oauth.Secret{}); err == nil && again.Thumbprint() != k.Thumbprint() {
			t.Fatalf("%v came back as %v", k, again)
		}
	})
}

// FuzzVerifyIDToken: whatever is accepted was signed by the one key there is,
// for us, and not long ago.
func FuzzVerifyIDToken(f *testing.F) {
	set := keySet(f)
	key := signers()["P-256"]
	happy := forge(f, key, object{"alg": "ES256", "kid": "P-256"}, good())
	parts := strings.Split(happy, ".")
	for _, s := range []string{happy, happy + "=", parts[0] + "." + parts[1] + ".", forge(f, nil, object{"alg": "none"}, good()), "e30.e30.e30",
		forge(f, signers()["rsa"], object{"alg": "PS256"}, with("aud", []string{client, "x"}))} {
		f.Add(s, set)
	}
	f.Add(happy, []byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA","kid":"P-256"}]}`))
	f.Fuzz(func(t *testing.T, token string, set []byte) {
		p := jose.Provider{Issuer: issuer, ClientID: client, JWKS: set}
		got, err := p.VerifyIDToken(token, asked)
		if err != nil {
			if got != nil || jose.ReasonOf(err) == "" || len(err.Error()) > 700 {
				t.Fatalf("%v, %v", got, err)
			}
			return
		}
		if !strings.HasPrefix(token, parts[0]+"."+parts[1]+".") && got.Subject != "user 1" {
			t.Fatalf("accepted %q", token)
		}
	})
}
