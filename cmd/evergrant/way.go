package main

import (
	"cmp"
	"context"
	"os"

	"golang.org/x/term"

	"github.com/evergrant/evergrant/login"
)

// The ways in of a login with a person.

// withPerson runs the flow that was asked for.
func (l *loginFlow) withPerson(ctx context.Context, c login.Config) (*login.Grant, error) {
	switch {
	case l.device:
		return login.Device(ctx, c)
	case l.noBrowser:
		c.Paste = login.PasteFrom(os.Stdin)
		return login.Paste(ctx, c)
	}
	c.Open = login.Open
	if term.IsTerminal(int(os.Stdin.Fd())) {
		c.Paste = login.PasteFrom(os.Stdin)
	}
	return login.Browser(ctx, c)
}

// show tells the person what to do.
func (l *loginFlow) show(p login.Prompt) {
	if l.u.json {
		if p.Problem != nil {
			l.u.warn(p.Problem.Error(), "")
		}
		if p.URL != "" && l.u.first("open "+p.URL) { // whoever reads it must not open it twice
			l.u.jsonLine(map[string]any{"open": p.URL, "user_code": p.UserCode, "expires_at": p.Expires, "opened": p.Opened})
		}
		return
	}
	if p.Problem != nil {
		l.u.warn(p.Problem.Error(), "")
		if p.URL == "" {
			return
		}
	}
	switch {
	case p.UserCode != "":
		l.u.line("open " + p.URL + " on any device and enter the code " + p.UserCode)
		l.drawCode(cmp.Or(p.URLComplete, p.URL))
	case p.Opened:
		l.u.line("your browser should show the login now; if not, open " + p.URL)
	default:
		l.u.line("open this URL in a browser:")
		l.u.line("  " + p.URL)
		l.drawCode(p.URL)
	}
	if !p.Listening && p.UserCode == "" {
		l.u.line("then paste the whole address at which the browser ended (the page itself may fail to load):")
	}
}

// drawCode shows a QR code on a terminal.
func (l *loginFlow) drawCode(text string) {
	if l.u.terminal() && len(text) < 600 { // a larger one does not fit a screen
		l.u.raw(login.QR(text))
	}
}
