package dnssd

import (
	"slices"

	"github.com/sdp2p/p2p/internal/dns"
)

// A link-local address of IPv6 leads to a peer only with the interface it is on,
// not every peer listens there, and a packet over IPv6 may have no other
// address while the one over IPv4 is still on its way. So an instance of which
// nothing else is known is not shown yet: other addresses are asked for, and
// only after a second, or if it says that there are none of IPv4 (RFC 6762
// §6.1), it is shown with what there is.

// reachable reports whether a host has an address that is not a link-local one
// of IPv6.
func (h *host) reachable() bool {
	return h != nil && slices.ContainsFunc(h.addrs, func(c *cached) bool { return !c.addr.Is6() || !c.addr.IsLinkLocalUnicast() })
}

// settled reports whether an instance is complete, and there is an address that
// leads to it or none is waited for.
func (s *seen) settled() bool {
	return s.complete() && (s.in.shown || s.alone ||
		slices.ContainsFunc(s.srvs, func(c *cached) bool { return s.l.hosts[c.host].reachable() }))
}

// giveUp shows an instance with link-local addresses alone, if others were asked
// for in vain.
func (s *seen) giveUp() bool {
	if !s.sought || !s.complete() {
		return false
	}
	s.alone = true
	s.l.examine(s)
	return true
}

// heedDenials notes which hosts have no address of IPv4, as they say themselves.
func (l *link) heedDenials(records []told) {
	for _, t := range records {
		nsec, ok := t.rr.(*dns.NSEC)
		if !ok || nsec.TTL == 0 || slices.Contains(nsec.Types, dns.TypeA) {
			continue
		}
		if h := l.hosts[t.key]; h != nil {
			for _, s := range h.users {
				s.alone = true
				l.examine(s)
			}
		}
	}
}
