package oauth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// ClientAuth puts the client's identification or authentication into a request
// (RFC 6749 §2.3). There is no default and no probing of what a server takes:
// a second try would spend a refresh token twice. A ClientAuth returns an error
// if the request already carries another method: RFC 6749 §2.3 forbids two.
//
// Own methods are functions of this type.
type ClientAuth func(*Request) error

// None identifies a public client: client_id in the body, nothing secret
// (RFC 6749 §3.2.1).
func None(clientID string) ClientAuth {
	return func(r *Request) error {
		if err := checkClient(r, clientID); err != nil {
			return err
		}
		r.Form.Set("client_id", clientID)
		return nil
	}
}

// Post sends client_id and client_secret in the body (RFC 6749 §2.3.1,
// client_secret_post). An empty secret is an error: it is nearly always a
// variable that was not set.
func Post(clientID string, secret Secret) ClientAuth {
	return func(r *Request) error {
		if err := checkSecret(r, clientID, secret); err != nil {
			return err
		}
		r.Form.Set("client_id", clientID)
		r.Form.Set("client_secret", secret.Reveal())
		return nil
	}
}

// Basic sends both in the Authorization header, each form-encoded before they
// are joined (RFC 6749 §2.3.1, client_secret_basic). The body then has no
// client_id: some servers ignore the header if the body repeats it. An empty
// secret is an error.
func Basic(clientID string, secret Secret) ClientAuth {
	return func(r *Request) error {
		if err := checkSecret(r, clientID, secret); err != nil {
			return err
		}
		pair := url.QueryEscape(clientID) + ":" + url.QueryEscape(secret.Reveal())
		if r.Header == nil {
			r.Header = http.Header{}
		}
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
		return nil
	}
}

func checkSecret(r *Request, clientID string, secret Secret) error {
	if secret.IsZero() {
		return errors.New("authenticating client: the client secret is empty")
	}
	return checkClient(r, clientID)
}

// checkClient refuses an empty client id and a second method.
func checkClient(r *Request, clientID string) error {
	if clientID == "" {
		return errors.New("authenticating client: the client id is empty")
	}
	if r.Header.Get("Authorization") != "" {
		return errors.New("authenticating client: the request has an Authorization header already (RFC 6749 §2.3 allows one method)")
	}
	for _, name := range []string{"client_secret", "client_assertion"} {
		if r.Form.Has(name) {
			return fmt.Errorf("authenticating client: the request has a %s already (RFC 6749 §2.3 allows one method)", name)
		}
	}
	return nil
}
