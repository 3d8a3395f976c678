package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	maxServers   = 16               // candidates that are read
	probeTimeout = 10 * time.Second // a stream that a resource opens never ends
)

// ResourceError says that a document speaks for another resource than the one
// it was asked for (RFC 9728 §3.3): it would have us get tokens for somebody
// else's.
type ResourceError struct {
	// Asked and Got are resource identifiers; Got is the server's text, cleaned.
	Asked, Got string
}

func (e *ResourceError) Error() string {
	return fmt.Sprintf("the document is that of resource %q, not of %q", e.Got, e.Asked)
}

// ResourceMetadata is what a protected resource says of itself (RFC 9728 §2).
type ResourceMetadata struct {
	// Resource to name in the resource parameter (RFC 8707). It is the one asked
	// for, or one above it; see Exact.
	Resource string
	// Exact is true if Resource is identical to the URL asked for, as RFC 9728
	// §3.3 demands. False means the same origin and a path above, as MCP servers
	// name themselves: a token then is good for all below it, which a person
	// should see before consenting.
	Exact bool
	// AuthorizationServers are issuers, candidates only: nothing is proved
	// until [Client.Discover] of one agrees. Those that can't be issuers are
	// left out.
	AuthorizationServers []string
	// Scopes of scopes_supported; nil if it does not say.
	Scopes []string
	// ChallengeScope is the scope its challenge asked for (RFC 6750 §3), which
	// goes before Scopes; "" if there was none.
	ChallengeScope string
	// Name, cleaned, for people.
	Name string
	// BearerMethods such as header; nil if it does not say.
	BearerMethods []string
	// DPoPAlgs, and whether DPoP or a client certificate is demanded.
	DPoPAlgs                       []string
	DPoPRequired, CertificateBound bool
	// JWKSURI is where the resource's own keys are.
	JWKSURI string
	// Members are all that the document holds.
	Members []Member
}

// DiscoverResource gets the metadata of a protected resource such as an MCP
// server. It sends one request without a token to the resource: if that is
// refused with a challenge that names the document (RFC 9728 §5.1) it is taken
// from there and nowhere else. Otherwise the well-known place for the
// resource's path is asked, then that of its origin (MCP authorization
// 2025-11-25).
//
// Errors are *[SendError], *[ResourceError], *[MetadataError] and
// [ErrNotPublished]: an MCP server of 2025-03-26 publishes none, and its origin
// may be asked by [Client.Discover]. Set [Client].Gate: the resource chooses
// which hosts are asked next.
func (c *Client) DiscoverResource(ctx context.Context, resource string) (*ResourceMetadata, error) {
	u, err := checkResource(resource)
	if err != nil {
		return nil, err
	}
	challenge, err := c.probe(ctx, resource)
	if err != nil {
		return nil, fmt.Errorf("discovering %s: %w", publicURL(resource), err)
	}
	places := resourcePlaces(u)
	if named := challenge.ResourceMetadata; named != "" && len(named) < maxText { // a longer one was cut
		if reason := unfit(named, loopback(u.Hostname())); reason != "" {
			return nil, fmt.Errorf("discovering %s: resource_metadata of the challenge can't be used: %s", publicURL(resource), reason)
		}
		places = []string{named}
	}
	m, err := c.firstResource(ctx, places, resource)
	if err != nil {
		return nil, fmt.Errorf("discovering %s: %w", publicURL(resource), err)
	}
	m.ChallengeScope = challenge.Scope
	return m, nil
}

func (c *Client) firstResource(ctx context.Context, places []string, resource string) (*ResourceMetadata, error) {
	var faults []error
	for _, place := range places {
		a, err := c.fetch(ctx, place)
		if err != nil {
			return nil, err
		}
		m, err := ParseResourceMetadata(a, place, resource)
		if err == nil {
			return m, nil
		}
		faults = append(faults, err)
	}
	return nil, gravest(faults)
}

// probe asks the resource once without a token. A resource that starts to
// answer and does not end, as a stream does, has no challenge for us.
func (c *Client) probe(ctx context.Context, resource string) (Challenge, error) {
	brief := *c
	brief.Timeout = min(c.timeout(), probeTimeout)
	a, err := brief.fetch(ctx, resource)
	var e *SendError
	if errors.As(err, &e) && e.Status != 0 && ctx.Err() == nil {
		return Challenge{}, nil
	}
	if err != nil {
		return Challenge{}, err
	}
	if a.Status != http.StatusUnauthorized {
		return Challenge{}, nil
	}
	return ParseChallenge(a.Header), nil
}

// checkResource: RFC 9728 §1.2 wants https and no fragment; we take http on this
// machine too.
func checkResource(resource string) (*url.URL, error) {
	if len(resource) > maxURL || !plainASCII(resource) {
		return nil, refuse("the resource is too long or not ASCII")
	}
	return endpoint(resource)
}

// resourcePlaces are the URLs to ask, in their order.
func resourcePlaces(u *url.URL) []string {
	const name = "oauth-protected-resource"
	own, root := wellKnown(u, name), origin(u)+"/.well-known/"+name
	if own == root {
		return []string{root}
	}
	return []string{own, root}
}

// ParseResourceMetadata reads an answer that came from documentURL as the
// metadata of resource. Errors are *[ResourceError] and *[MetadataError].
func ParseResourceMetadata(a *Answer, documentURL, resource string) (*ResourceMetadata, error) {
	asked, err := checkResource(resource)
	if err != nil {
		return nil, err
	}
	local := loopback(asked.Hostname())
	d := open(a, documentURL, local)
	if d.err != nil {
		return nil, d.err
	}
	got := d.exact("resource")
	if d.err == nil && got != resource && !above(got, asked) {
		return nil, &ResourceError{Asked: publicURL(resource), Got: clean(got, maxText)}
	}
	m := &ResourceMetadata{
		Resource: got, Exact: got == resource, Members: d.members,
		AuthorizationServers: d.issuers(local),
		Scopes:               d.list("scopes_supported"),
		Name:                 d.text("resource_name"),
		BearerMethods:        d.list("bearer_methods_supported"),
		DPoPAlgs:             d.list("dpop_signing_alg_values_supported"),
		DPoPRequired:         d.flag("dpop_bound_access_tokens_required"),
		CertificateBound:     d.flag("tls_client_certificate_bound_access_tokens"),
		JWKSURI:              d.link("jwks_uri"),
	}
	if d.err != nil {
		return nil, d.err
	}
	return m, nil
}

// issuers reads authorization_servers, leaving out what no issuer can be.
func (d *document) issuers(local bool) []string {
	v := d.value("authorization_servers")
	if kind(v) != '[' {
		return nil
	}
	var list []string
	for _, e := range elements(v) {
		issuer := text(e)
		if _, err := CheckIssuer(issuer); err == nil && unfit(issuer, local) == "" && len(list) < maxServers {
			list = append(list, issuer)
		}
	}
	return list
}

// above reports whether got is a resource identifier that asked lies under: the
// same scheme, host and port, and a path that is whole segments of asked's. Dots
// and escaped slashes in a path could mean another one to the server.
func above(got string, asked *url.URL) bool {
	u, err := checkResource(got)
	if err != nil || u.RawQuery != "" || u.ForceQuery || !sameOrigin(u, asked) {
		return false
	}
	path, under := u.EscapedPath(), asked.EscapedPath()
	if devious(path) || devious(under) {
		return false
	}
	path = strings.TrimSuffix(path, "/")
	return path == under || strings.HasPrefix(under+"/", path+"/")
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(hostPort(a), hostPort(b))
}

func devious(path string) bool {
	lower := strings.ToLower(path)
	for _, s := range []string{"%2e", "%2f", "%5c", "\\", "//"} {
		if strings.Contains(lower, s) {
			return true
		}
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}
