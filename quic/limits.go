package quic

import (
	"net/netip"
	"time"

	"github.com/sdp2p/p2p/internal/carrier"
)

// Limits bounds the resources that peers can take, above all strangers. A
// stranger is a peer that is not tracked ([p2p.P2P.Track]), that is not behind
// a manual entry, and that this node did not dial; until a handshake is over,
// everybody is a stranger. For each field, zero means the default, which the
// package documentation lists, and a negative value means no limit.
//
// An address is an IPv4 address, an IPv6 /64, or a relay; a network is an IPv4
// /24, an IPv6 /48, or all relays together.
type Limits struct {
	// Handshakes of peers in progress. The first handshake of an unproved
	// address takes one of Unproved places; further ones, and all handshakes
	// while these places are taken, require a proof of their address first (RFC
	// 9000 §8.1.2). Known is the number of further places, for addresses of
	// tracked and manual peers and for those in the networks of this host.
	Unproved, HandshakesPerAddr, HandshakesPerNet, Handshakes, Known int

	// HandshakesPerSecond limits how often an address may begin a handshake,
	// after twice as many at once; for a network, the limit is twice that.
	// Networks of this host, addresses of this host, and those of tracked and
	// manual peers are not limited.
	HandshakesPerSecond int

	// Connections that peers dial. A tracked peer is always admitted: if
	// necessary, its own oldest idle connection is closed, or that of the
	// stranger that was idle longest.
	Connections, ConnectionsPerPeer              int
	Strangers, StrangersPerAddr, StrangersPerNet int

	// StrangerIdle is the time after which a stranger's connection without a
	// served stream is closed.
	StrangerIdle time.Duration

	// Opening limits the open streams of one stranger that have not named their
	// protocol yet, and OpeningInAll those of all strangers. Further streams
	// wait.
	Opening, OpeningInAll int

	// Memory limits the bytes that peers may send before the app reads them,
	// and StrangerMemory those of strangers, counted at their worst cost.
	// Beyond it, receive windows do not grow.
	Memory, StrangerMemory int

	// MetadataPerSecond limits how often a peer's metadata changes, after
	// Metadata changes at once. The latest metadata counts.
	Metadata, MetadataPerSecond int
}

// withDefaults returns the limits with defaults in place of zeros.
func (l Limits) withDefaults() Limits {
	for field, value := range map[*int]int{
		&l.Unproved: 16, &l.HandshakesPerAddr: 8, &l.HandshakesPerNet: 16, &l.Handshakes: 64, &l.Known: 32,
		&l.HandshakesPerSecond: 32,
		&l.Connections:         512, &l.ConnectionsPerPeer: 8,
		&l.Strangers: 256, &l.StrangersPerAddr: 32, &l.StrangersPerNet: 64,
		&l.Opening: 16, &l.OpeningInAll: 512,
		&l.Memory: 64 << 20, &l.StrangerMemory: 16 << 20,
		&l.Metadata: 16, &l.MetadataPerSecond: 4,
	} {
		if *field == 0 {
			*field = value
		}
	}
	l.HandshakesPerSecond = min(l.HandshakesPerSecond, 1<<24) // several times that is an int, too
	if l.StrangerIdle == 0 {
		l.StrangerIdle = 10 * time.Second
	}
	return l
}

// places returns the number of places that a limit stands for.
func places(limit int) int {
	if limit < 0 {
		return 1 << 16
	}
	return limit
}

// full reports whether n has reached a limit.
func full(n, limit int) bool { return limit >= 0 && n >= limit }

// addrOf returns the prefix that counts as one address: an attacker with IPv6
// has a /64.
func addrOf(ip netip.Addr) netip.Addr {
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return ip
	}
	if carrier.IsVirtual(ip) { // a relay counts as one address
		return prefix(ip, carrier.GroupBits).Addr()
	}
	return prefix(ip, 64).Addr()
}

// netOf returns the prefix that counts as one network.
func netOf(ip netip.Addr) netip.Prefix {
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return prefix(ip, 24)
	}
	return prefix(ip, 48) // all relays are in one
}

func prefix(ip netip.Addr, bits int) netip.Prefix {
	p, _ := ip.Prefix(bits) // bits is in range
	return p
}
