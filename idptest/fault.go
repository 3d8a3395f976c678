package idptest

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Fault names what goes wrong with one token request, by a row of
// FaultTable: "lost", "status=503", "error=inactive_user". Several are joined
// with "+" ("delay-before=2s+lost"). "" and "none" are no fault.
type Fault string

// A FaultRow is one row of FaultTable.
type FaultRow struct {
	Name  string
	Group string // Before, After, Shape or Hostile
	Arg   string // what follows "="; "": the fault takes no argument
	Doc   string
	apply func(p *plan, arg string) error
}

// Groups of faults. Before: the token logic never sees the request. After: the
// request is processed and the answer lost or replaced. Shape: an honest
// answer, late or in a form that clients must bear. Hostile: an answer that
// attacks the client or lies.
const (
	Before  = "before"
	After   = "after"
	Shape   = "shape"
	Hostile = "hostile"
)

// FaultTable lists every fault once. Those of group After spoil whatever the
// token logic answers; shapes and hostile answers change successes only.
func FaultTable() []FaultRow {
	return slices.Concat(transportFaults(), statusFaults(), redirectFaults(), shapeFaults(), expiresFaults(), refreshTokenFaults(), hostileFaults())
}

// FaultNames lists the names of FaultTable's rows, of the given groups or all.
func FaultNames(groups ...string) []string {
	var out []string
	for _, row := range FaultTable() {
		if len(groups) == 0 || slices.Contains(groups, row.Group) {
			out = append(out, row.Name)
		}
	}
	return out
}

// Valid tells whether every part of the fault is in FaultTable and has a
// proper argument.
func (f Fault) Valid() error { return f.addTo(&plan{}) }

// Next queues faults: each meets one of the next token requests, in order of
// arrival, and takes the place of the fault habit for it. A fault that isn't
// valid panics, since it is a mistake in a test.
func (s *Server) Next(faults ...Fault) {
	for _, f := range faults {
		if err := f.Valid(); err != nil {
			panic("idptest: " + err.Error())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, faults...)
}

// A plan is what the faults of one request have in store for it.
type plan struct {
	delayBefore time.Duration
	delayAfter  time.Duration
	instead     func(q *request) *reply      // answers before processing
	keep        bool                         // do not rotate this time
	mint        func(m *mint) string         // makes the new refresh token
	after       []func(q *request, a *reply) // to any answer of the token logic
	shapes      []func(q *request, a *reply) // to successes only
	names       []string
}

func (f Fault) addTo(p *plan) error {
	for part := range strings.SplitSeq(string(f), "+") {
		name, arg, _ := strings.Cut(part, "=")
		if name == "" || name == "none" {
			continue
		}
		if err := addFault(p, name, arg); err != nil {
			return fmt.Errorf("reading fault %q: %w", part, err)
		}
		p.names = append(p.names, part)
	}
	return nil
}

func addFault(p *plan, name, arg string) error {
	for _, row := range allFaults() {
		if row.Name != name {
			continue
		}
		if row.Arg == "" && arg != "" {
			return fmt.Errorf("it takes no argument")
		}
		return row.apply(p, arg)
	}
	return errNoFault
}

// planFor takes the faults for the next token request.
func (s *Server) planFor(q *request) *plan {
	p := &plan{}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.habits.Fault
	if len(s.queue) > 0 {
		f, s.queue = s.queue[0], s.queue[1:]
	}
	f.addTo(p) // valid since it was queued or set; the rest is kept
	p.delayBefore += s.habits.DelayBefore
	p.delayAfter += s.habits.DelayAfter
	q.entry.Fault = strings.Join(p.names, "+")
	return p
}

// instead makes a fault that answers in place of the token logic.
func instead(answer func(q *request) *reply) func(*plan, string) error {
	return func(p *plan, _ string) error { p.instead = answer; return nil }
}

// after makes a fault that spoils whatever the token logic answers.
func after(change func(q *request, a *reply)) func(*plan, string) error {
	return func(p *plan, _ string) error { p.after = append(p.after, change); return nil }
}

// shape makes a fault that changes a successful answer.
func shape(change func(q *request, a *reply)) func(*plan, string) error {
	return func(p *plan, _ string) error { p.shapes = append(p.shapes, change); return nil }
}

// cutting makes a fault that processes the request and spoils the delivery.
func cutting(c cut) func(*plan, string) error {
	return after(func(_ *request, a *reply) { a.cut = c })
}

func delay(field func(*plan) *time.Duration) func(*plan, string) error {
	return func(p *plan, arg string) error {
		d, err := parseDuration(arg)
		*field(p) += d
		return err
	}
}

func gone(c cut) func(*request) *reply {
	return func(*request) *reply { return &reply{cut: c} }
}

func transportFaults() []FaultRow {
	return []FaultRow{
		{"delay-before", Shape, "duration", "waits before processing", delay(func(p *plan) *time.Duration { return &p.delayBefore })},
		{"delay-after", Shape, "duration", "waits between processing and answer", delay(func(p *plan) *time.Duration { return &p.delayAfter })},
		{"drop-before", Before, "", "closes the connection without processing", instead(gone(cutAll))},
		{"reset-before", Before, "", "resets the connection without processing", instead(gone(cutReset))},
		{"hang-before", Before, "", "neither processes nor answers until the client leaves", instead(gone(cutHang))},
		{"error", Before, "name", "refuses with a row of ErrorTable", refuseWith},
		{"lost", After, "", "processes, then closes the connection before any byte of the answer", cutting(cutAll)},
		{"lost-reset", After, "", "processes, then resets the connection", cutting(cutReset)},
		{"hang-after", After, "", "processes, then never answers", cutting(cutHang)},
		{"lost-headers", After, "", "closes in the middle of the headers", cutting(cutHeaders)},
		{"cut-body", After, "", "closes in the middle of the body, short of its Content-Length", cutting(cutBody)},
		{"cut-chunk", After, "", "closes inside a chunk of a chunked body", cutting(cutChunk)},
		{"cut-gzip", After, "", "a gzip body that ends early, with a Content-Length that agrees", cutting(cutGzip)},
		{"short-length", After, "", "half of the body, with a Content-Length that agrees", cutting(cutLength)},
		{"interim", Shape, "", "some 103 answers before the final one", shape(func(_ *request, a *reply) { a.interim = 3 })},
		{"gzip", Shape, "", "an honest gzip body, asked for or not", shape(func(_ *request, a *reply) { a.gzip = true })},
		{"chunked", Shape, "", "a body without Content-Length", shape(func(_ *request, a *reply) { a.chunked = true })},
	}
}

func refuseWith(p *plan, arg string) error {
	row, ok := errorNamed(arg)
	if !ok {
		return fmt.Errorf("no such error")
	}
	p.instead = func(*request) *reply { return row.reply() }
	return nil
}

// statusFaults answers with a status and no OAuth content, before or after
// processing.
func statusFaults() []FaultRow {
	rows := []FaultRow{
		{"status", Before, "code", "answers the HTTP status with an HTML page, without processing", statusBefore},
		{"status-after", After, "code", "processes, then answers the HTTP status with an HTML page", statusAfter},
		{"500-json", Before, "", "500 with a JSON invalid_grant body, without processing", instead(func(*request) *reply {
			a := deadGrant().reply()
			a.status = 500
			return a
		})},
		{"500-json-after", After, "", "processes, then 500 with a JSON invalid_grant body", after(func(_ *request, a *reply) {
			*a = *deadGrant().reply()
			a.status, a.replaced = 500, true
		})},
		{"401-empty", Before, "", "401 without a body", instead(emptyStatus(401))},
		{"403-empty", Before, "", "403 without a body", instead(emptyStatus(403))},
		{"403-rate", Before, "", "403 with rate limit headers", instead(rateLimited(403, "60"))},
		{"400-empty", Before, "", "400 without a body", instead(emptyStatus(400))},
		{"dpop-nonce", Before, "", "400 use_dpop_nonce with a DPoP-Nonce header", instead(dpopNonce)},
	}
	for _, code := range []int{500, 502, 503, 504} {
		c := strconv.Itoa(code)
		rows = append(rows,
			FaultRow{c + "-before", Before, "", c + " without processing", instead(page(code))},
			FaultRow{c + "-after", After, "", "processes, then " + c, after(func(q *request, a *reply) { *a = *page(code)(q); a.replaced = true })})
	}
	for _, code := range []int{429, 503} {
		for _, wait := range retryAfters {
			rows = append(rows, FaultRow{fmt.Sprintf("%d-retry-%s", code, wait.name), Before, "",
				fmt.Sprintf("%d with Retry-After: %s", code, wait.doc), instead(func(q *request) *reply {
					return rateLimited(code, wait.value(q.s.now()))(q)
				})})
		}
	}
	return rows
}

var retryAfters = []struct {
	name, doc string
	value     func(now time.Time) string
}{
	{"seconds", "2", func(time.Time) string { return "2" }},
	{"date", "a date 2 s ahead", func(now time.Time) string { return now.Add(2 * time.Second).UTC().Format(http.TimeFormat) }},
	{"past", "a date in the past", func(now time.Time) string { return now.Add(-time.Hour).UTC().Format(http.TimeFormat) }},
	{"negative", "-5", func(time.Time) string { return "-5" }},
	{"huge", "1000000000", func(time.Time) string { return "1000000000" }},
	{"junk", "soon", func(time.Time) string { return "soon" }},
	{"none", "no such header", func(time.Time) string { return "" }},
}

func statusBefore(p *plan, arg string) error {
	code, err := statusCode(arg)
	p.instead = page(code)
	return err
}

func statusAfter(p *plan, arg string) error {
	code, err := statusCode(arg)
	p.after = append(p.after, func(q *request, a *reply) { *a = *page(code)(q); a.replaced = true })
	return err
}

func statusCode(arg string) (int, error) {
	code, err := strconv.Atoi(arg)
	if err == nil && (code < 200 || code > 599) {
		err = fmt.Errorf("status %d out of range", code)
	}
	return code, err
}

func emptyStatus(code int) func(*request) *reply {
	return func(*request) *reply { return &reply{status: code, body: []byte{}} }
}

// page is what a proxy or an overloaded front end answers.
func page(code int) func(*request) *reply {
	return func(*request) *reply {
		return html(code, fmt.Sprintf("<html><body><h1>%d %s</h1></body></html>\n", code, http.StatusText(code)))
	}
}

func rateLimited(code int, wait string) func(*request) *reply {
	return func(q *request) *reply {
		a := page(code)(q)
		if wait != "" {
			a.header.Set("Retry-After", wait)
		}
		a.header.Set("X-RateLimit-Remaining", "0")
		return a
	}
}

func dpopNonce(*request) *reply {
	a := refusal("use_dpop_nonce", "Authorization server requires nonce in DPoP proof")
	a.header = http.Header{"Dpop-Nonce": {"eyJ7S_zG.eyJH0-Z.HX4w-7v"}}
	return a
}

// redirectFaults send the client elsewhere without processing. All lead to the
// trap, which writes down who came and answers with tokens of no grant.
func redirectFaults() []FaultRow {
	var rows []FaultRow
	for _, code := range []int{301, 302, 303, 307, 308} {
		c := strconv.Itoa(code)
		rows = append(rows,
			FaultRow{"redirect-" + c + "-same", Before, "", c + " to another path of this host", instead(redirect(code, func(q *request) string { return q.base }))},
			FaultRow{"redirect-" + c + "-other", Before, "", c + " to another host", instead(redirect(code, func(q *request) string { return q.scheme() + "://" + otherHost(q.r.Host) }))})
	}
	return append(rows, FaultRow{"redirect-307-http", Before, "", "307 from https to plain http", instead(redirect(307, func(q *request) string { return "http://" + q.r.Host }))})
}

func redirect(code int, base func(q *request) string) func(*request) *reply {
	return func(q *request) *reply {
		return &reply{status: code, body: []byte{}, header: http.Header{"Location": {base(q) + trapPath}}}
	}
}

// otherHost names the same listener by a different host: localhost and
// 127.0.0.1 are two hosts to any client that compares names.
func otherHost(host string) string {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = host, ""
	}
	other := "localhost"
	if name == other {
		other = "127.0.0.1"
	}
	if port == "" {
		return other
	}
	return net.JoinHostPort(other, port)
}

// allFaults is the table, made once: the shapes are asked for on every request.
var allFaults = sync.OnceValue(FaultTable)
