package quic_test

import (
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/quic"
)

// between connects two nodes on loopback, and returns the peer to open streams
// to.
func between(b *testing.B, handler p2p.HandlerFunc) *p2p.Peer {
	var mux p2p.Mux
	mux.Handle("bench", p2p.Anyone, handler)
	here, there := start(b, p2p.Config{}, quic.Config{}), start(b, p2p.Config{Handler: &mux}, quic.Config{})
	return here.knows(b, there)
}

// BenchmarkExchange opens a stream on an existing connection, and exchanges a
// byte.
func BenchmarkExchange(b *testing.B) {
	peer := between(b, func(_ context.Context, s *p2p.Stream) error {
		_, err := io.Copy(s, s)
		return err
	})
	buffer := make([]byte, 1)
	b.ReportAllocs()
	for b.Loop() {
		s, err := peer.Open(b.Context(), "bench")
		require.NoError(b, err)
		_, err = s.Write(buffer)
		require.NoError(b, err)
		_, err = io.ReadFull(s, buffer)
		require.NoError(b, err)
		require.NoError(b, s.Close())
	}
}

// BenchmarkBulk sends a mebibyte on an open stream.
func BenchmarkBulk(b *testing.B) {
	peer := between(b, func(_ context.Context, s *p2p.Stream) error {
		_, err := io.Copy(io.Discard, s)
		return err
	})
	s, err := peer.Open(b.Context(), "bench")
	require.NoError(b, err)
	mebibyte := make([]byte, 1<<20)
	b.SetBytes(1 << 20)
	for b.Loop() {
		_, err := s.Write(mebibyte)
		require.NoError(b, err)
	}
	s.Reset(p2p.ErrCanceled)
}
