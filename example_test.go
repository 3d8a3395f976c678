package evergrant_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

// exampleFile writes a token file whose provider is simulated. With a real
// provider there is nothing to set up: the file comes from a login.
func exampleFile(h idptest.Habits) (path string, cfg evergrant.Config, idp *idptest.Server) {
	idp = idptest.New(idptest.Config{Persona: idptest.Salesforce, Habits: h})
	base, err := idp.Listen("127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "evergrant-example-")
	if err != nil {
		log.Fatal(err)
	}
	path = filepath.Join(dir, "token.json")
	grant := idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	if err := os.WriteFile(path, grant.TokenFile(), 0o600); err != nil {
		log.Fatal(err)
	}
	return path, evergrant.Config{ClientID: "app", Provider: "salesforce", TokenURL: base + "/services/oauth2/token"}, idp
}

// The everyday use: ask for the token each time one is needed. It comes from
// memory until it is due.
func ExampleSource_Token() {
	path, cfg, idp := exampleFile(idptest.Habits{})
	defer idp.Close()
	defer os.RemoveAll(filepath.Dir(path))

	src, err := evergrant.OpenFile(path, cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer src.Close()
	token, err := src.Token(context.Background())
	if errors.Is(err, evergrant.ErrNeedsLogin) {
		log.Fatal("log in again: ", err)
	} else if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.Type, token.AccessToken) // a Secret does not show itself
	// Output: Bearer [redacted]
}

// A refresh now, whatever the age of the access token, and what it changed in
// the file.
func ExampleSource_Refresh() {
	path, cfg, idp := exampleFile(idptest.Habits{Rotation: true})
	defer idp.Close()
	defer os.RemoveAll(filepath.Dir(path))

	src, err := evergrant.OpenFile(path, cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer src.Close()
	result, err := src.Refresh(context.Background(), evergrant.RefreshOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Outcome)
	for _, c := range result.Changes {
		if c.Kind != "unchanged" {
			fmt.Println(c.Name, c.Kind)
		}
	}
	// Output:
	// fresh
	// access_token updated
	// refresh_token updated
	// signature updated
	// issued_at updated
}

// An http.Client that adds the token, and renews it once when the API says that
// it ended early.
func ExampleSource_Client() {
	path, cfg, idp := exampleFile(idptest.Habits{})
	defer idp.Close()
	defer os.RemoveAll(filepath.Dir(path))
	api := cfg.TokenURL[:len(cfg.TokenURL)-len("/services/oauth2/token")] + "/services/data/v62.0/query?q=SELECT+Id+FROM+Account"

	src, err := evergrant.OpenFile(path, cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer src.Close()
	client := src.Client(evergrant.ClientOptions{})
	for range 2 {
		resp, err := client.Get(api)
		if err != nil {
			log.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		fmt.Println(resp.Status)
		idp.Expire(idp.Grants()[0]) // an administrator ends the session
	}
	fmt.Println("refreshes:", len(idp.TokenRequests(idp.Grants()[0])))
	// Output:
	// 200 OK
	// 200 OK
	// refreshes: 1
}

// For a library that takes an oauth2.TokenSource.
func ExampleSource_OAuth2() {
	path, cfg, idp := exampleFile(idptest.Habits{})
	defer idp.Close()
	defer os.RemoveAll(filepath.Dir(path))

	src, err := evergrant.OpenFile(path, cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer src.Close()
	var ts oauth2.TokenSource = src.OAuth2(context.Background())
	token, err := ts.Token()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.Valid())
	// Output: true
}

// A grant in a store of the program's own. Memory keeps it as long as the
// process lives.
func ExampleOpen() {
	path, cfg, idp := exampleFile(idptest.Habits{})
	defer idp.Close()
	defer os.RemoveAll(filepath.Dir(path))
	response, err := os.ReadFile(path) // what the login brought
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	var store evergrant.Memory
	if err := evergrant.Create(ctx, &store, "customer-17", response, cfg); err != nil {
		log.Fatal(err)
	}
	src, err := evergrant.Open(&store, "customer-17", cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer src.Close()
	if _, err := src.Refresh(ctx, evergrant.RefreshOptions{}); err != nil {
		log.Fatal(err)
	}
	record, err := store.Get(ctx, "customer-17")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("generation", record.Generation)
	// Output: generation 2
}
