package upstream

import (
	"fmt"
	"net/netip"
	"syscall"
)

// special are the ranges a provider reached over the Internet has no business in. Source: the IANA special-purpose
// address registries for IPv4 and IPv6, and the gaps peers' deny lists were caught with (100.64/10, 2002::/16, NAT64,
// site-local).
var special = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
	"224.0.0.0/4", "240.0.0.0/4",
	"::/128", "::1/128", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16",
	"3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
)

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}

// PublicAddress tells whether a connection to addr is allowed without allow_private. IPv4-mapped IPv6 addresses are
// judged as IPv4.
func PublicAddress(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() {
		return false
	}
	for _, p := range special {
		if p.Contains(addr) {
			return false
		}
	}
	return true
}

// refuseSpecial is a net.Dialer's Control: it sees the resolved address of each attempt, so that a name cannot be
// rebound between a check and the dial.
func refuseSpecial(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !PublicAddress(ap.Addr()) {
		return fmt.Errorf("%w: %s (set allow_private = true for the provider if it is meant)", ErrAddress, address)
	}
	return nil
}
