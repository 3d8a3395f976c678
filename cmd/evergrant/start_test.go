package main

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/evergrant/evergrant/idptest"
)

// TestStart guards the start of `token`, which scripts run all the time: no
// package of ours works before main (what the runtime says of each init), and
// no other command is made.
func TestStart(t *testing.T) {
	const room = 6 << 10 // bytes a package may allocate before main
	b := newBed(t, idptest.Habits{})
	b.env = append(b.env, "GODEBUG=inittrace=1")
	r := b.run("token", b.path)
	if r.code != 0 {
		t.Fatalf("%+v", r)
	}
	inits := regexp.MustCompile(`init (\S+) @.* clock, (\d+) bytes`).FindAllStringSubmatch(r.stderr, -1)
	if len(inits) < 10 {
		t.Fatalf("no trace: %q", r.stderr)
	}
	for _, m := range inits {
		bytes, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		if ours := m[1] == "main" || strings.HasPrefix(m[1], "github.com/evergrant/"); ours && bytes > room {
			t.Errorf("%s allocates %d bytes before main", m[1], bytes)
		}
	}
	if made := newRoot(newUI(os.Stdout, os.Stderr), []string{"token"}).Commands(); len(made) != 1 {
		t.Errorf("%d commands are made for one", len(made))
	}
}

// TestHelp holds every command and flag to having a help text.
func TestHelp(t *testing.T) {
	root := newRoot(newUI(os.Stdout, os.Stderr), nil)
	if n := len(root.Commands()); n < len(makers()) {
		t.Errorf("%d commands of %d", n, len(makers()))
	}
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			continue
		}
		if c.Short == "" || c.Long == "" && c.Name() != "version" || c.Example == "" && c.Name() != "version" {
			t.Errorf("%s lacks a text", c.Name())
		}
		checkFlags(t, c)
		if doesRefresh(c) && !strings.Contains(c.Long, exitCodes) {
			t.Errorf("%s does not list the exit codes", c.Name())
		}
	}
}

func doesRefresh(c *cobra.Command) bool { return c.Flags().Lookup("client-id") != nil }

func checkFlags(t *testing.T, c *cobra.Command) {
	t.Helper()
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Usage == "" {
			t.Errorf("%s --%s has no usage", c.Name(), f.Name)
		}
		for _, line := range strings.Split(c.Long, "\n") {
			if len([]rune(line)) > 100 && c.Name() != "simulate" {
				t.Errorf("%s has a long line: %q", c.Name(), line)
			}
		}
	})
}
