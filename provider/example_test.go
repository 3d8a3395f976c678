package provider_test

import (
	"fmt"
	"testing"

	"github.com/evergrant/evergrant/provider"
)

func ExampleGet() {
	p, err := provider.Get("salesforce")
	if err != nil {
		fmt.Println(err)
		return
	}
	u, err := p.TokenURL(map[string]string{"host": "acme.my.salesforce.com"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(u)
	fmt.Println("rotation ruled out:", p.Rotation().Never)
	// Output:
	// https://acme.my.salesforce.com/services/oauth2/token
	// rotation ruled out: false
}

func ExampleForHost() {
	// A token file's id is https://test.salesforce.com/id/00D…/005….
	p, tokenURL, ok := provider.ForHost("test.salesforce.com")
	if !ok {
		fmt.Println("unknown host")
		return
	}
	fmt.Println(p.Title, tokenURL)
	// Output: Salesforce https://test.salesforce.com/services/oauth2/token
}

func ExampleMatch() {
	p, err := provider.Get("salesforce")
	if err != nil {
		fmt.Println(err)
		return
	}
	rule, ok := provider.Match(p, 400, "invalid_grant", "ip restricted or invalid login hours")
	fmt.Println(ok, rule.Outcome)
	fmt.Println(rule.Says)
	fmt.Println(rule.Do)
	// Output:
	// true blocked
	// Salesforce does not allow this login from this network address or at this hour.
	// Connect from an allowed network or ask your Salesforce administrator to allow this address and time. Your login is kept.
}

func ExampleProvider_Facts() {
	p, err := provider.Get("xero")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range p.Facts() {
		if f.Field == "refresh.grace" {
			fmt.Println(f.Value, f.Verified, f.Source.Name, f.Source.Date)
		}
	}
	// Output: 30m true Xero developer community: refresh token grace period 2026-11-23
}

func BenchmarkGet(b *testing.B) {
	for b.Loop() {
		if _, err := provider.Get("salesforce"); err != nil {
			b.Fatal(err)
		}
	}
}
