package idptest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// controlPrefix is where tests in other processes steer the server.
const controlPrefix = "/_sim/"

// controlRoutes answers the control endpoint. It serves only requests that
// name a loopback host, and no cross-origin ones: a page in a browser must not
// reach it by DNS rebinding or a forged form.
func (s *Server) controlRoutes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /_sim/{$}", s.help)
	m.HandleFunc("GET /_sim/ledger", control(s.getLedger))
	m.HandleFunc("GET /_sim/habits", control(func(*http.Request, struct{}) (any, error) { return s.Habits(), nil }))
	m.HandleFunc("PATCH /_sim/habits", control(s.patchHabits))
	m.HandleFunc("GET /_sim/faults", control(func(*http.Request, struct{}) (any, error) { return FaultNames(), nil }))
	m.HandleFunc("GET /_sim/errors", control(func(*http.Request, struct{}) (any, error) { return ErrorTable(), nil }))
	m.HandleFunc("GET /_sim/grants", control(func(*http.Request, struct{}) (any, error) { return s.Grants(), nil }))
	m.HandleFunc("POST /_sim/grants", control(s.postGrant))
	m.HandleFunc("GET /_sim/grants/{id}", control(s.getGrant))
	m.HandleFunc("POST /_sim/grants/{id}/revoke", control(func(r *http.Request, _ struct{}) (any, error) {
		return nil, s.Revoke(r.PathValue("id"), "revoked by an administrator")
	}))
	m.HandleFunc("POST /_sim/grants/{id}/expire", control(func(r *http.Request, _ struct{}) (any, error) {
		return nil, s.Expire(r.PathValue("id"))
	}))
	m.HandleFunc("POST /_sim/find", control(s.postFind))
	m.HandleFunc("POST /_sim/next", control(s.postNext))
	m.HandleFunc("POST /_sim/hold", control(func(_ *http.Request, in struct{ N int }) (any, error) { s.Hold(in.N); return nil, nil }))
	m.HandleFunc("POST /_sim/release", control(func(*http.Request, struct{}) (any, error) { s.Release(); return nil, nil }))
	m.HandleFunc("GET /_sim/waiting", control(func(*http.Request, struct{}) (any, error) { return map[string]int{"waiting": s.Waiting()}, nil }))
	m.HandleFunc("POST /_sim/clock", control(s.postClock))
	m.HandleFunc("POST /_sim/idle", control(func(*http.Request, struct{}) (any, error) {
		return map[string]bool{"idle": s.WaitIdle(5 * time.Second)}, nil
	}))
	guarded := http.NewCrossOriginProtection().Handler(m)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.ownHost(r.Host) {
			http.Error(w, "the control endpoint answers on loopback hosts only", http.StatusForbidden)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// ownHost tells a loopback name, or an address this server listens on.
func (s *Server) ownHost(host string) bool {
	l := &s.serving
	l.mu.Lock()
	own := slices.Contains(l.hosts, host)
	l.mu.Unlock()
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	ip := net.ParseIP(strings.Trim(name, "[]"))
	return own || name == "localhost" || ip != nil && ip.IsLoopback()
}

// control makes a handler of a function: decode, call, map the error, encode.
func control[In any](f func(r *http.Request, in In) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		err := decode(r, &in)
		var out any
		if err == nil {
			out, err = f(r, in)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			out = map[string]string{"error": err.Error()}
		}
		if out == nil {
			out = map[string]bool{"ok": true}
		}
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.Encode(out) // the client may have left
	}
}

func decode(r *http.Request, in any) error {
	if r.Method == http.MethodGet {
		return nil
	}
	d := json.NewDecoder(io.LimitReader(r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(in); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading request: %w", err)
	}
	return nil
}

// getLedger answers the whole ledger, or with ?grant=ID one grant's token
// requests.
func (s *Server) getLedger(r *http.Request, _ struct{}) (any, error) {
	entries := s.Ledger()
	if id := r.URL.Query().Get("grant"); id != "" {
		entries = s.TokenRequests(id)
	}
	return append([]Entry{}, entries...), nil // [] rather than null
}

func (s *Server) patchHabits(_ *http.Request, in json.RawMessage) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.habits.UnmarshalJSON(in)
	return s.habits, err
}

func (s *Server) postGrant(_ *http.Request, in GrantSpec) (any, error) {
	g := s.NewGrant(in)
	return struct {
		ID       string          `json:"id"`
		ClientID string          `json:"client_id"`
		Token    json.RawMessage `json:"token"`
	}{g.ID, s.GrantState(g.ID).ClientID, g.TokenJSON()}, nil
}

func (s *Server) getGrant(r *http.Request, _ struct{}) (any, error) {
	st := s.GrantState(r.PathValue("id"))
	if st.ID == "" {
		return nil, fmt.Errorf("reading grant %q: no such grant", r.PathValue("id"))
	}
	return st, nil
}

func (s *Server) postFind(_ *http.Request, in struct {
	RefreshToken string `json:"refresh_token"`
	AccessToken  string `json:"access_token"`
}) (any, error) {
	out := struct {
		Grant        string `json:"grant"`
		Generation   int    `json:"generation,omitempty"`
		AccessNumber int    `json:"access_number,omitempty"`
		Living       bool   `json:"living"`
	}{}
	if in.RefreshToken != "" {
		out.Grant, out.Generation, out.Living = s.Find(in.RefreshToken)
	} else {
		out.Grant, out.AccessNumber, out.Living = s.FindAccess(in.AccessToken)
	}
	return out, nil
}

func (s *Server) postNext(_ *http.Request, in []Fault) (any, error) {
	for _, f := range in {
		if err := f.Valid(); err != nil {
			return nil, err
		}
	}
	s.Next(in...)
	return nil, nil
}

func (s *Server) postClock(_ *http.Request, in struct {
	Advance string `json:"advance"`
}) (any, error) {
	d, err := parseDuration(in.Advance)
	if err != nil {
		return nil, err
	}
	s.Advance(d)
	return map[string]time.Time{"now": s.now().UTC()}, nil
}

func (s *Server) help(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	WriteHelp(w)
}

const controlHelp = `The control endpoint (JSON in and out):

GET   /_sim/                    this page
GET   /_sim/ledger              every request so far, without tokens; ?grant=ID one grant's token requests
GET   /_sim/habits              the habits now
PATCH /_sim/habits              {"rotation": true, "grace": "30s"}
POST  /_sim/grants              {"client_id": "…", "scope": "…"} makes a grant; answers {"id", "client_id", "token"}; the client is "client" unless named
GET   /_sim/grants              ids of all grants
GET   /_sim/grants/{id}         its state, with raw tokens
POST  /_sim/grants/{id}/revoke  ends it, as an administrator would
POST  /_sim/grants/{id}/expire  ends its access tokens
POST  /_sim/find                {"refresh_token": "…"} or {"access_token": "…"}: whose, which generation, living?
POST  /_sim/next                ["lost", "429-retry-seconds"]: faults for the next token requests, one each
POST  /_sim/hold                {"n": 64}: keep token answers back until 64 wait; 0: until released
POST  /_sim/release             let them go
GET   /_sim/waiting             how many are held
POST  /_sim/clock               {"advance": "2h"}
POST  /_sim/idle                waits until nothing is under way
GET   /_sim/faults, /_sim/errors

`

// WriteHelp writes the control endpoint's routes and the tables of habits,
// faults and errors as text.
func WriteHelp(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprint(t, controlHelp, "Habits\n")
	for _, h := range habitTable {
		fmt.Fprintf(t, "  %s\t%s\n", h.Name, h.Doc)
	}
	fmt.Fprint(t, "\nFaults (join with +)\n")
	for _, f := range allFaults() {
		name := f.Name
		if f.Arg != "" {
			name += "=" + strings.ToUpper(f.Arg)
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\n", name, f.Group, f.Doc)
	}
	fmt.Fprint(t, "\nErrors (error=NAME)\n")
	for _, e := range errorTable {
		fmt.Fprintf(t, "  %s\t%d\t%s\t%s\n", e.Name, e.Status, e.Code, e.Description)
	}
	return t.Flush()
}
