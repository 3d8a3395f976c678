package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/oauth"
)

func introspectCommand(u *ui) *cobra.Command {
	t := &target{u: u}
	var at string
	var refresh bool
	cmd := &cobra.Command{
		Use:   "introspect TARGET",
		Short: "Ask the provider what it knows of a token",
		Long: `Ask the provider what it knows of the access token of a grant, or with
--refresh-token of its refresh token (RFC 7662). TARGET is the path of a token file
or the name of a kept grant. Most providers want a client with a secret. The token
itself is not shown, and the grant stays as it is.

The exit code is 3 where the provider says that the token is not active. That is
no proof that the grant has ended: providers say so of other clients' tokens too.

` + exitCodes,
		Example: "  evergrant introspect work-sf --refresh-token\n  evergrant introspect token.json --json | jq .exp",
		Args:    oneFile("introspect"),
		RunE: func(cmd *cobra.Command, args []string) error {
			src, err := t.open(cmd.Context(), args[0], endpoint(evergrant.Endpoints{Introspect: at}))
			if err != nil {
				return err
			}
			defer src.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), t.timeout)
			defer cancel()
			i, err := src.Introspect(ctx, refresh)
			if err != nil {
				return err
			}
			document, err := src.Document(ctx)
			if err != nil {
				return err
			}
			return printIntrospection(u, args[0], i, document)
		},
	}
	t.identify(cmd)
	cmd.Flags().BoolVar(&refresh, "refresh-token", false, "ask about the refresh token")
	cmd.Flags().StringVar(&at, "introspect-url", "", "`URL` for introspection, where neither catalog nor discovery has it")
	return cmd
}

// printIntrospection prints the answer at once, and makes the exit of what is
// not active.
func printIntrospection(u *ui, grant string, i *oauth.Introspection, document evergrant.Secret) error {
	members := withoutTokens(i.Members, document)
	if err := printMembers(u, members, introspectionTimes); err != nil {
		return err
	}
	if i.Active {
		return nil
	}
	says, do := "the provider says that the token is not active", "`evergrant refresh "+grant+"` tells whether the grant lives"
	if u.json {
		u.jsonLine(failed{Error: says, Hint: do, Exit: exitNeedsLogin})
	} else {
		u.line("evergrant: " + grant + ": " + says)
		u.line("hint: " + do)
	}
	return toldExit(exitNeedsLogin)
}

// introspectionTimes are the members that hold a time (RFC 7662 §2.2).
var introspectionTimes = []string{"exp", "iat", "nbf"}

// withoutTokens leaves out what repeats a token of the document, as some
// servers do.
func withoutTokens(members []oauth.Member, document evergrant.Secret) []oauth.Member {
	var tokens map[string]json.RawMessage
	json.Unmarshal([]byte(document.Reveal()), &tokens)
	return slices.DeleteFunc(slices.Clone(members), func(m oauth.Member) bool {
		if slices.Contains([]string{"token", "access_token", "refresh_token", "id_token"}, m.Name) {
			return true
		}
		for _, name := range []string{"access_token", "refresh_token", "id_token"} {
			var token string
			if json.Unmarshal(tokens[name], &token) == nil && token != "" && strings.Contains(string(m.Value), token) {
				return true
			}
		}
		return false
	})
}

// printMembers prints the members of an answer at once: as one JSON object, or
// as a table in which the times are readable.
func printMembers(u *ui, members []oauth.Member, times []string) error {
	if u.json {
		object := map[string]json.RawMessage{}
		for _, m := range members {
			if json.Valid(m.Value) {
				object[m.Name] = m.Value
			}
		}
		if err := u.value(object); err != nil {
			return err
		}
		return u.flush()
	}
	w := tabwriter.NewWriter(u.out, 0, 8, 2, ' ', 0)
	for _, m := range members {
		fmt.Fprintf(w, "%s\t%s\n", oneLine(m.Name), oneLine(memberWords(m, slices.Contains(times, m.Name))))
	}
	w.Flush()
	return u.flush()
}

// memberWords is a value for a person: texts without quotes, times as dates.
func memberWords(m oauth.Member, isTime bool) string {
	var text string
	if json.Unmarshal(m.Value, &text) == nil && m.Value[0] == '"' {
		return text
	}
	var seconds float64
	if isTime && json.Unmarshal(m.Value, &seconds) == nil && seconds > 0 && seconds < 1<<37 {
		return until(time.Unix(int64(seconds), 0))
	}
	return string(m.Value)
}

// oneLine keeps a provider's text inside its cell.
func oneLine(s string) string {
	return strings.NewReplacer("\n", " ", "\t", " ").Replace(printable(s))
}
