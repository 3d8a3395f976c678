package jose_test

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
)

func num(t *testing.T, claims object, name string) int64 {
	t.Helper()
	n, ok := claims[name].(json.Number)
	if !ok {
		t.Fatalf("%s is %T", name, claims[name])
	}
	i, err := n.Int64()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// TestAssertion7523_1: row "7521/7523-1".
func TestAssertion7523_1(t *testing.T) {
	seen := map[any]bool{}
	for _, name := range []string{"rsa.pkcs8.pem", "ec.prime256v1.sec1.pem", "ec.secp384r1.sec1.pem", "ec.secp521r1.sec1.pem", "ed25519.pem"} {
		k := load(t, name).WithID("key 1")
		for range 3 {
			a, err := jose.Assertion{Issuer: "client", Subject: "user@x", Audience: "https://as.example"}.Sign(k, at)
			if err != nil {
				t.Fatal(err)
			}
			head, claims := split(t, a.Reveal(), publicOf(t, k))
			if want := (object{"alg": k.Algorithm(), "typ": "JWT", "kid": "key 1"}); !reflect.DeepEqual(head, want) {
				t.Errorf("%s: header %v", name, head)
			}
			if claims["iss"] != "client" || claims["sub"] != "user@x" || claims["aud"] != "https://as.example" || len(claims) != 6 {
				t.Errorf("%s: claims %v", name, claims)
			}
			back, life := at.Unix()-num(t, claims, "iat"), num(t, claims, "exp")-at.Unix()
			if back < 10 || back > 60 || life <= 0 || life > 300 || back+life > 300 {
				t.Errorf("%s: iat %d s back, exp %d s ahead", name, back, life)
			}
			if jti, _ := claims["jti"].(string); len(jti) < 22 || seen[jti] {
				t.Errorf("%s: jti %q", name, jti)
			}
			seen[claims["jti"]] = true
		}
	}
}

// TestAssertionDialects: what each provider's documentation asks for.
func TestAssertionDialects(t *testing.T) {
	rsaKey := load(t, "rsa.pkcs8.pem")
	google := must(jose.ParseKey(serviceAccount(t), oauth.Secret{}))
	account := google.ServiceAccount()
	for _, tt := range []struct {
		name string
		a    jose.Assertion
		key  *jose.Key
		want object // of the claims
		life int64
		kid  any
	}{
		{"Salesforce", jose.Assertion{Issuer: "3MVG9", Subject: "u@x.example", Audience: "https://login.salesforce.com", Lifetime: 3 * time.Minute}, rsaKey,
			object{"iss": "3MVG9", "sub": "u@x.example", "aud": "https://login.salesforce.com", "prn": nil, "scope": nil}, 180, nil},
		{"Google", account.Assertion("https://www.googleapis.com/auth/drive openid", ""), google,
			object{"iss": account.Email, "sub": nil, "aud": "https://oauth2.googleapis.com/token", "scope": "https://www.googleapis.com/auth/drive openid"}, 240, "0badc0de"},
		{"Google, delegated", account.Assertion("s", "boss@x.example"), google, object{"sub": "boss@x.example", "scope": "s"}, 240, "0badc0de"},
		{"DocuSign", jose.Assertion{Issuer: "ikey", Subject: "guid", Audience: "account-d.docusign.com", Scope: "signature impersonation"}, rsaKey,
			object{"iss": "ikey", "sub": "guid", "aud": "account-d.docusign.com", "scope": "signature impersonation"}, 240, nil},
		{"list of audiences", jose.Assertion{Issuer: "i", Subject: "s", AudienceList: []string{"a"}}, rsaKey, object{"aud": []any{"a"}}, 240, nil},
		{"extra claim", jose.Assertion{Issuer: "i", Subject: "s", Audience: "a", Claims: object{"box_sub_type": "enterprise"}, Lifetime: 45 * time.Second}, rsaKey,
			object{"box_sub_type": "enterprise"}, 45, nil},
		{"header", jose.Assertion{Issuer: "i", Subject: "s", Audience: "a", Header: object{"kid": "other", "typ": "client-authentication+jwt"}}, rsaKey, nil, 240, "other"},
	} {
		a, err := tt.a.Sign(tt.key, at)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		head, claims := split(t, a.Reveal(), publicOf(t, tt.key))
		for name, want := range tt.want {
			if !reflect.DeepEqual(claims[name], want) {
				t.Errorf("%s: %s is %v, want %v", tt.name, name, claims[name], want)
			}
		}
		if life := num(t, claims, "exp") - at.Unix(); life != tt.life || head["kid"] != tt.kid {
			t.Errorf("%s: lives %d s, kid %v", tt.name, life, head["kid"])
		}
	}
}

func TestAssertionBackdate(t *testing.T) {
	for back, want := range map[time.Duration]int64{0: 20, -1: 0, time.Minute: 60, 10 * time.Second: 10} {
		k := load(t, "ed25519.pem")
		a, err := jose.Assertion{Issuer: "i", Subject: "s", Audience: "a", Backdate: back}.Sign(k, at)
		if err != nil {
			t.Fatal(err)
		}
		if _, c := split(t, a.Reveal(), publicOf(t, k)); at.Unix()-num(t, c, "iat") != want {
			t.Errorf("%v: iat %v", back, c["iat"])
		}
	}
}

func TestAssertionRefuses(t *testing.T) {
	ok := jose.Assertion{Issuer: "i", Subject: "s", Audience: "a"}
	change := func(f func(*jose.Assertion)) jose.Assertion { a := ok; f(&a); return a }
	for name, a := range map[string]jose.Assertion{
		"no issuer":        change(func(a *jose.Assertion) { a.Issuer = "" }),
		"no subject":       change(func(a *jose.Assertion) { a.Subject = "" }),
		"subject and none": change(func(a *jose.Assertion) { a.NoSubject = true }),
		"no audience":      change(func(a *jose.Assertion) { a.Audience = "" }),
		"empty list":       change(func(a *jose.Assertion) { a.Audience, a.AudienceList = "", []string{} }),
		"audience twice":   change(func(a *jose.Assertion) { a.AudienceList = []string{"b"} }),
		"long":             change(func(a *jose.Assertion) { a.Lifetime = 5*time.Minute + 1 }),
		"negative":         change(func(a *jose.Assertion) { a.Lifetime = -1 }),
		"far back":         change(func(a *jose.Assertion) { a.Backdate = 61 * time.Second }),
		"jti set":          change(func(a *jose.Assertion) { a.Claims = object{"jti": "1"} }),
		"exp set":          change(func(a *jose.Assertion) { a.Claims = object{"exp": 1} }),
		"sub set": change(func(a *jose.Assertion) {
			a.Subject, a.NoSubject, a.Claims = "", true, object{"sub": "x"}
		}),
		"alg set":        change(func(a *jose.Assertion) { a.Header = object{"alg": "none"} }),
		"crit set":       change(func(a *jose.Assertion) { a.Header = object{"crit": []string{"b64"}} }),
		"no certificate": change(func(a *jose.Assertion) { a.Certificate = jose.X5C }),
		"no JSON":        change(func(a *jose.Assertion) { a.Claims = object{"x": func() {}} }),
	} {
		if got, err := a.Sign(load(t, "ed25519.pem"), at); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAssertionCertificate(t *testing.T) {
	k := load(t, "rsa.modern.p12")
	leaf := k.Certificates()[0].Raw
	s1, s256 := sha1.Sum(leaf), sha256.Sum256(leaf)
	a, err := jose.Assertion{Issuer: "i", Subject: "s", Audience: "a", Certificate: jose.X5C | jose.X5T | jose.X5TS256}.Sign(k, at)
	if err != nil {
		t.Fatal(err)
	}
	head, _ := split(t, a.Reveal(), publicOf(t, k))
	chain, _ := head["x5c"].([]any)
	if head["x5t"] != b64.EncodeToString(s1[:]) || head["x5t#S256"] != b64.EncodeToString(s256[:]) ||
		len(chain) != 2 || chain[0] != base64.StdEncoding.EncodeToString(leaf) {
		t.Errorf("header %v", head)
	}
	if a, err = (jose.Assertion{Issuer: "i", Subject: "s", Audience: "a"}).Sign(k, at); err != nil {
		t.Fatal(err)
	}
	if head, _ = split(t, a.Reveal(), publicOf(t, k)); len(head) != 2 {
		t.Errorf("header %v, nobody asked for the certificate", head)
	}
}

func request() *oauth.Request {
	return &oauth.Request{URL: "https://as.example/token", Form: oauth.Form{{Name: "grant_type", Value: "client_credentials"}}}
}

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// TestClientAuth7523_1: each attempt has an assertion of its own, made when it
// is sent.
func TestClientAuth7523_1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := load(t, "ec.prime256v1.sec1.pem").WithID("k1")
		secret := oauth.NewSecret(strings.Repeat("s3cr3t-", 5))
		for name, tt := range map[string]struct {
			auth   oauth.ClientAuth
			public any
			alg    string
		}{
			"private_key_jwt":   {jose.PrivateKeyJWT("c 1", k, "https://as.example"), publicOf(t, k), "ES256"},
			"client_secret_jwt": {jose.ClientSecretJWT("c 1", secret, "https://as.example"), []byte(secret.Reveal()), "HS256"},
		} {
			seen := map[any]bool{}
			for range 3 {
				time.Sleep(time.Hour)
				r := request()
				if err := tt.auth(r); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if r.Form.Get("client_assertion_type") != assertionType || r.Form.Get("client_id") != "c 1" || r.Form.Has("client_secret") || r.Header.Get("Authorization") != "" {
					t.Errorf("%s: %v", name, r)
				}
				head, claims := split(t, r.Form.Get("client_assertion"), tt.public)
				if head["alg"] != tt.alg || claims["iss"] != "c 1" || claims["sub"] != "c 1" || claims["aud"] != "https://as.example" || seen[claims["jti"]] {
					t.Errorf("%s: %v %v", name, head, claims)
				}
				seen[claims["jti"]] = true
				if now := time.Now().Unix(); num(t, claims, "exp") <= now || num(t, claims, "iat") > now || num(t, claims, "exp") > now+300 {
					t.Errorf("%s: times %v at %d", name, claims, now)
				}
				if text := fmt.Sprintf("%v %+v", r, *r); strings.Contains(text, r.Form.Get("client_assertion")) {
					t.Errorf("%s: the assertion is printed", name)
				}
			}
		}
	})
}

func TestClientAuthRefuses(t *testing.T) {
	k := load(t, "ed25519.pem")
	const aud = "https://as.example"
	auth := jose.PrivateKeyJWT("c", k, aud)
	long := oauth.NewSecret(strings.Repeat("x", 32))
	for _, tt := range []struct {
		name string
		auth oauth.ClientAuth
		mend func(*oauth.Request)
		want string
	}{
		{"no client id", jose.PrivateKeyJWT("", k, aud), nil, "client id is empty"},
		{"no audience", jose.PrivateKeyJWT("c", k, ""), nil, "audience is empty"},
		{"no key", jose.PrivateKeyJWT("c", nil, aud), nil, "no private key"},
		{"no secret", jose.ClientSecretJWT("c", oauth.Secret{}, aud), nil, "0 bytes"},
		{"short secret", jose.ClientSecretJWT("c", oauth.NewSecret("horse-Battery9"), aud), nil, "14 bytes"},
		{"of another", jose.ClientAssertion(jose.Assertion{Issuer: "i", Subject: "c", Audience: aud}, k), nil, "differ"},
		{"certificate of a secret", jose.ClientAssertion(jose.Assertion{Issuer: "c", Subject: "c", Audience: aud, Certificate: jose.X5T}, k), nil, "no certificate"},
		{"basic before", auth, func(r *oauth.Request) { r.Header = http.Header{"Authorization": {"Basic x"}} }, "one method"},
		{"post before", auth, func(r *oauth.Request) { r.Form.Set("client_secret", "x") }, "one method"},
		{"assertion before", jose.ClientSecretJWT("c", long, aud), func(r *oauth.Request) { r.Form.Set("client_assertion", "x") }, "one method"},
		{"another client", auth, func(r *oauth.Request) { r.Form.Set("client_id", "d") }, "another client"},
	} {
		r := request()
		if tt.mend != nil {
			tt.mend(r)
		}
		before := r.Form.Encode()
		err := tt.auth(r)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q in it", tt.name, err, tt.want)
		} else if strings.Contains(err.Error(), "horse") || r.Form.Encode() != before {
			t.Errorf("%s: %v, form %v", tt.name, err, r.Form)
		}
	}
}
