package simworld_test

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/canary/search"
	"github.com/evergrant/evergrant/idptest"
)

// life is one record of a store with its keepers, its provider and its weather.
// When its grant ends, a user logs in again.
type life struct {
	t      *testing.T
	key    *rsa.PrivateKey // of the providers that sign access tokens
	class  class
	maker  maker
	seed   uint64
	place  int
	random *rand.Rand // of the life's own goroutine only
	folder string
	sieve  *sieve
	apart  bool // each keeper on a machine of its own
	odds   odds
	began  time.Time
	ends   time.Time

	id         string
	idp        *idptest.Server
	server     *http.Server
	grant      idptest.Grant
	net        *listener
	mem        *evergrant.Memory
	nodes      []*node
	over       chan struct{} // closed when this grant's time is over
	background sync.WaitGroup

	mu           sync.Mutex // guards what follows
	closed       bool       // over is
	failed       bool
	incarnations int
	locks        int
	lockedBy     *keeper
	netOut       string // how the network fails; "": it works
	storeOut     string
	paused       int // keepers that are suspended
	fired        int // faults so far
	storeFaults  int
	rejecting    time.Time // when an access token was last reported
	stored       stored
	durable      map[string]bool      // access tokens that were ever stored
	arrived      map[string]time.Time // when the access token's request had left, if its lifetime came too
	wires        map[string]*wire
	posts        []*wire // in order of leaving
	pending      []*wire // with a new refresh token that was not found stored yet
	chances      []span  // clean calls
	trace        []string
	traced       int

	count   count
	calls   int
	checks  int
	faults  map[string]int
	crashes map[string]int

	revocations int
}

// span is a time in which a grant could have been healed.
type span struct{ from, to time.Time }

// node is where keepers of a life run, one after the other.
type node struct {
	place   int
	machine string // its folder
	k       *keeper
}

const mark = "Zq7canary" // in every token

func newLife(t *testing.T, w *world, c class, place int, folder string) *life {
	l := &life{t: t, key: w.key, class: c, seed: w.seed, place: place, folder: folder, faults: map[string]int{}, crashes: map[string]int{}}
	found, err := search.New(mark)
	if err != nil {
		t.Fatal(err)
	}
	l.sieve = &sieve{found: found}
	l.trace = make([]string, 40)
	if *lifeFlag != "" { // one looks closer
		l.trace = make([]string, 400)
	}
	l.random = l.stream(0)
	l.maker = c.draw(l.random)
	l.apart = l.random.IntN(3) == 0
	l.odds = odds{lossy: 0.10, soft: 0.25}
	if c.fragile {
		l.odds.lossy = []float64{0, 0.01, 0.05}[l.random.IntN(3)]
	} else if l.random.IntN(4) == 0 {
		l.odds = storm
	}
	l.began = time.Now()
	l.ends = l.began.Add(50*l.maker.habits.AccessTTL + day)
	for i := range 1 + l.random.IntN(3) {
		n := &node{place: i, machine: filepath.Join(folder, "machine0")}
		if l.apart {
			n.machine = filepath.Join(folder, fmt.Sprint("machine", i))
		}
		if err := os.MkdirAll(n.machine, 0o700); err != nil {
			t.Fatal(err)
		}
		l.nodes = append(l.nodes, n)
	}
	return l
}

// stream is a source of chance that depends on the seed and the words alone.
func (l *life) stream(words ...uint64) *rand.Rand {
	h := l.seed*0x9e3779b97f4a7c15 + uint64(l.place)
	for _, b := range []byte(l.class.name) {
		h = h*1099511628211 + uint64(b)
	}
	x := uint64(1)
	for _, w := range words {
		x = x*6364136223846793005 + w + 1
	}
	return rand.New(rand.NewPCG(h, x))
}

// run lives one grant after the other.
func (l *life) run() {
	for n := 0; time.Now().Before(l.ends) && !l.failed; n++ {
		l.login(n)
		var users sync.WaitGroup
		for _, n := range l.nodes {
			users.Go(func() { l.use(n) })
		}
		users.Go(l.weather)
		users.Wait()
		l.heal()
		l.close()
	}
}

// login makes a new grant, its server and its record.
func (l *life) login(n int) {
	skew := []time.Duration{0, 0, time.Minute, -time.Minute, 10 * time.Hour, -10 * time.Hour, 5 * 365 * day, -5 * 365 * day}[l.random.IntN(8)]
	drift := (l.random.Float64() - 0.5) / 500
	start := time.Now()
	l.idp = idptest.New(idptest.Config{Persona: l.maker.persona, Habits: l.maker.habits, Mark: mark, Key: l.key, Seed: fmt.Sprint(l.seed, l.class.name, l.place, n),
		Clock: func() time.Time {
			now := time.Now()
			return now.Add(skew + time.Duration(drift*float64(now.Sub(start))))
		}})
	l.grant = l.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	l.id, l.mem = fmt.Sprint("grant-", n), new(evergrant.Memory)
	l.net = &listener{conns: make(chan net.Conn), done: make(chan struct{})}
	l.server = &http.Server{Handler: http.HandlerFunc(l.serve), ErrorLog: log.New(io.Discard, "", 0)}
	l.background.Go(func() { l.server.Serve(l.net) })
	l.over = make(chan struct{})
	l.mu.Lock()
	l.closed, l.netOut, l.storeOut = false, "", ""
	l.durable, l.arrived, l.wires = map[string]bool{}, map[string]time.Time{}, map[string]*wire{}
	l.posts, l.pending, l.chances = nil, nil, nil
	l.count.grants++
	l.mu.Unlock()
	if err := evergrant.Create(context.Background(), l.mem, l.id, l.grant.TokenJSON(), evergrant.Config{ClientID: "app", Catalog: catalog, Provider: l.maker.entry}); err != nil {
		l.t.Fatal(err)
	}
	r, err := l.mem.Get(context.Background(), l.id)
	if err != nil {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	l.storedLocked(nil, r)
	l.noteLocked(nil, "login %d: class %s, entry %q, ttl %s, grace %s, %d keepers, apart %t, skew %s", n, l.class.name, l.maker.entry, l.maker.habits.AccessTTL, l.maker.grace(), len(l.nodes), l.apart, skew)
	l.mu.Unlock()
}

func (l *life) tokenPath() string {
	if l.maker.persona == idptest.Salesforce {
		return "/services/oauth2/token"
	}
	return "/token"
}

// serve lets the server meet the fault that is drawn for this connection.
func (l *life) serve(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	wire := l.wires[r.RemoteAddr]
	f := wire.server
	wire.server = ""
	if f != "" {
		l.firedLocked(string(f))
		wire.broken = wire.broken || hides(f)
		l.noteLocked(nil, "%s server: %s", wire.id, f)
	} else {
		l.noteLocked(nil, "%s server: request of %d", wire.id, wire.gen)
	}
	l.mu.Unlock()
	if f != "" {
		l.idp.Next(f)
	}
	l.idp.ServeHTTP(w, r)
}

// hides reports whether a fault keeps the outcome from the keeper for sure.
func hides(f idptest.Fault) bool {
	switch f {
	case "drop-before", "reset-before", "hang-before", "lost", "lost-reset", "hang-after", "lost-headers", "cut-chunk", "delay-before=20s+lost", "delay-after=40s":
		return true
	}
	return false
}

// finish ends this grant's time.
func (l *life) finishLocked() {
	if !l.closed {
		l.closed = true
		close(l.over)
	}
}

func (l *life) isOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// sleep passes time; it reports false when the grant's time is over.
func (l *life) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return time.Now().Before(l.ends)
	case <-l.over:
		return false
	}
}

// use calls the keepers of a node until the grant's time is over.
func (l *life) use(n *node) {
	for call := uint64(0); ; call++ {
		r := l.stream(1, uint64(l.count.grants), uint64(n.place), call)
		if !l.sleep(l.gap(r)) {
			return
		}
		if n.k == nil || n.k.isDead() {
			if n.k != nil && !l.sleep(downtime(r)) {
				return
			}
			if n.k = l.open(n); n.k == nil {
				continue
			}
		}
		n.k.begin(drawPlan(r, l.odds, l.apart))
		var burst sync.WaitGroup
		for range max(1, r.IntN(20)-15) {
			c := drawCall(r)
			burst.Go(func() { l.make(n.k, c) })
		}
		burst.Wait()
		if r.IntN(80) == 0 {
			n.k.src.Close()
			n.k.end("closed")
			n.k = nil
		}
	}
}

// gap is the time between two calls of a node.
func (l *life) gap(r *rand.Rand) time.Duration {
	ttl := float64(l.maker.habits.AccessTTL)
	switch x := r.Float64(); {
	case x < 0.2:
		return time.Duration(r.Float64() * float64(20*time.Second))
	case x < 0.97:
		return time.Duration(r.Float64() * 0.6 * ttl)
	}
	return time.Duration(r.Float64() * 4 * ttl)
}

// downtime is how long a machine is without a keeper.
func downtime(r *rand.Rand) time.Duration {
	switch r.IntN(5) {
	case 0:
		return 0
	case 1, 2, 3:
		return time.Duration(r.IntN(10)) * time.Second
	}
	return time.Duration(r.IntN(300)) * time.Minute
}

// weather is what all keepers meet at once, and what happens at the server.
func (l *life) weather() {
	r := l.stream(2, uint64(l.count.grants))
	ttl := l.maker.habits.AccessTTL
	for l.sleep(time.Duration((3 + 30*r.Float64()) * float64(ttl))) {
		lasts := time.Duration(1+r.IntN(30)) * time.Minute
		switch r.IntN(10) {
		case 0, 1:
			lasts = time.Duration(r.IntN(360)) * time.Minute
		case 2:
			lasts = time.Duration(r.IntN(72)) * time.Hour
		}
		switch r.IntN(8) {
		case 0, 1, 2:
			l.set(&l.netOut, []string{"refused", "blackhole"}[r.IntN(2)], "network out")
			l.sleep(lasts)
			l.set(&l.netOut, "", "")
		case 3, 4, 5:
			if l.apart {
				continue
			}
			l.set(&l.storeOut, []string{"down", "read-only"}[r.IntN(2)], "store out")
			l.sleep(lasts)
			l.set(&l.storeOut, "", "")
		case 6:
			if l.maker.grace() == 0 {
				l.set(new(string), "", "server's clock jumps")
				l.idp.Advance(time.Duration(r.IntN(240)-120) * time.Minute)
			}
		case 7:
			if r.IntN(4) == 0 {
				l.set(new(string), "", "revoked by the user")
				l.idp.Revoke(l.grant.ID, revokedByUser)
			}
		}
	}
}

const revokedByUser = "revoked by the user"

func (l *life) set(what *string, value, fault string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*what = value
	if fault != "" {
		l.firedLocked(fault)
	}
	l.noteLocked(nil, "weather: %s %s", fault, value)
}

// heal ends all faults and waits until every keeper has a token again, or the
// grant is known to have ended.
func (l *life) heal() {
	l.set(&l.netOut, "", "")
	l.set(&l.storeOut, "", "")
	for l.suspended() {
		time.Sleep(time.Minute)
	}
	for round := range 12 {
		if l.isOver() {
			return
		}
		healed := true
		for _, i := range l.random.Perm(len(l.nodes)) {
			healed = l.healed(l.nodes[i]) && healed
		}
		if healed {
			l.judgeHealed()
			return
		}
		l.note(nil, "healing, round %d", round)
		time.Sleep(l.maker.habits.AccessTTL + 3*time.Minute)
	}
	if !l.isOver() {
		l.fail("without any fault the grant was not refreshed for %d lifetimes", 12)
	}
}

// healed asks a node's keeper for a token and a refresh.
func (l *life) healed(n *node) bool {
	if n.k == nil || n.k.isDead() {
		if n.k = l.open(n); n.k == nil {
			return false
		}
	}
	n.k.begin(plan{})
	l.make(n.k, call{kind: "use", patience: 3 * time.Minute})
	return !l.isOver() && l.make(n.k, call{kind: "refresh", patience: 3 * time.Minute}) == nil
}

// close ends the keepers and the server, and looks for what they left (I5).
func (l *life) close() {
	l.mu.Lock()
	l.finishLocked()
	l.mu.Unlock()
	for _, n := range l.nodes {
		if n.k != nil && !n.k.isDead() {
			if err := n.k.src.Close(); err != nil {
				l.fail("closing: %v", err)
			}
			n.k.end("closed")
		}
		n.k = nil
	}
	l.idp.Close()
	l.server.Close()
	l.background.Wait()
	for l.suspended() { // a bubble's clock stands still once its test has returned
		time.Sleep(time.Minute)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	unlock, err := l.mem.Lock(ctx, l.id)
	if err != nil {
		l.fail("a lock is held by nobody: %v", err)
		return
	}
	unlock()
	for _, w := range l.wires {
		select {
		case <-w.closed:
		default:
			l.fail("connection %s was left open", w.id)
		}
	}
}

func (l *life) suspended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.paused > 0
}

// A call is what a user of the keeper does.
type call struct {
	kind     string
	patience time.Duration // of its context
}

func drawCall(r *rand.Rand) call {
	c := call{patience: 3 * time.Minute}
	switch x := r.IntN(100); {
	case x < 35:
		c.kind = "token"
	case x < 60:
		c.kind = "token-for"
	case x < 67:
		c.kind = "token-long"
	case x < 75:
		c.kind = "refresh"
	case x < 98:
		c.kind = "use"
	default:
		c.kind = "reject"
	}
	if r.IntN(12) == 0 {
		c.patience = time.Duration(r.IntN(3000)) * time.Millisecond
	}
	return c
}

// make makes a call and judges what came back.
func (l *life) make(k *keeper, c call) error {
	l.mu.Lock()
	l.calls++
	fired, troubled, from := l.fired, l.storeFaults, time.Now()
	steady, idle := l.paused == 0, l.lockedBy == nil
	l.noteLocked(k, "%s …", c.kind)
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(k.ctx, c.patience)
	defer cancel()
	token, err := l.ask(ctx, k, c.kind)
	if errors.Is(err, evergrant.ErrNeedsLogin) {
		// A server notes that nobody took its answer once it finds the connection
		// closed. In a bubble no time passes before all such work is done, so the
		// judge waits for the shortest time there is to have the whole ledger.
		time.Sleep(time.Nanosecond)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noteLocked(k, "… %s: %v", c.kind, err)
	if k.dead || l.closed {
		return errCrashed
	}
	if steady && idle && l.fired == fired && c.kind != "token" && c.patience > time.Minute {
		l.chances = append(l.chances, span{from, time.Now()})
	}
	l.judgeCallLocked(k, c, token, err, steady && l.paused == 0 && l.storeFaults == troubled)
	return err
}

func (l *life) ask(ctx context.Context, k *keeper, kind string) (*evergrant.Token, error) {
	switch kind {
	case "token":
		token, err := k.src.Token(ctx)
		if err == nil && l.sieve.leaks(token) {
			return nil, errLeak
		}
		return token, err
	case "token-for":
		return l.tokenOf(k.src.TokenFor(ctx, 0))
	case "token-long":
		return l.tokenOf(k.src.TokenFor(ctx, l.maker.habits.AccessTTL/3))
	case "refresh":
		return l.tokenOf(k.src.Refresh(ctx, evergrant.RefreshOptions{}))
	}
	token, err := l.tokenOf(k.src.TokenFor(ctx, 0))
	if err != nil {
		return nil, err
	}
	if _, _, living := l.idp.FindAccess(token.AccessToken.Reveal()); living && kind == "use" {
		return token, nil
	}
	l.mu.Lock()
	l.rejecting = time.Now().Add(acting)
	l.mu.Unlock()
	_, err = k.src.Rejected(ctx, token)
	if errors.Is(err, evergrant.ErrNeedsLogin) {
		return nil, err
	}
	return token, nil // a rejection may come to nothing
}

// acting is how long a reported rejection may be acted upon.
const acting = 3 * time.Minute

func (l *life) tokenOf(r *evergrant.Result, err error) (*evergrant.Token, error) {
	if err != nil {
		return nil, err
	}
	if l.sieve.leaks(r) || l.sieve.leaks(r.Token) {
		return nil, errLeak
	}
	return r.Token, nil
}

func unescape(s string) string {
	out, err := url.QueryUnescape(s)
	if err != nil {
		return s
	}
	return out
}
