package p2p_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

// The work done for each event and each peer allocates no more than it does
// today: this guards against slowing down, and no busy machine can make it
// fail.
func TestAllocations(t *testing.T) {
	l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
	mdns := &fakeHook{name: "mdns"}
	node := start(t, p2p.Config{}, l, mdns)
	for range 10 {
		sub := node.Subscribe()
		defer sub.Close()
		defer drain(sub)
	}
	where := addr("192.0.2.1:1")
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		l.scope.AddAddr(where)
		l.scope.RemoveAddr(where)
	}), 2.0, "two events, each allocated once for all subscribers")

	metadata, candidates := typical(0)
	id := newID()
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		mdns.scope.Discovered(id, metadata, candidates)
		mdns.scope.Expired(id)
	}), 8.0, "a peer comes and goes")
	mdns.scope.Discovered(id, metadata, candidates)
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { mdns.scope.Discovered(id, metadata, candidates) }), 1.0, "nothing new")
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { node.Peers() }), 1.0, "a snapshot")
}
