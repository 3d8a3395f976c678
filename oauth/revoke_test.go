package oauth_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/oauth"
)

// TestRFC7009Answers (7009-1): a 200 is done whatever its body says, 503 means
// still valid, and Salesforce's and Google's invalid_token is done too.
func TestRFC7009Answers(t *testing.T) {
	rt := secret("rt")
	for _, tt := range []struct {
		name   string
		status int
		kind   string
		body   string
		code   string // of a ServerError
		busy   bool
	}{
		{"7009-1 done", 200, "", "", "", false},
		{"7009-1 unknown token", 200, "application/json", "{}", "", false},
		{"7009-1 body ignored", 200, "application/json", `{"error":"x"}`, "", false},
		{"done without a body", 204, "", "", "", false},
		{"7009-1 busy", 503, "text/html", "<html>", "", true},
		{"limited", 429, "", "", "", true},
		{"unsupported type", 400, "application/json", `{"error":"unsupported_token_type"}`, "unsupported_token_type", false},
		{"bad client", 401, "application/json", `{"error":"invalid_client"}`, "invalid_client", false},
		{"Salesforce gone", 400, "text/plain", "error=invalid_token&error_description=invalid%20token%3A%20" + rt, "", false},
		{"Salesforce gone, JSON", 400, "application/json", `{"error":"invalid_token","error_description":"invalid token"}`, "", false},
		{"Salesforce type", 400, "text/html;charset=UTF-8", "error=unsupported_token_type&error_description=" + rt, "unsupported_token_type", false},
		{"invalid_token of another status", 401, "application/json", `{"error":"invalid_token"}`, "invalid_token", false},
		{"redirect", 302, "", "", "?", false},
		{"failure", 500, "application/json", `{"error":"server_error"}`, "server_error", false},
		{"page", 404, "text/html", "<html>" + rt, "?", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := page{status: tt.status, kind: tt.kind, body: tt.body, header: map[string]string{"Location": "BASE/good", "Retry-After": "7"}}
			if p.kind == "" {
				p.kind = "-"
			}
			s := newSite(t, map[string]page{"/revoke": p, "/good": {}})
			line, _ := transcript(t)
			err := (&oauth.Client{Trace: line}).Revoke(t.Context(), s.url+"/revoke", oauth.NewSecret(rt), oauth.HintRefreshToken, oauth.None("c"))
			var refused *oauth.ServerError
			var later *oauth.RetryError
			code := ""
			if errors.As(err, &refused) {
				code = orDash(refused.Code)
			}
			if errors.As(err, &later) != tt.busy || code != tt.code || (err == nil) != (tt.code == "" && !tt.busy) {
				t.Fatalf("error %v", err)
			}
			if tt.busy && (later.After != 7*time.Second || later.Status != tt.status || !strings.Contains(err.Error(), "7s")) {
				t.Errorf("error %+v", later)
			}
			if err != nil {
				leakCheck(t, "error", err.Error())
			}
			got := s.last(t)
			if s.paths() != "/revoke" || got.method != "POST" || got.body != "token="+rt+"&token_type_hint=refresh_token&client_id=c" {
				t.Errorf("asked %s, %+v", s.paths(), got)
			}
		})
	}
}

func orDash(code string) string {
	if code == "" {
		return "?"
	}
	return code
}

func TestRFC7009Request(t *testing.T) {
	at := oauth.NewSecret(secret("at"))
	for _, tt := range []struct {
		name, url string
		token     oauth.Secret
		auth      oauth.ClientAuth
		want      string
	}{
		{"no token", "https://as.example/", oauth.Secret{}, oauth.None("c"), "the token is empty"},
		{"no auth", "https://as.example/", at, nil, "no client authentication"},
		{"http", "http://as.example/", at, oauth.None("c"), "not loopback"},
	} {
		_, err := oauth.RevokeRequest(tt.url, tt.token, "", tt.auth)
		contains(t, err, tt.want)
		_, err = oauth.IntrospectRequest(tt.url, tt.token, "", tt.auth)
		contains(t, err, tt.want)
		if err := new(oauth.Client).Revoke(t.Context(), tt.url, tt.token, "", tt.auth); err == nil {
			t.Errorf("%s was sent", tt.name)
		}
	}
	r, err := oauth.RevokeRequest("https://as.example/revoke", at, "", oauth.NoClient) // as Salesforce and Google take it
	if err != nil || r.Form.Encode() != "token="+secret("at") || r.Method != "" {
		t.Errorf("%v, %v", r, err)
	}
}

// TestTokenNeverInURL (2.1-9, 6750-1): no request about a token has it in its
// URL, and resource requests have it in the Authorization header alone.
func TestTokenNeverInURL(t *testing.T) {
	at := oauth.NewSecret(secret("at"))
	revoke, err1 := oauth.RevokeRequest("https://as.example/revoke?k=v", at, oauth.HintAccessToken, oauth.Post("c", oauth.NewSecret(secret("cs"))))
	introspect, err2 := oauth.IntrospectRequest("https://as.example/introspect", at, "", oauth.Basic("c", oauth.NewSecret(secret("cs"))))
	userinfo, err3 := oauth.UserinfoRequest("https://as.example/userinfo", at)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*oauth.Request{revoke, introspect, userinfo} {
		leakCheck(t, "URL", r.URL)
		for _, p := range printings(*r) {
			leakCheck(t, "request", p)
		}
	}
	if userinfo.Header.Get("Authorization") != "Bearer "+secret("at") || userinfo.Method != http.MethodGet || len(userinfo.Form) != 0 || userinfo.Body != nil {
		t.Errorf("userinfo %+v", userinfo)
	}
}
