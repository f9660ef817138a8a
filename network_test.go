package p2p_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

// A watchful hook records what it is told about the network.
type watchful struct {
	fakeHook
	told atomic.Int32
}

func (w *watchful) NetworkChanged() { w.told.Add(1) }

// NetworkChanged reaches the hooks that implement it, and no others.
func TestNetworkChanged(t *testing.T) {
	w := &watchful{fakeHook: fakeHook{name: "watchful"}}
	node := start(t, p2p.Config{}, w, &fakeHook{name: "indifferent"})
	node.NetworkChanged()
	node.NetworkChanged()
	require.EqualValues(t, 2, w.told.Load())
	require.NoError(t, node.Unregister(t.Context(), w))
	node.NetworkChanged()
	require.EqualValues(t, 2, w.told.Load())
}

// A listener reports that the network has changed, and that a connection takes
// another path. When a subscriber receives that event, the peer already shows
// the new path.
func TestPathChanged(t *testing.T) {
	l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
	node := start(t, p2p.Config{}, l)
	id := newID()
	before := p2p.Path{Kind: p2p.Direct, Dialed: true, Remote: addr("192.0.2.1:7373")}
	after := before
	after.Remote = addr("192.0.2.2:7373")
	conn := &fakeConn{path: before}
	require.NoError(t, l.scope.Connected(id, conn))
	peer, ok := node.Peer(id)
	require.True(t, ok)
	require.Equal(t, before, peer.Path())

	seen := node.Subscribe()
	defer seen.Close()
	require.Equal(t, p2p.Resync{}, <-seen.C)
	watched := make(chan p2p.Event, 16)
	go func() {
		for e := range node.Watch(t.Context()) {
			switch e.(type) {
			case p2p.NetworkModified, p2p.PeerPathChanged:
				watched <- e
			case p2p.ListenerRegistered:
				watched <- nil
			}
		}
	}()
	<-watched // the watcher has begun
	woke := p2p.NetworkModified{Woke: true, Slept: time.Hour}
	require.NoError(t, l.scope.NetworkModified(woke))
	require.NoError(t, l.scope.Moved(id, conn, before)) // the path has not changed
	conn.path = after
	require.NoError(t, l.scope.Moved(id, conn, before))
	require.NoError(t, l.scope.Moved(id, &fakeConn{path: after}, before)) // not the peer's connection
	require.NoError(t, l.scope.Moved(newID(), conn, before))
	moved := p2p.PeerPathChanged{Peer: peer, From: before, To: after}
	for _, c := range []<-chan p2p.Event{seen.C, watched} {
		require.Equal(t, woke, <-c)
		require.Equal(t, moved, <-c)
		require.Empty(t, c)
	}
	require.Equal(t, after, peer.Path())
	require.Equal(t, peer, p2p.PeerEvent(moved).Of())
	require.NoError(t, l.scope.Disconnected(id, conn))
	require.Zero(t, peer.Path())
	require.NoError(t, l.scope.Moved(id, conn, before))
	require.NoError(t, node.Unregister(t.Context(), l))
	require.ErrorIs(t, l.scope.NetworkModified(woke), p2p.ErrStopped)
}
