package evergrant

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// bootID is the kernel's random id of this boot.
var bootID = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
})

func uptime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// processStart is the start of this process, rounded up to the end of its
// clock tick: field 22 of /proc/self/stat counts in 1/100 s (proc_pid_stat(5)).
var processStart = sync.OnceValues(func() (moment, bool) {
	const tick = 10 * time.Millisecond
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return moment{}, false
	}
	i := bytes.LastIndexByte(b, ')') // the command name may hold anything, parentheses too
	if i < 0 {
		return moment{}, false
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 20 {
		return moment{}, false
	}
	n, err := strconv.ParseInt(f[19], 10, 64)
	if err != nil {
		return moment{}, false
	}
	start := time.Duration(n+1) * tick
	if begun-start > time.Second {
		start = begun // an exec keeps the start of what was there before, perhaps a shell that ran for hours
	}
	return moment{Boot: bootID(), Uptime: start}, true
})

// begun is when this program, as opposed to its process, started.
var begun = uptime()
