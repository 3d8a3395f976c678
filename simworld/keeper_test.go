package simworld_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/evergrant/evergrant"
)

var (
	errCrashed = errors.New("simworld: this keeper has ended")
	errFailed  = errors.New("simworld: the store failed")
	errDown    = errors.New("simworld: the store is out")
)

// keeper is one incarnation: a process with a Source, from its start to its
// end. The one that is opened after a crash is another.
type keeper struct {
	l      *life
	name   string
	src    *evergrant.Source
	ctx    context.Context // ends with the keeper
	cancel context.CancelFunc
	rescue string // its way to the machine's folder; cut when it ends

	// Guarded by l.mu.
	dead    bool
	diedAt  time.Time
	plan    plan
	call    int          // which one the plan is for
	seen    map[step]int // steps of the call
	failing int          // failures of the store that are still to come
	locks   map[int]func()
	wires   []*wire
}

// open starts a keeper on what is durable. It is nil where the store does not
// let it.
func (l *life) open(n *node) *keeper {
	l.mu.Lock()
	l.incarnations++
	k := &keeper{l: l, name: fmt.Sprintf("k%d.%d", n.place, l.incarnations), seen: map[step]int{}, locks: map[int]func(){}}
	l.mu.Unlock()
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.rescue = filepath.Join(l.folder, k.name)
	if err := os.Symlink(n.machine, k.rescue); err != nil {
		l.t.Skipf("a keeper's folder cannot be cut off here: %v", err)
	}
	cfg := evergrant.Config{
		ClientID: "app", Provider: l.maker.entry, Catalog: catalog, TokenURL: "http://127.0.0.1" + l.tokenPath(),
		RescueDirs: []string{k.rescue}, OnEvent: func(e evergrant.Event) { l.heard(k, e) },
	}
	cfg.HTTP.Dial, cfg.HTTP.Trace = k.dial, l.transcribed
	src, err := evergrant.Open(&view{k}, l.id, cfg)
	l.note(k, "open: %v", err)
	if err != nil {
		k.end("not opened")
		return nil
	}
	k.src = src
	return k
}

// end is the end of the process: from now on nothing it does has an effect, its
// connections and locks are gone.
func (k *keeper) end(why string) {
	l := k.l
	l.mu.Lock()
	if k.dead {
		l.mu.Unlock()
		return
	}
	k.dead, k.diedAt = true, time.Now()
	l.noteLocked(k, "ENDS %s", why)
	os.Remove(k.rescue)
	os.WriteFile(k.rescue, nil, 0o600) // in the way of whatever it still tries to write
	unlocks := make([]func(), 0, len(k.locks))
	for _, u := range k.locks {
		unlocks = append(unlocks, u)
	}
	wires := k.wires
	l.mu.Unlock()
	k.cancel()
	for _, w := range wires {
		w.Close()
	}
	for _, u := range unlocks {
		u()
	}
	if k.src != nil {
		l.background.Go(func() { k.src.Close() })
	}
}

// begin gives the keeper the plan of its next call.
func (k *keeper) begin(p plan) {
	k.l.mu.Lock()
	k.plan, k.seen, k.failing = p, map[step]int{}, p.failures
	k.call++
	call := k.call
	k.l.mu.Unlock()
	if p.crash == atTime {
		time.AfterFunc(p.after, func() { k.crashIn(call, atTime) })
	}
}

// crashIn ends the keeper if it is still in that call.
func (k *keeper) crashIn(call int, s step) {
	k.l.mu.Lock()
	still := k.call == call && !k.dead
	if still {
		k.l.firedLocked("")
		k.l.crashes[string(s)]++
	}
	k.l.mu.Unlock()
	if still {
		k.end("at " + string(s))
	}
}

// pass is a step: the keeper may end or be suspended here. It returns
// errCrashed if the keeper has ended.
func (k *keeper) pass(s step) error { return k.passing(s, true) }

func (k *keeper) passing(s step, pausable bool) error {
	l := k.l
	l.mu.Lock()
	k.seen[s]++
	p := k.plan
	hit := k.seen[s] == p.nth
	crash := hit && p.crash == s && !k.dead
	pause := hit && p.pause == s && pausable && !k.dead
	if crash {
		l.firedLocked("")
		l.crashes[string(s)]++
	}
	if pause {
		l.firedLocked("suspended at " + string(s))
		l.paused++
		l.storeFaults++ // as slow as a store can be
		l.noteLocked(k, "suspended at %s for %s", s, p.pauseFor)
	}
	l.mu.Unlock()
	if crash {
		k.end("at " + string(s))
	}
	if pause {
		time.Sleep(p.pauseFor)
		l.mu.Lock()
		l.paused--
		l.firedLocked("")
		l.mu.Unlock()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.dead {
		return errCrashed
	}
	return nil
}

// view is the store as one keeper sees it.
type view struct{ k *keeper }

// trouble is the store's failure at a step, if one is due.
func (v *view) trouble(s step) error {
	k, l := v.k, v.k.l
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case k.dead:
		return errCrashed
	case l.storeOut == "down" || l.storeOut == "read-only" && s == atPut:
		l.firedLocked("")
		l.storeFaults++
		l.noteLocked(k, "%s: the store is %s", s, l.storeOut)
		return errDown
	case k.plan.fail == s && k.failing > 0 && (k.seen[s] >= k.plan.nth || s == atStored):
		k.failing--
		l.firedLocked("store fails: " + string(s))
		l.storeFaults++
		l.noteLocked(k, "%s: the store fails", s)
		return errFailed
	}
	return nil
}

// wait is how long the store takes.
func (v *view) wait(ctx context.Context) error {
	v.k.l.mu.Lock()
	d := v.k.plan.slow
	if d > 0 {
		v.k.l.firedLocked("slow store")
		v.k.l.storeFaults++
	}
	v.k.l.mu.Unlock()
	if d > 0 {
		time.Sleep(d)
	}
	return ctx.Err()
}

func (v *view) Get(ctx context.Context, id string) (evergrant.Record, error) {
	if err := v.k.pass(atGet); err != nil {
		return evergrant.Record{}, err
	}
	if err := v.trouble(atGet); err != nil {
		return evergrant.Record{}, err
	}
	if err := v.wait(ctx); err != nil {
		return evergrant.Record{}, err
	}
	return v.k.l.mem.Get(ctx, id)
}

// Put takes effect in one moment in which the keeper lives: the fence.
func (v *view) Put(ctx context.Context, r evergrant.Record, generation uint64) error {
	k, l := v.k, v.k.l
	mark := l.isMark(r) // the keeper holds a mutex meanwhile: no time may pass
	if err := k.passing(atPut, !mark); err != nil {
		return err
	}
	if err := v.trouble(atPut); err != nil {
		return err
	}
	if !mark {
		if err := v.wait(ctx); err != nil {
			return err
		}
	}
	l.mu.Lock()
	err := ctx.Err()
	if k.dead {
		err = errCrashed
	}
	if err == nil {
		if err = l.mem.Put(context.Background(), r, generation); err == nil {
			l.storedLocked(k, r)
		} else {
			l.noteLocked(k, "put: %v", err)
		}
	}
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if err := k.passing(atStored, !mark); err != nil {
		return err
	}
	return v.trouble(atStored)
}

func (v *view) Delete(context.Context, string, uint64) error {
	v.k.l.fail("a keeper deletes a record")
	return errFailed
}

func (v *view) List(ctx context.Context, after string, n int) ([]evergrant.Record, error) {
	return v.k.l.mem.List(ctx, after, n)
}

func (v *view) Due(ctx context.Context, before time.Time, n int) ([]evergrant.Record, error) {
	return v.k.l.mem.Due(ctx, before, n)
}

// Lock is the store's lock, which the end of its holder frees.
func (v *view) Lock(ctx context.Context, id string) (func(), error) {
	k, l := v.k, v.k.l
	if err := k.pass(atLock); err != nil {
		return nil, err
	}
	if err := v.trouble(atLock); err != nil {
		return nil, err
	}
	either, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(k.ctx, cancel)()
	free, err := l.mem.Lock(either, id)
	if err != nil {
		return nil, err
	}
	unlock := k.holds(free)
	if err := k.pass(atLocked); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// holds enters a lock. What it returns judges the record and frees the lock,
// once.
func (k *keeper) holds(free func()) func() {
	l := k.l
	l.mu.Lock()
	l.locks++
	n := l.locks
	l.lockedBy = k
	unlock := sync.OnceFunc(func() {
		l.mu.Lock()
		delete(k.locks, n)
		l.judgeUnlockLocked(k)
		l.lockedBy = nil
		l.mu.Unlock()
		free()
	})
	k.locks[n] = unlock
	dead := k.dead
	l.mu.Unlock()
	if dead {
		unlock()
	}
	return unlock
}
