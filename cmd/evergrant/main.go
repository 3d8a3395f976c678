// Command evergrant keeps OAuth 2.0 grants in JSON token files alive: it
// refreshes access tokens so that the refresh token is never lost to a race, a
// crash, a lost reply or a full disk, and hands access tokens to scripts.
//
// Each file here is one command; ui.go is how they talk, flags.go what they
// have in common. Nothing below main ends the process.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/internal/stack"
	"github.com/evergrant/evergrant/store/keyring"
)

// Exit codes. They are part of the interface.
const (
	exitOK            = 0
	exitInternal      = 1
	exitUsage         = 2 // usage, or a file that is missing or not a token file
	exitNeedsLogin    = 3
	exitTemporary     = 4
	exitMisconfigured = 5 // misconfigured or blocked
	exitStorage       = 6
)

const exitCodes = `Exit codes:
  0  done
  1  internal error, or the output could not be written
  2  usage, or a token file that is missing or not one JSON object with the token members once
  3  a new login is needed: the grant has ended, or is in doubt past recovery
  4  temporary, or in doubt with recovery left: nothing is lost, try again
  5  misconfigured or blocked: the client, scope, endpoint or a policy; the grant is kept
  6  storage: refused before sending, or the answer is held in the file named in the message`

// politePause is how long a command may take to stop without a word.
const politePause = 500 * time.Millisecond

func main() {
	stack.Grow()
	os.Exit(run())
}

// run is main with an exit code, so that tests run it inside their process.
func run() int {
	// A closed pipe must not end the process in the middle of an exchange: it
	// becomes an error of the one write.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // not Ignore: children would inherit it
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	u := newUI(os.Stdout, os.Stderr)
	context.AfterFunc(ctx, func() {
		stop() // a second signal ends the process at once
		time.AfterFunc(politePause, func() {
			u.say("stopping; the answer to what was sent is waited for, so that it is not lost (a second signal ends this at once)")
		})
	})
	err := newRoot(u, os.Args[1:]).ExecuteContext(ctx)
	if err == nil {
		err = u.flush()
	}
	var told toldExit
	if errors.As(err, &told) {
		return int(told)
	}
	if err != nil && !nobodyReads(err) {
		u.fail(err)
	}
	return exitCode(err)
}

// maker makes a command.
type maker struct {
	name string
	make func(*ui) *cobra.Command
}

// makers are all commands, in the order of the README.
func makers() []maker {
	return []maker{
		{"refresh", refreshCommand},
		{"login", loginCommand},
		{"token", tokenCommand},
		{"status", statusCommand},
		{"list", listCommand},
		{"doctor", doctorCommand},
		{"exec", execCommand},
		{"proxy", proxyCommand},
		{"watch", watchCommand},
		{"git-credential", gitCredentialCommand},
		{"userinfo", userinfoCommand},
		{"introspect", introspectCommand},
		{"revoke", revokeCommand},
		{"rename", renameCommand},
		{"delete", deleteCommand},
		{"store", storeCommand},
		{"import", importCommand},
		{"export", exportCommand},
		{"providers", providersCommand},
		{"demo", demoCommand},
		{"simulate", simulateCommand},
		{"conformance", conformanceCommand},
		{"version", versionCommand},
		{"completion", completionCommand},
		{"man", manCommand},
	}
}

// saysJSON reports whether --json is among the flags.
func saysJSON(args []string) bool {
	if i := slices.Index(args, "--"); i >= 0 {
		args = args[:i]
	}
	return slices.Contains(args, "--json")
}

// newRoot is the command tree. Where the first argument names a command, only
// that one is made: scripts run `token` many times, and half of its start would
// go into flags and help texts of the others.
func newRoot(u *ui, args []string) *cobra.Command {
	root := bareRoot(u)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		u.json = u.json || saysJSON(args) // flags behind the wrong one were not read
		return usageError{err, "see `" + cmd.CommandPath() + " --help`"}
	})
	for _, m := range makers() {
		if len(args) > 0 && args[0] == m.name {
			root.AddCommand(m.make(u))
			return root
		}
	}
	for _, m := range makers() {
		root.AddCommand(m.make(u))
	}
	return root
}

// bareRoot is the command without its sub-commands.
func bareRoot(u *ui) *cobra.Command {
	var asked bool // for the version
	root := &cobra.Command{
		Use:   "evergrant",
		Short: "Keep OAuth 2.0 grants alive",
		Long: `Evergrant refreshes OAuth 2.0 access tokens, in JSON token files and in a sealed
store, and keeps the refresh token through rotation, races, crashes, lost replies
and full disks.

Start with
  evergrant demo                                       see it work, with a simulated provider
  evergrant refresh token.json --client-id ID          refresh now, write the file back as it was
  evergrant token token.json                           print a valid access token
  evergrant login salesforce --client-id ID            get a grant, kept under a name that every command takes

` + exitCodes,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := "see `evergrant --help`"
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = "did you mean `evergrant " + near[0] + "`?"
			}
			return usageError{fmt.Errorf("there is no command %q", args[0]), hint}
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asked {
				return printVersion(u)
			}
			return cmd.Help()
		},
	}
	root.Flags().BoolVar(&asked, "version", false, "print the version")
	root.PersistentFlags().BoolVar(&u.json, "json", false, "print results and errors as JSON")
	root.PersistentFlags().BoolVarP(&u.quiet, "quiet", "q", false, "print results and errors only")
	root.SetOut(u.out)
	root.SetErr(u.err)
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.DisableDefaultCmd = true // completion.go has our own, which refuses a shell it does not know
	root.SetHelpCommand(helpCommand())
	return root
}

func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Explain a command",
		Args:  takes(0, 1, "evergrant help [COMMAND]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usageError{fmt.Errorf("there is no command %q", args[0]), "see `evergrant --help`"}
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

// takes is the argument rule of a command: from least to most arguments, with
// the way to write it as the hint.
func takes(least, most int, write string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usageError{fmt.Errorf("`%s` needs an argument", cmd.CommandPath()), "write it as `" + write + "`; see --help"}
		case len(args) > most:
			return usageError{fmt.Errorf("%q is one argument too many for `%s`", args[most], cmd.CommandPath()), "write it as `" + write + "`; see --help"}
		}
		return nil
	}
}

// usageError is a mistake on the command line.
type usageError struct {
	error
	hint string
}

func (e usageError) Hint() string  { return e.hint }
func (e usageError) Unwrap() error { return e.error }

// toldExit ends the process with this code; why has been said already, by the
// command that evergrant ran or by the command itself.
type toldExit int

func (toldExit) Error() string { return "a failure that was told before" }

// exitRows map the classes of failure to exit codes; the first match wins.
var exitRows = []struct {
	class error
	code  int
}{
	{evergrant.ErrNeedsLogin, exitNeedsLogin},
	{evergrant.ErrStorage, exitStorage},
	{evergrant.ErrFile, exitUsage},
	{evergrant.ErrUsage, exitUsage},
	{evergrant.ErrMisconfigured, exitMisconfigured},
	{evergrant.ErrBlocked, exitMisconfigured},
	{evergrant.ErrTemporary, exitTemporary},
	{evergrant.ErrClosed, exitTemporary},
	{keyring.ErrSealed, exitStorage},
	{keyring.ErrDamaged, exitStorage},
}

func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	for _, r := range exitRows {
		if errors.Is(err, r.class) {
			return r.code
		}
	}
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitInternal
}
