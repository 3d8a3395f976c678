package evergrant

import (
	"context"
	"time"

	"github.com/evergrant/evergrant/internal/tokenfile"
)

// place is where one grant lives: a plain token file with its side files, or a
// record of a Store. The engine is written against it once. A place knows how
// to keep bytes safely; what they mean is the engine's business.
type place interface {
	// id names the grant in messages and events.
	id() string
	// read gives what is there now, without the lock.
	read(ctx context.Context) (holding, error)
	// lock excludes every other refresh of this grant, here and in other
	// processes, until the session is released. A failure is temporary or a
	// storage failure, never a licence to refresh.
	lock(ctx context.Context) (session, error)
	// stamp is a cheap fingerprint that differs when another program changed
	// what is there.
	stamp(ctx context.Context) stamp
}

// stamp compares by ==. The zero stamp stands for what cannot be told.
type stamp struct {
	known      bool
	doc, state fileStamp
	generation uint64
	intent     string
	data       digest
}

type fileStamp struct {
	mod  time.Time
	size int64
	node uint64
}

// holding is what a place held at one moment.
type holding struct {
	file    *tokenfile.File
	st      state
	sealed  bool      // the place keeps the document from others' eyes, so that secrets may stand in it
	written time.Time // when the document was last written, for lifetimes without a time base
	newer   bool      // another writer stored it, as a newer generation than the one a commit started from
}

// undecided reports whether an intent is open and the document is unlike what the
// intent started from: the new token may not be durable yet, so a reader
// without the lock must not hand it out.
func (h *holding) undecided() bool {
	in := h.st.Intent
	return in != nil && (h.st.mark(h.file.AccessToken()) != in.Access || in.Refresh != "" && h.st.mark(h.file.RefreshToken()) != in.Refresh)
}

// session is a place under its lock.
type session interface {
	read(ctx context.Context) (holding, error)
	// pending finds the answer of an attempt that was written but not put in
	// its place; nil if there is none.
	pending(h holding, attempt string) (*tokenfile.File, error)
	// committed reports whether the document is what this attempt wrote: its
	// process ended after the commit and before it could say so. out is what
	// came out of the exchange, if it is still there.
	committed(h holding, attempt string) (out *tokenfile.File, yes bool)
	// begin makes the intent in st durable, after making sure that the answer
	// can be stored. If it fails nothing must be sent.
	begin(ctx context.Context, h holding, st *state) (try, error)
	// settle makes the document that is there durable and then st, and removes
	// what other tries left behind.
	settle(ctx context.Context, h holding, st *state) error
	// note makes st durable without claiming anything about the document.
	note(ctx context.Context, h holding, st *state) error
	// rescue keeps the answer of an attempt in a second place.
	rescue(attempt string, next *tokenfile.File) (path string, err error)
	release()
}

// try is one journalled try under way.
type try interface {
	// mark turns the phase in the journal, to sending before the request
	// leaves, to rescued when its answer is kept elsewhere.
	mark(p phase) error
	// commit puts next in the place of cur and makes it durable, then st. It
	// returns a *movedError, having changed nothing that another program
	// wrote, when the document is no longer cur.
	commit(ctx context.Context, cur holding, next *tokenfile.File, st *state) error
	// copyAt is where a whole copy of the answer lies that recovery finds; "" if
	// there is none.
	copyAt() string
	// discard frees what was reserved.
	discard()
}

// movedError says that the document changed under a commit; whoWins decides what
// becomes of it.
type movedError struct {
	now holding
}

func (*movedError) Error() string { return "the grant was changed by another program" }
