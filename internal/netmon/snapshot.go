package netmon

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"sort"
)

// The address families, which index arrays.
const (
	IPv4 = iota
	IPv6
	families = 2
)

// A Snapshot is the state of the network at one moment.
type Snapshot struct {
	// Interfaces are all interfaces, up or down, best-ranked first.
	Interfaces []Interface
	// Default are the default routes that the system uses, by family. They may
	// result from a policy, as with a VPN.
	Default [families]DefaultRoute
}

// A Rank says how likely an interface leads to the user's network. Lower is
// better.
type Rank int

// The ranks.
const (
	HasDefaultRoute Rank = iota
	IsPhysical
	IsOther // bridges, tunnels, containers, loopback
)

// An Interface is the state of a network interface.
type Interface struct {
	Index int
	Name  string
	MTU   int // bytes; 0 if unknown
	Flags net.Flags

	// Physical reports whether the interface is a device, or a VLAN or bond of
	// devices. If the system does not tell, it reports whether the interface
	// has a link-layer address.
	Physical bool
	// Port reports whether the interface belongs to a bridge or a bond, which
	// then receives everything that arrives (Linux).
	Port bool
	// Prefixes are its addresses with the lengths of their prefixes, without
	// zones, sorted; without those that cannot be used yet (RFC 4862 §5.4).
	Prefixes []netip.Prefix
	// Temporary are its temporary addresses (RFC 8981), if the system
	// distinguishes them. They are not among Prefixes.
	Temporary []netip.Prefix
	// Routed reports for each family whether a default route leads through the
	// interface, even if it is not the one in use. Gateways are the routers of
	// those routes.
	Routed   [families]bool
	Gateways [families]Gateway
	// Ups changes whenever the link is seen to come up.
	Ups uint64
	// Rank is its rank.
	Rank Rank
}

// Up reports whether the interface is switched on and has a carrier.
func (i *Interface) Up() bool {
	const up = net.FlagUp | net.FlagRunning
	return i.Flags&up == up
}

// A Gateway is the next router of a default route.
type Gateway struct {
	// Addr is its address, without a zone; invalid if the route has no router.
	Addr netip.Addr
	// Link is its link-layer address in hexadecimal; empty if unknown, for
	// example because nothing was sent there yet.
	Link string
}

// A DefaultRoute is a default route.
type DefaultRoute struct {
	Index int // of the interface; 0 if there is no default route
	Gateway
}

// arrange ranks the interfaces, and sorts them and their addresses.
func (s *Snapshot) arrange() {
	for n := range s.Interfaces {
		i := &s.Interfaces[n]
		sortPrefixes(i.Prefixes)
		sortPrefixes(i.Temporary)
		switch {
		case i.Routed != [families]bool{} || s.inUse(i.Index) < families:
			i.Rank = HasDefaultRoute
		case i.Physical:
			i.Rank = IsPhysical
		default:
			i.Rank = IsOther
		}
	}
	sort.Slice(s.Interfaces, func(x, y int) bool { // slices.SortFunc would compile to much code for large structs
		a, b := &s.Interfaces[x], &s.Interfaces[y]
		return cmp.Or(cmp.Compare(a.Rank, b.Rank), s.inUse(a.Index)-s.inUse(b.Index), a.Index-b.Index) < 0
	})
}

// inUse returns the first family whose default route leads through an
// interface, or families if there is none.
func (s *Snapshot) inUse(index int) int {
	for f, r := range s.Default {
		if r.Index == index && index != 0 {
			return f
		}
	}
	return families
}

func sortPrefixes(list []netip.Prefix) {
	sort.Slice(list, func(x, y int) bool {
		a, b := list[x], list[y]
		return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits()) < 0
	})
}

// remember fills in link-layer addresses of routers that are no longer known,
// so that they can be compared once they are known again.
func (s *Snapshot) remember(before *Snapshot) {
	for f := range s.Default {
		if s.Default[f].Index == before.Default[f].Index {
			s.Default[f].remember(before.Default[f].Gateway)
		}
	}
	for n := range s.Interfaces {
		i := &s.Interfaces[n]
		if b := before.find(i.Index); b != nil {
			for f := range i.Gateways {
				i.Gateways[f].remember(b.Gateways[f])
			}
		}
	}
}

func (g *Gateway) remember(before Gateway) {
	if g.Link == "" && g.Addr == before.Addr {
		g.Link = before.Link
	}
}

// same reports whether two observations may be of the same router.
func (g *Gateway) same(o *Gateway) bool {
	return g.Addr == o.Addr && (g.Link == o.Link || g.Link == "" || o.Link == "")
}

func (s *Snapshot) find(index int) *Interface {
	for n := range s.Interfaces {
		if s.Interfaces[n].Index == index {
			return &s.Interfaces[n]
		}
	}
	return nil
}

// counts reports whether an interface is part of the fingerprint.
func (*Snapshot) counts(i *Interface, ignored map[string]int) bool {
	return i != nil && i.Up() && !i.Port && len(i.Prefixes) > 0 && ignored[i.Name] == 0
}

// compare returns what changed from before to s. It passes over the interfaces
// that are ignored.
func (s *Snapshot) compare(before *Snapshot, ignored map[string]int) (k Kind) {
	for n := range before.Interfaces {
		b := &before.Interfaces[n]
		if before.counts(b, ignored) && !s.counts(s.find(b.Index), ignored) {
			k |= Address
		}
	}
	for n := range s.Interfaces {
		i := &s.Interfaces[n]
		if !s.counts(i, ignored) {
			continue
		}
		if b := before.find(i.Index); before.counts(b, ignored) {
			k |= i.compare(b)
		} else {
			k |= Address
		}
	}
	for f := range s.Default {
		a, b := &s.Default[f], &before.Default[f]
		if a.Index != b.Index || !a.same(&b.Gateway) {
			k |= Route
		}
	}
	return k
}

// compare returns what changed from before to i.
func (i *Interface) compare(before *Interface) (k Kind) {
	if i.Name != before.Name || i.Ups != before.Ups || !slices.Equal(i.Prefixes, before.Prefixes) {
		k |= Address
	}
	for f := range i.Gateways {
		if i.Routed[f] != before.Routed[f] || !i.Gateways[f].same(&before.Gateways[f]) {
			k |= Route
		}
	}
	return k
}
