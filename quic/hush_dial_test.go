package quic_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/quic"
)

// mostUnderWay is more than the packets that may be under way when a relay
// begins to drop them.
const mostUnderWay = 100

// A stream to a peer whose connection is silent is not opened there, but over
// the next connection.
func TestSilentConnection(t *testing.T) {
	t.Parallel()
	seed := randomBytes(32)
	a := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	before := startWith(t, seed, nil, p2p.Config{Handler: p2p.HandlerFunc(echo)})
	r := newRelay(t, before.addr())
	r.lost = make(chan struct{}, 1)
	peer := a.knows(t, before, r.addr)
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	exchange(t, s, "one")
	r.drop()
	opened := make(chan *p2p.Stream, 1)
	go func() {
		opened <- opensElsewhere(t, a, peer, r)
	}()
	receive(t, r.lost)
	again := startWith(t, seed, nil, p2p.Config{Handler: p2p.HandlerFunc(echo)})
	back, err := again.knows(t, a).NewStream(within(t))
	require.NoError(t, err)
	exchange(t, back, "back")
	s = receive(t, opened)
	require.NotNil(t, s, "streams are opened on a silent connection")
	exchange(t, s, "two")
}

// opensElsewhere opens streams until one does not lead through a relay that
// drops everything, and returns that one. A packet that was under way before may
// show a sign of life of the connection; nil: there are more streams on it.
func opensElsewhere(t *testing.T, a *node, peer *p2p.Peer, r *relay) *p2p.Stream {
	for range mostUnderWay {
		a.listener.Hush(peer.Identity())
		s, err := peer.NewStream(within(t))
		if err != nil {
			t.Error(err)
			return nil
		}
		if s.Path().Remote != r.addr {
			return s
		}
		s.Reset(p2p.ErrCanceled)
	}
	return nil
}

// A stream that waits for a silent connection is opened there once the peer is
// heard again, and one that cannot wait is not opened.
func TestHeardAgain(t *testing.T) {
	t.Parallel()
	a := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	b := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	r := newRelay(t, b.addr())
	r.lost = make(chan struct{}, 1)
	peer := a.knows(t, b, r.addr)
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	exchange(t, s, "one")
	r.drop()
	ctx, cancel := context.WithCancel(within(t))
	refused := make(chan error, 1)
	go func() {
		for range mostUnderWay {
			a.listener.Hush(peer.Identity())
			s, err := peer.NewStream(ctx)
			if err != nil {
				refused <- err
				return
			}
			s.Reset(p2p.ErrCanceled)
		}
		refused <- nil
	}()
	receive(t, r.lost)
	cancel()
	require.ErrorIs(t, receive(t, refused), context.Canceled)

	opened := make(chan error, 1)
	a.listener.Hush(peer.Identity())
	go func() { opened <- send(within(t), peer, "two") }()
	r.resume()
	require.NoError(t, receive(t, opened))
	require.Len(t, peer.Info().Connections, 1)
	require.Equal(t, r.addr, peer.Info().Path.Remote)
}
