package session

import (
	"testing"

	"github.com/libp2p/go-yamux/v5"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/tunnel"
)

// RawStream opens a stream in a tunnel, and says nothing.
func RawStream(t testing.TB, c *tunnel.Conn) *yamux.Stream {
	m, err := yamux.Client(c, config(), newMemory())
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	s, err := m.OpenStream(t.Context())
	require.NoError(t, err)
	return s
}
