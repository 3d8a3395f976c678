package main

import (
	"context"
	"strings"

	"github.com/evergrant/evergrant"
)

// printPlan is `refresh --dry-run`: what would be sent, and whether the answer
// could be stored. It fails as the refresh would where that is known.
func printPlan(u *ui, src *evergrant.Source) error {
	p, err := src.Plan(context.Background())
	if err != nil {
		return err
	}
	switch {
	case p.Problem != nil:
		return p.Problem
	case p.Storage != nil:
		return p.Storage
	}
	if u.json {
		return u.value(map[string]any{"url": p.URL, "params": p.Params, "headers": p.Headers, "provider": p.Provider, "replay": p.Replay})
	}
	u.printf("would POST to  %s\n", p.URL)
	u.printf("  body         %s\n", strings.Join(p.Params, ", "))
	u.printf("  headers      %s\n", strings.Join(p.Headers, ", "))
	if p.Provider != "" {
		u.printf("  provider     %s\n", p.Provider)
	}
	u.printf("the answer could be stored; nothing was sent, nothing was written\n")
	return nil
}
