package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/store/keyring"
)

func listCommand(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the grants that are kept by name",
		Long: `List the grants in the store of this user: whose they are, their condition, and
how long access and refresh token live. Where the store is and what its key is
stands on stderr. Sends nothing.

A record that cannot be opened is shown as unreadable, with the reason on stderr
and exit code 6; it hides no other.

` + exitCodes,
		Example: "  evergrant list\n  evergrant list --json | jq -r '.[].name'",
		Args:    takes(0, 0, "evergrant list"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := openStore(u)
			if err != nil {
				return err
			}
			rows, err := keptRows(cmd.Context(), store, evergrant.Config{ResolveSecret: resolveSecret})
			if err != nil {
				return err
			}
			if err := printKept(u, rows); err != nil {
				return err
			}
			if len(rows) == 0 {
				u.say("no grant is kept by name; `evergrant login` and `evergrant import` keep one with --name NAME")
			} else {
				u.say("the grants are %s", sealedWords(store))
			}
			return unreadable(u, rows)
		},
	}
}

// keptRows looks at every grant of a store; those that cannot be opened come
// last. The error is one that concerns them all.
func keptRows(ctx context.Context, store *keyring.Store, cfg evergrant.Config) ([]statusRow, error) {
	if n, err := grantsIn(store); n == 0 {
		return nil, err
	}
	if err := keyHint(store, store.Unlock(ctx)); err != nil {
		return nil, err
	}
	records, err := store.List(ctx, "", maxFiles)
	var rows []statusRow
	for _, r := range records {
		row := statusRow{Grant: r.ID, Named: true}
		var src *evergrant.Source
		if src, row.Failed = openIn(store, r.ID, cfg); row.Failed == nil {
			row.Status, row.Hurdle, row.Failed = statusOf(ctx, src)
			src.Close()
		}
		rows = append(rows, row)
	}
	for _, err := range parts(err) {
		rows = append(rows, statusRow{Grant: nameInError(err), Named: true, Failed: err})
	}
	return rows, nil
}

// grantsIn counts the records of a store, without its key.
func grantsIn(store *keyring.Store) (int, error) {
	entries, err := recordsIn(store)
	return len(entries), err
}

// recordsIn are the paths of a store's records.
func recordsIn(store *keyring.Store) ([]string, error) {
	d, err := store.Describe()
	if err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(globbed(d.Dir), "*.grant"))
}

// namesIn are the names of the grants in a store as far as the names of its files
// tell them, without its key.
func namesIn(store *keyring.Store) []string {
	entries, _ := recordsIn(store)
	for i, path := range entries {
		entries[i] = nameOfRecord(path)
	}
	return entries
}

// nearest is the name that was meant by one that is not there; "" if none is near.
func nearest(name string, names []string) string {
	c := &cobra.Command{SuggestionsMinimumDistance: 2}
	for _, n := range names {
		c.AddCommand(&cobra.Command{Use: n, Run: func(*cobra.Command, []string) {}})
	}
	if near := c.SuggestionsFor(name); len(near) > 0 {
		return near[0]
	}
	return ""
}

// globbed is a folder's name as a pattern of itself.
func globbed(dir string) string {
	if filepath.Separator == '\\' {
		return dir // there is no escape there
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// parts are the errors that were joined, one a record. An error about one
// record has several causes too, and is not taken apart.
func parts(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	_, one := err.(*keyring.Error)
	switch {
	case err == nil:
		return nil
	case ok && !one:
		return joined.Unwrap()
	}
	return []error{err}
}

// nameInError is the name of the grant whose record an error is about, as far
// as the file's name tells it.
func nameInError(err error) string {
	var e *keyring.Error
	if !errors.As(err, &e) {
		return "?"
	}
	return nameOfRecord(e.Path)
}

func nameOfRecord(path string) string {
	stem := strings.TrimSuffix(filepath.Base(path), ".grant")
	if name, err := url.PathUnescape(stem); err == nil {
		return name
	}
	return stem
}

// printKept prints the table at once: it stands before the messages, and also
// when the exit code is not 0.
func printKept(u *ui, rows []statusRow) error {
	if u.json {
		return printStatus(u, rows)
	}
	if len(rows) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(u.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tPROVIDER\tACCOUNT\tSTATE\tACCESS TOKEN\tREFRESH TOKEN\tLOGGED IN")
	for _, r := range rows {
		if r.Failed != nil {
			fmt.Fprintf(w, "%s\t-\t-\t%s\t-\t-\t-\n", printable(r.Grant), stateUnreadable)
			continue
		}
		s := r.Status
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", printable(r.Grant), printable(comesFrom(s)), printable(orDash(s.Account)), s.State, accessWords(s), refreshWords(s), dayOf(s.LoginAt))
	}
	w.Flush()
	return u.flush()
}

// dayOf is a date as a person writes it; "-" where it is not known.
func dayOf(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateOnly)
}

// comesFrom is who gave a grant: a provider of the catalog, else an issuer.
func comesFrom(s evergrant.Status) string { return orDash(cmp.Or(s.Provider, s.Issuer, s.TokenURL)) }

// unreadable explains the rows that could not be opened, and is the exit for
// them.
func unreadable(u *ui, rows []statusRow) error {
	worst := exitOK
	for _, r := range rows {
		if r.Failed == nil {
			continue
		}
		f := failure(r.Failed)
		if !u.json { // there it stands in the row
			u.warn(r.Grant+": "+f.Error, f.Hint)
		}
		worst = graver(worst, f.Exit)
	}
	if worst == exitOK {
		return nil
	}
	return toldExit(worst)
}
