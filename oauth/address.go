package oauth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// PublicOnly is a [Client].Gate for URLs that somebody else named: it lets
// public unicast addresses pass and nothing else, so that a server can't use us
// to reach what only we can reach (RFC 9728 §7.7). Refused are loopback,
// link-local with the metadata services of clouds, private (RFC 1918), unique
// local, shared (RFC 6598), multicast, unspecified, documentation, benchmarking
// and reserved addresses, and IPv6 forms that hold such an IPv4 address
// (mapped, NAT64). 6to4, Teredo and addresses with a zone are refused whole.
func PublicOnly(ip netip.Addr) error { return reach{}.check(ip) }

// GateFor makes a Gate around a URL that a person typed. Public addresses pass
// always; loopback or private addresses pass if the typed host is or resolves
// to one of that kind, since servers of a company name each other by such
// addresses. Link-local and metadata addresses never pass. A host that doesn't
// resolve, or a URL that can't be read, gives [PublicOnly].
func GateFor(ctx context.Context, typedURL string) func(netip.Addr) error {
	u, err := endpoint(typedURL)
	if err != nil {
		return PublicOnly
	}
	var r reach
	for _, ip := range addresses(ctx, u.Hostname()) {
		ip = inner(ip)
		r.loopback = r.loopback || ip.IsLoopback()
		r.private = r.private || private(ip)
	}
	return r.check
}

// reach says which addresses beyond the public ones may be used.
type reach struct{ loopback, private bool }

func (r reach) check(ip netip.Addr) error {
	plain := inner(ip)
	switch {
	case metadata(plain):
	case r.loopback && plain.IsLoopback(), r.private && private(plain):
		return nil
	case plain.Is4() && !within(plain, reserved4[:]):
		return nil
	case plain.Is6() && plain.Zone() == "" && global6.Contains(plain) && !within(plain, reserved6[:]):
		return nil
	}
	return fmt.Errorf("%s is not a public address", ip)
}

// private are the addresses of a company's or a home's own network.
func private(ip netip.Addr) bool { return ip.IsPrivate() || shared4.Contains(ip) }

var (
	shared4 = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
	nat64   = netip.MustParsePrefix("64:ff9b::/96")  // RFC 6052 §2.1
	global6 = netip.MustParsePrefix("2000::/3")      // RFC 4291 §2.4, as assigned
)

// reserved4 is the IANA special-purpose registry (RFC 6890) with multicast and
// class E.
var reserved4 = [...]netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	shared4,
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("224.0.0.0/3"),
}

// reserved6 is what of 2000::/3 is not for servers: IETF protocols with Teredo,
// documentation, 6to4, documentation.
var reserved6 = [...]netip.Prefix{
	netip.MustParsePrefix("2001::/23"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("3fff::/20"),
}

// metadataAddrs answer questions about the machine to whoever runs on it, with
// credentials among the answers. Those of the link-local block are known by it.
var metadataAddrs = [...]netip.Addr{
	netip.MustParseAddr("100.100.100.200"), // Alibaba Cloud
	netip.MustParseAddr("168.63.129.16"),   // Azure
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("fd20:ce::254"),    // Google Cloud
}

func metadata(ip netip.Addr) bool {
	for _, m := range metadataAddrs {
		if m == ip {
			return true
		}
	}
	return ip.IsLinkLocalUnicast()
}

func within(ip netip.Addr, list []netip.Prefix) bool {
	for _, p := range list {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// inner is the IPv4 address that an IPv6 address stands for, else ip itself.
func inner(ip netip.Addr) netip.Addr {
	if nat64.Contains(ip) {
		b := ip.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return ip.Unmap()
}

// addresses resolves a host, or reads it if it is an address.
func addresses(ctx context.Context, host string) []netip.Addr {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}
	}
	list, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	return list
}

// gateError marks the Gate's refusal on its way through the dialer.
type gateError struct{ err error }

func (e *gateError) Error() string { return "the address is refused: " + e.err.Error() }
func (e *gateError) Unwrap() error { return e.err }

func (c *Client) admit(address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return &gateError{errors.New("it can't be told")}
	}
	if err := c.Gate(at.Addr()); err != nil {
		return &gateError{err}
	}
	return nil
}

// gateSocket is called by the dialer for each address it tries, with the very
// address that it connects to: no second look-up can give another.
func (c *Client) gateSocket(_, address string, _ syscall.RawConn) error { return c.admit(address) }

// gateConn is for connections that Client.Dial made. It closes what it refuses.
func (c *Client) gateConn(conn net.Conn) error {
	err := c.admit(conn.RemoteAddr().String())
	if err != nil {
		conn.Close()
	}
	return err
}

// gateBehindProxy asks about the addresses of a host that a proxy will connect
// to. The proxy resolves for itself, so a name may lead elsewhere there; one
// that does not resolve here passes.
func (c *Client) gateBehindProxy(ctx context.Context, host string) error {
	if c.Gate == nil {
		return nil
	}
	for _, ip := range addresses(ctx, host) {
		if err := c.Gate(ip); err != nil {
			return &gateError{err}
		}
	}
	return nil
}
