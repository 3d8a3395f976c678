package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
)

func refreshCommand(u *ui) *cobra.Command {
	t := &target{u: u}
	var show, replay, dry bool
	cmd := &cobra.Command{
		Use:   "refresh FILE",
		Short: "Refresh a token file now and write it back as it was",
		Long: `Refresh the access token in a JSON token file and keep the refresh token, or take
the new one if the provider rotates it. Only the members that the answer brings
change; order, indentation, line ends, mode and links stay.

Processes that refresh the same file at the same time make one request together.
What identifies the grant is remembered beside the file in .NAME.evergrant,
without secrets, so the next run needs no flags.

` + exitCodes,
		Example: `  evergrant refresh token.json --client-id 3MVG9…                       a Salesforce file says the rest
  evergrant refresh token.json --client-id ID --provider google --client-secret env:SECRET
  evergrant refresh token.json                                          from the second run on`,
		Args: oneTarget,
		RunE: func(cmd *cobra.Command, args []string) error {
			src, err := t.open(cmd.Context(), args[0], nil)
			if err != nil {
				return err
			}
			defer src.Close()
			if dry {
				return printPlan(u, src)
			}
			r, err := src.Refresh(context.WithoutCancel(cmd.Context()), evergrant.RefreshOptions{Replay: replay, SinceStart: true})
			if err != nil {
				return err
			}
			return printRefreshed(u, args[0], r, show)
		},
	}
	t.identify(cmd)
	cmd.Flags().BoolVar(&show, "show-token", false, "print the access token too")
	cmd.Flags().BoolVar(&replay, "replay", false, "make a last try although the reply to an earlier refresh was lost")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be sent and whether the answer could be stored; send and write nothing")
	return cmd
}

// refreshed is the result of refresh as JSON.
type refreshed struct {
	File         string             `json:"file"`
	Outcome      string             `json:"outcome"` // fresh, adopted, recovered
	Generation   uint64             `json:"generation"`
	ExpiresAt    *time.Time         `json:"expires_at,omitempty"`
	RefreshToken string             `json:"refresh_token_was"` // kept, replaced; "" if nothing was sent
	Replayed     bool               `json:"replayed,omitempty"`
	Changes      []evergrant.Change `json:"changes,omitempty"`
	AccessToken  string             `json:"access_token,omitempty"` // with --show-token
	Warning      string             `json:"warning,omitempty"`
}

func refreshedJSON(path string, r *evergrant.Result, show bool) refreshed {
	v := refreshed{File: path, Outcome: outcomeWord(r), Generation: r.Token.Generation, Replayed: r.Replayed, Changes: r.Changes}
	if !r.Token.Expiry.IsZero() {
		v.ExpiresAt = &r.Token.Expiry
	}
	if r.Outcome == evergrant.Fresh {
		v.RefreshToken = map[bool]string{true: "replaced", false: "kept"}[r.Rotated]
	}
	if show {
		v.AccessToken = r.Token.AccessToken.Reveal()
	}
	if r.Warning != nil {
		v.Warning = r.Warning.Error()
	}
	return v
}

func outcomeWord(r *evergrant.Result) string {
	switch {
	case r.Outcome == evergrant.Fresh:
		return "fresh"
	case r.Recovered:
		return "recovered"
	case r.Adopted:
		return "adopted"
	}
	return "unchanged"
}

func printRefreshed(u *ui, path string, r *evergrant.Result, show bool) error {
	if u.json {
		return u.value(refreshedJSON(path, r, show))
	}
	if !u.quiet {
		printOutcome(u, path, r)
	}
	if show {
		u.printf("%s\n", r.Token.AccessToken.Reveal())
	}
	return nil
}

// outcomeLines say in a sentence what a refresh came to.
var outcomeLines = map[string]string{
	"fresh":     "refreshed",
	"adopted":   "another process refreshed it meanwhile; nothing was sent",
	"recovered": "the answer of an interrupted refresh was put back; nothing was sent",
	"unchanged": "nothing to do",
}

func printOutcome(u *ui, path string, r *evergrant.Result) {
	u.printf("%s: %s", path, outcomeLines[outcomeWord(r)])
	if r.Replayed {
		u.printf(" (an earlier reply was lost; sending again healed it)")
	}
	u.printf("\n")
	for _, c := range r.Changes {
		if c.Kind == "unchanged" {
			continue
		}
		u.printf("  %-14s %-10s", c.Name, c.Kind)
		if c.Old != "" || c.New != "" {
			u.printf(" %s → %s", printable(c.Old), printable(c.New))
		}
		u.printf("\n")
	}
	if e := r.Token.Expiry; !e.IsZero() {
		u.printf("  valid until    %s\n", until(e))
	} else {
		u.printf("  valid until    not known: the provider does not say; --session-lifetime does\n")
	}
}
