package idptest_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

func TestPKCE(t *testing.T) {
	long := strings.Repeat("v", 171) // what jsforce sends
	for _, tt := range []struct {
		name      string
		persona   idptest.Persona
		challenge string
		method    string
		verifier  string
		code      string // error of the exchange; "": tokens
	}{
		{"right", gen, challenge, "S256", verifier, ""},
		{"wrong", gen, challenge, "S256", verifier + "x", "invalid_grant"},
		{"missing", gen, challenge, "S256", "", "invalid_grant"},
		{"too long", gen, s256(long), "S256", long, "invalid_grant"},
		{"salesforce right", sf, challenge, "S256", verifier, ""},
		{"salesforce without method, 171 characters", sf, s256(long), "", long, ""},
		{"salesforce wrong", sf, challenge, "", verifier + "x", "invalid_request"},
		{"salesforce missing", sf, challenge, "", "", "invalid_grant"},
		{"salesforce none", sf, "", "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := listen(t, idptest.Config{Persona: tt.persona})
			pairs := []string{"response_type", "code", "code_challenge", tt.challenge}
			if tt.method != "" {
				pairs = append(pairs, "code_challenge_method", tt.method)
			}
			a := b.redeem(b.authorize(pairs...).Get("code"), "code_verifier", tt.verifier)
			if a.member("error") != tt.code || (tt.code == "") != (a.member("access_token") != "") {
				t.Errorf("answer %s", a.body)
			}
		})
	}
	b := listen(t, idptest.Config{})
	for _, method := range []string{"", "plain"} {
		if v := b.authorize("response_type", "code", "code_challenge", verifier, "code_challenge_method", method); v.Get("error") != "invalid_request" {
			t.Errorf("method %q: %v", method, v)
		}
	}
}

func s256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func TestCode(t *testing.T) {
	b := listen(t, idptest.Config{Persona: sf, Clients: []idptest.Client{{ID: "app", RedirectURIs: []string{callback}}}})
	code := b.login(challenge)
	b.wantError(b.post(b.token, "grant_type", "authorization_code", "code", code, "client_id", "app", "redirect_uri", "http://localhost:1/x", "code_verifier", verifier), "redirect_uri_mismatch", "redirect_uri must match configuration")
	b.wantError(b.redeem("other"), "invalid_grant", "invalid authorization code")
	a := b.redeem(code, "code_verifier", verifier)
	b.wantOK(a)
	if e := b.last(); e.Generation != 0 || e.NewGeneration != 1 || e.GrantID == "" || !e.Processed {
		t.Errorf("entry %+v", e)
	}
	b.wantError(b.redeem(code, "code_verifier", verifier), "invalid_grant", "expired authorization code")
	if id, _, living := b.s.Find(a.member("refresh_token")); living {
		t.Errorf("grant %s outlives a code used twice", id)
	}
	old := b.login(challenge)
	b.s.Advance(11 * time.Minute)
	b.wantError(b.redeem(old, "code_verifier", verifier), "invalid_grant", "expired authorization code")

	for _, q := range []string{"client_id=app&redirect_uri=https%3A%2F%2Fevil.example%2F", "client_id=nobody&redirect_uri=" + url.QueryEscape(callback)} {
		if a := b.get("/services/oauth2/authorize?response_type=code&"+q, ""); a.status != 400 || a.header.Get("Location") != "" {
			t.Errorf("%s: %d to %s", q, a.status, a.header.Get("Location"))
		}
	}
	if v := b.authorize("response_type", "id_token"); v.Get("error") != "unsupported_response_type" {
		t.Errorf("id_token: %v", v)
	}
	if v := b.authorize("response_type", "code", "immediate", "true"); v.Get("error") != "immediate_unsuccessful" {
		t.Errorf("immediate: %v", v)
	}
	if v := b.authorize("response_type", "token", "scope", "api", "state", "s"); v.Get("access_token") == "" || v.Get("refresh_token") != "" || v.Get("state") != "s" {
		t.Errorf("user agent: %v", v)
	}
	code = b.authorize("response_type", "code", "scope", "api id").Get("code")
	if a := b.redeem(code); a.member("access_token") == "" || a.member("refresh_token") != "" {
		t.Errorf("without the scope refresh_token: %s", a.body)
	}
}

func TestIDToken(t *testing.T) {
	b := listen(t, idptest.Config{})
	code := b.authorize("response_type", "code", "scope", "openid", "nonce", "n").Get("code")
	parts := strings.Split(b.redeem(code).member("id_token"), ".")
	if len(parts) != 3 {
		t.Fatalf("id_token has %d parts", len(parts))
	}
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	if !strings.Contains(string(payload), `"nonce":"n"`) || !strings.Contains(string(payload), `"iss":"`+b.base+`"`) {
		t.Errorf("claims %s", payload)
	}
	keys := b.get("/jwks", "").json(t)["keys"].([]any)[0].(map[string]any)
	n, _ := base64.RawURLEncoding.DecodeString(keys["n"].(string))
	sig, _ := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	pub := &rsa.PublicKey{E: 65537}
	pub.N = newInt(n)
	if err := rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], sig); err != nil {
		t.Error(err)
	}
}

func TestClientAuthentication(t *testing.T) {
	b := listen(t, idptest.Config{Persona: sf, Clients: []idptest.Client{{ID: "app"}, {ID: "web", Secret: "s3cret"}}})
	g := b.s.NewGrant(idptest.GrantSpec{ClientID: "web"})
	try := func(id, secret, basicID, basicSecret string) answer {
		v := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {g.RefreshToken}}
		if id != "" {
			v.Set("client_id", id)
		}
		if secret != "" {
			v.Set("client_secret", secret)
		}
		r, _ := http.NewRequest(http.MethodPost, b.base+b.token, strings.NewReader(v.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if basicID != "" {
			r.SetBasicAuth(basicID, basicSecret)
		}
		return b.do(r)
	}
	for _, tt := range []struct{ id, secret, basicID, basicSecret, code string }{
		{"web", "s3cret", "", "", ""},
		{"", "", "web", "s3cret", ""},
		{"web", "s3cret", "web", "wrong", ""}, // the body's pair counts
		{"web", "", "", "", ""},               // not required by habit
		{"web", "wrong", "", "", "invalid_client"},
		{"", "", "web", "wrong", "invalid_client"},
		{"nobody", "", "", "", "invalid_client_id"},
		{"", "", "", "", "invalid_client_id"},
		{"app", "", "", "", "invalid_grant"}, // another client's token
	} {
		if a := try(tt.id, tt.secret, tt.basicID, tt.basicSecret); a.member("error") != tt.code {
			t.Errorf("%+v: %s", tt, a.body)
		}
	}
}

func TestAssertion(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b := listen(t, idptest.Config{Persona: sf, Clients: []idptest.Client{{ID: "app", PublicKey: &key.PublicKey}, {ID: "lax"}}})
	assert := func(claims map[string]any, signed bool) answer {
		payload, _ := json.Marshal(claims)
		text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload)
		sum := sha256.Sum256([]byte(text))
		sig, _ := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
		if !signed {
			sig[0] ^= 1
		}
		return b.post(b.token, "grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion", text+"."+base64.RawURLEncoding.EncodeToString(sig))
	}
	soon := time.Now().Add(3 * time.Minute).Unix()
	claims := func(more ...any) map[string]any {
		m := map[string]any{"iss": "app", "sub": "user@example.com", "aud": "https://login.salesforce.com", "exp": soon}
		for i := 0; i < len(more); i += 2 {
			m[more[i].(string)] = more[i+1]
		}
		return m
	}
	for name, tt := range map[string]struct {
		claims      map[string]any
		signed      bool
		description string
	}{
		"plain":           {claims(), true, ""},
		"milliseconds":    {claims("exp", soon*1000), true, ""},
		"text":            {claims("exp", fmt.Sprint(soon)), true, ""},
		"trailing slash":  {claims("aud", b.base+"/"), true, ""},
		"token URL":       {claims("aud", b.base+b.token), true, ""},
		"bare host":       {claims("aud", "login.salesforce.com"), true, ""},
		"prn wins":        {claims("prn", "other@example.com", "sub", ""), true, ""},
		"lax client":      {claims("iss", "lax"), false, ""},
		"no audience":     {claims("aud", nil), true, "audience is invalid"},
		"expired":         {claims("exp", soon-1000), true, "expired"},
		"bad signature":   {claims(), false, "invalid assertion"},
		"unknown client":  {claims("iss", "nobody"), true, "client identifier invalid"},
		"without subject": {claims("sub", ""), true, "user hasn't approved this consumer"},
	} {
		a := assert(tt.claims, tt.signed)
		if a.member("error_description") != tt.description || (tt.description == "") != (a.member("access_token") != "") {
			t.Errorf("%s: %s", name, a.body)
		}
		if m := a.json(t); m["refresh_token"] != nil || m["issued_at"] != nil || m["signature"] != nil {
			t.Errorf("%s: too many members: %s", name, a.body)
		}
	}
	b.wantOK(assert(claims("jti", "1"), true))
	b.wantError(assert(claims("jti", "1"), true), "bad_jti_claim", "jti has been used")
}

func TestOtherGrants(t *testing.T) {
	for _, persona := range []idptest.Persona{gen, sf} {
		b := listen(t, idptest.Config{Persona: persona})
		cc := b.post(b.token, "grant_type", "client_credentials", "client_id", "app", "client_secret", "s")
		b.wantOK(cc)
		if cc.member("refresh_token") != "" {
			t.Error("client credentials gave a refresh token")
		}
		if a := b.post(b.token, "grant_type", "client_credentials", "client_id", "app"); a.member("error") != "invalid_client" {
			t.Errorf("without secret: %s", a.body)
		}
		b.wantOK(b.post(b.token, "grant_type", "password", "client_id", "app", "username", "u@x", "password", "p"))
		if a := b.post(b.token, "grant_type", "password", "client_id", "app", "username", "u@x", "password", "wrong"); a.member("error") != "invalid_grant" {
			t.Errorf("wrong password: %s", a.body)
		}
		x := b.post(b.token, "grant_type", "urn:ietf:params:oauth:grant-type:token-exchange", "client_id", "app", "subject_token", cc.member("access_token"), "subject_token_type", "urn:ietf:params:oauth:token-type:access_token")
		b.wantOK(x)
		if (x.member("issued_token_type") != "") != (persona == gen) {
			t.Errorf("%s: %s", persona, x.body)
		}
		if a := b.post(b.token, "grant_type", "nonsense"); a.member("error") != "unsupported_grant_type" {
			t.Errorf("nonsense: %s", a.body)
		}
		if a := b.get(b.token, ""); a.member("error") != "invalid_request" {
			t.Errorf("GET: %s", a.body)
		}
		if a := b.refresh(b.grant().RefreshToken, "scope", "more than granted"); a.member("error") != "invalid_scope" {
			t.Errorf("wider scope: %s", a.body)
		}
	}
}

func TestRevokeAndIntrospect(t *testing.T) {
	for _, persona := range []idptest.Persona{gen, sf} {
		b := listen(t, idptest.Config{Persona: persona})
		revoke := strings.Replace(b.token, "token", "revoke", 1)
		active := func(token string) bool {
			m := b.post(strings.Replace(b.token, "token", "introspect", 1), "token", token, "client_id", "app").json(t)
			return m["active"] == true
		}
		g := b.grant()
		if !active(g.AccessToken) || !active(g.RefreshToken) || active("nonsense") {
			t.Errorf("%s: introspection of a new grant is wrong", persona)
		}
		if a := b.post(revoke, "token", g.AccessToken, "client_id", "app"); a.status != 200 || a.body != "" {
			t.Errorf("%s: revoking the access token: %d %s", persona, a.status, a.body)
		}
		if active(g.AccessToken) || !active(g.RefreshToken) {
			t.Errorf("%s: the wrong token went", persona)
		}
		at := b.refresh(g.RefreshToken).member("access_token")
		if a := b.get(revoke+"?client_id=app&token="+url.QueryEscape(g.RefreshToken), ""); a.status != 200 {
			t.Errorf("%s: revoking the refresh token: %d %s", persona, a.status, a.body)
		}
		if st := b.s.GrantState(g.ID); !st.Revoked || active(at) || len(b.s.TokenRequests(g.ID)) != 1 {
			t.Errorf("%s: after revocation %+v", persona, st)
		}
		a := b.post(revoke, "token", g.RefreshToken, "client_id", "app")
		if persona == gen && a.status != 200 {
			t.Errorf("revoking again: %d", a.status)
		}
		if v, _ := url.ParseQuery(a.body); persona == sf && (a.status != 400 || v.Get("error") != "invalid_token") {
			t.Errorf("revoking again: %d %s", a.status, a.body)
		}
	}
}

func TestSalesforceFormats(t *testing.T) {
	b := listen(t, idptest.Config{Persona: sf})
	rt := b.grant().RefreshToken
	if v, _ := url.ParseQuery(b.refresh(rt, "format", "urlencoded").body); v.Get("access_token") == "" || v.Get("id") == "" {
		t.Error("urlencoded lacks members")
	}
	if a := b.refresh(rt, "format", "xml"); !strings.Contains(a.body, "<OAuth><access_token>00D") {
		t.Errorf("xml: %s", a.body)
	}
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for _, p := range [][2]string{{"grant_type", "refresh_token"}, {"refresh_token", rt}, {"client_id", "app"}, {"unknown", "x"}} {
		w.WriteField(p[0], p[1])
	}
	w.Close()
	r, _ := http.NewRequest(http.MethodPost, b.base+b.token, &body)
	r.Header.Set("Content-Type", w.FormDataContentType())
	b.wantOK(b.do(r))
	if e := b.last(); strings.Join(e.Params, " ") != "grant_type refresh_token client_id unknown" || e.ContentType != "multipart/form-data" {
		t.Errorf("entry %+v", e)
	}
}

func TestSalesforceData(t *testing.T) {
	b := listen(t, idptest.Config{Persona: sf})
	g := b.grant()
	at := g.AccessToken
	id := b.refresh(g.RefreshToken).member("id")
	for path, want := range map[string]string{
		"/services/data": `"version":"60.0"`,
		"/services/data/v60.0/query?q=SELECT+Id,Name+FROM+Account+LIMIT+2":              `{"totalSize":2,"done":true,"records":[{"attributes":{`,
		"/services/data/v60.0/query/?q=SELECT+Username+FROM+User":                       `"Username":"user@example.com"`,
		"/services/data/v60.0/query?q=SELECT+Name,IsSandbox+FROM+Organization":          `"IsSandbox":false`,
		"/services/data/v60.0/query?columns=true&q=SELECT+Id+FROM+Account":              `"columnMetadata":[{"columnName":"Id"`,
		"/services/data/v60.0/query?q=SELECT+Id+FROM+ScratchOrgInfo+limit+1":            `"errorCode":"INVALID_TYPE"`,
		"/services/data/v60.0/query?q=DELETE":                                           `"errorCode":"MALFORMED_QUERY"`,
		"/services/data/v60.0/sobjects/User/005000000000001AAA":                         `"Username":"user@example.com"`,
		"/services/data/v60.0/limits":                                                   `"DailyApiRequests"`,
		"/services/data/v60.0":                                                          `"sobjects"`,
		"/services/oauth2/userinfo":                                                     `"organization_id":"00D`,
		strings.TrimPrefix(id, b.base):                                                  `"user_id":"005`,
		strings.TrimPrefix(id, b.base) + "?oauth_token=" + url.QueryEscape(at) + "&no=": `"user_id":"005`,
		"/.well-known/openid-configuration":                                             `"token_endpoint":"` + b.base + `/services/oauth2/token"`,
		"/id/keys":                                                                      `"kid"`,
	} {
		bearer := at
		if strings.Contains(path, "oauth_token") {
			bearer = ""
		}
		if a := b.get(path, bearer); !strings.Contains(a.body, want) {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if a := b.get("/services/data/v60.0/limits", "bad"); a.status != 401 || a.body != `[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]` {
		t.Errorf("bad session: %d %s", a.status, a.body)
	}
	for _, path := range []string{"/services/oauth2/userinfo", strings.TrimPrefix(id, b.base)} {
		if a := b.get(path, "bad"); a.status != 403 || a.body != "Bad_OAuth_Token" {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if err := b.s.Expire(g.ID); err != nil {
		t.Fatal(err)
	}
	if a := b.get("/services/data/v60.0/limits", at); a.status != 401 || b.last().GrantID != g.ID {
		t.Errorf("expired session: %d", a.status)
	}
}

func TestGenericResource(t *testing.T) {
	b := listen(t, idptest.Config{})
	g := b.grant()
	if a := b.get("/resource", g.AccessToken); a.status != 200 || b.last().AccessNumber != 1 {
		t.Errorf("resource: %d", a.status)
	}
	if a := b.get("/resource?need_scope=admin", g.AccessToken); a.status != 403 || !strings.Contains(a.header.Get("WWW-Authenticate"), "insufficient_scope") {
		t.Errorf("scope: %d %v", a.status, a.header)
	}
	for path, member := range map[string]string{"openid-configuration": "userinfo_endpoint", "oauth-authorization-server": "device_authorization_endpoint"} {
		if m := b.get("/.well-known/"+path, "").json(t); m["issuer"] != b.base || m[member] == nil {
			t.Errorf("%s: %v", path, m)
		}
	}
	if m := b.get("/userinfo", g.AccessToken).json(t); m["sub"] == nil {
		t.Errorf("userinfo: %v", m)
	}
	if a := b.get("/nowhere", ""); a.status != 404 {
		t.Errorf("nowhere: %d", a.status)
	}
}
