package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// PushRequest makes a pushed authorization request (RFC 9126 §2.1) of what
// [Authorization.Form] gave, or of client_id and a request object. The client
// authenticates as at the token endpoint.
func PushRequest(parURL string, params Form, auth ClientAuth) (*Request, error) {
	if params.Has("request_uri") {
		return nil, errors.New("making pushed request: it must not hold a request_uri (RFC 9126 §2.1)")
	}
	return tokenRequest(parURL, auth, params...)
}

// Pushed is the answer to a pushed authorization request.
type Pushed struct {
	// RequestURI goes into the front channel once, with client_id and nothing
	// else: see [Pushed.Front].
	RequestURI string
	// ExpiresIn is how long it may be used, from [Answer].Received on.
	ExpiresIn time.Duration
}

// ParsePushed reads the answer to r (RFC 9126 §2.2). Anything but a 201 with a
// request_uri and a lifetime is an error, a *[ServerError] where the server
// refused.
func ParsePushed(a *Answer, r *Request) (*Pushed, error) {
	if a.Status != http.StatusCreated {
		return nil, fmt.Errorf("pushing authorization request: %w", Refusal(a, r))
	}
	members, err := answerMembers(a, Dialect{})
	if err != nil {
		return nil, fmt.Errorf("reading pushed request answer: %w", err)
	}
	d := Dialect{}
	uris := d.find(members, "request_uri")
	if len(uris) != 1 || text(uris[0]) == "" || !plainASCII(text(uris[0])) {
		return nil, errors.New("reading pushed request answer: it has no usable request_uri")
	}
	lifetime, state := expiresIn(d.find(members, "expires_in"))
	if state != ExpiresInOK {
		return nil, errors.New("reading pushed request answer: expires_in is " + strings.ReplaceAll(expiresInNames[state], "-", " "))
	}
	return &Pushed{RequestURI: text(uris[0]), ExpiresIn: lifetime}, nil
}

// Front is what the browser carries (RFC 9126 §4): client_id and request_uri.
func (p Pushed) Front(clientID string) Form {
	return Form{{"client_id", clientID}, {"request_uri", p.RequestURI}}
}
