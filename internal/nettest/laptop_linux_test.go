package nettest

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
)

// A laptop is that of a developer: before its network interface, it has five
// networks of containers and a VPN, with an address like that of the interface.
type laptop struct {
	*netlab.Host
	vpn     *netlab.Tunnel
	bridges []*netlab.Bridge
}

// newLaptop makes a laptop and its neighbors.
func newLaptop(t *testing.T, neighbors int) (l *laptop, others []*netlab.Host) {
	lab := netlab.New(t, 1+neighbors)
	lab.Disconnect()
	l = &laptop{Host: lab.Hosts[0]}
	stopped := l.Bridge(9) // its containers have ended, so that it has no carrier
	stopped.Remove(stopped.Container())
	for n := range byte(5) {
		l.bridges = append(l.bridges, l.Bridge(1+n))
	}
	l.vpn = l.Tunnel("vpn0", netip.MustParsePrefix("10.8.0.2/24"))
	lab.Connect()
	l.Run("ip", "route", "add", "default", "via", "10.77.0.250")
	return l, lab.Hosts[1:]
}

// isBridge reports whether an address is one that the laptop has on a bridge.
func (l *laptop) isBridge(addr netip.Addr) bool {
	return slices.ContainsFunc(l.bridges, func(b *netlab.Bridge) bool { return b.Addr() == addr })
}

// Among bridges of containers and a VPN, a neighbor finds and reaches the
// laptop at the address of the network interface, which is also the first
// address in the laptop's tickets. No packet leaves through the VPN. Containers
// are found as well, at their own addresses.
func TestLaptop(t *testing.T) {
	t.Parallel()
	l, others := newLaptop(t, 2)
	pairs := onLAN
	pairs.Pairs = true
	var containers []*node
	for _, b := range l.bridges {
		containers = append(containers, start(t, b.Container(), onLAN)) // with a carrier
	}
	atLaptop, neighbor := start(t, l.Host, pairs), start(t, others[0], onLAN)
	atLaptop.discovers(neighbor, "mdns")
	neighbor.discovers(atLaptop, "mdns")
	for _, c := range containers {
		atLaptop.discovers(c, "mdns")
		require.Equal(t, c.host.Addr4(), atLaptop.way(c).Remote.Addr())
	}
	require.True(t, others[0].Owns(atLaptop.way(neighbor).Remote.Addr()))
	require.True(t, l.Owns(neighbor.way(atLaptop).Remote.Addr()))
	require.Equal(t, sorted(atLaptop), neighbor.ids())
	for _, text := range neighbor.candidates(atLaptop) {
		addr, err := netip.ParseAddrPort(strings.TrimPrefix(text, "direct "))
		require.NoError(t, err)
		require.True(t, l.Owns(addr.Addr()), text)
	}
	for _, packet := range l.vpn.Sent() {
		t.Errorf("left by the VPN: %x", packet)
	}

	stranger := start(t, others[1], nodeConfig{QUIC: true, Pairs: true})
	invites := func() {
		t.Helper()
		ticket, err := netlab.Call[invited](atLaptop.Process, "invite", inviteArgs{})
		require.NoError(t, err)
		addrs := ticket.Addrs
		require.Len(t, addrs, 4)
		require.Equal(t, []netip.Addr{l.Addr4(), l.Addr6()}, []netip.Addr{addrs[0].Addr(), addrs[1].Addr()})
		require.Equal(t, netip.MustParseAddr("10.8.0.2"), addrs[2].Addr())
		require.True(t, l.isBridge(addrs[3].Addr()), addrs)
		t.Logf("%v; joined after %v", addrs, stranger.joins(atLaptop, ticket.Ticket))
	}
	invites()

	// A VPN that takes all traffic changes nothing: neighbors are not reached
	// through it.
	for _, half := range []string{"0.0.0.0/1", "128.0.0.0/1"} {
		l.Run("ip", "route", "add", half, "dev", l.vpn.Interface)
	}
	stranger = start(t, others[1], nodeConfig{QUIC: true, Pairs: true})
	invites()
	later := start(t, others[0], onLAN)
	atLaptop.discovers(later, "mdns")
	require.True(t, others[0].Owns(atLaptop.way(later).Remote.Addr()))
}
