package main

import (
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

// exitOfAction is the exit code that what a careful client makes of a refusal
// comes to. A refresh is no login: what asks for one during a login is a
// mistake in the configuration here.
var exitOfAction = map[string]int{
	"busy": exitTemporary, "retry": exitTemporary, "backoff": exitTemporary, "once": exitTemporary,
	"pending": exitTemporary, "slow": exitTemporary,
	"dead":   exitNeedsLogin,
	"config": exitMisconfigured, "blocked": exitMisconfigured,
	"login": exitMisconfigured, "interactive": exitMisconfigured, "stop": exitMisconfigured,
}

// otherExits are rows where another exit code than the action's is right.
var otherExits = map[string]int{
	"revoke-invalid": exitNeedsLogin, // on a refresh, these can only be about the refresh token
	"expired_token":  exitNeedsLogin,
}

// TestRefusals meets a refresh with every refusal the simulator knows: each has
// its exit code, a message in words, a next step, and costs nothing.
func TestRefusals(t *testing.T) {
	for _, row := range idptest.ErrorTable() {
		t.Run(row.Name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, idptest.Habits{Fault: idptest.Fault("error=" + row.Name)})
			before := look(b.path)
			r := b.refused()
			want, ok := otherExits[row.Name]
			if !ok {
				want = exitOfAction[row.Action]
			}
			if r.code != want {
				t.Errorf("exit code %d, want %d (%s): %s", r.code, want, row.Action, r.stderr)
			}
			r.wantHint(t)
			if words := strings.Fields(ownWords(r.stderr)); len(words) < 3 {
				t.Errorf("it says no more than the provider: %q", r.stderr)
			}
			if r.stdout != "" {
				t.Errorf("stdout %q", r.stdout)
			}
			if now := look(b.path); now != before {
				t.Errorf("the file was %s and is %s", before, now)
			}
			if s := b.GrantState(b.id); s.Revoked || b.sent() != 1 {
				t.Errorf("%d requests, grant %+v", b.sent(), s)
			}
		})
	}
}

// refused refreshes once. What is temporary would be tried again, so there is
// little time; on a busy machine, where none was left to send in, there is more.
func (b *bed) refused() (r ran) {
	for limit := 200 * time.Millisecond; limit < 10*time.Second && b.sent() == 0; limit *= 2 {
		r = b.run(append([]string{"refresh", b.path, "--timeout", limit.String()}, b.identity()...)...)
	}
	return r
}

// ownWords is the message without the provider's, which stands in brackets.
func ownWords(stderr string) string {
	message, _, _ := strings.Cut(stderr, "\nhint: ")
	message, _, _ = strings.Cut(message, " [")
	return strings.TrimPrefix(message, "evergrant: ")
}
