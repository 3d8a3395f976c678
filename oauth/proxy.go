package oauth

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
)

// proxyError is a refusal by a proxy. status is the HTTP status, or 0.
type proxyError struct {
	status int
	text   string
}

func (e *proxyError) Error() string { return e.text }

// tunnel asks the proxy at the other end of conn for a way to target. net/http
// could do it, but would not say afterwards whether the proxy or the server
// failed, nor let the gate stand above TLS.
func (c *Client) tunnel(ctx context.Context, conn net.Conn, via *url.URL, target string) (net.Conn, error) {
	switch via.Scheme {
	case "http":
		return conn, connect(conn, via.User, target)
	case "https":
		t, err := c.secure(ctx, conn, via.Hostname(), nil)
		if err != nil {
			return nil, err
		}
		return t, connect(t, via.User, target)
	case "socks5", "socks5h":
		return conn, socks(conn, via.User, target)
	}
	return nil, errors.New("the proxy is neither http, https nor socks5")
}

// connect is RFC 9110 §9.3.6.
func connect(conn net.Conn, user *url.Userinfo, target string) error {
	ask := "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n"
	if user != nil {
		password, _ := user.Password()
		pair := user.Username() + ":" + password
		ask += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(pair)) + "\r\n"
	}
	if _, err := io.WriteString(conn, ask+"\r\n"); err != nil {
		return fmt.Errorf("asking the proxy: %w", err)
	}
	r := bufio.NewReader(io.LimitReader(conn, maxHeader))
	for {
		resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
		if err != nil {
			return fmt.Errorf("reading the proxy's answer: %w", plainReadError(err))
		}
		if resp.StatusCode/100 == 1 {
			continue
		}
		if resp.StatusCode/100 != 2 {
			return &proxyError{resp.StatusCode, "the proxy answered " + strconv.Itoa(resp.StatusCode)}
		}
		if r.Buffered() > 0 {
			return &proxyError{0, "the proxy sent data before the server could"}
		}
		return nil
	}
}

// socks is RFC 1928 with user name and password (RFC 1929). The proxy resolves
// the name of the target.
func socks(conn net.Conn, user *url.Userinfo, target string) error {
	hello := []byte{5, 1, 0}
	if user != nil {
		hello = []byte{5, 2, 0, 2}
	}
	method, err := ask(conn, hello, 2)
	switch {
	case err != nil:
		return err
	case method[0] == 5 && method[1] == 2 && user != nil:
		if err := socksLogin(conn, user); err != nil {
			return err
		}
	case method[0] != 5 || method[1] != 0:
		return &proxyError{0, "the SOCKS proxy takes none of our ways to authenticate"}
	}
	where, err := socksAddress(target)
	if err != nil {
		return err
	}
	reply, err := ask(conn, append([]byte{5, 1, 0}, where...), 4)
	if err != nil {
		return err
	}
	if reply[0] != 5 || reply[1] != 0 {
		return &proxyError{0, fmt.Sprintf("the SOCKS proxy answered %d", reply[1])}
	}
	return socksSkip(conn, reply[3])
}

func socksLogin(conn net.Conn, user *url.Userinfo) error {
	name := user.Username()
	password, _ := user.Password()
	if len(name) > 255 || len(password) > 255 {
		return &proxyError{0, "the name or password for the SOCKS proxy is too long"}
	}
	b := append([]byte{1, byte(len(name))}, name...)
	b = append(append(b, byte(len(password))), password...)
	status, err := ask(conn, b, 2)
	if err == nil && status[1] != 0 {
		return &proxyError{http.StatusProxyAuthRequired, "the SOCKS proxy refused the name or password"}
	}
	return err
}

// socksAddress is ATYP, DST.ADDR and DST.PORT of RFC 1928 §4.
func socksAddress(target string) ([]byte, error) {
	host, service, err := net.SplitHostPort(target)
	if err != nil {
		return nil, errors.New("the host and port can't be read")
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil || len(host) > 255 {
		return nil, errors.New("the host or port does not fit into SOCKS")
	}
	var b []byte
	switch ip, err := netip.ParseAddr(host); {
	case err != nil:
		b = append([]byte{3, byte(len(host))}, host...)
	case ip.Unmap().Is4():
		b = append([]byte{1}, ip.Unmap().AsSlice()...)
	default:
		b = append([]byte{4}, ip.AsSlice()...)
	}
	return append(b, byte(port>>8), byte(port)), nil
}

// socksSkip reads the bound address that ends a reply.
func socksSkip(conn net.Conn, kind byte) error {
	n := 0
	switch kind {
	case 1:
		n = 4
	case 4:
		n = 16
	case 3:
		size, err := ask(conn, nil, 1)
		if err != nil {
			return err
		}
		n = int(size[0])
	default:
		return &proxyError{0, "the SOCKS proxy's answer can't be read"}
	}
	_, err := ask(conn, nil, n+2)
	return err
}

// ask writes and reads an answer of n bytes.
func ask(conn net.Conn, b []byte, n int) ([]byte, error) {
	if len(b) > 0 {
		if _, err := conn.Write(b); err != nil {
			return nil, fmt.Errorf("asking the proxy: %w", err)
		}
	}
	answer := make([]byte, n)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil, fmt.Errorf("reading the proxy's answer: %w", err)
	}
	return answer, nil
}
