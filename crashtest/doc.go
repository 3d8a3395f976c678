// Package crashtest breaks the real program at its system calls and lets the
// server's ledger say what became of the grant. It holds tests only; run them
// with
//
//	go test ./crashtest                        all points of the main case, a sample of the others
//	EVERGRANT_PROVE=1 go test -timeout 30m ./crashtest    every point of every case
//	EVERGRANT_POINT='…' go test -v -run … ./crashtest     one point again, as a failure names it
//
// Each point has a grant of its own at a simulated server that rotates refresh
// tokens and revokes the grant on reuse. The command runs under ptrace(2) and
// is broken before one call; a point is a name such as "openat side #3", the
// third openat of the side file, on whatever thread. Then fresh runs follow:
// token must serve the access token that has not ended, refresh must heal or
// say which reply was lost, a last try after the deadline brings the provider's
// verdict. The judge is the server: the refresh token on disk is the living
// one, or no client could have had it.
//
// The tests, by what happens at a point:
//
//	TestKill        SIGKILL; refresh with and without rotation, token on an
//	                expired file, watch, servers with grace, and recovery itself
//	TestTerminate   SIGTERM: it ends by itself, nothing is lost or in doubt; watch too
//	TestError       EIO, ENOSPC, EROFS, EMFILE, EINTR …, once or for good
//	TestPowerCut    the file system is stopped (ext4, xfs) or its image copied
//	                (btrfs) while the program stands still, and mounted again
//	TestPair        it stands still while others wait for its lock, then is
//	                killed or goes on: one request, everybody has the token
//	TestStrace      strace(1), which nobody here wrote, sees the same calls
//
// Promises, checked at every point: the token file is whole, and what it holds
// was issued in one answer; at most one request a generation but for a
// journalled replay; no token in an output or a side file; side files have
// mode 0600; after healing nothing is left behind and the lock is free. With a
// grace window every point heals.
//
// A loss is excused only where the answer was lost with its only copy, and is
// counted by class: "reply not read"; "reply read, write not yet"; in power
// cuts also "written, not yet synced". Any other loss is avoidable and fails.
//
// Each run ends with a line of counts, which go test shows with -v or on failure;
// package figures takes them to `make prove`.
//
// As root the tests run among mounts of their own, so that file systems and loop
// devices go with the last process, however the tests end.
//
// Limits. Linux on amd64 and arm64 only; elsewhere the tests skip and say so.
// A missing strace fails. Power cuts need root, loop mounts and mkfs, and skip
// with the reason in the last line where they can't be made; the cut shows what
// a file system had not made durable, not a drive that lies: what it has handed
// to the device is there afterwards, flushed or not. Errors injected
// for good stand for a dead disk, not for one that forgets.
//
// # What was broken to see the tests fail
//
// A test that can't fail shows nothing. Each row was tried by hand in a copy of
// the repository; try it again when the protocol or these tests change.
//
//	broken                                       caught by
//	the file is not read again after the lock    TestPair: 4 requests, the grant revoked
//	side file written before the exchange        TestKill, TestPair/killed: AVOIDABLE LOSS
//	intent cleared before the store              TestKill, TestPair/killed, TestPowerCut
//	directories not synced                       TestPowerCut alone: the intent is gone, the token is sent twice
//	answer dropped on a write error              TestError
//	lock let go as soon as it is taken           TestPair
//	phase never turned to sending                TestKill, TestPair/killed
//	no intent at all                             TestKill, TestError, TestPair/killed, TestPowerCut
//	answer not rolled forward                    TestKill, TestError, TestPair/killed, TestPowerCut
//	token found in the file not adopted (killed  TestKill: in doubt without need
//	  between the exchange and the side file)
//	answer not synced                            TestPowerCut: AVOIDABLE LOSS, the token file is cut (on each file system)
//	a doubt replayed at once                     TestKill: a request too many
//	SIGTERM not handled                          TestTerminate, TestKill/watch
//	leftovers not swept                          TestKill/recovery…: left behind
package crashtest
