package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/store/keyring"
)

// deletion is one run of delete.
type deletion struct {
	*target
	yes, keepAlive, force bool
	revokeURL             string
	store                 *keyring.Store // of a kept grant
}

func deleteCommand(u *ui) *cobra.Command {
	d := &deletion{target: &target{u: u}}
	cmd := &cobra.Command{
		Use:   "delete TARGET",
		Short: "Revoke a grant and delete it here",
		Long: `Revoke a grant at the provider and delete it here: a kept grant from the store, or
with --yes a token file with what evergrant keeps beside it. Where the provider
does not revoke it, nothing is deleted: a grant that lives on is still known here.
With --force it is deleted all the same, with --no-revoke the provider is not
asked.

` + exitCodes,
		Example: "  evergrant delete work-sf\n  evergrant delete token.json --yes",
		Args:    oneFile("delete"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.run(cmd.Context(), args[0])
		},
	}
	d.identify(cmd)
	f := cmd.Flags()
	f.BoolVar(&d.yes, "yes", false, "do not ask; needed where there is no terminal, and for a token file")
	f.BoolVar(&d.keepAlive, "no-revoke", false, "leave the grant alive at the provider")
	f.BoolVar(&d.force, "force", false, "delete here even where the revocation fails")
	f.StringVar(&d.revokeURL, "revoke-url", "", "`URL` for revocation, where neither catalog nor discovery has it")
	exclusive(cmd, "no-revoke", "force")
	return cmd
}

func (d *deletion) run(ctx context.Context, grant string) error {
	src, err := d.openOnce(ctx, grant)
	if err != nil {
		return err
	}
	defer src.Close()
	s, err := src.Status(ctx)
	if err != nil {
		return err
	}
	if err := d.agreed(ctx, grant); err != nil {
		return err
	}
	revoked, err := d.revoke(ctx, src, s)
	if err != nil {
		return err
	}
	remove := d.deleteFile
	if d.store != nil {
		remove = d.deleteNamed
	}
	if err := remove(ctx, grant, s); err != nil {
		return err
	}
	return d.report(grant, revoked)
}

// openOnce opens the grant, and a kept one together with its store: nobody is
// asked twice for a passphrase.
func (d *deletion) openOnce(ctx context.Context, grant string) (*evergrant.Source, error) {
	at := endpoint(evergrant.Endpoints{Revoke: d.revokeURL})
	if grant == "" || !isName(grant) {
		return d.open(ctx, grant, at)
	}
	cfg, err := d.config()
	if err != nil {
		return nil, err
	}
	at(&cfg)
	if d.store, err = unlocked(ctx, d.u); err != nil {
		return nil, err
	}
	src, err := openIn(d.store, grant, cfg)
	if err != nil {
		return nil, err
	}
	if err := varsFit(ctx, src, cfg); err != nil {
		return nil, errors.Join(err, src.Close())
	}
	return src, nil
}

// agreed asks a person. A token file was made by another program as often as
// not, so that one has to be meant on the command line.
func (d *deletion) agreed(ctx context.Context, grant string) error {
	if d.yes {
		return nil
	}
	if !isName(grant) {
		return usageError{fmt.Errorf("%s is a token file, which other programs may use", grant), "add --yes to delete it, or use `evergrant revoke` to end the grant and keep the file"}
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return usageError{fmt.Errorf("deleting %s needs a yes, and there is no terminal to ask", grant), "add --yes"}
	}
	what := "revoke it at the provider and delete it here"
	if d.keepAlive {
		what = "delete it here, alive as it is"
	}
	fmt.Fprintf(d.u.err, "%s: %s? [y/N] ", printable(grant), what)
	answer := make(chan string, 1)
	go func() { // reading from a terminal cannot be stopped: it ends with the process
		text, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(text))
	}()
	select {
	case text := <-answer:
		if text == "y" || text == "yes" {
			return nil
		}
	case <-ctx.Done():
	}
	return usageError{errors.New("nothing was revoked or deleted"), "answer yes, or add --yes"}
}

// revoke ends the grant at the provider, unless it was before or is to live on.
func (d *deletion) revoke(ctx context.Context, src *evergrant.Source, s evergrant.Status) (bool, error) {
	if d.keepAlive || s.Problem != nil && s.Problem.Rule == "revoked-here" {
		return false, nil
	}
	err := revokeIn(ctx, src, d.timeout)
	var e *evergrant.Error
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &e) && e.Rule == "no-token":
		return false, nil
	case d.force:
		d.u.warn(clause(err.Error())+"; it is deleted here only", "end it at the provider by hand")
		return false, nil
	case e != nil:
		kept := *e
		kept.Do = "nothing was deleted; " + e.Do + "; --force deletes it here only"
		return false, &kept
	}
	return false, err
}

// deleteNamed waits until nobody works on the grant.
func (d *deletion) deleteNamed(ctx context.Context, name string, _ evergrant.Status) error {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	unlock, err := d.store.Lock(ctx, name)
	if err != nil {
		return &evergrant.Error{Class: evergrant.ErrTemporary, Rule: "lock-busy", Says: "another process works on " + name + "; nothing was deleted", Do: "try again", Err: err}
	}
	defer unlock()
	r, err := d.store.Get(ctx, name)
	if err == nil {
		err = d.store.Delete(ctx, name, r.Generation)
	}
	if errors.Is(err, evergrant.ErrNotFound) {
		return noSuchName(name)
	}
	return err
}

// deleteFile removes a token file and what was kept beside it.
func (d *deletion) deleteFile(ctx context.Context, path string, s evergrant.Status) error {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	secret := secretFileOf(path, s.SecretRef)
	if file, err := filepath.EvalSymlinks(path); err == nil && secret == "" {
		secret = secretFileOf(file, s.SecretRef)
	}
	if err := evergrant.DeleteFile(ctx, path, evergrant.Config{}); err != nil || secret == "" {
		return err
	}
	if err := os.Remove(secret); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a client that was registered for this grant
		return &evergrant.Error{Class: evergrant.ErrStorage, Rule: "undeleted", Says: secret + " could not be deleted", Do: "delete it yourself: it is the secret of a client nobody needs any more", Path: secret, Err: err}
	}
	return nil
}

func (d *deletion) report(grant string, revoked bool) error {
	if d.u.json {
		return d.u.value(map[string]any{"target": grant, "revoked": revoked, "deleted": true})
	}
	if d.u.quiet {
		return nil
	}
	what := "deleted here"
	if revoked {
		what = "revoked at the provider, and deleted here"
	}
	d.u.printf("%s: %s\n", printable(grant), what)
	return nil
}
