package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func manCommand(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "man FOLDER",
		Short: "Write the man pages into a folder",
		Example: `  evergrant man /usr/local/share/man/man1`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("man takes one folder, not %d", len(args)), "evergrant man FOLDER"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return usageError{err, "name a folder that can be written"}
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true // the same pages from the same source
			head := &doc.GenManHeader{Section: "1", Source: "evergrant " + version(), Manual: "Evergrant"}
			if err := doc.GenManTree(root, head, args[0]); err != nil {
				return err
			}
			u.say("man pages are in %s", args[0])
			return nil
		},
	}
}
