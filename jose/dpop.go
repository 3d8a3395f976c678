package jose

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/evergrant/evergrant/oauth"
)

const (
	maxNonce   = 1024 // bytes: longer ones would not come back in a header
	maxOrigins = 256
)

// Proofs makes the DPoP proofs of one key (RFC 9449 §4) and keeps the newest
// nonce of each server. It can be used by several goroutines.
//
// Judge the answers to a request by [Proofs.Retry], which says whether to send it
// once more. Who journals each try, and so decides by itself, calls [Proofs.Learn]
// and [WantsNonce]. Nothing was refused but the proof: such an answer neither
// spends a refresh token nor ends a grant.
type Proofs struct {
	key *Key

	mu     sync.Mutex
	nonces map[string]string // by origin
}

// NewProofs begins with no nonces. The key's id and certificates play no part:
// the public key itself stands in every proof.
func NewProofs(key *Key) (*Proofs, error) {
	if key == nil || key.signer() == nil {
		return nil, fmt.Errorf("preparing DPoP: %w", errNoKey)
	}
	return &Proofs{key: key, nonces: map[string]string{}}, nil
}

// Key is the key that signs the proofs.
func (p *Proofs) Key() *Key { return p.key }

// Thumbprint is the jkt that tokens are bound to, and the dpop_jkt of an
// authorization request (RFC 9449 §10).
func (p *Proofs) Thumbprint() string { return p.key.Thumbprint() }

// Header returns the value of the DPoP header field for one request to an
// absolute http or https URL: a new one for every request (§4.2). The access
// token, if the request carries one, is bound by its hash.
func (p *Proofs) Header(method, target string, accessToken oauth.Secret, now time.Time) (string, error) {
	u, err := absolute(target)
	if err != nil {
		return "", fmt.Errorf("making DPoP proof: %w", err)
	}
	if method == "" {
		return "", errors.New("making DPoP proof: the method is empty")
	}
	// No setting back of iat: servers that check it allow for a slow client,
	// and the shortest windows have no seconds to give away.
	c := claims{"jti": newID(), "htm": method, "htu": htu(u), "iat": now.Unix()}
	if !accessToken.IsZero() {
		sum := sha256.Sum256([]byte(accessToken.Reveal()))
		c["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	p.mu.Lock()
	nonce := p.nonces[origin(u)]
	p.mu.Unlock()
	if nonce != "" {
		c["nonce"] = nonce
	}
	text, err := p.key.sign(header{"typ": "dpop+jwt"}, c, true)
	if err != nil {
		return "", fmt.Errorf("making DPoP proof: %w", err)
	}
	return text, nil
}

// Attach gives a request to an authorization server a new proof, in place of
// the one it may have.
func (p *Proofs) Attach(r *oauth.Request, now time.Time) error {
	proof, err := p.Header(http.MethodPost, r.URL, oauth.Secret{}, now)
	if err != nil {
		return err
	}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Header.Set("DPoP", proof)
	return nil
}

// Learn keeps the nonce of an answer, whatever its status (§8.2), for the
// origin of the URL that was asked: nonces of one server mean nothing to
// another (§9). It reports whether the nonce is new. An answer without one, or
// with one that breaks the syntax (§8.1), changes nothing.
func (p *Proofs) Learn(target string, answer http.Header) bool {
	u, err := absolute(target)
	nonce := nonceOf(answer)
	if err != nil || nonce == "" {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	from := origin(u)
	if p.nonces[from] == nonce {
		return false
	}
	if _, known := p.nonces[from]; !known && len(p.nonces) >= maxOrigins {
		clear(p.nonces) // costs one more round trip each
	}
	p.nonces[from] = nonce
	return true
}

// Retry begins one request. The function it returns keeps the nonce of each
// answer and says whether to send the request again, with a new proof: where the
// answer [WantsNonce], and once only, since a second such answer is a failure. The
// nonce may be known already, by another request that was under way. Of nil Proofs
// it never says so.
func (p *Proofs) Retry() func(target string, status int, answer http.Header, body []byte) bool {
	left := p != nil
	return func(target string, status int, answer http.Header, body []byte) bool {
		if p == nil {
			return false
		}
		p.Learn(target, answer)
		again := left && WantsNonce(status, answer, body)
		left = left && !again
		return again
	}
}

// WantsNonce reports whether an answer asks for the nonce it brings: 400 with
// the error use_dpop_nonce at an authorization server (§8), 401 with a DPoP
// challenge at a resource server (§9). Send again once; a second such answer is
// a failure.
func WantsNonce(status int, answer http.Header, body []byte) bool {
	if nonceOf(answer) == "" {
		return false
	}
	switch status {
	case http.StatusUnauthorized:
		if challenged(answer) {
			return true
		}
	case http.StatusBadRequest:
	default:
		return false
	}
	var e struct {
		Error string `json:"error"`
	}
	return json.Unmarshal(body, &e) == nil && e.Error == "use_dpop_nonce"
}

// challenged looks at the DPoP challenges alone: a server that takes both kinds
// of token may offer Bearer too, and ParseChallenge prefers that.
func challenged(answer http.Header) bool {
	for _, line := range answer.Values("WWW-Authenticate") {
		c := oauth.ParseChallenge(http.Header{"Www-Authenticate": {hideBearer(line)}})
		if c.Scheme == "DPoP" && c.Error == "use_dpop_nonce" {
			return true
		}
	}
	return false
}

// hideBearer renames every Bearer scheme to one that nobody knows. Other texts
// may change with it; none of them is looked at.
func hideBearer(line string) string {
	const name = "bearer"
	var b strings.Builder
	for i := 0; i < len(line); i++ {
		if len(line)-i >= len(name) && strings.EqualFold(line[i:i+len(name)], name) {
			b.WriteString("Hidden")
			i += len(name) - 1
			continue
		}
		b.WriteByte(line[i])
	}
	return b.String()
}

// IsDPoP reports whether a token_type says that the token is bound, in any case
// of letters (RFC 6749 §5.1). Who asked for a bound token and gets another
// should refuse it (RFC 9449 §5).
func IsDPoP(tokenType string) bool { return strings.EqualFold(tokenType, "DPoP") }

// absolute parses without quoting the URL in errors: it may hold a credential.
func absolute(target string) (*url.URL, error) {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("the URL is not an absolute http or https URL")
	}
	return u, nil
}

// origin is scheme, host and port, in lower case, without the default port.
func origin(u *url.URL) string {
	host := strings.ToLower(u.Host)
	if u.Scheme == "https" {
		host = strings.TrimSuffix(host, ":443")
	} else {
		host = strings.TrimSuffix(host, ":80")
	}
	return u.Scheme + "://" + strings.TrimSuffix(host, ":")
}

// htu is the target URI without query and fragment (§4.2), normalized as its
// reader will (§4.3, RFC 3986 §6.2.2 and 6.2.3).
func htu(u *url.URL) string {
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return origin(u) + path
}

// nonceOf is the nonce of an answer; "" where it has none, or more than one (§8),
// or one that breaks the syntax.
func nonceOf(answer http.Header) string {
	fields := answer.Values("DPoP-Nonce")
	if len(fields) != 1 || !isNonce(fields[0]) {
		return ""
	}
	return fields[0]
}

// isNonce checks the syntax of §8.1: NQCHAR of RFC 6749 appendix A.
func isNonce(s string) bool {
	if s == "" || len(s) > maxNonce {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
