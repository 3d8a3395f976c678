package evergrant_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
	"github.com/evergrant/evergrant/oauth"
)

// provoked says how each row of the outcome tables is reached, and what it is
// to the caller. A fault is one of the simulator's; change alters the client.
var provoked = map[string]struct {
	fault  idptest.Fault
	change func(t *testing.T, c *evergrant.Config)
	class  error
	sent   bool // a next refresh may send again at once
}{
	"unsent-url": {change: func(_ *testing.T, c *evergrant.Config) { c.TokenURL = "http://example.com/token" }, class: evergrant.ErrMisconfigured, sent: true},
	"unsent-dns": {change: func(_ *testing.T, c *evergrant.Config) {
		c.HTTP.Dial = func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.DNSError{Err: "no such host", Name: "example.com", IsNotFound: true}
		}
	}, class: evergrant.ErrTemporary, sent: true},
	"unsent-gate":    {change: func(_ *testing.T, c *evergrant.Config) { c.HTTP.Gate = oauth.PublicOnly }, class: evergrant.ErrMisconfigured, sent: true},
	"unsent-connect": {change: func(t *testing.T, c *evergrant.Config) { c.TokenURL = "http://" + closedPort(t) + "/token" }, class: evergrant.ErrTemporary, sent: true},
	"unsent-deadline": {change: func(_ *testing.T, c *evergrant.Config) {
		c.ExchangeTimeout = 50 * time.Millisecond
		c.HTTP.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	}, class: evergrant.ErrTemporary, sent: true},
	"unsent-tls": {change: func(_ *testing.T, c *evergrant.Config) { c.TokenURL = "https" + c.TokenURL[len("http"):] }, class: evergrant.ErrTemporary, sent: true},
	"unsent-certificate": {change: func(t *testing.T, c *evergrant.Config) {
		srv := httptest.NewTLSServer(http.NotFoundHandler())
		t.Cleanup(srv.Close)
		c.TokenURL = srv.URL
	}, class: evergrant.ErrMisconfigured, sent: true},
	"unsent-proxy":      {change: func(t *testing.T, c *evergrant.Config) { throughProxy(t, c, http.StatusServiceUnavailable) }, class: evergrant.ErrTemporary, sent: true},
	"unsent-proxy-auth": {change: func(t *testing.T, c *evergrant.Config) { throughProxy(t, c, http.StatusProxyAuthRequired) }, class: evergrant.ErrMisconfigured, sent: true},

	"reply-lost":          {fault: "lost", class: evergrant.ErrTemporary},
	"status-200-unusable": {fault: "empty-200", class: evergrant.ErrTemporary},
	"status-redirect":     {fault: "redirect-307-other", class: evergrant.ErrMisconfigured, sent: true},
	"status-408":          {fault: "status=408", class: evergrant.ErrTemporary, sent: true},
	"status-425":          {fault: "status=425", class: evergrant.ErrTemporary, sent: true},
	"status-429":          {fault: "429-retry-none", class: evergrant.ErrTemporary, sent: true},
	"status-503":          {fault: "503-before", class: evergrant.ErrTemporary, sent: true},
	"status-5xx":          {fault: "502-before", class: evergrant.ErrTemporary},
	"status-4xx":          {fault: "401-empty", class: evergrant.ErrMisconfigured, sent: true},
	"status-odd":          {change: func(t *testing.T, c *evergrant.Config) { c.TokenURL = answering(t, 700) }, class: evergrant.ErrTemporary},
	"status-403-limit":    {change: func(t *testing.T, c *evergrant.Config) { c.TokenURL = answering(t, 403, "Retry-After", "1") }, class: evergrant.ErrTemporary, sent: true},
	"error-unknown":       {change: func(t *testing.T, c *evergrant.Config) { c.TokenURL = answering(t, 400, "body", `{"error":"teapot"}`) }, class: evergrant.ErrMisconfigured, sent: true},
}

// TestEveryRule provokes every row of the outcome tables. A row without a
// case here fails it.
func TestEveryRule(t *testing.T) {
	for _, id := range evergrant.RuleIDs() {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			how, ok := provoked[id]
			if !ok {
				t.Fatal("no test provokes this row")
			}
			b := newBed(t, idptest.Config{Persona: idptest.Generic, Habits: idptest.Habits{Rotation: true}})
			if how.fault != "" {
				b.idp.SetHabits(func(h *idptest.Habits) { h.Fault = how.fault })
			}
			b.cfg.CallTimeout = 2 * time.Second
			if how.change != nil {
				how.change(t, &b.cfg)
			}
			_, err := b.refresh(evergrant.RefreshOptions{})
			var e *evergrant.Error
			if !errors.As(err, &e) || e.Rule != id || !errors.Is(err, how.class) {
				t.Fatalf("got %+v, want rule %s of class %v", err, id, how.class)
			}
			if e.Says == "" || e.Do == "" {
				t.Errorf("the row does not say what happened and what to do: %+v", e)
			}
			_, err = b.refresh(evergrant.RefreshOptions{})
			if again := errors.As(err, &e) && e.Rule == id; again != how.sent {
				t.Errorf("tried again: %t, want %t (%v)", again, how.sent, err)
			}
		})
	}
}

func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// throughProxy sends the request through a proxy that refuses.
func throughProxy(t *testing.T, c *evergrant.Config, status int) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	t.Cleanup(proxy.Close)
	u, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	c.TokenURL = "https://provider.invalid/token"
	c.HTTP.Proxy = func(*http.Request) (*url.URL, error) { return u, nil }
}

// answering is the URL of a server that always answers so. The pseudo header
// body sets the body.
func answering(t *testing.T, status int, header ...string) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		body := ""
		for i := 0; i+1 < len(header); i += 2 {
			if header[i] == "body" {
				body = header[i+1]
				w.Header().Set("Content-Type", "application/json")
				continue
			}
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		w.Write([]byte(body))
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}
