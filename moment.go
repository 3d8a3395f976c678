package evergrant

import "time"

// moment is a point in time that can be compared across a change of the wall
// clock: besides the wall time it has the time since boot, which is comparable
// between processes as long as Boot is the same.
type moment struct {
	At     time.Time
	Boot   string        // identifies the boot; "" where the system tells none
	Uptime time.Duration // since boot, suspended time included
}

func (m *moment) members() []member {
	return []member{{"at", &m.At}, {"boot", &m.Boot}, {"uptime_ns", &m.Uptime}}
}

// thisMoment reads both clocks.
func thisMoment() moment {
	return moment{At: time.Now().UTC().Round(0), Boot: bootID(), Uptime: uptime()}
}

// age is how long ago m was: by the wall clock or by the time since boot,
// whichever says longer, so that a clock that was set back makes nothing
// young. It is negative where the clock was set back and nothing else tells.
func (m moment) age(now time.Time) time.Duration {
	age := now.Sub(m.At)
	if m.Uptime > 0 && m.Boot != "" && m.Boot == bootID() {
		age = max(age, uptime()-m.Uptime)
	}
	return age
}

// afterStart reports whether m is surely later than the start of this process.
// Where the system tells a process's start only in ticks, a moment within the
// starting tick counts as earlier: a refresh too many is better than one that
// a person asked for and did not get.
func (m moment) afterStart() bool {
	start, ok := processStart()
	return ok && m.Boot != "" && m.Boot == start.Boot && m.Uptime > start.Uptime
}
