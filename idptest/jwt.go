package idptest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"slices"
	"strings"
	"sync"
	"time"
)

// signingKey is made at its first use unless one was given: most servers sign
// nothing.
type signingKey struct {
	once sync.Once
	key  *rsa.PrivateKey
}

const keyID = "idptest-1"

func (k *signingKey) private() *rsa.PrivateKey {
	k.once.Do(func() {
		if k.key != nil {
			return
		}
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic("idptest: generating a key: " + err.Error()) // crypto/rand never fails
		}
		k.key = key
	})
	return k.key
}

// sign makes a compact RS256 JWT of the claims.
func (k *signingKey) sign(claims object) string {
	head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","typ":"JWT","kid":"` + keyID + `"}`))
	signed := head + "." + base64.RawURLEncoding.EncodeToString(claims.bytes())
	sum := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPKCS1v15(rand.Reader, k.private(), crypto.SHA256, sum[:])
	if err != nil {
		panic("idptest: signing: " + err.Error()) // the key is long enough
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// keysEndpoint is the JWKS (RFC 7517 §5).
func (s *Server) keysEndpoint(*request) *reply {
	pub := s.keys.private().PublicKey
	b64 := base64.RawURLEncoding.EncodeToString
	return jsonReply(200, `{"keys":[{"kty":"RSA","use":"sig","alg":"RS256","kid":"`+keyID+`","n":"`+b64(pub.N.Bytes())+
		`","e":"`+b64(big.NewInt(int64(pub.E)).Bytes())+`"}]}`)
}

// addIDToken adds an id_token where the scope has openid.
func (s *Server) addIDToken(q *request, a *reply, g *grant, nonce string) {
	if !slices.Contains(strings.Fields(g.scope), "openid") {
		return
	}
	now := s.nowLocked()
	var c object
	c.set("iss", q.base)
	c.set("sub", s.subject(g, q.base))
	c.set("aud", g.clientID)
	c.set("iat", now.Unix())
	c.set("exp", now.Add(5*time.Minute).Unix())
	if nonce != "" {
		c.set("nonce", nonce)
	}
	a.object.set("id_token", s.keys.sign(c))
}

// accessValueLocked makes the text of an access token: opaque, or a JWT by habit.
func (s *Server) accessValueLocked(a *accessToken) string {
	if !s.habits.JWTAccess {
		return s.mint.access(a.grant.user.OrgID)
	}
	var c object
	c.set("sub", s.subject(a.grant, s.baseLocked()))
	c.set("client_id", a.grant.clientID)
	c.set("scope", a.scope)
	c.set("iat", a.issued.Unix())
	c.set("exp", a.issued.Add(a.ttl).Unix())
	c.set("jti", "at"+s.mint.mark+s.mint.text(22, urlSafe))
	return s.keys.sign(c)
}
