package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/store/keyring"
)

func storeCommand(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "store",
		Short:   "Say where grants are kept by name; make the store, change its key",
		Example: "  evergrant store\n  evergrant store init --key-file ~/.config/evergrant.key\n  evergrant store rekey --to-keyring",
		Long: `Say where the grants that are kept by name are, where the key is that seals them,
and how many there are. The store is made at the first login; on a machine without
a keyring of the operating system make it with a key file or a passphrase first.

Environment: EVERGRANT_STORE names the folder, EVERGRANT_KEY_FILE the key file, and
EVERGRANT_PASSPHRASE a reference to the passphrase, such as file:PATH.

` + exitCodes,
		Args: takes(0, 0, "evergrant store [init|rekey]"),
		RunE: func(*cobra.Command, []string) error { return describeStore(u) },
	}
	cmd.AddCommand(storeInitCommand(u), storeRekeyCommand(u))
	return cmd
}

// described is what store says, as JSON.
type described struct {
	Dir      string `json:"dir"`
	Source   string `json:"key_source"` // keyring, file or passphrase
	Where    string `json:"key"`
	KeyID    string `json:"key_id,omitempty"`
	Grants   int    `json:"grants"`
	Changing bool   `json:"changing,omitempty"`
}

func describeStore(u *ui) error {
	store, err := openStore(u)
	if err != nil {
		return err
	}
	d, err := store.Describe()
	if err != nil {
		return err
	}
	n, err := grantsIn(store)
	if err != nil {
		return err
	}
	if u.json {
		return u.value(described{d.Dir, string(d.Source), d.Where, d.KeyID, n, d.Changing})
	}
	made := d.Where
	if d.KeyID == "" {
		made = "to be " + d.Where + "; the store is made at the first login, or by `evergrant store init`"
	}
	u.printf("folder  %s\nkey     %s\ngrants  %d\n", printable(d.Dir), printable(made), n)
	if d.Changing {
		u.warn("a change of the key was begun and not finished", "run the same `evergrant store rekey` again")
	}
	return nil
}

// keyChoice is where a key is to be: by one of the flags.
type keyChoice struct {
	file, passphrase string
	keyring          bool
}

// askForIt is the value of --passphrase without one.
const askForIt = "ask"

func (k *keyChoice) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&k.file, "key-file", "", "`file` that holds the key; it is made if it is missing")
	f.StringVar(&k.passphrase, "passphrase", "", "seal with a passphrase; it is asked for, or taken from a `reference` such as --passphrase=file:PATH")
	f.Lookup("passphrase").NoOptDefVal = askForIt
}

// key is the key that was chosen. A key file is made if it is missing.
func (k *keyChoice) key() (keyring.Key, error) {
	switch {
	case k.passphrase != "":
		if k.passphrase != askForIt {
			if err := checkSecretRef("--passphrase", k.passphrase); err != nil {
				return keyring.Key{}, err
			}
		}
		return keyring.Key{Source: keyring.Passphrase, Passphrase: k.newPassphrase}, nil
	case k.file != "":
		return keyring.Key{Source: keyring.KeyFile, File: k.file}, makeKeyFile(k.file)
	}
	return keyring.Key{Source: keyring.OSKeyring}, nil
}

// makeKeyFile leaves one alone that is there.
func makeKeyFile(path string) error {
	if err := keyring.CreateKeyFile(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return usageError{err, "name a file in a folder that is there and that only you can read"}
	}
	return nil
}

// newPassphrase comes by reference, or is typed twice.
func (k *keyChoice) newPassphrase(ctx context.Context) (evergrant.Secret, error) {
	if k.passphrase != askForIt {
		return passphraseAt(ctx, k.passphrase, "given with --passphrase")
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return evergrant.Secret{}, usageError{errors.New("there is no terminal to ask for the passphrase"), "give a reference: --passphrase=file:PATH"}
	}
	var typed [2]evergrant.Secret
	for i, prompt := range []string{"new passphrase of the store: ", "once more: "} {
		var err error
		if typed[i], err = hidden(ctx, os.Stderr, prompt); err != nil {
			return evergrant.Secret{}, err
		}
	}
	if !typed[0].Equal(typed[1]) {
		return evergrant.Secret{}, usageError{errors.New("the two passphrases differ"), "try again"}
	}
	return typed[0], nil
}

func storeInitCommand(u *ui) *cobra.Command {
	k := &keyChoice{}
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the store, with its key in the OS keyring, a key file or a passphrase",
		Long: `Make the store of named grants before the first login, and decide where its key is:
in the keyring of the operating system, in a key file (--key-file, or the one that
EVERGRANT_KEY_FILE names), or made from a passphrase. Keep a copy of a key file:
without the key the grants cannot be opened.

` + exitCodes,
		Example: "  evergrant store init --key-file ~/.config/evergrant.key",
		Args:    takes(0, 0, "evergrant store init"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return initStore(cmd.Context(), u, k) },
	}
	k.flags(cmd)
	exclusive(cmd, "key-file", "passphrase")
	return cmd
}

func initStore(ctx context.Context, u *ui, k *keyChoice) error {
	store, err := openStore(u)
	if err != nil {
		return err
	}
	d, err := store.Describe()
	if err != nil {
		return err
	}
	if d.KeyID != "" {
		return usageError{fmt.Errorf("there is a store in %s already; the key is %s", d.Dir, d.Where), "`evergrant store rekey` changes the key; " + envStore + " names another folder"}
	}
	if k.file == "" && k.passphrase == "" {
		k.file = os.Getenv(keyring.EnvKeyFile)
	}
	key, err := k.key()
	if err != nil {
		return err
	}
	if err := begin(ctx, store, key); err != nil {
		return err
	}
	return describeStore(u)
}

func storeRekeyCommand(u *ui) *cobra.Command {
	k := &keyChoice{}
	cmd := &cobra.Command{
		Use:   "rekey",
		Short: "Seal all kept grants with a new key",
		Long: `Seal all kept grants with another key: a new one in the keyring of the operating
system, that of a key file, or one made from a passphrase. Other processes go on
meanwhile. If it does not finish, the same command takes it up again. Before, the
store must open with the key it has.

` + exitCodes,
		Example: "  evergrant store rekey --key-file /etc/app/evergrant.key\n  evergrant store rekey --to-keyring",
		Args:    takes(0, 0, "evergrant store rekey --to-keyring|--key-file PATH|--passphrase"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return rekeyStore(cmd.Context(), u, k) },
	}
	k.flags(cmd)
	cmd.Flags().BoolVar(&k.keyring, "to-keyring", false, "put a new key into the keyring of the operating system")
	exclusive(cmd, "to-keyring", "key-file", "passphrase")
	return cmd
}

func rekeyStore(ctx context.Context, u *ui, k *keyChoice) error {
	if !k.keyring && k.file == "" && k.passphrase == "" {
		return usageError{errors.New("`evergrant store rekey` needs to know where the new key is"), "add --to-keyring, --key-file PATH or --passphrase"}
	}
	store, err := unlocked(ctx, u)
	if err != nil {
		return err
	}
	n, err := grantsIn(store)
	if err != nil {
		return err
	}
	key, err := k.key()
	if err != nil {
		return err
	}
	done := u.working("sealing " + counted(n, "grant") + " with the new key")
	err = store.Rekey(ctx, key)
	done()
	if err != nil {
		return keyHint(store, err)
	}
	u.say("%s sealed with the new key", counted(n, "grant"))
	return describeStore(u)
}
