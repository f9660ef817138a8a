package carrier

import (
	"net/netip"
	"testing"

	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"
)

// A connection goes on over a Way when no packets arrive any more at the
// address that it dialed, and over the same Way several times.
func TestWay(t *testing.T) {
	t.Parallel()
	callee := New(listenUDP(t), Config{})
	defer callee.Close()
	serveEcho(t, transport(t, callee))
	first := forward(t, at(callee))
	s := New(listenUDP(t), Config{})
	defer s.Close()
	k := dial(t, transport(t, s), at(first))
	ways := []*Way{s.Way(at(first)), s.Way(at(first))}
	over := []*quicgo.Transport{transport(t, ways[0]), transport(t, ways[1])}
	now := first
	for i := range 8 {
		next := forward(t, at(callee))
		ways[i%2].Turn(at(next))
		k.move(over[i%2])
		require.NoError(t, now.Close())
		before := next.packets.Load()
		k.echo()
		require.Greater(t, next.packets.Load(), before)
		now = next
	}
}

// A Way also leads to an address of the other family: to IPv6, and back.
func TestWayOfOtherFamily(t *testing.T) {
	t.Parallel()
	callee, s := New(listenUDP(t), Config{}), New(listenUDP(t), Config{})
	defer callee.Close()
	defer s.Close()
	at6 := netip.AddrPortFrom(netip.IPv6Loopback(), at(callee).Port())
	if _, err := Route(at6); err != nil {
		t.Skip("this host has no IPv6:", err)
	}
	serveEcho(t, transport(t, callee))
	for _, way := range [][2]netip.AddrPort{{at(callee), at6}, {at6, at(callee)}} {
		tr := transport(t, s)
		k := dial(t, tr, way[0])
		w := s.Way(way[1])
		k.move(transport(t, w))
		for range 20 {
			k.echo()
		}
		require.NoError(t, k.conn.CloseWithError(0, ""))
		require.NoError(t, tr.Close())
	}
}
