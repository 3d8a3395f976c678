package jose

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	gojose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // refuses a name that occurs twice, and wrong case

	"github.com/evergrant/evergrant/oauth"
)

const (
	maxToken      = 256 << 10
	maxCandidates = 16 // keys tried if the token names none
	defaultLeeway = time.Minute
	maxLeeway     = 5 * time.Minute
)

// Reason says which rule something signed broke.
type Reason string

// The reasons, named for the claim or header parameter where there is one.
const (
	BadForm      Reason = "form"      // no compact JWS with a JSON object in it
	BadAlgorithm Reason = "alg"       // "none", or one that is not allowed
	BadType      Reason = "typ"       // another kind of JWT
	BadCritical  Reason = "crit"      // an extension that has to be understood (RFC 7515 §4.1.11)
	NoKey        Reason = "kid"       // no key in the set fits: fetch it anew, once
	BadSignature Reason = "signature" // not made by the key
	BadIssuer    Reason = "iss"
	BadAudience  Reason = "aud" // not ours, or with one that is not trusted
	BadParty     Reason = "azp"
	BadSubject   Reason = "sub"
	Expired      Reason = "exp"
	BadIssued    Reason = "iat" // missing or in the future
	NotYet       Reason = "nbf"
	BadNonce     Reason = "nonce"
	BadTokenHash Reason = "at_hash"
	BadCodeHash  Reason = "c_hash"
	BadAuthTime  Reason = "auth_time"
	BadContext   Reason = "acr"
)

// RefusedError is why a signed token or response is not accepted. It quotes
// nothing of it but an issuer that is a plain URL.
type RefusedError struct {
	// What was refused: "ID token" or "authorization response".
	What string
	// Reason is for programs.
	Reason Reason
	detail string
}

// Error tells the reason in words.
func (e *RefusedError) Error() string {
	return "checking " + e.What + ": " + string(e.Reason) + ": " + e.detail
}

// ReasonOf returns the reason of a RefusedError in err's tree, or "".
func ReasonOf(err error) Reason {
	var r *RefusedError
	if errors.As(err, &r) {
		return r.Reason
	}
	return ""
}

func refuse(reason Reason, detail string) error { return &RefusedError{Reason: reason, detail: detail} }

// named fills in what was refused.
func named(err error, what string) error {
	var r *RefusedError
	if errors.As(err, &r) {
		r.What = what
	}
	return err
}

// Provider is what a client knows of an OpenID provider or authorization
// server whose signatures it checks. Issuer and ClientID are required.
type Provider struct {
	// Issuer is the issuer identifier, compared as it stands.
	Issuer string
	// ClientID is ours.
	ClientID string
	// JWKS is the server's key set as it was fetched from its jwks_uri. Keys of
	// unknown kinds in it are passed over.
	JWKS []byte
	// Algorithms are those to accept. nil means every asymmetric one: RS256 to
	// RS512, PS256 to PS512, ES256, ES384, ES512, EdDSA. Name the one that was
	// registered where it is known; FAPI 2.0 allows PS256, ES256 and EdDSA only.
	Algorithms []string
	// Secret is the client secret, for HS256, HS384 and HS512. It is used only
	// if Algorithms names one of them, and needs as many bytes as the hash.
	Secret oauth.Secret
	// TrustedAudiences may stand in aud beside ClientID.
	TrustedAudiences []string
	// Leeway is how far clocks may differ: 0 means 1 min, at most 5 min.
	Leeway time.Duration
}

func (p Provider) leeway() time.Duration {
	if p.Leeway <= 0 {
		return defaultLeeway
	}
	return min(p.Leeway, maxLeeway)
}

func (p Provider) algorithms() []string {
	if p.Algorithms != nil {
		return p.Algorithms
	}
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// opened is a JWT whose signature was checked.
type opened struct {
	alg     string
	payload []byte
	claims  map[string]json.RawMessage
}

// open checks form, algorithm and signature, in this order; the claims are not
// looked at before the signature is known to be good.
func (p Provider) open(token string) (*opened, error) {
	h, err := readHeader(token)
	if err != nil {
		return nil, err
	}
	if h.Alg == "none" || !slices.Contains(p.algorithms(), h.Alg) {
		return nil, refuse(BadAlgorithm, "it is signed with an algorithm that is not allowed")
	}
	alg := gojose.SignatureAlgorithm(h.Alg)
	jws, err := gojose.ParseSignedCompact(token, []gojose.SignatureAlgorithm{alg})
	if err != nil {
		return nil, refuse(BadForm, "it is no JWT that can be read")
	}
	keys, err := p.candidates(h)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if payload, err := jws.Verify(key); err == nil {
			o := &opened{alg: h.Alg, payload: payload}
			if json.Unmarshal(payload, &o.claims) != nil || o.claims == nil {
				return nil, refuse(BadForm, "its claims are no JSON object, or one occurs twice")
			}
			return o, nil
		}
	}
	return nil, refuse(BadSignature, "the signature is wrong")
}

type jwtHeader struct {
	Alg  string          `json:"alg"`
	Kid  string          `json:"kid"`
	Typ  string          `json:"typ"`
	Crit json.RawMessage `json:"crit"`
	B64  json.RawMessage `json:"b64"`
}

func readHeader(token string) (h jwtHeader, err error) {
	if len(token) > maxToken {
		return h, refuse(BadForm, "it is larger than 256 KiB")
	}
	parts := strings.Split(token, ".")
	if len(parts) == 5 {
		return h, refuse(BadForm, "it is encrypted, which is not supported")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil || len(parts) != 3 || json.Unmarshal(text, &h) != nil {
		return h, refuse(BadForm, "it is no JWT that can be read")
	}
	if h.Crit != nil || h.B64 != nil {
		return h, refuse(BadCritical, "its header demands an extension that is not known (RFC 7515 §4.1.11)")
	}
	// RFC 8725 §3.11: a typ that names another use (at+jwt, logout+jwt, …) makes
	// it another thing; plain ones say "JWT" or nothing.
	if strings.HasSuffix(strings.ToLower(h.Typ), "+jwt") {
		return h, refuse(BadType, "its typ says that it is a JWT of another kind (RFC 8725 §3.11)")
	}
	return h, nil
}

// candidates are the keys that may have signed. Which kind is tried follows
// from the algorithm, which is one we allow: a public key never serves as HMAC
// key, and no key out of the token itself (jwk, jku, x5c) is used.
func (p Provider) candidates(h jwtHeader) ([]any, error) {
	if bits, ok := strings.CutPrefix(h.Alg, "HS"); ok {
		need, _ := strconv.Atoi(bits)
		if len(p.Secret.Reveal()) < need/8 {
			return nil, refuse(NoKey, "the client secret is shorter than "+h.Alg+" needs (RFC 7518 §3.2)")
		}
		return []any{[]byte(p.Secret.Reveal())}, nil
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(p.JWKS, &set) != nil {
		return nil, refuse(NoKey, "the server's key set can't be read")
	}
	var keys []any
	for _, raw := range set.Keys {
		if key := fitting(raw, h); key != nil && len(keys) < maxCandidates {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, refuse(NoKey, "no key in the server's key set fits")
	}
	return keys, nil
}

// fitting returns the public key of a JWK if it can have signed, else nil.
func fitting(raw json.RawMessage, h jwtHeader) any {
	var k gojose.JSONWebKey
	if json.Unmarshal(raw, &k) != nil || h.Kid != "" && k.KeyID != h.Kid {
		return nil
	}
	if k.Use != "" && k.Use != "sig" || k.Algorithm != "" && !sameAlg(k.Algorithm, h.Alg) {
		return nil
	}
	public := k.Public().Key // the public half, should somebody publish the other
	algs, err := algorithmsOf(public)
	if err != nil || !slices.Contains(algs, h.Alg) {
		return nil
	}
	return public
}

func sameAlg(key, token string) bool {
	return key == token || key == "Ed25519" && token == "EdDSA" // RFC 9864
}

// text returns a claim that is a string.
func (o *opened) text(name string) (value string, ok bool) {
	raw, ok := o.claims[name]
	if !ok || len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return value, json.Unmarshal(raw, &value) == nil
}

// time returns a NumericDate (RFC 7519 §2), which may have a fraction.
func (o *opened) time(name string) (t time.Time, ok bool) {
	raw := o.claims[name]
	if len(raw) == 0 || raw[0] < '0' || raw[0] > '9' {
		return t, false
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || f > 253402300799 { // year 9999; milliseconds lie beyond
		return t, false
	}
	whole, fraction := math.Modf(f)
	return time.Unix(int64(whole), int64(fraction*1e9)).UTC(), true
}

// texts returns a claim that is a string or a list of strings.
func (o *opened) texts(name string) (list []string, ok bool) {
	if one, ok := o.text(name); ok {
		return []string{one}, true
	}
	raw := o.claims[name]
	if len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &list) != nil {
		return nil, false
	}
	return list, true
}

func (p Provider) checkIssuer(o *opened) error {
	iss, _ := o.text("iss")
	if p.Issuer == "" || iss != p.Issuer {
		return refuse(BadIssuer, "it comes from "+shownURL(iss)+", not from "+shownURL(p.Issuer))
	}
	return nil
}

// shownURL is a URL from outside as far as an error may quote it.
func shownURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || len(s) > 200 || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "another issuer"
	}
	return fmt.Sprintf("%q", s)
}

// checkAudience: ours has to be there, and nobody we don't trust (OpenID
// Connect Core §3.1.3.7 item 3).
func (p Provider) checkAudience(o *opened) error {
	list, ok := o.texts("aud")
	if !ok || p.ClientID == "" || !slices.Contains(list, p.ClientID) {
		return refuse(BadAudience, "it is not for this client")
	}
	for _, aud := range list {
		if aud != p.ClientID && !slices.Contains(p.TrustedAudiences, aud) {
			return refuse(BadAudience, "it is for others too, whom nobody declared to be trusted")
		}
	}
	return nil
}

func (p Provider) checkExpiry(o *opened, now time.Time) error {
	exp, ok := o.time("exp")
	if !ok {
		return refuse(Expired, "it doesn't say when it ends")
	}
	if !now.Before(exp.Add(p.leeway())) {
		return refuse(Expired, "it ended at "+exp.Format(time.RFC3339))
	}
	if _, has := o.claims["nbf"]; has {
		nbf, ok := o.time("nbf")
		if !ok || nbf.After(now.Add(p.leeway())) {
			return refuse(NotYet, "it is not valid yet")
		}
	}
	return nil
}
