package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func manCommand(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:     "man FOLDER",
		Short:   "Write the man pages into a folder",
		Long:    "Write a man page for each command into a folder, which is made if it is missing.",
		Example: "  evergrant man /usr/local/share/man/man1",
		Args:    takes(1, 1, "evergrant man FOLDER"),
		RunE: func(_ *cobra.Command, args []string) error {
			pages, err := writeMan(newRoot(u, nil), args[0])
			if err != nil {
				return usageError{fmt.Errorf("writing the man pages: %w", err), "name a folder that can be written"}
			}
			if u.json {
				return u.value(map[string][]string{"pages": pages})
			}
			u.say("%s in %s", counted(len(pages), "man page"), args[0])
			return nil
		},
	}
}

// writeMan writes the pages of a command tree and returns their paths.
func writeMan(root *cobra.Command, dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var pages []string
	for _, c := range withAllBelow(root) {
		path := filepath.Join(dir, pageName(c)+".1")
		if err := os.WriteFile(path, []byte(manPage(c)), 0o644); err != nil {
			return nil, err
		}
		pages = append(pages, path)
	}
	return pages, nil
}

// withAllBelow is a command and all below it.
func withAllBelow(c *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		all = append(all, withAllBelow(sub)...)
	}
	return all
}

func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// manPage is a command's help as man(7) source. Help texts are plain lines, so
// they are kept as they are (nf, fi) instead of being filled.
func manPage(c *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %q 1 %q %q %q\n", strings.ToUpper(pageName(c)), "", "evergrant "+version(), "Evergrant")
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(pageName(c)), roff(c.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(c.UseLine()))
	section(&b, "DESCRIPTION", c.Long)
	if c.HasAvailableFlags() {
		b.WriteString(".SH OPTIONS\n")
		c.Flags().VisitAll(func(f *pflag.Flag) { option(&b, f) })
	}
	section(&b, "EXAMPLES", c.Example)
	var others []string
	for _, o := range withAllBelow(c.Root()) {
		if o != c {
			others = append(others, fmt.Sprintf(".BR %s (1)", roff(pageName(o))))
		}
	}
	fmt.Fprintf(&b, ".SH SEE ALSO\n%s\n", strings.Join(others, " ,\n"))
	return b.String()
}

func section(b *strings.Builder, name, text string) {
	if text != "" {
		fmt.Fprintf(b, ".SH %s\n.nf\n%s\n.fi\n", name, roff(strings.TrimRight(text, "\n")))
	}
}

func option(b *strings.Builder, f *pflag.Flag) {
	if f.Hidden {
		return
	}
	value, usage := pflag.UnquoteUsage(f)
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace(name+" "+value)), roff(usage))
}

// roff escapes text for man(7): backslashes, hyphens that are typed as such,
// and lines that begin like a request.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
