package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// tracer writes a transcript for people who look for a fault. What is shown is
// chosen by name from short lists; all else is shown as its size. What is shown
// still passes two filters: the secrets of the request, and anything that looks
// like a token. A nil tracer does nothing.
type tracer struct {
	start   time.Time
	secrets []Secret

	mu   sync.Mutex
	line func(string) // nil once Send has returned
}

func newTracer(line func(string), r *Request) *tracer {
	if line == nil {
		return nil
	}
	return &tracer{line: line, start: time.Now(), secrets: r.Secrets()}
}

// close waits for a line in progress. Dialing to a second address may go on
// after Send has returned, and has nothing to say any more.
func (t *tracer) close() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.line = nil
}

func (t *tracer) printf(format string, args ...any) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.line == nil {
		return
	}
	ms := time.Since(t.start).Milliseconds()
	t.line(fmt.Sprintf("%5d ms ", ms) + fmt.Sprintf(format, args...))
}

// openParam lists the parameters that are the same for everybody, or public.
func openParam(name string) bool {
	switch name {
	case "grant_type", "client_id", "scope", "redirect_uri", "resource", "audience",
		"client_assertion_type", "requested_token_type", "subject_token_type",
		"actor_token_type", "token_type_hint", "response_type", "format":
		return true
	}
	return false
}

// openHeader lists the header fields that are shown, through the filters.
func openHeader(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Accept", "Content-Type", "Content-Length", "Content-Encoding", "User-Agent", "Date",
		"Retry-After", "Cache-Control", "Connection", "Server", "Transfer-Encoding", "Www-Authenticate":
		return true
	}
	return false
}

// openMember lists the members of an answer that are shown, through the filters.
func openMember(name string) bool {
	switch name {
	case "token_type", "expires_in", "scope", "issued_at", "error", "error_description", "ok":
		return true
	}
	return false
}

func (t *tracer) request(req *http.Request, r *Request) {
	if t == nil {
		return
	}
	target := req.URL.EscapedPath()
	if req.URL.RawQuery != "" {
		target += "?" + sized(len(req.URL.RawQuery))
	}
	t.printf("> %s %s HTTP/1.1, host %s", req.Method, target, req.URL.Host)
	t.header(">", req.Header)
	for _, p := range r.Form {
		value := sized(len(p.Value))
		if openParam(p.Name) {
			value = Scrub(clean(p.Value, maxText), t.secrets...)
		}
		t.printf("> %s = %s", Scrub(clean(p.Name, maxText), t.secrets...), value)
	}
	if len(r.Body) > 0 {
		t.printf("> body %s", sized(len(r.Body)))
	}
}

// shownMembers bounds a transcript: an honest answer has a dozen members.
const shownMembers = 100

func (t *tracer) answer(a *Answer) {
	if t == nil {
		return
	}
	members, err := answerMembers(a, Dialect{})
	more := max(0, len(members)-shownMembers)
	members = members[:len(members)-more]
	for _, m := range members {
		if !openMember(m.Name) {
			t.secrets = append(t.secrets, NewSecret(text(m.Value)))
		}
	}
	// The server's own reason phrase could hold anything.
	t.printf("< %d %s", a.Status, http.StatusText(a.Status))
	t.header("<", a.Header)
	for _, m := range members {
		t.member(m)
	}
	if more > 0 {
		t.printf("< and %d more members", more)
	}
	if err != nil {
		t.printf("< body of %d bytes, %s: %s", len(a.Body), err, t.body(string(a.Body)))
	}
	t.printf("* answer complete")
}

// body shows the beginning of a page that was not an answer. What smells of
// tokens is not shown at all: a cut token can be too short to look like one.
func (t *tracer) body(s string) string {
	lower := strings.ToLower(s)
	if len(s) > 0 && strings.IndexByte("{[\"\xef", s[0]) >= 0 || strings.Contains(lower, "token") || strings.Contains(lower, "secret") {
		return sized(len(s))
	}
	return t.filter(printable(s, 200))
}

func (t *tracer) member(m Member) {
	value := sized(len(m.Value))
	if openMember(m.Name) {
		switch kind(m.Value) {
		case '"':
			value = t.filter(printable(text(m.Value), 200))
		case '{', '[':
		default:
			value = t.filter(printable(string(m.Value), 200))
		}
	}
	t.printf("< %s = %s", t.filter(printable(m.Name, 64)), value)
}

func (t *tracer) header(mark string, h http.Header) {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range h[name] {
			shown := sized(len(v))
			if openHeader(name) {
				shown = t.filter(printable(v, 200))
			}
			if name == "Location" {
				shown = t.filter(printable(place(v), 200))
			}
			t.printf("%s %s: %s", mark, t.filter(name), shown)
		}
	}
}

// place is where a redirect points, without what it carries.
func place(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return sized(len(location))
	}
	return u.Scheme + "://" + u.Host + " " + sized(len(location))
}

func (t *tracer) failed(err error) error {
	var e *SendError
	if t != nil && errors.As(err, &e) {
		t.printf("* failed: phase %s, sent %v, %d bytes of a body", e.Phase, e.Sent, len(e.Partial))
	}
	return err
}

// filter takes out the request's secrets and every run of characters that could
// be a token. It is strict: a transcript that hides a word too much is still
// useful.
func (t *tracer) filter(s string) string {
	s = Scrub(s, t.secrets...)
	var b strings.Builder
	for s != "" {
		n := strings.IndexFunc(s, func(r rune) bool { return !tokenRune(r) })
		if n < 0 {
			n = len(s)
		}
		if n > 0 {
			b.WriteString(guard(s[:n]))
			s = s[n:]
			continue
		}
		n = strings.IndexFunc(s, tokenRune)
		if n < 0 {
			n = len(s)
		}
		b.WriteString(s[:n])
		s = s[n:]
	}
	return b.String()
}

// guard hides a run unless it is short, or words joined by _ - or /.
func guard(run string) string {
	if len(run) < 8 || plainWords(run) {
		return run
	}
	return sized(len(run))
}

// plainWords reports whether a run consists of letters in words of at most 14,
// with capitals at their start only, or is a number of at most 14 digits.
func plainWords(run string) bool {
	if len(run) <= 14 && strings.Trim(run, "0123456789") == "" {
		return true
	}
	if len(run) > 48 {
		return false
	}
	for w := range strings.FieldsFuncSeq(run, func(r rune) bool { return strings.ContainsRune("_-/.=", r) }) {
		if len(w) > 14 || strings.Trim(w[1:], "abcdefghijklmnopqrstuvwxyz") != "" {
			return false
		}
	}
	return true
}

func tokenRune(r rune) bool {
	return r > ' ' && r < 0x7f && !strings.ContainsRune(`"'<>(){}[],;:?&`, r)
}

// printable is the first n characters that can be printed.
func printable(s string, n int) string {
	s = clean(s, len(s))
	if len(s) > n {
		s = clean(s, n)
	}
	return s
}
