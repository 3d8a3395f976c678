package conformance

import (
	"cmp"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Runner plays cases on one program.
type Runner struct {
	// Command is the program and its arguments. {file}, {token_url} and
	// {client_id} are replaced inside each argument; the same three are in the
	// environment as EVERGRANT_CONFORMANCE_FILE, EVERGRANT_CONFORMANCE_TOKEN_URL
	// and EVERGRANT_CONFORMANCE_CLIENT_ID. It runs in the folder of this process,
	// with TMPDIR and XDG_STATE_HOME in the case's own folder.
	Command []string
	// Limit is how long one run of the command may take; 0: 75 s. It is killed
	// then, and the case has failed.
	Limit time.Duration
	// Parallel is the number of cases under way at once; 0: two a processor.
	Parallel int
	// Progress is told of each case that ends, by one goroutine at a time; nil:
	// nobody is.
	Progress func(done, of int, r Result)
}

// Run plays the cases. A program that fails cases is no error; one that can't be
// started is, and so is a machine on which nothing can be set up.
func (r Runner) Run(ctx context.Context, cases []Case) (Scorecard, error) {
	if len(r.Command) == 0 {
		return Scorecard{}, fmt.Errorf("there is no command to run")
	}
	path, err := exec.LookPath(r.Command[0])
	if err != nil {
		return Scorecard{}, fmt.Errorf("finding the command: %w", err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return Scorecard{}, fmt.Errorf("finding the command: %w", err)
	}
	p := &program{path: path, args: r.Command[1:], limit: cmp.Or(r.Limit, 75*time.Second)}
	p.usual = sync.OnceValue(func() int64 { return p.plainPeak(ctx) })
	card := Scorecard{Command: r.Command, Began: time.Now().UTC()}
	card.Results, err = r.playAll(ctx, p, cases)
	card.Seconds = time.Since(card.Began).Seconds()
	return card, err
}

// playAll plays the cases, some at once. Those that watch memory or the process
// list are as good as any other beside others.
func (r Runner) playAll(ctx context.Context, p *program, cases []Case) ([]Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	results := make([]Result, len(cases))
	if first := slices.IndexFunc(cases, func(c Case) bool { return c.Name == firstCase }); first >= 0 && len(cases) > 1 {
		result, err := play(ctx, p, cases[first])
		if err != nil {
			return nil, err
		}
		if result.Outcome == Failed {
			return pointless(cases, result), nil
		}
	}
	places := make(chan struct{}, cmp.Or(r.Parallel, 2*runtime.GOMAXPROCS(0)))
	var wg sync.WaitGroup
	var mu sync.Mutex // guards done and the calls of Progress
	done := 0
	for i, c := range cases {
		places <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-places }()
			result, err := play(ctx, p, c)
			if err != nil {
				cancel(fmt.Errorf("playing %s: %w", c.Name, err))
				return
			}
			results[i] = result
			mu.Lock()
			defer mu.Unlock()
			if done++; r.Progress != nil {
				r.Progress(done, len(cases), result)
			}
		})
	}
	wg.Wait()
	return results, context.Cause(ctx)
}

// firstCase is played before all others, and once more among them: without it
// the others are noise.
const firstCase = "basic/refresh"

// pointless is the results where the program does not refresh at all.
func pointless(cases []Case, failed Result) []Result {
	out := make([]Result, len(cases))
	for i, c := range cases {
		out[i] = Result{Name: c.Name, Group: c.Group, Why: c.Why, Outcome: Skipped, Says: []string{firstCase + " failed"}}
		if c.Name == firstCase {
			out[i] = failed
		}
	}
	return out
}

// play plays one case.
func play(ctx context.Context, p *program, c Case) (Result, error) {
	began := time.Now()
	t, err := newTrial(ctx, p, c.habits)
	if err != nil {
		return Result{}, err
	}
	defer t.close()
	c.play(t)
	t.always()
	if ctx.Err() != nil {
		return Result{}, context.Cause(ctx)
	}
	result := Result{Name: c.Name, Group: c.Group, Why: c.Why, Outcome: Passed, Seconds: time.Since(began).Seconds()}
	switch {
	case t.broken != nil:
		return Result{}, t.broken
	case t.skipped != "":
		result.Outcome, result.Says = Skipped, []string{t.skipped}
	case len(t.problems) > 0:
		result.Outcome, result.Says = Failed, t.problems
	}
	return result, nil
}

// fill replaces the placeholders in the arguments.
func fill(args []string, file, tokenURL, clientID string) []string {
	r := strings.NewReplacer("{file}", file, "{token_url}", tokenURL, "{client_id}", clientID)
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = r.Replace(a)
	}
	return out
}
