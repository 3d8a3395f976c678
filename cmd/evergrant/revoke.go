package main

import (
	"cmp"
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
)

func revokeCommand(u *ui) *cobra.Command {
	t := &target{u: u}
	var at string
	cmd := &cobra.Command{
		Use:   "revoke TARGET",
		Short: "End a grant at the provider",
		Long: `Ask the provider to end a grant (RFC 7009): its refresh token, which ends the
access tokens with it at most providers; the access token where there is no other.
TARGET is the path of a token file or the name of a kept grant. Nothing is deleted
here; the other commands then say that a new login is needed.

Where the provider is busy nothing was changed, and the exit code is 4.

` + exitCodes,
		Example: "  evergrant revoke work-sf\n  evergrant revoke token.json --revoke-url https://auth.example.com/revoke",
		Args:    oneFile("revoke"),
		RunE: func(cmd *cobra.Command, args []string) error {
			src, err := t.open(cmd.Context(), args[0], endpoint(evergrant.Endpoints{Revoke: at}))
			if err != nil {
				return err
			}
			defer src.Close()
			s, err := src.Status(cmd.Context())
			if err != nil {
				return err
			}
			done := u.working("revoking " + args[0])
			err = revokeIn(cmd.Context(), src, t.timeout)
			done()
			if err != nil {
				return err
			}
			return printRevoked(u, args[0], s)
		},
	}
	t.identify(cmd)
	cmd.Flags().StringVar(&at, "revoke-url", "", "`URL` for revocation, where neither catalog nor discovery has it")
	return cmd
}

// endpoint adds an endpoint that was given by a flag.
func endpoint(e evergrant.Endpoints) func(*evergrant.Config) {
	return func(c *evergrant.Config) { c.Endpoints = e }
}

// revokeIn bounds the whole of a revocation, the wait for the lock included.
func revokeIn(ctx context.Context, src *evergrant.Source, bound time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	return src.Revoke(ctx)
}

// revoked is the result of revoke as JSON.
type revoked struct {
	File    string `json:"file,omitempty"`
	Name    string `json:"name,omitempty"`
	Token   string `json:"revoked"` // refresh_token or access_token
	Account string `json:"account,omitempty"`
	From    string `json:"provider"`
}

func printRevoked(u *ui, grant string, s evergrant.Status) error {
	v := revoked{File: grant, Token: "access_token", Account: s.Account, From: comesFrom(s)}
	if isName(grant) {
		v.File, v.Name = "", grant
	}
	if s.HasRefreshToken {
		v.Token = "refresh_token"
	}
	if u.json {
		return u.value(v)
	}
	if !u.quiet {
		u.printf("%s: revoked the %s at %s\n", printable(grant), map[string]string{"refresh_token": "refresh token", "access_token": "access token"}[v.Token], printable(v.From))
		u.say("nothing was deleted here; `evergrant delete %s` does that", cmp.Or(v.Name, v.File+" --yes"))
	}
	if s.GrantType != "" {
		u.warn("the next `evergrant token` asks for a new token: a grant of type "+s.GrantType+" is not ended by revoking one", "delete it with `evergrant delete`, and withdraw the client's key or secret at the provider")
	}
	return nil
}
