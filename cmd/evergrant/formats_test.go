package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

// ready is a bed whose token is fresh, and that token. extra are members to put
// into the file.
func ready(t *testing.T, extra string) (*bed, string) {
	t.Helper()
	b := newBedOf(t, idptest.Generic, idptest.Habits{})
	b.first()
	text := b.read()
	_, rest, _ := strings.Cut(text, `"access_token"`)
	token := strings.Split(rest, `"`)[1]
	if extra != "" {
		b.write([]byte(strings.Replace(text, "{", "{"+extra+",", 1)))
	}
	return b, token
}

// TestFormatSASL: #44, the responses of XOAUTH2 and RFC7628 §3.1 with their
// user, to the byte.
func TestFormatSASL(t *testing.T) {
	for name, row := range map[string]struct {
		extra string
		args  []string
		want  string // TOKEN stands for the token
		code  int
	}{
		"xoauth2":                       {"", []string{"--format", "xoauth2", "--user", "ana@example.com"}, "user=ana@example.com\x01auth=Bearer TOKEN\x01\x01", 0},
		"RFC7628":                       {"", []string{"--format", "oauthbearer", "--user", "ana@example.com"}, "n,a=ana@example.com,\x01auth=Bearer TOKEN\x01\x01", 0},
		"RFC5801 saslname":              {"", []string{"--format", "oauthbearer", "--user", "a=b,c"}, "n,a=a=3Db=2Cc,\x01auth=Bearer TOKEN\x01\x01", 0},
		"account of the file":           {`"email":"ana@example.com"`, []string{"--format", "xoauth2"}, "user=ana@example.com\x01auth=Bearer TOKEN\x01\x01", 0},
		"--user stands above the file":  {`"email":"ana@example.com"`, []string{"--format", "xoauth2", "--user", "shared@example.com"}, "user=shared@example.com\x01auth=Bearer TOKEN\x01\x01", 0},
		"no account":                    {"", []string{"--format", "xoauth2"}, "", exitUsage},
		"an account that is no address": {`"sub":"248289761001"`, []string{"--format", "oauthbearer"}, "", exitUsage},
		"a user that breaks out":        {"", []string{"--format", "xoauth2", "--user", "a\x01auth=Bearer x"}, "", exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, token := ready(t, row.extra)
			r := b.run(append([]string{"token", b.path}, row.args...)...)
			if r.code != row.code {
				t.Fatalf("%+v", r)
			}
			if row.code != 0 {
				r.wantHint(t)
				return
			}
			got, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(r.stdout, "\n"))
			if want := strings.ReplaceAll(row.want, "TOKEN", token); err != nil || string(got) != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

// TestFormatExecCredential: what a Kubernetes client wants, in the version it
// asks for.
func TestFormatExecCredential(t *testing.T) {
	info := func(version string) string {
		return `KUBERNETES_EXEC_INFO={"kind":"ExecCredential","apiVersion":"` + version + `","spec":{"interactive":false}}`
	}
	for name, row := range map[string]struct {
		env  string
		want string
		code int
	}{
		"by hand":        {"", "client.authentication.k8s.io/v1", 0},
		"v1":             {info("client.authentication.k8s.io/v1"), "client.authentication.k8s.io/v1", 0},
		"v1beta1":        {info("client.authentication.k8s.io/v1beta1"), "client.authentication.k8s.io/v1beta1", 0},
		"another":        {info("client.authentication.k8s.io/v1alpha1"), "", exitUsage},
		"not an object":  {"KUBERNETES_EXEC_INFO=yes", "", exitUsage},
		"without asking": {"KUBERNETES_EXEC_INFO={}", "", exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, token := ready(t, "")
			b.env = append(b.env, row.env)
			r := b.run("token", b.path, "--format", "exec-credential")
			if r.code != row.code {
				t.Fatalf("%+v", r)
			}
			if row.code != 0 {
				r.wantHint(t)
				return
			}
			var got struct {
				APIVersion, Kind string
				Status           struct {
					Token               string
					ExpirationTimestamp time.Time
				}
			}
			if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
				t.Fatal(err)
			}
			if left := time.Until(got.Status.ExpirationTimestamp); got.Kind != "ExecCredential" || got.APIVersion != row.want ||
				got.Status.Token != token || left < time.Minute || got.Status.ExpirationTimestamp.Nanosecond() != 0 {
				t.Errorf("%s", strings.ReplaceAll(r.stdout, token, "TOKEN"))
			}
		})
	}
}

// TestFormatGit: lines of git's credential protocol, with the token's end.
func TestFormatGit(t *testing.T) {
	b, token := ready(t, "")
	for user, args := range map[string][]string{"oauth2": nil, "x-token-auth": {"--user", "x-token-auth"}} {
		r := b.run(append([]string{"token", b.path, "--format", "git"}, args...)...)
		head, expiry, _ := strings.Cut(strings.TrimSuffix(r.stdout, "\n"), "\npassword_expiry_utc=")
		at, err := strconv.ParseInt(expiry, 10, 64)
		if head != "username="+user+"\npassword="+token || err != nil || time.Until(time.Unix(at, 0)) < time.Minute {
			t.Errorf("%d, %q", r.code, strings.ReplaceAll(r.stdout, token, "TOKEN"))
		}
	}
	if r := b.run("token", b.path, "--format", "git", "--user", "a\npassword=b"); r.code != exitUsage || r.stdout != "" {
		t.Errorf("a user with a line end: %+v", r)
	}
}

// TestFormatBrokenToken: a token that would end the line or the field it is put
// into, as a file from somebody else may have, is handed out only where it is
// quoted.
func TestFormatBrokenToken(t *testing.T) {
	b, token := ready(t, "")
	whole := b.read()
	for _, breaks := range []string{`\nX-Evil: 1`, `\u0001auth=Bearer other`} {
		b.write([]byte(strings.Replace(whole, token, token+breaks, 1)))
		for _, f := range tokenFormats {
			r := b.run("token", b.path, "--format", f.name, "--user", "ana")
			if quoted := f.name == "json" || f.name == "env"; quoted != (r.code == 0) || !quoted && r.stdout != "" {
				t.Errorf("%s: exit %d, %q", f.name, r.code, r.stdout)
			}
		}
	}
}

// TestFormatTokenType: a token that is of no use by itself (RFC9449 §7.1) is not
// put where it would be used so; what providers call a bearer token is one.
func TestFormatTokenType(t *testing.T) {
	for kind, bare := range map[string]bool{"Bearer": true, "bearer": true, "bot": true, "DPoP": false} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := newBedOf(t, idptest.Generic, idptest.Habits{})
			text := strings.Replace(b.read(), `"Bearer"`, strconv.Quote(kind), 1)
			if !bare {
				text = strings.Replace(text, "{", `{"dpop_jwk":`+newJWK(t)+",", 1)
			}
			b.write([]byte(text))
			for _, f := range []string{"header", "xoauth2", "oauthbearer", "exec-credential", "git"} {
				r := b.run("token", b.path, "--format", f, "--user", "ana@example.com")
				if ok := r.code == 0; ok != bare || ok != (r.stdout != "") {
					t.Errorf("%s: %d %s", f, r.code, r.stderr)
				}
				if !bare {
					r.wantHint(t)
					if !strings.Contains(r.stderr, "evergrant proxy") {
						t.Errorf("%s: %s", f, r.stderr)
					}
				}
				if f == "header" && bare && r.stdout != "Authorization: Bearer "+b.grant.AccessToken+"\n" {
					t.Errorf("another scheme: %q", strings.ReplaceAll(r.stdout, mark, "MARK"))
				}
			}
			for _, f := range []string{"raw", "json", "env"} {
				if r := b.run("token", b.path, "--format", f); r.code != 0 || !strings.Contains(r.stdout, b.grant.AccessToken) {
					t.Errorf("%s: %d %s", f, r.code, r.stderr)
				}
			}
			if r := b.ask("protocol=https\nhost=git.example.com\n\n", "get", "--host", "git.example.com"); (r.code == 0) != bare || (r.stdout != "") != bare {
				t.Errorf("git-credential: %d %s", r.code, r.stderr)
			}
		})
	}
}

// newJWK makes a private key of the kind that DPoP tokens are bound to.
func newJWK(t *testing.T) string {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := k.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	public, err := k.PublicKey.Bytes() // 4, x, y
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString
	b, err := json.Marshal(map[string]string{"kty": "EC", "crv": "P-256", "d": text(private), "x": text(public[1:33]), "y": text(public[33:])})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestFormatsInHelp: the help names every format, and completion offers it.
func TestFormatsInHelp(t *testing.T) {
	c := tokenCommand(newUI(os.Stdout, os.Stderr))
	for _, f := range formatNames() {
		if !strings.Contains(c.Long, f) || !strings.Contains(c.Flag("format").Usage, f) {
			t.Errorf("%s is not in the help", f)
		}
	}
}
