package idptest

import (
	"net/http"
	"strings"
)

// trapPath is where redirect faults lead.
const trapPath = "/redirected/token"

func (s *Server) routes() *http.ServeMux {
	m := http.NewServeMux()
	on := func(pattern string, endpoint func(q *request) *reply) { m.HandleFunc(pattern, s.handle(endpoint)) }
	on(trapPath, s.trap)
	on("/.well-known/openid-configuration", s.discoveryEndpoint)
	on("/.well-known/oauth-authorization-server", s.discoveryEndpoint)
	if s.persona == Salesforce {
		s.salesforceRoutes(on)
	} else {
		s.genericRoutes(on)
	}
	on("/", func(*request) *reply { return html(404, "<html><body>404 not found</body></html>") })
	return m
}

func (s *Server) genericRoutes(on func(string, func(*request) *reply)) {
	on("/authorize", s.authorizeEndpoint)
	on("/token", s.tokenEndpoint)
	on("/revoke", s.revokeEndpoint)
	on("/introspect", s.introspectEndpoint)
	on("/device_authorization", s.deviceEndpoint)
	on("/device", s.devicePage)
	on("/userinfo", s.protected(s.userinfoEndpoint))
	on("/resource", s.protected(s.resourceEndpoint))
	on("/jwks", s.keysEndpoint)
}

func (s *Server) salesforceRoutes(on func(string, func(*request) *reply)) {
	const oauth = "/services/oauth2/"
	on(oauth+"authorize", s.authorizeEndpoint)
	on(oauth+"authorize/{brand}", s.authorizeEndpoint)
	on(oauth+"token", s.tokenEndpoint)
	on(oauth+"revoke", s.revokeEndpoint)
	on(oauth+"introspect", s.introspectEndpoint)
	on(oauth+"userinfo", s.protected(s.userinfoEndpoint))
	on("/setup/connect", s.devicePage)
	on("/id/keys", s.keysEndpoint)
	on("/id/{org}/{user}", s.protected(s.userinfoEndpoint))
	on("/services/data", s.versionsEndpoint)
	on("/services/data/{$}", s.versionsEndpoint)
	on("/services/data/{version}", s.protected(s.resourcesEndpoint))
	on("/services/data/{version}/{$}", s.protected(s.resourcesEndpoint))
	on("/services/data/{version}/limits", s.protected(s.limitsEndpoint))
	on("/services/data/{version}/limits/{$}", s.protected(s.limitsEndpoint))
	on("/services/data/{version}/query", s.protected(s.queryEndpoint))
	on("/services/data/{version}/query/{$}", s.protected(s.queryEndpoint))
	on("/services/data/{version}/sobjects/{type}/{id}", s.protected(s.recordEndpoint))
	on("/resource", s.protected(s.resourceEndpoint))
}

// trap is where a client comes that follows a redirect of the token endpoint.
// Whatever it brings is noted; the tokens it gets belong to no grant.
func (s *Server) trap(q *request) *reply {
	s.note(q.entry, func(e *Entry) {
		e.Verdict = Trapped
		if t := s.refresh[q.get("refresh_token")]; t != nil {
			e.GrantID, e.Generation = t.grant.id, t.generation
		}
	})
	return jsonReply(200, `{"access_token":"trap-access","refresh_token":"trap-refresh","token_type":"Bearer","expires_in":3600,"scope":"read"}`)
}

// protected lets an endpoint be reached only with a living access token. The
// entry says whose it was.
func (s *Server) protected(endpoint func(q *request, a *accessToken) *reply) func(*request) *reply {
	return func(q *request) *reply {
		if code := s.Habits().ResourceStatus; code != 0 {
			return s.denied(q, code)
		}
		a, ok := s.use(bearer(q))
		if a != nil {
			s.note(q.entry, func(e *Entry) { e.GrantID, e.AccessNumber = a.grant.id, a.number })
		}
		if !ok {
			return s.denied(q, http.StatusUnauthorized)
		}
		if need := q.r.URL.Query().Get("need_scope"); need != "" {
			if _, has := narrowed(a.scope, need); !has {
				return challenge(403, `Bearer error="insufficient_scope", scope="`+need+`"`)
			}
		}
		return endpoint(q, a)
	}
}

// bearer is the access token of the request (RFC 6750 §2.1); Salesforce's
// identity URL takes it as a parameter too.
func bearer(q *request) string {
	scheme, token, _ := strings.Cut(q.r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "OAuth") {
		return strings.TrimSpace(token)
	}
	return q.get("oauth_token")
}

// denied is the refusal of a protected resource in the persona's words.
func (s *Server) denied(q *request, code int) *reply {
	path := q.r.URL.Path
	switch {
	case code != http.StatusUnauthorized:
		return page(code)(q)
	case s.persona != Salesforce:
		return challenge(code, `Bearer realm="simulator", error="invalid_token", error_description="The access token expired"`)
	case strings.HasPrefix(path, "/id/"), strings.HasPrefix(path, "/services/oauth2/"):
		text := "Bad_OAuth_Token"
		if bearer(q) == "" {
			text = "Missing_OAuth_Token"
		}
		return &reply{status: http.StatusForbidden, body: []byte(text), ctype: "text/html;charset=UTF-8"}
	}
	a := jsonReply(code, `[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]`)
	a.header.Set("WWW-Authenticate", `Token`)
	return a
}

// challenge is RFC 6750 §3.
func challenge(code int, value string) *reply {
	a := jsonReply(code, `{"error":"unauthorized"}`)
	a.header.Set("WWW-Authenticate", value)
	return a
}

// resourceEndpoint is a plain API: it says whose token it saw, and echoes the
// method, path and body size so that proxies can be checked.
func (s *Server) resourceEndpoint(q *request, a *accessToken) *reply {
	out := &reply{status: http.StatusOK}
	out.object.set("ok", true)
	out.object.set("sub", s.subject(a.grant, q.base))
	out.object.set("access_number", a.number)
	out.object.set("method", q.r.Method)
	out.object.set("body_bytes", len(q.body))
	return out
}

// discoveryEndpoint is RFC 8414 and OpenID discovery in one; the issuer is the
// host the request was sent to.
func (s *Server) discoveryEndpoint(q *request) *reply {
	oauth, keys := q.base, q.base+"/jwks"
	if s.persona == Salesforce {
		oauth, keys = q.base+"/services/oauth2", q.base+"/id/keys"
	}
	a := &reply{status: http.StatusOK}
	o := &a.object
	o.set("issuer", q.base)
	o.set("authorization_endpoint", oauth+"/authorize")
	o.set("token_endpoint", oauth+"/token")
	o.set("revocation_endpoint", oauth+"/revoke")
	o.set("introspection_endpoint", oauth+"/introspect")
	o.set("userinfo_endpoint", oauth+"/userinfo")
	o.set("jwks_uri", keys)
	o.set("id_token_signing_alg_values_supported", []string{"RS256"})
	o.set("subject_types_supported", []string{"public"})
	if s.persona == Salesforce {
		o.set("response_types_supported", []string{"code", "token", "token id_token"})
		o.set("display_values_supported", []string{"page", "popup", "touch"})
		o.set("token_endpoint_auth_methods_supported", []string{"client_secret_post", "client_secret_basic", "private_key_jwt"})
		return a
	}
	o.set("response_types_supported", []string{"code"})
	o.set("grant_types_supported", []string{"authorization_code", "refresh_token", "client_credentials", deviceGrant, jwtBearer, tokenExchange})
	o.set("device_authorization_endpoint", q.base+"/device_authorization")
	o.set("token_endpoint_auth_methods_supported", []string{"none", "client_secret_post", "client_secret_basic"})
	o.set("code_challenge_methods_supported", []string{"S256"})
	o.set("authorization_response_iss_parameter_supported", s.pick(s.Habits().CallbackIss, "right", "absent") != "absent")
	return a
}
