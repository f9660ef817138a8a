package dnssd

import (
	"net/netip"

	"github.com/sdp2p/p2p/internal/dns"
)

// admits reports whether a packet comes from the link (RFC 6762 §11). On
// loopback every packet does, since it comes from this host.
//
// A packet to the group comes from the link, whatever its source, since no
// router forwards it. On one link, prefix lengths may differ, hosts may have a
// single address and a route to the others, and there may be several networks.
// A packet to this host alone may come from anywhere, and so may one whose
// destination the platform does not report: its source must be in a network of
// the interface.
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
// packet to it does not leave the link. No answers are sent to other addresses,
// since a question may forge its source.
func (l *link) near(addr netip.Addr) bool { return addr.IsLinkLocalUnicast() || l.ifc.onLink(addr) }

// toAll makes questions be answered by multicast, which reaches everybody.
func toAll(questions []dns.Question) {
	for i := range questions {
		questions[i].Class &^= unicastBit
	}
}

// countless reports whether an address is one of a kind of which somebody on
// the link can always take another.
func (l *link) countless(addr netip.Addr) bool {
	return familyOf(addr) == IPv6 || !l.ifc.onLink(addr)
}

// hops returns the TTL of a packet to an address: 255 (RFC 6762 §11), or 1 if
// the address is not in a network of the interface, so that the packet ends at
// the first router.
func (i *Interface) hops(to netip.Addr) int {
	if to.IsMulticast() || i.Loopback || i.onLink(to) {
		return 255
	}
	return 1
}
