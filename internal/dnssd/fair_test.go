package dnssd

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Of the addresses of up to four targets, each target keeps four, or all that
// it has, and those at which the instance has answered stay; there are sixteen
// at most. The order does not depend on that of the records.
func TestSelectWays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var targets []targetWays
		for i := range rapid.IntRange(1, 4).Draw(t, "targets") {
			tw := targetWays{target: Target{Host: string(rune('a' + i)), Priority: rapid.Uint16Range(0, 1).Draw(t, "priority")}}
			for j := range rapid.IntRange(0, 32).Draw(t, "ways") {
				tw.ways = append(tw.ways, way{
					addr:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), byte(j)}), 1),
					kind:   wayKind(rapid.IntRange(0, 2).Draw(t, "kind")),
					src:    netip.AddrFrom4([4]byte{10, 0, 1, byte(rapid.IntRange(0, 3).Draw(t, "source"))}),
					proved: j == 17,
				})
			}
			targets = append(targets, tw)
		}
		shuffled := slices.Clone(rapid.Permutation(targets).Draw(t, "order"))
		for i := range shuffled {
			shuffled[i].ways = slices.Clone(rapid.Permutation(shuffled[i].ways).Draw(t, "order of ways"))
		}
		some := selectWays(slices.Clone(targets))
		require.Equal(t, some, selectWays(shuffled))
		require.LessOrEqual(t, len(some), maxAddrs)
		total := 0
		for _, tw := range targets {
			total += len(tw.ways)
			kept := 0
			for _, w := range tw.ways {
				if slices.Contains(some, w) {
					kept++
				} else {
					require.False(t, w.proved)
				}
			}
			if !slices.ContainsFunc(some, func(w way) bool { return w.proved }) {
				require.GreaterOrEqual(t, kept, min(4, len(tw.ways)))
			}
		}
		require.Len(t, some, min(total, maxAddrs))
	})
}

// Within a target, sources take turns, and addresses on the link come before
// others.
func TestInTurn(t *testing.T) {
	src := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, n}) }
	w := func(n byte, kind wayKind, from byte) way {
		return way{addr: netip.AddrPortFrom(src(n), 1), kind: kind, src: src(from)}
	}
	require.Equal(t,
		[]way{w(1, onLink, 9), w(8, onLink, 3), w(2, onLink, 9), w(7, linkLocal, 3), w(3, onLink, 9), w(4, offLink, 9)},
		inTurn([]way{w(4, offLink, 9), w(3, onLink, 9), w(7, linkLocal, 3), w(1, onLink, 9), w(2, onLink, 9), w(8, onLink, 3)}))
}
