package login

import (
	"bytes"
	"cmp"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/evergrant/evergrant/oauth"
)

// keyMember holds the key that the tokens are bound to. Only ours is ever put
// there.
const keyMember = "dpop_jwk"

// document is the answer as it came, and after its members what is known here
// alone. A member of the answer is never replaced, but a key is left out.
func (w *wire) document(a *oauth.Answer, t *oauth.TokenAnswer, k granted) (oauth.Secret, error) {
	doc, d := jsonBody(a.Body), w.cfg.dialect()
	if doc == nil || has(doc, keyMember) || !d.Plain() { // a form, whose values were made strings; a key that is not ours; a dialect
		doc = []byte("{}")
		for _, m := range t.Members {
			if m.Name != keyMember {
				doc = appendMember(doc, cmp.Or(d.Rename[m.Name], m.Name), m.Value)
			}
		}
	}
	for _, name := range keep(w.cfg.Provider) {
		if k.callback.Has(name) {
			quoted, _ := jsontext.AppendQuote(nil, k.callback.Get(name)) // invalid UTF-8 becomes U+FFFD
			doc = appendMember(doc, name, quoted)
		}
	}
	if w.proofs != nil {
		jwk, err := w.proofs.Key().JWK()
		if err != nil {
			return oauth.Secret{}, &Error{Kind: Usage, Says: "the DPoP key can't be stored", Err: err}
		}
		doc = appendMember(doc, keyMember, []byte(jwk.Reveal()))
	}
	return oauth.NewSecret(string(doc)), nil
}

// jsonBody is the body if it is one JSON object, else nil.
func jsonBody(body []byte) []byte {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	v := jsontext.Value(body)
	if v.Kind() != '{' || !v.IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) {
		return nil
	}
	return bytes.Clone(body)
}

// appendMember puts a member at the end of an object, unless the name is taken.
func appendMember(object []byte, name string, value []byte) []byte {
	if has(object, name) {
		return object
	}
	body := bytes.TrimRight(object[:len(object)-1], " \t\r\n")
	end := object[len(body):] // white space and brace, as the server set them
	out := bytes.Clone(body)
	if body[len(body)-1] != '{' {
		out = append(out, ',')
	}
	out, _ = jsontext.AppendQuote(out, name)
	out = append(append(out, ':'), value...)
	return append(out, end...)
}

func has(object []byte, name string) bool {
	d := jsontext.NewDecoder(bytes.NewReader(object), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if _, err := d.ReadToken(); err != nil {
		return false
	}
	for d.PeekKind() == '"' {
		t, err := d.ReadToken()
		if err != nil || t.String() == name {
			return err == nil
		}
		if d.SkipValue() != nil {
			return false
		}
	}
	return false
}
