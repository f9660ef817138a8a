package quic_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/quic"
)

// up connects a foreigner with a node, and waits until both sides know it. On a
// busy machine, the node may end a handshake that takes too long although the
// foreigner has finished it: in that case the foreigner dials again, as any
// peer does.
func (n *node) up(t testing.TB, f *foreigner) network.Conn {
	t.Helper()
	c := f.connect(t, n)
	look := time.NewTicker(time.Millisecond) // no event tells that the foreigner's end is closed
	defer look.Stop()
	for ctx := within(t); ; {
		if peer, ok := n.Peer(f.id); ok && peer.Connected() {
			return c
		}
		if c.IsClosed() {
			c = f.connect(t, n)
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			t.Fatal("no connection")
		}
	}
}

// Strangers together, and each peer, may have a limited number of connections.
// A tracked peer is admitted anyway: the stranger that was idle longest makes
// room for it.
func TestConnectionPlaces(t *testing.T) {
	t.Parallel()
	n := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{Limits: quic.Limits{Strangers: 2, Connections: 3}})
	first, second, third, member := newHostile(t), newHostile(t), newHostile(t), newHostile(t)
	one := n.up(t, first)
	two := n.up(t, second)
	closed(t, third.connect(t, n))
	s, err := one.NewStream(within(t)) // one is in use, so that two is idle longest
	require.NoError(t, err)
	_, err = s.Write([]byte("\x13/multistream/1.0.0\n\x09/sdp2p/2\nx"))
	require.NoError(t, err)
	readExactly(t, s, []byte("\x13/multistream/1.0.0\n\x09/sdp2p/2\nx"))

	other := newHostile(t)
	for _, f := range []*foreigner{other, member} {
		n.scope.Track(f.id)
	}
	n.up(t, other)
	require.False(t, two.IsClosed(), "there is still a place")
	c := n.up(t, member)
	closed(t, two)
	require.False(t, one.IsClosed())
	require.False(t, c.IsClosed())
	s.Reset()
}

// A peer's oldest idle connection makes room for its next one.
func TestConnectionsOfOnePeer(t *testing.T) {
	t.Parallel()
	n := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{Limits: quic.Limits{ConnectionsPerPeer: 2}})
	seed := randomBytes(32)
	var conns []network.Conn
	for i := range 3 {
		f := newForeigner(t, ed25519Key(t, seed))
		for _, protocol := range []string{"/sdp2p/2/meta"} {
			f.mux.AddHandler(protocol, nil)
		}
		f.SetStreamHandler(func(s network.Stream) { f.mux.Negotiate(s) })
		conns = append(conns, f.connect(t, n))
		require.Eventually(t, func() bool { // no event tells of a second one
			peer, ok := n.Peer(f.id)
			return ok && len(peer.Info().Connections) >= min(i+1, 2)
		}, patience, time.Millisecond)
	}
	closed(t, conns[0])
	require.False(t, conns[2].IsClosed())
}

// A stranger's connection is closed if nothing is served on it; streams that
// are refused do not keep it open. A stream that is served does, however quiet
// it is.
func TestStrangersAreNotKept(t *testing.T) {
	t.Parallel()
	var mux p2p.Mux
	mux.HandleFunc("wait", p2p.Anyone, func(_ context.Context, s *p2p.Stream) error {
		s.Write([]byte("x"))
		_, err := io.Copy(io.Discard, s)
		return err
	})
	n := start(t, p2p.Config{Handler: &mux}, quic.Config{Limits: quic.Limits{StrangerIdle: 5 * time.Second}})
	busy, idle := newHostile(t), newHostile(t)
	s := busy.open(t, n, "/sdp2p/2")
	_, err := s.Write([]byte("\x04wait"))
	require.NoError(t, err)
	readExactly(t, s, []byte("x"))
	c := idle.connect(t, n)
	ended := make(chan struct{})
	go func() { // data flows all the time
		defer close(ended)
		for !c.IsClosed() {
			if s, err := c.NewStream(t.Context()); err == nil {
				s.Write([]byte("\x13/multistream/1.0.0\n\x09/sdp2p/2\n\x02no"))
				s.CloseWrite()
				s.Read(make([]byte, 64))
				s.Reset()
			}
		}
	}()
	receive(t, ended)
	require.False(t, s.Conn().IsClosed())
	s.Reset()
	closed(t, s.Conn())
}
