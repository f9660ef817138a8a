package dnssd

import (
	"slices"

	"github.com/sdp2p/p2p/internal/dns"
)

// An IPv6 link-local address needs an interface, not every peer listens there,
// and a packet over IPv6 may contain no other address while the one over IPv4
// is still under way. So an instance with only such addresses is not reported
// yet: other addresses are asked for, and only after a second, or if the
// instance says that it has no IPv4 address (RFC 6762 §6.1), it is reported
// with what is known.

// reachable reports whether a host has an address other than IPv6 link-local
// ones.
func (h *host) reachable() bool {
	return h != nil && slices.ContainsFunc(h.addrs, func(c *cached) bool { return !c.addr.Is6() || !c.addr.IsLinkLocalUnicast() })
}

// settled reports whether an instance is complete and has an address that leads
// to it, or waits for none.
func (s *seen) settled() bool {
	return s.complete() && (s.in.shown || s.alone ||
		slices.ContainsFunc(s.srvs, func(c *cached) bool { return s.l.hosts[c.host].reachable() }))
}

// giveUp reports an instance that has only link-local addresses, if others were
// asked for in vain.
func (s *seen) giveUp() bool {
	if !s.sought || !s.complete() {
		return false
	}
	s.alone = true
	s.l.examine(s)
	return true
}

// heedDenials records which hosts say that they have no IPv4 address.
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
