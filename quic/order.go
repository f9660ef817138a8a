package quic

import (
	"net/netip"
	"slices"

	"github.com/sdp2p/p2p"
)

const relayTurn = 2 // of the first relay, where there are more addresses than that

// order puts candidates in the order in which they are tried: first the address at
// which the peer has answered last, as worked tells. Manual ones stay in theirs: a ticket has the likeliest address first, which may be a public
// one, with private ones behind that mean something else on other hosts.
func order(via []p2p.Candidate, worked func(netip.AddrPort) bool) {
	turn := func(c p2p.Candidate) int {
		switch {
		case c.Kind == p2p.Relay:
			return 3
		case worked(c.Addr):
			return -1
		case c.Kind == p2p.Manual:
			return 0
		}
		return distance(c.Addr.Addr())
	}
	slices.SortStableFunc(via, func(a, b p2p.Candidate) int { return turn(a) - turn(b) })
	// A relay takes two round trips more than an address that works, and so long do
	// two addresses have for themselves.
	if i := slices.IndexFunc(via, func(c p2p.Candidate) bool { return c.Kind == p2p.Relay }); i > relayTurn {
		first := via[i]
		copy(via[relayTurn+1:i+1], via[relayTurn:i])
		via[relayTurn] = first
	}
}
