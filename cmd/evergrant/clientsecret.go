package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/evergrant/evergrant"
)

// The secret of a client that a login registered is worth as much as the refresh
// token: without it the grant cannot be refreshed.

// keepSecret keeps the secret of a client that was just registered: inside a
// sealed document, or in a file of its own beside a token file.
func (l *loginFlow) keepSecret(document []byte, secret evergrant.Secret, cfg *evergrant.Config) ([]byte, error) {
	if l.name != "" {
		return withMember(document, "client_secret", secret.Reveal())
	}
	path, err := secretBeside(l.file, secret)
	cfg.SecretRef = "file:" + path
	return document, err
}

// secretUnkept is the error of a login whose client's secret could not be kept:
// the grant goes with it into a rescue folder, where one is of use to the other.
func secretUnkept(ctx context.Context, err error, document []byte, secret evergrant.Secret, cfg evergrant.Config) error {
	e := &evergrant.Error{Class: evergrant.ErrStorage, Rule: "secret-unwritten", Says: err.Error(), Do: "log in again once this is mended", Err: err}
	if both, merr := withMember(document, "client_secret", secret.Reveal()); merr == nil {
		document = both
	}
	if e.Path = rescue(ctx, document, cfg); e.Path != "" {
		e.Do = "the grant is kept in " + e.Path + ", which holds secrets; put it where it belongs with `evergrant import`"
	}
	return e
}

// withMember adds a member to a JSON object.
func withMember(document []byte, name, value string) ([]byte, error) {
	b, err := json.Marshal(map[string]string{name: value})
	if err != nil {
		return nil, err
	}
	text := strings.TrimRight(string(document), " \t\r\n")
	text, ok := strings.CutSuffix(text, "}")
	if !ok {
		return nil, errors.New("the token answer is no JSON object")
	}
	comma := ","
	if strings.TrimSpace(text) == "{" {
		comma = ""
	}
	return slices.Concat([]byte(strings.TrimRight(text, " \t\r\n")), []byte(comma), b[1:], []byte("\n")), nil
}

// secretEnd is the end of the name of a file with a client's secret.
const secretEnd = ".client_secret"

// secretBeside writes a client's secret beside a token file, for this user alone,
// under a name of its own: the one of the grant of before counts until the new
// grant is in its place.
func secretBeside(file string, secret evergrant.Secret) (string, error) {
	path, err := absolute(file)
	if err != nil {
		return "", err
	}
	path += "." + strings.ToLower(rand.Text()[:8]) + secretEnd
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("keeping the client's secret: %w", err)
	}
	_, err = f.WriteString(secret.Reveal() + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil { // the folder is synced when the grant is kept in it
		return "", fmt.Errorf("keeping the client's secret: %w", errors.Join(err, os.Remove(path)))
	}
	return path, nil
}

// secretFileOf is the file that secretBeside made for a token file, if the
// reference leads to one; else "": a person's own file is none of ours.
func secretFileOf(file, ref string) string {
	path, ok := strings.CutPrefix(strings.TrimPrefix(ref, evergrant.Elsewhere), "file:")
	at, err := absolute(file)
	name, ours := strings.CutPrefix(path, at+".")
	name, ends := strings.CutSuffix(name, secretEnd)
	if !ok || err != nil || !ours || !ends || len(name) != 8 || strings.ContainsAny(name, `/\.`) {
		return ""
	}
	return path
}

// formerSecret is the file with the secret that the login makes useless; "" if
// there is none, or the grant of before may live on somewhere else.
func (l *loginFlow) formerSecret(ctx context.Context, rotates bool) string {
	if l.file == "" || !rotates || !l.exists(ctx, l.u) {
		return ""
	}
	src, err := l.openKept()
	if err != nil {
		return ""
	}
	defer src.Close()
	s, err := src.Status(ctx)
	if err != nil {
		return ""
	}
	return secretFileOf(l.file, s.SecretRef)
}
