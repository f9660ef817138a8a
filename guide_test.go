package p2p_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// A fakeGuide knows a way to one peer.
type fakeGuide struct {
	fakeHook
	to  identity.RemoteIdentity
	via p2p.Candidate
}

func (g *fakeGuide) Ways(to identity.RemoteIdentity) []p2p.Candidate {
	if to != g.to {
		return nil
	}
	return []p2p.Candidate{g.via}
}

// A tracked peer that nobody has discovered is dialed as a guide says, and is not
// available by that. Once it is discovered, both count, and a way that both know
// is one.
func TestGuide(t *testing.T) {
	var via []p2p.Candidate
	l := &fakeListener{fakeHook: fakeHook{name: "wire"}, dial: func(_ context.Context, to identity.RemoteIdentity, c []p2p.Candidate) (p2p.RawStream, error) {
		via = c
		return nil, &p2p.DialError{Peer: to, Err: errTest}
	}}
	relay := p2p.Candidate{Kind: p2p.Relay, Relay: newID()}
	keeper := &fakeHook{name: "keeper"}
	guide := &fakeGuide{fakeHook: fakeHook{name: "guide"}, to: newID(), via: relay}
	node := start(t, p2p.Config{}, l, keeper, guide)
	peer, other := keeper.scope.Track(guide.to), keeper.scope.Track(newID())

	require.False(t, peer.Available())
	require.NoError(t, peer.Info().Unreachable)
	require.ErrorIs(t, other.Info().Unreachable, p2p.ErrNoCandidate)
	relay.Sources = []string{"guide"}
	require.Equal(t, []p2p.Candidate{relay}, peer.Info().Candidates)
	_, err := peer.NewStream(t.Context())
	require.ErrorIs(t, err, errTest)
	require.Equal(t, []p2p.Candidate{relay}, via)
	require.False(t, peer.Available())

	near := direct("192.0.2.1:1")
	require.NoError(t, keeper.scope.Discovered(guide.to, nil, []p2p.Candidate{near, guide.via}))
	near.Sources, relay.Sources = []string{"keeper"}, []string{"keeper", "guide"}
	require.Equal(t, []p2p.Candidate{near, relay}, peer.Info().Candidates)
	require.NoError(t, node.Unregister(t.Context(), guide))
	relay.Sources = []string{"keeper"}
	require.Equal(t, []p2p.Candidate{near, relay}, peer.Info().Candidates)
}
