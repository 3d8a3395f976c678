// Command baretoken is the least that a Go program does to hand out the access
// token of a Salesforce token file: read, check, print. It is the yardstick for
// `evergrant token`, not a tool: a session is taken to last two hours.
//
//	baretoken FILE
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"
)

const session = 2 * time.Hour

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: baretoken FILE")
		os.Exit(2)
	}
	token, err := token(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "baretoken:", err)
		os.Exit(1)
	}
	fmt.Println(token)
}

func token(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var doc struct {
		AccessToken string `json:"access_token"`
		IssuedAt    string `json:"issued_at"` // milliseconds
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return "", err
	}
	ms, err := strconv.ParseInt(doc.IssuedAt, 10, 64)
	if err != nil {
		return "", err
	}
	if doc.AccessToken == "" || time.Since(time.UnixMilli(ms)) > session {
		return "", fmt.Errorf("%s holds no valid token", path)
	}
	return doc.AccessToken, nil
}
