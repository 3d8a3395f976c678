package main

import (
	"os"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/idptest"
	"github.com/evergrant/evergrant/internal/lockedfile"
)

// TestLoginWaitsNotForEver: a process that holds the grant and does not move
// keeps a login waiting for its time only; then what it brought is rescued.
func TestLoginWaitsNotForEver(t *testing.T) {
	b := newBedOf(t, idptest.Generic, idptest.Habits{})
	b.first()
	l, err := lockedfile.Acquire(t.Context(), strings.TrimSuffix(b.path, "token.json")+".token.json.evergrant.lock")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	before := b.read()
	b.env = append(b.env, "BROWSER=browse")
	r := b.run("login", b.base, "--client-id", clientID, "--file", b.path, "--timeout", "2s")
	r.wantHint(t)
	_, path, _ := strings.Cut(r.stderr, "hint: the grant is kept in ")
	path, _, _ = strings.Cut(path, ", ")
	if kept, err := os.ReadFile(path); err != nil || !strings.Contains(string(kept), "refresh_token") || r.code != exitTemporary || !strings.Contains(r.stderr, "another process") {
		t.Errorf("%+v, kept %q, %v", r, path, err)
	}
	if b.read() != before {
		t.Error("the file was changed")
	}
}
