package oauth_test

import (
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/oauth"
)

func TestTranscript(t *testing.T) {
	body := `{"access_token":"` + secret("at") + `","refresh_token":"` + secret("rt") + `","token_type":"Bearer","expires_in":3600,"scope":"api id","id":"https://login/` + secret("id") + `"}`
	ca := newAuthority(t)
	s := serve(t, answering(ca.issue(t, "localhost", far), write("HTTP/1.1 200 "+secret("reason")+"\r\nContent-Type: application/json\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\nX-Request-Id: "+secret("id")+"\r\nContent-Length: "+itoa(len(body))+"\r\n\r\n"+body)))
	line, all := transcript(t)
	c := oauth.Client{RootCAs: ca.pool, Proxy: direct, Trace: line}
	_, port, _ := net.SplitHostPort(s.addr)
	r := refresh(t, "https://localhost:"+port+"/token?device_id="+secret("query"))
	r.Header.Set("X-Api-Key", secret("header"))
	if _, err := c.Send(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	got := regexp.MustCompile(`(?m)^ *\d+ ms `).ReplaceAllString(all(), "")
	for _, want := range []string{
		"* connect to 127.0.0.1:" + port + ": done\n",
		"* TLS 1.3 TLS_AES_128_GCM_SHA256, certificate of localhost verified\n",
		"> POST /token?[redacted, 39 bytes] HTTP/1.1, host localhost:" + port + "\n",
		"> Accept: application/json\n",
		"> X-Api-Key: [redacted, 30 bytes]\n",
		"> grant_type = refresh_token\n",
		"> refresh_token = [redacted, 31 bytes]\n",
		"> client_id = client\n",
		"> client_secret = [redacted, 37 bytes]\n",
		"< 200 OK\n",
		"< Date: Mon, 23 Nov 2026 10:00:00 GMT\n",
		"< X-Request-Id: [redacted, 26 bytes]\n",
		"< access_token = [redacted, 28 bytes]\n",
		"< token_type = Bearer\n",
		"< expires_in = 3600\n",
		"< scope = api id\n",
		"* answer complete\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in\n%s", want, got)
		}
	}
}

// TestTranscriptHostile puts secrets where only a hostile or careless server
// would; transcript searches what comes out.
func TestTranscriptHostile(t *testing.T) {
	short := canary // looks like nothing, but is a token of the answer or request
	for name, wire := range map[string]string{
		"every header":       "HTTP/1.1 200 OK\r\nServer: x " + secret("a") + "\r\nWww-Authenticate: Bearer error=\"" + secret("b") + "\"\r\n" + secret("name") + ": x\r\nRetry-After: " + secret("c") + "\r\nSet-Cookie: " + secret("d") + "\r\nContent-Type: " + secret("e") + "\r\nContent-Length: 2\r\n\r\n{}",
		"description":        ok(`{"error":"invalid_grant","error_description":"token ` + secret("x") + ` is bad"}`),
		"sent token quoted":  ok(`{"error":"` + secret("sent-rt") + `"}`),
		"short new token":    ok(`{"access_token":"` + short + `","error_description":"` + short + `"}`),
		"short token, after": "HTTP/1.1 200 OK\r\nServer: " + short + "\r\nContent-Length: " + itoa(len(`{"refresh_token":"`+short+`"}`)) + "\r\n\r\n" + `{"refresh_token":"` + short + `"}`,
		"member name":        ok(`{"` + secret("m") + `":1}`),
		"open member object": ok(`{"error":{"message":"` + secret("m") + `"},"scope":["` + secret("n") + `"]}`),
		"page":               "HTTP/1.1 502 x\r\n\r\n<html>" + secret("page") + "</html>",
		"cut JSON":           ok(`{"a":"` + short),
		"text with a token":  "HTTP/1.1 500 x\r\n\r\nbad Token: " + short,
		"form":               "HTTP/1.1 200 OK\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\naccess_token=" + short + "&error_description=" + short,
		"array":              ok(`["` + short + `"]`),
		"string":             ok(`"` + short + `"`),
		"short body":         "HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{\"refresh_token\":\"" + short,
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, answering(nil, write(wire)))
			line, all := transcript(t)
			c := oauth.Client{Trace: line}
			r := refresh(t, "http://"+s.addr+"/")
			r.Header.Set("Authorization", "Basic "+secret("basic"))
			r.Form.Add(secret("sent-rt"), "the value as a name")
			c.Send(t.Context(), r, nil)
			if !strings.Contains(all(), "> POST") {
				t.Error("no transcript")
			}
		})
	}
}

// TestTranscriptShows: what has no secret in it can be read.
func TestTranscriptShows(t *testing.T) {
	s := serve(t, answering(nil, write("HTTP/1.1 502 Bad Gateway\r\nServer: nginx/1.2\r\nContent-Type: text/html\r\n\r\n<html><b>The upstream server is not available</b>")))
	line, all := transcript(t)
	c := oauth.Client{Trace: line}
	if _, err := c.Send(t.Context(), refresh(t, "http://"+s.addr+"/"), nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"< 502 Bad Gateway\n", "The upstream server is not available", "Content-Type: text/html\n"} {
		if !strings.Contains(all(), want) {
			t.Errorf("missing %q in\n%s", want, all())
		}
	}
}
