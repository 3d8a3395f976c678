package main

import (
	"cmp"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/login"
)

// The client of a login: how it authenticates. Where its secret is kept is in
// clientsecret.go.

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
	return l.failure(err)
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
