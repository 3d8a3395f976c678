// Package model is a model of the refresh protocol on a plain token file, small
// enough to visit every world it can reach. It imports nothing of Evergrant: it
// says once more, in its own words, what the engine does, and what may be lost.
//
// Call [Model.Explore]: it visits every interleaving of processes, server,
// network, page cache, disk and foreign writers, with faults between any two
// steps, and returns how grants can be lost ([Result].Losses) and which promises
// are broken ([Result].Findings, with the way there). [Case.Play] plays one fault
// at one point, for comparison with a real program.
//
//	go test ./model                                      one fault, two processes, ext4 and btrfs; every rule
//	                                                     left out once; the real engine case by case
//	EVERGRANT_PROVE=1 go test -timeout 1h -v ./model     two faults; three processes
//
// # What a world is
//
// Token file, state file, temporary files by name and content, rescue file; what
// of it is in the page cache and what on the disk; the lock; the processes, each
// with the step it makes next; requests and replies under way; the server of a
// [Class]; the age of every request in half grace windows. Twelve kinds of
// [Fault] can happen between any two steps. A power cut keeps any beginning of
// the directory operations that were not synced.
//
// # What is judged
//
// A grant is lost when the last copy of its living refresh token is gone, or
// when runs without faults don't find a copy that is there. A loss counts as
// unavoidable only if that copy was in a reply or in memory, not yet on the disk
// at a power cut, in a file that another program wrote over, or, on a server with
// a grace window, if nobody came back inside it. Besides: no token is sent twice
// without a journalled replay, no replay while the first request may still
// arrive, nothing is handed out or shown to readers before it is durable, no
// older token takes a newer one's place. [Mutations] are the rules left out one
// by one, to see that each of them is missed.
//
// # Limits
//
// Two refreshes by each process at most, a handful of tokens. A request arrives
// before its deadline or never. Foreign writers replace the file whole. The
// state file and the rescue file are written in one step each; the expiry of
// access tokens, back-off and the catalog are not in it. An exploration keeps
// some 100 bytes of every world.
package model
