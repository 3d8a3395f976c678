package login

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/evergrant/evergrant/oauth"
)

// Device logs in with a browser on another device (RFC 8628): it shows a URL
// and a code, and asks the server at the pace it wants until the person is
// done. Where the server's device endpoint is its token endpoint, the dialect
// of the early drafts is spoken (Salesforce): nothing else could be told apart
// there. A browser is opened only if Config.Open is set.
//
// Errors are *[Error], or the cause of ctx's end.
func Device(ctx context.Context, c Config) (*Grant, error) {
	srv, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	if srv.Device == "" || srv.Token == "" {
		return nil, usage("the server has no endpoint for device logins, or it is not known", "log in with a browser")
	}
	w, err := newWire(&c)
	if err != nil {
		return nil, err
	}
	if err := w.fetchKeys(ctx, srv, c.scopes()); err != nil {
		return nil, err
	}
	f := &deviceLogin{cfg: &c, wire: w, srv: srv, style: oauth.DeviceStyle{Draft: srv.Device == srv.Token}}
	d, err := f.start(ctx)
	if err != nil {
		return nil, err
	}
	return f.wait(ctx, d)
}

type deviceLogin struct {
	cfg   *Config
	wire  *wire
	srv   Server
	style oauth.DeviceStyle
	due   time.Time
}

func (f *deviceLogin) start(ctx context.Context) (*oauth.Device, error) {
	c := f.cfg
	answer, req, err := f.wire.send(ctx, func() (*oauth.Request, error) {
		r, err := f.style.Request(f.srv.Device, strings.Join(c.scopes(), c.separator()), c.auth())
		if err != nil {
			return nil, err
		}
		for _, p := range c.deviceParams() {
			r.Form.Set(p.Name, p.Value)
		}
		c.rewrite(r.Form)
		return r, nil
	})
	if err != nil {
		return nil, failure("starting the device login", err)
	}
	d, err := oauth.ParseDevice(answer, req)
	if err != nil {
		return nil, failure("starting the device login", err)
	}
	f.due = answer.Received.Add(d.ExpiresIn)
	if c.Timeout > 0 && c.Timeout < d.ExpiresIn {
		f.due = answer.Received.Add(c.Timeout)
	}
	f.invite(d)
	return d, nil
}

// invite shows both the code and the URL in any case (RFC 8628 §3.3.1).
func (f *deviceLogin) invite(d *oauth.Device) {
	p := Prompt{URL: d.VerificationURI, UserCode: d.UserCode, URLComplete: d.VerificationURIComplete, Expires: f.due.UTC()}
	if f.cfg.Open != nil {
		link := p.URLComplete
		if link == "" {
			link = p.URL
		}
		p.Problem = f.cfg.Open(link)
		p.Opened = p.Problem == nil
	}
	f.cfg.show(p)
}

// wait polls until there is an end. The pause comes first, each time.
func (f *deviceLogin) wait(ctx context.Context, d *oauth.Device) (*Grant, error) {
	pace := oauth.DevicePoll{Interval: d.Interval}
	for {
		if left := time.Until(f.due); left <= pace.Wait() {
			if err := pause(ctx, left); err != nil {
				return nil, err
			}
			return nil, &Error{Kind: Expired, Says: "nobody entered the code in time", Do: "log in again", Err: oauth.ErrDeviceExpired}
		}
		if err := pause(ctx, pace.Wait()); err != nil {
			return nil, err
		}
		g, again, err := f.poll(ctx, d, &pace)
		if !again {
			return g, err
		}
	}
}

func (f *deviceLogin) poll(ctx context.Context, d *oauth.Device, pace *oauth.DevicePoll) (g *Grant, again bool, err error) {
	answer, req, err := f.wire.spend(ctx, func() (*oauth.Request, error) {
		r, err := f.style.Poll(f.srv.Token, d.Code, f.cfg.auth())
		if err != nil {
			return nil, err
		}
		return r, f.cfg.dress(r)
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, false, context.Cause(ctx)
	case err != nil && pace.Unanswered(err):
		return nil, true, nil
	case err != nil:
		return nil, false, failure("asking whether the login is done", err)
	}
	t, parse := oauth.ParseToken(answer, f.cfg.dialect())
	again, err = pace.Answered(answer, t, req)
	if again || err != nil && parse == nil {
		return nil, again, f.ended(err)
	}
	g, err = f.wire.grant(context.WithoutCancel(ctx), answer, req, granted{srv: f.srv, scope: f.cfg.scopes()})
	return g, false, err
}

func (f *deviceLogin) ended(err error) error {
	switch {
	case errors.Is(err, oauth.ErrDeviceExpired):
		return &Error{Kind: Expired, Says: "nobody entered the code in time", Do: "log in again", Err: err}
	case errors.Is(err, oauth.ErrDeviceDenied):
		return &Error{Kind: Refused, Says: "the login was not approved", Err: err}
	}
	return failure("the server ended the device login", err)
}

// deviceParams are the caller's, and the catalog's for a login that lasts; what
// is about the browser has no place here.
func (c *Config) deviceParams() oauth.Form {
	var f oauth.Form
	if c.LoginHint != "" {
		f.Add("login_hint", c.LoginHint)
	}
	for _, r := range c.Resource {
		f.Add("resource", r)
	}
	return append(f, c.AuthParams...)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the person: %w", context.Cause(ctx))
	}
}
