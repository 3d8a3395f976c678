package simworld_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing/fstest"
	"time"

	"github.com/evergrant/evergrant/idptest"
	"github.com/evergrant/evergrant/provider"
)

// class is how servers treat refresh tokens, with the providers of that class.
type class struct {
	name    string
	makes   []maker
	fragile bool // one lost reply ends a grant
}

// maker is a provider: its habits, and the catalog entry by which the keeper
// may know them.
type maker struct {
	entry   string // "": not in the catalog
	persona idptest.Persona
	habits  idptest.Habits
}

func (m maker) grace() time.Duration { return m.habits.Grace }

var classes = []class{
	{name: "P0", makes: []maker{
		{},
		{entry: "world-static"},
		{entry: "world-static", habits: idptest.Habits{OldAccessDies: true}},
		{persona: idptest.Salesforce},
	}},
	{name: "P1", fragile: true, makes: []maker{
		{habits: idptest.Habits{Rotation: true, Reuse: "fails"}},
		{entry: "world-once", habits: idptest.Habits{Rotation: true, Reuse: "fails", OldAccessDies: true}},
	}},
	{name: "P2", fragile: true, makes: []maker{
		{habits: idptest.Habits{Rotation: true}},
		{entry: "world-family", habits: idptest.Habits{Rotation: true}},
		{persona: idptest.Salesforce, habits: idptest.Habits{Rotation: true}},
	}},
	{name: "P3", makes: []maker{
		{entry: "world-minute", habits: idptest.Habits{Rotation: true, Grace: time.Minute}},
		{entry: "world-ten", habits: idptest.Habits{Rotation: true, Grace: 10 * time.Minute}},
		{entry: "world-half-hour", habits: idptest.Habits{Rotation: true, Grace: 30 * time.Minute}},
		{entry: "world-day", habits: idptest.Habits{Rotation: true, Grace: day}},
	}},
	{name: "P4", makes: []maker{
		{entry: "world-same-30s", habits: idptest.Habits{Rotation: true, Grace: 30 * time.Second, GraceReply: "same"}},
		{entry: "world-same-5m", habits: idptest.Habits{Rotation: true, Grace: 5 * time.Minute, GraceReply: "same"}},
		{entry: "world-same-day", habits: idptest.Habits{Rotation: true, Grace: day, GraceReply: "same"}},
	}},
}

// catalog knows the made-up providers. What a user's own entry states counts
// as verified.
var catalog = mustCatalog(map[string]map[string]string{
	"world-static":    {"rotates": "no"},
	"world-once":      {"rotates": "always", "reuse": "fails"},
	"world-family":    {"rotates": "always", "reuse": "revokes"},
	"world-minute":    {"rotates": "always", "reuse": "revokes", "grace": "1m", "grace_reply": "sibling"},
	"world-ten":       {"rotates": "always", "reuse": "revokes", "grace": "10m", "grace_reply": "sibling"},
	"world-half-hour": {"rotates": "always", "reuse": "revokes", "grace": "30m", "grace_reply": "sibling"},
	"world-day":       {"rotates": "always", "reuse": "revokes", "grace": "1d", "grace_reply": "sibling"},
	"world-same-30s":  {"rotates": "always", "reuse": "revokes", "grace": "30s", "grace_reply": "same"},
	"world-same-5m":   {"rotates": "always", "reuse": "revokes", "grace": "5m", "grace_reply": "same"},
	"world-same-day":  {"rotates": "always", "reuse": "revokes", "grace": "1d", "grace_reply": "same"},
})

func mustCatalog(entries map[string]map[string]string) *provider.Catalog {
	files := fstest.MapFS{}
	for name, refresh := range entries {
		b, err := json.Marshal(map[string]any{"name": name, "title": "Provider " + name, "refresh": refresh})
		if err != nil {
			panic(err)
		}
		files[name+".json"] = &fstest.MapFile{Data: b}
	}
	c, err := provider.LoadFS(files)
	if err != nil {
		panic(err)
	}
	return c
}

// lifetimes of access tokens.
var lifetimes = []time.Duration{15 * time.Minute, time.Hour, time.Hour, 2 * time.Hour, 8 * time.Hour, day}

// draw picks a provider of the class with odd but honest habits.
func (c class) draw(r *rand.Rand) maker {
	m := c.makes[r.IntN(len(c.makes))]
	m.habits.AccessTTL = lifetimes[r.IntN(len(lifetimes))]
	if r.IntN(3) == 0 {
		m.habits.InFlight = "busy"
	}
	if r.IntN(4) == 0 {
		m.habits.JWTAccess = true
	}
	if m.grace() == 0 && r.IntN(5) == 0 {
		m.habits.BusyFor = time.Duration(r.IntN(5)) * time.Second
	}
	return m
}

// What the server may do to one request, apart from answering it.
var (
	// harmless faults leave the refresh token unspent, or the answer usable.
	harmless = []idptest.Fault{
		"drop-before", "reset-before", "hang-before", "500-before", "502-before", "503-before", "504-before", "500-json",
		"503-retry-date", "429-retry-seconds", "429-retry-none", "403-rate", "401-empty", "403-empty", "400-empty",
		"redirect-302-other", "redirect-307-other", "redirect-308-same", "error=temporarily_unavailable", "error=server_error",
		"delay-before=4s", "delay-before=20s", "delay-after=6s", "interim", "gzip", "chunked", "scope-order", "scope-absent",
		"type-inverted", "scope-narrow",
	}
	// lossy faults come after processing: the reply is gone.
	lossy = []idptest.Fault{
		"lost", "lost-reset", "hang-after", "lost-headers", "cut-body", "cut-chunk", "cut-gzip", "short-length",
		"500-after", "502-after", "503-after", "504-after", "500-json-after", "html-200", "empty-200", "empty-204", "empty-object",
		"delay-before=20s+lost", "delay-after=40s", "drip",
	}
)

// listed prints counts by name.
func listed(m map[string]int) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprintf("%s %d", k, m[k]))
	}
	return strings.Join(out, ", ")
}
