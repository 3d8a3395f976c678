package oauth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/evergrant/evergrant/oauth"
)

// From the URL of an API to a client at its authorization server.
func ExampleClient_DiscoverResource() {
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	document := func(path, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, body, server.URL)
		})
	}
	document("/.well-known/oauth-protected-resource/mcp", `{"resource":"%[1]s/mcp","authorization_servers":["%[1]s"],"scopes_supported":["read"]}`)
	document("/.well-known/oauth-authorization-server", `{"issuer":"%[1]s","token_endpoint":"%[1]s/token","registration_endpoint":"%[1]s/register"}`)
	document("/register", `{"client_id":"made-for-%[1]s"}`)

	ctx, typed := context.Background(), server.URL+"/mcp"
	client := oauth.Client{Gate: oauth.GateFor(ctx, typed)}
	resource, err := client.DiscoverResource(ctx, typed)
	if err != nil {
		fmt.Println(err)
		return
	}
	issuer, err := client.Discover(ctx, resource.AuthorizationServers[0])
	if err != nil {
		fmt.Println(err)
		return
	}
	made, err := client.Register(ctx, issuer.Registration, oauth.Registration{
		Name: "an example", AuthMethod: "none", RedirectURIs: []string{"http://127.0.0.1/callback"},
	}, oauth.Secret{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(resource.Exact, resource.Scopes, made.AuthMethod, made.ClientID == "made-for-"+server.URL)
	// Output: true [read] none true
}
