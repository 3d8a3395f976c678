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

// A name on the command line that nothing knows is refused: a slip in one would
// send a token to another place, or leave one unwritten, without a word.

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

// fieldNames are the members of token answers that --field can place.
var fieldNames = []string{
	"access_token", "refresh_token", "id_token", "token_type", "scope", "expires_in", "expires_at", "expires_on", "expiry",
	"issued_at", "created_at", "refresh_token_expires_in", "refresh_token_expires_at", "refresh_expires_in", "id", "instance_url", "signature", "client_id",
}

// knownFields refuses the name of a member that no answer brings.
func knownFields(fields map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(fieldNames, name) {
			return usageError{fmt.Errorf("--field knows no member %s", name), "one of " + strings.Join(fieldNames, ", ") + ", as a token answer names it"}
		}
	}
	return nil
}
