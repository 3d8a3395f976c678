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
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
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
  1  internal error
  2  usage, or a token file that is missing or not one JSON object with the token members once
  3  a new login is needed: the grant has ended, or is in doubt past recovery
  4  temporary, or in doubt with recovery left: nothing is lost, try again
  5  misconfigured or blocked: the client, scope, endpoint or a policy; the grant is kept
  6  storage: refused before sending, or the answer is held in the file named in the message`

func main() { os.Exit(run()) }

// run is main with an exit code, so that tests run it inside their process.
func run() int {
	// A closed pipe must not end the process in the middle of an exchange: it
	// becomes an error of the one write.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // not Ignore: children would inherit it
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	u := newUI(os.Stdout, os.Stderr)
	root := newRoot(u)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = u.flush()
	}
	var child childExit
	if errors.As(err, &child) {
		return int(child)
	}
	if err != nil {
		u.fail(err)
	}
	return exitCode(err)
}

// newRoot is the command tree.
func newRoot(u *ui) *cobra.Command {
	root := &cobra.Command{
		Use:   "evergrant",
		Short: "Keep OAuth 2.0 grants alive",
		Long: `Evergrant refreshes OAuth 2.0 access tokens in JSON token files and keeps the
refresh token through rotation, races, crashes, lost replies and full disks.

Start with
  evergrant demo                                       see it work, with a simulated provider
  evergrant refresh token.json --client-id ID          refresh now, write the file back as it was
  evergrant token token.json                           print a valid access token

` + exitCodes,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.PersistentFlags().BoolVar(&u.json, "json", false, "print results and errors as JSON")
	root.PersistentFlags().BoolVarP(&u.quiet, "quiet", "q", false, "print results and errors only")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{err, "see `" + cmd.CommandPath() + " --help`"}
	})
	root.SetOut(u.out)
	root.SetErr(u.err)
	root.AddCommand(
		refreshCommand(u), tokenCommand(u), statusCommand(u), doctorCommand(u), execCommand(u), watchCommand(u),
		providersCommand(u), demoCommand(u), simulateCommand(u), versionCommand(u), manCommand(u),
	)
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveDefault)
	return root
}

// usageError is a mistake on the command line.
type usageError struct {
	error
	hint string
}

func (e usageError) Hint() string  { return e.hint }
func (e usageError) Unwrap() error { return e.error }

// childExit is the exit code of a command that evergrant ran.
type childExit int

func (childExit) Error() string { return "the command failed" }

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
