package evergrant

import (
	"maps"
	"slices"

	"github.com/evergrant/evergrant/internal/tokenfile"
)

// RuleIDs are the rows of this package's own tables, for the test that
// provokes each of them.
func RuleIDs() []string {
	ids := []string{certificateRow.Rule, lostRow.Rule, "unsent-proxy-auth", "status-403-limit", "error-unknown"}
	for _, name := range slices.Sorted(maps.Keys(unsentRows)) {
		ids = append(ids, unsentRows[name].Rule)
	}
	for _, row := range statusRows {
		ids = append(ids, row.Rule)
	}
	return ids
}

// Meeting is a case of whoWins by refresh tokens; "" is none.
type Meeting struct {
	Stored, Sent, InDoubt string   // what the state knows
	Replaced              []string // what it knows of before
	Answer, Document      string
	Newer                 bool // the document is a newer generation
}

// Winner is whose word counts: ours or theirs.
func (m Meeting) Winner() (string, error) {
	st := newState()
	st.Refresh = st.mark(m.Stored)
	for _, r := range m.Replaced {
		st.Replaced = append(st.Replaced, st.mark(r))
	}
	if m.Sent != "" {
		st.Intent = &intent{Refresh: st.mark(m.Sent)}
	}
	if m.InDoubt != "" {
		st.Doubt = &doubt{Refresh: st.mark(m.InDoubt)}
	}
	f, err := tokenfile.Open([]byte(`{"access_token":"a","refresh_token":"`+m.Document+`"}`), nil)
	if err != nil {
		return "", err
	}
	return string(whoWins(&st, holding{file: f, newer: m.Newer}, m.Answer)), nil
}
