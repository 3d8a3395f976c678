package oauth

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Param is one parameter of a form. Printing it shows the name only.
type Param struct {
	// Name and Value are plain text, not yet encoded.
	Name, Value string
}

// String shows the name and the size of the value.
func (p Param) String() string { return p.Name + "=" + sized(len(p.Value)) }

// Format writes what String returns, whatever the verb.
func (p Param) Format(f fmt.State, _ rune) { io.WriteString(f, p.String()) }

// LogValue returns what String returns.
func (p Param) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalText returns what String returns.
func (p Param) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Form is an ordered list of parameters; nil is an empty form. The order is
// kept on the wire: what a server logged can be compared byte for byte.
// Printing a form shows names and sizes only.
type Form []Param

// Add appends a parameter, even if the name is there already.
func (f *Form) Add(name, value string) { *f = append(*f, Param{name, value}) }

// Set gives the first parameter of this name the value and drops further ones;
// a new name goes last.
func (f *Form) Set(name, value string) {
	kept := (*f)[:0]
	found := false
	for _, p := range *f {
		if p.Name == name {
			if found {
				continue
			}
			found, p.Value = true, value
		}
		kept = append(kept, p)
	}
	if !found {
		kept = append(kept, Param{name, value})
	}
	*f = kept
}

// Get returns the first value of this name, or "".
func (f Form) Get(name string) string {
	for _, p := range f {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// Has reports whether a parameter of this name is there.
func (f Form) Has(name string) bool {
	for _, p := range f {
		if p.Name == name {
			return true
		}
	}
	return false
}

// Encode returns the form as application/x-www-form-urlencoded, in its order
// (RFC 6749 appendix B).
func (f Form) Encode() string {
	var b strings.Builder
	for i, p := range f {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(p.Name))
		b.WriteByte('=')
		b.WriteString(url.QueryEscape(p.Value))
	}
	return b.String()
}

// JSON returns the form as a JSON object of strings, in its order. The values of
// a repeated name become an array of strings.
func (f Form) JSON() []byte {
	b := []byte{'{'}
	for i, p := range f {
		if f[:i].Has(p.Name) {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(appendQuote(b, p.Name), ':')
		if !f[i+1:].Has(p.Name) {
			b = appendQuote(b, p.Value)
			continue
		}
		open := byte('[')
		for _, same := range f[i:] {
			if same.Name == p.Name {
				b = appendQuote(append(b, open), same.Value)
				open = ','
			}
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

// appendQuote appends a JSON string; invalid UTF-8 becomes U+FFFD.
func appendQuote(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s)
	return b
}

// String shows names and sizes.
func (f Form) String() string {
	names := make([]string, len(f))
	for i, p := range f {
		names[i] = p.String()
	}
	return strings.Join(names, "&")
}

// Format writes what String returns, whatever the verb.
func (f Form) Format(s fmt.State, _ rune) { io.WriteString(s, f.String()) }

// LogValue returns what String returns.
func (f Form) LogValue() slog.Value { return slog.StringValue(f.String()) }

// Request is a request to an endpoint of an authorization server, made by a
// function such as [RefreshRequest] and sent once by [Client.Send]. It may be
// changed in between, to add what a provider asks for.
type Request struct {
	// Method is POST (also when empty) or GET.
	Method string
	// URL of the endpoint: https, or http on a loopback host. A query is kept
	// (RFC 6749 §3.2); user information and a fragment are refused.
	URL string
	// Form is the body, unless Body is set.
	Form Form
	// Body, unless nil, is sent instead of the Form; set its Content-Type in the
	// Header. A Form beside it is not sent but still names the secrets. A GET has
	// no body: its Form goes into the URL first, by [Request.Encode].
	Body []byte
	// Header holds further header fields. Those that frame the message (Host,
	// Content-Length, Connection and the like) can't be set.
	Header http.Header
}

// method is what goes on the wire.
func (r *Request) method() string { return orElse(r.Method, http.MethodPost) }

// Encode moves the parameters to where a provider wants them: into a JSON
// object ("json"), into the query of the URL ("query"), or nowhere ("form" or
// ""). Call it last, when client authentication and all else is in the Form.
// The Form stays, as the list of what is secret. In JSON every value is a
// string, and a repeated name has an array of strings.
func (r *Request) Encode(body string) error {
	switch body {
	case "", "form":
		return nil
	case "json":
		r.Body = r.Form.JSON()
		if r.Header == nil {
			r.Header = http.Header{}
		}
		r.Header.Set("Content-Type", "application/json")
		return nil
	case "query":
		u, err := url.Parse(r.URL)
		if err != nil {
			return refuse("the URL can't be read")
		}
		if len(r.Form) > 0 {
			if u.RawQuery != "" && !strings.HasSuffix(u.RawQuery, "&") {
				u.RawQuery += "&"
			}
			u.RawQuery += r.Form.Encode()
		}
		r.URL, r.Body = u.String(), []byte{}
		r.Header.Del("Content-Type")
		return nil
	}
	return fmt.Errorf("encoding request: %q is none of form, json and query", body)
}

// String shows the method, the endpoint and the names of the parameters.
func (r Request) String() string {
	s := clean(r.method(), 16) + " " + publicURL(r.URL) + " " + r.Form.String()
	if len(r.Body) > 0 {
		s += " body " + sized(len(r.Body))
	}
	return s
}

// Format writes what String returns, whatever the verb.
func (r Request) Format(f fmt.State, _ rune) { io.WriteString(f, r.String()) }

// LogValue returns what String returns.
func (r Request) LogValue() slog.Value { return slog.StringValue(r.String()) }

// MarshalText returns what String returns.
func (r Request) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Secrets lists what a server could quote back at us: all values but the ones
// that are the same for everybody. What is in Body alone is not among them.
func (r *Request) Secrets() []Secret {
	var list []Secret
	for _, p := range r.Form {
		if !openParam(p.Name) {
			list = append(list, NewSecret(p.Value))
		}
	}
	for name, values := range r.Header {
		if openHeader(name) {
			continue
		}
		for _, v := range values {
			list = append(list, NewSecret(v))
			if _, credentials, ok := strings.Cut(v, " "); ok {
				list = append(list, NewSecret(credentials))
			}
		}
	}
	return list
}

// publicURL is the URL as far as an error or a log may show it: without user
// information, query and fragment.
func publicURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "(unreadable URL)"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
