package jose_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
)

// TestRequestObject9101_1: row "9101-1".
func TestRequestObject9101_1(t *testing.T) {
	k := load(t, "ec.prime256v1.sec1.pem").WithID("k1")
	o := jose.RequestObject{ClientID: client, Audience: issuer, Params: oauth.Form{
		{Name: "response_type", Value: "code"}, {Name: "client_id", Value: client}, {Name: "state", Value: "s"},
		{Name: "max_age", Value: "0"}, {Name: "claims", Value: `{"id_token":{"acr":{"essential":true}}}`},
		{Name: "resource", Value: "https://a"}, {Name: "resource", Value: "https://b"}, {Name: "resource", Value: "https://c"},
	}}
	var last any
	for range 2 {
		signed, err := o.Sign(k, at)
		if err != nil {
			t.Fatal(err)
		}
		head, c := split(t, signed.Reveal(), publicOf(t, k))
		if want := (object{"alg": "ES256", "typ": "oauth-authz-req+jwt", "kid": "k1"}); !reflect.DeepEqual(head, want) {
			t.Errorf("header %v", head)
		}
		if c["iss"] != client || c["client_id"] != client || c["aud"] != issuer || c["sub"] != nil || c["jti"] == last || c["response_type"] != "code" || c["state"] != "s" {
			t.Errorf("claims %v", c)
		}
		last = c["jti"]
		if num(t, c, "max_age") != 0 || num(t, c, "exp")-at.Unix() != 240 || num(t, c, "nbf") > at.Unix() || num(t, c, "nbf") < at.Unix()-60 {
			t.Errorf("claims %v", c)
		}
		if !reflect.DeepEqual(c["resource"], []any{"https://a", "https://b", "https://c"}) ||
			!reflect.DeepEqual(c["claims"], object{"id_token": object{"acr": object{"essential": true}}}) {
			t.Errorf("claims %v", c)
		}
		front := jose.Front(client, signed)
		if len(front) != 2 || front.Get("client_id") != client || front.Get("request") != signed.Reveal() {
			t.Errorf("front channel: %v", front)
		}
	}
}

func TestRequestObjectRefuses(t *testing.T) {
	param := func(name, value string) jose.RequestObject {
		return jose.RequestObject{ClientID: "c", Audience: "a", Params: oauth.Form{{Name: name, Value: value}}}
	}
	for name, o := range map[string]jose.RequestObject{
		"no client":      {Audience: "a"},
		"no audience":    {ClientID: "c"},
		"long":           {ClientID: "c", Audience: "a", Lifetime: time.Hour},
		"another client": param("client_id", "d"),
		"sub":            param("sub", "c"),
		"request":        param("request", "x"),
		"request_uri":    param("request_uri", "x"),
		"exp":            param("exp", "1"),
		"client secret":  param("client_secret", "canary-canary"),
		"max_age":        param("max_age", "canary-canary"),
	} {
		_, err := o.Sign(load(t, "ed25519.pem"), at)
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := param("scope", "x").Sign(nil, at); err == nil {
		t.Error("signed without a key")
	}
}

// TestResponseJARM: the JARM modules of the FAPI 2.0 message signing client
// plan.
func TestResponseJARM(t *testing.T) {
	claims := func(pairs ...any) object {
		c := object{"iss": issuer, "aud": client, "exp": at.Unix() + 60, "code": "c-1", "state": "s-1", "expires_in": 60, "odd": []int{1}}
		for i := 0; i < len(pairs); i += 2 {
			if c[pairs[i].(string)] = pairs[i+1]; pairs[i+1] == nil {
				delete(c, pairs[i].(string))
			}
		}
		return c
	}
	k := signers()["rsa"]
	sign := func(c object) string { return forge(t, k, object{"alg": "PS256", "kid": "rsa"}, c) }
	happy := sign(claims())
	for _, tt := range []struct {
		name, response string
		want           jose.Reason
	}{
		{"happy path", happy, ""},
		{"error response", sign(claims("code", nil, "error", "access_denied")), ""},
		{"fapi2-security-profile-final-client-test-ensure-jarm-with-invalid-iss-fails", sign(claims("iss", "https://evil.example")), jose.BadIssuer},
		{"fapi2-security-profile-final-client-test-ensure-jarm-without-iss-fails", sign(claims("iss", nil)), jose.BadIssuer},
		{"fapi2-security-profile-final-client-test-ensure-jarm-with-invalid-aud-fails", sign(claims("aud", "other")), jose.BadAudience},
		{"fapi2-security-profile-final-client-test-ensure-jarm-without-aud-fails", sign(claims("aud", nil)), jose.BadAudience},
		{"fapi2-security-profile-final-client-test-ensure-jarm-with-expired-exp-fails", sign(claims("exp", at.Unix()-301)), jose.Expired},
		{"fapi2-security-profile-final-client-test-ensure-jarm-without-exp-fails", sign(claims("exp", nil)), jose.Expired},
		{"fapi2-security-profile-final-client-test-ensure-jarm-with-invalid-sig-fails", happy[:len(happy)-8] + "AAAAAAAA", jose.BadSignature},
		{"fapi2-security-profile-final-client-test-ensure-jarm-signature-is-not-none", forge(t, nil, object{"alg": "none"}, claims()), jose.BadAlgorithm},
		{"unsigned parameters", "code", jose.BadForm},
	} {
		form, err := provider(t).VerifyResponse(tt.response, at)
		if jose.ReasonOf(err) != tt.want || (err == nil) != (tt.want == "") {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if err != nil && (form != nil || !strings.Contains(err.Error(), "authorization response")) {
			t.Errorf("%s: %v, %v", tt.name, form, err)
		}
	}
	form, err := provider(t).VerifyResponse(happy, at)
	if err != nil || form.Encode() != "code=c-1&expires_in=60&iss=https%3A%2F%2Fop.example&state=s-1" {
		t.Errorf("%s, %v", form.Encode(), err)
	}
}
