package idptest

import (
	"bytes"
	"cmp"
	"crypto/rsa"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A Persona is the kind of server that is simulated.
type Persona string

const (
	// Generic follows the RFCs: expires_in 3600, discovery, /token.
	Generic Persona = "generic"
	// Salesforce has that server's routes, tokens, answers and refusals.
	Salesforce Persona = "salesforce"
)

// ParsePersona reads a persona's name.
func ParsePersona(name string) (Persona, error) {
	switch p := Persona(name); p {
	case Generic, Salesforce:
		return p, nil
	}
	return "", fmt.Errorf("reading persona %q: want %s or %s", name, Generic, Salesforce)
}

// Config is what a server is made from. The zero value is a generic server
// that accepts every client and approves every request.
type Config struct {
	Persona Persona // "": Generic
	Habits  Habits  // zero fields: the persona's own habits

	// Clients that may ask for tokens. None: every client_id is accepted, and
	// no secret is checked.
	Clients []Client
	// Users who can approve. None: one user is made up.
	Users []User

	// Clock tells the time; nil: time.Now. Advance adds to either.
	Clock func() time.Time
	// Seed varies the tokens; the same seed and requests give the same tokens.
	Seed string
	// Mark is placed inside every token and code, so that searches for leaks
	// can find them. Keep to letters and digits.
	Mark string
	// IdentityBase is the scheme and host of the id member of salesforce
	// answers. "": the simulator itself, which clients that follow the URL need.
	IdentityBase string
	// Key signs the JWTs (RS256). nil: one of 2048 bits is made when the first is
	// signed, which takes longer than all else here: who makes many servers
	// gives them one.
	Key *rsa.PrivateKey
	// Certificate is what ListenTLS shows: "" a good one, "expired" or
	// "wrong-name".
	Certificate string
	// Log gets one line per request, without secrets; nil: none.
	Log io.Writer
}

// A Client is an application that is registered with the server.
type Client struct {
	ID           string   `json:"id"`
	Secret       string   `json:"secret,omitempty"`        // "": a public client
	RedirectURIs []string `json:"redirect_uris,omitempty"` // none: any
	PublicKey    any      `json:"-"`                       // *rsa.PublicKey that checks its JWT assertions; nil: any signature passes
}

// A User is somebody who approves requests.
type User struct {
	Name  string `json:"name"`             // login name; login_hint and JWT sub find the user by it
	OrgID string `json:"org_id,omitempty"` // "": made up
	ID    string `json:"id,omitempty"`     // "": made up
}

// A Server is a simulated authorization server with a protected resource. It
// is an http.Handler; Listen and ListenTLS serve it on a socket of its own.
type Server struct {
	persona Persona
	config  Config
	mux     *http.ServeMux
	control http.Handler
	keys    signingKey
	closing chan struct{} // closed by Close
	serving listeners
	logging sync.Mutex // one line at a time

	mu       sync.Mutex // guards what follows
	offset   time.Duration
	habits   Habits
	queue    []Fault
	ledger   []*Entry
	active   int           // requests and watched connections
	idle     chan struct{} // closed when active falls to 0; nil: nobody waits
	hold     *holding
	mint     mint
	grants   map[string]*grant
	order    []*grant // by age
	refresh  map[string]*refreshToken
	access   map[string]*accessToken
	inFlight map[string]bool // refresh tokens that a request is working on
	codes    map[string]*authCode
	devices  map[string]*deviceCode
	jtis     map[string]bool
	logins   map[string][]time.Time // by user id, the last hour's
	base     string                 // of the first listener
}

// New makes a server. It runs nothing until it is served. Habits that
// HabitTable doesn't allow panic.
func New(c Config) *Server {
	c.Habits.mustBeValid()
	s := &Server{
		persona: cmp.Or(c.Persona, Generic), config: c, habits: c.Habits, closing: make(chan struct{}),
		grants: map[string]*grant{}, refresh: map[string]*refreshToken{}, access: map[string]*accessToken{},
		inFlight: map[string]bool{}, codes: map[string]*authCode{}, devices: map[string]*deviceCode{},
		jtis: map[string]bool{}, logins: map[string][]time.Time{},
	}
	if len(c.Users) == 0 {
		s.config.Users = []User{{Name: "user@example.com"}}
	}
	s.config.Users = append([]User(nil), s.config.Users...)
	for i := range s.config.Users {
		u := &s.config.Users[i]
		u.OrgID = cmp.Or(u.OrgID, recordID("00D", 1))
		u.ID = cmp.Or(u.ID, recordID("005", i+1))
	}
	s.keys.key = c.Key
	s.mint = mint{seed: c.Seed, mark: c.Mark, persona: s.persona}
	s.mux = s.routes()
	s.control = s.controlRoutes()
	return s
}

// Advance moves the server's clock, which decides about lifetimes, ahead (or
// back). Delays and timeouts pass in real time.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset += d
}

// Now is the server's time.
func (s *Server) Now() time.Time { return s.now() }

func (s *Server) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nowLocked()
}

func (s *Server) nowLocked() time.Time {
	if s.config.Clock != nil {
		return s.config.Clock().Add(s.offset)
	}
	return time.Now().Add(s.offset)
}

// A request is one HTTP request, read and entered into the ledger.
type request struct {
	s      *Server
	w      http.ResponseWriter
	r      *http.Request
	base   string // scheme and host it was sent to
	names  []string
	params url.Values
	body   []byte
	entry  *Entry
	token  bool // a token request: faults, holds and delays apply

	unheard *reply // refusal of a token request that is not in the dialect
}

func (q *request) get(name string) string { return q.params.Get(name) }

func (q *request) scheme() string {
	if q.r.TLS != nil {
		return "https"
	}
	return "http"
}

// maxBody bounds what the server reads of a request.
const maxBody = 4 << 20

// ServeHTTP answers the persona's routes and the control endpoint.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, controlPrefix) {
		s.control.ServeHTTP(w, r)
		return
	}
	s.begin()
	defer s.end()
	s.mux.ServeHTTP(w, r)
}

// handle turns an endpoint into an http.Handler: read, enter, decide, deliver.
func (s *Server) handle(endpoint func(q *request) *reply) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := &request{s: s, w: w, r: r}
		q.base = q.scheme() + "://" + r.Host
		err := q.read()
		s.enter(q)
		defer s.finish(q)
		if err != nil {
			s.note(q.entry, func(e *Entry) { e.Verdict = "unread" })
			panic(http.ErrAbortHandler)
		}
		s.deliver(q, endpoint(q))
	}
}

func (s *Server) finish(q *request) {
	var e Entry
	s.note(q.entry, func(entry *Entry) {
		entry.Done = true
		e = *entry
	})
	if s.config.Log != nil {
		s.logging.Lock()
		defer s.logging.Unlock()
		logLine(s.config.Log, &e)
	}
}

// read takes the parameters of query and body in the order they came. Unknown
// ones stay: real servers ignore them, the ledger shows them.
func (q *request) read() error {
	q.params = url.Values{}
	q.addForm(q.r.URL.RawQuery)
	ctype, args, _ := mime.ParseMediaType(q.r.Header.Get("Content-Type"))
	body, err := io.ReadAll(io.LimitReader(q.r.Body, maxBody))
	if err != nil {
		return err
	}
	q.body = body
	switch ctype {
	case "application/x-www-form-urlencoded":
		q.addForm(string(body))
	case "multipart/form-data":
		return q.addMultipart(body, args["boundary"])
	}
	return nil
}

func (q *request) add(name, value string) {
	q.names = append(q.names, name)
	q.params.Add(name, value)
}

func (q *request) addForm(raw string) {
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		n, err1 := url.QueryUnescape(name)
		v, err2 := url.QueryUnescape(value)
		if err1 == nil && err2 == nil {
			q.add(n, v)
		}
	}
}

func (q *request) addMultipart(body []byte, boundary string) error {
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := parts.NextPart()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return err
		}
		q.add(part.FormName(), string(value))
	}
}
