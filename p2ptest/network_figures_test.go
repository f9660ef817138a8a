package p2ptest_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/p2ptest"
)

// Connections of the network count bytes, and record why they have ended.
func TestFigures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		a, b, ab := pair(t, network)
		for range 2 {
			require.NoError(t, exchange(open(t, ab)))
		}
		require.Equal(t, p2p.Bytes{Sent: 2, Received: 2}, a.State().Peers[0].Connections[0].Bytes)
		link := network.Link(a.Identity(), b.Identity())
		link.Cut()
		synctest.Wait()
		link.Restore()
		ab = peerOf(t, a, b)
		require.NoError(t, exchange(open(t, ab)))
		require.NoError(t, b.Shutdown(context.Background()))
		synctest.Wait()
		require.Equal(t, map[string]uint64{"silent": 1, "shutting down": 1}, a.State().Counters.Causes["connections_ended"])
		require.Equal(t, map[string]p2p.Bytes{"direct": {Sent: 3, Received: 3}}, a.State().Counters.Bytes)
	})
}
