package webcal

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"waypost/internal/fault"
)

// Network says where calendars may be fetched from besides the Internet.
type Network struct {
	// Inside are networks of the organisation that calendars may be fetched from.
	Inside []netip.Prefix
	// Ports besides 80 and 443.
	Ports []int
	// Resolver is for tests; nil: the system's.
	Resolver *net.Resolver
}

// notPublic are addresses that are no single host of the Internet's (IANA's
// registries of special-purpose addresses, RFC 6890): this machine, its link and
// its site, where cloud providers keep secrets (169.254.169.254), multicast, and
// ways around, such as Teredo and 6to4.
var notPublic = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
)

var (
	// globalUnicast is all of IPv6 that is given out; everything else is special.
	globalUnicast = netip.MustParsePrefix("2000::/3")
	// nat64 has IPv4 addresses in their last 32 bits (RFC 6052).
	nat64 = netip.MustParsePrefix("64:ff9b::/96")
)

func prefixes(list ...string) (all []netip.Prefix) {
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// public tells whether an address is a host of the Internet.
func public(a netip.Addr) bool {
	a = a.Unmap()
	if nat64.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	if a.Is6() && (a.Zone() != "" || !globalUnicast.Contains(a)) {
		return false
	}
	return a.IsValid() && !slices.ContainsFunc(notPublic, func(p netip.Prefix) bool { return p.Contains(a) })
}

// errForbidden is for the owner of the feed: it tells nothing of what is inside.
func errForbidden() error {
	return fault.New(fault.Denied, "the address leads to a place that calendars are not fetched from")
}

// may tells whether a connection may be made.
func (n *Network) may(to netip.AddrPort) bool {
	a := to.Addr().Unmap().WithZone("")
	inside := slices.ContainsFunc(n.Inside, func(p netip.Prefix) bool { return p.Contains(a) })
	port := int(to.Port())
	return (inside || public(to.Addr())) && (port == 80 || port == 443 || slices.Contains(n.Ports, port))
}

// dialer connects to what may be connected to. It decides by the address that the
// connection is made to, after the name was resolved: who changes what a name
// means between two look-ups wins nothing.
func (n *Network) dialer() func(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{
		Timeout: 10 * time.Second, Resolver: n.Resolver,
		Control: func(network, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil || network != "tcp4" && network != "tcp6" || !n.may(to) {
				return fault.From(fault.Denied, fmt.Errorf("%s %s", network, address), "%s", fault.Say(errForbidden()))
			}
			return nil
		},
	}
	return d.DialContext
}
