package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
)

func execCommand(u *ui) *cobra.Command {
	t := &target{u: u}
	var name string
	var min time.Duration
	cmd := &cobra.Command{
		Use:   "exec TARGET -- COMMAND [ARG…]",
		Short: "Run a command with the access token in its environment",
		Long: `Run a command with a valid access token in the environment variable ACCESS_TOKEN,
or the one named with --env. TARGET is the path of a token file or the name of a
kept grant. The exit code is the command's; if there is no token, the command is
not run and the exit code is evergrant's. A client secret that comes from a
variable is taken out of the command's environment.

` + exitCodes,
		Example: "  evergrant exec token.json -- ./sync.sh\n  evergrant exec token.json --env SF_ACCESS_TOKEN -- sf org login access-token …",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 || cmd.ArgsLenAtDash() != 1 {
				return usageError{errors.New("exec takes one grant, then -- and the command"), "write it as `evergrant exec TARGET -- COMMAND [ARG…]`"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r == '=' || unicode.IsSpace(r) || unicode.IsControl(r) }) {
				return usageError{fmt.Errorf("--env %q is no name of a variable", name), "give a name such as ACCESS_TOKEN"}
			}
			path, err := exec.LookPath(args[1])
			if err != nil {
				return usageError{fmt.Errorf("finding the command: %w", err), "check the command after --"}
			}
			src, err := t.open(cmd.Context(), args[0], nil)
			if err != nil {
				return err
			}
			done := u.working("refreshing " + args[0])
			r, err := src.TokenFor(context.WithoutCancel(cmd.Context()), min)
			done()
			env := withoutSecrets(cmd.Context(), t, src)
			src.Close()
			if err != nil {
				return err
			}
			return become(path, args[1:], childEnv(env, name, r.Token.AccessToken.Reveal()))
		},
	}
	t.identify(cmd)
	cmd.Flags().StringVar(&name, "env", "ACCESS_TOKEN", "`name` of the variable that gets the token")
	cmd.Flags().DurationVar(&min, "min-ttl", 0, "how long the token must be valid from now, such as 5m")
	return cmd
}

// childEnv is the environment with the token.
func childEnv(env []string, name, token string) []string {
	env = slices.DeleteFunc(env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
	return append(env, name+"="+token)
}

// withoutSecrets is the environment without the client's secrets, where they
// come from variables, as said now or remembered: no command that is run here was
// meant to get them.
func withoutSecrets(ctx context.Context, t *target, src *evergrant.Source) []string {
	refs := []string{t.secret, t.key, t.keyPassword, t.cert}
	if s, err := src.Status(ctx); err == nil {
		refs = append(refs, s.SecretRef, s.KeyRef, s.KeyPasswordRef, s.CertRef, s.SourceRef, s.Login.RequestKeyRef, s.Login.RequestKeyPasswordRef)
	}
	return slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return slices.ContainsFunc(refs, func(ref string) bool {
			name, fromEnv := strings.CutPrefix(strings.TrimPrefix(ref, evergrant.Elsewhere), "env:")
			return fromEnv && strings.HasPrefix(kv, name+"=")
		})
	})
}
