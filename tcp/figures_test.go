package tcp_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

// The lanes to a peer appear as a connection, which counts its bytes and
// records why it has ended: its streams were over, it was closed, or the peer
// has gone.
func TestFigures(t *testing.T) {
	m := newMeeting()
	a, b := newDevice(t, p2p.Config{}, m), newDevice(t, p2p.Config{}, m)
	ab := a.sees(t, b.Identity())
	connect(t, a, b)
	lanes := func() (stats p2p.ConnState) {
		for _, c := range a.State().Peers[0].Connections {
			if c.Listener == "tcp" {
				return c
			}
		}
		return stats
	}
	ended := func(why string, times uint64) {
		t.Helper()
		until(t, a.P2P, func() bool { return a.State().Counters.Causes["connections_ended"][why] == times })
	}
	s, lane := open(t, p2p.Bulk(t.Context()), ab)
	require.True(t, lane)
	conn := lanes()
	require.Greater(t, conn.Sent, uint64(100), "more than nothing: a handshake, and data")
	require.Greater(t, conn.Received, uint64(100))
	require.Empty(t, conn.End)
	require.NoError(t, s.Close())
	ended("idle", 1)

	_, lane = open(t, p2p.Bulk(t.Context()), ab)
	require.True(t, lane)
	b.udp.SetIPv4(false) // this closes the lanes
	b.udp.SetIPv6(false)
	until(t, a.P2P, func() bool { return lanes().Listener == "" })
	causes := a.State().Counters.Causes["connections_ended"]
	require.Zero(t, causes["unknown"], causes)
	require.Positive(t, causes["closed"]+causes["broken"], causes)
	require.Greater(t, a.State().Counters.Bytes["manual"].Sent+a.State().Counters.Bytes["direct"].Sent, conn.Sent)
}
