package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/provider"
)

// A variable that nothing knows is refused: a slip in its name would send a token
// to another place without a word.

// varsFit refuses variables that the provider of a grant does not have.
func varsFit(ctx context.Context, src *evergrant.Source, cfg evergrant.Config) error {
	if len(cfg.Vars) == 0 {
		return nil
	}
	s, err := src.Status(ctx)
	if err != nil {
		return err
	}
	return varsOf(s.Provider, cfg)
}

// varsOf refuses variables that a provider does not have. A provider that the
// catalog does not know is not refused here.
func varsOf(name string, cfg evergrant.Config) error {
	if len(cfg.Vars) == 0 {
		return nil
	}
	if name == "" {
		return usageError{errors.New("--var sets a variable of a provider, and none is known here"), "name it with --provider, or leave --var out"}
	}
	p, err := cfg.Catalog.Get(name)
	if err != nil {
		return nil
	}
	for _, v := range slices.Sorted(maps.Keys(cfg.Vars)) {
		if _, ok := p.Vars[v]; !ok {
			return noSuchVar(p, v)
		}
	}
	return nil
}

func noSuchVar(p *provider.Provider, name string) error {
	return usageError{fmt.Errorf("%s has no variable %s", p.Title, name), variablesHint(p)}
}

func variablesHint(p *provider.Provider) string {
	if len(p.Vars) == 0 {
		return "it has none: leave --var out"
	}
	return "it has " + strings.Join(slices.Sorted(maps.Keys(p.Vars)), ", ") + "; `evergrant providers " + p.Name + "` says what they are for"
}
