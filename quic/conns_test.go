package quic_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/quic"
)

// A peer that has come back has a connection that works, and an old one that it
// knows nothing of: new streams take the new one.
func TestPeerComesBack(t *testing.T) {
	t.Parallel()
	seed := randomBytes(32)
	a := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	before := startWith(t, seed, nil, p2p.Config{Handler: p2p.HandlerFunc(echo)})
	r := newRelay(t, before.addr())
	peer := a.knows(t, before, r.addr)
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	exchange(t, s, "one")
	r.drop() // the peer has crashed: nothing from it arrives any more

	again := startWith(t, seed, nil, p2p.Config{Handler: p2p.HandlerFunc(echo)})
	s, err = again.knows(t, a).NewStream(within(t))
	require.NoError(t, err)
	exchange(t, s, "back")
	require.Len(t, peer.Info().Connections, 2)
	s, err = peer.NewStream(within(t))
	require.NoError(t, err)
	exchange(t, s, "two")
}
