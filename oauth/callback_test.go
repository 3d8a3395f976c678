package oauth_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/oauth"
)

const (
	state  = "0123456789abcdef0123456789abcdef0123456789a"
	issuer = "https://as.example.com"
)

var expected = oauth.Expected{State: oauth.NewSecret(state), Issuer: issuer}

func TestCallback(t *testing.T) {
	required := expected
	required.IssRequired = true
	foreign := oauth.Expected{State: oauth.NewSecret(state)} // the issuer is not known
	refused := errors.New("refused by the server")
	for _, tt := range []struct {
		name string
		form string
		want oauth.Expected
		err  error // ErrStray, ErrIssuer, refused, or nil for the code "c"
	}{
		{"good", "code=c&state=" + state, expected, nil},
		{"good with iss", "code=c&state=" + state + "&iss=https%3A%2F%2Fas.example.com", required, nil},
		{"extras are kept", "code=c&realmId=12&state=" + state + "&scope=a+b", expected, nil},
		{"iss of an unknown issuer", "code=c&state=" + state + "&iss=https%3A%2F%2Fother.example", foreign, nil},
		{"9207-1 iss wrong", "code=c&state=" + state + "&iss=https%3A%2F%2Fevil.example", expected, oauth.ErrIssuer},
		{"9207-1 iss differs by a slash", "code=c&state=" + state + "&iss=https%3A%2F%2Fas.example.com%2F", expected, oauth.ErrIssuer},
		{"9207-1 iss differs by case", "code=c&state=" + state + "&iss=https%3A%2F%2FAS.example.com", expected, oauth.ErrIssuer},
		{"9207-1 iss empty", "code=c&state=" + state + "&iss=", expected, oauth.ErrIssuer},
		{"9207-1 iss missing where promised", "code=c&state=" + state, required, oauth.ErrIssuer},
		{"9207-1 iss wrong on an error", "error=access_denied&state=" + state + "&iss=https%3A%2F%2Fevil.example", expected, oauth.ErrIssuer},
		{"9207-1 iss missing on an error", "error=access_denied&state=" + state, required, oauth.ErrIssuer},
		{"error", "error=access_denied&error_description=no&state=" + state, expected, refused},
		{"9700-2 state wrong", "code=c&state=" + strings.Repeat("x", 43), expected, oauth.ErrStray},
		{"9700-2 state missing", "code=c", expected, oauth.ErrStray},
		{"9700-2 state empty", "code=c&state=", expected, oauth.ErrStray},
		{"9700-2 state a prefix", "code=c&state=" + state[:42], expected, oauth.ErrStray},
		{"9700-2 state and a suffix", "code=c&state=" + state + "x", expected, oauth.ErrStray},
		{"9700-2 nothing expected", "code=c&state=", oauth.Expected{}, oauth.ErrStray},
		{"state wrong on an error", "error=access_denied&state=no", expected, oauth.ErrStray},
		{"empty", "", expected, oauth.ErrStray},
		{"neither code nor error", "state=" + state, expected, oauth.ErrStray},
		{"code and error", "code=c&error=x&state=" + state, expected, oauth.ErrStray},
		{"2.1-10 state twice", "code=c&state=" + state + "&state=" + state, expected, oauth.ErrStray},
		{"2.1-10 code twice", "code=c&code=d&state=" + state, expected, oauth.ErrStray},
		{"2.1-10 iss twice", "code=c&state=" + state + "&iss=https%3A%2F%2Fas.example.com&iss=x", expected, oauth.ErrStray},
		{"2.1-10 broken escape", "code=%zz&state=" + state, expected, oauth.ErrStray},
		{"2.1-10 code with a line end", "code=a%0D%0Ab&state=" + state, expected, oauth.ErrStray},
		{"2.1-10 many parameters", strings.Repeat("a=b&", 100) + "state=" + state, expected, oauth.ErrStray},
		{"2.1-10 long", "code=" + strings.Repeat("c", 300<<10) + "&state=" + state, expected, oauth.ErrStray},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cb, err := oauth.ParseCallback(tt.form, tt.want)
			var no *oauth.ServerError
			switch {
			case tt.err == nil:
				if err != nil || cb.Code.Reveal() != "c" || cb.Params.Get("state") != state {
					t.Errorf("got %v, %v", cb, err)
				}
			case tt.err == refused:
				if !errors.As(err, &no) || no.Code != "access_denied" || no.Description != "no" || cb != nil {
					t.Errorf("got %v, %v", cb, err)
				}
			case !errors.Is(err, tt.err) || cb != nil:
				t.Errorf("got %v, %v, want %v", cb, err, tt.err)
			}
		})
	}
}

// TestCallbackErrorText_2_1_10: what a server or anybody else writes is cleaned.
func TestCallbackErrorText_2_1_10(t *testing.T) {
	_, err := oauth.ParseCallback("error=a%1b%5b31mb&error_description=x%0ay%E2%80%AE"+strings.Repeat("z", 2000)+"&state="+state, expected)
	var no *oauth.ServerError
	if !errors.As(err, &no) {
		t.Fatal(err)
	}
	if strings.ContainsAny(err.Error(), "\x1b\n\u202e") || len(no.Description) > 512 {
		t.Errorf("%q", err)
	}
}

func TestPasted(t *testing.T) {
	good := "code=c&state=" + state
	for name, text := range map[string]string{
		"whole address":      "http://127.0.0.1:5/cb?" + good,
		"with space around":  "  http://127.0.0.1:5/cb?" + good + "\n",
		"with #_=_":          "http://127.0.0.1:5/cb?" + good + "#_=_",
		"fragment":           "https://x.example/cb#" + good,
		"fragment and query": "https://x.example/cb?tenant=1#" + good,
		"query alone":        good,
		"code#state":         "c#" + state,
	} {
		if cb, err := oauth.ParsePasted(text, expected); err != nil || cb.Code.Reveal() != "c" {
			t.Errorf("%s: %v, %v", name, cb, err)
		}
	}
	for name, text := range map[string]string{
		"empty":                   "",
		"a bare code":             "c",
		"the authorization URL":   "https://as.example.com/authorize?client_id=app&state=" + state,
		"code of another login":   "c#other",
		"no code in it":           "http://127.0.0.1:5/cb",
		"address of another page": "https://x.example/?a=b",
	} {
		if cb, err := oauth.ParsePasted(text, expected); !errors.Is(err, oauth.ErrStray) || cb != nil {
			t.Errorf("%s: %v, %v", name, cb, err)
		}
	}
}

// FuzzCallback: whatever comes, only the right state gives a code, and never a
// parameter twice.
func FuzzCallback(f *testing.F) {
	for _, seed := range []string{"code=c&state=" + state, "error=e&state=" + state, "code=c&state=" + state + "&iss=x", "http://127.0.0.1/cb?code=c&state=" + state,
		"c#" + state, "code=%zz", "a=b;c=d", "state=" + state + "&state=", "http://x/#code=c&state=" + state} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, parse := range []func(string, oauth.Expected) (*oauth.Callback, error){oauth.ParseCallback, oauth.ParsePasted} {
			cb, err := parse(text, expected)
			var no *oauth.ServerError
			switch {
			case err == nil:
				if cb.Code.IsZero() || cb.Params.Get("state") != state || cb.Params.Has("iss") && cb.Params.Get("iss") != issuer || cb.Params.Has("error") {
					t.Fatalf("%q gave %v", text, cb.Params.Encode())
				}
				if v, err := url.ParseQuery(cb.Params.Encode()); err != nil || len(v) != len(cb.Params) {
					t.Fatalf("%q has a parameter twice", text)
				}
			case cb != nil || !errors.Is(err, oauth.ErrStray) && !errors.Is(err, oauth.ErrIssuer) && !errors.As(err, &no):
				t.Fatalf("%q: %v, %v", text, cb, err)
			}
		}
	})
}
