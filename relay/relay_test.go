package relay

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

// Two nodes that know each other, but no address, reach each other through a
// relay of go-libp2p.
func TestRelay(t *testing.T) {
	relay := startStock(t)
	a, b := start(t, Config{Only: true}, relay.Server), start(t, Config{Only: true}, relay.Server)
	peer, back := know(t, a, b)
	b.ready(t, 1)
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	echo(t, s, 1<<20)
	path := peer.Path()
	require.Equal(t, p2p.Relay, path.Kind)
	require.Equal(t, relay.Identity, path.Relay)
	require.Equal(t, relay.Addrs[0], path.Remote)
	require.Equal(t, p2p.Relay, back.Path().Kind)
	require.Equal(t, relay.Identity, back.Path().Relay)
	require.Equal(t, path.Kind, s.Path().Kind)
	require.NoError(t, s.Close())
}

// A connection through a relay becomes direct as soon as an address answers,
// and its streams go on; both nodes report it.
func TestDirectViaRelay(t *testing.T) {
	relay := startStock(t)
	a, b := start(t, Config{private: true}, relay.Server), start(t, Config{private: true}, relay.Server)
	events := b.Subscribe()
	defer events.Close()
	peer, back := know(t, a, b)
	b.ready(t, 1)
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	defer s.Close()
	for direct := false; !direct; direct = peer.Path().Kind == p2p.Direct && back.Path().Kind == p2p.Direct {
		echo(t, s, 100<<10)
		require.NoError(t, t.Context().Err())
	}
	echo(t, s, 1<<20)
	require.Len(t, peer.Info().Connections, 1)
	require.Zero(t, peer.Path().Relay)
	for e := range events.C {
		if e, ok := e.(p2p.PeerPathChanged); ok {
			require.Equal(t, []p2p.CandidateKind{p2p.Relay, p2p.Direct}, []p2p.CandidateKind{e.From.Kind, e.To.Kind})
			break
		}
	}
}

// When the relay of a connection dies, the connection goes on through another
// one.
func TestRelayDies(t *testing.T) {
	first, second := startStock(t), startStock(t)
	a, b := start(t, Config{Only: true}, first.Server, second.Server), start(t, Config{Only: true}, first.Server, second.Server)
	peer, _ := know(t, a, b)
	b.ready(t, 2)
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	defer s.Close()
	echo(t, s, 1<<20)
	used, other := first, second
	if peer.Path().Relay == second.Identity {
		used, other = second, first
	}
	used.close()
	echo(t, s, 1<<20)
	require.Equal(t, other.Identity, peer.Path().Relay)
}

// A peer that is found both on the local network and at a relay is one peer,
// with one connection: streams that began through the relay go on directly once
// an address is known, and later ones do not use the relay.
func TestNoDoubleUpOfLANAndRelay(t *testing.T) {
	relay := startStock(t)
	a, b := start(t, Config{}, relay.Server), start(t, Config{Only: true}, relay.Server) // b does not look for a path
	peer, back := know(t, a, b)
	b.ready(t, 1)
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	defer s.Close()
	echo(t, s, 1000)
	require.Equal(t, p2p.Relay, peer.Path().Kind)
	port, _ := b.listener.Port()
	near := p2p.Candidate{Kind: p2p.Direct, Addr: netip.AddrPortFrom(relay.Addrs[0].Addr(), port)}
	require.NoError(t, a.scope.Discovered(b.Identity(), nil, []p2p.Candidate{near}))
	one := func() {
		t.Helper()
		require.Len(t, peer.Info().Connections, 1)
		require.Equal(t, []*p2p.Peer{peer}, a.Tracked())
		require.Equal(t, []*p2p.Peer{peer}, a.Peers())
		known, ok := a.Peer(b.Identity())
		require.True(t, ok)
		require.Same(t, peer, known)
	}
	for ctx := within(t); peer.Path().Kind != p2p.Direct; {
		one()
		echo(t, s, 1000)
		require.NoError(t, ctx.Err())
	}
	again, err := peer.NewStream(within(t))
	require.NoError(t, err)
	echo(t, again, 1000)
	require.NoError(t, again.Close())
	one()
	// b has also seen the handshake by which a found it, and its end.
	require.Eventually(t, func() bool { return len(back.Info().Connections) == 1 }, patience, time.Millisecond)
	kinds := map[p2p.CandidateKind]int{}
	for _, c := range peer.Info().Candidates {
		kinds[c.Kind]++
	}
	require.Equal(t, map[p2p.CandidateKind]int{p2p.Direct: 1, p2p.Relay: 1}, kinds)
	echo(t, s, 1<<20)
}
