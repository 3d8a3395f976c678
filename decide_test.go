package evergrant_test

import (
	"testing"

	"github.com/evergrant/evergrant"
)

// TestWhoWins: an answer that brought "new" for "sent" meets a document that is
// not the one it was made for.
func TestWhoWins(t *testing.T) {
	for _, tt := range []struct {
		name     string
		document string
		change   func(*evergrant.Meeting)
		want     string
	}{
		{"an edit beside the token that was sent", "sent", nil, "ours"},
		{"the token that the state had", "stored", nil, "ours"},
		{"a token in doubt", "doubt", nil, "ours"},
		{"a token of before that was set back", "old", nil, "ours"},
		{"no token", "", nil, "ours"},
		{"the answer's own, with an edit", "new", nil, "ours"},
		{"a token never seen", "login", nil, "theirs"},
		{"a token never seen, and no answer token", "login", func(m *evergrant.Meeting) { m.Answer = "" }, "theirs"},
		{"no rotation: the token that was sent is the answer's", "sent", func(m *evergrant.Meeting) { m.Answer = "sent" }, "ours"},
		{"a newer generation with a token never seen", "login", newer, "theirs"},
		{"a newer generation with the token that was sent", "sent", newer, "theirs"},
		{"a newer generation with the answer's own", "new", newer, "theirs"},
		{"no state yet", "login", func(m *evergrant.Meeting) { *m = evergrant.Meeting{Answer: "new", Document: "login"} }, "theirs"},
	} {
		m := evergrant.Meeting{Stored: "stored", Sent: "sent", InDoubt: "doubt", Replaced: []string{"older", "old"}, Answer: "new", Document: tt.document}
		if tt.change != nil {
			tt.change(&m)
		}
		got, err := m.Winner()
		if err != nil || got != tt.want {
			t.Errorf("%s: %q, %v, want %s", tt.name, got, err, tt.want)
		}
	}
}

func newer(m *evergrant.Meeting) { m.Newer = true }
