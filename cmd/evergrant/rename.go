package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/store/keyring"
)

func renameCommand(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "rename OLD NEW",
		Short: "Give a kept grant another name",
		Long: `Give a kept grant another name. It waits until nobody works on the grant, and
never puts one grant in the place of another. Programs that use the old name find
nothing under it afterwards.

` + exitCodes,
		Example: "  evergrant rename salesforce work-sf",
		Args:    takes(2, 2, "evergrant rename OLD NEW"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkName("NEW", args[1]); err != nil {
				return err
			}
			if err := rename(cmd.Context(), u, args[0], args[1]); err != nil {
				return err
			}
			if u.json {
				return u.value(map[string]string{"name": args[1], "was": args[0]})
			}
			if !u.quiet {
				u.printf("%s: was %s\n", printable(args[1]), printable(args[0]))
			}
			return nil
		},
	}
}

func rename(ctx context.Context, u *ui, from, to string) error {
	store, err := unlocked(ctx, u)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // no refresh takes longer
	defer cancel()
	err = store.Rename(ctx, from, to)
	switch {
	case err != nil && ctx.Err() != nil:
		return &evergrant.Error{Class: evergrant.ErrTemporary, Rule: "lock-busy", Says: "another process works on " + from + "; it keeps its name", Do: "try again", Err: err}
	case errors.Is(err, evergrant.ErrNotFound):
		return noSuchName(from)
	case errors.Is(err, evergrant.ErrConflict) && from == to:
		return usageError{fmt.Errorf("%s has that name already", from), "give it another one"}
	case errors.Is(err, evergrant.ErrConflict):
		return usageError{fmt.Errorf("there is a kept grant called %s already", to), "choose another name, or `evergrant delete " + to + "` first"}
	case errors.Is(err, keyring.ErrUnsettled):
		return &evergrant.Error{Class: evergrant.ErrTemporary, Rule: "rename-unsettled", Says: "a refresh of " + from + " is under way or in doubt; it keeps its name until that is settled",
			Do: "run `evergrant refresh " + from + "`, then rename it", Err: err}
	}
	return err
}
