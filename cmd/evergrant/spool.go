package main

import (
	"errors"
	"io"
	"sync"
)

// replayBound is how much of a request's body is kept to be sent once more.
const replayBound = 1 << 20

var (
	errReplayed = errors.New("the body is being sent with another request")
	errTooLarge = errors.New("the body is too large to be sent again")
)

// spool lets a body be sent again without holding it back: it is passed on as
// it comes, and what came is kept up to replayBound. A body that is still
// coming can be sent again too; the second reading gets what was kept, then
// the rest.
type spool struct {
	from io.Reader

	reading sync.Mutex // held while from is read, which may take long

	mu   sync.Mutex
	kept []byte // all that came, or nil once it was too much
	over bool   // more came than is kept
	end  error  // what from ended with
	last *pass  // the reading that counts; older ones get nothing more
}

// pass is one reading of a spool from its beginning.
type pass struct {
	s  *spool
	at int // in s.kept
}

// again starts another reading, which ends the one before.
func (s *spool) again() (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil, errTooLarge
	}
	s.last = &pass{s: s}
	return s.last, nil
}

// Read implements io.Reader.
func (p *pass) Read(b []byte) (int, error) {
	if n, err := p.fromKept(b); n > 0 || err != nil {
		return n, err
	}
	p.s.reading.Lock()
	defer p.s.reading.Unlock()
	if n, err := p.fromKept(b); n > 0 || err != nil { // an older reading may have brought something meanwhile
		return n, err
	}
	n, err := p.s.from.Read(b)
	return p.keep(b[:n], err)
}

func (p *pass) fromKept(b []byte) (int, error) {
	s := p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != p {
		return 0, errReplayed
	}
	if p.at == len(s.kept) {
		return 0, s.end
	}
	n := copy(b, s.kept[p.at:])
	p.at += n
	return n, nil
}

// keep notes what came. Where another reading began meanwhile, it is for that
// one, however much it is.
func (p *pass) keep(b []byte, err error) (int, error) {
	s := p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end = err
	if s.last != p {
		s.kept = append(s.kept, b...)
		return 0, errReplayed
	}
	if s.over = s.over || len(s.kept)+len(b) > replayBound; s.over {
		s.kept, p.at = nil, 0
		return len(b), err
	}
	s.kept = append(s.kept, b...)
	p.at += len(b)
	return len(b), err
}

// Close implements io.Closer. It leaves the body open: who serves the request
// closes it, and the next reading goes on with it.
func (p *pass) Close() error { return nil }
