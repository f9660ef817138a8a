package server

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/circuit"
)

// An account pays for exactly the bytes that go-libp2p's relay has forwarded:
// in pieces of one byte, in large ones, and in both directions.
func TestBilling(t *testing.T) {
	t.Parallel()
	r := newRelay(t, nil)
	callee := r.callee(t, 1)
	total := int64(0)
	for _, c := range []struct{ there, back, piece int }{{0, 0, 1}, {1, 0, 1}, {0, 1, 1}, {3000, 2000, 1}, {70_000, 1, 1000}, {1, 9 << 20, 1 << 20}, {12 << 20, 5 << 20, 100_000}} {
		caller := r.member(t, 1)
		status, s, accepted := caller.call(callee)
		require.Equal(t, circuit.OK, status)
		carry(t, s, accepted, c.there, c.piece)
		carry(t, accepted, s, c.back, c.piece)
		closeBoth(s, accepted)
		total += int64(c.there + c.back)
		a := r.settle(t, 1)
		require.Equal(t, total, a.bytes.Load(), "%+v", c)
		require.Equal(t, total, r.metrics.relayed.Load(), "%+v", c)
		require.Equal(t, total, r.used(t, 1), "%+v", c)
	}
}

// The bytes of the relay's answer are not billed, however they are encoded,
// even if they arrive together with the first bytes of the circuit.
func TestHead(t *testing.T) {
	for _, size := range []int{1, 2, 127, 128, 129, 300, 4096} {
		message := circuit.Hop{Type: circuit.HopStatus, Status: circuit.OK}.Append(nil)
		if size > 1 {
			message = append([]byte{byte(size)}, make([]byte, size)...)
			if size > 127 {
				message = append([]byte{byte(size) | 0x80, byte(size >> 7)}, make([]byte, size)...)
			}
		}
		stream := append(message, "circuit"...)
		for _, step := range []int{1, 2, 3, 100, len(message), len(stream)} {
			var h head
			skipped := 0
			for at := 0; at < len(stream); at += step {
				piece := stream[at:min(at+step, len(stream))]
				n := h.skip(piece)
				require.LessOrEqual(t, n, len(piece))
				skipped += n
				require.Equal(t, skipped == len(message), h.done, "%d by %d at %d", size, step, at)
			}
			require.Equal(t, len(message), skipped, "%d by %d", size, step)
		}
	}
	var empty head
	require.Equal(t, 1, empty.skip([]byte{0, 1, 2}))
	require.True(t, empty.done)
	require.Zero(t, empty.skip([]byte{1}))
}
