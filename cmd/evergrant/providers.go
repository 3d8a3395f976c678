package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant/provider"
)

func providersCommand(u *ui) *cobra.Command {
	var search, path string
	cmd := &cobra.Command{
		Use:   "providers [NAME]",
		Short: "List the catalog of providers, or show one with its sources",
		Long: `List the providers in the catalog, or show one: endpoints, how its tokens live and
die, its error answers, each fact with its source. A fact that is not from the
provider's own pages is marked unverified, and evergrant treats it as the
cautious case.`,
		Example: "  evergrant providers\n  evergrant providers salesforce\n  evergrant providers --search mail",
		Args:    cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return provider.Names(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			var catalog *provider.Catalog
			if path != "" {
				var err error
				if catalog, err = provider.Load(path); err != nil {
					return usageError{fmt.Errorf("reading the catalog: %w", err), "see provider/SCHEMA.md for the form"}
				}
			}
			if len(args) == 1 {
				p, err := catalog.Get(args[0])
				if err != nil {
					return usageError{err, "`evergrant providers` lists them"}
				}
				return showProvider(u, p)
			}
			list, err := catalog.Search(search)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				return usageError{fmt.Errorf("no provider matches %q", search), "search for less"}
			}
			return listProviders(u, list)
		},
	}
	cmd.Flags().StringVar(&search, "search", "", "words that must occur in name, title, hosts or notes")
	cmd.Flags().StringVar(&path, "catalog", "", "file or folder with providers of your own")
	return cmd
}

func listProviders(u *ui, list []*provider.Provider) error {
	if u.json {
		return u.value(list)
	}
	w := tabwriter.NewWriter(u.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tTITLE\tROTATES\tCLIENT AUTH")
	for _, p := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.Name, p.Title, doubtful(orUnknown(p.Refresh.Rotates), p.Verified("refresh.rotates")), strings.Join(p.ClientAuth, ", "))
	}
	return w.Flush()
}

func showProvider(u *ui, p *provider.Provider) error {
	if u.json {
		return u.value(struct {
			*provider.Provider
			Facts []provider.Fact `json:"facts"`
		}{p, p.Facts()})
	}
	u.printf("%s (%s)\n\n", p.Title, p.Name)
	w := tabwriter.NewWriter(u.out, 0, 8, 2, ' ', 0)
	for _, f := range p.Facts() {
		fmt.Fprintf(w, "%s\t%s\n", f.Field, doubtful(f.Value, f.Verified))
	}
	w.Flush()
	for _, q := range p.Quirks {
		u.printf("\n- %s", q)
	}
	if len(p.Errors) > 0 {
		u.printf("\n\nErrors of its own:\n")
		for _, e := range p.Errors {
			u.printf("  %-34s %-13s %s\n", errorWords(e), e.Outcome, e.Says)
		}
	}
	u.printf("\nSources:\n")
	for _, s := range p.Sources {
		u.printf("  %s\n", sourceWords(s))
	}
	return nil
}

func errorWords(e provider.ErrorRule) string {
	words := e.Error
	if words == "" && e.Status > 0 {
		words = fmt.Sprintf("HTTP %d", e.Status)
	}
	if e.Description != "" {
		words += " …" + e.Description
	}
	return strings.TrimSpace(words)
}

func doubtful(text string, verified bool) string {
	if verified || text == "unknown" {
		return text
	}
	return text + " (unverified)"
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}


func sourceWords(s provider.Source) string {
	words := s.Name
	if s.URL != "" {
		words += " <" + s.URL + ">"
	}
	if s.Date != "" {
		words += ", " + s.Date
	}
	return words
}
