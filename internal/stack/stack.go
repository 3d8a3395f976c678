// Package stack has [Grow], for a goroutine that is about to call deep.
//
// A stack begins with 2 KiB and doubles as it is needed. Each time the runtime
// looks up every function that is on it, in tables that nothing else reads: in a
// process that runs for milliseconds those are 0.7 MiB of its resident set and
// a tenth of its page faults, and in one that stays the stack of each new
// goroutine is copied four times. Grow does it once, while the stack is shallow.
//
// It only hints: the runtime may do otherwise, and nothing but cost depends on it.
package stack

// Grow makes room for 24 KiB, which a refresh or a command needs.
func Grow() { frame(0) }

// frame has a large frame: the runtime makes room for the whole of it at the
// call, and none of it is touched.
//
//go:noinline
func frame(use int) byte {
	if use == 0 {
		return 0
	}
	var room [24 << 10]byte
	room[use] = 1
	return room[0]
}
