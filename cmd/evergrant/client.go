package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/login"
)

// The client of a login: how it authenticates, and where its secret is kept.

// authenticate decides how the client authenticates: as it was registered, as
// asked, by what it has, else as the server takes a secret. Nothing is tried out.
func (l *loginFlow) authenticate(c *login.Config, cfg *evergrant.Config, found *login.Found, has evergrant.Credentials) (err error) {
	if c.Auth != nil || found.Registered != nil {
		return nil
	}
	method := cmp.Or(cfg.AuthMethod, has.Method())
	if method != "" {
		c.Auth, err = has.Auth(method, c.ClientID, cmp.Or(c.Server.Issuer, c.Server.Token))
	} else {
		c.Auth, method, err = login.ChooseAuth(methodsOf(c, found), c.ClientID, has.Secret)
	}
	c.AuthMethod, cfg.AuthMethod = method, method
	return loginFailure(err)
}

// methodsOf are the ways of client authentication that the server lists, or the
// catalog for it.
func methodsOf(c *login.Config, found *login.Found) []string {
	switch {
	case found.Server != nil:
		return found.Server.AuthMethods
	case c.Provider != nil:
		return c.Provider.ClientAuth
	}
	return nil
}

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

// secretBeside writes a client's secret beside a token file, for this user
// alone.
func secretBeside(file string, secret evergrant.Secret) (string, error) {
	path, err := absolute(file)
	if err != nil {
		return "", err
	}
	path += secretEnd
	if err := os.WriteFile(path, []byte(secret.Reveal()+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keeping the client's secret: %w", err)
	}
	return path, os.Chmod(path, 0o600) // of a file that was there with another mode
}
