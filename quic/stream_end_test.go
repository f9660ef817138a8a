package quic_test

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/quic"
)

// A write deadline that passes before anything was written does no harm.
func TestDeadlineBeforeTheFirstByte(t *testing.T) {
	t.Parallel()
	a := start(t, p2p.Config{}, quic.Config{})
	b := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	peer := a.knows(t, b)
	open := func() *p2p.Stream {
		s, err := peer.NewStream(within(t))
		require.NoError(t, err)
		return s
	}
	exchange(t, open(), "one") // from now on, b is known to speak version 2

	s := open()
	require.NoError(t, s.SetWriteDeadline(time.Unix(1, 0)))
	_, err := s.Write([]byte("a"))
	require.Error(t, err)
	require.NoError(t, s.SetWriteDeadline(time.Time{}))
	exchange(t, s, "two")

	s = open()
	require.NoError(t, s.SetWriteDeadline(time.Unix(1, 0)))
	require.NoError(t, s.CloseWrite())
	rest, err := io.ReadAll(s)
	require.NoError(t, err)
	require.Empty(t, rest)
	require.NoError(t, s.Close())

	s = open()
	require.NoError(t, s.SetWriteDeadline(time.Unix(1, 0)))
	require.NoError(t, s.Close())
}

// A node's last message on a stream is not lost if the node shuts down at once:
// the node lingers for some milliseconds, without which one message of five
// would be lost. On a busy machine, that may occasionally be too short.
func TestResetBeforeShutdown(t *testing.T) {
	t.Parallel()
	lost := 0
	for round := range 40 {
		if round == 15 && lost == 0 {
			return
		}
		if err := resetsAndShutsDown(t); !errors.Is(err, p2p.FirstAppCode) {
			require.ErrorIs(t, err, p2p.ErrConnectionLost)
			t.Logf("round %d: %v", round, err)
			lost++
		}
	}
	require.LessOrEqual(t, lost, 4)
}

// resetsAndShutsDown returns the error that a handler gets on a stream that a
// node resets before it shuts down.
func resetsAndShutsDown(t *testing.T) error {
	a := start(t, p2p.Config{}, quic.Config{})
	heard := make(chan error, 1)
	b := start(t, p2p.Config{Handler: p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
		s.Write([]byte("x"))
		_, err := io.Copy(io.Discard, s)
		heard <- err
		return err
	})}, quic.Config{})
	peer := a.knows(t, b)
	s, err := peer.NewStream(within(t))
	for errors.Is(err, os.ErrDeadlineExceeded) { // on a busy machine, the introduction may time out
		s, err = peer.NewStream(within(t))
	}
	require.NoError(t, err)
	_, err = s.Write([]byte("x"))
	require.NoError(t, err)
	_, err = io.ReadFull(s, make([]byte, 1))
	require.NoError(t, err)
	s.Reset(p2p.FirstAppCode)
	require.NoError(t, a.Shutdown(within(t)))
	return receive(t, heard)
}

// Ending a stream that the peer has stopped reading does not look like a lost
// connection.
func TestEndOfAStreamThatIsNotRead(t *testing.T) {
	t.Parallel()
	n := start(t, p2p.Config{}, quic.Config{})
	f := newHostile(t)
	f.mux.AddHandler("/sdp2p/2", func(_ string, s io.ReadWriteCloser) error {
		s.(network.Stream).CloseRead()
		s.Write([]byte("x"))
		return nil
	})
	s, err := n.discovers(t, f, 0).NewStream(within(t))
	require.NoError(t, err)
	_, err = s.Write([]byte("x"))
	require.NoError(t, err)
	_, err = s.Read(make([]byte, 1))
	require.NoError(t, err)
	var reset *p2p.ResetError
	require.Eventually(t, func() bool { _, err := s.Write([]byte("y")); return errors.As(err, &reset) }, patience, time.Millisecond)
	err = s.CloseWrite()
	require.ErrorAs(t, err, &reset)
	require.NotErrorIs(t, err, p2p.ErrConnectionLost)
	s.Close()
}
