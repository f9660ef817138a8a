package dnssd

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/sdp2p/p2p/internal/netmon"
)

// A Family is an address family. Multicast DNS runs over each of them
// separately.
type Family int

// The address families.
const (
	IPv4 Family = iota
	IPv6
	families = 2
)

// Port is the UDP port of Multicast DNS (RFC 6762 §3).
const Port = 5353

// Groups are the link-local multicast groups of Multicast DNS (RFC 6762 §3),
// indexed by [Family].
var Groups = [families]netip.AddrPort{
	IPv4: netip.AddrPortFrom(netip.AddrFrom4([4]byte{224, 0, 0, 251}), Port),
	IPv6: netip.AddrPortFrom(netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 0xfb}), Port),
}

// String returns "IPv4" or "IPv6".
func (f Family) String() string {
	if f == IPv6 {
		return "IPv6"
	}
	return "IPv4"
}

// familyOf returns the family of addr.
func familyOf(addr netip.Addr) Family {
	if addr.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// A Network provides what an [Engine] needs from the operating system. The zero
// [Config] uses real sockets; package dnssdtest provides an in-memory network.
type Network interface {
	// Interfaces lists the network interfaces that exist now, up or down.
	Interfaces() ([]Interface, error)

	// Open opens the one socket of a family. Every received packet is handed to
	// deliver, one at a time; deliver may block, and owns the packet
	// afterwards. failed is called at most once, when the socket can no longer
	// receive. Neither is called after Close of the Conn has returned.
	Open(f Family, deliver func(Packet), failed func(error)) (Conn, error)
}

// A Watcher is a [Network] that reports changes. With a Network that is not a
// Watcher, an engine reads the interfaces only when it asks for instances.
type Watcher interface {
	// Watch returns a channel that yields whenever the interfaces may have
	// changed, or the computer was asleep, until stop is called.
	Watch() (changes <-chan netmon.Changed, stop func())
}

// ErrNoMembership is returned by [Conn.Join] if the system allows no further
// membership in a group.
var ErrNoMembership = errors.New("no group membership is left")

// A Conn is a socket on port 5353 of one family. Its methods are called by one
// goroutine.
type Conn interface {
	// Join makes the socket receive the family's multicast group on an
	// interface. It fails with [ErrNoMembership] if the socket has as many
	// memberships as the system allows.
	Join(ifc Interface) error
	// Leave undoes Join. The interface may be gone.
	Leave(ifc Interface)
	// Send sends one packet on an interface, to the group or to one address,
	// with an IP TTL of 255; to an address that is in no network of the
	// interface with a TTL of 1. The sender hears its own multicast packets.
	Send(data []byte, ifc Interface, to netip.AddrPort) error
	// Close closes the socket and returns once its goroutines have ended.
	Close() error
}

// An Interface is the state of a network interface at one moment.
type Interface struct {
	Index        int
	Name         string
	MTU          int // bytes; 0 if unknown
	Up           bool
	Multicast    bool
	Loopback     bool
	PointToPoint bool
	// Addrs are the interface's own addresses, each with the length of its
	// prefix, without zones.
	Addrs []netip.Prefix
	// Temporary are further addresses, which the system replaces by itself (RFC
	// 8981), if it distinguishes them.
	Temporary []netip.Prefix
	// Gateway is the default router reached through the interface, if there is
	// one and the platform reports it.
	Gateway netip.Addr
	// GatewayLink is the router's link-layer address; empty if it is not known.
	GatewayLink string
	// Ups changes whenever the link comes up, if the platform reports it.
	Ups uint64
	// Port reports whether the interface belongs to a bridge or a bond, which
	// then receives everything that arrives.
	Port bool
	// Rank says which interfaces come first if not all can be used: those with
	// lower ranks.
	Rank int
}

// A Packet is a received datagram.
type Packet struct {
	Data  []byte
	Src   netip.AddrPort // link-local IPv6 with its zone
	Dst   netip.Addr     // invalid if the platform does not report it
	Index int            // of the receiving interface; 0 if the platform does not report it
}

// owns reports whether addr is one of the interface's own addresses.
func (i *Interface) owns(addr netip.Addr) bool {
	addr = addr.WithZone("")
	is := func(p netip.Prefix) bool { return p.Addr() == addr }
	return slices.ContainsFunc(i.Addrs, is) || slices.ContainsFunc(i.Temporary, is)
}

// onLink reports whether addr is in a prefix of the interface (RFC 6762 §11).
func (i *Interface) onLink(addr netip.Addr) bool {
	addr = addr.WithZone("")
	return slices.ContainsFunc(i.Addrs, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// has reports whether the interface has an address of the family.
func (i *Interface) has(f Family) bool {
	return slices.ContainsFunc(i.Addrs, func(p netip.Prefix) bool { return familyOf(p.Addr()) == f })
}

// equal reports whether nothing that is announced differs between two states of
// an interface. The order of its addresses does not count.
func (i *Interface) equal(o *Interface) bool {
	return i.Index == o.Index && i.Name == o.Name && i.MTU == o.MTU && sameSet(i.Addrs, o.Addrs) && sameSet(i.Temporary, o.Temporary)
}

func sameSet(a, b []netip.Prefix) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(p netip.Prefix) bool { return !slices.Contains(b, p) })
}

// samePlace reports whether an interface whose state was i, and now is o, may
// be attached to the same network, because they have a prefix in common. IPv6
// prefixes come and go on one network, so they decide only if there is no IPv4.
func (i *Interface) samePlace(o *Interface) bool {
	if i.Index != o.Index || i.Name != o.Name {
		return false
	}
	for _, f := range []Family{IPv4, IPv6} {
		before := i.prefixes(f)
		if len(before) == 0 {
			continue
		}
		after := o.prefixes(f)
		return slices.ContainsFunc(before, func(p netip.Prefix) bool { return slices.Contains(after, p) })
	}
	return true
}

// otherRouter reports whether the router is known to be another one.
func (i *Interface) otherRouter(o *Interface) bool {
	if !i.Gateway.IsValid() || !o.Gateway.IsValid() || familyOf(i.Gateway) != familyOf(o.Gateway) {
		return false
	}
	return i.Gateway != o.Gateway || i.GatewayLink != "" && o.GatewayLink != "" && i.GatewayLink != o.GatewayLink
}

// sameRouter reports whether o proves, by its router's link-layer address, that
// it is attached to the network of i.
func (i *Interface) sameRouter(o *Interface) bool {
	return o.GatewayLink != "" && i.Gateway == o.Gateway && i.GatewayLink == o.GatewayLink
}

// inherit takes over the router from an earlier state of the interface in the
// same network, if it is unknown now.
func (i *Interface) inherit(before *Interface) {
	switch {
	case !i.Gateway.IsValid(), i.Gateway.Is6() && before.Gateway.Is4():
		i.Gateway, i.GatewayLink = before.Gateway, before.GatewayLink
	case i.Gateway == before.Gateway && i.GatewayLink == "":
		i.GatewayLink = before.GatewayLink
	}
}

// prefixes returns the interface's prefixes of a family, without those of IPv6
// link-local addresses, which mean nothing.
func (i *Interface) prefixes(f Family) []netip.Prefix {
	var ps []netip.Prefix
	for _, p := range i.Addrs {
		if familyOf(p.Addr()) == f && (f == IPv4 || !p.Addr().IsLinkLocalUnicast()) {
			ps = append(ps, p.Masked())
		}
	}
	return ps
}

// payload returns the largest UDP payload that leaves the interface
// unfragmented, within the limit of RFC 6762 §17.
func (i *Interface) payload(f Family) int {
	mtu := i.MTU
	if mtu <= 0 {
		mtu = 1500
	}
	header := 20 + 8
	if f == IPv6 {
		header = 40 + 8
	}
	return max(512, min(mtu, maxPacket)-header)
}
