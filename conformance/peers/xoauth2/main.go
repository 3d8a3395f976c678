// Command xoauth2 is the refresh that a program with golang.org/x/oauth2 makes:
// the file is read into an oauth2.Token, a TokenSource renews it, the token is
// written back.
//
//	xoauth2 FILE TOKEN-URL CLIENT-ID
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/oauth2"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: xoauth2 FILE TOKEN-URL CLIENT-ID")
		os.Exit(2)
	}
	if err := refresh(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "xoauth2:", err)
		os.Exit(1)
	}
}

func refresh(path, tokenURL, clientID string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var old oauth2.Token
	if err := json.Unmarshal(raw, &old); err != nil {
		return err
	}
	old.Expiry = time.Now().Add(-time.Hour) // renew it whatever its age
	config := oauth2.Config{ClientID: clientID, Endpoint: oauth2.Endpoint{TokenURL: tokenURL}}
	renewed, err := config.TokenSource(context.Background(), &old).Token()
	if err != nil {
		return err
	}
	out, err := json.MarshalIndent(renewed, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, out, 0o600)
}
