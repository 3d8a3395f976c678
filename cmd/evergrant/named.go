package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/store/keyring"
)

// A grant is kept in a token file, or under a name in the person's own store.

// The environment names the store and its passphrase: whole scripts share them.
const (
	envStore      = "EVERGRANT_STORE"      // folder; "": the person's own
	envPassphrase = "EVERGRANT_PASSPHRASE" // reference to the passphrase of a store that has one
)

// isName tells the name of a grant from the path of a token file: what looks
// like a path is one, and what is there as a file, unless a grant is kept under
// that name. Whoever can put a file into a folder where a person works must not
// become the one whose grant is used there, or say what program fetches secrets.
func isName(target string) bool {
	if strings.ContainsAny(target, `/\`) || strings.HasSuffix(strings.ToLower(target), ".json") {
		return false
	}
	return !isThere(target) || isKept(target)
}

func isThere(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// isKept asks no key.
func isKept(name string) bool {
	store, err := keyring.Open(keyring.Config{Dir: os.Getenv(envStore)})
	return err == nil && store.Has(name)
}

// errHomeless: the environment does not say where this person's store is.
var errHomeless = errors.New("there is no place for grants that are kept by name")

// openStore opens the person's store of named grants.
func openStore(u *ui) (*keyring.Store, error) {
	if os.Getenv(envStore) == "" {
		if _, err := keyring.DefaultDir(); err != nil {
			return nil, usageError{fmt.Errorf("%w: %w", errHomeless, err), "set HOME or XDG_DATA_HOME, or name a folder with " + envStore}
		}
	}
	return keyring.Open(keyring.Config{Dir: os.Getenv(envStore), Key: keyring.Key{Passphrase: u.passphrase}})
}

// passphrase comes from where EVERGRANT_PASSPHRASE says, else from the terminal.
func (u *ui) passphrase(ctx context.Context) (evergrant.Secret, error) {
	if ref := os.Getenv(envPassphrase); ref != "" {
		if kind, _, _ := strings.Cut(ref, ":"); secretKinds[kind] == nil {
			return evergrant.Secret{}, usageError{errors.New(envPassphrase + " takes a reference, not the passphrase itself"), secretHint}
		}
		return passphraseAt(ctx, ref, "in "+envPassphrase)
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return evergrant.Secret{}, usageError{errors.New("the store is sealed with a passphrase, and there is no terminal to ask for it"), "name it with " + envPassphrase + "=file:PATH or cmd:PROGRAM"}
	}
	return hidden(ctx, u.err, "passphrase of the store: ")
}

// passphraseAt fetches the passphrase that a reference names, said there.
func passphraseAt(ctx context.Context, ref, there string) (evergrant.Secret, error) {
	s, err := resolveSecret(ctx, ref)
	if errors.As(err, new(badRef)) {
		err = usageError{err, "check the reference " + there}
	}
	return s, err
}

// hidden asks on the terminal for what it does not show. A signal ends the
// asking, and the terminal shows again what is typed.
func hidden(ctx context.Context, to io.Writer, prompt string) (evergrant.Secret, error) {
	in := int(os.Stdin.Fd())
	before, err := term.GetState(in)
	if err != nil {
		return evergrant.Secret{}, fmt.Errorf("looking at the terminal: %w", err)
	}
	fmt.Fprint(to, prompt)
	defer fmt.Fprintln(to)
	type typed struct {
		text []byte
		err  error
	}
	got := make(chan typed, 1)
	go func() { // reading from a terminal cannot be stopped: it ends with the process
		text, err := term.ReadPassword(in)
		got <- typed{text, err}
	}()
	select {
	case t := <-got:
		return evergrant.NewSecret(string(t.text)), t.err
	case <-ctx.Done():
		return evergrant.Secret{}, errors.Join(usageError{errors.New("nobody gave the passphrase"), "run it again, or name it with " + envPassphrase + "=file:PATH"}, term.Restore(in, before))
	}
}

// unlocked opens the store and gets its key. It asks, if it must, before
// anything is locked.
func unlocked(ctx context.Context, u *ui) (*keyring.Store, error) {
	store, err := openStore(u)
	if err != nil {
		return nil, err
	}
	return store, keyHint(store, store.Unlock(ctx))
}

// keyHint adds to an error about the store's key what to do where there is no
// keyring, or no key file yet.
func keyHint(store *keyring.Store, err error) error {
	var e *keyring.Error
	if !errors.As(err, &e) || !errors.Is(err, keyring.ErrSealed) {
		return err
	}
	d, derr := store.Describe()
	if derr != nil {
		return err
	}
	withFile := "`evergrant store init --key-file PATH` makes a store with a key file, which " + keyring.EnvKeyFile + " can name too"
	more := *e
	switch {
	case e.Err != nil && errors.As(e.Err, new(usageError)):
		more.Do = hintOf(e.Err) // of the passphrase, which was not to be had
	case d.Source == keyring.OSKeyring && d.KeyID == "":
		more.Do = "unlock the keyring; on a machine without one, " + withFile
	case d.Source == keyring.OSKeyring:
		more.Do = e.Do + "; to begin anew, name another folder with " + envStore + ": " + withFile
	case d.Source == keyring.KeyFile && d.KeyID == "" && errors.Is(err, fs.ErrNotExist):
		more.Do = withFile
	default:
		return err
	}
	return &more
}

// begin gives a new store its key, so that no grant is obtained that could not
// be kept.
func begin(ctx context.Context, store *keyring.Store, key keyring.Key) error {
	d, err := store.Describe()
	if err == nil && d.KeyID == "" {
		err = store.Rekey(ctx, key)
		if d, derr := store.Describe(); err != nil && derr == nil && d.KeyID != "" { // somebody was faster
			err = store.Unlock(ctx)
		}
	}
	return keyHint(store, err)
}

// sealedWords says where the store and its key are.
func sealedWords(store *keyring.Store) string {
	d, err := store.Describe()
	if err != nil {
		return "in the store"
	}
	return "sealed in " + d.Dir + ", the key is " + d.Where
}

// openNamed opens a grant of the person's store.
func openNamed(ctx context.Context, u *ui, name string, cfg evergrant.Config) (*evergrant.Source, error) {
	store, err := unlocked(ctx, u)
	if err != nil {
		return nil, err
	}
	return openIn(store, name, cfg)
}

// openIn opens a grant of a store.
func openIn(store *keyring.Store, name string, cfg evergrant.Config) (*evergrant.Source, error) {
	src, err := evergrant.Open(store, name, cfg)
	if errors.Is(err, evergrant.ErrNotFound) {
		return nil, noSuchName(name)
	}
	return src, err
}

func noSuchName(name string) error {
	return usageError{fmt.Errorf("there is no token file and no kept grant called %s", name), "`evergrant list` shows the names; a path with a slash is always a file"}
}

// checkName refuses a name under which a grant could not be found again.
func checkName(what, name string) error {
	switch {
	case !isName(name):
		return usageError{fmt.Errorf("%s %s would be taken for a file", what, name), "choose a name without slashes that is no file here"}
	case name == "", strings.HasPrefix(name, "-"), printable(name) != name, strings.TrimSpace(name) != name, len(name) > 200:
		return usageError{fmt.Errorf("%s %q is no name", what, name), "choose a short word such as work-sf"}
	}
	return nil
}
