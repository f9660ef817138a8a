package dnssd

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// RFC 6762 §11: a packet sent to the group is from the link; any other packet
// is accepted only if its source is in a network of the interface.
func TestAdmits(t *testing.T) {
	l := &link{ifc: Interface{Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fd00::1/64"), netip.MustParsePrefix("fe80::1/64")}}}
	for _, test := range []struct {
		src           string
		group, others bool // sent to the group; to the host, or unknown to the platform
	}{
		{"10.0.0.9", true, true},
		{"10.0.1.9", true, false},
		{"169.254.7.7", true, true},
		{"8.8.8.8", true, false},
		{"127.0.0.1", false, false},
		{"0.0.0.0", false, false},
		{"224.0.0.251", false, false},
		{"fd00::9", true, true},
		{"fd01::9", true, false},
		{"2001:db8::9", true, false},
		{"fe80::9%eth0", true, true},
		{"::1", false, false},
		{"::", false, false},
		{"ff02::fb", false, false},
	} {
		src := netip.MustParseAddr(test.src)
		p := received{Packet{Src: netip.AddrPortFrom(src, Port)}, familyOf(src)}
		require.Equal(t, test.others, l.admits(p), "%v, not told where to", src)
		p.Dst = l.ifc.Addrs[p.family].Addr()
		require.Equal(t, test.others, l.admits(p), "%v to the host", src)
		p.Dst = Groups[p.family].Addr()
		require.Equal(t, test.group, l.admits(p), "%v to the group", src)
		p.family = 1 - p.family
		require.False(t, l.admits(p), "%v by the other family", src)
	}
	any := received{Packet{Src: netip.MustParseAddrPort("8.8.8.8:5353"), Dst: netip.MustParseAddr("239.1.2.3")}, IPv4}
	require.False(t, l.admits(any), "packets to another group may be routed")
	l.ifc.Loopback = true
	require.True(t, l.admits(received{Packet{Src: netip.MustParseAddrPort("127.0.0.1:5353")}, IPv4}))
}

// A packet that would leave the link ends at the first router.
func TestHops(t *testing.T) {
	ifc := Interface{Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fe80::1/64")}}
	for addr, hops := range map[string]int{
		"10.0.0.9": 255, "224.0.0.251": 255, "ff02::fb": 255, "fe80::9": 255, "fe80::9%eth0": 255, "10.0.1.9": 1, "8.8.8.8": 1, "2001:db8::1": 1,
	} {
		require.Equal(t, hops, ifc.hops(netip.MustParseAddr(addr)), addr)
	}
}
