package faultmatrix_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
	"github.com/evergrant/evergrant/jose"
)

// bind gives the grant a key that its tokens are bound to (RFC 9449 §5).
func (tr *trial) bind() {
	tr.t.Helper()
	k, err := jose.Generate("ES256")
	tr.must(err)
	jwk, err := k.JWK()
	tr.must(err)
	doc := with(tr.t, tr.grant.TokenFile(), "dpop_jwk", jwk.Reveal(), "token_type", `"DPoP"`)
	tr.must(os.WriteFile(tr.path, doc, 0o600))
}

// A proofClaims is what a proof says of itself (RFC 9449 §4.2).
type proofClaims struct {
	ID     string `json:"jti"`
	Method string `json:"htm"`
	URL    string `json:"htu"`
	Nonce  string `json:"nonce"`
}

// proofOf reads the proof of a request; the zero value if it has none.
func proofOf(c *call) proofClaims {
	var p proofClaims
	parts := strings.Split(c.request.Header.Get("DPoP"), ".")
	if len(parts) != 3 {
		return p
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(b, &p) != nil {
		return proofClaims{}
	}
	return p
}

// nonced is a server that wants a nonce of its own in each proof, and gives a
// new one with each refusal: so many of them.
func nonced(tr *trial, refusals int) {
	var mu sync.Mutex
	var seen []proofClaims
	tr.wired(rotating, func(c *call) {
		mu.Lock()
		defer mu.Unlock()
		p := proofOf(c)
		for _, old := range seen {
			if old.ID == p.ID {
				tr.t.Error("a proof was sent twice")
			}
		}
		if want := fmt.Sprintf("nonce-%d", len(seen)); p.ID == "" || p.Method != "POST" || len(seen) > 0 && p.Nonce != want {
			tr.t.Errorf("the proof is %+v, want nonce %s", p, want)
		}
		if seen = append(seen, p); len(seen) <= refusals {
			says(400, fmt.Sprintf("DPoP-Nonce: nonce-%d\r\n", len(seen)), `{"error":"use_dpop_nonce"}`)(c)
			return
		}
		c.write(whole(with(tr.t, c.process(), "token_type", `"DPoP"`)))
	})
	tr.bind()
}

// oneNonce: the request is made again once, with the nonce and a new proof.
func oneNonce(tr *trial) {
	nonced(tr, 1)
	if r, e := tr.refresh(); outcomeOf(r, e) != tr.want || tr.requests() != 2 {
		tr.t.Errorf("%v, after %d requests", e, tr.requests())
	}
	tr.served()
}

// endlessNonces: a server that is never content ends neither the grant nor in
// a loop.
func endlessNonces(tr *trial) {
	nonced(tr, 1000)
	before := tr.stored()
	_, e := tr.refresh()
	if e == nil || e.Outcome == evergrant.Dead || e.Outcome == evergrant.Uncertain {
		tr.t.Errorf("got %v", e)
	}
	if n := tr.requests(); n > 3 {
		tr.t.Errorf("%d requests in one call", n)
	}
	if tr.stored() != before {
		tr.t.Error("the file was changed")
	}
	tr.served()
}

// plainForBound: a token that anybody could use was given for a bound grant.
func plainForBound(tr *trial) {
	tr.begin(idptest.Config{Habits: rotating})
	tr.bind()
	r, e := tr.refresh()
	if got := outcomeOf(r, e); got != tr.want {
		tr.t.Errorf("the outcome is %q, want %q: %v", got, tr.want, e)
	}
	if g := tr.idp.GrantState(tr.grant.ID); g.Generation != 2 || g.RefreshToken != tr.stored() {
		tr.t.Error("the new refresh token is not stored")
	}
	doc, err := os.ReadFile(tr.path)
	tr.must(err)
	if !bytes.Contains(doc, []byte("dpop_jwk")) {
		tr.t.Error("the key is gone")
	}
	s := tr.open()
	defer s.Close()
	if r, err := s.TokenFor(tr.t.Context(), 0); err == nil {
		tr.t.Errorf("the token of type %s was handed out", r.Token.Type)
	}
}
