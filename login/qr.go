package login

import (
	"strings"

	"rsc.io/qr"
)

// quiet is the white margin around a QR code in modules (ISO/IEC 18004 §6.3.8).
const quiet = 4

// QR draws text as a QR code for a terminal, two rows of the code in each line,
// with colours of its own so that it can be read on a dark and on a light
// terminal. It returns "" if the text is too long (about 2,900 bytes).
func QR(text string) string {
	code, err := qr.Encode(text, qr.L) // a screen has no dirt: the smallest code
	if err != nil {
		return ""
	}
	var b strings.Builder
	for y := -quiet; y < code.Size+quiet; y += 2 {
		b.WriteString("\x1b[30;107m") // black on bright white
		for x := -quiet; x < code.Size+quiet; x++ {
			b.WriteString(halves(code.Black(x, y), code.Black(x, y+1)))
		}
		b.WriteString("\x1b[0m\n")
	}
	return b.String()
}

func halves(upper, lower bool) string {
	switch {
	case upper && lower:
		return "█"
	case upper:
		return "▀"
	case lower:
		return "▄"
	}
	return " "
}
