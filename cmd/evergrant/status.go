package main

import (
	"cmp"
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
		Use:   "status [TARGET…]",
		Short: "Show the condition of grants",
		Long: `Show provider, state, expiry, the refresh token's age and what will end it, and
the last result, without asking the provider. TARGET is the path of a token file
or the name of a kept grant. Without arguments all token files in this folder that
evergrant has refreshed are shown, and all kept grants.

States: fresh; due (good, and should be renewed); expired; unknown (good until an
API rejects it: nobody says how long); in-doubt (a reply was lost); blocked;
needs-login; unreadable.

Without --check the exit code tells only of grants that could not be read. With it
the exit code is that of the worst grant, for monitoring: 3 needs a
login, 4 expired or in doubt, 5 blocked or misconfigured, 6 could not be stored.

` + exitCodes,
		Example: "  evergrant status *.json\n  evergrant status --check /etc/app/token.json || alert",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				rows, err := statusRows(cmd.Context(), t, args)
				if err != nil {
					return err
				}
				return showStatus(u, rows, check)
			}
			rows, err := allRows(cmd.Context(), t)
			if err != nil {
				return err
			}
			if len(rows) == 0 {
				return usageError{errors.New("no grant was named; none in this folder was refreshed by evergrant, and none is kept by name"), "name one: evergrant status TARGET"}
			}
			return showStatus(u, rows, check)
		},
	}
	t.identify(cmd)
	cmd.Flags().BoolVar(&check, "check", false, "set the exit code by the worst state")
	return cmd
}

// allRows are the token files of this folder and the kept grants. A store that
// cannot be opened hides no file.
func allRows(ctx context.Context, t *target) ([]statusRow, error) {
	rows, err := statusRows(ctx, t, knownHere())
	if err != nil {
		return nil, err
	}
	cfg, err := t.config()
	if err != nil {
		return nil, err
	}
	store, err := openStore(t.u)
	var kept []statusRow
	if err == nil {
		kept, err = keptRows(ctx, store, cfg)
	}
	switch {
	case errors.Is(err, errHomeless): // there can be none
		t.u.warn(err.Error(), hintOf(err))
	case err != nil:
		kept = []statusRow{{Grant: "(kept grants)", Named: true, Failed: err}}
	}
	return append(rows, kept...), nil
}

// showStatus prints the table, where named grants are kept, and what is wrong.
func showStatus(u *ui, rows []statusRow, check bool) error {
	if err := printStatus(u, rows); err != nil {
		return err
	}
	if slices.ContainsFunc(rows, func(r statusRow) bool { return r.Named && r.Failed == nil }) {
		if store, err := openStore(u); err == nil {
			u.say("the kept grants are %s", sealedWords(store))
		}
	}
	return statusError(u, rows, check)
}

// knownHere finds the token files of this folder by their side files.
func knownHere() []string {
	sides, _ := filepath.Glob(".*.evergrant")
	for i, s := range sides {
		sides[i] = s[1 : len(s)-len(".evergrant")]
		if isThere(sides[i]) && isName(sides[i]) { // the file is meant, not the kept grant
			sides[i] = "./" + sides[i]
		}
	}
	return sides
}

// statusRow is one grant; Failed is why it could not be read.
type statusRow struct {
	Grant  string // path of a token file, or with Named the name of a kept grant
	Named  bool
	Status evergrant.Status
	Hurdle *evergrant.Error // why a refresh would not be made, or its answer not be stored; nil if all is well
	Failed error
}

func statusRows(ctx context.Context, t *target, paths []string) ([]statusRow, error) {
	if _, err := t.config(); err != nil {
		return nil, err
	}
	var rows []statusRow
	for _, path := range paths {
		row := statusRow{Grant: path, Named: isName(path)}
		var src *evergrant.Source
		if src, row.Failed = t.open(ctx, path, nil); row.Failed == nil {
			row.Status, row.Hurdle, row.Failed = statusOf(ctx, src)
			src.Close()
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func statusOf(ctx context.Context, src *evergrant.Source) (evergrant.Status, *evergrant.Error, error) {
	s, err := src.Status(ctx)
	if err != nil {
		return s, nil, err
	}
	plan, err := src.Plan(ctx)
	return s, cmp.Or(s.Problem, plan.Problem, plan.Storage), err
}

func printStatus(u *ui, rows []statusRow) error {
	if u.json {
		list := make([]statusJSON, len(rows))
		for i, r := range rows {
			list[i] = newStatusJSON(r)
		}
		return errors.Join(u.value(list), u.flush())
	}
	w := tabwriter.NewWriter(u.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "GRANT\tSTATE\tPROVIDER\tACCESS TOKEN\tREFRESH TOKEN\tLAST TRY")
	for _, r := range rows {
		if r.Failed != nil {
			fmt.Fprintf(w, "%s\t%s\t-\t-\t-\t-\n", printable(r.Grant), stateUnreadable)
			continue
		}
		s := r.Status
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", printable(r.Grant), s.State, printable(orDash(cmp.Or(s.Provider, s.Issuer))), accessWords(s), refreshWords(s), lastWords(s))
	}
	w.Flush()
	return u.flush() // the table stands before the messages, and also when the exit code is not 0
}

// stateUnreadable is the state of a file that could not be looked at.
const stateUnreadable evergrant.State = "unreadable"

// statusError explains every row that is not well, and makes the exit of
// status: of unreadable files always, of states with --check.
func statusError(u *ui, rows []statusRow, check bool) error {
	worst := exitOK
	for _, r := range rows {
		says, do, code := trouble(r)
		if says != "" && !u.json {
			u.warn(r.Grant+": "+says, do)
		}
		if check || r.Failed != nil {
			worst = graver(worst, code)
		}
	}
	if worst == exitOK {
		return nil
	}
	return toldExit(worst)
}

// trouble says what is wrong with a row, what to do, and its exit code.
func trouble(r statusRow) (says, do string, code int) {
	s := r.Status
	switch {
	case r.Failed != nil:
		f := failure(r.Failed)
		return f.Error, f.Hint, f.Exit
	case r.Hurdle != nil:
		return r.Hurdle.Error(), r.Hurdle.Do, graver(stateExit(s.State), exitCode(r.Hurdle))
	case s.State == evergrant.StateInDoubt:
		return "a request was sent at " + local(s.DoubtSince) + " and its reply was lost", "run `evergrant refresh " + r.Grant + "`; it tells what is left to do", exitTemporary
	case s.State == evergrant.StateExpired:
		return "the access token has ended", "run `evergrant refresh " + r.Grant + "`", exitTemporary
	case s.Last != "" && s.Last != evergrant.Fresh:
		return "the last try failed: " + s.LastSays, "run `evergrant refresh " + r.Grant + "` to try again", stateExit(s.State)
	}
	return "", "", exitOK
}

// stateExit is the exit code that --check gives a state.
func stateExit(s evergrant.State) int {
	switch s {
	case evergrant.StateNeedsLogin:
		return exitNeedsLogin
	case evergrant.StateBlocked:
		return exitMisconfigured
	case evergrant.StateExpired, evergrant.StateInDoubt:
		return exitTemporary
	}
	return exitOK
}

// severity orders exit codes, the gravest last: what a person must act on
// stands over what passes by itself.
var severity = []int{exitOK, exitTemporary, exitMisconfigured, exitUsage, exitStorage, exitNeedsLogin, exitInternal}

func graver(a, b int) int {
	if slices.Index(severity, b) > slices.Index(severity, a) {
		return b
	}
	return a
}

func accessWords(s evergrant.Status) string {
	switch {
	case s.ExpiresAt.IsZero():
		return "lifetime not known"
	case time.Now().After(s.ExpiresAt):
		return "ended " + ago(s.ExpiresAt)
	}
	return "for " + brief(time.Until(s.ExpiresAt).Round(time.Second))
}

func refreshWords(s evergrant.Status) string {
	switch {
	case s.HasRefreshToken:
	case s.GrantType != "":
		return "none needed"
	default:
		return "none"
	}
	words := "kept"
	if !s.RefreshTokenFrom.IsZero() {
		words = "since " + s.RefreshTokenFrom.Local().Format("2006-01-02")
	}
	if s.State == evergrant.StateNeedsLogin {
		return words + ", ended"
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
	return string(s.Last) + ", " + ago(s.LastAt)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// statusJSON is a status row as JSON. Times that are not known are left out.
type statusJSON struct {
	File             string          `json:"file,omitempty"`
	Name             string          `json:"name,omitempty"` // of a kept grant, which has no file
	State            evergrant.State `json:"state"`
	Provider         string          `json:"provider,omitempty"`
	Account          string          `json:"account,omitempty"`
	Issuer           string          `json:"issuer,omitempty"`
	TokenURL         string          `json:"token_url,omitempty"`
	ClientID         string          `json:"client_id,omitempty"`
	Layout           string          `json:"layout,omitempty"`
	Generation       uint64          `json:"generation"`
	IssuedAt         time.Time       `json:"issued_at,omitzero"`
	ExpiresAt        time.Time       `json:"expires_at,omitzero"`
	ExpiryFrom       string          `json:"expiry_from,omitempty"`
	RefreshAt        time.Time       `json:"refresh_at,omitzero"`
	HasRefreshToken  bool            `json:"has_refresh_token"`
	GrantType        string          `json:"grant_type,omitempty"` // how it is renewed without a refresh token
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
	file, name := r.Grant, ""
	if r.Named {
		file, name = "", r.Grant
	}
	if r.Failed != nil {
		f := failure(r.Failed)
		return statusJSON{File: file, Name: name, State: stateUnreadable, Problem: &f}
	}
	s := r.Status
	j := statusJSON{
		File: file, Name: name, State: s.State, Provider: s.Provider, Account: s.Account, Issuer: s.Issuer, GrantType: s.GrantType, TokenURL: s.TokenURL, ClientID: s.ClientID, Layout: s.Layout,
		Generation: s.Generation, IssuedAt: s.IssuedAt, ExpiresAt: s.ExpiresAt, ExpiryFrom: s.ExpiryFrom, RefreshAt: s.RefreshAt,
		HasRefreshToken: s.HasRefreshToken, Rotates: s.Rotates, RefreshTokenFrom: s.RefreshTokenFrom, IdleEnd: s.IdleEnd, AbsoluteEnd: s.AbsoluteEnd,
		DoubtSince: s.DoubtSince, Last: string(s.Last), LastAt: s.LastAt, LastSays: s.LastSays, RetryAt: s.RetryAt,
	}
	if r.Hurdle != nil {
		f := failure(r.Hurdle)
		j.Problem = &f
	}
	return j
}
