package quic

import (
	"net/netip"
	"time"

	"github.com/sdp2p/p2p/internal/carrier"
)

// Limits bound what peers can take of a node, strangers most of all. A stranger
// is a peer that no hook tracks ([p2p.Scope.Track]), that is not behind a
// manual entry, and that this node did not dial: everybody is one until a
// handshake is over. The zero value of each field stands for its default; if it
// is negative, there is no limit. The package documentation has them in one
// table.
//
// An address is one of IPv4, the /64 of one of IPv6, or a relay; a network is its
// /24 or /48, or all relays.
type Limits struct {
	// Handshakes of peers in progress. The first one of an address that has
	// proved nothing takes one of Unproved places; the next ones, and all
	// when these places are taken, are asked for a proof of their address
	// first (RFC 9000 §8.1.2). Known are further places, for addresses of
	// tracked and manual peers and for those of the networks that this host
	// is in.
	Unproved, HandshakesPerAddr, HandshakesPerNet, Handshakes, Known int

	// HandshakesPerSecond limits how often an address may begin one, after
	// twice as many at once; a network may twice that, but not one that this host is in. Addresses of this
	// host and of tracked and manual peers may always.
	HandshakesPerSecond int

	// Connections that peers dial. A tracked peer is admitted always: if
	// need be, its own oldest idle one goes, or the stranger that was idle
	// longest.
	Connections, ConnectionsPerPeer              int
	Strangers, StrangersPerAddr, StrangersPerNet int

	// StrangerIdle closes a stranger's connection without a stream that is
	// served.
	StrangerIdle time.Duration

	// Opening limits the streams of one stranger, and OpeningInAll those of
	// all, that are open and have not yet said what they are for. Others
	// wait.
	Opening, OpeningInAll int

	// Memory bounds the bytes that peers may send before the app reads
	// them, and StrangerMemory those of strangers, at what they cost at
	// worst. Beyond it, receive windows do not grow.
	Memory, StrangerMemory int

	// MetadataPerSecond limits how often a peer's metadata changes, after
	// Metadata changes at once. What it says last counts.
	Metadata, MetadataPerSecond int
}

// withDefaults returns the limits that count.
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

// places returns how many places a limit means.
func places(limit int) int {
	if limit < 0 {
		return 1 << 16
	}
	return limit
}

// full reports whether n of something are as many as a limit allows.
func full(n, limit int) bool { return limit >= 0 && n >= limit }

// addrOf returns what counts as one address: an attacker with IPv6 has a /64.
func addrOf(ip netip.Addr) netip.Addr {
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return ip
	}
	if carrier.IsVirtual(ip) { // so is a relay
		return prefix(ip, carrier.GroupBits).Addr()
	}
	return prefix(ip, 64).Addr()
}

// netOf returns what counts as one network.
func netOf(ip netip.Addr) netip.Prefix {
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return prefix(ip, 24)
	}
	return prefix(ip, 48) // all relays are in one
}

func prefix(ip netip.Addr, bits int) netip.Prefix {
	p, _ := ip.Prefix(bits) // the bits are not too many
	return p
}
