package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
)

func tokenCommand(u *ui) *cobra.Command {
	t := &target{u: u}
	var format, user string
	var min time.Duration
	cmd := &cobra.Command{
		Use:   "token TARGET",
		Short: "Print a valid access token, refreshing only if needed",
		Long: `Print a valid access token of a grant, alone on stdout. TARGET is the path of a
JSON token file or the name of a kept grant. The token is refreshed only if it has
ended or is about to; where refreshing fails and the token at hand has not ended,
that one is printed with a warning on stderr.

With --min-ttl the token is valid for at least that long; a minimum that cannot
be met is exit 4 with nothing on stdout.

Formats: raw; header, an HTTP header; json; env, an assignment for a shell;
xoauth2 and oauthbearer (RFC 7628), the SASL response for mail in base64;
exec-credential, for kubectl; git, lines of git's credential protocol. docs/setups.md
shows them in use. A token that needs a proof with each request (DPoP) comes as
raw, json and env only; ` + "`evergrant proxy`" + ` makes the proofs.

` + exitCodes,
		Example: `  evergrant token token.json --format header | curl -H @- https://api.example.com/
  TOKEN=$(evergrant token token.json --min-ttl 5m) || exit`,
		Args: oneFile("token"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if u.json && !cmd.Flags().Changed("format") {
				format = "json"
			}
			as, err := formatNamed(format)
			if err != nil {
				return err
			}
			if min < 0 {
				return usageError{fmt.Errorf("--min-ttl %s is negative", min), "give a duration such as 5m"}
			}
			src, err := t.open(cmd.Context(), args[0], nil)
			if err != nil {
				return err
			}
			defer src.Close()
			done := u.working("refreshing " + args[0])
			r, err := src.TokenFor(context.WithoutCancel(cmd.Context()), min)
			done()
			if err != nil {
				return err
			}
			if r.Outcome == evergrant.Fresh {
				u.done = "the token was refreshed and is stored"
			}
			if as.user && user == "" {
				if user, err = accountFor(cmd.Context(), src); err != nil {
					return err
				}
			}
			text, err := as.text(r.Token, user)
			if err != nil {
				return err
			}
			u.printf("%s", text)
			return nil
		},
	}
	t.identify(cmd)
	cmd.Flags().StringVar(&format, "format", "raw", "`format`: "+strings.Join(formatNames(), ", "))
	cmd.Flags().StringVar(&user, "user", "", "`name` for the formats that have one: xoauth2 and oauthbearer (default: the account in the file), git (default: oauth2)")
	cmd.Flags().DurationVar(&min, "min-ttl", 0, "how long the token must be valid from now, such as 5m")
	cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formatNames(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// accountFor is the user of a mailbox where none is given: the address that the
// file has. An id of another kind would be refused by the mail server, and it
// could not say why.
func accountFor(ctx context.Context, src *evergrant.Source) (string, error) {
	st, err := src.Status(ctx)
	if err != nil {
		return "", err
	}
	if !strings.Contains(st.Account, "@") {
		return "", usageError{errors.New("the file does not say whose mailbox it is for"), "add --user NAME, such as --user ana@example.com"}
	}
	return st.Account, nil
}
