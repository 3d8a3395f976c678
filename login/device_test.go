package login_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evergrant/evergrant/idptest"
	"github.com/evergrant/evergrant/login"
	"github.com/evergrant/evergrant/oauth"
)

// deviceBed is a server on pipes in a bubble, so that minutes of polling take
// no time, and the Config for it.
func deviceBed(t *testing.T, h http.Handler) (c login.Config, u *user) {
	ln := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	hs := &http.Server{Handler: h}
	var wg sync.WaitGroup
	wg.Go(func() { hs.Serve(ln) })
	t.Cleanup(func() { hs.Close(); wg.Wait() })
	u = newUser(t)
	const base = "http://127.0.0.1:9"
	c = login.Config{ClientID: "app", Scopes: []string{"read", "write"}, Show: u.show, HTTP: oauth.Client{Dial: ln.dial, Timeout: 10 * time.Second},
		Server: login.Server{Device: base + "/device_authorization", Token: base + "/token"}}
	return c, u
}

type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case l.conns <- b:
		return a, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// TestDevice_8628_1 is the whole way: the pace is the server's, and the person
// sees code and URL.
func TestDevice_8628_1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := idptest.New(idptest.Config{Habits: idptest.Habits{DevicePolls: 3, DeviceInterval: 7 * time.Second}})
		t.Cleanup(func() { s.Close() })
		c, u := deviceBed(t, s)
		start := time.Now()
		g, err := login.Device(t.Context(), c)
		grantOf(t, g, err)
		if d := time.Since(start); d < 28*time.Second || d > 29*time.Second {
			t.Errorf("it took %v", d)
		}
		for _, e := range s.Ledger() {
			if strings.Contains(e.Verdict, "slow_down") {
				t.Error("the server said slow_down")
			}
		}
		p := u.prompts()
		if len(p) != 1 || p[0].UserCode == "" || !strings.HasSuffix(p[0].URL, "/device") || !strings.HasSuffix(p[0].URLComplete, "user_code="+p[0].UserCode) || p[0].Expires.Sub(start) < 9*time.Minute {
			t.Errorf("prompts %+v", p)
		}
		if g.Scope != "read write" || g.Token.RefreshToken.IsZero() {
			t.Errorf("%+v", g)
		}
	})
}

// TestDeviceSalesforce: the dialect of the early drafts, by the fact that one
// endpoint serves both.
func TestDeviceSalesforce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := idptest.New(idptest.Config{Persona: idptest.Salesforce, Habits: idptest.Habits{DevicePolls: 2}})
		t.Cleanup(func() { s.Close() })
		c, u := deviceBed(t, s)
		c.Server.Token = "http://127.0.0.1:9/services/oauth2/token"
		c.Server.Device = c.Server.Token
		g, err := login.Device(t.Context(), c)
		grantOf(t, g, err)
		if p := u.prompts()[0]; !strings.HasSuffix(p.URL, "/setup/connect") || p.URLComplete != "" {
			t.Errorf("%+v", p)
		}
		for _, e := range s.Ledger()[1:] {
			if e.GrantType != "device" {
				t.Errorf("polled with %s", e.GrantType)
			}
		}
	})
}

// TestDeviceEnds_8628_1: every end but a grant.
func TestDeviceEnds_8628_1(t *testing.T) {
	const begun = `{"device_code":"d","user_code":"U","verification_uri":"https://x.example/d","expires_in":60,"interval":5}`
	for _, tt := range []struct {
		name        string
		start, poll string
		status      int
		kind        login.Kind
		polls       int
	}{
		{"nobody comes", begun, `{"error":"authorization_pending"}`, 400, login.Expired, 11},
		{"expired_token", begun, `{"error":"expired_token"}`, 400, login.Expired, 1},
		{"access_denied", begun, `{"error":"access_denied"}`, 400, login.Refused, 1},
		{"invalid_grant, as Salesforce says expired", begun, `{"error":"invalid_grant"}`, 400, login.Misconfigured, 1},
		{"slow_down for good: 5+10+15+20", begun, `{"error":"slow_down"}`, 400, login.Expired, 4},
		{"out of order, doubled: 5+10+20", begun, `<html>`, 503, login.Expired, 3},
		{"8628-2 javascript", `{"device_code":"d","user_code":"U","verification_uri":"javascript:alert(1)"}`, ``, 400, login.Misconfigured, 0},
		{"start refused", `{"error":"invalid_client"}`, ``, 400, login.Misconfigured, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				polls := 0
				c, _ := deviceBed(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					if r.URL.Path == "/token" {
						polls++
						w.WriteHeader(tt.status)
						io.WriteString(w, tt.poll)
						return
					}
					io.WriteString(w, tt.start)
				}))
				start := time.Now()
				_, err := login.Device(t.Context(), c)
				wantKind(t, err, tt.kind)
				if polls != tt.polls || time.Since(start) > time.Minute {
					t.Errorf("%d polls in %v, want %d", polls, time.Since(start), tt.polls)
				}
			})
		})
	}
}

// TestDeviceNetwork_8628_1: a network that fails now and then is asked again,
// each time after twice the wait.
func TestDeviceNetwork_8628_1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := idptest.New(idptest.Config{})
		t.Cleanup(func() { s.Close() })
		c, _ := deviceBed(t, s)
		dial, n := c.HTTP.Dial, 0
		c.HTTP.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if n++; n == 2 || n == 3 {
				return nil, errors.New("no route")
			}
			return dial(ctx, network, addr)
		}
		start := time.Now()
		g, err := login.Device(t.Context(), c)
		grantOf(t, g, err)
		if d := time.Since(start); d < 35*time.Second || d > 36*time.Second {
			t.Errorf("it took %v, want 5+10+20 s", d)
		}
	})
}

func TestDeviceCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := idptest.New(idptest.Config{Habits: idptest.Habits{DevicePolls: 99}})
		t.Cleanup(func() { s.Close() })
		c, _ := deviceBed(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		start := time.Now()
		_, err := login.Device(ctx, c)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 12*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		c.Timeout = 20 * time.Second
		_, err = login.Device(t.Context(), c)
		wantKind(t, err, login.Expired)
		c.Server.Device = ""
		_, err = login.Device(t.Context(), c)
		wantKind(t, err, login.Usage)
	})
}
