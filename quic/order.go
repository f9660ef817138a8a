package quic

import (
	"slices"

	"github.com/sdp2p/p2p"
)

// order puts candidates in the order in which they are tried. Manual ones stay
// in theirs: a ticket has the likeliest address first, which may be a public
// one, with private ones behind that mean something else on other hosts.
func order(via []p2p.Candidate) {
	turn := func(c p2p.Candidate) int {
		if c.Kind == p2p.Manual {
			return 0
		}
		return distance(c.Addr.Addr())
	}
	slices.SortStableFunc(via, func(a, b p2p.Candidate) int { return turn(a) - turn(b) })
}
