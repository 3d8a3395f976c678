package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/internal/foreign"
)

// exporting is one run of export.
type exporting struct {
	*target
	format, output string
}

func exportCommand(u *ui) *cobra.Command {
	e := &exporting{target: &target{u: u}}
	cmd := &cobra.Command{
		Use:   "export TARGET --format FORMAT",
		Short: "Write a grant as another tool's credential file, tokens in clear",
		Long: `Write a grant as the credential file of another tool, to standard output or a new
file that only you can read. The tokens are in it in clear, and the client secret
where the format has a place for it. What the format has no place for is named.

Nothing is sent, and the grant stays as it is. Two tools that refresh one grant
end it where the provider rotates refresh tokens: after an export let only one
of them go on. A tool that can run a command for its token is better served by
` + "`evergrant token`" + `.

` + exitCodes,
		Example: `  evergrant import --list                                               the formats
  evergrant export token.json --format rclone >> ~/.config/rclone/rclone.conf
  evergrant export work-sf --format force-url --output org.txt`,
		Args: takes(1, 1, "evergrant export TARGET --format FORMAT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.run(cmd.Context(), args[0])
		},
	}
	e.identify(cmd)
	cmd.Flags().StringVar(&e.format, "format", "", "`format` to write; `evergrant import --list` shows them")
	cmd.Flags().StringVarP(&e.output, "output", "o", "", "new `file` to write (default: standard output)")
	cmd.RegisterFlagCompletionFunc("format", completeFormat(func(f foreign.Format) bool { return f.Writes }))
	return cmd
}

func (e *exporting) run(ctx context.Context, path string) error {
	if e.format == "" {
		var names []string
		for _, f := range foreign.Formats() {
			if f.Writes {
				names = append(names, f.Name)
			}
		}
		return usageError{errors.New("--format is missing"), "one of " + strings.Join(names, ", ") + "; `evergrant import --list` says what they are"}
	}
	f, err := foreign.Named(e.format)
	if err != nil {
		return usageError{fmt.Errorf("--format: %w", err), hintOf(err)}
	}
	g, err := e.grant(ctx, path, f)
	if err != nil {
		return err
	}
	data, err := foreign.Write(f, g)
	if err != nil {
		return usageError{fmt.Errorf("exporting %s: %w", path, err), hintOf(err)}
	}
	if err := e.write(data); err != nil {
		return err
	}
	if left := f.Leaves(g); len(left) > 0 {
		e.u.say("left out, the format has no place for it: %s", strings.Join(left, ", "))
	}
	if f.Note != "" {
		e.u.say("%s: %s", f.Name, f.Note)
	}
	e.u.warn("there are two copies of the grant now: where the provider rotates refresh tokens, the tool that refreshes second ends it", "let only one of them refresh it")
	return nil
}

// grant joins the document with what is remembered of the grant and what the
// flags say.
func (e *exporting) grant(ctx context.Context, path string, f foreign.Format) (foreign.Grant, error) {
	src, err := e.open(ctx, path, nil)
	if err != nil {
		return foreign.Grant{}, err
	}
	defer src.Close()
	s, err := src.Status(ctx)
	if err != nil {
		return foreign.Grant{}, err
	}
	document, err := src.Document(ctx)
	if err != nil {
		return foreign.Grant{}, err
	}
	list, err := foreign.Read([]byte(document.Reveal()), foreign.Options{})
	if err != nil {
		return foreign.Grant{}, usageError{fmt.Errorf("exporting %s: %w", path, err), hintOf(err)}
	}
	g := list[0]
	g.Label, g.Account = cmp.Or(g.Account, g.Label), cmp.Or(g.Account, s.Account)
	g.TokenURL, g.ClientID, g.Provider = cmp.Or(s.TokenURL, g.TokenURL), cmp.Or(s.ClientID, g.ClientID), cmp.Or(s.Provider, g.Provider)
	if g.Expiry.IsZero() {
		g.Expiry = s.ExpiresAt // the document may say a lifetime only, and the state since when
	}
	if ref := cmp.Or(e.secret, s.SecretRef); ref != "" && f.HoldsSecret() {
		if g.ClientSecret, err = clientSecretAt(ctx, ref); err != nil {
			return g, err
		}
	}
	if s.State == evergrant.StateNeedsLogin || s.State == evergrant.StateInDoubt {
		e.u.warn("the grant is "+string(s.State)+": the other tool may find it of no use", "`evergrant status "+path+"` says why")
	}
	return g, nil
}

// write puts the result where it was asked for. A file is made anew, for this
// user alone.
func (e *exporting) write(data []byte) error {
	if e.output == "" {
		if f, ok := e.u.out.to.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			e.u.warn("the tokens stand on your screen now, and in its scrollback", "clear it, or use --output FILE next time")
		}
		_, err := e.u.out.Write(data)
		return errors.Join(err, e.u.flush())
	}
	f, err := os.OpenFile(e.output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return usageError{fmt.Errorf("%s is there already", e.output), "name a new file: it may be one with grants that are nowhere else"}
	}
	if err != nil {
		return usageError{fmt.Errorf("writing --output: %w", err), "name a file in a folder that you can write to"}
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing --output: %w", errors.Join(err, os.Remove(e.output)))
	}
	return nil
}
