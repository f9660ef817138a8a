package quic

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"

	"github.com/sdp2p/p2p/internal/carrier"
)

// A peer's answers to a dial of this node are let through, however many
// handshakes its address has begun.
func TestAnswerOutOfPace(t *testing.T) {
	t.Parallel()
	ours, _ := dialed(t, Config{}, Config{})
	h, there := ours.endpoint.handshakes, ours.path.Remote
	h.mu.Lock()
	h.limits.HandshakesPerSecond = 0 // every address is out of pace from now on
	h.familiar = func(netip.Addr) (familiar, neighbor, own bool) { return false, false, false }
	h.pass(there.Addr())
	h.mu.Unlock()
	require.True(t, h.outOfPace(there.Addr()))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := ours.endpoint.dial(ctx, there, ours.id)
	require.NoError(t, err)
	c.Close()
	require.True(t, h.outOfPace(there.Addr()))
}

// From an address that is out of pace, packets that begin handshakes do not
// reach quic-go; all others do.
func TestDoorman(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("this system reads packets one by one")
	}
	udp, err := bind(0)
	require.NoError(t, err)
	socket := carrier.New(udp, carrier.Config{})
	defer socket.Close()
	out := map[netip.Addr]bool{}
	d := &doorman{socket, func(ip netip.Addr) bool { return out[ip] }}
	from, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(localPort(socket))})
	require.NoError(t, err)
	defer from.Close()
	messages := make([]ipv4.Message, 8)
	for i := range messages {
		messages[i].Buffers = [][]byte{make([]byte, 64)}
	}
	shown := func(packet []byte) bool {
		_, err := from.Write(packet)
		require.NoError(t, err)
		n, err := d.ReadBatch(messages, 0)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		return messages[0].N == len(packet)
	}
	initial := []byte{0xC3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8}
	others := [][]byte{
		{0xE3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8}, // a Handshake packet
		{0xC3, 0, 0, 0, 2, 8, 1, 2, 3, 4, 5, 6, 7, 8}, // a packet of another version
		{0x43, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8}, // a packet of a connection
		{0xC3, 0, 0, 0},
	}
	require.True(t, shown(initial))
	out[netip.MustParseAddr("127.0.0.1")] = true
	require.False(t, shown(initial))
	for _, packet := range others {
		require.True(t, shown(packet), "%x", packet)
	}
}
