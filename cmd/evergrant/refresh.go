package main

import (
	"cmp"
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
)

func refreshCommand(u *ui) *cobra.Command {
	t := &target{u: u}
	var show, replay, dry bool
	cmd := &cobra.Command{
		Use:   "refresh TARGET",
		Short: "Refresh a grant now, and write a token file back as it was",
		Long: `Refresh the access token of a grant and keep the refresh token, or take the new
one if the provider rotates it. TARGET is the path of a JSON token file or the
name of a kept grant. Of a file only the members that the answer brings change;
order, indentation, line ends, mode and links stay.

Processes that refresh the same grant at the same time make one request together.
What identifies the grant is remembered, for a file beside it in .NAME.evergrant,
without secrets, so the next run needs no flags.

` + exitCodes,
		Example: `  evergrant refresh token.json --client-id 3MVG9…                       a Salesforce file says the rest
  evergrant refresh token.json --client-id ID --provider google --client-secret env:SECRET
  evergrant refresh token.json                                          from the second run on`,
		Args: oneFile("refresh"),
		RunE: func(cmd *cobra.Command, args []string) error {
			src, err := t.open(cmd.Context(), args[0], nil)
			if err != nil {
				return err
			}
			defer src.Close()
			if dry {
				return printPlan(u, src)
			}
			done := u.working("refreshing " + args[0])
			r, err := src.Refresh(context.WithoutCancel(cmd.Context()), evergrant.RefreshOptions{Replay: replay, SinceStart: true})
			done()
			if err != nil {
				return err
			}
			if r.Outcome == evergrant.Fresh {
				u.done = "the refresh was made and its answer is stored"
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
	File         string     `json:"file,omitempty"`
	Name         string     `json:"name,omitempty"` // of a kept grant, in the place of file
	Outcome      string     `json:"outcome"`        // fresh, adopted, recovered
	Generation   uint64     `json:"generation"`
	ExpiresAt    time.Time  `json:"expires_at,omitzero"`
	RefreshToken string     `json:"refresh_token_was,omitempty"` // kept, replaced; "" if nothing was sent
	Replayed     bool       `json:"replayed,omitempty"`
	Changes      []memberOf `json:"changes,omitempty"`
	AccessToken  string     `json:"access_token,omitempty"` // with --show-token
}

// memberOf is what became of one member of the file. Tokens have no old and
// new.
type memberOf struct {
	Name string `json:"name"`
	Path string `json:"path"` // JSON pointer (RFC 6901)
	Kind string `json:"kind"` // replaced, kept: tokens; updated, added, recomputed, left
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}

// membersOf leaves out what the answer repeated, but never a token.
func membersOf(changes []evergrant.Change) []memberOf {
	var out []memberOf
	for _, c := range changes {
		m := memberOf{Name: c.Name, Path: c.Path, Kind: c.Kind, Old: c.Old, New: c.New}
		isToken := c.Name == "access_token" || c.Name == "refresh_token"
		if isToken {
			m.Kind = map[string]string{"updated": "replaced", "unchanged": "kept"}[c.Kind]
			m.Kind = cmp.Or(m.Kind, c.Kind)
		}
		if isToken || c.Kind != "unchanged" {
			out = append(out, m)
		}
	}
	return out
}

func refreshedJSON(path string, r *evergrant.Result, show bool) refreshed {
	v := refreshed{Outcome: outcomeWord(r), Generation: r.Token.Generation, ExpiresAt: r.Token.Expiry, Replayed: r.Replayed, Changes: membersOf(r.Changes)}
	if v.File = path; isName(path) {
		v.File, v.Name = "", path
	}
	if r.Outcome == evergrant.Fresh {
		v.RefreshToken = map[bool]string{true: "replaced", false: "kept"}[r.Rotated]
	}
	if show {
		v.AccessToken = r.Token.AccessToken.Reveal()
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
	row := func(name, value string) { u.printf("  %-14s  %s\n", printable(name), printable(value)) }
	for _, m := range membersOf(r.Changes) {
		switch {
		case m.Old != "" && m.New != "":
			row(m.Name, m.Kind+": "+m.Old+" → "+m.New)
		case m.New != "":
			row(m.Name, m.Kind+": "+m.New)
		default:
			row(m.Name, m.Kind)
		}
	}
	if e := r.Token.Expiry; !e.IsZero() {
		row("valid until", until(e))
	} else {
		row("valid until", "not known: the provider does not say; --session-lifetime does")
	}
}
