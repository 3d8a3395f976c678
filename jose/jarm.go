package jose

import (
	"errors"
	"slices"
	"time"

	"github.com/evergrant/evergrant/oauth"
)

// VerifyResponse checks a signed authorization response, the parameter
// "response" of a redirect (JARM §2.4), and returns the parameters in it, sorted
// by name, "iss" among them. state and iss are for the caller to compare, as in
// an unsigned response. What breaks a rule is refused with a [RefusedError].
func (p Provider) VerifyResponse(response string, now time.Time) (oauth.Form, error) {
	if p.Issuer == "" || p.ClientID == "" || now.IsZero() {
		return nil, errors.New("checking authorization response: issuer, client id and time have to be known")
	}
	form, err := p.response(response, now)
	if err != nil {
		return nil, named(err, "authorization response")
	}
	return form, nil
}

func (p Provider) response(response string, now time.Time) (oauth.Form, error) {
	o, err := p.open(response)
	if err != nil {
		return nil, err
	}
	if err := p.checkIssuer(o); err != nil {
		return nil, err
	}
	if err := p.checkAudience(o); err != nil {
		return nil, err
	}
	if err := p.checkExpiry(o, now); err != nil {
		return nil, err
	}
	var form oauth.Form
	for name, raw := range o.claims {
		if slices.Contains([]string{"aud", "exp", "iat", "nbf", "jti"}, name) || len(raw) == 0 {
			continue
		}
		value, ok := o.text(name)
		if !ok && raw[0] >= '0' && raw[0] <= '9' { // expires_in
			value, ok = string(raw), true
		}
		if ok {
			form = append(form, oauth.Param{Name: name, Value: value})
		}
	}
	slices.SortFunc(form, func(a, b oauth.Param) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return form, nil
}
