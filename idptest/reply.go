package idptest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// A cut is a way to spoil a delivery.
type cut int

const (
	cutNone    cut = iota
	cutAll         // close before any byte
	cutReset       // reset before any byte
	cutHang        // say nothing until the client leaves
	cutHeaders     // close in the middle of the headers
	cutBody        // close in the middle of the body
	cutChunk       // close inside a chunk
	cutGzip        // end the gzip stream early, framing intact
	cutLength      // end the body early, framing intact
)

// A reply is an answer before it is written. The zero status means none.
type reply struct {
	status  int
	header  http.Header
	object  object // the body, unless body is set
	body    []byte
	format  string // json (""), urlencoded or xml; for object only
	ctype   string // "": by format
	prefix  string // bytes before the object
	suffix  string // bytes after it
	verdict string // for the ledger

	issued   bool // a success of the token logic: shapes apply
	replaced bool // stands in the place of an issued answer
	cut      cut
	interim  int // 103 answers first
	gzip     bool
	chunked  bool
	stream   func(w io.Writer, gone <-chan struct{}) error // writes the body itself
}

func html(status int, body string) *reply {
	return &reply{status: status, header: http.Header{}, body: []byte(body), ctype: "text/html; charset=UTF-8"}
}

func jsonReply(status int, body string) *reply {
	return &reply{status: status, header: http.Header{}, body: []byte(body), ctype: "application/json;charset=UTF-8"}
}

// payload renders the body and its content type.
func (a *reply) payload() ([]byte, string) {
	if a.body != nil {
		return a.body, a.ctype
	}
	body, ctype := a.object.bytes(), "application/json;charset=UTF-8"
	switch a.format {
	case "urlencoded":
		body, ctype = a.object.form(), "application/x-www-form-urlencoded;charset=UTF-8"
	case "xml":
		body, ctype = a.object.xml(), "application/xml;charset=UTF-8"
	}
	if a.ctype != "" {
		ctype = a.ctype
	}
	return []byte(a.prefix + string(body) + a.suffix), ctype
}

// deliver writes the answer and tells the ledger what became of it. It marks
// the delivery before the last write, since the client may act on the answer
// (and ask the ledger) before the write returns, and takes it back on failure.
func (s *Server) deliver(q *request, a *reply) {
	if q.r.Context().Err() != nil { // the client has left
		panic(http.ErrAbortHandler)
	}
	body, ctype := a.payload()
	if a.gzip || a.cut == cutGzip {
		body = compress(body)
	}
	head := q.w.Header()
	for k, v := range a.header {
		head[k] = v
	}
	head.Set("Date", s.now().UTC().Format(http.TimeFormat)) // the server's clock, which may be off
	if ctype != "" {
		head.Set("Content-Type", ctype)
	}
	if a.gzip || a.cut == cutGzip {
		head.Set("Content-Encoding", "gzip")
	}
	if q.token {
		head.Set("Cache-Control", "no-store")
		head.Set("Pragma", "no-cache")
	}
	s.note(q.entry, func(e *Entry) {
		if a.cut < cutAll || a.cut > cutHang {
			e.Status = a.status
		}
	})
	switch a.cut {
	case cutNone:
		s.write(q, a, body)
	case cutGzip, cutLength:
		head.Set("Content-Length", strconv.Itoa(len(body)/2))
		q.w.WriteHeader(a.status)
		q.w.Write(body[:len(body)/2]) // spoiled anyway
	default:
		s.cutOff(q, a, body)
	}
}

// write sends an answer that is meant to arrive.
func (s *Server) write(q *request, a *reply, body []byte) {
	w := q.w
	for range a.interim {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
	}
	if a.stream != nil {
		w.WriteHeader(a.status)
		err := a.stream(flushing{w}, q.r.Context().Done())
		s.note(q.entry, func(e *Entry) { e.Delivered = err == nil && !a.replaced })
		return
	}
	if !a.chunked && a.status != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(a.status)
	if a.chunked {
		http.NewResponseController(w).Flush() // before the body, so that its length stays unknown
	}
	conn := q.watched()
	there := conn.expect(q.entry)
	s.note(q.entry, func(e *Entry) { e.Delivered = there && !a.replaced })
	_, err := w.Write(body)
	if err == nil || errors.Is(err, http.ErrBodyNotAllowed) {
		err = http.NewResponseController(w).Flush()
	}
	if err != nil {
		s.note(q.entry, func(e *Entry) { e.Delivered = false })
	}
	conn.wrote()
}

// flushing writes through to the connection.
type flushing struct{ w http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = http.NewResponseController(f.w).Flush()
	}
	return n, err
}

// cutOff takes the connection away from net/http and breaks it as asked. Where
// it can't be taken (HTTP/2, a recorder), the handler aborts, which looks like
// cutAll to the client.
func (s *Server) cutOff(q *request, a *reply, body []byte) {
	if a.cut == cutHang {
		select {
		case <-q.r.Context().Done():
		case <-s.closing:
		}
		panic(http.ErrAbortHandler)
	}
	text := cutText(q, a, body)
	conn, _, err := http.NewResponseController(q.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer conn.Close()
	conn.Write(text) // spoiled anyway
	if a.cut == cutReset {
		if c, ok := plainTCP(conn); ok {
			c.SetLinger(0) // close sends RST
		}
	}
}

// cutText is what the client sees before the connection ends.
func cutText(q *request, a *reply, body []byte) []byte {
	if a.cut == cutAll || a.cut == cutReset {
		return nil
	}
	head := q.w.Header()
	if a.cut == cutChunk {
		head.Set("Transfer-Encoding", "chunked")
	} else {
		head.Set("Content-Length", strconv.Itoa(len(body)))
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", a.status, http.StatusText(a.status))
	head.Write(&b) // a Buffer never fails
	if a.cut == cutHeaders {
		return b.Bytes()[:b.Len()/2]
	}
	b.WriteString("\r\n")
	if a.cut == cutChunk {
		fmt.Fprintf(&b, "%x\r\n", len(body))
	}
	b.Write(body[:len(body)/2])
	return b.Bytes()
}

func plainTCP(conn net.Conn) (*net.TCPConn, bool) {
	if w, ok := conn.(*watchedConn); ok {
		conn = w.Conn
	}
	c, ok := conn.(*net.TCPConn)
	return c, ok
}

func compress(p []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(p) // a Buffer never fails
	z.Close()
	return b.Bytes()
}

// formatOf is the form of token answers the client asked for; the parameter
// beats the Accept header.
func formatOf(q *request) string {
	if f := q.get("format"); f != "" {
		return f
	}
	accept := q.r.Header.Get("Accept")
	switch {
	case strings.Contains(accept, "json"), strings.Contains(accept, "*/*"):
		return "json"
	case strings.Contains(accept, "application/x-www-form-urlencoded"):
		return "urlencoded"
	case strings.Contains(accept, "application/xml"):
		return "xml"
	}
	return "json"
}
