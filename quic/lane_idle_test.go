package quic

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

// In the long run, sixty-four idle circuits, each with a connection, hold at
// most 8 MiB at each end. Both ends are in this process.
func TestIdleCircuitsHoldLittle(t *testing.T) {
	const circuits, ends, most = 64, 2, 8 << 20
	n := newAwayNodes(t, false)
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	dial := func() {
		key := identity.New()
		n.lb.running().scope.Track(key.Remote())
		// A lane of the node's own would end after a while, since the node does
		// not know the connection.
		link := n.la.running().socket.Link(groupOf(n.identity))
		link.Carry(n.circuitOf(t, key))
		require.NoError(t, n.dialOver(t, key, link.Addr()))
	}
	dial()
	before := heap()
	for range circuits {
		dial()
	}
	require.Eventually(t, func() bool { return len(n.lb.running().all()) == 1+circuits }, time.Minute, time.Millisecond)
	held := func() int64 { return (heap() - before) / ends }
	// The memory of the handshakes is freed when their timers have ended.
	require.Eventually(t, func() bool { return held() <= most }, time.Minute, 100*time.Millisecond)
	require.Len(t, n.lb.running().all(), 1+circuits)
	t.Logf("%d KiB at an end for %d circuits, %d each", held()>>10, circuits, held()/circuits>>10)
}
