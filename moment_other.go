//go:build !linux && !darwin && !freebsd

package evergrant

import "time"

// bootID is "" where the system's boot has no id that this code reads: a phase
// left by another process then never counts as "not sent", and a commit never
// as later than the start of this process.
func bootID() string { return "" }

func uptime() time.Duration { return 0 }

func processStart() (moment, bool) { return moment{}, false }
