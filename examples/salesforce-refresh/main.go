// Command salesforce-refresh is the library in one page: load a Salesforce
// token file of another tool, refresh it, write it back as it was, say what
// happened.
//
//	go run ./examples/salesforce-refresh token.json CLIENT_ID
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/evergrant/evergrant"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: salesforce-refresh FILE CLIENT_ID")
	}
	src, err := evergrant.OpenFile(os.Args[1], evergrant.Config{ClientID: os.Args[2]})
	if err != nil {
		log.Fatal(err)
	}
	defer src.Close()
	result, err := src.Refresh(context.Background(), evergrant.RefreshOptions{})
	if err != nil {
		log.Fatal(err) // errors.Is(err, evergrant.ErrNeedsLogin) tells whether the grant has ended
	}
	for _, c := range result.Changes {
		fmt.Println(c.Name, c.Kind)
	}
	fmt.Println("valid until", result.Token.Expiry)
}
