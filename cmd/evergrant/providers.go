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
		Args:    takes(0, 1, "evergrant providers [NAME]"),

		ValidArgsFunction: completeProvider,
		RunE: func(_ *cobra.Command, args []string) error {
			var catalog *provider.Catalog
			if path = catalogAt(path); path != "" {
				var err error
				if catalog, err = provider.Load(path); err != nil {
					return usageError{fmt.Errorf("reading the catalog: %w", err), "see provider/SCHEMA.md for the form"}
				}
			}
			if len(args) == 1 {
				p, err := catalog.Get(args[0])
				if err != nil {
					return usageError{err, "`evergrant providers` lists them, --search WORDS finds some"}
				}
				return showProvider(u, p)
			}
			list, err := catalog.Search(search)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				return usageError{fmt.Errorf("no provider matches %q", search), "search for fewer words; --token-url works without a provider"}
			}
			return listProviders(u, list)
		},
	}
	cmd.Flags().StringVar(&search, "search", "", "`words` that must occur in name, title, hosts or notes")
	cmd.Flags().StringVar(&path, "catalog", "", "`file` or folder with providers of your own")
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

// factJSON is a fact of the catalog as JSON.
type factJSON struct {
	Field    string          `json:"field"`
	Value    string          `json:"value"`
	Verified bool            `json:"verified"`
	Source   provider.Source `json:"source,omitzero"`
}

func showProvider(u *ui, p *provider.Provider) error {
	facts := p.Facts()
	if u.json {
		list := make([]factJSON, len(facts))
		for i, f := range facts {
			list[i] = factJSON{f.Field, f.Value, f.Verified, f.Source}
		}
		return u.value(struct {
			*provider.Provider
			Facts []factJSON `json:"facts"`
		}{p, list})
	}
	u.printf("%s (%s)\n\n", p.Title, p.Name)
	w := tabwriter.NewWriter(u.out, 0, 8, 2, ' ', 0)
	for _, f := range facts {
		mark := "?"
		if f.Verified || strings.HasPrefix(f.Field, "vars.") { // what a variable is for is our own text
			mark = " "
		}
		fmt.Fprintf(w, "%s %s\t%s\n", mark, f.Field, factValue(p, f))
	}
	w.Flush()
	u.printf("\n? = not from the provider's own pages; taken as the cautious case\n")
	if len(p.Quirks) > 0 {
		u.printf("\n")
	}
	for _, q := range p.Quirks {
		u.printf("- %s\n", q)
	}
	if len(p.Errors) > 0 {
		u.printf("\nErrors of its own:\n")
		w := tabwriter.NewWriter(u.out, 0, 8, 2, ' ', 0)
		for _, e := range p.Errors {
			fmt.Fprintf(w, "  %s\t%s\t%s\n", errorWords(e), e.Outcome, e.Says)
		}
		w.Flush()
	}
	if len(p.Sources) > 0 {
		u.printf("\nSources:\n")
	}
	for _, s := range p.Sources {
		u.printf("  %s\n", sourceWords(s))
	}
	return nil
}

// factValue is a fact for reading; hosts are the one that is not plain.
func factValue(p *provider.Provider, f provider.Fact) string {
	if f.Field != "hosts" {
		return f.Value
	}
	hosts := make([]string, len(p.Hosts))
	for i, h := range p.Hosts {
		hosts[i] = h.Host
	}
	return strings.Join(hosts, ", ")
}

func errorWords(e provider.ErrorRule) string {
	var words []string
	if e.Status > 0 {
		words = append(words, fmt.Sprintf("HTTP %d", e.Status))
	}
	if e.Error != "" {
		words = append(words, e.Error)
	}
	if e.Description != "" {
		words = append(words, `"`+e.Description+`"`)
	}
	return strings.Join(words, " ")
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

// completeProvider completes names of the catalog, with their titles.
func completeProvider(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	list, err := provider.Search("")
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []string
	for _, p := range list {
		if strings.HasPrefix(p.Name, begun) {
			out = append(out, cobra.CompletionWithDesc(p.Name, p.Title))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
