package dnssd

import (
	"net/netip"

	"github.com/sdp2p/p2p/internal/dns"
)

// admits reports whether a packet is from the link (RFC 6762 §11). On loopback
// everything is, since it comes from this host.
//
// What was sent to the group is from the link, whatever its source: no router
// forwards it. Masks differ on one wire, hosts have a single address and a route
// to the others, and a wire has several networks. What was sent to this host
// alone may come from anywhere, and so may a packet of which the platform does
// not tell where it was sent: its source must be in a network of the interface.
func (l *link) admits(p received) bool {
	src := p.Src.Addr()
	switch {
	case l.ifc.Loopback:
		return true
	case src.IsLoopback() || src.IsUnspecified() || src.IsMulticast() || familyOf(src) != p.family:
		return false
	}
	return p.Dst == Groups[p.family].Addr() || l.near(src)
}

// near reports whether an address is in a network of the interface, so that a
// packet to it does not leave the link. To others, no answer to a question is
// sent that anybody can have asked in their name.
func (l *link) near(addr netip.Addr) bool { return addr.IsLinkLocalUnicast() || l.ifc.onLink(addr) }

// toAll has questions answered by multicast, which reaches everybody.
func toAll(questions []dns.Question) {
	for i := range questions {
		questions[i].Class &^= unicastBit
	}
}

// countless reports whether an address is one of so many that somebody on the
// link can always take another one.
func (l *link) countless(addr netip.Addr) bool {
	return familyOf(addr) == IPv6 || !l.ifc.onLink(addr)
}

// hops returns the TTL of a packet to an address: 255 (RFC 6762 §11), but what
// would leave the link, because it is not in a network of the interface, ends at
// the first router.
func (i *Interface) hops(to netip.Addr) int {
	if to.IsMulticast() || i.Loopback || i.onLink(to) {
		return 255
	}
	return 1
}
