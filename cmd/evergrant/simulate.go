package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant/idptest"
)

func simulateCommand(u *ui) *cobra.Command {
	var listen, persona, mark string
	var useTLS bool
	habits := map[string]*string{} // by the name in HabitTable
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Run a simulated authorization server to try clients against",
		Long: "Run a simulated authorization server in the foreground and print its URL, so that\n" +
			"any OAuth client can be tried against rotation, races, lost replies and odd answers.\n" +
			"It is for tests: it approves everything and hands out tokens on request. Keep it on\n" +
			"this machine.\n\n" + simulateHelp(),
		Example: "  evergrant simulate --persona salesforce --rotation=true\n" +
			"  curl -s -X POST http://127.0.0.1:PORT/_sim/grants\n" +
			"  curl -s http://127.0.0.1:PORT/_sim/ledger",
		Args: takes(0, 0, "evergrant simulate [flags]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg := idptest.Config{Persona: idptest.Persona(persona), Mark: mark}
			if cfg.Persona != idptest.Generic && cfg.Persona != idptest.Salesforce {
				return usageError{fmt.Errorf("--persona %s is not known", persona), "generic or salesforce"}
			}
			for name, value := range habits {
				if cmd.Flags().Changed(habitFlag(name)) {
					if err := cfg.Habits.Set(name, *value); err != nil {
						return usageError{fmt.Errorf("--%s %s: %w", habitFlag(name), *value, err), "see `evergrant simulate --help`"}
					}
				}
			}
			return simulate(cmd, u, idptest.New(cfg), listen, useTLS)
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:0", "`address` to listen on; port 0 picks a free one")
	f.StringVar(&persona, "persona", string(idptest.Generic), "generic or salesforce")
	f.StringVar(&mark, "mark", "", "text inside every token, to search for leaks")
	f.BoolVar(&useTLS, "tls", false, "serve https; the certificate authority is printed")
	for _, h := range idptest.HabitTable() {
		habits[h.Name] = f.String(habitFlag(h.Name), "", h.Doc)
	}
	cmd.RegisterFlagCompletionFunc("persona", cobra.FixedCompletions([]string{"generic", "salesforce"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// habitFlag is the flag of a habit: its name with hyphens.
func habitFlag(name string) string { return strings.ReplaceAll(name, "_", "-") }

func simulateHelp() string {
	var b strings.Builder
	if err := idptest.WriteHelp(&b); err != nil {
		return ""
	}
	return b.String()
}

func simulate(cmd *cobra.Command, u *ui, s *idptest.Server, listen string, useTLS bool) error {
	var base string
	var ca []byte
	var err error
	if useTLS {
		base, ca, err = s.ListenTLS(listen)
	} else {
		base, err = s.Listen(listen)
	}
	if err != nil {
		return usageError{fmt.Errorf("listening on %s: %w", listen, err), "choose another address with --listen"}
	}
	if u.json {
		err = u.value(map[string]string{"url": base, "control": base + "/_sim/", "ca": string(ca)})
	} else {
		u.printf("%s\n%s", base, ca)
	}
	if err = errors.Join(err, u.flush()); err == nil {
		u.say("the control endpoint is %s/_sim/; stop with Ctrl-C", base)
		<-cmd.Context().Done()
	}
	return errors.Join(err, s.Close())
}
