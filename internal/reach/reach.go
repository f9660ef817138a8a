// Package reach selects the addresses at which others are likeliest to reach
// this host, for tickets, and for users to type on another device.
package reach

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
)

// A Kind says what an interface leads to.
type Kind uint8

// The kinds of interfaces.
const (
	// Physical is a network device, or an interface based on one: a VLAN, a
	// bond, a bridge with a device among its ports.
	Physical Kind = iota

	// Virtual is any other interface on a link with neighbors, such as the only
	// interface of a container.
	Virtual

	// Inner is a bridge without a device: behind it are only containers and
	// virtual machines of this host.
	Inner

	// PointToPoint is a tunnel, such as a VPN's.
	PointToPoint

	// Loopback is this host itself.
	Loopback
)

// A Host is a host's addresses at one moment.
type Host struct {
	// Interfaces are the interfaces that are up and have a carrier.
	Interfaces []Interface

	// Sources are the source addresses of packets to the Internet: those of the
	// default routes, at most one of each family.
	Sources []netip.Addr
}

// An Interface is a network interface with its addresses, without zones.
type Interface struct {
	Kind  Kind
	Addrs []netip.Prefix
}

// Look reads the addresses of this host. It sends nothing. Facts that the
// system does not provide are left out.
func Look() Host {
	var h Host
	all, _ := net.Interfaces()
	for _, i := range all {
		const up = net.FlagUp | net.FlagRunning // with a carrier, which a bridge without containers lacks
		if i.Flags&up != up {
			continue
		}
		addrs, _ := i.Addrs() // none if it has just gone
		h.Interfaces = append(h.Interfaces, Interface{Kind: kindOf(&i), Addrs: prefixes(addrs)})
	}
	h.Sources = h.sources(source)
	return h
}

func prefixes(addrs []net.Addr) (all []netip.Prefix) {
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(n.IP)
		ones, _ := n.Mask.Size()
		if ip = ip.Unmap(); ok && ones <= ip.BitLen() {
			all = append(all, netip.PrefixFrom(ip, ones))
		}
	}
	return all
}

// world are addresses for documentation, which belong to nobody (RFC 5737, RFC
// 3849, RFC 9637), so that only a default route leads there.
var world = [][]netip.Addr{
	{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("192.0.2.1")},
	{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("3fff::1")},
}

// sources returns the source addresses of the default routes. It skips
// documentation addresses that are on a link of this host, as in test networks.
func (h Host) sources(source func(to netip.Addr) (netip.Addr, bool)) (all []netip.Addr) {
	for _, family := range world {
		for _, to := range family {
			if h.isOnLink(to) {
				continue
			}
			if ip, ok := source(to); ok {
				all = append(all, ip)
			}
			break
		}
	}
	return all
}

func (h Host) isOnLink(ip netip.Addr) bool {
	for _, i := range h.Interfaces {
		if slices.ContainsFunc(i.Addrs, func(p netip.Prefix) bool { return p.Contains(ip) }) {
			return true
		}
	}
	return false
}

// source returns the source address of a packet to an address. It sends
// nothing: connecting a UDP socket only looks up a route.
func source(to netip.Addr) (netip.Addr, bool) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 9)))
	if err != nil {
		return netip.Addr{}, false
	}
	defer conn.Close()
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
	return local.Unmap().WithZone(""), true
}

// A place is an address at which a socket can be reached.
type place struct {
	addr netip.AddrPort
	rank int // lower is likelier
}

func (p place) compare(o place) int {
	private := func(p place) int {
		if p.addr.Addr().IsPrivate() {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(p.rank, o.rank), cmp.Compare(private(p), private(o)))
}

// Addrs returns at most n of the addresses at which others may reach sockets
// that are bound to the addresses listening, the likeliest first: source
// addresses of the default routes, then those of physical interfaces, and last
// those of VPNs and of containers' bridges; private ones (RFC 1918, RFC 4193)
// before public ones. Each family gets half of the places, and those that the
// other family leaves free.
//
// Addresses that mean something else on other links or hosts are left out:
// link-local ones, those with a zone, and loopback addresses, except a loopback
// address that a socket is bound to.
func (h Host) Addrs(listening []netip.AddrPort, n int) []netip.AddrPort {
	var families [2][]place
	for _, l := range listening {
		for _, p := range h.places(l) {
			f := &families[0]
			if p.addr.Addr().Is6() {
				f = &families[1]
			}
			if !slices.ContainsFunc(*f, func(o place) bool { return o.addr == p.addr }) {
				*f = append(*f, p)
			}
		}
	}
	for _, f := range families {
		slices.SortStableFunc(f, place.compare)
	}
	var chosen []place
	for i := 0; i < max(len(families[0]), len(families[1])); i++ {
		for _, f := range families {
			if i < len(f) && len(chosen) < n {
				chosen = append(chosen, f[i])
			}
		}
	}
	slices.SortStableFunc(chosen, func(a, b place) int { return cmp.Compare(a.rank, b.rank) })
	all := make([]netip.AddrPort, len(chosen))
	for i, p := range chosen {
		all[i] = p.addr
	}
	return all
}

// places returns the addresses at which a socket bound to an address can be
// reached.
func (h Host) places(bound netip.AddrPort) (all []place) {
	ip, port := bound.Addr().Unmap(), bound.Port()
	if port == 0 || ip.Zone() != "" {
		return nil
	}
	for _, i := range h.Interfaces {
		for _, p := range i.Addrs {
			own := p.Addr()
			if own == ip || ip.IsUnspecified() && own.Is4() == ip.Is4() && own.IsGlobalUnicast() {
				all = append(all, place{netip.AddrPortFrom(own, port), h.rank(i.Kind, own)})
			}
		}
	}
	switch {
	case ip.IsLinkLocalUnicast():
		return nil
	case len(all) > 0 || ip.IsUnspecified():
		return all
	case ip.IsLoopback(): // all of 127.0.0.0/8 can be used without being assigned
		return []place{{netip.AddrPortFrom(ip, port), h.rank(Loopback, ip)}}
	}
	return []place{{netip.AddrPortFrom(ip, port), h.rank(Physical, ip)}} // the app chose it
}

// rank says how likely others have a route to an address; 0 is the likeliest.
func (h Host) rank(k Kind, ip netip.Addr) int {
	source := slices.Contains(h.Sources, ip)
	switch {
	case source && k != PointToPoint:
		return 0
	case k == Physical:
		return 1
	case k == Virtual:
		return 2
	case source: // a VPN that takes all traffic: neighbors have no route to its address
		return 3
	case k == PointToPoint:
		return 4
	case k == Inner: // on another host, the address is that of a bridge there
		return 5
	}
	return 6
}
