package tokenfile

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Times is what the file says about time; a field is zero when no member says
// it readably. Points in time are in UTC.
type Times struct {
	// IssuedAt is when the access token was issued or stored: the latest of
	// issued_at, obtained_at, tokenCreateTimeUtc …
	IssuedAt time.Time
	// ExpiresAt is when the access token expires: the earliest of expiry,
	// expires_at, expires_on … It is to be believed over IssuedAt+ExpiresIn.
	ExpiresAt time.Time
	// ExpiresIn is the lifetime of the access token; without IssuedAt nobody
	// knows since when.
	ExpiresIn time.Duration
	// RefreshExpiresIn is the lifetime of the refresh token, from IssuedAt.
	RefreshExpiresIn time.Duration
	// RefreshExpiresAt is when the refresh token expires.
	RefreshExpiresAt time.Time
}

// Times reads the members for times: numbers or strings of seconds,
// milliseconds, micro- or nanoseconds since 1970, told apart by magnitude, and
// RFC 3339. A time without zone is not readable: tools disagree whether it is
// local. x/oauth2's zero time (year 1) and 0 are zero.
func (f *File) Times() Times {
	var t Times
	for _, c := range resolveIssued(slices.Clone(f.clocks), false) {
		t.add(c)
	}
	return t
}

func (t *Times) add(c clock) {
	switch c.role {
	case issued:
		if c.time.After(t.IssuedAt) {
			t.IssuedAt = c.time
		}
	case expires:
		t.ExpiresAt = earlier(t.ExpiresAt, c.time)
	case refreshExpires:
		t.RefreshExpiresAt = earlier(t.RefreshExpiresAt, c.time)
	case lifetime:
		t.ExpiresIn = shorter(t.ExpiresIn, c.span)
	case refreshLifetime:
		t.RefreshExpiresIn = shorter(t.RefreshExpiresIn, c.span)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// A role is what a member for a time says.
type role int

const (
	noRole role = iota
	issued
	expires
	lifetime
	refreshExpires
	refreshLifetime
	issuedIfLifetime  // a generic name: issued, beside a lifetime
	expiresOrLifetime // either, told apart by magnitude
)

// roleOf knows the names in use. created and its like may as well be the date
// of the user's own record: they count only beside a lifetime, for which they
// are the base (Doorkeeper, Google's PHP client).
func roleOf(name string) role {
	switch name {
	case "issued_at", "issuedAt", "obtained_at", "obtainedAt", "acquired_at", "retrieved_at",
		"token_created_at", "tokenCreateTimeUtc", "last_refresh", "refreshed_at":
		return issued
	case "created_at", "createdAt", "created":
		return issuedIfLifetime
	case "expiry", "expires_at", "expiresAt", "expires_on", "expiresOn", "expiration",
		"expiry_date", "expiryDate", "expire_at", "expireAt", "expiration_time", "expirationTime",
		"expires_time", "token_expiry", "tokenExpiry", "access_token_expires_at", "accessTokenExpiresAt":
		return expires
	case "expires":
		return expiresOrLifetime
	case "expires_in", "expiresIn":
		return lifetime
	case "refresh_token_expires_in", "refreshTokenExpiresIn", "refresh_expires_in", "x_refresh_token_expires_in":
		return refreshLifetime
	case "refresh_token_expires_at", "refreshTokenExpiresAt", "refresh_expires_at":
		return refreshExpires
	}
	return noRole
}

// countsMillis knows the names that hold milliseconds where they are in use; it
// matters only for a value of 0, which does not tell.
func countsMillis(name string) bool {
	switch name {
	case "expiresAt", "expiry_date", "expiryDate", "obtainedAt", "issuedAt", "expireAt",
		"accessTokenExpiresAt", "refreshTokenExpiresAt":
		return true
	}
	return false
}

// A clock is a member for a time: where it is, what it says and how.
type clock struct {
	name string
	site site
	reading
}

// findClocks lists the members for times: those of the holder and those the
// caller mapped under one of the names.
func (f *File) findClocks() []clock {
	var clocks []clock
	taken := map[int]bool{}
	for name, m := range f.mapped {
		if !m.site.exists() {
			continue
		}
		taken[m.site.member().start] = true
		if roleOf(name) != noRole {
			clocks = append(clocks, f.readClock(name, m.site))
		}
	}
	for i, m := range f.holder.members {
		name := string(m.name)
		if roleOf(name) != noRole && !taken[m.start] && !f.isMapped(name) {
			clocks = append(clocks, f.readClock(name, site{f.holder, i}))
		}
	}
	return clocks
}

// resolveIssued decides about generic names: beside a lifetime they count.
func resolveIssued(clocks []clock, hasLifetime bool) []clock {
	for _, c := range clocks {
		hasLifetime = hasLifetime || c.role == lifetime
	}
	for i := range clocks {
		if clocks[i].role == issuedIfLifetime && hasLifetime {
			clocks[i].role = issued
		}
	}
	return clocks
}

func (f *File) readClock(name string, s site) clock {
	return clock{name, s, read(name, f.doc.value(s))}
}

// A reading is what the value of a member for a time says, and its notation,
// so that another time can be written the same way.
type reading struct {
	role   role
	time   time.Time     // for points in time; zero if unreadable
	span   time.Duration // for lifetimes; zero if unreadable
	known  bool          // whether the notation is one write can produce
	quoted bool
	digits int // of the fraction
	unit   int // of a count: 0 s, 1 ms, 2 µs, 3 ns
	zone   *time.Location
	layout string // of a date: separator and zone notation; "" for a count
}

// notation is what must not differ between a time written and read again.
func (r reading) notation() reading {
	r.time, r.span, r.zone = time.Time{}, 0, nil
	return r
}

// read understands the value of the member of that name.
func read(name string, v Value) reading {
	r := reading{role: roleOf(name), quoted: v.Kind() == '"'}
	text, ok := v.Text()
	if !ok {
		return r
	}
	if whole, fraction, ok := decimal(text); ok {
		return r.count(name, whole, fraction)
	}
	return r.date(text)
}

// lifetimesBelow is the number from which "expires" is a point in time: 5e8
// seconds are 16 years of lifetime, or a date in 1985.
const lifetimesBelow = 5e8

func (r reading) count(name string, whole int64, fraction string) reading {
	if r.role == expiresOrLifetime {
		r.role = expires
		if whole < lifetimesBelow {
			r.role = lifetime
		}
	}
	if whole < 0 {
		return r
	}
	r.known, r.digits = true, min(len(fraction), 9)
	if r.role == lifetime || r.role == refreshLifetime {
		r.span = seconds(whole)
		return r
	}
	r.unit = unitOf(whole)
	if whole == 0 {
		if countsMillis(name) {
			r.unit = 1
		}
		return r
	}
	r.digits = min(r.digits, 9-3*r.unit)
	r.time = since1970(whole, fraction, r.unit)
	return r
}

// seconds caps at what a Duration holds: some servers say "never" with a
// lifetime of many centuries.
func seconds(n int64) time.Duration {
	const most = int64(math.MaxInt64 / time.Second)
	return time.Duration(min(n, most)) * time.Second
}

// unitOf tells units apart by magnitude: each of the limits is the year 5138
// in the smaller unit and 1973 in the greater one.
func unitOf(whole int64) int {
	switch {
	case whole < 1e11:
		return 0
	case whole < 1e14:
		return 1
	case whole < 1e17:
		return 2
	}
	return 3
}

func since1970(whole int64, fraction string, unit int) time.Time {
	switch unit {
	case 0:
		nanos, _ := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
		return time.Unix(whole, nanos).UTC()
	case 1:
		return time.UnixMilli(whole).UTC()
	case 2:
		return time.UnixMicro(whole).UTC()
	}
	return time.Unix(0, whole).UTC()
}

// decimal splits a number at its point; of one with an exponent it keeps the
// whole part only. It is false for what an int64 can't hold.
func decimal(s string) (whole int64, fraction string, ok bool) {
	if len(s) > 64 || s == "" || strings.Trim(s, "0123456789.eE+-") != "" {
		return 0, "", false
	}
	if strings.ContainsAny(s, "eE+") {
		x, err := strconv.ParseFloat(s, 64)
		return int64(x), "", err == nil && math.Abs(x) < math.MaxInt64
	}
	head, fraction, _ := strings.Cut(s, ".")
	whole, err := strconv.ParseInt(head, 10, 64)
	ok = err == nil && strings.Trim(fraction, "0123456789") == ""
	return whole, fraction, ok
}

// date reads RFC 3339, also with a space or a lower-case t and z, which
// RFC 3339 §5.6 allows.
func (r reading) date(s string) reading {
	if r.role == expiresOrLifetime {
		r.role = expires
	}
	if len(s) < len("2006-01-02T15:04:05Z") || len(s) > 40 || !strings.ContainsRune("Tt ", rune(s[10])) {
		return r
	}
	last := len(s) - 1
	t, err := time.Parse(time.RFC3339Nano, s[:10]+"T"+strings.Replace(s[11:], "z", "Z", 1))
	if err != nil {
		return r
	}
	zone := "-07:00"
	if s[last] == 'Z' || s[last] == 'z' {
		zone = string(s[last])
	}
	fraction, _, _ := strings.Cut(strings.TrimRight(s[19:], "Zz"), "+")
	fraction, _, _ = strings.Cut(fraction, "-")
	_, offset := t.Zone()
	r.known, r.digits = true, min(max(len(fraction)-1, 0), 9)
	r.zone = time.FixedZone("", offset)
	r.layout = s[10:11] + zone
	r.time = t.UTC()
	return r
}

// write returns the JSON for another point in time in the same notation, cut
// to its precision, so that an expiry is never written too late. It is false
// where the notation can't say it: read back, it would be something else.
func (c clock) write(t time.Time) ([]byte, bool) {
	if !c.known {
		return nil, false
	}
	text := c.formatCount(t)
	if c.layout != "" {
		text = c.formatDate(t)
	}
	return c.checked(text)
}

// writeSpan is write for a lifetime, in whole seconds.
func (c clock) writeSpan(d time.Duration) ([]byte, bool) {
	if !c.known {
		return nil, false
	}
	text := strconv.FormatInt(int64(d/time.Second), 10)
	if c.digits > 0 {
		text += "." + strings.Repeat("0", c.digits)
	}
	return c.checked(text)
}

// checked quotes the text if the old value was and reads it once more.
func (c clock) checked(text string) ([]byte, bool) {
	if c.quoted {
		text = `"` + text + `"`
	}
	again := read(c.name, Value{[]byte(text)})
	if again.role == issuedIfLifetime {
		again.role = c.role
	}
	return []byte(text), again.notation() == c.notation()
}

func (c clock) formatDate(t time.Time) string {
	layout := "2006-01-02" + c.layout[:1] + "15:04:05"
	if c.digits > 0 {
		layout += "." + strings.Repeat("0", c.digits)
	}
	text := t.In(c.zone).Format(layout)
	if c.layout[1:] == "-07:00" {
		return text + t.In(c.zone).Format("-07:00")
	}
	return text + c.layout[1:]
}

func (c clock) formatCount(t time.Time) string {
	whole, billionths := t.Unix(), int64(t.Nanosecond())
	for range c.unit {
		whole = whole*1000 + billionths/1e6
		billionths = billionths % 1e6 * 1000
	}
	text := strconv.FormatInt(whole, 10)
	if c.digits == 0 {
		return text
	}
	return text + "." + fmt.Sprintf("%09d", billionths)[:c.digits]
}

// inKindOf returns a brought value as number or string, whichever the file has
// there, if it can be either: some servers send numbers as strings or are
// answered as forms, and readers of the file may be strict.
func inKindOf(old jsontext.Kind, value []byte) []byte {
	text, ok := Value{value}.Text()
	if !ok {
		return value
	}
	if _, _, isNumber := decimal(text); !isNumber {
		return value
	}
	switch {
	case old == '"' && value[0] != '"':
		return []byte(`"` + text + `"`)
	case old == '0' && value[0] == '"' && jsontext.Value(text).IsValid() && jsontext.Value(text).Kind() == '0':
		return []byte(text)
	}
	return value
}
