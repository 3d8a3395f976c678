package evergrant_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evergrant/evergrant"
)

// prover is an authorization server and an API that want a proof of possession
// (RFC 9449), written with the standard library alone: it verifies each proof by
// hand.
type prover struct {
	*httptest.Server
	t *testing.T

	mu       sync.Mutex
	nonce    string // wanted in every proof; "" wants none
	fickle   bool   // the nonce that it gives is out of use at once
	bearer   bool   // answers with token_type Bearer
	lose     bool   // the next answer to a refresh is lost
	life     int    // of the access token of a login, in seconds
	jtis     map[string]bool
	bound    map[string]string // living tokens: the thumbprint of their key
	accepted []string          // refresh tokens that were taken, in order
	asked    []string          // what came, in order: path and verdict
	count    int
}

func newProver(t *testing.T) *prover {
	p := &prover{t: t, life: 3600, jtis: map[string]bool{}, bound: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("/api/", p.api)
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

// issue makes a token that is bound to a key.
func (p *prover) issue(kind, jkt string) string {
	p.count++
	token := fmt.Sprintf("%s-%d", kind, p.count)
	p.bound[token] = jkt
	return token
}

// login keeps a grant bound to a new key in a file.
func (p *prover) login(path string, cfg evergrant.Config) (jwk string) {
	p.t.Helper()
	jwk = newProofKey(p.t)
	p.mu.Lock()
	jkt := thumbprint(p.t, []byte(jwk))
	answer := fmt.Appendf(nil, `{"access_token": %q, "refresh_token": %q, "token_type": "DPoP", "expires_in": %d, "dpop_jwk": %s}`, p.issue("at", jkt), p.issue("rt", jkt), p.life, jwk)
	p.mu.Unlock()
	if err := evergrant.KeepFile(context.Background(), path, answer, cfg); err != nil {
		p.t.Fatal(err)
	}
	return jwk
}

// inFile is a grant in a file, and the Config for later runs.
func (p *prover) inFile() (path string, cfg evergrant.Config) {
	p.t.Helper()
	path = filepath.Join(p.t.TempDir(), "token.json")
	cfg = evergrant.Config{ClientID: "app", TokenURL: p.URL + "/token", RescueDirs: []string{p.t.TempDir()}}
	p.login(path, cfg)
	return path, evergrant.Config{RescueDirs: cfg.RescueDirs, CallTimeout: 3 * time.Second, ExchangeTimeout: time.Second}
}

func (p *prover) open(path string, cfg evergrant.Config) *evergrant.Source {
	p.t.Helper()
	s, err := evergrant.OpenFile(path, cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { s.Close() })
	return s
}

// set changes the server between requests.
func (p *prover) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *prover) came() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

// errNonce: the proof is good but for the nonce.
var errNonce = errors.New("use_dpop_nonce")

// prove verifies the proof of a request (RFC 9449 §4.3) and gives the
// thumbprint of its key.
func (p *prover) prove(r *http.Request, accessToken string) (string, error) {
	fields := r.Header.Values("DPoP")
	if len(fields) != 1 {
		return "", fmt.Errorf("%d DPoP headers", len(fields))
	}
	parts := strings.Split(fields[0], ".")
	if len(parts) != 3 {
		return "", errors.New("it is no compact JWS")
	}
	var header struct {
		Typ, Alg string
		JWK      map[string]string
	}
	var claims struct {
		JTI, HTM, HTU, ATH, Nonce string
		IAT                       int64
	}
	if err := errors.Join(decode(parts[0], &header), decode(parts[1], &claims)); err != nil {
		return "", err
	}
	if header.Typ != "dpop+jwt" || header.Alg != "ES256" || header.JWK["d"] != "" {
		return "", fmt.Errorf("the header is of type %q, alg %q, or shows the private key", header.Typ, header.Alg)
	}
	if err := verifyES256(header.JWK, parts); err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(accessToken))
	ath := base64.RawURLEncoding.EncodeToString(sum[:])
	switch age := time.Since(time.Unix(claims.IAT, 0)); {
	case claims.HTM != r.Method, claims.HTU != p.URL+r.URL.Path:
		return "", fmt.Errorf("it is for %s %s", claims.HTM, claims.HTU)
	case age > time.Minute || age < -time.Minute:
		return "", fmt.Errorf("it is %v old", age)
	case claims.JTI == "" || p.jtis[claims.JTI]:
		return "", errors.New("it was seen before")
	case accessToken == "" && claims.ATH != "" || accessToken != "" && claims.ATH != ath:
		return "", errors.New("it is for another access token")
	}
	p.jtis[claims.JTI] = true
	if p.nonce != claims.Nonce && p.nonce != "" {
		return "", errNonce
	}
	return thumbprintOf(header.JWK), nil
}

func decode(part string, v any) error {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

func verifyES256(jwk map[string]string, parts []string) error {
	x, errX := base64.RawURLEncoding.DecodeString(jwk["x"])
	y, errY := base64.RawURLEncoding.DecodeString(jwk["y"])
	sig, errS := base64.RawURLEncoding.DecodeString(parts[2])
	if errors.Join(errX, errY, errS) != nil || len(sig) != 64 || jwk["kty"] != "EC" || jwk["crv"] != "P-256" {
		return errors.New("the key or the signature is malformed")
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if !ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		return errors.New("the signature is not of this key")
	}
	return nil
}

// thumbprintOf is RFC 7638 §3 for a P-256 key.
func thumbprintOf(jwk map[string]string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, jwk["x"], jwk["y"]))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func thumbprint(t *testing.T, jwk []byte) string {
	t.Helper()
	var members map[string]string
	if err := json.Unmarshal(jwk, &members); err != nil {
		t.Fatal(err)
	}
	return thumbprintOf(members)
}

// refused answers with an error and, where a nonce is wanted, the nonce.
func (p *prover) refused(w http.ResponseWriter, r *http.Request, status int, code string, err error) {
	if err == errNonce {
		code = "use_dpop_nonce"
		w.Header().Set("DPoP-Nonce", p.nonce)
		if p.fickle {
			p.count++
			p.nonce = fmt.Sprintf("nonce-%d", p.count)
		}
	}
	p.asked = append(p.asked, r.URL.Path+" "+code)
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`DPoP error="%s", algs="ES256"`, code))
	}
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error": %q}`, code)
}

func (p *prover) token(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sent := r.PostFormValue("refresh_token")
	jkt, err := p.prove(r, "")
	if err != nil {
		if err != errNonce {
			p.t.Errorf("token request: its proof is refused: %v", err)
		}
		p.refused(w, r, http.StatusBadRequest, "invalid_dpop_proof", err)
		return
	}
	if p.bound[sent] != jkt {
		p.refused(w, r, http.StatusBadRequest, "invalid_grant", nil)
		return
	}
	delete(p.bound, sent)
	p.accepted = append(p.accepted, sent)
	p.asked = append(p.asked, r.URL.Path+" ok")
	kind := "DPoP"
	if p.bearer {
		kind = "Bearer"
	}
	answer := fmt.Appendf(nil, `{"access_token": %q, "refresh_token": %q, "token_type": %q, "expires_in": 3600}`, p.issue("at", jkt), p.issue("rt", jkt), kind)
	if p.lose {
		p.lose = false
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(answer)
}

func (p *prover) api(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	jkt, err := p.prove(r, token)
	switch {
	case scheme != "DPoP":
		p.t.Errorf("the token came as %q", scheme)
		p.refused(w, r, http.StatusUnauthorized, "invalid_token", nil)
	case err != nil:
		p.refused(w, r, http.StatusUnauthorized, "invalid_dpop_proof", err)
	case p.bound[token] != jkt:
		p.refused(w, r, http.StatusUnauthorized, "invalid_token", nil)
	default:
		p.asked = append(p.asked, r.URL.Path+" ok")
	}
}

// fileOf reads what a token file holds.
func fileOf(t *testing.T, path string) (doc struct {
	Access  string          `json:"access_token"`
	Refresh string          `json:"refresh_token"`
	Key     json.RawMessage `json:"dpop_jwk"`
}) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &doc)
	}
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestRFC9449_1_4Refresh: rows 9449-1 and 9449-4. Each refresh has a proof of the
// key that stands in one file with the refresh token, through rotations and in
// runs of other processes.
func TestRFC9449_1_4Refresh(t *testing.T) {
	p := newProver(t)
	path, cfg := p.inFile()
	key := fileOf(t, path).Key
	for range 3 {
		r, err := p.open(path, cfg).Refresh(context.Background(), evergrant.RefreshOptions{})
		if err != nil || !r.Token.Bound() || !r.Rotated || r.Token.Type != "DPoP" {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	doc := fileOf(t, path)
	if !bytes.Equal(doc.Key, key) || p.bound[doc.Refresh] != thumbprint(t, key) {
		t.Error("the file does not hold the key with the refresh token that is bound to it")
	}
	if len(p.accepted) != 3 || len(slices.Compact(p.accepted)) != 3 {
		t.Errorf("the server took %q", p.accepted)
	}
}

// TestRFC9449_2NonceAtTheServer: row 9449-2. The answer that only asks for a nonce
// spends nothing and counts as no failure; the request is made once more.
func TestRFC9449_2NonceAtTheServer(t *testing.T) {
	p := newProver(t)
	path, cfg := p.inFile()
	p.set(func() { p.nonce = "n1" })
	var said []string
	cfg.OnEvent = func(e evergrant.Event) { said = append(said, fmt.Sprintf("%T", e)) }
	s := p.open(path, cfg)
	began := time.Now()
	if _, err := s.Refresh(context.Background(), evergrant.RefreshOptions{}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"/token use_dpop_nonce", "/token ok"}; !slices.Equal(p.came(), want) || len(p.accepted) != 1 {
		t.Errorf("the server saw %q", p.came())
	}
	if slices.Contains(said, "evergrant.Waiting") || time.Since(began) > 2*time.Second {
		t.Errorf("the nonce was waited for: %q", said)
	}
	if _, err := s.Refresh(context.Background(), evergrant.RefreshOptions{}); err != nil || len(p.came()) != 3 {
		t.Errorf("the nonce was not kept: %q, %v", p.came(), err)
	}
	p.set(func() { p.nonce = "n2" })
	if _, err := s.Refresh(context.Background(), evergrant.RefreshOptions{}); err != nil || len(p.came()) != 5 {
		t.Errorf("the newest nonce counts: %q, %v", p.came(), err)
	}
	if st, err := s.Status(context.Background()); err != nil || st.State != evergrant.StateFresh || st.Last != evergrant.Fresh {
		t.Errorf("%+v, %v", st, err)
	}
}

// TestRFC9449_2NonceForEver: row 9449-2. A second demand in one call is a failure,
// which is remembered; nothing is spent by it.
func TestRFC9449_2NonceForEver(t *testing.T) {
	p := newProver(t)
	path, cfg := p.inFile()
	p.set(func() { p.nonce, p.fickle = "n", true })
	_, err := p.open(path, cfg).Refresh(context.Background(), evergrant.RefreshOptions{})
	if !errors.Is(err, evergrant.ErrTemporary) || len(p.came()) != 2 {
		t.Errorf("%v after %q", err, p.came())
	}
	st, err := p.open(path, cfg).Status(context.Background())
	if err != nil || !st.DoubtSince.IsZero() || st.Last != evergrant.Transient || st.RetryAt.IsZero() {
		t.Errorf("%+v, %v", st, err)
	}
	p.set(func() { p.fickle = false })
	if _, err := p.open(path, cfg).Refresh(context.Background(), evergrant.RefreshOptions{}); err != nil || len(p.accepted) != 1 {
		t.Errorf("afterwards: %v, %q", err, p.accepted)
	}
}

// TestRFC9449_2NonceOfALastTry: row 9449-2. The last try after a lost reply is
// not used up by an answer that only asks for a nonce.
func TestRFC9449_2NonceOfALastTry(t *testing.T) {
	p := newProver(t)
	p.set(func() { p.life, p.lose = 1, true })
	path, cfg := p.inFile()
	cfg.ExchangeTimeout = 300 * time.Millisecond
	if _, err := p.open(path, cfg).Refresh(context.Background(), evergrant.RefreshOptions{}); err == nil {
		t.Fatal("the lost reply was not noticed")
	}
	p.set(func() { p.nonce = "n" })
	s := p.open(path, cfg)
	for {
		if st, err := s.Status(context.Background()); err != nil {
			t.Fatal(err)
		} else if time.Now().After(st.ExpiresAt) { // no token is left to serve
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	_, err := s.TokenFor(context.Background(), 0)
	var e *evergrant.Error
	if !errors.As(err, &e) || e.Class != evergrant.ErrNeedsLogin || e.InDoubt.IsZero() {
		t.Errorf("the last try gives %v", err)
	}
	if want := []string{"/token ok", "/token use_dpop_nonce", "/token invalid_grant"}; !slices.Equal(p.came(), want) {
		t.Errorf("the server saw %q", p.came())
	}
}

// TestRFC9449_2NonceWhileAnotherRefreshes: what another process brought between
// the demand for a nonce and the next try is taken instead.
func TestRFC9449_2NonceWhileAnotherRefreshes(t *testing.T) {
	p := newProver(t)
	path, cfg := p.inFile()
	p.set(func() { p.nonce = "n" })
	other := cfg
	var once sync.Once
	cfg.OnEvent = func(e evergrant.Event) {
		if _, ok := e.(evergrant.Retrying); ok { // between the two
			once.Do(func() {
				if _, err := p.open(path, other).Refresh(context.Background(), evergrant.RefreshOptions{}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	r, err := p.open(path, cfg).Refresh(context.Background(), evergrant.RefreshOptions{})
	if err != nil || !r.Adopted || len(p.accepted) != 1 {
		t.Errorf("%+v, %v; the server took %q", r, err, p.accepted)
	}
}

// TestRFC9449_3TokenTypeBearer: row 9449-3. A plain token where a bound one was
// asked for is stored and not handed out.
func TestRFC9449_3TokenTypeBearer(t *testing.T) {
	p := newProver(t)
	path, cfg := p.inFile()
	p.set(func() { p.bearer = true })
	s := p.open(path, cfg)
	_, err := s.Refresh(context.Background(), evergrant.RefreshOptions{})
	var e *evergrant.Error
	if !errors.As(err, &e) || e.Rule != "token-unbound" || e.Class != evergrant.ErrMisconfigured {
		t.Errorf("Refresh gives %v", err)
	}
	doc := fileOf(t, path)
	if _, living := p.bound[doc.Refresh]; !living || p.bound[doc.Access] == "" {
		t.Error("the answer was not stored")
	}
	if tok, err := p.open(path, cfg).Token(context.Background()); !errors.As(err, &e) || e.Rule != "token-unbound" {
		t.Errorf("Token gives %v, %v", tok, err)
	}
	if len(p.came()) != 1 {
		t.Errorf("the server saw %q", p.came())
	}
	p.set(func() { p.bearer = false })
	if _, err := s.Refresh(context.Background(), evergrant.RefreshOptions{}); err != nil {
		t.Errorf("bound again: %v", err)
	}
}

// get asks the API as a program does.
func get(t *testing.T, c *http.Client, url string, body string) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// TestRFC9449_1_2Client: rows 9449-1 and 9449-2 at the API. Each request has a proof
// of its own with the hash of the token; a nonce is asked for once and kept.
func TestRFC9449_1_2Client(t *testing.T) {
	p := newProver(t)
	path, cfg := p.inFile()
	s := p.open(path, cfg)
	c := s.Client(evergrant.ClientOptions{})
	for range 2 {
		if code := get(t, c, p.URL+"/api/a?q=1#part", "body"); code != http.StatusOK {
			t.Errorf("the API answers %d", code)
		}
	}
	p.set(func() { p.nonce = "api" })
	for range 2 {
		if code := get(t, c, p.URL+"/api/b", "body"); code != http.StatusOK {
			t.Errorf("with a nonce the API answers %d", code)
		}
	}
	if want := []string{"/api/a ok", "/api/a ok", "/api/b use_dpop_nonce", "/api/b ok", "/api/b ok"}; !slices.Equal(p.came(), want) {
		t.Errorf("the server saw %q", p.came())
	}
	if len(p.accepted) != 0 {
		t.Error("a demand for a nonce made a refresh")
	}
}

// TestRFC9449_2NonceOfAnother: row 9449-2. A nonce that another request brought
// meanwhile is used as well: the answer that asks for it is no failure.
func TestRFC9449_2NonceOfAnother(t *testing.T) {
	p := newProver(t)
	path, cfg := p.inFile()
	p.set(func() { p.nonce = "shared" })
	const n = 8
	ready, gate := make(chan bool, n), make(chan bool)
	c := p.open(path, cfg).Client(evergrant.ClientOptions{Base: roundTrip(func(r *http.Request) (*http.Response, error) {
		select {
		case ready <- true: // the first of each: its proof is made, and no nonce is known
			<-gate
		default:
		}
		return http.DefaultTransport.RoundTrip(r)
	})})
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if code := get(t, c, p.URL+"/api/x", ""); code != http.StatusOK {
				t.Errorf("the API answers %d", code)
			}
		})
	}
	for len(ready) < n {
		time.Sleep(time.Millisecond)
	}
	close(gate)
	wg.Wait()
	if len(p.accepted) != 0 || len(p.came()) != 2*n {
		t.Errorf("%d refreshes, the server saw %d requests", len(p.accepted), len(p.came()))
	}
}

// TestRFC9449_1Authorize: row 9449-1. A caller's own request gets a proof that the
// API takes once.
func TestRFC9449_1Authorize(t *testing.T) {
	p := newProver(t)
	path, cfg := p.inFile()
	tok, err := p.open(path, cfg).Token(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodGet, p.URL+"/api/own", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("DPoP", "one of before")
	if err := tok.Authorize(req); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{http.StatusOK, http.StatusUnauthorized} { // the second time it is a replay
		resp, err := http.DefaultClient.Do(req.Clone(context.Background()))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("request %d gives %d, not %d", i, resp.StatusCode, want)
		}
	}
}

// TestRFC9449_4KeyIsOurs: row 9449-4. No answer replaces the key that the grant is
// bound to.
func TestRFC9449_4KeyIsOurs(t *testing.T) {
	p := newProver(t)
	path, cfg := p.inFile()
	key := fileOf(t, path).Key
	strange := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"access_token": "a", "refresh_token": "r", "token_type": "DPoP", "dpop_jwk": %s}`, newProofKey(t))
	}))
	defer strange.Close()
	cfg.TokenURL = strange.URL
	if _, err := p.open(path, cfg).Refresh(context.Background(), evergrant.RefreshOptions{}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(fileOf(t, path).Key, key) {
		t.Error("the key was replaced")
	}
}

// TestRFC9449_4AnotherKey: row 9449-4. The proof of another key is refused, so a
// refresh token is worth nothing without its own.
func TestRFC9449_4AnotherKey(t *testing.T) {
	p := newProver(t)
	path, cfg := p.inFile()
	doc := fileOf(t, path)
	stolen := filepath.Join(t.TempDir(), "token.json")
	b := fmt.Appendf(nil, `{"access_token": %q, "refresh_token": %q, "token_type": "DPoP", "dpop_jwk": %s}`, doc.Access, doc.Refresh, newProofKey(t))
	if err := os.WriteFile(stolen, b, 0o600); err != nil {
		t.Fatal(err)
	}
	other := cfg
	other.ClientID, other.TokenURL = "app", p.URL+"/token"
	if _, err := p.open(stolen, other).Refresh(context.Background(), evergrant.RefreshOptions{}); !errors.Is(err, evergrant.ErrNeedsLogin) {
		t.Errorf("with another key: %v", err)
	}
	if _, err := p.open(path, cfg).Refresh(context.Background(), evergrant.RefreshOptions{}); err != nil {
		t.Errorf("with its own: %v", err)
	}
}
