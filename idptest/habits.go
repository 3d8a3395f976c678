package idptest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Habits are the lasting ways of the server. The zero value of each field is
// the persona's own habit, so a Habits literal names only what differs. Every
// field is a row of HabitTable, by which flags, the control endpoint and tests
// read and set it.
type Habits struct {
	Rotation   bool
	Reuse      string
	Grace      time.Duration
	GraceReply string
	InFlight   string
	BusyNext   int
	BusyFor    time.Duration

	DelayBefore time.Duration
	DelayAfter  time.Duration
	Fault       Fault

	AccessTTL       time.Duration
	Sliding         string
	ExpiresIn       string
	Omit            string
	JWTAccess       bool
	OldAccessDies   bool
	EarlyRefused    bool
	WrongHost       bool
	RequireSecret   bool
	RefreshSecret   bool
	RequirePKCE     bool
	RefreshIdle     time.Duration
	RefreshAbsolute time.Duration
	RefreshAtOnce   bool
	MaxApprovals    int
	LoginsPerHour   int

	Dialect        string
	CallbackIss    string
	CallbackState  string
	CallbackError  string
	DeviceTTL      time.Duration
	DevicePolls    int
	DeviceInterval time.Duration
	RevokeStatus   int
	ResourceStatus int
}

// A Habit is one row of HabitTable.
type Habit struct {
	Name   string   // as in JSON and flags
	Values []string // allowed values of a text habit; nil for other kinds
	Doc    string   // one sentence
	field  func(*Habits) any
}

// HabitTable lists every habit once: the name used in JSON and in flags, what
// it does, and which values it takes. Durations are written as Go writes them
// ("90s", "2h"); a bare number is in seconds.
func HabitTable() []Habit { return slices.Clone(habitTable) }

var habitTable = []Habit{
	{"rotation", nil, "each refresh gives a new refresh token and spends the old one", func(h *Habits) any { return &h.Rotation }},
	{"reuse", []string{"revokes", "fails"}, "what a spent refresh token does: revokes the whole grant (default), or only fails", func(h *Habits) any { return &h.Reuse }},
	{"grace", nil, "how long a spent refresh token is still honoured, while its successor is unused (0: not at all)", func(h *Habits) any { return &h.Grace }},
	{"grace_reply", []string{"sibling", "same"}, "a replay inside the grace window gets new tokens (default), or the same pair again", func(h *Habits) any { return &h.GraceReply }},
	{"in_flight", []string{"busy", "off"}, "a second request while one with the same refresh token runs is refused as busy (salesforce default), or not (generic default)", func(h *Habits) any { return &h.InFlight }},
	{"busy_next", nil, "the next n refresh requests are refused as busy; counts down", func(h *Habits) any { return &h.BusyNext }},
	{"busy_for", nil, "a grant stays busy for this long after each refresh", func(h *Habits) any { return &h.BusyFor }},
	{"delay_before", nil, "token requests wait this long before they are processed; a client that leaves meanwhile doesn't stop them", func(h *Habits) any { return &h.DelayBefore }},
	{"delay_after", nil, "answers of token requests wait this long after processing", func(h *Habits) any { return &h.DelayAfter }},
	{"fault", nil, "a fault (see FaultTable) that every token request meets", func(h *Habits) any { return &h.Fault }},
	{"access_ttl", nil, "lifetime of access tokens (default 1h generic, 2h salesforce)", func(h *Habits) any { return &h.AccessTTL }},
	{"sliding", []string{"on", "off"}, "use in the second half of the lifetime starts it anew (salesforce default on)", func(h *Habits) any { return &h.Sliding }},
	{"expires_in", []string{"present", "absent"}, "token answers say expires_in (generic default), or not (salesforce default)", func(h *Habits) any { return &h.ExpiresIn }},
	{"omit", nil, "members left out of token answers, separated by commas (scope,token_type)", func(h *Habits) any { return &h.Omit }},
	{"jwt_access", nil, "access tokens are JWTs with exp", func(h *Habits) any { return &h.JWTAccess }},
	{"old_access_dies", nil, "a refresh kills the grant's earlier access tokens", func(h *Habits) any { return &h.OldAccessDies }},
	{"early_refused", nil, "a refresh in the first half of the access token's life is refused (invalid_request)", func(h *Habits) any { return &h.EarlyRefused }},
	{"wrong_host", nil, "a refresh token is honoured only on the host that issued it; elsewhere invalid_grant, worded like a dead grant", func(h *Habits) any { return &h.WrongHost }},
	{"require_secret", nil, "the code exchange requires the client's secret", func(h *Habits) any { return &h.RequireSecret }},
	{"refresh_secret", nil, "the refresh requires the client's secret", func(h *Habits) any { return &h.RefreshSecret }},
	{"require_pkce", nil, "an authorization request without code_challenge is refused", func(h *Habits) any { return &h.RequirePKCE }},
	{"refresh_idle", nil, "a refresh token dies when unused for this long (0: never)", func(h *Habits) any { return &h.RefreshIdle }},
	{"refresh_absolute", nil, "a grant dies this long after its approval (0: never)", func(h *Habits) any { return &h.RefreshAbsolute }},
	{"refresh_at_once", nil, "refresh tokens expire immediately", func(h *Habits) any { return &h.RefreshAtOnce }},
	{"max_approvals", nil, "approvals per user and client before the oldest is revoked (salesforce default 5; -1: no limit)", func(h *Habits) any { return &h.MaxApprovals }},
	{"logins_per_hour", nil, "token answers per user and hour before rate_limit_exceeded (0: no limit)", func(h *Habits) any { return &h.LoginsPerHour }},
	{"dialect", dialectNames(), "requests, redirect and answers have the names of this provider instead of the RFCs' (default rfc)", func(h *Habits) any { return &h.Dialect }},
	{"callback_iss", []string{"right", "wrong", "absent"}, "the iss parameter (RFC 9207) of the redirect back (generic default right, salesforce default absent)", func(h *Habits) any { return &h.CallbackIss }},
	{"callback_state", []string{"right", "wrong", "absent"}, "the state parameter of the redirect back", func(h *Habits) any { return &h.CallbackState }},
	{"callback_error", nil, "an error code that every authorization request is answered with", func(h *Habits) any { return &h.CallbackError }},
	{"device_ttl", nil, "lifetime of device codes (default 10m)", func(h *Habits) any { return &h.DeviceTTL }},
	{"device_polls", nil, "device polls answered authorization_pending before approval", func(h *Habits) any { return &h.DevicePolls }},
	{"device_interval", nil, "polling interval asked for (default 5s); polling faster gets slow_down", func(h *Habits) any { return &h.DeviceInterval }},
	{"revoke_status", nil, "HTTP status that revocation answers instead of doing it (503 comes with Retry-After)", func(h *Habits) any { return &h.RevokeStatus }},
	{"resource_status", nil, "HTTP status that protected resources answer, whatever the token", func(h *Habits) any { return &h.ResourceStatus }},
}

// SetHabits changes the habits while the server runs. Values that HabitTable
// doesn't allow panic, since they are a mistake in a test.
func (s *Server) SetHabits(change func(*Habits)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.habits
	change(&next)
	next.mustBeValid()
	s.habits = next
}

func (h Habits) mustBeValid() {
	if err := h.Valid(); err != nil {
		panic("idptest: " + err.Error())
	}
}

// Valid tells whether every habit has a value that HabitTable allows.
func (h Habits) Valid() error {
	for _, row := range habitTable {
		if err := row.set(&h, row.Text(&h)); err != nil {
			return err
		}
	}
	return nil
}

// Habits returns the habits as they are now.
func (s *Server) Habits() Habits {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.habits
}

// Set changes one habit by name from its text form, as a flag gives it.
func (h *Habits) Set(name, value string) error {
	for _, row := range habitTable {
		if row.Name == name {
			return row.set(h, value)
		}
	}
	return fmt.Errorf("setting habit %q: no such habit", name)
}

// Text returns the habit's value in the form that Habits.Set takes.
func (row Habit) Text(h *Habits) string {
	switch p := row.field(h).(type) {
	case *bool:
		return strconv.FormatBool(*p)
	case *int:
		return strconv.Itoa(*p)
	case *time.Duration:
		return p.String()
	case *Fault:
		return string(*p)
	case *string:
		return *p
	}
	return ""
}

func (row Habit) set(h *Habits, v string) (err error) {
	switch p := row.field(h).(type) {
	case *bool:
		*p, err = strconv.ParseBool(v)
	case *int:
		*p, err = strconv.Atoi(v)
	case *time.Duration:
		*p, err = parseDuration(v)
	case *Fault:
		*p, err = Fault(v), Fault(v).Valid()
	case *string:
		if len(row.Values) > 0 && v != "" && !slices.Contains(row.Values, v) {
			err = fmt.Errorf("want one of %s", strings.Join(row.Values, ", "))
			break
		}
		*p = v
	}
	if err != nil {
		return fmt.Errorf("setting habit %s: %w", row.Name, err)
	}
	return nil
}

// parseDuration reads Go's notation or a plain number of seconds.
func parseDuration(v string) (time.Duration, error) {
	if n, err := strconv.ParseFloat(v, 64); err == nil {
		return time.Duration(n * float64(time.Second)), nil
	}
	return time.ParseDuration(v)
}

// MarshalJSON writes every habit under its table name.
func (h Habits) MarshalJSON() ([]byte, error) {
	var o object
	for _, row := range habitTable {
		switch p := row.field(&h).(type) {
		case *bool, *int:
			o.set(row.Name, p)
		default:
			o.set(row.Name, row.Text(&h))
		}
	}
	return o.bytes(), nil
}

// UnmarshalJSON changes the habits that are named and leaves the others; an
// unknown name or value is an error and changes nothing.
func (h *Habits) UnmarshalJSON(data []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	next := *h
	for name, v := range raw {
		text := string(v)
		if strings.HasPrefix(text, `"`) {
			if err := json.Unmarshal(v, &text); err != nil {
				return err
			}
		}
		if err := next.Set(name, text); err != nil {
			return err
		}
	}
	*h = next
	return nil
}

var errNoFault = errors.New("no such fault")

func (s *Server) accessTTLLocked() time.Duration {
	if s.habits.AccessTTL != 0 {
		return s.habits.AccessTTL
	}
	if s.persona == Salesforce {
		return 2 * time.Hour
	}
	return time.Hour
}

func (s *Server) maxApprovalsLocked() int {
	if n := s.habits.MaxApprovals; n != 0 {
		return n
	}
	if s.persona == Salesforce {
		return 5
	}
	return -1
}

// pick returns a text habit, or its persona's default.
func (s *Server) pick(v, generic, salesforce string) string {
	switch {
	case v != "":
		return v
	case s.persona == Salesforce:
		return salesforce
	}
	return generic
}
