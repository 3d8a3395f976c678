//go:build darwin || freebsd

package evergrant

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// bootID is the kernel's random id of this boot.
var bootID = sync.OnceValue(func() string {
	for _, name := range []string{"kern.bootsessionuuid", "kern.boot_id"} {
		if id, err := unix.Sysctl(name); err == nil && id != "" {
			return id
		}
	}
	return ""
})

// uptime is not read here: moments are compared by the wall clock.
func uptime() time.Duration { return 0 }

// processStart is not read here: a refresh adopts what is newer than what it
// read first, and not what was committed after its process started.
func processStart() (moment, bool) { return moment{}, false }
