package keyring_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/store/keyring"
)

// On a machine without a keyring the key can be in a file.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	key := filepath.Join(dir, "key")
	if err := keyring.CreateKeyFile(key); err != nil {
		log.Fatal(err)
	}
	store, err := keyring.Open(keyring.Config{Dir: filepath.Join(dir, "grants"), Key: keyring.Key{File: key}})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	answer := []byte(`{"access_token": "…", "refresh_token": "…", "expires_in": 7200}`)
	if err := evergrant.Create(ctx, store, "work-sf", answer, evergrant.Config{}); err != nil {
		log.Fatal(err)
	}
	grants, err := store.List(ctx, "", 10)
	if err != nil {
		log.Fatal(err)
	}
	for _, g := range grants {
		fmt.Println(g.ID)
	}
	// Output: work-sf
}
