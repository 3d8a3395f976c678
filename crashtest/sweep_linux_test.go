//go:build amd64 || arm64

package crashtest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// slots bounds how many broken runs are worked on at a time: two more than
// a small machine has cores, since each waits a lot.
const slots = 4

// tries bounds how often a point is gone for again that did not come up.
const tries = 3

// A sweep breaks a scene's command at each of its points.
type sweep struct {
	t      *testing.T
	sc     scene
	every  int            // take each n-th point; 1: all
	signal syscall.Signal // sent before the call
	judge  func(s *story, r result)
	make   func(sc scene) (*bed, error) // nil: in a folder of the test
	dir    string
	slot   chan struct{}

	mu   sync.Mutex
	met  map[string]bool
	beds int
}

// points are the calls of an unbroken run that touch our files or the socket.
func (w *sweep) points() []call {
	b := w.bed()
	defer b.close()
	r, calls, err := b.follow(b.args(b.timeout, b.command...), none)
	if err != nil || r.exit != 0 {
		w.t.Fatalf("the unbroken run: %v %v", r, err)
	}
	var points []call
	for i, c := range calls {
		if w.wrong(c) || onlyPoint != "" && onlyPoint != w.t.Name()+"/"+c.key {
			continue
		}
		if i%w.every == w.every/2 || onlyPoint != "" {
			points = append(points, c)
		}
	}
	return points
}

// wrong reports whether a call is no point: what was told to stop is not told
// again, which would end it at once.
func (w *sweep) wrong(c call) bool { return c.late && w.signal == syscall.SIGTERM }

func (w *sweep) bed() *bed {
	if w.make != nil {
		b, err := w.make(w.sc)
		if err != nil {
			w.t.Fatal(err)
		}
		return b
	}
	w.mu.Lock()
	w.beds++
	n := w.beds
	w.mu.Unlock()
	b, err := newBed(w.sc, filepath.Join(w.dir, fmt.Sprint(n)))
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// run takes every point, some at a time.
func (w *sweep) run() {
	w.dir, w.met, w.slot = w.t.TempDir(), map[string]bool{}, make(chan struct{}, slots)
	if w.make != nil {
		w.slot = make(chan struct{}, 1)
	}
	points := w.points()
	for range tries {
		var wg sync.WaitGroup
		for _, p := range points {
			if w.has(p.key) {
				continue
			}
			w.slot <- struct{}{}
			wg.Go(func() {
				defer func() { <-w.slot }()
				w.take(p)
			})
		}
		wg.Wait()
	}
	var missed []string
	for _, p := range points {
		if !w.has(p.key) {
			missed = append(missed, p.key)
		}
	}
	total.add(func(c *counts) { c.points += len(points); c.missed[w.signal.String()] += len(missed) })
	w.t.Logf("%d points, not met: %q", len(points), missed)
	if len(missed)*4 > len(points) { // some depend on how long things take, such as when a process began
		w.t.Errorf("%d of %d points did not come up: %q", len(missed), len(points), missed)
	}
}

func (w *sweep) has(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.met[key]
}

// take breaks one run at a point and lets it be judged, if the point was met.
func (w *sweep) take(p call) {
	b := w.bed()
	defer os.RemoveAll(b.root)
	defer b.close()
	met := false
	r, calls, err := b.follow(b.args(b.timeout, b.command...), func(c call) trouble {
		if c.key != p.key || met || w.wrong(c) {
			return trouble{}
		}
		met = true
		return trouble{signal: w.signal}
	})
	if err != nil {
		w.t.Errorf("%s: %v", p.key, err)
		return
	}
	if !met {
		return
	}
	w.mu.Lock()
	w.met[p.key] = true
	w.mu.Unlock()
	s := &story{b: b, calls: calls, pause: w.pause, runs: []result{r},
		where: fmt.Sprintf("%s, %v before %s; again: EVERGRANT_POINT='%s/%s' go test -run %s ./crashtest", w.sc.name, w.signal, p.key, w.t.Name(), p.key, topName(w.t))}
	s.clean(r, b.command[0] == "token")
	w.judge(s, r)
	s.close(w.t)
}

// close counts a story and fails the test if a promise was broken.
func (s *story) close(t *testing.T) {
	s.sieve.close()
	total.add(func(c *counts) {
		switch {
		case s.healed:
			c.heals++
		case s.loss != "":
			c.unavoidable[s.loss]++
		default:
			c.avoidable++
		}
	})
	switch {
	case len(s.faults) > 0:
		t.Errorf("%s", s.tell())
	case onlyPoint != "":
		t.Logf("%s", s.tell())
	}
}

// pause waits without its slot.
func (w *sweep) pause(d time.Duration) {
	<-w.slot
	time.Sleep(d)
	w.slot <- struct{}{}
}

func topName(t *testing.T) string {
	name, _, _ := strings.Cut(t.Name(), "/")
	return name
}

// sample is every, or all with EVERGRANT_PROVE=1 and for a replayed point.
func sample(every int) int {
	if prove || onlyPoint != "" {
		return 1
	}
	return every
}
