package dnssd

import (
	"net/netip"
	"slices"
)

// A host is a host name that SRV records cached on a link point to.
type host struct {
	key   string
	name  string
	users []*seen // one for each of these SRV records
	addrs []*cached
}

// ways returns the ways of an SRV record that points to the host.
func (h *host) ways(l *link, srv *cached) (all []way) {
	for _, a := range current(h.addrs) {
		w := way{addr: netip.AddrPortFrom(a.addr, srv.port), kind: offLink, src: a.src, proved: a.proved && srv.proved}
		switch {
		case a.addr.Is6() && a.addr.IsLinkLocalUnicast() && !l.ifc.has(IPv6):
			continue // no way to it
		case a.addr.Is6() && a.addr.IsLinkLocalUnicast():
			w.kind, w.addr = linkLocal, netip.AddrPortFrom(a.addr.WithZone(l.ifc.Name), srv.port)
		case l.ifc.onLink(a.addr):
			w.kind = onLink
		}
		all = append(all, w)
	}
	return all
}

// roomFor reports whether an SRV record of an instance may point to a host.
// Their number is limited, so that forged ones cause little work; a record from
// the source that announced most is dropped for one from a source that
// announced less.
func (l *link) roomFor(host string, s *seen) bool {
	h, most := l.hosts[host], s.in.origin.n
	if h == nil || len(h.users) < maxUsers {
		return true
	}
	var goes *seen
	for _, user := range h.users {
		if n := user.in.origin.n; n > most {
			goes, most = user, n
		}
	}
	if goes == nil || l.e.kept(goes.in) {
		return l.e.kept(s.in)
	}
	l.forget(goes)
	return true
}

// use records that an SRV record points to its host.
func (l *link) use(c *cached) {
	h := l.hosts[c.host]
	if h == nil {
		h = &host{key: c.host, name: c.target}
		l.hosts[c.host] = h
		l.names.Add(h.name)
	}
	h.users = append(h.users, c.s)
}

// release records that an SRV record no longer points to its host.
func (l *link) release(c *cached) {
	h, s := l.hosts[c.host], c.s
	if h == nil {
		return
	}
	if i := slices.Index(h.users, s); i >= 0 {
		h.users = slices.Delete(h.users, i, i+1)
	}
	if len(h.users) == 0 {
		for _, c := range h.addrs {
			l.e.timers.stop(&c.timer)
		}
		l.addrs -= len(h.addrs)
		delete(l.hosts, h.key)
		l.names.Remove(h.name)
	}
}
