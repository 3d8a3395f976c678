package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Registration is the client that a dynamic registration asks for (RFC 7591
// §2). Empty fields are not sent: the server's defaults hold then.
type Registration struct {
	RedirectURIs []string
	// Name and URI are shown to the person who consents.
	Name, URI string
	// GrantTypes and ResponseTypes; empty stands for authorization_code and
	// code, which does not ask for refresh tokens: name refresh_token too.
	GrantTypes, ResponseTypes []string
	// AuthMethod at the token endpoint, such as none; empty stands for
	// client_secret_basic.
	AuthMethod string
	Scope      string
	// ApplicationType is native or web (OpenID Connect Registration §2); some
	// servers take loopback redirects from a native one only.
	ApplicationType string
	// JWKS is a JSON object with the client's public keys; JWKSURI is where
	// they are. Not both.
	JWKS    []byte
	JWKSURI string
	// SoftwareID and SoftwareVersion tell the server which program this is.
	SoftwareID, SoftwareVersion string
	// SoftwareStatement is a JWT of somebody that the server trusts (§2.3).
	SoftwareStatement Secret
	// DPoPBound asks for tokens bound to a key (RFC 9449 §5.2).
	DPoPBound bool
	// Extra are members beyond these; values are JSON.
	Extra []Member
}

// JSON is the body of a registration request.
func (r Registration) JSON() ([]byte, error) {
	if len(r.JWKS) > 0 && (r.JWKSURI != "" || !jsontext.Value(r.JWKS).IsValid()) {
		return nil, errors.New("making registration request: the keys are no JSON, or given twice")
	}
	var o object
	o.list("redirect_uris", r.RedirectURIs)
	o.text("client_name", r.Name)
	o.text("client_uri", r.URI)
	o.list("grant_types", r.GrantTypes)
	o.list("response_types", r.ResponseTypes)
	o.text("token_endpoint_auth_method", r.AuthMethod)
	o.text("scope", r.Scope)
	o.text("application_type", r.ApplicationType)
	o.raw("jwks", r.JWKS)
	o.text("jwks_uri", r.JWKSURI)
	o.text("software_id", r.SoftwareID)
	o.text("software_version", r.SoftwareVersion)
	o.text("software_statement", r.SoftwareStatement.Reveal())
	if r.DPoPBound {
		o.raw("dpop_bound_access_tokens", []byte("true"))
	}
	for _, m := range r.Extra {
		if !jsontext.Value(m.Value).IsValid() {
			return nil, fmt.Errorf("making registration request: %q is no JSON", m.Name)
		}
		o.raw(m.Name, m.Value)
	}
	return o.close(), nil
}

// object writes a JSON object; empty values are left out.
type object []byte

func (o *object) raw(name string, value []byte) {
	if len(value) == 0 {
		return
	}
	before := byte(',')
	if len(*o) == 0 {
		before = '{'
	}
	*o = append(append(appendQuote(append(*o, before), name), ':'), value...)
}

func (o *object) text(name, value string) {
	if value != "" {
		o.raw(name, appendQuote(nil, value))
	}
}

func (o *object) list(name string, values []string) {
	var b []byte
	for i, v := range values {
		b = appendQuote(append(b, "[,"[min(i, 1)]), v)
	}
	if b != nil {
		o.raw(name, append(b, ']'))
	}
}

func (o *object) close() []byte {
	if len(*o) == 0 {
		return []byte("{}")
	}
	return append(*o, '}')
}

// Registered is a client that a server has made (RFC 7591 §3.2.1). The server
// may have changed anything that was asked for.
type Registered struct {
	ClientID string
	// ClientSecret is zero for a public client.
	ClientSecret Secret
	// IssuedAt and SecretExpires in UTC; zero IssuedAt means not told, zero
	// SecretExpires never.
	IssuedAt, SecretExpires time.Time
	// AuthMethod at the token endpoint, as it is now.
	AuthMethod string
	// RedirectURIs as they are now; nil if the server does not say.
	RedirectURIs []string
	// ManagementURI and ManagementToken change and delete the client (RFC 7592);
	// empty where the server does not offer it. The URI is not for anything else.
	ManagementURI   string
	ManagementToken Secret
	// Members are all that the answer holds.
	Members []Member
}

// Auth is the client authentication that the server settled on. Methods with
// keys are an error: they need more than the answer has.
func (r Registered) Auth() (ClientAuth, error) {
	switch r.AuthMethod {
	case "none":
		return None(r.ClientID), nil
	case "client_secret_post":
		return Post(r.ClientID, r.ClientSecret), nil
	case "client_secret_basic":
		return Basic(r.ClientID, r.ClientSecret), nil
	}
	return nil, fmt.Errorf("the client was registered for %q, which needs a key", r.AuthMethod)
}

// RegisterRequest makes a registration request (RFC 7591 §3.1). initial is the
// initial access token, zero for a server that registers anybody.
func RegisterRequest(registerURL string, reg Registration, initial Secret) (*Request, error) {
	if _, err := endpoint(registerURL); err != nil {
		return nil, err
	}
	body, err := reg.JSON()
	if err != nil {
		return nil, err
	}
	h := http.Header{"Accept": {"application/json"}}
	if !initial.IsZero() {
		h = bearer(initial)
	}
	h.Set("Content-Type", "application/json")
	r := &Request{URL: registerURL, Header: h, Body: body}
	r.Form.addIf("software_statement", reg.SoftwareStatement.Reveal()) // not sent: names what to keep out of texts
	return r, nil
}

// Register sends a [RegisterRequest] once and reads the answer by
// [ParseRegistered]. It makes a client at each call: keep what it returns.
func (c *Client) Register(ctx context.Context, registerURL string, reg Registration, initial Secret) (*Registered, error) {
	r, err := RegisterRequest(registerURL, reg, initial)
	if err != nil {
		return nil, err
	}
	a, err := c.Send(ctx, r, nil)
	if err != nil {
		return nil, fmt.Errorf("registering client: %w", err)
	}
	return ParseRegistered(a, r)
}

// ParseRegistered reads the answer to r. Errors are *[RetryError],
// *[ServerError] (§3.2.2, such as invalid_redirect_uri) and *[MetadataError].
// A 200 is taken for the 201 that it should be.
func ParseRegistered(a *Answer, r *Request) (*Registered, error) {
	if err := busy(a); err != nil {
		return nil, fmt.Errorf("registering client: %w", err)
	}
	if a.Status != http.StatusCreated && a.Status != http.StatusOK {
		return nil, fmt.Errorf("registering client: %w", wordyRefusal(a, r))
	}
	made := *a
	made.Status = http.StatusOK
	u, err := endpoint(r.URL)
	if err != nil {
		return nil, err
	}
	d := open(&made, r.URL, loopback(u.Hostname()))
	reg := d.registered()
	if d.err != nil {
		return nil, fmt.Errorf("registering client: %w", d.err)
	}
	return reg, nil
}

func (d *document) registered() *Registered {
	reg := &Registered{
		ClientID:        d.printable("client_id"),
		ClientSecret:    NewSecret(d.printable("client_secret")),
		IssuedAt:        d.date("client_id_issued_at"),
		SecretExpires:   d.date("client_secret_expires_at"),
		AuthMethod:      d.text("token_endpoint_auth_method"),
		RedirectURIs:    d.list("redirect_uris"),
		ManagementURI:   d.link("registration_client_uri"),
		ManagementToken: NewSecret(d.printable("registration_access_token")),
		Members:         d.members,
	}
	if reg.AuthMethod == "" { // RFC 7591 §2 names basic as the default
		reg.AuthMethod = "client_secret_basic"
		if reg.ClientSecret.IsZero() {
			reg.AuthMethod = "none"
		}
	}
	if reg.ClientID == "" {
		d.fault("client_id", "is missing")
	}
	if reg.ClientSecret.IsZero() && strings.HasPrefix(reg.AuthMethod, "client_secret_") {
		d.fault("client_secret", "is missing")
	}
	return reg
}

// printable is a string of VSCHAR (RFC 6749 A.1, A.2): it will be sent back.
func (d *document) printable(name string) string {
	v := d.value(name)
	if v == nil {
		return ""
	}
	t, reason := token(v)
	if reason != "" {
		d.fault(name, reason)
	}
	return t
}
