package oauth_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/oauth"
)

// canary marks every secret of these tests: whatever is printed is searched
// for it.
const canary = "cAn4Ry"

func secret(name string) string { return canary + "-" + name + "-0123456789abcdef" }

func leakCheck(t *testing.T, where, text string) {
	t.Helper()
	if strings.Contains(text, canary) {
		t.Errorf("%s leaks: %s", where, text)
	}
}

// printings formats a value in every way the standard library has.
func printings(v any) []string {
	var list []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%T", "%10.3s"} {
		list = append(list, fmt.Sprintf(verb, v), fmt.Sprintf(verb, []any{v}),
			fmt.Sprintf(verb, map[string]any{"k": v}), fmt.Sprintf(verb, struct{ V any }{v}))
	}
	if b, err := json.Marshal(map[string]any{"k": v}); err == nil {
		list = append(list, string(b))
	}
	var buf bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&buf, nil), slog.NewJSONHandler(&buf, nil)} {
		slog.New(h).Info("m", "k", v, slog.Group("g", "k", v))
	}
	return append(list, buf.String(), fmt.Sprint(v), fmt.Sprintln(v))
}

func TestNothingPrintsSecrets(t *testing.T) {
	s := oauth.NewSecret(secret("s"))
	form := oauth.Form{{Name: "refresh_token", Value: secret("form")}}
	req := oauth.Request{
		URL:    "https://as.example/token?device=" + secret("query"),
		Form:   form,
		Header: http.Header{"Authorization": {"Basic " + secret("auth")}},
	}
	body := []byte(`{"access_token":"` + secret("at") + `","refresh_token":7}`)
	answer := &oauth.Answer{Status: 200, Body: body, Header: http.Header{"X": {secret("header")}}}
	token, tokenErr := oauth.ParseToken(answer, oauth.Dialect{})
	sendErr := &oauth.SendError{Partial: body, Phase: oauth.PhaseRead, Sent: true}
	type unexported struct {
		s oauth.Secret
		a any
		l []oauth.Secret
	}
	type exported struct {
		S oauth.Secret
		P *oauth.Secret
	}
	for name, v := range map[string]any{
		"Secret": s, "*Secret": &s, "[]Secret": []oauth.Secret{s}, "unexported": unexported{s, any(s), []oauth.Secret{s}}, "exported": exported{s, &s},
		"Param": form[0], "Form": form, "Request": req, "*Request": &req, "Answer": *answer, "*Answer": answer,
		"Member": token.Members[0], "Members": token.Members, "TokenAnswer": *token, "*TokenAnswer": token,
		"TokenError": tokenErr, "SendError": sendErr, "wrapped": fmt.Errorf("x: %w", sendErr),
	} {
		for _, text := range printings(v) {
			leakCheck(t, name, text)
			// %x of a text would hide the canary from the search above.
			leakCheck(t, name, strings.ReplaceAll(strings.ToLower(text), fmt.Sprintf("%x", canary), canary))
		}
	}
}

func TestSecret(t *testing.T) {
	s := oauth.NewSecret("abc")
	var zero oauth.Secret
	for _, tt := range []struct {
		name      string
		got, want any
	}{
		{"reveal", s.Reveal(), "abc"},
		{"string", s.String(), "[redacted]"},
		{"verb", fmt.Sprintf("%d|%#v|%s", s, s, s), "[redacted]|[redacted]|[redacted]"},
		{"zero string", fmt.Sprintf("%v", zero), ""},
		{"zero", zero.IsZero(), true},
		{"empty is zero", oauth.NewSecret("").IsZero(), true},
		{"not zero", s.IsZero(), false},
		{"equal", s.Equal(oauth.NewSecret("abc")), true},
		{"not equal", s.Equal(oauth.NewSecret("abd")), false},
		{"prefix", s.Equal(oauth.NewSecret("ab")), false},
		{"zeros", zero.Equal(oauth.Secret{}), true},
		{"zero reveal", zero.Reveal(), ""},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, tt.got, tt.want)
		}
	}
	b, err := json.Marshal(struct{ A, B oauth.Secret }{s, zero})
	if err != nil || string(b) != `{"A":"[redacted]","B":""}` {
		t.Errorf("marshalled: %s, %v", b, err)
	}
}

func TestScrub(t *testing.T) {
	a, b := oauth.NewSecret("tok/en+1"), oauth.NewSecret("tok/en+1-longer")
	got := oauth.Scrub("the token tok/en+1-longer or tok%2Fen%2B1 or tok/en+1 is bad, ab stays",
		a, b, oauth.NewSecret("ab"), oauth.Secret{})
	want := "the token [redacted] or [redacted] or [redacted] is bad, ab stays"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
