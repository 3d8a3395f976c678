package model_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
	"github.com/evergrant/evergrant/model"
	"github.com/evergrant/evergrant/prove/figures"
)

// The real engine is driven through the cases of the model, each in a bubble of
// simulated time, once on a token file and once on a record of a store, and
// must come to the same outcomes.

// habits are the classes as the simulator knows them.
var habits = map[model.Class]idptest.Habits{
	model.P0: {},
	model.P1: {Rotation: true, Reuse: "fails"},
	model.P2: {Rotation: true},
	model.P3: {Rotation: true, Grace: 10 * time.Minute},
	model.P4: {Rotation: true, Grace: 10 * time.Minute, GraceReply: "same"},
}

// faults are those of the model that the simulator makes by itself.
var faults = map[model.Fault]idptest.Fault{
	model.LostRequest: "drop-before",
	model.LostReply:   "lost",
	model.After5xx:    "status-after=500",
	model.BusyAnswer:  "503-before",
}

// TestEngine compares the engine's outcomes with the model's, case by case.
func TestEngine(t *testing.T) {
	compared := 0
	for _, kind := range []string{"store", "file"} {
		for _, c := range cases() {
			if !fits(kind, c) {
				continue
			}
			name := kind + "/" + c.Class.String() + "/" + c.Fault.String()
			if c.Fault == model.Crash {
				name += " " + c.At.String()
			}
			compared++
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { compare(t, kind, c) })
			})
		}
	}
	t.Logf("%d cases compared", compared)
	addFigures(t, figures.Figure{Name: figures.Compared, N: float64(compared)})
}

// fits reports whether a case can be made on this kind of place without
// breaking into the program. The others are made by the crash tests.
func fits(kind string, c model.Case) bool {
	switch c.Fault {
	case model.Crash:
		return kind == "store" || c.At == model.Dialing || c.At == model.Arrived || c.At == model.Processed || c.At == model.Stored
	case model.WriteFails, model.DiskFull:
		return kind == "store"
	case model.ForeignEdit:
		return kind == "file"
	case model.SetBack: // of a refresh token that was replaced
		return kind == "file" && c.Class != model.P0
	}
	return true
}

func compare(t *testing.T, kind string, c model.Case) {
	want := c.Play()
	b := newBed(t, kind, c)
	defer b.close()
	if _, err := b.refresh(b.place, false); err != nil {
		t.Fatalf("the refresh before: %v", err)
	}
	var got model.Played
	got.Runs[0] = b.first()
	got.Runs[1] = outcome(b.refresh(b.place, false))
	got.Runs[2] = outcome(b.refresh(b.place, true))
	time.Sleep(time.Minute) // what still travels arrives
	state := b.idp.GrantState(b.current)
	got.Alive = !state.Revoked && state.RefreshToken != "" && bytes.Contains(b.place.document(t), []byte(state.RefreshToken))
	if got.Newest = b.idp.GrantState(b.grant.ID).Generation; c.Class == model.P0 {
		got.Newest = want.Newest
	}
	if got.Runs != want.Runs || got.Alive != want.Alive {
		t.Errorf("the engine came to %v, alive %t; the model to %v, alive %t\n%+v", got.Runs, got.Alive, want.Runs, want.Alive, b.idp.TokenRequests(b.grant.ID))
	}
	if got.Alive && got.Newest != want.Newest {
		t.Errorf("the server issued %d refresh tokens, in the model %d", got.Newest, want.Newest)
	}
}

// outcome puts a call's result into the model's words.
func outcome(_ *evergrant.Result, err error) model.Outcome {
	var e *evergrant.Error
	switch {
	case err == nil:
		return model.Fresh
	case !errors.As(err, &e):
		return model.Outcome(err.Error())
	case e.Rule == "set-back":
		return model.SetBackOut
	case errors.Is(err, evergrant.ErrNeedsLogin):
		return model.NeedsLogin
	case errors.Is(err, evergrant.ErrStorage):
		return model.Held
	case !e.InDoubt.IsZero():
		return model.InDoubt
	}
	return model.Outcome(err.Error())
}

// bed is a server, a grant and the place where its tokens are.
type bed struct {
	t         *testing.T
	c         model.Case
	idp       *idptest.Server
	http      *http.Server
	grant     idptest.Grant
	current   string // the user's grant in the end
	cfg       evergrant.Config
	dial      func(context.Context) (net.Conn, error)
	place     *place
	yesterday []byte // the document before any refresh
	dead      chan struct{}
	end       chan struct{} // closed when the killed may go
	armed     *sync.Once
	ended     chan model.Outcome // of the run of the fault
}

// place is a folder with a token file, or a store.
type place struct {
	dir   string
	store *stopping
}

func newBed(t *testing.T, kind string, c model.Case) *bed {
	b := &bed{t: t, c: c, idp: idptest.New(idptest.Config{Habits: habits[c.Class]}), dead: make(chan struct{}), end: make(chan struct{})}
	pipe := &pipeNet{conns: make(chan net.Conn), done: make(chan struct{})}
	b.http = &http.Server{Handler: http.HandlerFunc(b.serve)}
	go b.http.Serve(pipe)
	b.grant = b.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	b.current, b.yesterday = b.grant.ID, b.grant.TokenFile()
	b.cfg = evergrant.Config{ClientID: "app", TokenURL: "http://127.0.0.1/token", RescueDirs: []string{filepath.Join(t.TempDir(), "rescue")}}
	if c.Class.Grace() {
		b.cfg.Provider = "atlassian" // a window of ten minutes that the catalog vouches for
	}
	b.dial = pipe.dial
	b.place = &place{}
	if kind == "file" {
		b.place.dir = t.TempDir()
		b.write(b.yesterday)
		return b
	}
	b.place.store = &stopping{Memory: new(evergrant.Memory), b: b}
	if err := evergrant.Create(t.Context(), b.place.store, "g", b.yesterday, b.cfg); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bed) close() {
	close(b.end)
	select {
	case <-b.dead: // the killed program wakes and ends
		<-b.ended
	default:
	}
	b.http.Close()
	b.idp.Close()
}

// refresh is a run of a program of its own.
func (b *bed) refresh(p *place, last bool) (*evergrant.Result, error) {
	var s *evergrant.Source
	var err error
	cfg := b.cfg
	cfg.HTTP.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		if b.is(model.Crash, model.Dialing) {
			b.kill()
		}
		if p != b.place { // killed: it only thinks that it runs
			<-b.end
			return nil, net.ErrClosed
		}
		return b.dial(ctx)
	}
	if p.store != nil {
		s, err = evergrant.Open(p.store, "g", cfg)
	} else {
		s, err = evergrant.OpenFile(filepath.Join(p.dir, "token.json"), cfg)
	}
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Refresh(context.Background(), evergrant.RefreshOptions{Replay: last})
}

// first makes the run in which the fault happens. A program that is killed
// stands still at that moment, for ever; the next ones go on from a copy of what
// it had stored.
func (b *bed) first() model.Outcome {
	b.armed = new(sync.Once)
	if f, ok := faults[b.c.Fault]; ok {
		b.idp.Next(f)
	}
	b.ended = make(chan model.Outcome, 1)
	from := b.place
	go func() { b.ended <- outcome(b.refresh(from, false)) }()
	select {
	case o := <-b.ended:
		if b.armed = nil; b.c.Fault == model.Crash { // after the end
			return model.Killed
		}
		return o
	case <-b.dead:
		b.armed = nil
		return model.Killed
	}
}

// is reports, in the run of the fault, whether it is this one.
func (b *bed) is(f model.Fault, at model.Point) bool {
	return b.armed != nil && b.c.Fault == f && b.c.At == at
}

// kill stops the program that is running. It returns when the test is over.
func (b *bed) kill() {
	b.leave()
	<-b.end
}

// leave lets the next programs go on from what was stored.
func (b *bed) leave() {
	b.place = b.place.copy(b)
	close(b.dead)
}

// copy is what a killed program leaves.
func (p *place) copy(b *bed) *place {
	if p.store == nil {
		to := &place{dir: b.t.TempDir()}
		if err := os.CopyFS(to.dir, os.DirFS(p.dir)); err != nil {
			b.t.Error(err)
		}
		return to
	}
	r, err := p.store.Memory.Get(context.Background(), "g")
	to := &place{store: &stopping{Memory: new(evergrant.Memory), b: b}}
	if err = errors.Join(err, to.store.Memory.Put(context.Background(), r, 0)); err != nil {
		b.t.Error(err)
	}
	return to
}

// document is what the place holds, for the judge.
func (p *place) document(t *testing.T) []byte {
	if p.store == nil {
		data, err := os.ReadFile(filepath.Join(p.dir, "token.json"))
		if err != nil {
			t.Error(err)
		}
		return data
	}
	r, err := p.store.Memory.Get(context.Background(), "g")
	if err != nil {
		t.Error(err)
	}
	return r.Data
}

func (b *bed) write(document []byte) {
	if err := os.WriteFile(filepath.Join(b.place.dir, "token.json"), document, 0o600); err != nil {
		b.t.Error(err)
	}
}

// stopping is a store that fails or stops when the case says so.
type stopping struct {
	*evergrant.Memory
	b    *bed
	puts int  // of the run of the fault
	gone bool // its program was killed and only thinks that it runs
}

func (s *stopping) Put(ctx context.Context, r evergrant.Record, generation uint64) error {
	b := s.b
	if s.gone {
		return errors.New("killed")
	}
	if b.armed == nil {
		return s.Memory.Put(ctx, r, generation)
	}
	s.puts++
	commit := r.Generation > generation
	switch {
	case b.is(model.Crash, model.BeforeIntent), commit && b.is(model.Crash, model.Answered):
		b.kill()
		return errors.New("killed")
	case commit && b.c.Fault == model.DiskFull:
		return errors.New("no space left")
	case commit && b.c.Fault == model.WriteFails:
		var err error
		if b.armed.Do(func() { err = errors.New("an input/output error") }); err != nil {
			return err
		}
	}
	err := s.Memory.Put(ctx, r, generation)
	if s.puts == 2 && b.is(model.Crash, model.Sending) { // nothing is sent after an error here
		s.gone = true
		b.leave()
		return errors.New("killed")
	}
	return err
}

// serve is the way to the simulator, on which things happen.
func (b *bed) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	happens := false
	if b.armed != nil {
		b.armed.Do(func() { happens = true })
	}
	switch {
	case !happens || b.place.store != nil && b.c.Fault == model.WriteFails:
		if happens {
			b.armed = new(sync.Once)
		}
	case b.is(model.Crash, model.Arrived):
		b.kill()
		return
	case b.is(model.Crash, model.Processed):
		b.idp.ServeHTTP(httptest.NewRecorder(), r)
		b.kill()
		return
	case b.c.Fault == model.DelayedRequest:
		go func() {
			time.Sleep(10 * time.Second)
			b.idp.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.Background()))
		}()
		panic(http.ErrAbortHandler)
	case b.c.Fault == model.ForeignEdit:
		b.write(bytes.Replace(b.place.document(b.t), []byte("{"), []byte("{\r\n  \"note\": \"mine\","), 1))
	case b.c.Fault == model.SetBack:
		b.write(b.yesterday)
	case b.c.Fault == model.ForeignLogin:
		b.login()
	}
	b.idp.ServeHTTP(w, r)
}

// login is another program that writes a new grant.
func (b *bed) login() {
	g := b.idp.NewGrant(idptest.GrantSpec{ClientID: "app"})
	b.current = g.ID
	if b.place.store == nil {
		b.write(g.TokenFile())
		return
	}
	other := new(evergrant.Memory)
	err := evergrant.Create(b.t.Context(), other, "g", g.TokenFile(), b.cfg)
	r, _ := other.Get(b.t.Context(), "g")
	was, _ := b.place.store.Memory.Get(b.t.Context(), "g")
	r.Generation = was.Generation + 1
	if err = errors.Join(err, b.place.store.Memory.Put(b.t.Context(), r, was.Generation)); err != nil {
		b.t.Error(err)
	}
}

// pipeNet joins a client and a server inside a bubble, where real sockets may
// not be used.
type pipeNet struct {
	conns chan net.Conn
	done  chan struct{}
}

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

func (p *pipeNet) dial(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
