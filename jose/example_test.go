package jose_test

import (
	"fmt"
	"log"
	"os"
	"time"

	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
)

// A client that authenticates by key instead of a secret.
func ExamplePrivateKeyJWT() {
	file, err := os.ReadFile("testdata/keys/ec.prime256v1.pkcs8.pem")
	if err != nil {
		log.Fatal(err)
	}
	key, err := jose.ParseKey(file, oauth.Secret{})
	if err != nil {
		log.Fatal(err)
	}
	auth := jose.PrivateKeyJWT("my-client", key.WithID("2026-11"), "https://as.example")
	request, err := oauth.RefreshRequest("https://as.example/token", oauth.NewSecret("a-refresh-token"), auth)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(key, request.Form.Has("client_assertion"))
	// Output: ES256 key [redacted] true
}

// The JWT bearer grant of Salesforce: the assertion is the grant.
func ExampleAssertion_Sign() {
	key, err := jose.Generate("RS256")
	if err != nil {
		log.Fatal(err)
	}
	assertion, err := jose.Assertion{
		Issuer:   "3MVG9-consumer-key",
		Subject:  "user@example.com",
		Audience: "https://login.salesforce.com",
		Lifetime: 3 * time.Minute,
	}.Sign(key, time.Now())
	if err != nil {
		log.Fatal(err)
	}
	form := oauth.Form{
		{Name: "grant_type", Value: "urn:ietf:params:oauth:grant-type:jwt-bearer"},
		{Name: "assertion", Value: assertion.Reveal()},
	}
	fmt.Println(len(form), assertion)
	// Output: 2 [redacted]
}

// Proofs for a token request, and what to do with the answer.
func ExampleProofs() {
	key, err := jose.Generate("ES256")
	if err != nil {
		log.Fatal(err)
	}
	proofs, err := jose.NewProofs(key)
	if err != nil {
		log.Fatal(err)
	}
	request := &oauth.Request{URL: "https://as.example/token"}
	if err := proofs.Attach(request, time.Now()); err != nil {
		log.Fatal(err)
	}
	answer := &oauth.Answer{Status: 400, Body: []byte(`{"error":"use_dpop_nonce"}`), Header: map[string][]string{"Dpop-Nonce": {"n-1"}}}
	again := proofs.Retry()
	fmt.Println("once more with the nonce:", again(request.URL, answer.Status, answer.Header, answer.Body))
	// Output: once more with the nonce: true
}

// The ID token that came with a login.
func ExampleProvider_VerifyIDToken() {
	provider := jose.Provider{Issuer: "https://op.example", ClientID: "my-client", JWKS: []byte(`{"keys":[]}`)}
	_, err := provider.VerifyIDToken("eyJhbGciOiJub25lIn0.e30.", jose.IDTokenRequest{Now: time.Now(), Nonce: "n-1"})
	if jose.ReasonOf(err) == jose.NoKey {
		fmt.Println("fetch the key set again, once")
	}
	fmt.Println(err)
	// Output: checking ID token: alg: it is signed with an algorithm that is not allowed
}
