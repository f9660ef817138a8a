package session

import (
	"testing"

	"github.com/libp2p/go-yamux/v5"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/tunnel"
)

// RawMux begins a session in a tunnel, without a Conn.
func RawMux(t testing.TB, c *tunnel.Conn) *yamux.Session {
	m, err := yamux.Client(c, config(), newMemory())
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

// RawStream opens a stream in a tunnel, and writes nothing to it.
func RawStream(t testing.TB, c *tunnel.Conn) *yamux.Stream {
	s, err := RawMux(t, c).OpenStream(t.Context())
	require.NoError(t, err)
	return s
}
