package jose_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
)

// signers are the keys of the identity provider, made with crypto/* alone.
var signers = sync.OnceValue(func() map[string]any {
	m := map[string]any{}
	for name, curve := range curves {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			panic(err)
		}
		m[name] = k
	}
	for _, name := range []string{"rsa", "rsa2"} {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		m[name] = k
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	m["ed"] = ed
	return m
})

func public(private any) any {
	switch k := private.(type) {
	case *rsa.PrivateKey:
		return &k.PublicKey
	case *ecdsa.PrivateKey:
		return &k.PublicKey
	}
	return private.(ed25519.PrivateKey).Public()
}

const issuer, client = "https://op.example", "client 1"

// keySet publishes every signer under its name.
func keySet(t testing.TB) []byte {
	t.Helper()
	keys := []object{{"kty": "AKP", "alg": "ML-DSA-44", "kid": "future"}, {"kty": 7}, {"kty": "oct", "k": "AAAA", "kid": "oct"}}
	for name, k := range signers() {
		keys = append(keys, jwk(t, public(k), object{"kid": name, "use": "sig"}))
	}
	return jwks(t, keys...)
}

func provider(t *testing.T) jose.Provider {
	t.Helper()
	return jose.Provider{Issuer: issuer, ClientID: client, JWKS: keySet(t)}
}

// good are the claims of an ID token with nothing wrong.
func good() object {
	return object{"iss": issuer, "aud": client, "sub": "user 1", "exp": at.Unix() + 600, "iat": at.Unix() - 1, "nonce": "n-1"}
}

func with(pairs ...any) object {
	c := good()
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == nil {
			delete(c, pairs[i].(string))
			continue
		}
		c[pairs[i].(string)] = pairs[i+1]
	}
	return c
}

var asked = jose.IDTokenRequest{Now: at, Nonce: "n-1"}

func TestIDTokenAlgorithms(t *testing.T) {
	for alg, name := range map[string]string{"RS256": "rsa", "RS384": "rsa", "RS512": "rsa", "PS256": "rsa", "PS384": "rsa", "PS512": "rsa",
		"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "ed"} {
		sum := sha512.Sum512([]byte("at"))
		hash := b64.EncodeToString(sum[:32])
		switch alg[2:] {
		case "256":
			s := sha256.Sum256([]byte("at"))
			hash = b64.EncodeToString(s[:16])
		case "384":
			s := sha512.Sum384([]byte("at"))
			hash = b64.EncodeToString(s[:24])
		}
		for kid, head := range map[string]object{"named": {"alg": alg, "kid": name}, "not named": {"alg": alg}} {
			token := forge(t, signers()[name], head, with("at_hash", hash))
			want := asked
			want.AccessToken = oauth.NewSecret("at")
			got, err := provider(t).VerifyIDToken(token, want)
			if err != nil {
				t.Errorf("%s, %s: %v", alg, kid, err)
				continue
			}
			if got.Subject != "user 1" || got.Issuer != issuer || !got.Expires.Equal(at.Add(10*time.Minute)) {
				t.Errorf("%s: %+v", alg, got)
			}
			want.AccessToken = oauth.NewSecret("other")
			if _, err := provider(t).VerifyIDToken(token, want); jose.ReasonOf(err) != jose.BadTokenHash {
				t.Errorf("%s: another access token: %v", alg, err)
			}
		}
	}
}

// TestIDTokenOIDC: OpenID Connect Core §3.1.3.7 by claim; names that begin with
// "fapi2-" or "oidcc-" are those of the client modules of the OpenID
// Foundation's conformance suite.
func TestIDTokenOIDC(t *testing.T) {
	now := at.Unix()
	for _, tt := range []struct {
		name   string
		claims object
		want   jose.Reason // "" is accepted
	}{
		{"happy path", good(), ""},
		{"fapi2-security-profile-final-client-test-valid-aud-as-array", with("aud", []string{client}), ""},
		{"oidcc-client-test-invalid-iss, fapi2-security-profile-final-client-test-invalid-iss", with("iss", issuer+"/"), jose.BadIssuer},
		{"iss of another case", with("iss", "https://OP.example"), jose.BadIssuer},
		{"fapi2-security-profile-final-client-test-invalid-missing-iss", with("iss", nil), jose.BadIssuer},
		{"iss a list", with("iss", []string{issuer}), jose.BadIssuer},
		{"oidcc-client-test-invalid-aud, fapi2-security-profile-final-client-test-invalid-aud", with("aud", "other"), jose.BadAudience},
		{"fapi2-security-profile-final-client-test-invalid-missing-aud", with("aud", nil), jose.BadAudience},
		{"aud empty", with("aud", []string{}), jose.BadAudience},
		{"aud a number", with("aud", 7), jose.BadAudience},
		{"fapi2-security-profile-final-client-test-invalid-secondary-aud", with("aud", []string{client, "evil"}, "azp", client), jose.BadAudience},
		{"trusted second aud", with("aud", []string{client, "friend"}, "azp", client), ""},
		{"several aud, no azp", with("aud", []string{client, "friend"}), jose.BadParty},
		{"several aud, azp of another", with("aud", []string{client, "friend"}, "azp", "friend"), jose.BadParty},
		{"azp ours", with("azp", client), ""},
		{"azp of another", with("azp", "other"), jose.BadParty},
		{"azp a number", with("azp", 1), jose.BadParty},
		{"oidcc-client-test-missing-sub", with("sub", nil), jose.BadSubject},
		{"sub empty", with("sub", ""), jose.BadSubject},
		{"sub a number", with("sub", 1), jose.BadSubject},
		{"fapi2-security-profile-final-client-test-invalid-expired-exp", with("exp", now-301), jose.Expired},
		{"expired within the leeway", with("exp", now-59), ""},
		{"expired at the leeway", with("exp", now-60), jose.Expired},
		{"fapi2-security-profile-final-client-test-invalid-missing-exp", with("exp", nil), jose.Expired},
		{"exp text", with("exp", "1900000000"), jose.Expired},
		{"exp in milliseconds", with("exp", (now+600)*1000), jose.Expired},
		{"exp negative", with("exp", -1), jose.Expired},
		{"exp with a fraction", with("exp", float64(now)+0.5), ""},
		{"oidcc-client-test-missing-iat", with("iat", nil), jose.BadIssued},
		{"iat in the future", with("iat", now+120), jose.BadIssued},
		{"iat a little ahead", with("iat", now+50), ""},
		{"iat text", with("iat", "x"), jose.BadIssued},
		{"nbf past", with("nbf", now), ""},
		{"nbf in the future", with("nbf", now+120), jose.NotYet},
		{"nbf text", with("nbf", "x"), jose.NotYet},
		{"oidcc-client-test-nonce-invalid, fapi2-security-profile-final-client-test-invalid-nonce", with("nonce", "n-2"), jose.BadNonce},
		{"fapi2-security-profile-final-client-test-invalid-missing-nonce", with("nonce", nil), jose.BadNonce},
		{"nonce a list", with("nonce", []string{"n-1"}), jose.BadNonce},
	} {
		p := provider(t)
		p.TrustedAudiences = []string{"friend"}
		_, err := p.VerifyIDToken(forge(t, signers()["P-256"], object{"alg": "ES256", "kid": "P-256"}, tt.claims), asked)
		if jose.ReasonOf(err) != tt.want || (err == nil) != (tt.want == "") {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestIDTokenSignature: form, header and key.
func TestIDTokenSignature(t *testing.T) {
	k, other := signers()["rsa"], signers()["rsa2"]
	ok := forge(t, k, object{"alg": "RS256", "kid": "rsa"}, good())
	parts := strings.Split(ok, ".")
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	secret := []byte(strings.Repeat("k", 64))
	rsaPEM := []byte(b64.EncodeToString(public(k).(*rsa.PublicKey).N.Bytes()))
	encKey := jwk(t, public(k), object{"kid": "enc", "use": "enc"})
	for _, tt := range []struct {
		name, token string
		mend        func(*jose.Provider)
		want        jose.Reason
	}{
		{"happy path", ok, nil, ""},
		{"typ JWT", forge(t, k, object{"alg": "RS256", "kid": "rsa", "typ": "JWT"}, good()), nil, ""},
		{"oidcc-client-test-invalid-sig-rs256", parts[0] + "." + parts[1] + "." + flip(parts[2]), nil, jose.BadSignature},
		{"other claims under the signature", parts[0] + "." + b64.EncodeToString([]byte(`{"sub":"x"}`)) + "." + parts[2], nil, jose.BadSignature},
		{"no signature", parts[0] + "." + parts[1] + ".", nil, jose.BadSignature},
		{"oidcc-client-test-idtoken-sig-none, fapi2-security-profile-final-client-test-invalid-null-alg", forge(t, nil, object{"alg": "none"}, good()), nil, jose.BadAlgorithm},
		{"alg none, allowed by mistake", forge(t, nil, object{"alg": "none"}, good()), func(p *jose.Provider) { p.Algorithms = []string{"none"} }, jose.BadAlgorithm},
		{"alg None", forge(t, nil, object{"alg": "None"}, good()), nil, jose.BadAlgorithm},
		{"no alg", forge(t, nil, object{"kid": "rsa"}, good()), nil, jose.BadAlgorithm},
		{"fapi2-security-profile-final-client-test-invalid-alternate-alg", ok, func(p *jose.Provider) { p.Algorithms = []string{"PS256", "ES256", "EdDSA"} }, jose.BadAlgorithm},
		{"nothing allowed", ok, func(p *jose.Provider) { p.Algorithms = []string{} }, jose.BadAlgorithm},
		{"HS256 unasked", forge(t, secret, object{"alg": "HS256"}, good()), func(p *jose.Provider) { p.Secret = oauth.NewSecret(string(secret)) }, jose.BadAlgorithm},
		{"HS256 allowed", forge(t, secret, object{"alg": "HS256"}, good()), hs(string(secret)), ""},
		{"HS256, another secret", forge(t, secret, object{"alg": "HS256"}, good()), hs(strings.Repeat("j", 64)), jose.BadSignature},
		{"HS256, short secret", forge(t, []byte("short"), object{"alg": "HS256"}, good()), hs("short"), jose.NoKey},
		{"HS256, no secret", forge(t, []byte{}, object{"alg": "HS256"}, good()), hs(""), jose.NoKey},
		{"HS256 under the public key", forge(t, rsaPEM, object{"alg": "HS256", "kid": "rsa"}, good()), hs(string(secret)), jose.BadSignature},
		{"HS256 under a published symmetric key", forge(t, []byte{0, 0, 0}, object{"alg": "HS256", "kid": "oct"}, good()), hs(string(secret)), jose.BadSignature},
		{"oidcc-client-test-kid-absent-multiple-jwks", forge(t, other, object{"alg": "PS256"}, good()), nil, ""},
		{"unknown kid", forge(t, k, object{"alg": "RS256", "kid": "new"}, good()), nil, jose.NoKey},
		{"kid of another key", forge(t, k, object{"alg": "RS256", "kid": "rsa2"}, good()), nil, jose.BadSignature},
		{"kid of another kind", forge(t, k, object{"alg": "RS256", "kid": "P-256"}, good()), nil, jose.NoKey},
		{"ES256 under P-384", forge(t, signers()["P-384"], object{"alg": "ES256", "kid": "P-384"}, good()), nil, jose.NoKey},
		{"weak key", forge(t, weak, object{"alg": "RS256", "kid": "weak"}, good()), func(p *jose.Provider) { p.JWKS = jwks(t, jwk(t, &weak.PublicKey, object{"kid": "weak"})) }, jose.NoKey},
		{"key for encryption", forge(t, k, object{"alg": "RS256", "kid": "enc"}, good()), func(p *jose.Provider) { p.JWKS = jwks(t, encKey) }, jose.NoKey},
		{"key for another alg", ok, func(p *jose.Provider) { p.JWKS = jwks(t, jwk(t, public(k), object{"kid": "rsa", "alg": "PS256"})) }, jose.NoKey},
		{"key in the header", forge(t, weak, object{"alg": "RS256", "jwk": jwk(t, &weak.PublicKey, nil)}, good()), nil, jose.BadSignature},
		{"no key set", ok, func(p *jose.Provider) { p.JWKS = nil }, jose.NoKey},
		{"empty key set", ok, func(p *jose.Provider) { p.JWKS = []byte(`{}`) }, jose.NoKey},
		{"HTML for a key set", ok, func(p *jose.Provider) { p.JWKS = []byte("<html>") }, jose.NoKey},
		{"access token", forge(t, k, object{"alg": "RS256", "kid": "rsa", "typ": "at+jwt"}, good()), nil, jose.BadType},
		{"logout token", forge(t, k, object{"alg": "RS256", "kid": "rsa", "typ": "application/logout+JWT"}, good()), nil, jose.BadType},
		{"crit", forge(t, k, object{"alg": "RS256", "kid": "rsa", "crit": []string{"exp"}, "exp": 1}, good()), nil, jose.BadCritical},
		{"b64", forge(t, k, object{"alg": "RS256", "kid": "rsa", "b64": false}, good()), nil, jose.BadCritical},
		{"claim twice", forgeRaw(t, k, "RS256", `{"alg":"RS256","kid":"rsa"}`, `{"sub":"a","sub":"b"}`), nil, jose.BadForm},
		{"alg twice", forgeRaw(t, k, "RS256", `{"alg":"none","alg":"RS256","kid":"rsa"}`, `{}`), nil, jose.BadForm},
		{"claims a list", forgeRaw(t, k, "RS256", `{"alg":"RS256","kid":"rsa"}`, `[]`), nil, jose.BadForm},
		{"claims null", forgeRaw(t, k, "RS256", `{"alg":"RS256","kid":"rsa"}`, `null`), nil, jose.BadForm},
		{"empty", "", nil, jose.BadForm},
		{"two parts", parts[0] + "." + parts[1], nil, jose.BadForm},
		{"encrypted", "e30.a.b.c.d", nil, jose.BadForm},
		{"JSON form", `{"payload":"e30"}`, nil, jose.BadForm},
		{"not base64", "!." + parts[1] + "." + parts[2], nil, jose.BadForm},
		{"huge", parts[0] + "." + strings.Repeat("A", 256<<10) + "." + parts[2], nil, jose.BadForm},
	} {
		p := provider(t)
		if tt.mend != nil {
			tt.mend(&p)
		}
		_, err := p.VerifyIDToken(tt.token, asked)
		if jose.ReasonOf(err) != tt.want || (err == nil) != (tt.want == "") {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if err != nil && quotes(err.Error(), tt.token) {
			t.Errorf("%s: the error quotes the token: %v", tt.name, err)
		}
	}
}

func hs(secret string) func(*jose.Provider) {
	return func(p *jose.Provider) { p.Algorithms, p.Secret = []string{"HS256"}, oauth.NewSecret(secret) }
}

func flip(part string) string {
	raw, err := b64.DecodeString(part)
	if err != nil {
		panic(err)
	}
	raw[len(raw)/2] ^= 1
	return b64.EncodeToString(raw)
}

// TestIDTokenRequest: what depends on the request, refresh included (client
// modules oidcc-client-refreshtoken…).
func TestIDTokenRequest(t *testing.T) {
	code := oauth.NewSecret("c-1")
	sum := sha512.Sum512([]byte("c-1"))
	cHash := b64.EncodeToString(sum[:32])
	for _, tt := range []struct {
		name   string
		claims object
		mend   func(*jose.IDTokenRequest)
		want   jose.Reason
	}{
		{"no nonce was sent", with("nonce", "any"), func(r *jose.IDTokenRequest) { r.Nonce = "" }, ""},
		{"refresh-token without nonce", with("nonce", nil), refreshed, ""},
		{"refresh-token with the nonce", good(), refreshed, ""},
		{"refresh-token with another nonce", with("nonce", "n-9"), refreshed, jose.BadNonce},
		{"refresh-token-invalid-issuer", with("iss", "https://other.example"), refreshed, jose.BadIssuer},
		{"refresh-token-invalid-sub", with("sub", "user 2"), refreshed, jose.BadSubject},
		{"c_hash", with("c_hash", cHash), func(r *jose.IDTokenRequest) { r.Code = code }, ""},
		{"c_hash padded", with("c_hash", cHash+"=="), func(r *jose.IDTokenRequest) { r.Code = code }, ""},
		{"invalid c_hash", with("c_hash", cHash[1:]), func(r *jose.IDTokenRequest) { r.Code = code }, jose.BadCodeHash},
		{"c_hash a number", with("c_hash", 1), func(r *jose.IDTokenRequest) { r.Code = code }, jose.BadCodeHash},
		{"c_hash without a code", with("c_hash", "x"), nil, ""},
		{"max_age kept", with("auth_time", at.Unix()-100), maxAge(100 * time.Second), ""},
		{"max_age passed", with("auth_time", at.Unix()-200), maxAge(100 * time.Second), jose.BadAuthTime},
		{"max_age, no auth_time", good(), maxAge(100 * time.Second), jose.BadAuthTime},
		{"9470-1: acr reached", with("acr", "phr"), acr("mfa", "phr"), ""},
		{"9470-1: acr lower", with("acr", "pwd"), acr("mfa", "phr"), jose.BadContext},
		{"9470-1: no acr", good(), acr("mfa"), jose.BadContext},
	} {
		want := asked
		if tt.mend != nil {
			tt.mend(&want)
		}
		_, err := provider(t).VerifyIDToken(forge(t, signers()["ed"], object{"alg": "EdDSA", "kid": "ed"}, tt.claims), want)
		if jose.ReasonOf(err) != tt.want || (err == nil) != (tt.want == "") {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func refreshed(r *jose.IDTokenRequest) { r.Refresh, r.Subject = true, "user 1" }

func maxAge(d time.Duration) func(*jose.IDTokenRequest) {
	return func(r *jose.IDTokenRequest) { r.AuthenticatedAfter = r.Now.Add(-d) }
}

func acr(list ...string) func(*jose.IDTokenRequest) {
	return func(r *jose.IDTokenRequest) { r.ACR = list }
}

func TestIDTokenMisuse(t *testing.T) {
	token := forge(t, signers()["ed"], object{"alg": "EdDSA"}, with("iss", "", "aud", ""))
	full := provider(t)
	for name, call := range map[string]func() error{
		"no issuer":    func() error { p := full; p.Issuer = ""; _, err := p.VerifyIDToken(token, asked); return err },
		"no client id": func() error { p := full; p.ClientID = ""; _, err := p.VerifyIDToken(token, asked); return err },
		"no time":      func() error { _, err := full.VerifyIDToken(token, jose.IDTokenRequest{}); return err },
		"refresh without subject": func() error {
			_, err := full.VerifyIDToken(token, jose.IDTokenRequest{Now: at, Refresh: true})
			return err
		},
		"response without time": func() error { _, err := full.VerifyResponse(token, time.Time{}); return err },
	} {
		if err := call(); err == nil || jose.ReasonOf(err) != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIDTokenClaims(t *testing.T) {
	c := with("email", "u@x.example", "email_verified", true, "auth_time", at.Unix()-5, "acr", "phr", "amr", []string{"hwk"})
	got, err := provider(t).VerifyIDToken(forge(t, signers()["ed"], object{"alg": "EdDSA"}, c), asked)
	if err != nil {
		t.Fatal(err)
	}
	var email string
	var verified bool
	var amr []string
	if !got.Claim("email", &email) || !got.Claim("email_verified", &verified) || !got.Claim("amr", &amr) || email != "u@x.example" || !verified || len(amr) != 1 {
		t.Errorf("%q %v %v", email, verified, amr)
	}
	if got.Claim("name", &email) || got.Claim("amr", &email) {
		t.Error("a claim that isn't there, or is another type")
	}
	if !got.AuthTime.Equal(at.Add(-5*time.Second)) || got.ACR != "phr" || len(got.Audience) != 1 || got.IssuedAt.IsZero() {
		t.Errorf("%+v", got)
	}
	if text := fmt.Sprintf("%v %+v %s", got, *got, []any{got}); strings.Contains(text, "u@x.example") || !strings.Contains(text, "user 1") {
		t.Errorf("%.200s", text)
	}
}

// TestIDTokenLeeway: what is configured is bounded.
func TestIDTokenLeeway(t *testing.T) {
	token := forge(t, signers()["ed"], object{"alg": "EdDSA"}, with("exp", at.Unix()-200))
	for leeway, ok := range map[time.Duration]bool{0: false, time.Second: false, 201 * time.Second: true, -time.Hour: false} {
		p := provider(t)
		p.Leeway = leeway
		if _, err := p.VerifyIDToken(token, asked); (err == nil) != ok {
			t.Errorf("%v: %v", leeway, err)
		}
	}
	p := provider(t)
	p.Leeway = 24 * time.Hour
	old := forge(t, signers()["ed"], object{"alg": "EdDSA"}, with("exp", at.Unix()-301))
	if _, err := p.VerifyIDToken(old, asked); jose.ReasonOf(err) != jose.Expired {
		t.Errorf("more than 5 min of leeway: %v", err)
	}
}

// TestRefusalHidesIssuer: an issuer that isn't a plain URL may be anything.
func TestRefusalHidesIssuer(t *testing.T) {
	for iss, shown := range map[string]bool{"https://other.example/t": true, "canary-canary": false, "https://x/?t=canary-canary": false,
		"https://canary-canary@x/": false, "https://x/" + strings.Repeat("y", 200): false, "https://x/\x1b[2J": false} {
		_, err := provider(t).VerifyIDToken(forge(t, signers()["ed"], object{"alg": "EdDSA"}, with("iss", iss)), asked)
		if jose.ReasonOf(err) != jose.BadIssuer || strings.Contains(err.Error(), iss) != shown || strings.ContainsAny(err.Error(), "\x1b") {
			t.Errorf("%q: %v", iss, err)
		}
	}
}

// TestRFC7515Examples: appendix A.2 (RS256) and A.3 (ES256), RFC 8037 A.4
// (Ed25519). The signatures are good; what is refused comes after them.
func TestRFC7515Examples(t *testing.T) {
	const payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	for _, tt := range []struct {
		name, jwk, token string
		want             jose.Reason
	}{
		{"RFC 7515 A.2", `{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}`,
			"eyJhbGciOiJSUzI1NiJ9." + payload + ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw", jose.BadAudience},
		{"RFC 7515 A.3", `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
			"eyJhbGciOiJFUzI1NiJ9." + payload + ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q", jose.BadAudience},
		{"RFC 8037 A.4", `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
			"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg", jose.BadForm},
	} {
		p := jose.Provider{Issuer: "joe", ClientID: "c", JWKS: []byte(`{"keys":[` + tt.jwk + `]}`)}
		if _, err := p.VerifyIDToken(tt.token, asked); jose.ReasonOf(err) != tt.want {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		parts := strings.Split(tt.token, ".")
		broken := parts[0] + "." + parts[1] + "." + flip(parts[2])
		if _, err := p.VerifyIDToken(broken, asked); jose.ReasonOf(err) != jose.BadSignature {
			t.Errorf("%s, broken: %v", tt.name, err)
		}
	}
}

// TestRFC8037Signature: Ed25519 has one signature for one text, so ours can be
// compared with that of crypto/ed25519 under the key of RFC 8037 A.1.
func TestRFC8037Signature(t *testing.T) {
	k := must(jose.ParseKey([]byte(rfc8037), oauth.Secret{}))
	a, err := jose.Assertion{Issuer: "i", Subject: "s", Audience: "a"}.Sign(k, at)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := b64.DecodeString("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(a.Reveal(), ".")
	if want := ed25519.Sign(ed25519.NewKeyFromSeed(seed), []byte(parts[0]+"."+parts[1])); b64.EncodeToString(want) != parts[2] {
		t.Error("another signature")
	}
}

// TestInspect9068_1: row "9068-1": a token is decoded for display only, and
// labelled so.
func TestInspect9068_1(t *testing.T) {
	token := forge(t, nil, object{"alg": "none", "typ": "at+jwt"}, object{"sub": "canary-canary"})
	u, err := jose.Inspect(oauth.NewSecret(token))
	if err != nil {
		t.Fatal(err)
	}
	var c object
	if json.Unmarshal(u.Claims, &c) != nil || c["sub"] != "canary-canary" || !strings.Contains(string(u.Header), "at+jwt") {
		t.Errorf("%s %s", u.Header, u.Claims)
	}
	if !strings.HasPrefix(u.String(), "unverified") || strings.Contains(fmt.Sprintf("%v %+v %s %x", u, &u, u, u), "canary") {
		t.Errorf("%v", u)
	}
	for _, bad := range []string{"", "opaque", "a.b", "a.b.c", "e30.W10.x", "e30.e30.x.y.z"} {
		if u, err := jose.Inspect(oauth.NewSecret(bad)); err == nil {
			t.Errorf("%q: %v", bad, u)
		}
	}
}
