package main

import (
	"errors"
	"fmt"
	"os/exec"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant/conformance"
)

// notConforming is the failure of `conformance` when a case failed.
type notConforming struct {
	failed int
	first  string // name of a case that failed
}

func (e notConforming) Error() string {
	if e.failed == 1 {
		return "1 case failed"
	}
	return fmt.Sprintf("%d cases failed", e.failed)
}

func (e notConforming) Hint() string {
	return "play one again with --run '^" + e.first + "$'"
}

func conformanceCommand(u *ui) *cobra.Command {
	var pattern string
	var list bool
	var r conformance.Runner
	cmd := &cobra.Command{
		Use:   "conformance [--run PATTERN] -- COMMAND [ARG…]",
		Short: "Judge any program that refreshes a token file",
		Long: `Put a program that refreshes tokens in a JSON file through the situations that
cost grants: races, lost replies, crashes, full disks, odd and hostile answers.
Each case starts a simulated server, writes a token file in a temporary folder,
runs COMMAND, and judges by the server's ledger and the file alone.

COMMAND must refresh the token each time it is run, write the file back, and exit
with 0 only if it did. In its arguments {file}, {token_url} and {client_id} are
replaced; they are in the environment too, as EVERGRANT_CONFORMANCE_FILE,
EVERGRANT_CONFORMANCE_TOKEN_URL and EVERGRANT_CONFORMANCE_CLIENT_ID.

The scorecard counts passed, failed and skipped cases by group and says what
happened in each that failed. Some cases need Linux, or root.

Exit codes:
  0  every case passed that could be played
  1  a case failed
  2  usage`,
		Example: `  evergrant conformance -- ./refresh.sh {file} {token_url} {client_id}
  evergrant conformance --run '^(races|crash)/' -- python3 refresh.py {file}
  evergrant conformance -- evergrant refresh {file} --token-url {token_url} --client-id {client_id}
  evergrant conformance --list`,
		Args: func(cmd *cobra.Command, args []string) error {
			if !list && (len(args) == 0 || cmd.ArgsLenAtDash() != 0) {
				return usageError{errors.New("conformance takes -- and the command to judge"), "write it as `evergrant conformance -- COMMAND {file} {token_url} {client_id}`"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cases, err := conformance.Select(pattern)
			if err != nil {
				return usageError{err, "see the names with `evergrant conformance --list`"}
			}
			if list {
				return listCases(u, cases)
			}
			r.Command = args
			return judge(cmd, u, r, cases)
		},
	}
	f := cmd.Flags()
	f.StringVar(&pattern, "run", "", "play only cases whose name matches the regular `expression`")
	f.BoolVar(&list, "list", false, "print the names of the cases and why each matters")
	f.DurationVar(&r.Limit, "limit", 75*time.Second, "how long one run of COMMAND may take")
	f.IntVar(&r.Parallel, "parallel", 0, "`number` of cases at once (default: two a processor)")
	return cmd
}

func listCases(u *ui, cases []conformance.Case) error {
	if u.json {
		type row struct {
			Name  string `json:"name"`
			Group string `json:"group"`
			Why   string `json:"why"`
		}
		rows := make([]row, len(cases))
		for i, c := range cases {
			rows[i] = row{c.Name, c.Group, c.Why}
		}
		return u.value(rows)
	}
	w := tabwriter.NewWriter(u.out, 0, 8, 2, ' ', 0)
	for _, c := range cases {
		fmt.Fprintf(w, "%s\t%s\n", c.Name, c.Why)
	}
	return w.Flush()
}

// judge plays the cases and prints the scorecard.
func judge(cmd *cobra.Command, u *ui, r conformance.Runner, cases []conformance.Case) error {
	if u.terminal() {
		r.Progress = func(done, of int, last conformance.Result) {
			u.showStatus(fmt.Sprintf("evergrant: %d of %d cases, last %s %s", done, of, last.Name, last.Outcome))
		}
	}
	card, err := r.Run(cmd.Context(), cases)
	u.showStatus("")
	if errors.Is(err, exec.ErrNotFound) {
		return usageError{err, "check the command after --"}
	}
	if err != nil {
		return err
	}
	if u.json {
		err = u.value(struct {
			conformance.Scorecard
			Total  conformance.Tally   `json:"total"`
			Groups []conformance.Tally `json:"groups"`
		}{card, card.Total(), card.Groups()})
	} else {
		err = card.WriteText(u.out)
	}
	if err = errors.Join(err, u.flush()); err != nil {
		return err
	}
	if failed := card.With(conformance.Failed); len(failed) > 0 {
		return notConforming{len(failed), failed[0].Name}
	}
	return nil
}
