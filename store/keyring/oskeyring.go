package keyring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/zalando/go-keyring"
)

// service is what the key is filed under in the OS keyring, with the key id as
// its user.
const service = "evergrant"

// patience bounds the wait for a keyring whose caller set no bound: it may be
// asking a person, or nobody.
const patience = 2 * time.Minute

// keyringName is what this system's keyring is called.
func keyringName() string {
	switch runtime.GOOS {
	case "windows":
		return "Credential Manager"
	case "darwin":
		return "Keychain"
	}
	return "Secret Service"
}

// askKeyring looks a key up.
func askKeyring(ctx context.Context, id keyID) ([]byte, error) {
	text, err := withKeyring(ctx, func() (string, error) { return keyring.Get(service, id.String()) })
	if err != nil {
		return nil, err
	}
	return decodeKey([]byte(text))
}

// fileInKeyring puts a key in and looks whether it is there: some keyrings take
// what they then cannot give back.
func fileInKeyring(ctx context.Context, k *master) error {
	_, err := withKeyring(ctx, func() (string, error) {
		return "", keyring.Set(service, k.id.String(), encodeKey(k.secret))
	})
	if err != nil {
		return err
	}
	_, err = askKeyring(ctx, k.id)
	return err
}

func dropFromKeyring(ctx context.Context, id keyID) error {
	_, err := withKeyring(ctx, func() (string, error) { return "", keyring.Delete(service, id.String()) })
	return err
}

// withKeyring calls the keyring, which knows no context.
func withKeyring(ctx context.Context, call func() (string, error)) (string, error) {
	if err := sessionBus(); err != nil {
		return "", err
	}
	type answer struct {
		text string
		err  error
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	got := make(chan answer, 1)
	go func() {
		text, err := call()
		got <- answer{text, err}
	}()
	select {
	case a := <-got:
		return a.text, a.err
	case <-ctx.Done():
		return "", fmt.Errorf("the keyring did not answer: %w", context.Cause(ctx))
	}
}

var errNoBus = errors.New("no session bus: DBUS_SESSION_BUS_ADDRESS is not set")

// sessionBus tells whether there is a bus to ask. Without it the D-Bus client
// would start a daemon of its own that outlives us and knows no keyring.
func sessionBus() error {
	switch runtime.GOOS {
	case "linux", "freebsd", "netbsd", "openbsd", "dragonfly":
	default:
		return nil
	}
	if a := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); a != "" && a != "autolaunch:" {
		return nil
	}
	dir := filepath.Join("/run/user", strconv.Itoa(os.Getuid()))
	for _, name := range []string{"bus", "dbus-session"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return nil
		}
	}
	return errNoBus
}

// lost tells a keyring that has no such key from one that could not be asked.
func lost(err error) bool { return errors.Is(err, keyring.ErrNotFound) }
