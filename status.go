package evergrant

import (
	"context"
	"slices"
	"time"
)

// State is the condition of a grant as far as it can be told without asking
// the provider.
type State string

const (
	StateFresh      State = "fresh"       // the access token is good and not due
	StateDue        State = "due"         // good, and should be renewed
	StateExpired    State = "expired"     // the access token has ended; a refresh will renew it
	StateUnknown    State = "unknown"     // good until somebody reports a rejection: nobody says how long
	StateInDoubt    State = "in-doubt"    // a reply was lost; see Status.DoubtSince
	StateBlocked    State = "blocked"     // a policy or an alarm stands in the way
	StateNeedsLogin State = "needs-login" // the grant has ended
)

// Status describes a grant. It holds no secret. Zero times are not known.
type Status struct {
	Grant      string
	State      State
	Provider   string // catalog name; "" if unknown
	Account    string // what the document says of whose grant it is: id, sub, username …; "" if nothing
	TokenURL   string
	ClientID   string
	Layout     string // how the document was recognised
	Generation uint64

	IssuedAt   time.Time // when the access token was received
	ExpiresAt  time.Time
	ExpiryFrom string    // answer, file, jwt, session, provider, learned
	RefreshAt  time.Time // when a keeper would refresh next

	HasRefreshToken  bool
	Rotates          string    // yes, no: by this grant's last answer; "" if not known
	RefreshTokenFrom time.Time // when the refresh token was received
	IdleEnd          time.Time // when it dies unused, by the catalog
	AbsoluteEnd      time.Time // when it dies in any case, by the catalog or the document

	DoubtSince time.Time // when the request was sent whose reply was lost
	Last       Outcome   // of the last try; "" if none is recorded
	LastAt     time.Time
	LastSays   string
	RetryAt    time.Time

	// How the client authenticates, as remembered: Config.AuthMethod, and
	// references to its secret, key and certificate; "" where there is none, with
	// Elsewhere before one that is not followed.
	AuthMethod, SecretRef, KeyRef, KeyPasswordRef, KeyAlg, CertRef string

	Vars      map[string]string // of the provider's endpoints and login, as remembered
	Params    [][2]string       // added to each token request, as remembered
	Login     LoginTerms        // how the person logged in, as remembered
	LoginAt   time.Time         // when somebody logged in, or the grant was first seen here; zero: not known
	Bound     bool              // whether the tokens are bound to a key (RFC 9449)
	Issuer    string            // of the authorization server, as remembered; "" if not known
	SourceRef string            // reference to what is traded in for each token; "" if nothing is
	GrantType string            // how it is renewed without a refresh token, such as client_credentials; "" with one

	Problem *Error // why a refresh would not be made now; nil if it would
}

// Status looks at the grant without the lock and without the network.
func (s *Source) Status(ctx context.Context) (Status, error) {
	g := &s.engine
	h, t, err := g.view(ctx)
	if err != nil {
		return Status{}, err
	}
	now := time.Now()
	e, l := t.expiry(&h), h.st.Learned
	st := Status{
		Grant: g.place.id(), Provider: t.id.Provider, Account: accountOf(&h), TokenURL: t.id.TokenURL, ClientID: t.id.ClientID,
		Layout: h.file.Layout(), Generation: h.st.Generation,
		IssuedAt: e.Issued, ExpiresAt: e.At, ExpiryFrom: e.From, RefreshAt: t.due(&h, e),
		HasRefreshToken: h.file.RefreshToken() != "", RefreshTokenFrom: l.RotatedAt,
		Last: h.st.Last.Outcome, LastAt: h.st.Last.At, LastSays: h.st.Last.Says, RetryAt: h.st.Last.RetryAt,
		AuthMethod: t.id.Auth, SecretRef: t.id.SecretRef, KeyRef: t.id.KeyRef, KeyPasswordRef: t.id.KeyPasswordRef, KeyAlg: t.id.KeyAlg, CertRef: t.id.CertRef,
		Issuer: t.id.Issuer, GrantType: t.id.Grant.Type, SourceRef: t.id.Grant.Source, Vars: t.id.Vars, Params: t.id.Params, Login: t.id.Login, LoginAt: l.LoginAt, Bound: proofKey(h.file) != "",
	}
	if l.Rotates != nil {
		st.Rotates = map[bool]string{true: "yes", false: "no"}[*l.Rotates]
	}
	st.forecast(&h, t)
	if d := decide(ask{kind: askRefresh}, &h, t, now); d.do == fail {
		st.Problem = d.err
	}
	if d := h.st.Doubt; d != nil {
		st.DoubtSince = d.Since.At
	} else if in := h.st.Intent; in != nil && in.Phase == sending && in.spends() && now.After(in.Deadline) {
		st.DoubtSince = in.Started.At
	}
	st.State = st.judge(&h, now)
	return st, nil
}

// forecast says when the refresh token itself will end.
func (st *Status) forecast(h *holding, t terms) {
	if !st.HasRefreshToken { // nothing of it can end
		return
	}
	l := h.st.Learned
	if p := t.provider(); p != nil {
		if idle := time.Duration(p.Refresh.Idle); idle > 0 && !l.RotatedAt.IsZero() {
			st.IdleEnd = l.RotatedAt.Add(idle)
		}
		if abs := time.Duration(p.Refresh.Absolute); abs > 0 && !l.LoginAt.IsZero() {
			st.AbsoluteEnd = l.LoginAt.Add(abs)
		}
	}
	times := h.file.Times()
	switch {
	case !times.RefreshExpiresAt.IsZero():
		st.AbsoluteEnd = times.RefreshExpiresAt
	case times.RefreshExpiresIn > 0 && !st.IssuedAt.IsZero():
		st.AbsoluteEnd = st.IssuedAt.Add(times.RefreshExpiresIn)
	}
}

// judge is the state in one word, the worst that holds.
func (st *Status) judge(h *holding, now time.Time) State {
	switch {
	case st.Problem != nil && st.Problem.Class == ErrNeedsLogin:
		return StateNeedsLogin
	case st.Problem != nil && st.Problem.Class == ErrBlocked, st.Last == Blocked || st.Last == Misconfigured:
		return StateBlocked
	case !st.DoubtSince.IsZero():
		return StateInDoubt
	case h.file.AccessToken() == "", !st.ExpiresAt.IsZero() && !now.Before(st.ExpiresAt):
		return StateExpired
	case st.ExpiresAt.IsZero():
		return StateUnknown
	case !st.RefreshAt.IsZero() && !now.Before(st.RefreshAt):
		return StateDue
	}
	return StateFresh
}

// accountOf is what the document says of whose grant it is.
func accountOf(h *holding) string {
	for _, name := range []string{"username", "email", "sub", "id", "account", "user_id"} {
		if v := h.file.Text(name); v != "" {
			return v
		}
	}
	return h.subject()
}

// Plan is what a refresh would do, for a dry run.
type Plan struct {
	URL      string
	Params   []string // names of the parameters in the body, in order
	Headers  []string // names of the headers that are set
	Provider string
	Replay   bool   // a reply was lost; this would be a last try
	Problem  *Error // why nothing would be sent; nil if it would be
	Storage  *Error // why the answer could not be stored; nil if it could
}

// Plan says what a refresh would send and whether its answer could be stored.
// It sends and writes nothing, and fetches no secret by a command.
func (s *Source) Plan(ctx context.Context) (Plan, error) {
	g := &s.engine
	h, t, err := g.view(ctx)
	if err != nil {
		return Plan{}, err
	}
	d := decide(ask{kind: askRefresh}, &h, t, time.Now())
	p := Plan{URL: t.id.TokenURL, Provider: t.id.Provider, Replay: d.replay}
	if d.do != send {
		p.Problem = d.err
	}
	if c, ok := g.place.(interface{ check() *Error }); ok {
		p.Storage = c.check()
	}
	if e := g.cfg.unfollowed(t.id); e != nil {
		p.Problem = e
		return p, nil
	}
	req, err := g.request(&h, t, g.cfg.standIns(t.id))
	if err != nil {
		p.Problem = asError(err)
		return p, nil
	}
	for _, f := range req.Form {
		p.Params = append(p.Params, f.Name)
	}
	for name := range req.Header {
		p.Headers = append(p.Headers, name)
	}
	slices.Sort(p.Headers)
	return p, nil
}

// check is the part of the preflight that writes nothing.
func (p *filePlace) check() *Error {
	at, err := p.where()
	if err != nil {
		return asError(err)
	}
	s := &fileSession{p: p, at: at}
	if err := s.refuseLocalLocks(); err != nil {
		return asError(err)
	}
	if _, err := s.inspect(); err != nil {
		return asError(err)
	}
	return nil
}
