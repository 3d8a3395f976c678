package idptest

import (
	"encoding/json"
	"maps"
	"mime"
	"net/url"
	"slices"
	"strings"
)

// A dialect is how a provider's requests and answers differ from the RFCs, as
// its own pages and clients show it. Maps lead from a standard name to the
// provider's; where there is one the standard name is refused, so that a client
// that speaks both by chance is found out.
type dialect struct {
	name      string
	authorize map[string]string // parameters of the authorization request
	unknown   []string          // parameters that it must not have
	prefix    string            // of the client's name in the authorization request
	callback  map[string]string // parameters of the redirect
	brings    url.Values        // what else is in the redirect
	echoed    []string          // of these, what the code exchange must bring
	needs     url.Values        // what the code exchange must have, and the values
	request   map[string]string // parameters of token requests
	json      bool              // token requests are JSON, all their values strings
	answer    map[string]string // members of good answers
}

var dialects = []dialect{
	{name: "rfc"},
	{
		name:      "amazon-sp",
		authorize: map[string]string{"client_id": "application_id"}, prefix: "amzn1.sp.solution.",
		unknown:  []string{"response_type", "scope", "code_challenge"},
		callback: map[string]string{"code": "spapi_oauth_code"},
		brings:   url.Values{"selling_partner_id": {"A3SELLER"}, "mws_auth_token": {"amzn.mws.1"}},
	},
	{
		name:    "aws-sso",
		request: map[string]string{"client_id": "clientId", "client_secret": "clientSecret", "grant_type": "grantType", "refresh_token": "refreshToken", "redirect_uri": "redirectUri", "code_verifier": "codeVerifier", "device_code": "deviceCode"},
		json:    true,
		answer:  map[string]string{"access_token": "accessToken", "refresh_token": "refreshToken", "expires_in": "expiresIn", "token_type": "tokenType", "id_token": "idToken", "scope": ""},
	},
	{
		name:   "bigcommerce",
		brings: url.Values{"context": {"stores/g5cd38"}, "scope": {"store_v2_orders"}},
		echoed: []string{"context", "scope"},
	},
	{
		name:    "shopify",
		brings:  url.Values{"shop": {"acme.myshopify.com"}, "hmac": {"70c1"}, "host": {"YWRtaW4"}, "timestamp": {"1790000000"}},
		needs:   url.Values{"expiring": {"1"}},
		unknown: []string{"code_challenge"},
	},
	{
		name:      "tiktok",
		authorize: map[string]string{"client_id": "client_key"},
		brings:    url.Values{"scopes": {"user.info.basic"}},
		request:   map[string]string{"client_id": "client_key"},
	},
	{
		name:      "wechat",
		authorize: map[string]string{"client_id": "appid"},
		unknown:   []string{"code_challenge"},
		request:   map[string]string{"client_id": "appid", "client_secret": "secret"},
		answer:    map[string]string{"token_type": ""},
	},
}

func dialectNames() []string {
	var names []string
	for _, d := range dialects {
		names = append(names, d.name)
	}
	return names
}

func (s *Server) dialect() dialect {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dialectLocked()
}

func (s *Server) dialectLocked() dialect {
	name := s.habits.Dialect
	i := slices.IndexFunc(dialects, func(d dialect) bool { return d.name == name })
	return dialects[max(i, 0)]
}

// standard gives the parameters their standard names. What the provider would
// not understand is refused; the ledger keeps the names as they came.
func (d dialect) standard(q *request, names map[string]string) *reply {
	for standard, own := range names {
		if q.params.Has(standard) {
			return refusal("invalid_request", "unknown parameter "+standard)
		}
		if v, ok := q.params[own]; ok {
			q.params[standard] = v
			delete(q.params, own)
		}
	}
	return nil
}

// hearAuthorize reads an authorization request.
func (d dialect) hearAuthorize(q *request) *reply {
	for _, name := range d.unknown {
		if q.params.Has(name) {
			return html(400, "<html><body>unknown parameter "+name+"</body></html>")
		}
	}
	if a := d.standard(q, d.authorize); a != nil {
		return html(400, "<html><body>a parameter has another name here</body></html>")
	}
	id, ok := strings.CutPrefix(q.get("client_id"), d.prefix)
	if !ok {
		return html(400, "<html><body>no application of that name</body></html>")
	}
	q.params.Set("client_id", id)
	if slices.Contains(d.unknown, "response_type") {
		q.params.Set("response_type", "code")
	}
	return nil
}

// back gives the redirect its own names, with what else it brings.
func (d dialect) back(v url.Values) {
	for standard, own := range d.callback {
		if v.Has(standard) {
			v[own] = v[standard]
			delete(v, standard)
		}
	}
	for name, values := range d.brings {
		v[name] = values
	}
}

// hearToken reads a token request.
func (d dialect) hearToken(q *request) *reply {
	ctype, _, _ := mime.ParseMediaType(q.r.Header.Get("Content-Type"))
	if d.json {
		var members map[string]string
		if ctype != "application/json" || json.Unmarshal(q.body, &members) != nil || len(q.params) > 0 {
			return refusal("invalid_request", "the body is no JSON object of strings")
		}
		for _, name := range slices.Sorted(maps.Keys(members)) {
			q.add(name, members[name])
		}
	}
	if a := d.standard(q, d.request); a != nil {
		return a
	}
	if q.get("grant_type") != "authorization_code" {
		return nil
	}
	for _, name := range d.echoed {
		if q.get(name) != d.brings.Get(name) {
			return refusal("invalid_request", "missing "+name)
		}
	}
	for name, values := range d.needs {
		if q.get(name) != values[0] {
			return refusal("invalid_request", "missing "+name)
		}
	}
	return nil
}

// answers gives a good answer its own names; those that are empty are left out.
func (d dialect) answers(a *reply) {
	if a.status/100 != 2 {
		return
	}
	for i, m := range a.object {
		if own, ok := d.answer[m.name]; ok {
			a.object[i].name = own
		}
	}
	a.object.remove("")
}
