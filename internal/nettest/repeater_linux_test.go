package nettest

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/sdp2p/p2p/internal/netlab"
)

// A repeater forwards Multicast DNS between the interfaces of a host, as home
// routers do between virtual networks: packets to the group that arrive on one
// interface are sent on the others, from the host's own addresses there.
type repeater struct {
	links []*net.Interface
	own   []netip.Addr
}

// repeat makes a host a repeater, until the test ends.
func repeat(t *testing.T, h *netlab.Host, interfaces ...string) {
	t.Helper()
	r := &repeater{}
	var c4, c6 *net.UDPConn
	require.NoError(t, h.Do(func() (err error) {
		if err = r.use(interfaces); err != nil {
			return err
		}
		if c4, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(224, 0, 0, 0), Port: mdnsPort}); err == nil {
			c6, err = net.ListenUDP("udp6", &net.UDPAddr{IP: net.ParseIP("ff02::"), Port: mdnsPort})
		}
		return err
	}))
	t.Cleanup(func() { c4.Close(); c6.Close() })
	p4, p6 := ipv4.NewPacketConn(c4), ipv6.NewPacketConn(c6)
	require.NoError(t, p4.SetControlMessage(ipv4.FlagInterface|ipv4.FlagDst, true))
	require.NoError(t, p6.SetControlMessage(ipv6.FlagInterface|ipv6.FlagDst, true))
	require.NoError(t, p4.SetMulticastTTL(255))
	require.NoError(t, p6.SetMulticastHopLimit(255))
	require.NoError(t, p4.SetMulticastLoopback(false))
	require.NoError(t, p6.SetMulticastLoopback(false))
	for _, l := range r.links {
		require.NoError(t, p4.JoinGroup(l, net.UDPAddrFromAddrPort(group4)))
		require.NoError(t, p6.JoinGroup(l, net.UDPAddrFromAddrPort(group6)))
	}
	go func() {
		for b := make([]byte, 9000); ; {
			n, cm, src, err := p4.ReadFrom(b)
			if err != nil {
				return
			}
			for _, l := range r.to(src, cm.Dst, cm.IfIndex) {
				_, _ = p4.WriteTo(b[:n], &ipv4.ControlMessage{IfIndex: l.Index}, net.UDPAddrFromAddrPort(group4))
			}
		}
	}()
	go func() {
		for b := make([]byte, 9000); ; {
			n, cm, src, err := p6.ReadFrom(b)
			if err != nil {
				return
			}
			for _, l := range r.to(src, cm.Dst, cm.IfIndex) {
				_, _ = p6.WriteTo(b[:n], &ipv6.ControlMessage{IfIndex: l.Index}, net.UDPAddrFromAddrPort(group6))
			}
		}
	}()
}

// use looks up the interfaces and their addresses.
func (r *repeater) use(interfaces []string) error {
	for _, name := range interfaces {
		ifc, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		r.links = append(r.links, ifc)
		addrs, err := ifc.Addrs()
		if err != nil {
			return err
		}
		for _, a := range addrs {
			r.own = append(r.own, netip.MustParsePrefix(a.String()).Addr())
		}
	}
	return nil
}

// to returns the interfaces on which a packet is sent.
func (r *repeater) to(src net.Addr, dst net.IP, by int) (links []*net.Interface) {
	from := src.(*net.UDPAddr).AddrPort().Addr().Unmap().WithZone("")
	if !dst.IsMulticast() || slices.Contains(r.own, from) {
		return nil
	}
	for _, l := range r.links {
		if l.Index != by {
			links = append(links, l)
		}
	}
	return links
}
