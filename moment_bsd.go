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

// begun is as near to the start of the process as a library sees here.
var begun = time.Now()

func uptime() time.Duration { return time.Duration(time.Now().UnixNano()) }

func processStart() (moment, bool) {
	return moment{Boot: bootID(), Uptime: time.Duration(begun.UnixNano())}, true
}
