package main

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The doctor says whether the port of a peer's lanes can be reached. The port
// that the peer tells over its connection outranks the announced one.
func TestLanes(t *testing.T) {
	lanes, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer lanes.Close()
	open := lanes.Addr().(*net.TCPAddr).AddrPort()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := gone.Addr().(*net.TCPAddr).AddrPort()
	gone.Close()

	d := &doctor{wait: 5 * time.Second}
	w := &wayFacts{addr: netip.AddrPortFrom(open.Addr(), 7373)}
	require.Zero(t, d.tryLane(t.Context(), w, 0))

	w.lane = d.tryLane(t.Context(), w, open.Port())
	c := w.laneCheck()
	require.Equal(t, fine, c.Verdict)
	require.Equal(t, open.String()+", lanes", c.Subject)
	require.Contains(t, c.Value, "TCP answers")

	w.there.lane = closed.Port()
	w.lane = d.tryLane(t.Context(), w, open.Port())
	c = w.laneCheck()
	require.Equal(t, warn, c.Verdict)
	require.Equal(t, codeLaneClosed, c.Code)
	require.Contains(t, c.Advice, "firewall")

	w.lane = laneFacts{port: 1, err: errNoAnswer}
	require.Equal(t, codeLaneSilent, w.laneCheck().Code)

	f := &facts{peer: &peerFacts{target: target{addr: open.Addr()}, ways: []wayFacts{*w}}}
	require.Len(t, f.peerChecks(), 2)
}
