package quic

import (
	"net/netip"
	"slices"
	"sort"

	"github.com/sdp2p/p2p"
)

const relayTurn = 2 // of the first relay, where there are more addresses than that

// order sorts candidates into the order in which they are tried: first the
// address at which the peer answered last, according to worked. Manual ones
// keep their order: a ticket has the likeliest address first, which may be a
// public one, followed by private ones that mean something else on other hosts.
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
	// Of slices.SortStableFunc, a program would have 7 KB for candidates alone.
	sort.SliceStable(via, func(i, j int) bool { return turn(via[i]) < turn(via[j]) })
	// A relay takes two more round trips than an address that works, so two
	// addresses may come before it.
	if i := slices.IndexFunc(via, func(c p2p.Candidate) bool { return c.Kind == p2p.Relay }); i > relayTurn {
		first := via[i]
		copy(via[relayTurn+1:i+1], via[relayTurn:i])
		via[relayTurn] = first
	}
}
