package oauth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/evergrant/evergrant/oauth"
)

func Example() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"access_token":"at-2","refresh_token":"rt-2","expires_in":"3600"}`)
	}))
	defer server.Close()

	req, err := oauth.RefreshRequest(server.URL, oauth.NewSecret("rt-1"), oauth.None("my-client"))
	if err != nil {
		fmt.Println(err)
		return
	}
	var client oauth.Client
	answer, err := client.Send(context.Background(), req, func() error {
		fmt.Println("about to send; write down that rt-1 is under way")
		return nil
	})
	if err != nil {
		fmt.Println(err) // a *oauth.SendError says whether anything left
		return
	}
	token, err := oauth.ParseToken(answer, oauth.Dialect{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(answer.Status, token.RefreshToken, token.RefreshToken.Reveal(), token.ExpiresIn)
	// Output:
	// about to send; write down that rt-1 is under way
	// 200 [redacted] rt-2 1h0m0s
}
