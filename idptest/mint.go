package idptest

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
)

// urlSafe has 64 characters, so a byte of the stream maps to one without bias.
const urlSafe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// sessionChars is what a Salesforce session id may hold: [.\w].
const sessionChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._"

const digits = "0123456789"

// A mint makes every random-looking text of the server from one seed, so that
// the same requests in the same order yield the same tokens.
type mint struct {
	seed    string
	mark    string
	persona Persona
	n       uint64
}

// text returns n characters of the alphabet. No two calls give the same text
// (for n large enough to hold 256 bits, and in practice for far less).
func (m *mint) text(n int, alphabet string) string {
	var b strings.Builder
	b.Grow(n)
	for b.Len() < n {
		var c [8]byte
		binary.BigEndian.PutUint64(c[:], m.n)
		m.n++
		sum := sha256.Sum256(append([]byte(m.seed), c[:]...))
		for _, x := range sum {
			if b.Len() == n {
				break
			}
			b.WriteByte(alphabet[int(x)%len(alphabet)])
		}
	}
	return b.String()
}

// access makes an access token. Salesforce: the organisation's 15 characters,
// "!", and 96 more, which is also the shape of a session id.
func (m *mint) access(org string) string {
	if m.persona == Salesforce {
		return orgPrefix(org) + "!AQ" + m.mark + m.text(94, sessionChars)
	}
	return "at" + m.mark + m.text(40, urlSafe)
}

// refresh makes a refresh token; it fits the character set that the sf CLI's
// auth URL allows ([A-Za-z0-9._-]+).
func (m *mint) refresh() string {
	if m.persona == Salesforce {
		return "5Aep861" + m.mark + m.text(80, sessionChars)
	}
	return "rt" + m.mark + m.text(40, urlSafe)
}

// code makes an authorization or device code.
func (m *mint) code() string { return "aPrx" + m.mark + m.text(48, urlSafe) }

// orgPrefix is the first 15 characters of an organisation id.
func orgPrefix(org string) string {
	if len(org) > 15 {
		return org[:15]
	}
	return org
}

// recordID builds an 18-character Salesforce id: a three-character key prefix,
// a number, and the checksum that tells the case of each letter.
func recordID(prefix string, n int) string {
	id := []byte(prefix + "000000000000")
	for i := len(id) - 1; i >= len(prefix) && n > 0; i-- {
		id[i] = digits[n%10]
		n /= 10
	}
	return string(id) + idSuffix(string(id))
}

// idSuffix is the three-character checksum of a 15-character id.
func idSuffix(id string) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
	var out [3]byte
	for i := range out {
		bits := 0
		for j := range 5 {
			if c := id[i*5+j]; c >= 'A' && c <= 'Z' {
				bits |= 1 << j
			}
		}
		out[i] = letters[bits]
	}
	return string(out[:])
}
