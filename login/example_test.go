package login_test

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/evergrant/evergrant/idptest"
	"github.com/evergrant/evergrant/login"
)

// The person's browser is played by an HTTP client here; a program uses
// [login.Open].
func ExampleBrowser() {
	server := idptest.New(idptest.Config{})
	defer server.Close()
	base, err := server.Listen("127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	found, err := login.Discover(context.Background(), base, login.Config{ClientID: "my-app", Scopes: []string{"openid", "read"}}, login.Client{})
	if err != nil {
		fmt.Println(err)
		return
	}
	c := found.Config
	c.Show = func(p login.Prompt) { fmt.Println("opened:", p.Opened) }
	c.Open = func(link string) error {
		go http.Get(link)
		return nil
	}
	grant, err := login.Browser(context.Background(), c)
	if err != nil {
		fmt.Println(err) // a *login.Error says who has to act
		return
	}
	fmt.Println(grant.Scope, grant.Identity.Issuer == base, grant.Document)
	// Output:
	// opened: true
	// openid read true [redacted]
}

func ExamplePaste() {
	c := login.Config{ /* provider and client */ }
	c.Show = func(p login.Prompt) {
		fmt.Fprintln(os.Stderr, "Open this address, approve, and paste the address where the browser ends:")
		fmt.Fprintln(os.Stderr, p.URL)
		fmt.Fprint(os.Stderr, login.QR(p.URL))
	}
	c.Paste = login.PasteFrom(os.Stdin)
	_, err := login.Paste(context.Background(), c)
	fmt.Println(err)
	// Output:
	// the client id of the app registration is missing
}
