package idptest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// shapeFaults() are the eighteen forms of an honest answer that clients were
// measured against: five are seen in the wild, the rest are probes.
func shapeFaults() []FaultRow {
	return []FaultRow{
		{"normal", Shape, "", "the persona's answer with expires_in 3600 and token_type Bearer", shape(func(_ *request, a *reply) {
			a.object.set("token_type", "Bearer")
			a.object.set("expires_in", 3600)
		})},
		{"type-lower", Shape, "", "token_type bearer", setting("token_type", `"bearer"`)},
		{"ctype-html", Shape, "", "JSON declared as text/html", typed("text/html")},
		{"ctype-text", Shape, "", "JSON declared as text/plain", typed("text/plain")},
		{"exp-absent", Shape, "", "no expires_in", removing("expires_in")},
		{"exp-string", Shape, "", `expires_in "3600"`, setting("expires_in", `"3600"`)},
		{"exp-float", Shape, "", "expires_in 3600.0", setting("expires_in", "3600.0")},
		{"exp-null", Shape, "", "expires_in null", setting("expires_in", "null")},
		{"exp-empty", Shape, "", `expires_in ""`, setting("expires_in", `""`)},
		{"type-absent", Shape, "", "no token_type", removing("token_type")},
		{"type-odd", Shape, "", "token_type BearerToken", setting("token_type", `"BearerToken"`)},
		{"rt-absent", Shape, "", "no refresh_token; the old one stays valid", keeping(removing("refresh_token"))},
		{"rt-null", Shape, "", "refresh_token null; the old one stays valid", keeping(setting("refresh_token", "null"))},
		{"rt-empty", Shape, "", `refresh_token ""; the old one stays valid`, keeping(setting("refresh_token", `""`))},
		{"scope-array", Shape, "", "scope as an array of strings", shape(scopeArray)},
		{"error-null", Shape, "", `a member "error":null`, setting("error", "null")},
		{"status-201", Shape, "", "status 201", shape(func(_ *request, a *reply) { a.status = http.StatusCreated })},
		{"bom", Shape, "", "a UTF-8 byte order mark before the JSON", shape(func(_ *request, a *reply) { a.prefix = "\ufeff" })},
	}
}

// expiresFaults() are further values of expires_in, and its cousins. The token's
// real lifetime stays what the habit says.
func expiresFaults() []FaultRow {
	return []FaultRow{
		{"exp-fraction", Shape, "", "expires_in 3600.5", setting("expires_in", "3600.5")},
		{"exp-exponent", Shape, "", "expires_in 1e3", setting("expires_in", "1e3")},
		{"exp-hour", Shape, "", `expires_in "1h"`, setting("expires_in", `"1h"`)},
		{"exp-zero", Shape, "", "expires_in 0", setting("expires_in", "0")},
		{"exp-negative", Shape, "", "expires_in -5", setting("expires_in", "-5")},
		{"exp-huge", Shape, "", "expires_in 1e20", setting("expires_in", "1e20")},
		{"exp-nan", Shape, "", `expires_in "NaN"`, setting("expires_in", `"NaN"`)},
		{"exp-bool", Shape, "", "expires_in true", setting("expires_in", "true")},
		{"exp-array", Shape, "", "expires_in [3600]", setting("expires_in", "[3600]")},
		{"exp-digits", Shape, "", "expires_in of 100,000 digits", setting("expires_in", strings.Repeat("9", 100_000))},
		{"exp", Shape, "value", "expires_in of the given number, or text if it isn't one", func(p *plan, arg string) error {
			raw := arg
			if _, err := strconv.ParseFloat(arg, 64); err != nil {
				raw = quote(arg)
			}
			return setting("expires_in", raw)(p, "")
		}},
		{"exp-expires", Shape, "", `a member "expires" in place of expires_in`, shape(func(_ *request, a *reply) {
			a.object.remove("expires_in")
			a.object.set("expires", 3600)
		})},
		{"exp-expires-on", Shape, "", `expires_on, Unix seconds as text, in place of expires_in`, shape(func(q *request, a *reply) {
			a.object.remove("expires_in")
			a.object.set("expires_on", strconv.FormatInt(q.s.now().Add(time.Hour).Unix(), 10))
		})},
	}
}

// refreshTokenFaults() give an odd refresh token. The token sent is the living
// one, in the form a JSON reader sees it.
func refreshTokenFaults() []FaultRow {
	return []FaultRow{
		{"rt-same", Shape, "", "the refresh token that was sent; it stays valid", keeping(shape(func(q *request, a *reply) {
			if rt := q.get("refresh_token"); rt != "" {
				a.object.set("refresh_token", rt)
			}
		}))},
		{"rt-number", Hostile, "", "a refresh token that is a JSON number", func(p *plan, _ string) error {
			p.mint = func(m *mint) string { return "1" + m.text(15, digits) }
			return shape(func(_ *request, a *reply) {
				if rt := a.object.text("refresh_token"); rt != "" {
					a.object.setRaw("refresh_token", rt)
				}
			})(p, "")
		}},
		{"rt-1mib", Hostile, "", "a refresh token of 1 MiB", minting(func(rt string) string { return rt + strings.Repeat("x", 1<<20-len(rt)) })},
		{"rt-nul", Hostile, "", "a refresh token with a NUL inside", minting(func(rt string) string { return rt + "\x00tail" })},
		{"rt-newline", Hostile, "", "a refresh token with a line end and a header-like tail", minting(func(rt string) string { return rt + "\r\nX-Injected: 1" })},
		{"rt-nonascii", Hostile, "", "a refresh token with characters outside ASCII", minting(func(rt string) string { return rt + "é漢" })},
	}
}

// hostileFaults() lie, attack or babble. The request was processed.
func hostileFaults() []FaultRow {
	return []FaultRow{
		{"html-200", Hostile, "", "200 with an HTML page, as a captive portal answers", replacing(func(q *request) *reply { return page(200)(q) })},
		{"empty-200", Hostile, "", "200 without a body", replacing(emptyStatus(200))},
		{"empty-204", Hostile, "", "204", replacing(emptyStatus(204))},
		{"empty-object", Hostile, "", "200 with {}", replacing(func(*request) *reply { return jsonReply(200, "{}") })},
		{"json-array", Hostile, "", "200 with an array", replacing(func(*request) *reply { return jsonReply(200, "[]") })},
		{"error-200", Hostile, "", "200 with an OAuth error, after processing", replacing(func(*request) *reply {
			a := refusal("bad_refresh_token", "The refresh token passed is incorrect or expired.")
			a.status = 200
			return a
		})},
		{"ok-false", Hostile, "", `200 with {"ok":false}, after processing`, replacing(func(*request) *reply {
			return jsonReply(200, `{"ok":false,"error":"token_expired"}`)
		})},
		{"error-and-token", Hostile, "", "200 with tokens and an error", setting("error", `"invalid_grant"`)},
		{"no-access", Hostile, "", "a refresh token but no access_token", removing("access_token")},
		{"access-number", Hostile, "", "access_token is a number", setting("access_token", "12345")},
		{"access-empty", Hostile, "", `access_token ""`, setting("access_token", `""`)},
		{"dup-access", Hostile, "", "access_token twice, with different values", doubling("access_token")},
		{"dup-refresh", Hostile, "", "refresh_token twice, with different values", doubling("refresh_token")},
		{"case-keys", Hostile, "", "Access_Token and Refresh_Token beside the real members, with other values", shape(caseKeys)},
		{"trailing", Hostile, "", "a second object after the first", shape(func(_ *request, a *reply) { a.suffix = `{"access_token":"second"}` })},
		{"deep", Hostile, "", "a member nested 100,000 deep", setting("nested", strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000))},
		{"bad-utf8", Hostile, "", "a member with bytes that are not UTF-8", setting("note", "\"\xff\xfe\xc3(\"")},
		{"form-body", Hostile, "", "a form-encoded body declared as text/plain", shape(func(_ *request, a *reply) { a.format, a.ctype = "urlencoded", "text/plain" })},
		{"type-mac", Hostile, "", "token_type mac", setting("token_type", `"mac"`)},
		{"type-dpop", Hostile, "", "token_type DPoP", setting("token_type", `"DPoP"`)},
		{"type-inverted", Shape, "", "token_type bEARER", setting("token_type", `"bEARER"`)},
		{"scope-absent", Shape, "", "no scope", removing("scope")},
		{"scope-narrow", Hostile, "", "only the first scope", shape(func(_ *request, a *reply) {
			first, _, _ := strings.Cut(a.object.text("scope"), " ")
			a.object.set("scope", first)
		})},
		{"scope-wide", Hostile, "", "one scope more than granted", shape(func(_ *request, a *reply) {
			a.object.set("scope", strings.TrimSpace(a.object.text("scope")+" admin"))
		})},
		{"scope-order", Shape, "", "the scopes in reverse order", shape(reverseScope)},
		{"id-other", Hostile, "", "the identity of another user (id for salesforce, sub else)", shape(func(q *request, a *reply) {
			if a.object.has("id") {
				a.object.set("id", q.base+"/id/"+recordID("00D", 999)+"/"+recordID("005", 999))
				return
			}
			a.object.set("sub", "somebody-else")
		})},
		{"instance-other", Hostile, "", "instance_url on a host of somebody else", setting("instance_url", `"https://attacker.example"`)},
		{"gzip-bomb", Hostile, "", "gzip of 64 MB of spaces before the JSON", streaming(http.Header{"Content-Encoding": {"gzip"}}, writeBomb)},
		{"endless", Hostile, "", "a JSON text that never ends", streaming(nil, writeEndless)},
		{"drip", Hostile, "", "one byte a second", shape(drip)},
	}
}

func setting(name, raw string) func(*plan, string) error {
	return shape(func(_ *request, a *reply) { a.object.setRaw(name, raw) })
}

func removing(name string) func(*plan, string) error {
	return shape(func(_ *request, a *reply) { a.object.remove(name) })
}

func typed(ctype string) func(*plan, string) error {
	return shape(func(_ *request, a *reply) { a.ctype = ctype })
}

// keeping is for answers that don't tell a new refresh token: then the server
// must not have rotated, or no client could keep the grant.
func keeping(f func(*plan, string) error) func(*plan, string) error {
	return func(p *plan, arg string) error { p.keep = true; return f(p, arg) }
}

func minting(change func(rt string) string) func(*plan, string) error {
	return func(p *plan, _ string) error {
		p.mint = func(m *mint) string { return change(m.refresh()) }
		return nil
	}
}

func replacing(answer func(*request) *reply) func(*plan, string) error {
	return shape(func(q *request, a *reply) { *a = *answer(q); a.replaced = true })
}

func doubling(name string) func(*plan, string) error {
	return shape(func(_ *request, a *reply) { a.object.add(name, `"duplicate-value"`) })
}

func caseKeys(_ *request, a *reply) {
	a.object.add("Access_Token", `"case-variant-access"`)
	a.object.add("Refresh_Token", `"case-variant-refresh"`)
}

func scopeArray(_ *request, a *reply) {
	b, _ := json.Marshal(strings.Fields(a.object.text("scope"))) // strings always encode
	a.object.setRaw("scope", string(b))
}

func reverseScope(_ *request, a *reply) {
	f := strings.Fields(a.object.text("scope"))
	for i, j := 0, len(f)-1; i < j; i, j = i+1, j-1 {
		f[i], f[j] = f[j], f[i]
	}
	a.object.set("scope", strings.Join(f, " "))
}

func streaming(head http.Header, write func(w io.Writer, body []byte, gone <-chan struct{}) error) func(*plan, string) error {
	return shape(func(_ *request, a *reply) {
		body, ctype := a.payload()
		a.header = head.Clone()
		a.ctype = ctype
		a.stream = func(w io.Writer, gone <-chan struct{}) error { return write(w, body, gone) }
	})
}

// writeBomb is built as it is sent: 64 MB that travel as 64 KB.
func writeBomb(w io.Writer, body []byte, _ <-chan struct{}) error {
	z, _ := gzip.NewWriterLevel(w, gzip.BestCompression) // the level is valid
	block := bytes.Repeat([]byte{' '}, 1<<20)
	for range 64 {
		if _, err := z.Write(block); err != nil {
			return err
		}
	}
	z.Write(body) // an error shows in Close
	return z.Close()
}

// writeEndless ends only when the client leaves.
func writeEndless(w io.Writer, body []byte, _ <-chan struct{}) error {
	text := append(bytes.TrimSuffix(body, []byte{'}'}), `,"pad":"`...)
	for block := bytes.Repeat([]byte{'x'}, 64<<10); ; text = block {
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
}

func drip(q *request, a *reply) {
	body, ctype := a.payload()
	a.ctype = ctype
	a.stream = func(w io.Writer, gone <-chan struct{}) error {
		for i := range body {
			if _, err := w.Write(body[i : i+1]); err != nil {
				return err
			}
			if i == len(body)-1 {
				break
			}
			select {
			case <-time.After(time.Second):
			case <-gone:
				return io.ErrUnexpectedEOF
			case <-q.s.closing:
				return io.ErrUnexpectedEOF
			}
		}
		return nil
	}
}
