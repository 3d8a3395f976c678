package idptest

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Verdicts of token requests, as they stand in Entry.Verdict. A refusal reads
// "refused:" and the OAuth error code; a fault that answered instead of the
// token logic reads "fault:" and the fault's name.
const (
	InFlight = "in-flight"      // not decided yet
	Issued   = "issued"         // tokens were issued
	Sibling  = "issued:sibling" // replay inside the grace window, new tokens
	SamePair = "issued:same"    // replay inside the grace window, the earlier answer again
	Busy     = "busy"           // another request with this refresh token was under way
	Reuse    = "reuse"          // a spent refresh token outside any grace window
	Trapped  = "trap"           // a redirect was followed: the secret went where it must not
)

// An Entry is one request as the server saw it. Entries never hold a token,
// a secret or a parameter's value other than grant_type and client_id.
type Entry struct {
	Seq    int       `json:"seq"`  // 1 for the first request, in order of arrival
	Time   time.Time `json:"time"` // arrival, by the server's clock
	Conn   string    `json:"conn"` // equal for requests on one connection
	TLS    bool      `json:"tls"`
	Host   string    `json:"host"` // the Host header
	Method string    `json:"method"`
	Path   string    `json:"path"` // without the query

	GrantType string   `json:"grant_type,omitempty"`
	ClientID  string   `json:"client_id,omitempty"`
	Params    []string `json:"params,omitempty"` // names: those of the query, then of the body, in order

	Accept         string `json:"accept,omitempty"`
	ContentType    string `json:"content_type,omitempty"`
	UserAgent      string `json:"user_agent,omitempty"`
	IdempotencyKey bool   `json:"idempotency_key,omitempty"` // the header was present
	AuthScheme     string `json:"auth_scheme,omitempty"`     // first word of Authorization

	// GrantID and Generation say which refresh token was presented: the
	// generation is its place among the refresh tokens of its grant, 1 for the
	// first. "" and 0: none, or none this server ever issued.
	GrantID    string `json:"grant_id,omitempty"`
	Generation int    `json:"generation,omitempty"`
	// Verdict is the token logic's decision (see the constants); "" for
	// requests that are not token requests.
	Verdict string `json:"verdict,omitempty"`
	// Processed: the request took effect. Tokens were issued, a code was
	// spent, or a reuse revoked the grant, whether or not the client learned
	// of it. A refusal, a busy answer, a fault before processing: false.
	Processed bool `json:"processed"`
	// Delivered: every byte of the answer, as the server meant it to be, was
	// written while the client was still connected. It turns false again if
	// the connection is reset before the client took the answer (plain TCP
	// listeners of this package only). An answer cut by a fault: false.
	Delivered bool `json:"delivered"`
	// Done: the server is finished with the request.
	Done bool `json:"done"`
	// NewGeneration is the generation of the refresh token that the answer
	// leaves the client with; 0 if nothing was issued. Equal to Generation
	// where the server did not rotate.
	NewGeneration int `json:"new_generation,omitempty"`
	// AccessNumber counts the access tokens of the grant; 0: none issued.
	AccessNumber int    `json:"access_number,omitempty"`
	Status       int    `json:"status,omitempty"` // HTTP status of the answer; 0: none was begun
	Fault        string `json:"fault,omitempty"`  // faults that applied
}

// Ledger returns a copy of every request so far, oldest first. Requests to the
// control endpoint are not in it.
func (s *Server) Ledger() []Entry {
	return s.entries(func(*Entry) bool { return true })
}

// TokenRequests returns the ledger's token requests that presented a refresh
// token of the grant, oldest first. Requests that a redirect led to the trap
// are among them; revocations and introspections are not.
func (s *Server) TokenRequests(grantID string) []Entry {
	return s.entries(func(e *Entry) bool {
		return e.GrantID == grantID && e.Generation > 0 && (e.GrantType != "" || e.Verdict == Trapped)
	})
}

func (s *Server) entries(want func(*Entry) bool) []Entry {
	s.settle()
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Entry
	for _, e := range s.ledger {
		if want(e) {
			out = append(out, *e)
			out[len(out)-1].Params = slices.Clone(e.Params)
		}
	}
	return out
}

// WaitIdle waits until no request is under way and no connection is being
// watched for a late reset, or until the time is up; it reports which. Call it
// before judging Delivered of clients that were killed.
func (s *Server) WaitIdle(limit time.Duration) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for {
		s.mu.Lock()
		if s.active == 0 {
			s.mu.Unlock()
			return true
		}
		if s.idle == nil {
			s.idle = make(chan struct{})
		}
		idle := s.idle
		s.mu.Unlock()
		select {
		case <-idle:
		case <-deadline.C:
			return false
		}
	}
}

// begin counts a request, or a connection that is being watched, as under way.
func (s *Server) begin() {
	s.mu.Lock()
	s.active++
	s.mu.Unlock()
}

func (s *Server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active--
	if s.active == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// enter writes the request into the ledger before anything is decided.
func (s *Server) enter(q *request) {
	r := q.r
	e := &Entry{
		Conn: connID(r), TLS: r.TLS != nil, Host: r.Host, Method: r.Method, Path: r.URL.Path,
		GrantType: q.get("grant_type"), ClientID: q.get("client_id"), Params: q.names,
		Accept: r.Header.Get("Accept"), ContentType: mediaType(r.Header.Get("Content-Type")), UserAgent: r.UserAgent(),
		AuthScheme: firstWord(r.Header.Get("Authorization")),
	}
	_, e.IdempotencyKey = r.Header[http.CanonicalHeaderKey("Idempotency-Key")]
	s.mu.Lock()
	defer s.mu.Unlock()
	e.Time = s.nowLocked().UTC()
	e.Seq = len(s.ledger) + 1
	s.ledger = append(s.ledger, e)
	q.entry = e
}

// note changes an entry under the lock.
func (s *Server) note(e *Entry, change func(*Entry)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(e)
}

func firstWord(v string) string {
	word, _, _ := strings.Cut(v, " ")
	return word
}

// mediaType drops parameters such as a multipart boundary.
func mediaType(v string) string {
	t, _, _ := strings.Cut(v, ";")
	return strings.TrimSpace(t)
}

type connKey struct{}

// connID names the request's connection: a number where this package listens,
// else the remote address.
func connID(r *http.Request) string {
	id, _ := r.Context().Value(connKey{}).(string)
	return cmp.Or(id, r.RemoteAddr)
}

// logLine writes one request for a human to follow.
func logLine(w io.Writer, e *Entry) {
	fmt.Fprintf(w, "%4d %s %s %d", e.Seq, e.Method, e.Path, e.Status)
	if e.Verdict != "" {
		fmt.Fprintf(w, " %s %s", cmp.Or(e.GrantType, "-"), e.Verdict)
	}
	if e.GrantID != "" {
		fmt.Fprintf(w, " grant=%s", e.GrantID)
	}
	if e.Generation > 0 || e.NewGeneration > 0 {
		fmt.Fprintf(w, " generation=%d->%d", e.Generation, e.NewGeneration)
	}
	if e.Fault != "" {
		fmt.Fprintf(w, " fault=%s delivered=%t", e.Fault, e.Delivered)
	}
	fmt.Fprintln(w) // a log that can't be written is no reason to fail
}
