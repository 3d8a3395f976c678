package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
)

// wake is the longest sleep of watch: timers stand still while a machine is
// suspended, so the wall clock is looked at this often.
const wake = 30 * time.Second

func watchCommand(u *ui) *cobra.Command {
	t := &target{u: u}
	var hook string
	cmd := &cobra.Command{
		Use:   "watch FILE…",
		Short: "Keep token files fresh ahead of time until stopped",
		Long: `Keep the access tokens in token files fresh: each is refreshed ahead of its end,
after a machine was suspended within half a minute of its waking. Ends on SIGINT
or SIGTERM; a refresh that is under way is finished and its answer stored.

A failure does not end watch: it is reported, and tried again with growing
waits. A grant that needs a login is taken up again when the file changes.

` + exitCodes,
		Example: "  evergrant watch /etc/app/*.json --on-change 'systemctl reload app'",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("watch takes at least one token file"), "evergrant watch FILE…"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return watchAll(cmd.Context(), u, t, hook, args)
		},
	}
	t.identify(cmd)
	cmd.Flags().StringVar(&hook, "on-change", "", "shell `command` to run when a file has a new token; EVERGRANT_FILE names the file")
	return cmd
}

func watchAll(ctx context.Context, u *ui, t *target, hook string, paths []string) error {
	var watchers []*watcher
	for _, path := range paths {
		src, err := t.open(ctx, path, nil)
		if err != nil {
			return err
		}
		defer src.Close()
		watchers = append(watchers, &watcher{u: u, src: src, path: path, hook: hook})
	}
	var wg sync.WaitGroup
	for _, w := range watchers {
		wg.Go(func() { w.run(ctx) })
	}
	u.say("keeping %d token file(s) fresh; stop with Ctrl-C", len(paths))
	wg.Wait()
	return nil
}

// watcher keeps one file fresh.
type watcher struct {
	u    *ui
	src  *evergrant.Source
	path string
	hook string

	generation uint64
	problem    string // last one reported, so that it is reported once
	failures   int
}

func (w *watcher) run(ctx context.Context) {
	for ctx.Err() == nil {
		r, err := w.src.TokenFor(context.WithoutCancel(ctx), 0)
		if err != nil && ctx.Err() == nil {
			w.failures++
			w.report(err)
		}
		if err == nil {
			w.failures = 0
			w.renewed(ctx, r)
		}
		sleep(ctx, w.next(ctx))
	}
}

// next is how long to sleep: until the token is due, at most a wake.
func (w *watcher) next(ctx context.Context) time.Duration {
	wait := wake
	if s, err := w.src.Status(ctx); err == nil && !s.RefreshAt.IsZero() && w.failures == 0 {
		wait = min(wait, time.Until(s.RefreshAt)+10*time.Millisecond)
	}
	return max(wait, 200*time.Millisecond)
}

func (w *watcher) report(err error) {
	if text := err.Error(); text != w.problem {
		w.problem = text
		w.u.fail(err)
	}
}

// renewed reports a token that was not there before and runs the hook.
func (w *watcher) renewed(ctx context.Context, r *evergrant.Result) {
	w.problem = ""
	before := w.generation
	w.generation = r.Token.Generation
	if r.Token.Generation == before || before == 0 && r.Outcome != evergrant.Fresh {
		return
	}
	if w.u.json {
		w.u.value(refreshedJSON(w.path, r, false))
		w.u.flush()
	} else if !r.Token.Expiry.IsZero() {
		w.u.say("%s: a new access token, valid until %s", w.path, until(r.Token.Expiry))
	} else {
		w.u.say("%s: a new access token", w.path)
	}
	if w.hook != "" {
		w.runHook(ctx)
	}
}

// runHook runs the user's command. It gets the file's name, never a token.
func (w *watcher) runHook(ctx context.Context) {
	shell := []string{"sh", "-c"}
	if runtime.GOOS == "windows" {
		shell = []string{"cmd", "/C"}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, shell[0], shell[1], w.hook)
	c.Env = append(os.Environ(), "EVERGRANT_FILE="+w.path)
	c.Stdout, c.Stderr = w.u.err, w.u.err
	if err := c.Run(); err != nil {
		w.u.warn("the command of --on-change failed for "+w.path+": "+err.Error(), "look at the command")
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
