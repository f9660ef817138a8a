package dnssd

import (
	"net/netip"
	"slices"
	"time"
)

// maxPrivate limits the addresses of a family of a host on a link that are
// announced with [Config.Private], since the announcement has to fit in a
// packet.
const maxPrivate = 3

// maxPlaces limits the remembered places of an entry.
const maxPlaces = 16

// leave records that a link has ended on which the entry was announced.
func (en *entry) leave(ifc *Interface) {
	en.places = append(en.places, *ifc)
	en.places = en.places[max(0, len(en.places)-maxPlaces):]
}

// belongs reports whether an interface is in a network in which the entry was
// announced, which only a router can prove: announcing it in another network
// would show both networks that the same host was there.
func (en *entry) belongs(ifc *Interface) bool {
	return slices.ContainsFunc(en.places, func(before Interface) bool {
		return before.samePlace(ifc) && before.sameRouter(ifc)
	})
}

// mayBelong reports whether it is still unknown whether an interface belongs.
func (en *entry) mayBelong(ifc *Interface) bool {
	return ifc.GatewayLink == "" && slices.ContainsFunc(en.places, func(before Interface) bool {
		return before.GatewayLink != "" && before.samePlace(ifc)
	})
}

// withhold prevents an entry from being announced, and arranges for its
// replacement.
func (l *link) withhold(en *entry) {
	if slices.Contains(l.reported, en) {
		return
	}
	wait := time.Duration(0)
	if en.mayBelong(&l.ifc) {
		wait = awayTime
	}
	l.e.timers.soonest(&l.withheld, l.e.now.Add(wait))
}

// reportWithheld reports the entries that are not announced, once each.
func (l *link) reportWithheld() {
	for _, en := range l.e.entries {
		if en.public && l.publication(en) == nil && !en.belongs(&l.ifc) && !slices.Contains(l.reported, en) {
			l.reported = append(l.reported, en)
			if f, name := l.e.cfg.Elsewhere, en.service.Instance; f != nil {
				l.e.events = append(l.e.events, func() { f(name) })
			}
		}
	}
}

// Moved tells the engine that the network has changed (see [Config.Private]):
// another router means another network, even if that would otherwise be put
// off.
func (e *Engine) Moved() {
	e.mu.Lock()
	e.moved = true
	e.mu.Unlock()
	e.poke()
}

// announced returns the interface's addresses to announce.
func (l *link) announced() []netip.Prefix {
	if !l.e.cfg.Private {
		return l.ifc.Addrs
	}
	return l.ifc.private()
}

// private returns the addresses that reveal least about the host: among IPv6
// addresses that not only neighbors see, temporary ones if there are any; and
// none that contains a link-layer address (RFC 4291 §2.5.1), unless there is no
// other.
func (i *Interface) private() []netip.Prefix {
	list := slices.Clone(i.Addrs)
	if len(i.Temporary) > 0 {
		list = slices.DeleteFunc(list, func(p netip.Prefix) bool { return p.Addr().Is6() && !p.Addr().IsLinkLocalUnicast() })
		list = slices.Concat(i.Temporary, list)
	}
	if quiet := slices.DeleteFunc(slices.Clone(list), func(p netip.Prefix) bool { return holdsHardware(p.Addr()) }); len(quiet) > 0 {
		list = quiet
	}
	n := map[Family]int{}
	return slices.DeleteFunc(list, func(p netip.Prefix) bool {
		f := familyOf(p.Addr())
		n[f]++
		return n[f] > maxPrivate
	})
}

// holdsHardware reports whether the interface identifier of an IPv6 address
// contains a 48-bit link-layer address (RFC 4291, Appendix A).
func holdsHardware(a netip.Addr) bool {
	b := a.As16()
	return a.Is6() && b[11] == 0xff && b[12] == 0xfe
}
