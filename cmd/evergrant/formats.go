package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/evergrant/evergrant"
)

// tokenFormat prints an access token, with a newline at the end.
type tokenFormat struct {
	name   string
	print  func(t *evergrant.Token, user string) (string, error)
	user   bool // it cannot be printed without a user
	bare   bool // the token is all that its reader will send
	quotes bool // it can carry any character
}

// tokenFormats are in the order of the help.
var tokenFormats = []tokenFormat{
	{name: "raw", print: func(t *evergrant.Token, _ string) (string, error) { return t.AccessToken.Reveal() + "\n", nil }},
	{name: "header", print: func(t *evergrant.Token, _ string) (string, error) {
		return "Authorization: Bearer " + t.AccessToken.Reveal() + "\n", nil
	}, bare: true},
	{name: "json", print: tokenJSON, quotes: true},
	{name: "env", print: func(t *evergrant.Token, _ string) (string, error) {
		return "ACCESS_TOKEN=" + shellQuoted(t.AccessToken.Reveal()) + "\n", nil
	}, quotes: true},
	{name: "xoauth2", print: xoauth2, user: true, bare: true},
	{name: "oauthbearer", print: oauthBearer, user: true, bare: true},
	{name: "exec-credential", print: execCredential, bare: true},
	{name: "git", print: gitLines, bare: true},
}

// formatNamed finds a format.
func formatNamed(name string) (tokenFormat, error) {
	i := slices.IndexFunc(tokenFormats, func(f tokenFormat) bool { return f.name == name })
	if i < 0 {
		return tokenFormat{}, usageError{fmt.Errorf("--format %s is not known", name), "one of " + strings.Join(formatNames(), ", ")}
	}
	return tokenFormats[i], nil
}

func formatNames() []string {
	var names []string
	for _, f := range tokenFormats {
		names = append(names, f.name)
	}
	return names
}

// text is the token in this format.
func (f tokenFormat) text(t *evergrant.Token, user string) (string, error) {
	if f.bare {
		if err := bearable(t); err != nil {
			return "", err
		}
	}
	if !f.quotes && strings.IndexFunc(t.AccessToken.Reveal(), unicode.IsControl) >= 0 { // RFC 6749 A.12: it would end the line or the field
		return "", usageError{errors.New("the access token has a control character, which no token has"), "look where the token file comes from"}
	}
	return f.print(t, user)
}

// bearable refuses a token that is of no use by itself (RFC 9449 §7.1). Other
// types than Bearer and DPoP are not handed out at all, or are what a provider
// writes for a bearer token (Slack: bot).
func bearable(t *evergrant.Token) error {
	if t.Bound() {
		return usageError{errors.New("this token is bound to a key (DPoP): it is of no use without a proof for each request"), "use `evergrant proxy`, which makes the proofs; --format raw prints the token alone"}
	}
	return nil
}

func tokenJSON(t *evergrant.Token, _ string) (string, error) {
	return jsonText(struct {
		AccessToken string    `json:"access_token"`
		TokenType   string    `json:"token_type"`
		ExpiresAt   time.Time `json:"expires_at,omitzero"`
		Generation  uint64    `json:"generation"`
	}{t.AccessToken.Reveal(), t.Type, t.Expiry, t.Generation})
}

func jsonText(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b) + "\n", err
}

// shellQuoted makes a word that a POSIX shell takes literally.
func shellQuoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// xoauth2 is the initial response of Google's and Microsoft's SASL mechanism
// XOAUTH2, which has no RFC.
func xoauth2(t *evergrant.Token, user string) (string, error) {
	return saslText("user=", user, t)
}

// oauthBearer is the initial response of the SASL mechanism OAUTHBEARER (RFC
// 7628 §3.1), with the user as the authorization identity (RFC 5801 §4).
func oauthBearer(t *evergrant.Token, user string) (string, error) {
	name := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(user)
	return saslText("n,a=", name+",", t)
}

// saslText is an initial response as it stands after AUTH: in base64.
func saslText(head, name string, t *evergrant.Token) (string, error) {
	if strings.ContainsAny(name, "\x00\x01") {
		return "", usageError{errors.New("the user has a control character"), "check --user"}
	}
	text := head + name + "\x01auth=Bearer " + t.AccessToken.Reveal() + "\x01\x01"
	return base64.StdEncoding.EncodeToString([]byte(text)) + "\n", nil
}

// kubernetesVersions are the versions of ExecCredential that have the same
// status; the first is the default.
var kubernetesVersions = []string{"client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"}

// execCredential is what a Kubernetes client expects of a credential plugin.
// The client says in KUBERNETES_EXEC_INFO which version it wants.
func execCredential(t *evergrant.Token, _ string) (string, error) {
	version := kubernetesVersions[0]
	if info := os.Getenv("KUBERNETES_EXEC_INFO"); info != "" {
		var asked struct {
			APIVersion string `json:"apiVersion"`
		}
		if err := json.Unmarshal([]byte(info), &asked); err != nil {
			return "", usageError{errors.New("KUBERNETES_EXEC_INFO is no JSON object"), "unset it, or let kubectl set it"}
		}
		if !slices.Contains(kubernetesVersions, asked.APIVersion) {
			return "", usageError{fmt.Errorf("KUBERNETES_EXEC_INFO asks for %q", asked.APIVersion), "use apiVersion " + kubernetesVersions[0] + " in the kubeconfig"}
		}
		version = asked.APIVersion
	}
	type status struct {
		Expires time.Time `json:"expirationTimestamp,omitzero"`
		Token   string    `json:"token"`
	}
	return jsonText(struct {
		Version string `json:"apiVersion"`
		Kind    string `json:"kind"`
		Status  status `json:"status"`
	}{version, "ExecCredential", status{t.Expiry.UTC().Truncate(time.Second), t.AccessToken.Reveal()}})
}

// gitUser is the user name where a server takes any: what GitLab documents.
const gitUser = "oauth2"

// gitLines is an answer in git's credential protocol (git-credential(1),
// INPUT/OUTPUT FORMAT): the token as the password.
func gitLines(t *evergrant.Token, user string) (string, error) {
	if user == "" {
		user = gitUser
	}
	return gitText([][2]string{{"username", user}, {"password", t.AccessToken.Reveal()}, {"password_expiry_utc", unixTime(t.Expiry)}})
}

// gitText writes pairs of git's credential protocol; empty ones are left out.
func gitText(pairs [][2]string) (string, error) {
	var b strings.Builder
	for _, p := range pairs {
		if strings.ContainsAny(p[1], "\n\x00") {
			return "", usageError{fmt.Errorf("the %s has a character that git's protocol cannot carry", p[0]), "check what is given for it"}
		}
		if p[1] != "" {
			b.WriteString(p[0] + "=" + p[1] + "\n")
		}
	}
	return b.String(), nil
}

func unixTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprint(t.Unix())
}
