package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
)

func statusCommand(u *ui) *cobra.Command {
	t := &target{u: u}
	var check bool
	cmd := &cobra.Command{
		Use:   "status [FILE…]",
		Short: "Show the condition of token files",
		Long: `Show provider, state, expiry, the refresh token's age and what will end it, and
the last result, without asking the provider. Without arguments all token files
in this folder that evergrant has refreshed are shown.

With --check the exit code is that of the worst file, for monitoring: 3 needs a
login, 4 expired or in doubt, 5 blocked or misconfigured.

` + exitCodes,
		Example: "  evergrant status *.json\n  evergrant status --check /etc/app/token.json || alert",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				if args = knownHere(); len(args) == 0 {
					return usageError{errors.New("no token file was named, and none in this folder was refreshed by evergrant"), "name one: evergrant status FILE"}
				}
			}
			rows, err := statusRows(cmd.Context(), t, args)
			if err != nil {
				return err
			}
			if err := printStatus(u, rows); err != nil {
				return err
			}
			return statusError(rows, check)
		},
	}
	t.identify(cmd)
	cmd.Flags().BoolVar(&check, "check", false, "set the exit code by the worst state")
	return cmd
}

// knownHere finds the token files of this folder by their side files.
func knownHere() []string {
	sides, _ := filepath.Glob(".*.evergrant")
	for i, s := range sides {
		sides[i] = s[1 : len(s)-len(".evergrant")]
	}
	return sides
}

// statusRow is one file; Failed is why it could not be read.
type statusRow struct {
	File   string
	Status evergrant.Status
	Failed error
}

func statusRows(ctx context.Context, t *target, paths []string) ([]statusRow, error) {
	if _, err := t.config(); err != nil {
		return nil, err
	}
	var rows []statusRow
	for _, path := range paths {
		row := statusRow{File: path}
		var src *evergrant.Source
		if src, row.Failed = t.open(ctx, path, nil); row.Failed == nil {
			row.Status, row.Failed = src.Status(ctx)
			src.Close()
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func printStatus(u *ui, rows []statusRow) error {
	if u.json {
		list := make([]statusJSON, len(rows))
		for i, r := range rows {
			list[i] = newStatusJSON(r)
		}
		return u.value(list)
	}
	w := tabwriter.NewWriter(u.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "FILE\tSTATE\tPROVIDER\tACCESS TOKEN\tREFRESH TOKEN\tLAST")
	for _, r := range rows {
		if r.Failed != nil {
			fmt.Fprintf(w, "%s\tunreadable\t\t\t\t\n", printable(r.File))
			continue
		}
		s := r.Status
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", printable(r.File), s.State, orDash(s.Provider), accessWords(s), refreshWords(s), lastWords(s))
	}
	w.Flush()
	for _, r := range rows {
		switch {
		case r.Failed != nil:
			u.fail(r.Failed)
		case r.Status.Problem != nil:
			u.warn(r.File+": "+r.Status.Problem.Error(), r.Status.Problem.Do)
		}
	}
	return nil
}

// statusError is the exit of status: of unreadable files always, of states
// with --check.
func statusError(rows []statusRow, check bool) error {
	worst := statusExit(exitOK)
	for _, r := range rows {
		switch {
		case r.Failed != nil:
			worst = max(worst, statusExit(exitCode(r.Failed)))
		case check:
			worst = max(worst, stateExit(r.Status))
		}
	}
	if worst == exitOK {
		return nil
	}
	return childExit(worst)
}

type statusExit int

func stateExit(s evergrant.Status) statusExit {
	switch s.State {
	case evergrant.StateNeedsLogin:
		return exitNeedsLogin
	case evergrant.StateBlocked:
		return exitMisconfigured
	case evergrant.StateExpired, evergrant.StateInDoubt:
		return exitTemporary
	}
	if s.Problem != nil && errors.Is(s.Problem, evergrant.ErrFile) {
		return exitUsage
	}
	return exitOK
}

func accessWords(s evergrant.Status) string {
	switch {
	case s.State == evergrant.StateUnknown:
		return "lifetime not known"
	case s.ExpiresAt.IsZero():
		return "none"
	case time.Now().After(s.ExpiresAt):
		return "ended " + brief(time.Since(s.ExpiresAt)) + " ago"
	}
	return "for " + brief(time.Until(s.ExpiresAt))
}

func refreshWords(s evergrant.Status) string {
	if !s.HasRefreshToken {
		return "none"
	}
	words := "kept"
	if !s.RefreshTokenFrom.IsZero() {
		words = brief(time.Since(s.RefreshTokenFrom)) + " old"
	}
	if end := earliest(s.IdleEnd, s.AbsoluteEnd); !end.IsZero() {
		words += ", until " + end.Local().Format("2006-01-02")
	}
	return words
}

func earliest(ts ...time.Time) time.Time {
	ts = slices.DeleteFunc(ts, time.Time.IsZero)
	if len(ts) == 0 {
		return time.Time{}
	}
	return slices.MinFunc(ts, time.Time.Compare)
}

func lastWords(s evergrant.Status) string {
	if s.Last == "" {
		return "-"
	}
	return string(s.Last) + " " + brief(time.Since(s.LastAt)) + " ago"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// statusJSON is a status row as JSON. Times that are not known are left out.
type statusJSON struct {
	File             string          `json:"file"`
	State            evergrant.State `json:"state"`
	Provider         string          `json:"provider,omitempty"`
	Account          string          `json:"account,omitempty"`
	TokenURL         string          `json:"token_url,omitempty"`
	ClientID         string          `json:"client_id,omitempty"`
	Layout           string          `json:"layout,omitempty"`
	Generation       uint64          `json:"generation"`
	IssuedAt         time.Time       `json:"issued_at,omitzero"`
	ExpiresAt        time.Time       `json:"expires_at,omitzero"`
	ExpiryFrom       string          `json:"expiry_from,omitempty"`
	RefreshAt        time.Time       `json:"refresh_at,omitzero"`
	HasRefreshToken  bool            `json:"has_refresh_token"`
	Rotates          string          `json:"rotates,omitempty"`
	RefreshTokenFrom time.Time       `json:"refresh_token_since,omitzero"`
	IdleEnd          time.Time       `json:"refresh_token_idle_end,omitzero"`
	AbsoluteEnd      time.Time       `json:"refresh_token_end,omitzero"`
	DoubtSince       time.Time       `json:"in_doubt_since,omitzero"`
	Last             string          `json:"last,omitempty"`
	LastAt           time.Time       `json:"last_at,omitzero"`
	LastSays         string          `json:"last_says,omitempty"`
	RetryAt          time.Time       `json:"retry_at,omitzero"`
	Problem          *failed         `json:"problem,omitempty"`
}

func newStatusJSON(r statusRow) statusJSON {
	if r.Failed != nil {
		f := failure(r.Failed)
		return statusJSON{File: r.File, State: "unreadable", Problem: &f}
	}
	s := r.Status
	j := statusJSON{
		File: r.File, State: s.State, Provider: s.Provider, Account: s.Account, TokenURL: s.TokenURL, ClientID: s.ClientID, Layout: s.Layout,
		Generation: s.Generation, IssuedAt: s.IssuedAt, ExpiresAt: s.ExpiresAt, ExpiryFrom: s.ExpiryFrom, RefreshAt: s.RefreshAt,
		HasRefreshToken: s.HasRefreshToken, Rotates: s.Rotates, RefreshTokenFrom: s.RefreshTokenFrom, IdleEnd: s.IdleEnd, AbsoluteEnd: s.AbsoluteEnd,
		DoubtSince: s.DoubtSince, Last: string(s.Last), LastAt: s.LastAt, LastSays: s.LastSays, RetryAt: s.RetryAt,
	}
	if s.Problem != nil {
		f := failure(s.Problem)
		j.Problem = &f
	}
	return j
}
