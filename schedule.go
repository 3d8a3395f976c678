package evergrant

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strings"
	"time"

	"github.com/evergrant/evergrant/internal/tokenfile"
	"github.com/evergrant/evergrant/provider"
)

// Schedule constants, design §2 "When to refresh".
const (
	maxMargin    = 15 * time.Minute          // a token is renewed at most this long before it ends
	lateMargin   = 30 * time.Second          // the margin where a refresh kills the old access token
	maxLifetime  = 10 * 365 * 24 * time.Hour // longer claims are a provider's way to say "long"
	clockSlack   = 5 * time.Minute           // a token received later than now by more than this: the clock was set back
	youngest     = time.Minute               // a token rejected before this age is not renewed for it
	maxQuiet     = 5 * time.Minute           // a longer silence than this was made by a clock that has been set back
	maxPace      = 3 * time.Hour             // likewise for waits between tries
	probeBlocked = 15 * time.Minute          // how slowly a blocked grant is tried again
)

// retryDelays are the waits between tries in one call; the last one repeats.
// Each is stretched by up to a half at random, so that many callers spread.
var retryDelays = []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second}

// lastTryDelays space the tries that are left to a grant in doubt.
var lastTryDelays = []time.Duration{0, time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour}

// graceTries in a row open the window of a grace anew each time.
const graceTries = 5

// graceDelays space the replays inside a grace window: the first is made at
// once.
var graceDelays = []time.Duration{0, time.Second, 5 * time.Second, 15 * time.Second}

// backoff is the wait before try n (from 1).
func backoff(n int, delays []time.Duration) time.Duration {
	return delays[min(max(n-1, 0), len(delays)-1)]
}

// jittered stretches d by up to a half.
func jittered(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d + time.Duration(chance()*float64(d/2))
}

// chance is a number from 0 to below 1. It comes from crypto/rand like all that
// is random here, so that one source makes a run repeatable in a test.
func chance() float64 {
	var b [8]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return float64(binary.LittleEndian.Uint64(b[:])>>11) / (1 << 53)
}

// expiry is when an access token ends and how that is known. A zero At means
// it is not known: the token is served until somebody reports a rejection.
type expiry struct {
	At     time.Time
	From   string // answer, file, jwt, session, provider, learned; "" if unknown
	Issued time.Time
}

// ended reports whether the token is known to have ended. A lifetime that was
// learned from one rejection is a guess: it makes a token due, not ended.
func (e expiry) ended(now time.Time) bool {
	return !e.At.IsZero() && e.From != "learned" && !now.Before(e.At)
}

// lifetimeSources are what a lifetime can be drawn from when the answer itself
// has none.
type lifetimeSources struct {
	session  time.Duration // the user's word
	learned  time.Duration // the age at which a token was rejected before
	provider *provider.Provider
}

// answerExpiry draws the expiry of a token just received. lifetime is the
// answer's expires_in; 0 where it has none.
func answerExpiry(received time.Time, lifetime time.Duration, access string, src lifetimeSources) expiry {
	e := expiry{Issued: received}
	switch {
	case lifetime > 0:
		e.At, e.From = received.Add(min(lifetime, maxLifetime)), "answer"
		if src.session > 0 && src.session < lifetime {
			e.At, e.From = received.Add(src.session), "session"
		}
	default:
		e.At, e.From = fallbackExpiry(received, access, src)
	}
	return e
}

// fallbackExpiry follows the order of design §2: the token's own exp claim,
// the user's word, the catalog's default, what was learned.
func fallbackExpiry(issued time.Time, access string, src lifetimeSources) (time.Time, string) {
	if exp := jwtExpiry(access); !exp.IsZero() {
		return exp, "jwt"
	}
	if issued.IsZero() {
		return time.Time{}, ""
	}
	lifetime, from := time.Duration(0), ""
	if src.provider != nil {
		lifetime, from = src.provider.AccessLifetime(), "provider"
	}
	if lifetime == 0 {
		lifetime, from = src.learned, "learned"
	}
	if src.session > 0 {
		lifetime, from = src.session, "session"
	}
	if lifetime <= 0 {
		return time.Time{}, ""
	}
	return issued.Add(lifetime), from
}

// fileExpiry draws the expiry of a token that another program wrote. written
// is the file's modification time, the only time base of a relative lifetime
// without one of its own.
func fileExpiry(f *tokenfile.File, written time.Time, src lifetimeSources) expiry {
	t := f.Times()
	e := expiry{Issued: t.IssuedAt}
	switch {
	case !t.ExpiresAt.IsZero():
		e.At, e.From = t.ExpiresAt, "file"
	case t.ExpiresIn > 0 && !t.IssuedAt.IsZero():
		e.At, e.From = t.IssuedAt.Add(min(t.ExpiresIn, maxLifetime)), "file"
	case t.ExpiresIn > 0 && !written.IsZero():
		e.Issued = written
		e.At, e.From = written.Add(min(t.ExpiresIn, maxLifetime)), "file"
	default:
		e.At, e.From = fallbackExpiry(t.IssuedAt, f.AccessToken(), src)
	}
	return e
}

// jwtExpiry is the exp claim of an access token that happens to be a JWT, as a
// hint: nothing about it is verified (RFC 9068 §6 tells clients not to depend
// on the token's content, and nothing but the schedule does).
func jwtExpiry(access string) time.Time {
	parts := strings.Split(access, ".")
	if len(parts) != 3 || !strings.HasPrefix(parts[0], "eyJ") {
		return time.Time{}
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Exp float64 `json:"exp"`
	}
	if json.Unmarshal(b, &claims) != nil || claims.Exp < 1e9 || claims.Exp > 1e11 {
		return time.Time{}
	}
	return time.Unix(int64(claims.Exp), 0).UTC()
}

// refreshAt is when a token should be renewed: ahead of its expiry by the
// margin, and before the refresh token's idle limit. early, from 0 to 1, moves
// it within the last fifth of the margin: drawn at random once, when a token is
// stored, it spreads grants of one age. Zero means only on a report.
func refreshAt(e expiry, rotated time.Time, p *provider.Provider, early float64) time.Time {
	var at time.Time
	if !e.At.IsZero() {
		lifetime := e.At.Sub(e.Issued)
		if e.Issued.IsZero() || lifetime <= 0 {
			lifetime = time.Hour
		}
		at = e.At.Add(-margin(lifetime, p) + time.Duration(early*float64(margin(lifetime, p)/5)))
	}
	if p != nil && p.Refresh.Idle > 0 && !rotated.IsZero() {
		keep := rotated.Add(time.Duration(p.Refresh.Idle) / 2)
		if at.IsZero() || keep.Before(at) {
			at = keep
		}
	}
	return at
}

// margin is how long before its end a token of this lifetime is renewed.
func margin(lifetime time.Duration, p *provider.Provider) time.Duration {
	m := min(maxMargin, lifetime/4)
	if p.KillsAccessToken() {
		m = min(m, lateMargin)
	}
	if p != nil && p.Access.RefreshWithin > 0 {
		m = min(m, time.Duration(p.Access.RefreshWithin))
	}
	return m
}

// ageAtRejection is what a rejection teaches about the lifetime: nothing when
// the token was rejected at once, which has other causes than age.
func ageAtRejection(issued, now time.Time) time.Duration {
	if age := now.Sub(issued); !issued.IsZero() && age > time.Minute {
		return age
	}
	return 0
}
