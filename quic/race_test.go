package quic

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// Addresses on a local network are tried first, and IPv6 link-local addresses,
// with their interface, last.
func TestDistance(t *testing.T) {
	var addrs []netip.Addr
	for _, a := range []string{"fe80::1%eth0", "2001:db8::1", "192.0.2.1", "fd00::1", "10.0.0.1", "::ffff:10.0.0.2", "169.254.1.1", "127.0.0.1"} {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	slices.SortStableFunc(addrs, func(a, b netip.Addr) int { return distance(a) - distance(b) })
	require.Equal(t, "[fd00::1 10.0.0.1 ::ffff:10.0.0.2 169.254.1.1 127.0.0.1 2001:db8::1 192.0.2.1 fe80::1%eth0]", fmt.Sprint(addrs))
}

// An address keeps its zone on the way to go-libp2p and back.
func TestZones(t *testing.T) {
	addr := netip.MustParseAddrPort("[fe80::1%eth0]:7373")
	require.Equal(t, addr, addrPort(multiaddr(addr)))
	require.Equal(t, addr, unmap(addr))
}
