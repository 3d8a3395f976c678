package provider

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration written in data files as text: Go's units plus
// whole days in front, such as "2h", "90d" or "1d12h".
type Duration time.Duration

const day = 24 * time.Hour

// maxDays keeps days times 24h inside an int64 of nanoseconds.
const maxDays = 100_000

// UnmarshalText reads the form that MarshalText writes. Negative durations are
// refused: no fact has one.
func (d *Duration) UnmarshalText(text []byte) error {
	s, total := string(text), time.Duration(0)
	if days, rest, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseUint(days, 10, 32)
		if err != nil || n > maxDays {
			return fmt.Errorf("reading duration %q: want a form like 2h, 90d or 1d12h", s)
		}
		total, s = time.Duration(n)*day, rest
	}
	if s != "" || total == 0 && len(text) == 0 {
		rest, err := time.ParseDuration(s)
		if err != nil || rest < 0 || total+rest < total {
			return fmt.Errorf("reading duration %q: want a form like 2h, 90d or 1d12h", text)
		}
		total += rest
	}
	*d = Duration(total)
	return nil
}

// MarshalText writes whole days and then Go's units.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String is the text form; zero gives "0s".
func (d Duration) String() string {
	days, rest := time.Duration(d)/day, time.Duration(d)%day
	if days == 0 {
		return short(rest)
	}
	if rest == 0 {
		return fmt.Sprintf("%dd", days)
	}
	return fmt.Sprintf("%dd%s", days, short(rest))
}

// short is time.Duration's String without the trailing zero units ("2h0m0s").
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
