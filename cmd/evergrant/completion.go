package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// shells write the completion script of a command tree.
var shells = map[string]func(*cobra.Command, io.Writer) error{
	"bash":       func(c *cobra.Command, w io.Writer) error { return c.GenBashCompletionV2(w, true) },
	"zsh":        (*cobra.Command).GenZshCompletion,
	"fish":       func(c *cobra.Command, w io.Writer) error { return c.GenFishCompletion(w, true) },
	"powershell": (*cobra.Command).GenPowerShellCompletionWithDesc,
}

func completionCommand(u *ui) *cobra.Command {
	names := slices.Sorted(maps.Keys(shells))
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print the completion script for a shell",
		Long: "Print the completion script for a shell: " + strings.Join(names, ", ") + `.
It completes commands, flags, providers and formats.`,
		Example: `  source <(evergrant completion bash)
  evergrant completion zsh > "${fpath[1]}/_evergrant"
  evergrant completion fish > ~/.config/fish/completions/evergrant.fish`,
		Args:      takes(1, 1, "evergrant completion "+strings.Join(names, "|")),
		ValidArgs: names,
		RunE: func(_ *cobra.Command, args []string) error {
			write, ok := shells[args[0]]
			if !ok {
				return usageError{fmt.Errorf("there is no completion for the shell %q", args[0]), "one of " + strings.Join(names, ", ")}
			}
			return write(newRoot(u, nil), u.out)
		},
	}
}
