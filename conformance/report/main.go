// Command report runs the conformance cases on Evergrant and on what people use
// instead, and writes the table in docs/conformance.md. Run it at the root of
// the repository, as root on Linux for all cases:
//
//	go run ./conformance/report
//
// It needs curl, jq and node, and jsforce as interop/ installs it (npm ci).
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/evergrant/evergrant/conformance"
)

// peer is a program that is judged.
type peer struct {
	name    string
	shown   string   // the command, as a reader would type it after --
	command []string // the command as it is run here
	version string
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("report: ")
	doc := flag.String("doc", "docs/conformance.md", "`file` whose table is written anew")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := report(ctx, *doc); err != nil {
		log.Fatal(err)
	}
}

func report(ctx context.Context, doc string) error {
	bin, err := os.MkdirTemp("", "conformance-report-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	all, err := peers(bin)
	if err != nil {
		return err
	}
	var cards []conformance.Scorecard
	for _, p := range all {
		log.Printf("%s …", p.name)
		card, err := conformance.Runner{Command: p.command}.Run(ctx, conformance.Cases())
		if err != nil {
			return fmt.Errorf("judging %s: %w", p.name, err)
		}
		t := card.Total()
		log.Printf("%s: %d of %d, %d skipped, %.0f s", p.name, t.Passed, t.Played(), t.Skipped, card.Seconds)
		cards = append(cards, card)
	}
	return splice(doc, table(all, cards))
}

// peers builds what has to be built.
func peers(bin string) ([]peer, error) {
	evergrant, xoauth2 := filepath.Join(bin, "evergrant"), filepath.Join(bin, "xoauth2")
	for path, pkg := range map[string]string{evergrant: "./cmd/evergrant", xoauth2: "./conformance/peers/xoauth2"} {
		c := exec.Command("go", "build", "-trimpath", "-o", path, pkg)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building %s: %w\n%s", pkg, err, out)
		}
	}
	const args = "{file} {token_url} {client_id}"
	at := func(name, version, shown string, command ...string) peer {
		return peer{name, shown, command, version}
	}
	words := strings.Fields(args)
	list := []peer{
		at("Evergrant", output("git", "describe", "--tags", "--always"), "evergrant refresh {file} --token-url {token_url} --client-id {client_id}",
			evergrant, "refresh", "{file}", "--token-url", "{token_url}", "--client-id", "{client_id}"),
		at("curl and jq", firstWords(output("curl", "--version"), 2)+", "+output("jq", "--version"), "conformance/peers/curl-jq.sh "+args,
			append([]string{"conformance/peers/curl-jq.sh"}, words...)...),
		at("x/oauth2", output("go", "list", "-m", "golang.org/x/oauth2"), "xoauth2 "+args+"` (`go build ./conformance/peers/xoauth2`)", append([]string{xoauth2}, words...)...),
		at("jsforce", jsforceVersion()+", node "+output("node", "--version"), "node conformance/peers/jsforce.mjs "+args,
			append([]string{"node", "conformance/peers/jsforce.mjs"}, words...)...),
	}
	return list, nil
}

// output is the first line that a command prints; "" if it can't be run.
func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "version not known"
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return first
}

func firstWords(s string, n int) string {
	f := strings.Fields(s)
	return strings.Join(f[:min(n, len(f))], " ")
}

func jsforceVersion() string {
	var p struct{ Version string }
	b, err := os.ReadFile("interop/node_modules/jsforce/package.json")
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		return "jsforce, version not known"
	}
	return "jsforce " + p.Version
}

// table is what stands between the marks.
func table(all []peer, cards []conformance.Scorecard) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Run on %s, %s/%s, %s, %s.\n\n", cards[0].Began.Format(time.DateOnly), runtime.GOOS, runtime.GOARCH, runtime.Version(), who())
	b.WriteString("| group |")
	for _, p := range all {
		fmt.Fprintf(&b, " %s |", p.name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---:|", len(all)) + "\n")
	for i, g := range cards[0].Groups() {
		fmt.Fprintf(&b, "| %s |", g.Group)
		for _, c := range cards {
			fmt.Fprintf(&b, " %s |", share(c.Groups()[i]))
		}
		b.WriteString("\n")
	}
	b.WriteString("| **all** |")
	for _, c := range cards {
		fmt.Fprintf(&b, " **%s** |", share(c.Total()))
	}
	b.WriteString("\n\n| program | version | how it was run: `evergrant conformance -- …` |\n|---|---|---|\n")
	for _, p := range all {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", p.name, p.version, code(p.shown))
	}
	b.WriteString("\nCases that failed:\n")
	for i, c := range cards {
		fmt.Fprintf(&b, "\n- **%s**: %s\n", all[i].name, failures(c))
	}
	return b.String()
}

// code marks a command as such, unless it brings marks of its own.
func code(shown string) string {
	if strings.Contains(shown, "`") {
		return "`" + shown
	}
	return "`" + shown + "`"
}

func share(t conformance.Tally) string {
	s := fmt.Sprintf("%d/%d", t.Passed, t.Played())
	if t.Skipped > 0 {
		s += fmt.Sprintf(" (%d skipped)", t.Skipped)
	}
	return s
}

func who() string {
	if os.Geteuid() == 0 {
		return "as root"
	}
	return "not as root"
}

// failures names the failed cases, a group at a time.
func failures(c conformance.Scorecard) string {
	failed := c.With(conformance.Failed)
	if len(failed) == 0 {
		return "none"
	}
	var groups []string
	for i, r := range failed {
		name := strings.TrimPrefix(r.Name, r.Group+"/")
		if i > 0 && failed[i-1].Group == r.Group {
			groups[len(groups)-1] += ", " + name
			continue
		}
		groups = append(groups, r.Group+": "+name)
	}
	return strings.Join(groups, "; ")
}

const (
	beginMark = "<!-- conformance:begin -->\n"
	endMark   = "<!-- conformance:end -->"
)

// splice puts the table between the marks of the document.
func splice(path, table string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, ok := bytes.Cut(old, []byte(beginMark))
	_, tail, ok2 := bytes.Cut(rest, []byte(endMark))
	if !ok || !ok2 {
		return errors.New(path + " has no marks between which the table goes")
	}
	return os.WriteFile(path, []byte(string(head)+beginMark+"\n"+table+"\n"+endMark+string(tail)), 0o644)
}
