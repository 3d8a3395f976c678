package evergrant

import "time"

// Event is something a program that keeps grants may want to log or count.
// The concrete types below are all there are. Events hold no secret.
type Event interface{ event() }

// Identified: provider and token endpoint were found from the document itself,
// as they will be remembered after the first success.
type Identified struct {
	Grant    string
	Provider string // "" if not in the catalog
	TokenURL string
}

// Refreshed: a refresh succeeded and its answer is durable.
type Refreshed struct {
	Grant      string // the file's path or the record's id
	Generation uint64
	Expiry     time.Time // zero: unknown
	Rotated    bool      // the answer brought another refresh token
	Replayed   bool      // a reply had been lost before, and sending again healed it
}

// Adopted: another process or program refreshed or logged in, and its token is
// used; nothing was sent.
type Adopted struct {
	Grant      string
	Generation uint64
	Login      bool // the refresh token had never been seen before
}

// Retrying: a try was refused for now and another follows in the same call.
type Retrying struct {
	Grant   string
	Outcome Outcome // Busy or Transient
	Says    string
	After   time.Duration
}

// Waiting: the call waits before it sends, because a request in doubt may
// still be on its way.
type Waiting struct {
	Grant string
	Until time.Time
	Says  string
}

// InDoubt: a request was sent and its reply lost.
type InDoubt struct {
	Grant string
	Since time.Time
	Says  string
}

// Ended: the provider's verdict that the grant has ended.
type Ended struct {
	Grant string
	Code  string
	Says  string
}

// Held: an answer could not be stored where it belongs and is kept elsewhere.
type Held struct {
	Grant string
	Path  string // the rescue file; "" if the answer is in memory only
	Says  string
}

// Noted: something that is no failure and that a person should know, such as
// a token file that others can read.
type Noted struct {
	Grant string
	Says  string
	Do    string
}

func (Identified) event() {}
func (Refreshed) event()  {}
func (Adopted) event()    {}
func (Retrying) event()   {}
func (Waiting) event()    {}
func (InDoubt) event()    {}
func (Ended) event()      {}
func (Held) event()       {}
func (Noted) event()      {}
