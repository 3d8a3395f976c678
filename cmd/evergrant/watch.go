package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
)

const (
	// wake is the longest sleep of watch: timers stand still while a machine is
	// suspended and files change without notice, so both are looked at this
	// often. A look costs two stat calls.
	wake = 2 * time.Second

	// afterFailure and mostPatience bound the waits between tries that fail:
	// they double from the first to the second.
	afterFailure = 5 * time.Second
	mostPatience = 15 * time.Minute

	hookTime = time.Minute // how long the command of --on-change may run
)

func watchCommand(u *ui) *cobra.Command {
	t := &target{u: u}
	var hook string
	cmd := &cobra.Command{
		Use:   "watch [TARGET…]",
		Short: "Keep grants fresh ahead of time until stopped",
		Long: `Keep the access tokens of grants fresh: each is refreshed ahead of its end, after
a machine was suspended within seconds of its waking. TARGET is the path of a token
file or the name of a kept grant; without one, all grants that are kept by name
now are watched. Ends on SIGINT or SIGTERM; a refresh that is under way is finished
and its answer stored.

A failure does not end watch: it is reported once and tried again with growing
waits, at once when the grant changes. A grant that needs a login is taken up
again when somebody has logged in. What would fail from the start, such as a
client id that is not known, ends it at once.

Each renewal is a line on stdout, with --json an object.

` + exitCodes,
		Example: "  evergrant watch /etc/app/*.json --on-change 'systemctl reload app'",
		Args:    takes(0, maxFiles, "evergrant watch TARGET…"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return watchAll(cmd.Context(), t, hook, args)
		},
	}
	t.identify(cmd)
	cmd.Flags().StringVar(&hook, "on-change", "", "shell `command` to run when a grant has a new token; EVERGRANT_FILE is its TARGET")
	return cmd
}

const maxFiles = 1 << 20

func watchAll(ctx context.Context, t *target, hook string, targets []string) error {
	open, targets, err := opener(ctx, t, targets)
	if err != nil {
		return err
	}
	var watchers []*watcher
	for _, name := range targets {
		src, err := open(name)
		if err != nil {
			return err
		}
		defer src.Close()
		plan, err := src.Plan(ctx)
		if err != nil {
			return err
		}
		if p := plan.Problem; p != nil && (errors.Is(p, evergrant.ErrUsage) || errors.Is(p, evergrant.ErrFile)) {
			return p
		}
		s, err := src.Status(ctx)
		if err != nil {
			return err
		}
		watchers = append(watchers, &watcher{t: t, src: src, path: name, named: isName(name), hook: hook, generation: s.Generation})
	}
	var wg sync.WaitGroup
	for _, w := range watchers {
		wg.Go(func() { w.run(ctx) })
	}
	t.u.say("keeping %s fresh; stop with Ctrl-C", counted(len(targets), "grant"))
	wg.Wait()
	return nil
}

// opener opens what watch keeps fresh: the targets, or else all kept grants.
// Those are opened from one store, so that its passphrase is asked for once.
func opener(ctx context.Context, t *target, targets []string) (func(string) (*evergrant.Source, error), []string, error) {
	if len(targets) > 0 && !slices.ContainsFunc(targets, isName) {
		return func(path string) (*evergrant.Source, error) { return t.open(ctx, path, nil) }, targets, nil
	}
	cfg, err := t.config()
	if err != nil {
		return nil, nil, err
	}
	store, err := unlocked(ctx, t.u)
	if err != nil {
		return nil, nil, err
	}
	if len(targets) == 0 {
		records, err := store.List(ctx, "", maxFiles)
		if err != nil {
			t.u.fail(err) // the others are watched all the same
		}
		for _, r := range records {
			targets = append(targets, r.ID)
		}
		if len(targets) == 0 {
			return nil, nil, usageError{errors.New("no grant was named, and none is kept by name"), "name one: evergrant watch TARGET…"}
		}
	}
	open := func(name string) (*evergrant.Source, error) {
		if !isName(name) {
			return t.open(ctx, name, nil)
		}
		src, err := openIn(store, name, cfg)
		if err != nil {
			return nil, err
		}
		if err := varsFit(ctx, src, cfg); err != nil {
			return nil, errors.Join(err, src.Close())
		}
		context.AfterFunc(ctx, func() { src.Close() })
		return src, nil
	}
	return open, targets, nil
}

// watcher keeps one grant fresh.
type watcher struct {
	t    *target
	src  *evergrant.Source
	path string // of a token file, or with named the name of a kept grant
	hook string

	named bool

	generation uint64    // of the token that was reported last, or was there at the start
	without    bool      // there was no token to be had at the last try
	problem    string    // the last one reported, so that it is reported once
	failures   int       // in a row
	notBefore  time.Time // no further try before, unless the grant changes
	seen       glimpse   // the grant when the last try was made
}

// glimpse tells whether a grant was changed: a file by its time and size, a
// record by its generation.
type glimpse struct {
	mod time.Time
	n   uint64
}

func (w *watcher) look(ctx context.Context) glimpse {
	if w.named {
		s, err := w.src.Status(ctx)
		if err != nil {
			return glimpse{}
		}
		return glimpse{n: s.Generation}
	}
	info, err := os.Stat(w.path)
	if err != nil {
		return glimpse{}
	}
	return glimpse{info.ModTime(), uint64(info.Size())}
}

func (w *watcher) run(ctx context.Context) {
	for ctx.Err() == nil {
		if now := w.look(ctx); now != w.seen || time.Now().After(w.notBefore) {
			w.seen = now
			w.try(ctx)
		}
		sleep(ctx, w.next(ctx))
	}
}

func (w *watcher) try(ctx context.Context) {
	r, err := w.src.TokenFor(context.WithoutCancel(ctx), 0)
	switch {
	case err == nil:
		again := w.without // a token after none is news, whoever got it
		w.failures, w.notBefore, w.problem, w.without = 0, time.Time{}, "", false
		if r.Warning != nil { // it was said by an event; the token at hand is served meanwhile
			w.postpone(r.Warning.RetryAfter, r.Token.Expiry)
		}
		w.renewed(ctx, r, again)
	case ctx.Err() == nil:
		w.without = true
		w.report(err)
		var asked time.Duration
		if e := new(evergrant.Error); errors.As(err, &e) {
			asked = e.RetryAfter
		}
		w.postpone(asked, time.Time{})
	}
	w.seen = w.look(ctx)
}

// postpone waits longer after each failure, but not past the end of the token
// at hand, and always as long as the provider asks.
func (w *watcher) postpone(asked time.Duration, end time.Time) {
	wait := min(afterFailure<<min(w.failures, 10), mostPatience)
	w.failures++
	if left := time.Until(end); !end.IsZero() && left > 0 {
		wait = min(wait, left)
	}
	w.notBefore = time.Now().Add(max(wait, asked)).Round(0) // wall time: a machine may sleep meanwhile
}

// next is how long to sleep: until the token is due, at most a wake.
func (w *watcher) next(ctx context.Context) time.Duration {
	if w.failures > 0 {
		return wake
	}
	s, err := w.src.Status(ctx)
	if err != nil || s.RefreshAt.IsZero() {
		return wake
	}
	return min(max(time.Until(s.RefreshAt), 200*time.Millisecond), wake)
}

func (w *watcher) report(err error) {
	if text := err.Error(); text != w.problem {
		w.problem = text
		w.t.u.fail(err)
	}
}

// renewed reports a token that was not there before and runs the hook.
func (w *watcher) renewed(ctx context.Context, r *evergrant.Result, again bool) {
	before := w.generation
	w.generation = r.Token.Generation
	if r.Token.Generation == before || before == 0 && r.Outcome != evergrant.Fresh && !again {
		return
	}
	u := w.t.u
	var err error
	switch {
	case u.json:
		err = u.record(refreshedJSON(w.path, r, false))
	case u.quiet:
	case r.Token.Expiry.IsZero():
		err = u.now("%s: a new access token\n", printable(w.path))
	default:
		err = u.now("%s: a new access token, valid until %s\n", printable(w.path), until(r.Token.Expiry))
	}
	if err != nil { // nobody listens any more; the file is what counts
		u.warn(err.Error(), "watch goes on")
	}
	if w.hook != "" {
		w.runHook(ctx)
	}
}

// runHook runs the user's command. It gets the file's name, never a token, nor
// the client's secret.
func (w *watcher) runHook(ctx context.Context) {
	shell := []string{"sh", "-c"}
	if runtime.GOOS == "windows" {
		shell = []string{"cmd", "/C"}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hookTime)
	defer cancel()
	c := exec.CommandContext(ctx, shell[0], shell[1], w.hook)
	c.Env = append(withoutSecrets(ctx, w.t, w.src), "EVERGRANT_FILE="+w.path)
	c.Stdout, c.Stderr = w.t.u.err, w.t.u.err
	c.WaitDelay = time.Second // a child of the hook may keep its output open
	if err := c.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		w.t.u.warn("the command of --on-change failed for "+w.path+": "+err.Error(), "run it by hand with EVERGRANT_FILE set to see why")
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
