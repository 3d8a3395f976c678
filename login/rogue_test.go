package login_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/evergrant/evergrant/login"
)

// rogue is an authorization server of our own that does what a test asks for.
// Its zero functions are those of an honest one.
type rogue struct {
	*testing.T
	base string
	key  *ecdsa.PrivateKey

	// callback changes the parameters that the browser brings back.
	callback func(v, asked url.Values)
	// answer changes the token answer; claims the ID token in it.
	answer func(m map[string]any)
	claims func(m map[string]any)
	// header of the ID token; algs are those the server lists; jwks, if set, is
	// the published key.
	header map[string]any
	algs   []string
	jwks   map[string]any
	// token answers token requests itself and reports true.
	token func(w http.ResponseWriter, r *http.Request) bool
	// metadata changes the document of discovery.
	metadata func(m map[string]any)

	// other answers what is no endpoint of these.
	other func(w http.ResponseWriter, r *http.Request)

	mu     sync.Mutex
	asked  url.Values            // of the last authorization request
	pushed map[string]url.Values // by request_uri
	seen   []*http.Request       // with their forms parsed
	bodies []string
}

func newRogue(t *testing.T) *rogue {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &rogue{T: t, key: key, pushed: map[string]url.Values{}, header: map[string]any{"alg": "ES256", "kid": "k"}}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.base = srv.URL
	return s
}

func (s *rogue) server() login.Server {
	return login.Server{Issuer: s.base, Authorize: s.base + "/authorize", Token: s.base + "/token", Push: s.base + "/par",
		Device: s.base + "/device", Keys: s.base + "/jwks", IDTokenAlgs: s.algs}
}

func (s *rogue) config(u *user) login.Config {
	return login.Config{Server: s.server(), ClientID: "app", Open: u.open, Show: u.show, Timeout: 10 * time.Second}
}

// requests are those to one path.
func (s *rogue) requests(path string) []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*http.Request
	for _, r := range s.seen {
		if r.URL.Path == path {
			list = append(list, r)
		}
	}
	return list
}

func (s *rogue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ParseForm()
	s.mu.Lock()
	s.seen, s.bodies = append(s.seen, r), append(s.bodies, string(body))
	s.mu.Unlock()
	switch r.URL.Path {
	case "/authorize":
		s.authorize(w, r)
	case "/token":
		s.redeem(w, r)
	case "/par":
		uri := fmt.Sprintf("urn:pushed:%d", len(s.pushed))
		s.mu.Lock()
		s.pushed[uri] = r.PostForm
		s.mu.Unlock()
		reply(w, 201, map[string]any{"request_uri": uri, "expires_in": 60})
	case "/jwks":
		key := s.jwks
		if key == nil {
			key = s.publicKey()
		}
		reply(w, 200, map[string]any{"keys": []any{key}})
	case "/.well-known/oauth-authorization-server":
		m := map[string]any{"issuer": s.base, "authorization_endpoint": s.base + "/authorize", "token_endpoint": s.base + "/token", "jwks_uri": s.base + "/jwks",
			"code_challenge_methods_supported": []string{"S256"}}
		if s.metadata == nil {
			w.WriteHeader(404)
			return
		}
		s.metadata(m)
		reply(w, 200, m)
	default:
		if s.other != nil {
			s.other(w, r)
			return
		}
		w.WriteHeader(404)
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func (s *rogue) authorize(w http.ResponseWriter, r *http.Request) {
	asked := r.URL.Query()
	s.mu.Lock()
	if p := s.pushed[asked.Get("request_uri")]; p != nil {
		asked = p
	}
	if jwt := asked.Get("request"); jwt != "" {
		asked = claimsOf(s.T, jwt)
	}
	s.asked = asked
	s.mu.Unlock()
	v := url.Values{"code": {"the-code"}, "state": {asked.Get("state")}, "iss": {s.base}}
	if s.callback != nil {
		s.callback(v, asked)
	}
	if asked.Get("response_mode") == "form_post" {
		fmt.Fprintf(w, "post to %s\n%s", asked.Get("redirect_uri"), v.Encode())
		return
	}
	http.Redirect(w, r, asked.Get("redirect_uri")+"?"+v.Encode(), http.StatusFound)
}

func (s *rogue) redeem(w http.ResponseWriter, r *http.Request) {
	if s.token != nil && s.token(w, r) {
		return
	}
	m := map[string]any{"access_token": "at", "refresh_token": "rt", "token_type": "Bearer", "expires_in": 3600}
	s.mu.Lock()
	asked := s.asked
	s.mu.Unlock()
	if has(asked.Get("scope"), "openid") {
		now := time.Now().Unix()
		c := map[string]any{"iss": s.base, "sub": "user-1", "aud": "app", "iat": now, "exp": now + 300, "nonce": asked.Get("nonce")}
		if s.claims != nil {
			s.claims(c)
		}
		m["id_token"] = s.sign(s.header, c)
	}
	if s.answer != nil {
		s.answer(m)
	}
	reply(w, 200, m)
}

func (s *rogue) publicKey() map[string]any {
	raw, err := s.key.PublicKey.Bytes()
	if err != nil {
		s.Error(err)
	}
	b := base64.RawURLEncoding.EncodeToString
	return map[string]any{"kty": "EC", "crv": "P-256", "kid": "k", "use": "sig", "alg": "ES256", "x": b(raw[1:33]), "y": b(raw[33:])}
}

// sign makes a JWT with the standard library alone. alg none gets no signature.
func (s *rogue) sign(header, claims map[string]any) string {
	part := func(v any) string {
		raw, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	text := part(header) + "." + part(claims)
	if header["alg"] == "none" {
		return text + "."
	}
	sum := sha256.Sum256([]byte(text))
	der, err := s.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		s.Error(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(rawSignature(der))
}

// rawSignature turns the DER of two 256 bit numbers into JWS's form (RFC 7518
// §3.4).
func rawSignature(der []byte) []byte {
	out := make([]byte, 64)
	at := 2
	for i := range 2 {
		n := int(der[at+1])
		v := der[at+2 : at+2+n]
		for len(v) > 32 {
			v = v[1:]
		}
		copy(out[32*(i+1)-len(v):], v)
		at += 2 + n
	}
	return out
}

// claimsOf reads the payload of a JWT without judging it.
func claimsOf(t *testing.T, jwt string) url.Values {
	v := url.Values{}
	_, rest, _ := bytes.Cut([]byte(jwt), []byte("."))
	payload, _, _ := bytes.Cut(rest, []byte("."))
	raw, err := base64.RawURLEncoding.DecodeString(string(payload))
	var m map[string]any
	if err != nil || json.Unmarshal(raw, &m) != nil {
		t.Errorf("reading JWT: %v", err)
	}
	for name, value := range m {
		v.Set(name, fmt.Sprint(value))
	}
	return v
}
