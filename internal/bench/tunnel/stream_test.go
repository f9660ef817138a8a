package tunnel

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/tunnel"
)

func TestStreams(t *testing.T) {
	s, err := newStreams(t.Context())
	require.NoError(t, err)
	defer s.close()
	require.IsType(t, &p2p.Stream{}, s.bare.conn)
	require.IsType(t, &ciphered{}, s.cipher.conn)
	require.IsType(t, &tunnel.Conn{}, s.tunnel.conn)
	ctx, cancel := context.WithCancel(t.Context())
	for _, k := range []*sink{s.bare, s.cipher, s.tunnel} {
		for range 2 {
			took, err := k.contender(t.Context(), "").Run(3)
			require.NoError(t, err)
			require.Positive(t, took)
		}
	}
	cancel()
	for _, k := range []*sink{s.bare, s.cipher, s.tunnel} {
		_, err := k.contender(ctx, "").Run(1 << 20)
		require.Error(t, err)
	}
}
