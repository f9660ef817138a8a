package quic_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/quic"
)

// Addrs returns the addresses to type in at another device: those of the
// families in use, which lead to the node. A host without a network has none.
func TestAddrs(t *testing.T) {
	t.Parallel()
	require.Empty(t, quic.New(quic.Config{}).Addrs(), "the listener does not run")
	a := start(t, p2p.Config{}, quic.Config{})
	addrs := a.listener.Addrs()
	require.LessOrEqual(t, len(addrs), 4)
	var entries []string
	for _, addr := range addrs {
		require.Equal(t, a.addr().Port(), addr.Port())
		require.False(t, addr.Addr().IsLoopback() || addr.Addr().IsLinkLocalUnicast() || addr.Addr().IsUnspecified(), addr)
		entries = append(entries, addr.String())
	}
	b := start(t, p2p.Config{}, quic.Config{ManualPeers: entries})
	until(t, b, func() bool {
		peer, ok := b.Peer(a.Identity())
		return len(addrs) == 0 || ok && len(peer.Info().Candidates) == len(addrs)
	})

	a.listener.SetIPv6(false)
	is6 := func(addr netip.AddrPort) bool { return addr.Addr().Is6() }
	require.Equal(t, slices.ContainsFunc(addrs, func(addr netip.AddrPort) bool { return !is6(addr) }), len(a.listener.Addrs()) > 0)
	require.False(t, slices.ContainsFunc(a.listener.Addrs(), is6))
	a.listener.SetIPv4(false)
	require.Empty(t, a.listener.Addrs())
}
