//go:build amd64 || arm64

package crashtest_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

// A scene for each command that refreshes, at a server that rotates.
var (
	refreshRotating = scene{name: "refresh with rotation", command: []string{"refresh"}, persona: idptest.Salesforce, habits: idptest.Habits{Rotation: true}}
	tokenExpired    = scene{name: "token expired", command: []string{"token"}, persona: idptest.Salesforce, habits: idptest.Habits{Rotation: true}, expired: true}
	watchExpired    = scene{name: "watch", command: []string{"watch"}, persona: idptest.Salesforce, habits: idptest.Habits{Rotation: true}, expired: true, stops: true}
)

// TestKill ends the program with SIGKILL before each system call that touches
// its files or its socket. Fresh runs must find the living refresh token, or
// say what was lost and when; only a reply that was not written yet excuses a
// loss.
func TestKill(t *testing.T) {
	t.Parallel()
	uncached(t)
	grace := func(reply string) idptest.Habits {
		return idptest.Habits{Rotation: true, Grace: time.Minute, GraceReply: reply}
	}
	for _, tt := range []struct {
		every int
		scene scene
	}{
		{1, refreshRotating},
		{6, scene{name: "refresh without rotation", command: []string{"refresh"}, persona: idptest.Salesforce}},
		{6, scene{name: "refresh at a generic server", command: []string{"refresh"}, persona: idptest.Generic, habits: idptest.Habits{Rotation: true}}},
		{6, tokenExpired},
		{6, scene{name: "token at a generic server", command: []string{"token"}, persona: idptest.Generic, habits: idptest.Habits{Rotation: true}, expired: true}},
		{6, scene{name: "grace with siblings", command: []string{"refresh"}, persona: idptest.Generic, habits: grace("sibling"), grace: true}},
		{6, scene{name: "grace with the same pair", command: []string{"refresh"}, persona: idptest.Generic, habits: grace("same"), grace: true}},
		{6, recovering("recovery before the exchange", trouble{signal: syscall.SIGKILL}, "renameat2 answer>token #1")},
		{6, recovering("recovery after the exchange", trouble{signal: syscall.SIGKILL}, "openat newside #2")},
		{12, recovering("recovery from the rescue file", trouble{errno: syscall.ENOSPC}, "pwrite64 answer")},
		{9, watchExpired},
		{9, scene{name: "watch without rotation", command: []string{"watch"}, persona: idptest.Salesforce, expired: true, stops: true}},
	} {
		t.Run(strings.ReplaceAll(tt.scene.name, " ", "-"), func(t *testing.T) {
			w := &sweep{t: t, sc: tt.scene, every: sample(tt.every), signal: syscall.SIGKILL, judge: killed}
			w.run()
		})
	}
}

// recovering is a scene whose command finds what an earlier run left that met
// trouble at the calls with this key.
func recovering(name string, what trouble, key string) scene {
	sc := refreshRotating
	sc.name = name
	sc.first = func(c call) trouble {
		if strings.HasPrefix(c.key, key) {
			return what
		}
		return trouble{}
	}
	return sc
}

func killed(s *story, r result) {
	if r.signal != syscall.SIGKILL {
		s.fault("SIGKILL did not end it")
	}
	total.add(func(c *counts) { c.kills[s.b.command[0]]++ })
	s.heal()
}

// TestTerminate sends SIGTERM at the same points. There is time to finish: no
// loss is excused, and nothing stays in doubt.
func TestTerminate(t *testing.T) {
	t.Parallel()
	uncached(t)
	for _, sc := range []scene{refreshRotating, tokenExpired, watchExpired} {
		t.Run(strings.ReplaceAll(sc.name, " ", "-"), func(t *testing.T) {
			w := &sweep{t: t, sc: sc, every: sample(9), signal: syscall.SIGTERM, judge: terminated}
			w.run()
		})
	}
}

func terminated(s *story, r result) {
	total.add(func(c *counts) { c.terms[s.b.command[0]]++ })
	sent := s.b.sent()
	switch {
	case s.b.stops && (r.exit != 0 || sent > 1): // it was told to stop, which is how it ends
		s.fault("exit %d after %d requests, want 0 after one at most", r.exit, sent)
	case s.b.stops:
	case r.exit == 0 && sent != 1, r.exit != 0 && sent != 0:
		s.fault("exit %d after %d requests", r.exit, sent)
	case r.exit != 0 && r.exit != 4:
		s.fault("exit %d, want 0 or 4", r.exit)
	}
	if j, err := s.b.journal(); err != nil || j.Intent != nil || j.Doubt != nil {
		s.fault("left open: %+v, %v", j, err)
	}
	if sent > 0 && !s.living() {
		s.fault("the answer was not stored before the end")
	}
	s.calls = nil // nothing is excused by the moment
	s.healTo()
}

// healTo is heal where no loss is excused. An answer that is held in a rescue
// file is taken from there, without another request.
func (s *story) healTo() {
	s.arrive()
	s.whole()
	due := 1
	if s.b.processed() > 0 && !s.living() {
		due = 0
	}
	if !s.b.expired {
		s.serves()
	}
	if r := s.next(due, "refresh"); r.exit != 0 {
		s.fault("the next healthy run does not heal: exit %d", r.exit)
	}
	if s.healed = s.living(); !s.healed {
		s.fault("AVOIDABLE LOSS: the refresh token on disk is not the living one")
		return
	}
	s.tidy()
}
