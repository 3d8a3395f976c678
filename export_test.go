package evergrant

import (
	"maps"
	"slices"
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
