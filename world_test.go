package evergrant_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

var worldSeed = flag.Uint64("seed", 0, "seed of the simulated world; 0 is the same one each time, and with EVERGRANT_PROVE=1 a new one")

// pipeNet joins a client and a server inside a synctest bubble, where real
// sockets may not be used.
type pipeNet struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipeNet() *pipeNet { return &pipeNet{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipeNet) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipeNet) Close() error   { close(p.done); return nil }
func (p *pipeNet) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (p *pipeNet) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// worldRows are the worlds: what the server is like, and which faults no grant
// may be lost to.
var worldRows = []struct {
	name     string
	provider string // catalog entry whose verified habits the engine may count on
	habits   idptest.Habits
	faults   []idptest.Fault
}{
	{"P0 static, replies lost", "", idptest.Habits{},
		[]idptest.Fault{"lost", "lost-headers", "cut-body", "500-after", "502-after", "504-after", "drop-before", "503-before", "429-retry-seconds", "empty-200"}},
	{"P2 rotating, reuse revokes, nothing lost after processing", "", idptest.Habits{Rotation: true},
		[]idptest.Fault{"drop-before", "500-before", "502-before", "503-before", "503-retry-date", "429-retry-seconds", "401-empty", "403-rate", "redirect-307-other"}},
	{"P3 rotating, grace, replies lost", "atlassian", idptest.Habits{Rotation: true, Grace: 10 * time.Minute},
		[]idptest.Fault{"lost", "lost-headers", "cut-body", "502-after", "drop-before", "503-before", "429-retry-seconds"}},
	{"P4 rotating, same pair in the grace window, replies lost", "atlassian", idptest.Habits{Rotation: true, Grace: 10 * time.Minute, GraceReply: "same"},
		[]idptest.Fault{"lost", "cut-chunk", "504-after", "500-before", "503-before"}},
}

// TestWorld runs grants through simulated months of hourly refreshes in which
// one request in eight goes wrong. Nothing of it is beyond a client's power, so
// no grant may be lost, and no generation be presented twice outside a replay.
func TestWorld(t *testing.T) {
	seed := *worldSeed
	if seed == 0 && os.Getenv("EVERGRANT_PROVE") != "" {
		seed = rand.Uint64()
	}
	t.Logf("seed %d (replay with -seed)", seed)
	for i, row := range worldRows {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				runWorld(t, row.provider, row.habits, row.faults, rand.New(rand.NewPCG(seed, uint64(i))))
			})
		})
	}
}

const (
	worldGrants = 4
	worldTime   = 30 * 24 * time.Hour
)

func runWorld(t *testing.T, prov string, habits idptest.Habits, faults []idptest.Fault, random *rand.Rand) {
	store := new(evergrant.Memory)
	var users sync.WaitGroup
	answers := make([]int, worldGrants)
	for g := range worldGrants {
		own := rand.New(rand.NewPCG(random.Uint64(), uint64(g)))
		users.Go(func() { answers[g] = runUser(t, fmt.Sprint("g", g), store, prov, habits, faults, own) })
	}
	users.Wait()
	refreshes := 0
	for _, n := range answers {
		refreshes += n
	}
	if refreshes < int(worldTime/time.Hour)*worldGrants/2 {
		t.Errorf("only %d refreshes in %s", refreshes, worldTime)
	}
	t.Logf("%d grants, %s each, %d token answers", worldGrants, worldTime, refreshes)
}

// runUser lives with one grant and a server of its own, so that a fault meets
// the request it was drawn for. It returns the number of token answers.
func runUser(t *testing.T, id string, store evergrant.Store, prov string, habits idptest.Habits, faults []idptest.Fault, random *rand.Rand) int {
	idp := idptest.New(idptest.Config{Habits: habits})
	pipe := newPipeNet()
	srv := &http.Server{Handler: idp}
	go srv.Serve(pipe)
	defer srv.Close()
	grant := idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	cfg := evergrant.Config{ClientID: "app", Provider: prov, TokenURL: "http://127.0.0.1/token", RescueDirs: []string{t.TempDir()}}
	var dials atomic.Int64 // as many as requests: each has a fresh connection
	cfg.HTTP.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		return pipe.dial(ctx, network, address)
	}
	if err := evergrant.Create(t.Context(), store, id, grant.TokenJSON(), cfg); err != nil {
		t.Error(err)
		return 0
	}
	src, err := evergrant.Open(store, id, cfg)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer src.Close()
	served := int64(-1) // requests when the last fault was queued
	for end := time.Now().Add(worldTime); time.Now().Before(end); {
		time.Sleep(time.Duration(1+random.IntN(40)) * time.Minute)
		if n := dials.Load(); random.IntN(8) == 0 && n > served { // one fault at a time: a second in a row may be beyond a grace window
			idp.Next(faults[random.IntN(len(faults))])
			served = n
		}
		if _, err := src.Token(t.Context()); errors.Is(err, evergrant.ErrNeedsLogin) {
			t.Errorf("%s at %s: %v", id, time.Now(), err)
			break
		}
	}
	state := idp.GrantState(grant.ID)
	if state.Revoked || state.RefreshToken == "" {
		t.Errorf("%s is lost: %s", id, state.Why)
	}
	oncePerGeneration(t, id, idp.TokenRequests(grant.ID), habits)
	return state.AccessNumber
}

// oncePerGeneration checks promise P1 in the ledger.
func oncePerGeneration(t *testing.T, id string, reqs []idptest.Entry, habits idptest.Habits) {
	t.Helper()
	issued := map[int]int{}
	for _, e := range reqs {
		if e.Verdict == idptest.Reuse {
			t.Errorf("%s: request %d presents the spent token %d", id, e.Seq, e.Generation)
		}
		if e.Processed {
			issued[e.Generation]++
		}
	}
	for g, n := range issued {
		if habits.Rotation && n > 2 || habits.Rotation && habits.Grace == 0 && n > 1 {
			t.Errorf("%s: generation %d was accepted %d times", id, g, n)
		}
	}
}

// TestScheduleAhead: a token is renewed ahead of its end by a quarter of its
// life, at most 15 minutes, and not before.
func TestScheduleAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idp := idptest.New(idptest.Config{Habits: idptest.Habits{Rotation: true, AccessTTL: 2 * time.Hour}})
		pipe := newPipeNet()
		srv := &http.Server{Handler: idp}
		go srv.Serve(pipe)
		defer srv.Close()
		store := new(evergrant.Memory)
		grant := idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
		cfg := evergrant.Config{ClientID: "app", TokenURL: "http://127.0.0.1/token", RescueDirs: []string{t.TempDir()}}
		cfg.HTTP.Dial = pipe.dial
		if err := evergrant.Create(t.Context(), store, "g", grant.TokenJSON(), cfg); err != nil {
			t.Fatal(err)
		}
		src, err := evergrant.Open(store, "g", cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		if _, err := src.Refresh(t.Context(), evergrant.RefreshOptions{}); err != nil {
			t.Fatal(err)
		}
		for minutes := range 104 { // 120 - 15 - some jitter: nothing yet
			time.Sleep(time.Minute)
			if _, err := src.Token(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := len(idp.TokenRequests(grant.ID)); n != 1 {
				t.Fatalf("%d requests after %d minutes", n, minutes)
			}
		}
		time.Sleep(5 * time.Minute)
		if _, err := src.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(idp.TokenRequests(grant.ID)); n != 2 {
			t.Errorf("%d requests ten minutes before the end", n)
		}
	})
}
