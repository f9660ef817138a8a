package quic_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/quic"
)

// The node's state shows the figures that QUIC measures for a connection, its
// streams, and how it ended.
func TestFigures(t *testing.T) {
	t.Parallel()
	a, b := start(t, p2p.Config{}, quic.Config{}), start(t, p2p.Config{Handler: &p2p.Mux{}}, quic.Config{})
	peer := a.knows(t, b)
	s, err := peer.Open(within(t), "echo")
	require.NoError(t, err)
	var conn p2p.ConnState
	require.Eventually(t, func() bool {
		state := a.State()
		conn = p2p.ConnState{}
		if len(state.Peers) == 1 && len(state.Peers[0].Connections) == 1 {
			conn = state.Peers[0].Connections[0]
		}
		return conn.RTT > 0 && conn.PacketsReceived > 0
	}, patience, 10e6)
	require.Equal(t, "quic", conn.Listener)
	require.Equal(t, b.addr(), conn.Path.Remote)
	require.True(t, conn.Path.Dialed)
	require.Positive(t, conn.Sent)
	require.Positive(t, conn.Received)
	require.Positive(t, conn.PacketsSent)
	require.Positive(t, conn.Window)
	require.False(t, conn.Opened.IsZero())
	require.Equal(t, []p2p.OpenStreams{{Route: "echo", Number: 1}}, conn.Streams)
	require.True(t, a.State().Peers[0].Candidates[0].Connected)
	s.Reset(p2p.ErrCanceled)

	require.NoError(t, b.Shutdown(t.Context()))
	until(t, a, func() bool { return !peer.Connected() })
	state := a.State()
	require.Equal(t, map[string]uint64{"shutting down": 1}, state.Counters.Causes["connections_ended"])
	require.GreaterOrEqual(t, state.Counters.Bytes["direct"].Sent, conn.Sent)
}
