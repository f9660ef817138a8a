package p2p_test

import (
	"cmp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// Tracked peers are kept whether they are available or not, in order, and keep
// the same *Peer all the time.
func TestTrack(t *testing.T) {
	l, book, keeper := &fakeListener{fakeHook: fakeHook{name: "wire"}}, &fakeHook{name: "book"}, &fakeHook{name: "keeper"}
	node := start(t, p2p.Config{}, l, book, keeper)
	events := node.Subscribe()
	drain(events)
	var ids []identity.RemoteIdentity
	for range 5 {
		ids = append(ids, newID())
	}
	book.found(t, ids[0]) // known before it is tracked
	known, _ := node.Peer(ids[0])
	drain(events)
	var peers []*p2p.Peer
	for _, id := range ids {
		peer := keeper.scope.Track(id)
		require.Equal(t, id, peer.Identity())
		require.Same(t, peer, keeper.scope.Track(id))
		peers = append(peers, peer)
	}
	require.Same(t, known, peers[0])
	require.Equal(t, slices.Repeat([]p2p.Event{p2p.TrackedModified{}}, 5), drain(events), "one for each peer that is newly tracked")
	require.Len(t, node.Peers(), 1)
	require.ElementsMatch(t, peers, node.Tracked())
	require.True(t, slices.IsSortedFunc(node.Tracked(), func(a, b *p2p.Peer) int { return cmp.Compare(a.String(), b.String()) }))
	require.False(t, peers[1].Available())
	require.Nil(t, peers[1].Info().Metadata)
	_, there := node.Peer(ids[1])
	require.False(t, there)

	book.found(t, ids[1]) // known only after it is tracked
	require.Equal(t, []p2p.Event{p2p.PeerAvailable{Peer: peers[1]}, p2p.PeerDiscoveredBy{Peer: peers[1], Hook: "book"}}, drain(events))
	require.NoError(t, book.scope.Expired(ids[1]))
	book.found(t, ids[1])
	now, _ := node.Peer(ids[1])
	require.Same(t, peers[1], now, "also when the peer comes back")
	require.Nil(t, keeper.scope.Track(node.Identity()))
	require.Nil(t, keeper.scope.Track(identity.RemoteIdentity{}))
}

// A peer is tracked until the last hook that tracks it has untracked it or has
// ended.
func TestUntrack(t *testing.T) {
	one, two := &fakeHook{name: "one"}, &fakeHook{name: "two"}
	node := start(t, p2p.Config{}, one, two)
	id, other := newID(), newID()
	peer := one.scope.Track(id)
	require.Same(t, peer, two.scope.Track(id))
	two.scope.Track(other)
	one.scope.Untrack(id)
	one.scope.Untrack(id)
	one.scope.Untrack(other)
	one.scope.Untrack(newID())
	require.Len(t, node.Tracked(), 2)
	require.NoError(t, node.Unregister(t.Context(), two))
	require.Empty(t, node.Tracked())
	require.Nil(t, two.scope.Track(id), "the hook has ended")
	two.scope.Untrack(id)
	require.Empty(t, node.Tracked())

	one.scope.Track(id)
	require.NoError(t, node.Shutdown(t.Context()))
	require.Empty(t, node.Tracked())
	require.ErrorIs(t, peer.Info().Unreachable, p2p.ErrClosed)
}

// The app tracks peers as hooks do, and independently of them.
func TestTrackByApp(t *testing.T) {
	keeper := &fakeHook{name: "keeper"}
	node := start(t, p2p.Config{}, keeper)
	events := node.Subscribe()
	drain(events)
	id := newID()
	peer := node.Track(id)
	require.Equal(t, id, peer.Identity())
	require.Same(t, peer, node.Track(id))
	require.Equal(t, []p2p.Event{p2p.TrackedModified{}}, drain(events))
	require.Equal(t, []*p2p.Peer{peer}, node.Tracked())
	require.False(t, keeper.scope.Stranger(id))
	require.Same(t, peer, keeper.scope.Track(id))
	node.Untrack(id)
	require.Equal(t, []*p2p.Peer{peer}, node.Tracked(), "the hook tracks it still")
	require.Same(t, peer, node.Track(id))
	require.NoError(t, node.Unregister(t.Context(), keeper))
	require.Equal(t, []*p2p.Peer{peer}, node.Tracked(), "the app tracks it still")
	drain(events)
	node.Untrack(id)
	node.Untrack(id)
	require.Empty(t, node.Tracked())
	require.Equal(t, []p2p.Event{p2p.TrackedModified{}}, drain(events))
	require.Nil(t, node.Track(node.Identity()))
	require.Nil(t, node.Track(identity.RemoteIdentity{}))
}

// A flood of announcements does not displace a tracked peer, whether it was
// tracked before or after its discovery; once the tracking ends, it does.
func TestTrackedStay(t *testing.T) {
	book, keeper := &fakeHook{name: "book"}, &fakeHook{name: "keeper"}
	node := start(t, p2p.Config{MaxPeers: 4}, book, keeper)
	before, after, crowd := newID(), newID(), newID()
	keeper.scope.Track(before)
	book.found(t, before)
	book.found(t, after)
	keeper.scope.Track(after)
	book.found(t, crowd)
	flood := func() {
		for range 10 {
			book.found(t, newID())
		}
	}
	has := func(id identity.RemoteIdentity) bool { _, ok := node.Peer(id); return ok }
	flood()
	require.True(t, has(before) && has(after))
	require.False(t, has(crowd))
	require.Len(t, node.Peers(), 4)
	keeper.scope.Untrack(before)
	flood()
	require.False(t, has(before))
	require.True(t, has(after))
	require.NoError(t, node.Unregister(t.Context(), keeper))
	flood()
	require.False(t, has(after))

	again := &fakeHook{name: "keeper"}
	require.NoError(t, node.Register(t.Context(), again))
	for _, p := range node.Peers() {
		again.scope.Track(p.Identity())
	}
	require.ErrorIs(t, book.scope.Discovered(newID(), nil, nil), p2p.ErrTableFull)
}

// A voucher knows the version of one peer.
type voucher struct {
	fakeHook
	knows   identity.RemoteIdentity
	version int
}

func (v *voucher) Speaks(id identity.RemoteIdentity) int {
	if id != v.knows {
		return 0
	}
	return v.version
}

// The versions that hooks report for a peer count for as long as the hooks run;
// if they differ, the highest counts.
func TestSpeaks(t *testing.T) {
	id := newID()
	low, high, keeper := &voucher{fakeHook{name: "low"}, id, 1}, &voucher{fakeHook{name: "high"}, id, 2}, &fakeHook{name: "keeper"}
	node := start(t, p2p.Config{}, low, high, keeper)
	require.Equal(t, 2, keeper.scope.Speaks(id))
	require.Zero(t, keeper.scope.Speaks(newID()))
	require.NoError(t, node.Unregister(t.Context(), high))
	require.Equal(t, 1, keeper.scope.Speaks(id))
}
