package p2p_test

import (
	"context"
	"net/netip"
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

// A tracked peer that no hook has discovered is dialed over the candidates of a
// guide, which do not make it available. Once it is discovered, the candidates
// of both count; one that both report is listed once.
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

// A fakeRendezvous offers relays.
type fakeRendezvous struct {
	fakeHook
	at       []p2p.Candidate
	expected int
}

func (r *fakeRendezvous) Expect() ([]p2p.Candidate, func()) {
	r.expected++
	return r.at, func() { r.expected-- }
}

// A hook that expects another node gets all relays over which that node can
// call, and they are told when it is over. An announced relay address counts
// only if a host can have it.
func TestExpect(t *testing.T) {
	keeper := &fakeHook{name: "keeper"}
	at := func(addr string) p2p.Candidate {
		return p2p.Candidate{Kind: p2p.Relay, Relay: newID(), Addr: netip.MustParseAddrPort(addr)}
	}
	one := &fakeRendezvous{fakeHook: fakeHook{name: "one"}, at: []p2p.Candidate{at("192.0.2.1:1")}}
	two := &fakeRendezvous{fakeHook: fakeHook{name: "two"}, at: []p2p.Candidate{at("192.0.2.2:1")}}
	node := start(t, p2p.Config{}, keeper, one, two)
	all, over := keeper.scope.Expect()
	require.Equal(t, append(one.at, two.at...), all)
	require.Equal(t, []int{1, 1}, []int{one.expected, two.expected})
	require.NoError(t, node.Unregister(t.Context(), two))
	over()
	require.Equal(t, []int{0, 0}, []int{one.expected, two.expected}, "the expectation also ends at a hook that was unregistered")
	all, over = keeper.scope.Expect()
	defer over()
	require.Equal(t, one.at, all)

	id := newID()
	known := p2p.Candidate{Kind: p2p.Relay, Relay: newID()}
	require.NoError(t, keeper.scope.Discovered(id, nil, []p2p.Candidate{at("0.0.0.0:1"), at("224.0.0.1:1"), known, one.at[0]}))
	peer, _ := node.Peer(id)
	require.Len(t, peer.Info().Candidates, 2)
	require.Equal(t, one.at[0].Addr, peer.Info().Candidates[1].Addr)
}
