package conformance

import (
	"bytes"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

// patience is how long the server is given to finish with clients that have left.
const patience = 5 * time.Second

// document reads the token file; a file that is not one JSON object is a problem.
func (t *trial) document() document {
	d, err := parse(t.read())
	if err != nil {
		t.failf("%v", err)
	}
	return d
}

// alive demands that the file holds a refresh token the server accepts.
func (t *trial) alive() {
	state := t.idp.GrantState(t.grant.ID)
	if state.Revoked {
		t.failf("the grant is lost: the server ended it (%s)", state.Why)
		return
	}
	token := t.document().text("refresh_token")
	id, generation, living := t.idp.Find(token)
	switch {
	case token == "":
		t.failf("the grant is lost: the file has no refresh token any more")
	case id == "":
		t.failf("the grant is lost: the file holds a refresh token that the server never issued")
	case !living:
		t.failf("the grant is lost: the file holds refresh token no. %d, the server accepts no. %d", generation, state.Generation)
	}
}

// served demands what a program can keep when no client could keep the refresh
// token: the server has not ended the grant, and the access token in the file is
// still good.
func (t *trial) served() {
	if state := t.idp.GrantState(t.grant.ID); state.Revoked {
		t.failf("the server ended the grant, and the good access token with it (%s)", state.Why)
		return
	}
	t.accessAlive()
}

// accessAlive demands that the server accepts the file's access token.
func (t *trial) accessAlive() {
	token := t.document().text("access_token")
	id, _, living := t.idp.FindAccess(token)
	switch {
	case token == "":
		t.failf("the file has no access token any more")
	case id == "":
		t.failf("the file holds an access token that the server never issued")
	case !living:
		t.failf("the file holds an access token that is no longer good")
	}
}

// succeeded demands that a run has refreshed the token: it says so, the file
// holds an access token other than before, and the grant is alive.
func (t *trial) succeeded(p *process, before []byte, which string) {
	if p.overtime {
		return // said already
	}
	if !p.ok() {
		t.failf("%s failed (%s)%s", which, p.exit(), p.lastWords())
	}
	t.alive()
	t.accessAlive()
	if old, err := parse(before); err == nil && p.ok() && old.text("access_token") == t.document().text("access_token") {
		t.failf("%s said it succeeded, but the access token in the file is the old one", which)
	}
}

// refreshes runs the program once more and demands that it succeeds.
func (t *trial) refreshes(which string) {
	before := t.read()
	t.succeeded(t.run(), before, which)
}

// refused demands that a run has said so and left the file as it was.
func (t *trial) refused(p *process, before []byte) {
	if p.ok() {
		t.failf("the refresh failed, and the exit code is 0")
	}
	t.untouched(before)
}

// untouched demands that the file has the bytes it had.
func (t *trial) untouched(before []byte) {
	after := t.read()
	if bytes.Equal(before, after) {
		return
	}
	t.failf("the file was changed although there was no new token")
	t.document()
}

// always is demanded of every case: a whole file, one request for each refresh
// token, and no second host.
func (t *trial) always() {
	if t.skipped != "" || t.broken != nil || t.ctx.Err() != nil {
		return
	}
	if !t.idp.WaitIdle(patience) {
		t.idp.Release()
	}
	t.document()
	t.once()
	t.ownHost()
}

// once demands that no refresh token is sent again after a request with it whose
// outcome was a success or is unknown to the client. Only a server that rotates
// and knows no grace does harm then, so only such ones are judged.
func (t *trial) once() {
	h := t.idp.Habits()
	if !h.Rotation || h.Grace > 0 || t.harmless {
		return
	}
	open := map[int]int{}
	for _, e := range t.idp.TokenRequests(t.grant.ID) {
		if open[e.Generation] > 0 {
			t.failf("refresh token no. %d was sent again after a request that had succeeded or whose outcome was not known", e.Generation)
		}
		if !frees(e) {
			open[e.Generation]++
		}
	}
}

// frees tells whether the client may send the refresh token again after this
// request: it was refused, or the answer said to keep the token.
func frees(e idptest.Entry) bool {
	if e.Processed {
		return e.Delivered && e.NewGeneration == e.Generation
	}
	return e.Delivered && (e.Status == 503 || e.Status >= 300 && e.Status < 500)
}

// ownHost demands that nothing went to another host than the token endpoint's.
func (t *trial) ownHost() {
	u, err := url.Parse(t.base)
	if err != nil {
		t.fault(err)
		return
	}
	for _, e := range t.idp.Ledger() {
		if host, _, _ := net.SplitHostPort(e.Host); host != u.Hostname() {
			carried := "a request"
			if e.GrantID != "" {
				carried = "the refresh token"
			}
			t.failf("%s was sent to a second host, by a redirect", carried)
		}
	}
}

// sent is the number of token requests so far.
func (t *trial) sent() int { return len(t.idp.TokenRequests(t.grant.ID)) }

// silent demands that no token is in what a run printed.
func (t *trial) silent(p *process) {
	if i := bytes.Index(p.out.Bytes(), []byte(mark)); i >= 0 {
		line := p.out.Bytes()[bytes.LastIndexByte(p.out.Bytes()[:i], '\n')+1 : i]
		t.failf("a token stands in the output, after %q", tail(string(line), 40))
	}
}

// tail is the end of a text, without anything of a token.
func tail(s string, n int) string {
	s, _, _ = strings.Cut(s, mark)
	if len(s) > n {
		s = "…" + s[len(s)-n:]
	}
	return s
}

// eventually waits until something holds; it tells whether it came to that.
func (t *trial) eventually(limit time.Duration, holds func() bool) bool {
	end := time.Now().Add(limit)
	for !holds() {
		if time.Now().After(end) || t.ctx.Err() != nil {
			return false
		}
		time.Sleep(2 * time.Millisecond)
	}
	return true
}

// plural says a number of things.
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
