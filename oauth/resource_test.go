package oauth_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evergrant/evergrant/oauth"
)

const placeResource = "/.well-known/oauth-protected-resource"

func resourceDoc(resource string, more ...string) page {
	members := append([]string{`"resource":"` + resource + `"`, `"authorization_servers":["BASE/as"]`}, more...)
	return page{body: "{" + strings.Join(members, ",") + "}"}
}

func challenge(text string) page {
	return page{status: 401, body: "{}", header: map[string]string{"Www-Authenticate": text}}
}

// TestRFC9728Places: a challenge names the place, else the well-known ones are
// asked, the resource's own before the origin's (MCP 2025-11-25).
func TestRFC9728Places(t *testing.T) {
	named := challenge(`Bearer error="invalid_token", resource_metadata="BASE/meta", scope="files:read"`)
	for _, tt := range []struct {
		name, resource, asked, got, scope string
		exact                             bool
		pages                             map[string]page
	}{
		{"by challenge", "/mcp", "/mcp /meta", "/mcp", "files:read", true, map[string]page{"/mcp": named, "/meta": resourceDoc("BASE/mcp"), placeResource + "/mcp": resourceDoc("BASE/mcp")}},
		{"own place", "/public/mcp", "/public/mcp " + placeResource + "/public/mcp", "/public/mcp", "", true, map[string]page{placeResource + "/public/mcp": resourceDoc("BASE/public/mcp")}},
		{"own place, slash", "/mcp/", "/mcp/ " + placeResource + "/mcp", "/mcp/", "", true, map[string]page{placeResource + "/mcp": resourceDoc("BASE/mcp/")}},
		{"own place, query", "/mcp?k=1", "/mcp?k=1 " + placeResource + "/mcp?k=1", "/mcp?k=1", "", true, map[string]page{placeResource + "/mcp": resourceDoc("BASE/mcp?k=1")}},
		{"origin", "", "/ " + placeResource, "", "", true, map[string]page{placeResource: resourceDoc("BASE")}},
		{"origin's place", "/mcp", "/mcp " + placeResource + "/mcp " + placeResource, "", "", false, map[string]page{placeResource: resourceDoc("BASE")}},
		{"a challenge without a place", "/mcp", "/mcp " + placeResource + "/mcp", "/mcp", "s", true, map[string]page{"/mcp": challenge(`Bearer scope="s"`), placeResource + "/mcp": resourceDoc("BASE/mcp")}},
		{"another's first", "/mcp", "/mcp " + placeResource + "/mcp " + placeResource, "/", "", false, map[string]page{placeResource + "/mcp": resourceDoc("https://other.example"), placeResource: resourceDoc("BASE/")}},
		{"no challenge in a 200", "/mcp", "/mcp " + placeResource + "/mcp", "/mcp", "", true, map[string]page{"/mcp": {header: map[string]string{"Www-Authenticate": `Bearer resource_metadata="BASE/meta"`}}, placeResource + "/mcp": resourceDoc("BASE/mcp")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, tt.pages)
			m, err := new(oauth.Client).DiscoverResource(t.Context(), s.url+tt.resource)
			if err != nil {
				t.Fatal(err)
			}
			if s.paths() != tt.asked {
				t.Errorf("asked %s", s.paths())
			}
			if m.Resource != s.url+tt.got || m.Exact != tt.exact || m.ChallengeScope != tt.scope || !slices.Equal(m.AuthorizationServers, []string{s.url + "/as"}) {
				t.Errorf("got %+v", m)
			}
		})
	}
}

// TestRFC9728Resource (9728-1): identical, or the same origin and a path above.
func TestRFC9728Resource(t *testing.T) {
	for _, tt := range []struct {
		asked, got string
		ok, exact  bool
	}{
		{"https://h/a/b", "https://h/a/b", true, true},
		{"https://h/a/b?q=1", "https://h/a/b?q=1", true, true},
		{"https://h/a/b", "https://h/a", true, false},
		{"https://h/a/b", "https://h/a/", true, false},
		{"https://h/a/b", "https://h/a/b/", true, false},
		{"https://h/a/b/", "https://h/a/b", true, false},
		{"https://h/a/b", "https://h", true, false},
		{"https://h/a/b", "https://h/", true, false},
		{"https://h/a/b?q=1", "https://h/a/b", true, false},
		{"https://h:443/a", "https://h", true, false},
		{"https://H/a", "https://h/a", true, false},
		{"https://h/a/b", "https://h/a/bc", false, false},
		{"https://h/a/bc", "https://h/a/b", false, false},
		{"https://h/a", "https://h/a/b", false, false},
		{"https://h/a", "https://h/A", false, false},
		{"https://h/a", "https://g/a", false, false},
		{"https://h/a", "https://h.evil/a", false, false},
		{"https://h/a", "https://h:8443/a", false, false},
		{"https://127.0.0.1/a", "http://127.0.0.1/a", false, false},
		{"https://h/a/b", "https://h/a?", false, false},
		{"https://h/a/b", "https://h/a?x=1", false, false},
		{"https://h/a/b", "https://h/a#f", false, false},
		{"https://h/a/b", "https://u@h/a", false, false},
		{"https://h/a/b", "https://h/x/../a", false, false},
		{"https://h/a/../b", "https://h/a", false, false},
		{"https://h/a/%2e%2E/b", "https://h/a", false, false},
		{"https://h/a%2Fb", "https://h/a", false, false},
		{"https://h/a//b", "https://h/a", false, false},
		{"https://h/a", "javascript:alert(1)", false, false},
		{"https://h/a", "", false, false},
	} {
		doc := `{"resource":"` + tt.got + `","authorization_servers":["https://as.example"]}`
		m, err := oauth.ParseResourceMetadata(plain(200, "application/json", doc), "https://h/", tt.asked)
		if (err == nil) != tt.ok || m != nil && m.Exact != tt.exact {
			t.Errorf("asked %s, got %s: %v, %+v", tt.asked, tt.got, err, m)
		}
		var e *oauth.ResourceError
		if !tt.ok && (!errors.As(err, &e) || e.Got != tt.got) {
			t.Errorf("asked %s, got %s: error %v", tt.asked, tt.got, err)
		}
	}
}

func TestHostileResource(t *testing.T) {
	mcp := func(p page) map[string]page { return map[string]page{placeResource: p, placeResource + "/mcp": p} }
	named := func(url string) map[string]page {
		return map[string]page{"/mcp": challenge(`Bearer resource_metadata="` + url + `"`), placeResource + "/mcp": resourceDoc("BASE/mcp")}
	}
	for _, tt := range []struct {
		name  string
		pages map[string]page
		want  string
	}{
		{"nothing there", nil, "no metadata document is published"},
		{"redirect", mcp(page{status: 307, header: map[string]string{"Location": "BASE/good"}}), "status 307"},
		{"page", mcp(page{kind: "text/html", body: resourceDoc("BASE/mcp").body}), "type application/json"},
		{"huge", mcp(page{body: `{"x":"` + strings.Repeat("x", 1<<20) + `"}`}), "512 KiB"},
		{"another's", mcp(resourceDoc("https://other.example/mcp")), "the document is that of resource"},
		{"twice", mcp(resourceDoc("BASE/mcp", `"resource":"BASE/mcp"`)), "resource is there more than once"},
		{"servers twice", mcp(resourceDoc("BASE/mcp", `"authorization_servers":[]`)), "authorization_servers is there more than once"},
		{"keys by file", mcp(resourceDoc("BASE/mcp", `"jwks_uri":"file:///`+canary+`"`)), "jwks_uri can't be used"},
		{"challenge with javascript", named("javascript:" + canary), "resource_metadata of the challenge can't be used"},
		{"challenge with file", named("file:///" + canary), "resource_metadata of the challenge can't be used"},
		{"challenge with http", named("http://as.example/" + canary), "resource_metadata of the challenge can't be used"},
		{"challenge with user", named("https://u:" + canary + "@as.example/"), "resource_metadata of the challenge can't be used"},
		{"challenge to nothing, no fallback", named("BASE/gone"), "no metadata document is published"},
	} {
		t.Run("9728-1 "+tt.name, func(t *testing.T) {
			s := newSite(t, tt.pages)
			m, err := new(oauth.Client).DiscoverResource(t.Context(), s.url+"/mcp")
			if m != nil {
				t.Errorf("got %+v", m)
			}
			contains(t, err, tt.want)
		})
	}
	for _, bad := range []string{"http://h/", "https://h/#f", "https://u@h/", "https://h/é", "mcp.example.com", "https://h/" + strings.Repeat("x", 5000)} {
		if _, err := new(oauth.Client).DiscoverResource(t.Context(), bad); err == nil {
			t.Errorf("%s was asked", bad)
		}
	}
}

// TestRFC9728Gate (9728-1, RFC 9728 §7.7): what a resource names passes the gate
// like the resource itself.
func TestRFC9728Gate(t *testing.T) {
	s := newSite(t, map[string]page{"/mcp": challenge(`Bearer resource_metadata="BASE/meta"`), "/meta": resourceDoc("BASE/mcp")})
	_, err := (&oauth.Client{Gate: oauth.PublicOnly}).DiscoverResource(t.Context(), s.url+"/mcp")
	contains(t, err, "the address is refused")
	if s.paths() != "" {
		t.Errorf("asked %s", s.paths())
	}
	c := &oauth.Client{Gate: oauth.GateFor(t.Context(), s.url)}
	if _, err := c.DiscoverResource(t.Context(), s.url+"/mcp"); err != nil {
		t.Error(err)
	}
}

// TestRFC9728Candidates (9728-1): servers are candidates; what can't be an
// issuer, or is on this machine though the resource is not, is left out.
func TestRFC9728Candidates(t *testing.T) {
	doc := `{"resource":"https://h/","authorization_servers":["https://a.example","javascript:1","http://b.example","https://c.example/?q","https://d.example/#","https://localhost",
		"http://127.0.0.1:1","https://u@e.example",5,null,"","https://é.example","https://f.example/t"],"scopes_supported":["x","y"],"resource_name":"N\u0007\u202eame",
		"bearer_methods_supported":["header"],"dpop_signing_alg_values_supported":["ES256"],"dpop_bound_access_tokens_required":true,"tls_client_certificate_bound_access_tokens":true,"jwks_uri":"https://h/keys"}`
	m, err := oauth.ParseResourceMetadata(plain(200, "application/json", doc), "https://h/", "https://h/")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"https://a.example", "https://f.example/t"}; !slices.Equal(m.AuthorizationServers, want) {
		t.Errorf("candidates %q", m.AuthorizationServers)
	}
	if !slices.Equal(m.Scopes, []string{"x", "y"}) || m.Name != "Name" || !m.DPoPRequired || !m.CertificateBound || m.JWKSURI != "https://h/keys" || m.BearerMethods[0] != "header" || m.DPoPAlgs[0] != "ES256" {
		t.Errorf("got %+v", m)
	}
	many := `{"resource":"https://h/","authorization_servers":[` + strings.Repeat(`"https://a.example",`, 99) + `"https://a.example"]}`
	if m, err := oauth.ParseResourceMetadata(plain(200, "", many), "https://h/", "https://h/"); err != nil || len(m.AuthorizationServers) != 16 {
		t.Errorf("%d candidates, %v", len(m.AuthorizationServers), err)
	}
}

// TestResourceThatStreams: a resource that answers with an endless stream, as an
// MCP server without authorization does, holds nobody up for long.
func TestResourceThatStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := piped(t, func(c net.Conn) {
			r, err := http.ReadRequest(bufio.NewReader(c))
			if err != nil {
				return
			}
			if r.URL.Path == "/mcp" {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hello\n\n")
				io.Copy(io.Discard, c)
				return
			}
			io.WriteString(c, ok(`{"resource":"http://localhost/mcp"}`))
		})
		start := time.Now()
		m, err := c.DiscoverResource(t.Context(), "http://localhost/mcp")
		if err != nil || m.Resource != "http://localhost/mcp" || m.AuthorizationServers != nil {
			t.Errorf("got %+v, %v", m, err)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// TestResourceSilent: no answer at all is an error, not a place to go on from.
func TestResourceSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := piped(t, silent).DiscoverResource(t.Context(), "http://localhost/mcp")
		contains(t, err, "deadline")
	})
}

func FuzzResourceMetadata(f *testing.F) {
	f.Add(`{"resource":"https://h/a","authorization_servers":["https://as.example"]}`)
	f.Add(`{"resource":"https://h/a/../b","authorization_servers":"https://as.example"}`)
	f.Fuzz(func(t *testing.T, body string) {
		m, err := oauth.ParseResourceMetadata(plain(http.StatusOK, "application/json", body), "https://h/", "https://h/a/b")
		if (m == nil) == (err == nil) {
			t.Fatalf("got %v and %v", m, err)
		}
		if err != nil {
			return
		}
		if m.Exact != (m.Resource == "https://h/a/b") || !strings.HasPrefix(strings.ToLower(m.Resource), "https://h") {
			t.Errorf("resource %q, exact %t", m.Resource, m.Exact)
		}
		for _, issuer := range m.AuthorizationServers {
			if _, err := oauth.CheckIssuer(issuer); err != nil {
				t.Errorf("candidate %q: %v", issuer, err)
			}
		}
	})
}

// FuzzResourceChallenge: whatever a challenge says, the place it names is short
// and fits on one line. That the place may be asked is checked after this.
func FuzzResourceChallenge(f *testing.F) {
	for _, s := range []string{`Bearer resource_metadata="https://h/meta"`, `DPoP resource_metadata=https://h/meta, algs="ES256"`, `Bearer resource_metadata="javascript:1"`, `Basic x, Bearer scope="a", resource_metadata="http://127.0.0.1/"`, `Bearer resource_metadata="https://h/\"x"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		c := oauth.ParseChallenge(http.Header{"Www-Authenticate": {line}})
		if len(c.ResourceMetadata) > 512 || strings.ContainsAny(c.ResourceMetadata, "\r\n\x00") {
			t.Errorf("%q", c.ResourceMetadata)
		}
	})
}
