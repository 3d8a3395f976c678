package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
)

// tokenFormats print an access token; each ends with a newline.
var tokenFormats = map[string]func(*evergrant.Token) string{
	"raw":    func(t *evergrant.Token) string { return t.AccessToken.Reveal() + "\n" },
	"header": func(t *evergrant.Token) string { return "Authorization: Bearer " + t.AccessToken.Reveal() + "\n" },
	"env":    func(t *evergrant.Token) string { return "ACCESS_TOKEN=" + shellQuoted(t.AccessToken.Reveal()) + "\n" },
	"json":   tokenJSON,
}

var formatNames = []string{"raw", "header", "json", "env"}

func tokenJSON(t *evergrant.Token) string {
	v := struct {
		AccessToken string    `json:"access_token"`
		TokenType   string    `json:"token_type"`
		ExpiresAt   time.Time `json:"expires_at,omitzero"`
		Generation  uint64    `json:"generation"`
	}{t.AccessToken.Reveal(), t.Type, t.Expiry, t.Generation}
	b, err := json.Marshal(v)
	if err != nil {
		panic("evergrant: encoding a token: " + err.Error()) // strings and a time: cannot fail
	}
	return string(b) + "\n"
}

// shellQuoted makes a word that a POSIX shell takes literally.
func shellQuoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func tokenCommand(u *ui) *cobra.Command {
	t := &target{u: u}
	var format string
	var min time.Duration
	cmd := &cobra.Command{
		Use:   "token FILE",
		Short: "Print a valid access token, refreshing only if needed",
		Long: `Print a valid access token from a JSON token file, alone on stdout. The token is
refreshed only if it has ended or is about to; where refreshing fails and the
token at hand has not ended, that one is printed with a warning on stderr.

With --min-ttl the token is valid for at least that long; a minimum that cannot
be met is exit 4 with nothing on stdout.

` + exitCodes,
		Example: `  curl -H "$(evergrant token token.json --format header)" https://api.example.com/
  TOKEN=$(evergrant token token.json --min-ttl 5m) || exit`,
		Args: oneFile("token"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if u.json && !cmd.Flags().Changed("format") {
				format = "json"
			}
			print, ok := tokenFormats[format]
			if !ok {
				return usageError{fmt.Errorf("--format %s is not known", format), "one of " + strings.Join(formatNames, ", ")}
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
			u.printf("%s", print(r.Token))
			return nil
		},
	}
	t.identify(cmd)
	cmd.Flags().StringVar(&format, "format", "raw", "`format`: raw, header, json or env")
	cmd.Flags().DurationVar(&min, "min-ttl", 0, "how long the token must be valid from now, such as 5m")
	cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formatNames, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}
