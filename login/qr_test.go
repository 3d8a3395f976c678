package login_test

import (
	"strings"
	"testing"

	"rsc.io/qr"

	"github.com/evergrant/evergrant/login"
)

// TestQR reads the drawing back, module for module.
func TestQR(t *testing.T) {
	const text = "https://as.example.com/device?user_code=ABCD-EFGH"
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(login.QR(text), "\n"), "\n")
	if len(lines) != (code.Size+8+1)/2 {
		t.Fatalf("%d lines for %d modules", len(lines), code.Size)
	}
	for i, line := range lines {
		row, ok := strings.CutPrefix(line, "\x1b[30;107m")
		row, ok2 := strings.CutSuffix(row, "\x1b[0m")
		cells := []rune(row)
		if !ok || !ok2 || len(cells) != code.Size+8 {
			t.Fatalf("line %d has %d cells: %q", i, len(cells), line)
		}
		for j, c := range cells {
			for half, marks := range []string{"█▀", "█▄"} {
				x, y := j-4, 2*i-4+half
				if strings.ContainsRune(marks, c) != code.Black(x, y) {
					t.Fatalf("module %d,%d is %q", x, y, c)
				}
			}
		}
	}
	if login.QR(strings.Repeat("x", 4000)) != "" {
		t.Error("a text too long was drawn")
	}
}
