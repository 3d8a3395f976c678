package tokenfile

import (
	"bytes"
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"
)

// An encoding is how the characters of a file are written as bytes.
type encoding struct {
	order binary.AppendByteOrder // nil for UTF-8
	bom   []byte                 // the byte order mark found, or nil
}

var (
	bomUTF8    = []byte{0xEF, 0xBB, 0xBF}
	bomUTF16LE = []byte{0xFF, 0xFE}
	bomUTF16BE = []byte{0xFE, 0xFF}
)

// detectEncoding looks at the byte order mark, else at the first two bytes: the
// first character of a JSON text is ASCII, so one zero byte among them tells
// UTF-16 and its byte order (RFC 4627 §3).
func detectEncoding(b []byte) encoding {
	switch {
	case bytes.HasPrefix(b, bomUTF8):
		return encoding{bom: bomUTF8}
	case bytes.HasPrefix(b, bomUTF16LE):
		return encoding{order: binary.LittleEndian, bom: bomUTF16LE}
	case bytes.HasPrefix(b, bomUTF16BE):
		return encoding{order: binary.BigEndian, bom: bomUTF16BE}
	case len(b) >= 2 && b[0] == 0 && b[1] != 0:
		return encoding{order: binary.BigEndian}
	case len(b) >= 2 && b[0] != 0 && b[1] == 0:
		return encoding{order: binary.LittleEndian}
	}
	return encoding{}
}

// decode returns b as UTF-8 without byte order mark, or a *FormatError where
// encode would not give b again.
func (e encoding) decode(b []byte) ([]byte, error) {
	body := b[len(e.bom):]
	if e.order != nil {
		return e.decode16(body)
	}
	if !utf8.Valid(body) {
		return nil, formatError(body, invalidUTF8(body), "not valid UTF-8 (nor UTF-16): convert the file to UTF-8")
	}
	return body, nil
}

func (e encoding) decode16(body []byte) ([]byte, error) {
	if len(body)%2 != 0 {
		return nil, &FormatError{Reason: "the file looks like UTF-16 but has an odd number of bytes: it is truncated"}
	}
	text := make([]byte, 0, len(body)/2+len(body)/8)
	for i := 0; i < len(body); i += 2 {
		r := rune(e.unit(body[i:]))
		if r == 0 {
			return nil, formatError(text, len(text), "a NUL character: the file is damaged or in UTF-32, which is not supported")
		}
		if utf16.IsSurrogate(r) {
			if len(body) >= i+4 {
				r = utf16.DecodeRune(r, rune(e.unit(body[i+2:])))
			}
			if utf16.IsSurrogate(r) || r == utf8.RuneError {
				return nil, formatError(text, len(text), "not valid UTF-16: a surrogate without its partner")
			}
			i += 2
		}
		text = utf8.AppendRune(text, r)
	}
	return text, nil
}

func (e encoding) unit(b []byte) uint16 {
	return e.order.(binary.ByteOrder).Uint16(b)
}

// encode is the inverse of decode.
func (e encoding) encode(text []byte) []byte {
	if e.order == nil {
		if e.bom == nil {
			return text
		}
		return append(append(make([]byte, 0, len(e.bom)+len(text)), e.bom...), text...)
	}
	out := append(make([]byte, 0, len(e.bom)+2*len(text)), e.bom...)
	var units [2]uint16
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		text = text[n:]
		for _, u := range utf16.AppendRune(units[:0], r) {
			out = e.order.AppendUint16(out, u)
		}
	}
	return out
}

// invalidUTF8 returns the offset of the first byte that is not UTF-8.
func invalidUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
}
