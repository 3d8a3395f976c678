package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant/idptest"
)

const demoClient = "3MVG9demo.public.client"

func demoCommand(u *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "See it work against a simulated provider; leaves nothing behind",
		Long: `Start a simulated Salesforce inside this process, write a token file in its
format, and refresh it: without and with rotation, from 16 processes at once, and
with a reply that is lost. Shows what changed in the file and what the provider's
ledger says. Takes a few seconds and leaves nothing behind.`,
		Example: "  evergrant demo",
		Args:    takes(0, 0, "evergrant demo"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := newDemo(cmd.Context(), u)
			if err != nil {
				return err
			}
			defer d.close()
			return d.play()
		},
	}
}

// demo is one run: a simulated provider, a folder, a token file.
type demo struct {
	ctx   context.Context
	u     *ui
	idp   *idptest.Server
	base  string
	dir   string
	path  string
	self  string
	grant idptest.Grant
	step  int
	told  int // ledger entries shown so far
}

func newDemo(ctx context.Context, u *ui) (*demo, error) {
	d := &demo{ctx: ctx, u: u, idp: idptest.New(idptest.Config{Persona: idptest.Salesforce, IdentityBase: "https://login.salesforce.com"})}
	var err error
	if d.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if d.dir, err = os.MkdirTemp("", "evergrant-demo-"); err != nil {
		return nil, err
	}
	if d.base, err = d.idp.Listen("127.0.0.1:0"); err != nil {
		d.close()
		return nil, err
	}
	d.path = filepath.Join(d.dir, "token.json")
	d.grant = d.idp.NewGrant(idptest.GrantSpec{ClientID: demoClient, InstanceURL: "https://acme.my.salesforce.com"})
	if err := os.WriteFile(d.path, d.grant.TokenFile(), 0o600); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *demo) close() {
	d.idp.Close()
	os.RemoveAll(d.dir)
}

// play is the script.
func (d *demo) play() error {
	began := time.Now()
	d.say("A simulated Salesforce answers at %s.", d.base)
	d.say("token.json is as another tool wrote it (CRLF, two spaces; tokens shortened here):\n")
	d.printf("%s", indent(shorten(d.file())))
	acts := []func() error{d.withoutRotation, d.withRotation, d.sixteen, d.lostReply}
	for _, act := range acts {
		if err := act(); err != nil {
			return err
		}
		if err := d.u.flush(); err != nil {
			return err
		}
	}
	state := d.idp.GrantState(d.grant.ID)
	if state.Revoked || !bytes.Contains(d.file(), []byte(state.RefreshToken)) {
		return fmt.Errorf("the grant was lost: %s", state.Why)
	}
	d.printf("\nThe refresh token in the file is the one the provider accepts; the grant lives.\n")
	requests := 0
	for _, id := range d.idp.Grants() {
		requests += len(d.idp.TokenRequests(id))
	}
	if d.u.json {
		return d.u.value(map[string]any{"grant": "alive", "token_requests": requests, "seconds": time.Since(began).Seconds()})
	}
	d.printf("%.1f s, %d token requests. Nothing is left behind.\n", time.Since(began).Seconds(), requests)
	return nil
}

func (d *demo) withoutRotation() error {
	d.title("Refresh; this provider keeps the refresh token")
	return d.changing(func() error {
		return d.run("refresh", d.path, "--client-id", demoClient, "--token-url", d.base+"/services/oauth2/token")
	})
}

func (d *demo) withRotation() error {
	d.idp.SetHabits(func(h *idptest.Habits) { h.Rotation = true })
	d.title("Refresh; now the provider replaces the refresh token, and reuse of an old one would end the grant")
	return d.changing(func() error { return d.run("refresh", d.path) })
}

// sixteen starts 16 processes; the provider holds its answer until all run.
func (d *demo) sixteen() error {
	const n = 16
	d.title("Refresh from 16 processes at once")
	d.idp.HoldUntilReleased()
	var wg sync.WaitGroup
	errs := make([]error, n)
	var started sync.WaitGroup
	started.Add(n)
	for i := range n {
		wg.Go(func() {
			c := exec.CommandContext(d.ctx, d.self, "refresh", d.path, "--quiet")
			errs[i] = c.Start()
			started.Done()
			if errs[i] == nil {
				errs[i] = c.Wait()
			}
		})
	}
	started.Wait()
	time.Sleep(20 * time.Millisecond) // two ticks of the clock by which a process knows its start
	d.idp.Release()
	wg.Wait()
	d.say("  16 of 16 ended with the new token%s.", map[bool]string{true: "", false: " (not all: " + fmt.Sprint(errors.Join(errs...)) + ")"}[errors.Join(errs...) == nil])
	d.ledger()
	return errors.Join(errs...)
}

// lostReply loses an answer after the provider rotated.
func (d *demo) lostReply() error {
	d.title("The provider refreshes, and its reply is lost on the way")
	d.idp.Next("lost")
	if err := d.expect(exitTemporary, "refresh", d.path); err != nil {
		return err
	}
	d.say("\n  The refresh token may be spent: it is not sent again while the access token is good,")
	d.say("  and the access token is still served:")
	if err := d.expect(exitOK, "exec", d.path, "--", "sh", "-c", "echo got ${#ACCESS_TOKEN} characters"); err != nil {
		return err
	}
	d.ledger()
	d.say("\n  No client can know the token in the lost reply. Somebody logs in again, another program")
	d.say("  writes the file, and the doubt is gone:")
	d.grant = d.idp.NewGrant(idptest.GrantSpec{ClientID: demoClient, InstanceURL: "https://acme.my.salesforce.com"})
	if err := os.WriteFile(d.path, d.grant.TokenFile(), 0o600); err != nil {
		return err
	}
	return d.run("refresh", d.path)
}

func (d *demo) title(text string) {
	d.step++
	d.printf("\n%d. %s\n", d.step, text)
}

// printf tells the story; with --json only the end of it is told.
func (d *demo) printf(format string, args ...any) {
	if !d.u.json {
		d.u.printf(format, args...)
	}
}

func (d *demo) say(format string, args ...any) { d.printf(format+"\n", args...) }

func (d *demo) run(args ...string) error { return d.expect(exitOK, args...) }

// expect runs this program and prints what a user would see.
func (d *demo) expect(code int, args ...string) error {
	shown := strings.ReplaceAll(commandLine(args), d.dir+string(filepath.Separator), "")
	d.printf("\n  $ evergrant %s\n", shown)
	c := exec.CommandContext(d.ctx, d.self, args...)
	out, err := c.CombinedOutput()
	d.printf("%s", indent(strings.ReplaceAll(string(out), d.dir+string(filepath.Separator), "")))
	if got := c.ProcessState.ExitCode(); got != code {
		return fmt.Errorf("`evergrant %s` ended with exit code %d, not %d: %w", shown, got, code, err)
	}
	if code != exitOK {
		d.printf("  (exit code %d)\n", code)
	}
	return nil
}

// commandLine is what a person would type.
func commandLine(args []string) string {
	words := slices.Clone(args)
	for i, w := range words {
		if strings.ContainsAny(w, " $") {
			words[i] = shellQuoted(w)
		}
	}
	return strings.Join(words, " ")
}

// changing shows the lines of the file that a step changed.
func (d *demo) changing(step func() error) error {
	before := strings.Split(string(d.file()), "\r\n")
	if err := step(); err != nil {
		return err
	}
	after := strings.Split(string(d.file()), "\r\n")
	d.printf("\n  token.json, changed lines:\n")
	for i := range min(len(before), len(after)) {
		if before[i] != after[i] {
			d.printf("  - %s\n  + %s\n", shorten([]byte(before[i])), shorten([]byte(after[i])))
		}
	}
	d.ledger()
	return nil
}

// ledger shows what the provider saw since the last time.
func (d *demo) ledger() {
	all := d.idp.TokenRequests(d.grant.ID)
	d.printf("\n  the provider's ledger:\n")
	for _, e := range all[min(d.told, len(all)):] {
		d.printf("    request %d: refresh token no. %d presented, %s", e.Seq, e.Generation, e.Verdict)
		if e.NewGeneration > 0 {
			d.printf(", leaves no. %d", e.NewGeneration)
		}
		if !e.Delivered {
			d.printf(", reply lost")
		}
		d.printf("\n")
	}
	d.told = len(all)
}

func (d *demo) file() []byte {
	b, err := os.ReadFile(d.path)
	if err != nil {
		return []byte(err.Error())
	}
	return b
}

// shorten cuts long strings, which are tokens, to their first and last letters.
func shorten(b []byte) string {
	parts := strings.Split(string(b), `"`)
	for i := 1; i < len(parts); i += 2 {
		if n := len(parts[i]); n > 60 && !strings.Contains(parts[i], "://") {
			parts[i] = parts[i][:6] + "…" + parts[i][n-6:]
		}
	}
	return strings.Join(parts, `"`)
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(strings.ReplaceAll(text, "\r\n", "\n"), "\n"), "\n", "\n  ") + "\n"
}
