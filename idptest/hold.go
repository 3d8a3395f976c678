package idptest

// holding keeps token answers back. The requests are processed; their in-flight
// locks stay taken.
type holding struct {
	n       int // released when so many wait; 0: only by Release
	waiting int
	open    chan struct{}
}

// Hold keeps the answers of token requests back until n of them wait or
// Release is called; then all go at once and the hold is over. n <= 0 waits
// for Release alone.
func (s *Server) Hold(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hold != nil {
		close(s.hold.open)
	}
	s.hold = &holding{n: n, open: make(chan struct{})}
}

// HoldUntilReleased keeps the answers of token requests back until Release.
func (s *Server) HoldUntilReleased() { s.Hold(0) }

// Release lets held answers go and ends the hold. It does nothing where there
// is none.
func (s *Server) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releaseLocked()
}

func (s *Server) releaseLocked() {
	if s.hold != nil {
		close(s.hold.open)
		s.hold = nil
	}
}

// Waiting is the number of answers that are held back now.
func (s *Server) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hold == nil {
		return 0
	}
	return s.hold.waiting
}

func (s *Server) waitHold() {
	s.mu.Lock()
	h := s.hold
	if h == nil {
		s.mu.Unlock()
		return
	}
	h.waiting++
	if h.n > 0 && h.waiting >= h.n {
		s.releaseLocked()
	}
	s.mu.Unlock()
	<-h.open
}
