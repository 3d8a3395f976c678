package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/provider"
)

func doctorCommand(u *ui) *cobra.Command {
	t := &target{u: u}
	cmd := &cobra.Command{
		Use:   "doctor TARGET",
		Short: "Explain a grant: what it is, what will end it, what to change",
		Long: `Explain a grant: what it is and how that is known, where it is kept, what will
end it and when, whether a new token could be stored, and what to change. TARGET
is the path of a token file or the name of a kept grant. Sends and writes nothing.

` + exitCodes,
		Args: oneFile("doctor"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var p patient
			src, err := t.open(cmd.Context(), args[0], func(c *evergrant.Config) { c.OnEvent = p.note })
			if err != nil {
				return err
			}
			defer src.Close()
			s, err := src.Status(cmd.Context())
			if err != nil {
				return err
			}
			plan, err := src.Plan(cmd.Context())
			if err != nil {
				return err
			}
			p.status, p.plan, p.named, p.bound = s, plan, isName(args[0]), s.Bound
			if p.kept = "in the file " + s.Grant; p.named {
				store, err := openStore(u)
				if err != nil {
					return err
				}
				p.kept = sealedWords(store)
			}
			advice := p.diagnose()
			if u.json {
				row := statusRow{Grant: args[0], Named: p.named, Status: s, Hurdle: cmp.Or(plan.Problem, plan.Storage)}
				return u.value(map[string]any{"status": newStatusJSON(row), "advice": advice, "kept": p.kept, "bound_to_key": p.bound})
			}
			p.explain(u, advice)
			return nil
		},
	}
	cmd.Example = "  evergrant doctor token.json"
	t.identify(cmd)
	return cmd
}

// patient is a grant with all that doctor knows of it.
type patient struct {
	status       evergrant.Status
	plan         evergrant.Plan
	named, bound bool
	kept         string            // where, in words
	notes        []evergrant.Noted // what a refresh would warn of
}

// note keeps a warning for the advice, where it stands with its next step.
func (p *patient) note(e evergrant.Event) {
	if n, ok := e.(evergrant.Noted); ok {
		p.notes = append(p.notes, n)
	}
}

// advice is one thing a person should know or change, worst first.
type advice struct {
	Grave bool   `json:"grave"`
	Says  string `json:"says"`
	Do    string `json:"do,omitempty"`
}

// diagnose goes through what can be wrong with a grant.
func (p *patient) diagnose() []advice {
	s, plan := p.status, p.plan
	var out []advice
	add := func(grave bool, says, do string) {
		known := func(a advice) bool { return do != "" && a.Do == do }
		if !slices.ContainsFunc(out, known) {
			out = append(out, advice{grave, says, do})
		}
	}
	for _, e := range []*evergrant.Error{plan.Problem, plan.Storage} {
		if e != nil {
			add(true, e.Error(), e.Do)
		}
	}
	if info, err := os.Stat(s.Grant); !p.named && err == nil && info.Mode().Perm()&0o077 != 0 {
		add(true, "other users can read the token file", "chmod 600 "+s.Grant)
	}
	for _, n := range p.notes {
		add(false, n.Says, n.Do)
	}
	if s.ExpiresAt.IsZero() {
		add(false, "nobody says how long the access token is valid, so it is renewed only when asked", "say it once with --session-lifetime")
	}
	if !s.HasRefreshToken && s.GrantType == "" {
		add(false, "there is no refresh token: the grant ends with its access token", "log in again with the scope or parameter that asks for one; `evergrant providers "+cmp.Or(s.Provider, "NAME")+"` says which")
	}
	if p.bound {
		add(false, "the tokens are bound to a key that is kept with them (DPoP): programs that get the access token alone cannot use it", "send the requests through `evergrant proxy`, which adds the proofs")
	}
	out = append(out, ends(s)...)
	if s.Rotates == "yes" {
		what := "file"
		if p.named {
			what = "grant"
		}
		add(false, "the provider replaces the refresh token at each refresh: every other copy of this "+what+" is worthless after the next one", "let all programs use this one "+what)
	}
	if s.Last != "" && s.Last != evergrant.Fresh && plan.Problem == nil {
		add(false, "the last try ("+ago(s.LastAt)+") failed: "+s.LastSays, "`evergrant refresh` tries again")
	}
	return out
}

const day = 24 * time.Hour

// ends tells of an end of the refresh token that is near.
func ends(s evergrant.Status) []advice {
	var out []advice
	if s.State == evergrant.StateNeedsLogin {
		return nil
	}
	if left := time.Until(s.IdleEnd); !s.IdleEnd.IsZero() && left < 7*day {
		out = append(out, advice{left < day, "the refresh token dies at " + local(s.IdleEnd) + " unless it is used before", "refresh before, or keep it in use with `evergrant watch`"})
	}
	if left := time.Until(s.AbsoluteEnd); !s.AbsoluteEnd.IsZero() && left < 30*day {
		out = append(out, advice{left < 7*day, "the refresh token dies at " + local(s.AbsoluteEnd) + ", whatever happens", "log in again before"})
	}
	return out
}

// explain prints the grant in words.
func (p *patient) explain(u *ui, list []advice) {
	s, plan := p.status, p.plan
	w := tabwriter.NewWriter(u.out, 0, 8, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, printable(value))
		}
	}
	row("grant", s.Grant+" ("+s.Layout+")")
	row("kept", p.kept)
	row("account", s.Account)
	if s.Provider != "" || s.Issuer == "" {
		row("provider", providerTitle(s.Provider))
	}
	row("issuer", s.Issuer)
	row("token endpoint", orDash(s.TokenURL))
	row("client id", orDash(s.ClientID))
	row("state", stateWords[s.State])
	if !s.ExpiresAt.IsZero() {
		words := until(s.ExpiresAt)
		if from := expiryWords[s.ExpiryFrom]; from != "" {
			words += ", " + from
		}
		row("access token until", words)
	}
	if !s.RefreshAt.IsZero() {
		row("renewed from", until(s.RefreshAt))
	}
	if s.GrantType != "" {
		row("renewed by", "asking again ("+s.GrantType+"): there is no refresh token to lose")
	} else {
		row("refresh token", refreshWords(s)+rotationWords(s.Rotates))
	}
	if p.bound {
		row("bound to", "a key that is kept with the tokens (DPoP, RFC 9449)")
	}
	if !s.IdleEnd.IsZero() && s.State != evergrant.StateNeedsLogin {
		row("dies if unused until", until(s.IdleEnd))
	}
	if !s.AbsoluteEnd.IsZero() {
		row("dies in any case", until(s.AbsoluteEnd))
	}
	if !s.DoubtSince.IsZero() {
		row("in doubt since", until(s.DoubtSince))
	}
	row("generation", fmt.Sprint(s.Generation))
	if plan.Problem == nil {
		row("a refresh sends", strings.Join(plan.Params, ", "))
	}
	w.Flush()
	if len(list) == 0 {
		u.printf("\nAll is well.\n")
		return
	}
	u.printf("\n")
	for _, a := range list {
		mark := "note"
		if a.Grave {
			mark = "PROBLEM"
		}
		u.printf("%s: %s\n", mark, printable(a.Says))
		if a.Do != "" {
			u.printf("  → %s\n", printable(a.Do))
		}
	}
}

var stateWords = map[evergrant.State]string{
	evergrant.StateFresh:      "fresh",
	evergrant.StateDue:        "due: the access token is good and should be renewed",
	evergrant.StateExpired:    "expired: the access token has ended, a refresh will renew it",
	evergrant.StateUnknown:    "unknown: good until an API rejects the access token",
	evergrant.StateInDoubt:    "in doubt: a request was sent and its reply was lost",
	evergrant.StateBlocked:    "blocked: the provider refuses for a reason that is not this grant",
	evergrant.StateNeedsLogin: "needs a login: the grant has ended",
}

var expiryWords = map[string]string{
	"answer":   "as the provider said",
	"file":     "as the file says",
	"jwt":      "as the token itself says",
	"session":  "as you said with --session-lifetime",
	"provider": "as the catalog says of this provider",
	"learned":  "learned from a rejection",
}

func rotationWords(rotates string) string {
	switch rotates {
	case "yes":
		return "; replaced at each refresh"
	case "no":
		return "; the same after each refresh"
	}
	return ""
}

func providerTitle(name string) string {
	if p, err := provider.Get(name); err == nil && name != "" {
		return p.Title + " (" + name + ")"
	}
	return orDash(name)
}
