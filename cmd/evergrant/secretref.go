package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/evergrant/evergrant"
)

// A secret is given by reference, never as a literal.
const secretHint = "give a reference: env:NAME, file:PATH or cmd:PROGRAM ARG…"

// secretKinds are the references by the word before the colon.
var secretKinds = map[string]func(ctx context.Context, rest string) (string, error){
	"env":  secretFromEnv,
	"file": secretFromFile,
	"cmd":  secretFromCommand,
}

// checkSecretRef refuses what is no reference, without repeating it: it may be
// the secret itself.
func checkSecretRef(ref string) error {
	if ref == "" {
		return nil
	}
	kind, rest, _ := strings.Cut(ref, ":")
	if _, ok := secretKinds[kind]; !ok || rest == "" {
		return usageError{errors.New("--client-secret takes a reference, not the secret itself"), secretHint}
	}
	return nil
}

// resolveSecret fetches the secret that a reference names.
func resolveSecret(ctx context.Context, ref string) (evergrant.Secret, error) {
	kind, rest, _ := strings.Cut(ref, ":")
	get, ok := secretKinds[kind]
	if !ok {
		return evergrant.Secret{}, errors.New("it is no reference")
	}
	s, err := get(ctx, rest)
	if err == nil && s == "" {
		err = fmt.Errorf("%s: is empty", kind)
	}
	return evergrant.NewSecret(s), err
}

func secretFromEnv(_ context.Context, name string) (string, error) {
	s, ok := os.LookupEnv(name)
	if !ok {
		return "", fmt.Errorf("the environment has no %s", name)
	}
	return s, nil
}

func secretFromFile(_ context.Context, path string) (string, error) {
	b, err := os.ReadFile(path)
	return strings.TrimRight(string(b), "\r\n"), err
}

// secretFromCommand runs a program without a shell and takes its first line.
func secretFromCommand(ctx context.Context, line string) (string, error) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return "", errors.New("cmd: names no program")
	}
	c := exec.CommandContext(ctx, words[0], words[1:]...)
	c.Stderr, c.Stdin = os.Stderr, os.Stdin
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("running %s: %w", words[0], err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimRight(first, "\r"), nil
}
