package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"unicode/utf8"

	oskeyring "github.com/zalando/go-keyring"

	"github.com/evergrant/evergrant"
)

// A secret is given by reference, never as a literal.
const secretHint = "give a reference: env:NAME, file:PATH, json:PATH#/MEMBER, keyring:SERVICE/ACCOUNT or cmd:PROGRAM ARG…"

// secretKinds are the references by the word before the colon.
var secretKinds = map[string]func(ctx context.Context, rest string) (string, error){
	"env":     secretFromEnv,
	"file":    secretFromFile,
	"json":    secretFromJSON,
	"cmd":     secretFromCommand,
	"keyring": secretFromKeyring,
}

// checkSecretRef refuses what is no reference, without repeating it: it may be
// the secret itself.
func checkSecretRef(flag, ref string) error {
	if ref == "" {
		return nil
	}
	kind, rest, _ := strings.Cut(ref, ":")
	if _, ok := secretKinds[kind]; !ok || rest == "" {
		return usageError{errors.New(flag + " takes a reference, not the secret itself"), secretHint}
	}
	return nil
}

// lasting makes a reference one that means the same from any folder: it is
// remembered.
func lasting(ref string) string {
	kind, rest, _ := strings.Cut(ref, ":")
	if (kind != "file" && kind != "json") || rest == "" {
		return ref
	}
	path, member := rest, ""
	if i := strings.LastIndex(rest, "#/"); kind == "json" && i > 0 {
		path, member = rest[:i], rest[i:]
	}
	path, err := absolute(path)
	if err != nil {
		return ref
	}
	return kind + ":" + path + member
}

// badRef is a reference that will not work until a person changes it. Other
// failures, such as a password manager that is locked, may pass.
type badRef struct{ error }

func (badRef) Is(class error) bool { return class == evergrant.ErrUsage }

// resolveSecret fetches the secret that a reference names.
func resolveSecret(ctx context.Context, ref string) (evergrant.Secret, error) {
	kind, rest, _ := strings.Cut(ref, ":")
	get, ok := secretKinds[kind]
	if !ok {
		return evergrant.Secret{}, badRef{errors.New("it is no reference")}
	}
	s, err := get(ctx, rest)
	if err == nil && s == "" {
		err = badRef{fmt.Errorf("what %s: names is empty", kind)}
	}
	return evergrant.NewSecret(s), err
}

// clientSecretAt fetches a client's secret outside a refresh. The reference may be
// a remembered one, which the engine knows whether to follow.
func clientSecretAt(ctx context.Context, ref string) (evergrant.Secret, error) {
	c := evergrant.Config{SecretRef: ref, ResolveSecret: resolveSecret}
	has, err := c.Credentials(ctx)
	return has.Secret, err
}

func secretFromEnv(_ context.Context, name string) (string, error) {
	s, ok := os.LookupEnv(name)
	if !ok {
		return "", badRef{fmt.Errorf("the environment has no %s", name)}
	}
	return s, nil
}

func secretFromFile(_ context.Context, path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", badRef{err}
	}
	if !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
		return string(b), nil // PKCS#12 and the like are taken to the byte
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// secretFromJSON takes a member of a JSON file, named by a pointer (RFC 6901)
// behind the last #: other tools keep a client's secret beside their tokens.
func secretFromJSON(_ context.Context, place string) (string, error) {
	i := strings.LastIndex(place, "#/")
	if i < 1 {
		return "", badRef{errors.New("json: wants PATH#/MEMBER")}
	}
	b, err := os.ReadFile(place[:i])
	if err != nil {
		return "", badRef{err}
	}
	var at any
	if json.Unmarshal(b, &at) != nil { // its error may quote the file
		return "", badRef{fmt.Errorf("%s is not JSON", place[:i])}
	}
	for name := range strings.SplitSeq(place[i+2:], "/") {
		object, _ := at.(map[string]any)
		at = object[strings.NewReplacer("~1", "/", "~0", "~").Replace(name)]
	}
	s, ok := at.(string)
	if !ok {
		return "", badRef{fmt.Errorf("%s has no text at %s", place[:i], place[i+1:])}
	}
	return s, nil
}

// secretFromKeyring asks the operating system's keyring.
func secretFromKeyring(_ context.Context, item string) (string, error) {
	service, account, ok := strings.Cut(item, "/")
	if !ok || service == "" || account == "" {
		return "", badRef{errors.New("keyring: wants SERVICE/ACCOUNT")}
	}
	s, err := oskeyring.Get(service, account)
	if errors.Is(err, oskeyring.ErrNotFound) {
		return "", badRef{fmt.Errorf("the keyring has no %s of %s", account, service)}
	}
	if errors.Is(err, exec.ErrNotFound) { // of the program that would start a bus
		return "", errors.New("the OS keyring (Secret Service) cannot be used: no session bus: DBUS_SESSION_BUS_ADDRESS is not set")
	}
	return s, err
}

// secretFromCommand runs a program without a shell and takes its first line.
func secretFromCommand(ctx context.Context, line string) (string, error) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return "", badRef{errors.New("cmd: names no program")}
	}
	c := exec.CommandContext(ctx, words[0], words[1:]...)
	c.Stderr, c.Stdin = os.Stderr, os.Stdin
	out, err := c.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", badRef{err}
	}
	if err != nil {
		return "", fmt.Errorf("running %s: %w", words[0], err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimRight(first, "\r"), nil
}
