package provider

import (
	"cmp"
	"slices"
	"strings"
)

// near returns up to three names or aliases close to key: those that begin
// with it or hold it, or are at most a third of its letters away.
func (c *Catalog) near(key string) []string {
	type scored struct {
		name string
		far  int
	}
	var close []scored
	names := c.Names()
	for _, e := range indexNames {
		names = append(names, e.key)
	}
	slices.Sort(names)
	for _, n := range slices.Compact(names) {
		far := distance(key, n)
		if len(key) >= 3 && strings.Contains(n, key) {
			far = min(far, 1)
		}
		if far <= max(1, len(key)/3) {
			close = append(close, scored{n, far})
		}
	}
	slices.SortStableFunc(close, func(a, b scored) int { return cmp.Compare(a.far, b.far) })
	var out []string
	for _, s := range close[:min(3, len(close))] {
		out = append(out, s.name)
	}
	return out
}

// distance is the Levenshtein distance of two short names, by bytes.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
