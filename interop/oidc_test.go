package interop_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestOIDCProvider takes a grant through its life at a certified authorization server that rotates refresh tokens and
// ends the whole grant when a spent one comes back. The steps build on each other.
func TestOIDCProvider(t *testing.T) {
	server := startOIDC(t)
	evergrant := newCommand(t)
	first := server.login(t)
	file := writeTokenFile(t, first)

	// The first call names client and endpoint; they are remembered beside the file.
	res := evergrant.run(t, "refresh", file.path, "--client-id", server.ready.ClientID, "--token-url", server.ready.TokenEndpoint)
	res.wantExit(t, 0)
	second := file.wantOnlyTokensChanged(t, first)
	res.wantNoSecrets(t, first.secrets()...)
	res.wantNoSecrets(t, second.secrets()...)
	server.wantSent(t, first.RefreshToken, 1)

	evergrant.run(t, "refresh", file.path).wantExit(t, 0)
	third := file.wantOnlyTokensChanged(t, second)
	server.wantSent(t, second.RefreshToken, 1)

	wantOneRefresh(t, server, evergrant, file, 16)
	fourth := file.wantOnlyTokensChanged(t, third)
	server.wantSent(t, third.RefreshToken, 1)

	res = evergrant.run(t, "token", file.path)
	res.wantExit(t, 0)
	if got := strings.TrimSpace(res.stdout); got != fourth.AccessToken {
		t.Errorf("token printed %d bytes that are not the access token of the file", len(got))
	}
	server.wantAccepted(t, fourth.AccessToken)

	// Somebody sends a spent token: the server ends the grant, the newest refresh token included.
	server.reuse(t, first.RefreshToken)
	before := file.read(t)
	res = evergrant.run(t, "refresh", file.path)
	res.wantExit(t, 3)
	res.wantNoSecrets(t, fourth.secrets()...)
	file.wantBytes(t, before)
	server.wantSent(t, fourth.RefreshToken, 1)

	// A verdict is final for this token, endpoint and client: it is not asked for again.
	evergrant.run(t, "refresh", file.path).wantExit(t, 3)
	file.wantBytes(t, before)
	server.wantSent(t, fourth.RefreshToken, 1)
}

// TestOIDCProviderLostReply cuts the connection after the server has rotated the refresh token. The new token is gone,
// and sending the old one again ends the grant here, so that is left to the very last: what the access token is still
// good for must not be thrown away.
func TestOIDCProviderLostReply(t *testing.T) {
	server := startOIDC(t)
	evergrant := newCommand(t)
	first := server.login(t)
	file := writeTokenFile(t, first)
	evergrant.run(t, "refresh", file.path, "--client-id", server.ready.ClientID, "--token-url", server.ready.TokenEndpoint).wantExit(t, 0)
	second := file.wantOnlyTokensChanged(t, first)

	const deadline = 2 * time.Second // of the request whose answer is lost
	server.send(t, `{"drop":1}`)
	sent := time.Now()
	evergrant.run(t, "refresh", file.path, "--timeout", deadline.String()).wantExit(t, 4)
	file.wantBytes(t, file.last)
	server.wantSent(t, second.RefreshToken, 1)

	// The outcome is in doubt: nothing more is sent, and the access token is served.
	evergrant.run(t, "refresh", file.path).wantExit(t, 4)
	res := evergrant.run(t, "token", file.path)
	res.wantExit(t, 0)
	if got := strings.TrimSpace(res.stdout); got != second.AccessToken {
		t.Errorf("token printed %d bytes that are not the access token of the file", len(got))
	}
	server.wantAccepted(t, second.AccessToken)
	server.wantSent(t, second.RefreshToken, 1)

	// Asked for, a last try is made, though not while the first request could still be on its way.
	res = evergrant.run(t, "refresh", file.path, "--replay")
	res.wantExit(t, 3)
	if waited := time.Since(sent); waited < deadline {
		t.Errorf("replayed %v after the request in doubt was sent, before its deadline of %v", waited, deadline)
	}
	res.wantNoSecrets(t, second.secrets()...)
	file.wantBytes(t, file.last)
	server.wantSent(t, second.RefreshToken, 2)
	server.wait(t, 1, func(e event) bool { return e.Event == "revoked" })
}

// TestOIDCProviderRotates checks the counterpart itself. If it stopped to rotate, or to punish reuse, the tests above
// would be green for the wrong reason.
func TestOIDCProviderRotates(t *testing.T) {
	server := startOIDC(t)
	first := server.login(t)
	second := server.refresh(t, first.RefreshToken)
	if second.RefreshToken == "" || second.RefreshToken == first.RefreshToken {
		t.Fatal("the refresh token was not replaced")
	}
	server.wantAccepted(t, second.AccessToken)
	server.reuse(t, first.RefreshToken)
	if status, body := server.post(t, second.RefreshToken); status != http.StatusBadRequest || !bytes.Contains(body, []byte(`"invalid_grant"`)) {
		t.Errorf("newest refresh token after reuse of an older one: %d %s", status, body)
	}
}

// wantOneRefresh starts n processes that all see the same generation and checks that they all end well. The server
// holds the first request until every process has had time to get going.
func wantOneRefresh(t *testing.T, server *oidcServer, evergrant *command, file *tokenFile, n int) {
	t.Helper()
	received := func(e event) bool { return e.Event == "received" }
	before := server.count(received)
	server.send(t, `{"hold":true}`)
	var waits []func() result
	for range n {
		waits = append(waits, evergrant.start(t, "refresh", file.path))
	}
	server.wait(t, before+1, received)
	evergrant.run(t, "--help").wantExit(t, 0) // one more has run from start to end: so could the others
	time.Sleep(500 * time.Millisecond)
	server.send(t, `{"hold":false}`)
	for _, wait := range waits {
		wait().wantExit(t, 0)
	}
	server.send(t, `{}`)
	if got := server.count(received) - before; got != 1 {
		t.Errorf("%d processes made %d token requests, want 1", n, got)
	}
}

// An oidcServer is a running oidc-provider.
type oidcServer struct {
	*script
	ready event
}

func startOIDC(t *testing.T, args ...string) *oidcServer {
	t.Helper()
	return asServer(t, startScript(t, "server/oidc.mjs", args...))
}

func asServer(t *testing.T, s *script) *oidcServer {
	t.Helper()
	return &oidcServer{s, s.wait(t, 1, func(e event) bool { return e.Event == "ready" })[0]}
}

// A tokenAnswer is a token response (RFC 6749 §5.1).
type tokenAnswer struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	IDToken      string `json:"id_token"`
	TokenType    string `json:"token_type"`
	Scope        string `json:"scope"`
	ExpiresIn    int    `json:"expires_in"`
}

func (a tokenAnswer) secrets() []string {
	return []string{a.AccessToken, a.RefreshToken, a.IDToken}
}

// login gets a grant as a person with a browser would: authorization code with PKCE (RFC 7636), the redirects and
// cookies of the server's log-in and consent pages followed.
func (s *oidcServer) login(t *testing.T) tokenAnswer {
	t.Helper()
	verifier, state := rand.Text()+rand.Text(), rand.Text()
	challenge := sha256.Sum256([]byte(verifier))
	callback := s.browse(t, s.ready.AuthorizationEndpoint+"?"+url.Values{
		"response_type":         {"code"},
		"client_id":             {s.ready.ClientID},
		"redirect_uri":          {s.ready.RedirectURI},
		"scope":                 {"openid offline_access"},
		"prompt":                {"consent"}, // without it there is no offline_access (OpenID Connect Core §11)
		"state":                 {state},
		"code_challenge":        {base64.RawURLEncoding.EncodeToString(challenge[:])},
		"code_challenge_method": {"S256"},
	}.Encode())
	if q := callback.Query(); q.Get("state") != state || q.Get("iss") != s.ready.Issuer || q.Get("code") == "" {
		t.Fatalf("authorization response: %s", q.Encode())
	}
	return s.token(t, url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {callback.Query().Get("code")},
		"redirect_uri":  {s.ready.RedirectURI},
		"client_id":     {s.ready.ClientID},
		"code_verifier": {verifier},
	})
}

// browse follows redirects up to the client's redirect URI, on any port, which it returns with its query.
func (s *oidcServer) browse(t *testing.T, address string) *url.URL {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(next *http.Request, _ []*http.Request) error {
		if next.URL.Path == "/callback" {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	res, err := browser.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	callback, err := res.Location()
	if err != nil {
		page, _ := io.ReadAll(res.Body)
		t.Fatalf("no redirect to the client: %s\n%s", res.Status, page)
	}
	return callback
}

func (s *oidcServer) refresh(t *testing.T, refreshToken string) tokenAnswer {
	t.Helper()
	return s.token(t, s.refreshForm(refreshToken))
}

func (s *oidcServer) refreshForm(refreshToken string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}, "client_id": {s.ready.ClientID}}
}

func (s *oidcServer) token(t *testing.T, form url.Values) tokenAnswer {
	t.Helper()
	status, body := s.postForm(t, form)
	var answer tokenAnswer
	if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK {
		t.Fatalf("token response: %d %s", status, body)
	}
	return answer
}

// post sends a refresh token as it is, without any of Evergrant's care.
func (s *oidcServer) post(t *testing.T, refreshToken string) (status int, body []byte) {
	t.Helper()
	return s.postForm(t, s.refreshForm(refreshToken))
}

func (s *oidcServer) postForm(t *testing.T, form url.Values) (status int, body []byte) {
	t.Helper()
	res, err := http.PostForm(s.ready.TokenEndpoint, form)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err = io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, body
}

// reuse sends a spent refresh token and checks that the server takes the whole grant away for it.
func (s *oidcServer) reuse(t *testing.T, spent string) {
	t.Helper()
	status, body := s.post(t, spent)
	if status != http.StatusBadRequest || !bytes.Contains(body, []byte(`"invalid_grant"`)) {
		t.Fatalf("spent refresh token: %d %s", status, body)
	}
	s.wait(t, 1, func(e event) bool { return e.Event == "revoked" })
	s.wait(t, 1, func(e event) bool {
		return e.RefreshToken == fingerprint(spent) && e.Detail == "refresh token already used"
	})
}

// wantSent asks the server's own log how many requests carried a refresh token.
func (s *oidcServer) wantSent(t *testing.T, refreshToken string, n int) {
	t.Helper()
	s.send(t, `{}`) // what was logged before is read when this is answered
	got := s.count(func(e event) bool { return e.Event == "token" && e.RefreshToken == fingerprint(refreshToken) })
	if got != n {
		t.Errorf("the server saw this refresh token %d times, want %d", got, n)
	}
}

// wantAccepted uses an access token where it is meant to be used.
func (s *oidcServer) wantAccepted(t *testing.T, accessToken string) {
	t.Helper()
	if status := s.use(t, accessToken); status != http.StatusOK {
		t.Errorf("userinfo with the access token: %d", status)
	}
}

// wantRefused uses an access token whose grant has ended.
func (s *oidcServer) wantRefused(t *testing.T, accessToken string) {
	t.Helper()
	if status := s.use(t, accessToken); status != http.StatusUnauthorized {
		t.Errorf("userinfo with a revoked access token: %d, want 401", status)
	}
}

func (s *oidcServer) use(t *testing.T, accessToken string) (status int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.ready.Issuer+"/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+accessToken)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode
}

// fingerprint names a token in the server's log without telling it.
func fingerprint(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:8])
}

// A tokenFile is a user's file that Evergrant may change only where a token is.
type tokenFile struct {
	path string
	last []byte
}

// writeTokenFile writes an answer the way some other tool might: CRLF, own members before, between and after, a number
// that must not be reformatted.
func writeTokenFile(t *testing.T, a tokenAnswer) *tokenFile {
	t.Helper()
	lines := []string{
		`{`,
		`  "note": "by hand \u2014 \/ keep",`,
		`  "access_token": "` + a.AccessToken + `",`,
		`  "refresh_token": "` + a.RefreshToken + `",`,
		`  "id_token": "` + a.IDToken + `",`,
		`  "token_type": "` + a.TokenType + `",`,
		`  "team": {"owner":"ops",   "weights": [1, 2.50, 1e3, null]},`,
		`  "scope": "` + a.Scope + `",`,
		`  "expires_in": 3600`,
		`}`,
	}
	f := &tokenFile{path: filepath.Join(t.TempDir(), "token.json"), last: []byte(strings.Join(lines, "\r\n") + "\r\n")}
	if err := os.WriteFile(f.path, f.last, 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *tokenFile) read(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (f *tokenFile) wantBytes(t *testing.T, want []byte) {
	t.Helper()
	if got := f.read(t); !bytes.Equal(got, want) {
		t.Errorf("the file changed:\n%q\nwas\n%q", got, want)
	}
}

// wantOnlyTokensChanged checks that old's tokens were replaced and that every other byte is as it was. It returns what
// the file holds now.
func (f *tokenFile) wantOnlyTokensChanged(t *testing.T, old tokenAnswer) tokenAnswer {
	t.Helper()
	var now tokenAnswer
	data := f.read(t)
	if err := json.Unmarshal(data, &now); err != nil {
		t.Fatal(err)
	}
	if now.AccessToken == old.AccessToken || now.RefreshToken == old.RefreshToken {
		t.Error("a token in the file is still the old one")
	}
	want := strings.NewReplacer(
		old.AccessToken, now.AccessToken, old.RefreshToken, now.RefreshToken, old.IDToken, now.IDToken,
	).Replace(string(f.last))
	if string(data) != want {
		t.Errorf("more than the tokens changed:\n%q\nwant\n%q", data, want)
	}
	f.last = data
	return now
}
