package gather_test

import (
	"context"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/quic"
)

// A stream carries bulk data in both directions at once.
func TestBulk(t *testing.T) {
	start := func() (*p2p.P2P, *quic.Listener) {
		l := quic.New(quic.Config{DialTimeout: time.Minute})
		node, err := p2p.Start(t.Context(), p2p.Config{App: "test", Hooks: []p2p.Hook{l}, Handler: p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
			_, err := io.Copy(s, s)
			return err
		})})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, node.Shutdown(context.Background())) })
		return node, l
	}
	_, la := start()
	b, lb := start()
	port, _ := lb.Port()
	s, err := la.Dial(t.Context(), b.Identity(), []p2p.Candidate{{Kind: p2p.Direct, Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}})
	require.NoError(t, err)
	defer s.Reset(p2p.ErrCanceled)
	const blocks, size = 256, 64 << 10
	written := make(chan error, 1)
	go func() {
		block := make([]byte, size)
		for i := range blocks {
			block[0] = byte(i)
			if _, err := s.Write(block); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	block := make([]byte, size)
	for i := range blocks {
		_, err := io.ReadFull(s, block)
		require.NoError(t, err)
		require.Equal(t, byte(i), block[0])
	}
	require.NoError(t, <-written)
}
