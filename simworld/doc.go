// Package simworld is a simulated world in which keepers of this module live
// with many grants for simulated years. It holds tests only; run them:
//
//	go test ./simworld -seed 7                          about 20 s
//	EVERGRANT_PROVE=1 go test -timeout 30m ./simworld   about 5 minutes
//	go test ./simworld -seed 7 -life P2/31 -v           one life again, with more of its last events
//
// A life is one simulated provider with one record of a store, and one to three
// keepers that share it, in one synctest bubble. Calls come at all distances,
// alone and in bursts. Each call may meet what its seed has drawn for it: the
// keeper ends or is suspended at any step (a read, lock or write of the store,
// dialing, sending, receiving), the store fails before or after the effect or is
// slow, the network is out, loses requests or replies, cuts or drips them, the
// server refuses, fails, hangs or is late. A keeper that ended is fenced: nothing
// it does afterwards takes effect, its locks are free, and another one is opened
// on what was durable. A life whose grant is lost goes on with a new login. One
// life in four of those where a lost reply can be had again is a storm: half of
// the calls lose something, several times in a row.
//
// # What is judged
//
// The server's ledger and the bytes on the wires are the oracle, never what the
// keeper says of itself. After every write, every sending and every unlock:
//
//   - I1: the stored record parses;
//   - I2: the stored refresh token is the newest one a living keeper ever
//     received, or the intent is open and says why not;
//   - I3: a refresh token leaves only under the lock and a durable intent; a
//     request that would follow one of unknown outcome is a journalled replay,
//     inside the grace window or once nothing is left to lose;
//   - I4: no token in an event, an error, a formatted result, or the state;
//   - I5: at the end no lock is held, no connection open, no goroutine left.
//
// Also: an access token is durable before it is handed out, a valid one is
// served while refreshing fails, no grant is declared ended that lives, and once
// the faults stop every grant that lives is refreshed.
//
// A loss is unavoidable only if a reply with the new refresh token never reached
// a keeper, or reached one that ended before it was durable; on a server with a
// grace window only if moreover no call without any fault began, while no other
// was at work, and ended in the first half of the window. Every other loss fails
// the test, with the seed, the life and its last events.
//
// # Limits
//
// Time in a bubble only goes forward, so the keeper's own clock never jumps
// here; the server's is years off, drifts and jumps instead. The moment between
// the durable mark "sending" and the request is never stretched, since the
// keeper holds a mutex there and a bubble's clock stands still while somebody
// waits for one. Lives are lived one after the other on one processor, with the
// keepers' own chance seeded too, so that a life of a seed repeats to the
// nanosecond; only the order of goroutines that are ready at the same moment may
// differ. Folders for rescued answers are real and not cut off in the middle of
// a write: package crashtest does that.
package simworld
