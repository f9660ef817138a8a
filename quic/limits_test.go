package quic

import (
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"
)

// A connection that is lost while its peer is told of does not count for ever.
func TestConnectionEndsWhileItsPeerIsTold(t *testing.T) {
	t.Parallel()
	l := newLimits(8, 8)
	for range 1000 {
		s, err := l.OpenConnection(network.DirInbound, false, nil)
		require.NoError(t, err)
		var end sync.WaitGroup
		end.Go(s.Done)
		s.SetPeer("peer")
		end.Wait()
		s.Done()
	}
	require.Zero(t, l.inbound.Load())
	require.Empty(t, l.peers)
}
