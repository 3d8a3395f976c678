package keyring

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/scrypt"

	"github.com/evergrant/evergrant/internal/lockedfile"
	"github.com/evergrant/evergrant/oauth"
)

// KeySource is the kind of place a store's key comes from.
type KeySource string

// The sources of keys.
const (
	OSKeyring  KeySource = "keyring"    // Secret Service, Keychain, Credential Manager
	KeyFile    KeySource = "file"       // a file of 32 random bytes
	Passphrase KeySource = "passphrase" // scrypt of what a person knows
)

// EnvKeyFile names the key file where no Key does.
const EnvKeyFile = "EVERGRANT_KEY_FILE"

// Key says where a key is to come from. The zero value is the OS keyring, or
// the key file if EVERGRANT_KEY_FILE names one. For a store that exists only
// File and Passphrase matter, and only if its key comes from there.
type Key struct {
	Source KeySource // "": KeyFile where a file is named, else OSKeyring
	// File is the path of the key file, see CreateKeyFile. "": what the
	// environment variable EVERGRANT_KEY_FILE says, else where it was when the
	// store was made.
	File string
	// Passphrase returns the passphrase. It is called when the key is first
	// needed, once at a time; its context is the call's.
	Passphrase func(context.Context) (oauth.Secret, error)
}

func (k Key) withEnv() Key {
	if k.File == "" {
		k.File = os.Getenv(EnvKeyFile)
	}
	return k
}

func (k Key) source() KeySource {
	switch {
	case k.Source != "":
		return k.Source
	case k.File != "":
		return KeyFile
	}
	return OSKeyring
}

// The cost of a passphrase: 64 MiB and some 0.4 s, one of the settings that
// OWASP's password storage cheat sheet calls equal (2^16, 8, 2). What is read
// from store.json is bounded, so that nobody's file takes all the memory.
const (
	costN, costR, costP = 1 << 16, 8, 2
	saltSize            = 32
	mostMemory          = 1 << 30
	mostPasses          = 64
)

// cost is how a passphrase becomes a key (RFC 7914).
type cost struct {
	N    int    `json:"n"`
	R    int    `json:"r"`
	P    int    `json:"p"`
	Salt []byte `json:"salt"`
}

func newCost() *cost {
	c := &cost{N: costN, R: costR, P: costP, Salt: make([]byte, saltSize)}
	rand.Read(c.Salt)
	return c
}

var errCost = errors.New("the cost of the passphrase is out of bounds")

func (c *cost) key(ctx context.Context, ask func(context.Context) (oauth.Secret, error)) ([]byte, error) {
	if c == nil || c.N <= 1 || c.R < 1 || c.P < 1 || c.P > mostPasses || c.R > mostMemory/128 || c.N > mostMemory/128/c.R || len(c.Salt) < 16 {
		return nil, errCost
	}
	if ask == nil {
		return nil, errors.New("nobody is there to ask for the passphrase")
	}
	p, err := ask(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for the passphrase: %w", err)
	}
	if p.IsZero() {
		return nil, errors.New("the passphrase is empty")
	}
	return scrypt.Key([]byte(p.Reveal()), c.Salt, c.N, c.R, c.P, keySize)
}

// CreateKeyFile makes a key file: 32 random bytes in base64, mode 0600, durable
// when it returns, as is its folder, which is made with mode 0700 if there is
// none. An existing file is left alone; the error then matches fs.ErrExist.
func CreateKeyFile(path string) error {
	if err := lockedfile.MakeDirectory(filepath.Dir(path)); err != nil {
		return fmt.Errorf("creating a key file: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("creating a key file: %w", err)
	}
	_, err = f.WriteString(encodeKey(randomKey()) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(path)
		return fmt.Errorf("creating a key file: %w", err)
	}
	return lockedfile.SyncDir(filepath.Dir(path))
}

func randomKey() []byte {
	b := make([]byte, keySize)
	rand.Read(b)
	return b
}

func encodeKey(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// errKey says nothing of what stands there: it may be a secret of other kind.
var errKey = errors.New("not 32 bytes in base64")

func decodeKey(text []byte) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(b) != keySize {
		return nil, errKey
	}
	return b, nil
}

// readKeyFile refuses a key that others can read: it would be sealed with for
// years before somebody notices.
func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, sealed(path, "the key file is missing", "bring it back from where you keep it; for a new store, create one", err)
	}
	if err != nil {
		return nil, sealed(path, "the key file cannot be read", "look at the cause", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, sealed(path, "the key file cannot be read", "look at the cause", err)
	}
	if !fi.Mode().IsRegular() || fi.Size() > 4096 {
		return nil, sealed(path, "this is no key file", "name a file with 32 bytes in base64", nil)
	}
	if hasModes && fi.Mode().Perm()&0o077 != 0 {
		return nil, sealed(path, fmt.Sprintf("others may read the key file (mode %04o)", fi.Mode().Perm()), "run: chmod 600 "+path, nil)
	}
	text := make([]byte, fi.Size())
	n, err := f.ReadAt(text, 0)
	if n < len(text) {
		return nil, sealed(path, "the key file cannot be read", "look at the cause", err)
	}
	b, err := decodeKey(text)
	if err != nil {
		return nil, sealed(path, "this is no key file", "name a file with 32 bytes in base64", err)
	}
	return b, nil
}
