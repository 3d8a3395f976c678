package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// ErrNotPublished: nothing is at the places where the document should be. The
// chain holds the last *[MetadataError].
var ErrNotPublished = errors.New("no metadata document is published")

// IssuerError says that a document speaks for another issuer than the one it
// was asked for (RFC 8414 §3.3): an attack, or a name typed differently.
type IssuerError struct {
	// Asked and Got are issuers; Got is the server's text, cleaned.
	Asked, Got string
}

func (e *IssuerError) Error() string {
	if e.SlashOnly() {
		return fmt.Sprintf("the server calls itself %q, not %q: the slash at the end counts", e.Got, e.Asked)
	}
	return fmt.Sprintf("the document is that of issuer %q, not of %q", e.Got, e.Asked)
}

// SlashOnly reports whether the two differ by a slash at the end and nothing
// else. Whoever typed the name may be asked to type it with, or without.
func (e *IssuerError) SlashOnly() bool {
	return strings.TrimSuffix(e.Asked, "/") == strings.TrimSuffix(e.Got, "/")
}

// Endpoints of an authorization server; "" where it has none. Each is https, or
// http on this machine if the issuer is on it too.
type Endpoints struct {
	Authorization       string // RFC 6749 §3.1
	Token               string // RFC 6749 §3.2
	PushedAuthorization string // RFC 9126 §5
	DeviceAuthorization string // RFC 8628 §4
	Revocation          string // RFC 7009 §2
	Introspection       string // RFC 7662 §2
	Registration        string // RFC 7591 §3
	Userinfo            string // OpenID Connect Core §5.3
}

// ServerMetadata is what an authorization server says of itself (RFC 8414 §2,
// OpenID Connect Discovery §3). A nil list means that it does not say.
type ServerMetadata struct {
	// Issuer is identical to the one asked for.
	Issuer string
	Endpoints
	// JWKSURI is where the server's keys are; see [Client.FetchJWKS].
	JWKSURI string

	Scopes []string
	// ResponseTypes, ResponseModes and GrantTypes: nil modes stand for query
	// and fragment, nil grants for authorization_code and implicit.
	ResponseTypes, ResponseModes, GrantTypes []string
	// AuthMethods and AuthAlgs of the token endpoint; nil methods stand for
	// client_secret_basic. The lists for revocation and introspection are those
	// of the token endpoint where they are nil.
	AuthMethods, AuthAlgs                           []string
	RevocationAuthMethods, IntrospectionAuthMethods []string
	// CodeChallengeMethods (RFC 7636); nil may mean that PKCE is not supported.
	CodeChallengeMethods []string
	// IssParameter: callbacks carry iss (RFC 9207 §3).
	IssParameter bool
	// RequirePushed (RFC 9126 §5) and RequireRequestObject (RFC 9101 §10.5).
	RequirePushed, RequireRequestObject bool
	// RequestParameter: request objects are taken by value (OpenID Connect).
	RequestParameter   bool
	RequestObjectAlgs  []string
	IDTokenAlgs        []string
	AuthorizationTypes []string // of RFC 9396 §10
	// DPoPAlgs for proofs (RFC 9449 §5.1); nil means no DPoP.
	DPoPAlgs []string
	// CertificateBound: access tokens are bound to a client certificate (RFC
	// 8705 §3.3). MTLS are the endpoints for mutual TLS that differ (§5).
	CertificateBound bool
	MTLS             Endpoints
	// ClientIDDocuments: a client_id may be a URL, see [Client.FetchClientDocument].
	ClientIDDocuments bool

	// Members are all that the document holds.
	Members []Member
}

// MutualTLS are the endpoints for a client with a certificate: those of
// mtls_endpoint_aliases, and the others where there is no alias (RFC 8705 §5).
func (m *ServerMetadata) MutualTLS() Endpoints {
	e := m.MTLS
	e.Authorization = orElse(e.Authorization, m.Authorization)
	e.Token = orElse(e.Token, m.Token)
	e.PushedAuthorization = orElse(e.PushedAuthorization, m.PushedAuthorization)
	e.DeviceAuthorization = orElse(e.DeviceAuthorization, m.DeviceAuthorization)
	e.Revocation = orElse(e.Revocation, m.Revocation)
	e.Introspection = orElse(e.Introspection, m.Introspection)
	e.Registration = orElse(e.Registration, m.Registration)
	e.Userinfo = orElse(e.Userinfo, m.Userinfo)
	return e
}

// Discover gets the metadata of an issuer. It asks where RFC 8414 §3.1 puts
// them, then where OpenID Connect Discovery §4 does, in the order of RFC 8414
// §5, and takes the first document that stands the tests. Each is one request;
// none is repeated.
//
// Errors are *[SendError] (which ends the search), *[IssuerError],
// *[MetadataError] for a document that is there and no good, and
// [ErrNotPublished]. Set [Client].Gate if the issuer was not typed by a person.
func (c *Client) Discover(ctx context.Context, issuer string) (*ServerMetadata, error) {
	u, err := CheckIssuer(issuer)
	if err != nil {
		return nil, err
	}
	var faults []error
	for _, place := range issuerPlaces(u) {
		a, err := c.fetch(ctx, place)
		if err != nil {
			return nil, fmt.Errorf("discovering %s: %w", issuer, err)
		}
		m, err := ParseServerMetadata(a, place, issuer)
		if err == nil {
			return m, nil
		}
		faults = append(faults, err)
	}
	return nil, fmt.Errorf("discovering %s: %w", issuer, gravest(faults))
}

// CheckIssuer says whether a text can be an issuer: a URL of https, or of http
// on this machine, without query and fragment (RFC 8414 §2). The error is a
// *[SendError] of PhaseURL.
func CheckIssuer(issuer string) (*url.URL, error) {
	if len(issuer) > maxURL || !plainASCII(issuer) {
		return nil, refuse("the issuer is too long or not ASCII")
	}
	u, err := endpoint(issuer)
	if err != nil {
		return nil, err
	}
	if strings.Contains(issuer, "?") {
		return nil, refuse("the issuer has a query")
	}
	return u, nil
}

// issuerPlaces are the URLs to ask, in their order.
func issuerPlaces(u *url.URL) []string {
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	places := []string{wellKnown(u, "oauth-authorization-server"), wellKnown(u, "openid-configuration")}
	if path == "" {
		return places // the third would be the second
	}
	return append(places, origin(u)+path+"/.well-known/openid-configuration")
}

// gravest chooses what to report: a document that is there and no good before
// places where there is none.
func gravest(faults []error) error {
	var last error
	for _, err := range faults {
		var m *MetadataError
		if !errors.As(err, &m) || m.Status == 0 {
			return err
		}
		last = err
	}
	return fmt.Errorf("%w: %w", ErrNotPublished, last)
}

// ParseServerMetadata reads an answer that came from documentURL as the
// metadata of issuer. It is strict about what decides where secrets go: the
// issuer is identical (RFC 8414 §3.3), every endpoint is a URL that may be used,
// and no member that is read is there twice. Errors are *[IssuerError] and
// *[MetadataError].
func ParseServerMetadata(a *Answer, documentURL, issuer string) (*ServerMetadata, error) {
	u, err := CheckIssuer(issuer)
	if err != nil {
		return nil, err
	}
	d := open(a, documentURL, loopback(u.Hostname()))
	if d.err != nil {
		return nil, d.err
	}
	if got := d.exact("issuer"); got != issuer && d.err == nil {
		return nil, &IssuerError{Asked: issuer, Got: clean(got, maxText)}
	}
	m := &ServerMetadata{Issuer: issuer, Endpoints: d.endpoints(), Members: d.members}
	d.describe(m)
	d.aliases(m)
	if d.err != nil {
		return nil, d.err
	}
	return m, nil
}

func (d *document) endpoints() Endpoints {
	return Endpoints{
		Authorization:       d.link("authorization_endpoint"),
		Token:               d.link("token_endpoint"),
		PushedAuthorization: d.link("pushed_authorization_request_endpoint"),
		DeviceAuthorization: d.link("device_authorization_endpoint"),
		Revocation:          d.link("revocation_endpoint"),
		Introspection:       d.link("introspection_endpoint"),
		Registration:        d.link("registration_endpoint"),
		Userinfo:            d.link("userinfo_endpoint"),
	}
}

func (d *document) describe(m *ServerMetadata) {
	m.JWKSURI = d.link("jwks_uri")
	m.Scopes = d.list("scopes_supported")
	m.ResponseTypes = d.list("response_types_supported")
	m.ResponseModes = d.list("response_modes_supported")
	m.GrantTypes = d.list("grant_types_supported")
	m.AuthMethods = d.list("token_endpoint_auth_methods_supported")
	m.AuthAlgs = d.list("token_endpoint_auth_signing_alg_values_supported")
	m.RevocationAuthMethods = d.list("revocation_endpoint_auth_methods_supported")
	m.IntrospectionAuthMethods = d.list("introspection_endpoint_auth_methods_supported")
	m.CodeChallengeMethods = d.list("code_challenge_methods_supported")
	m.IssParameter = d.flag("authorization_response_iss_parameter_supported")
	m.RequirePushed = d.flag("require_pushed_authorization_requests")
	m.RequireRequestObject = d.flag("require_signed_request_object")
	m.RequestParameter = d.flag("request_parameter_supported")
	m.RequestObjectAlgs = d.list("request_object_signing_alg_values_supported")
	m.IDTokenAlgs = d.list("id_token_signing_alg_values_supported")
	m.AuthorizationTypes = d.list("authorization_details_types_supported")
	m.DPoPAlgs = d.list("dpop_signing_alg_values_supported")
	m.CertificateBound = d.flag("tls_client_certificate_bound_access_tokens")
	m.ClientIDDocuments = d.flag("client_id_metadata_document_supported")
}

// aliases reads mtls_endpoint_aliases with the same strictness.
func (d *document) aliases(m *ServerMetadata) {
	v := d.value("mtls_endpoint_aliases")
	if v == nil {
		return
	}
	inner := &document{url: d.url, local: d.local}
	if inner.members, _ = jsonMembers(v); kind(v) != '{' {
		d.fault("mtls_endpoint_aliases", "is not an object")
	}
	m.MTLS = inner.endpoints()
	if d.err == nil {
		d.err = inner.err
	}
}
