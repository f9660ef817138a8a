package p2p_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// A peer was last seen when a discovery last reported it or its last connection
// ended, even if it is no longer available; while it is connected, it is seen
// now.
func TestLastSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, book, keeper := &fakeListener{fakeHook: fakeHook{name: "wire"}}, &fakeHook{name: "book"}, &fakeHook{name: "keeper"}
		start(t, p2p.Config{}, l, book, keeper)
		id := newID()
		peer := keeper.scope.Track(id)
		require.Zero(t, peer.Info().LastSeen)

		seen := time.Now()
		book.found(t, id)
		time.Sleep(time.Minute)
		require.Equal(t, seen, peer.Info().LastSeen)
		seen = time.Now()
		book.found(t, id) // nothing new, but the peer was seen
		time.Sleep(time.Minute)
		require.Equal(t, seen, peer.Info().LastSeen)
		require.NoError(t, book.scope.Expired(id))
		require.Equal(t, seen, peer.Info().LastSeen, "expiry does not count as having seen the peer")

		conn := l.connect(t, id)
		time.Sleep(time.Minute)
		require.Equal(t, time.Now(), peer.Info().LastSeen)
		require.NoError(t, l.scope.Disconnected(id, conn))
		seen = time.Now()
		time.Sleep(time.Minute)
		info := peer.Info()
		require.Equal(t, seen, info.LastSeen)
		require.True(t, info.Tracked)
		require.False(t, info.Available)
	})
}

// Until a peer is connected, the last failed dial says why it is unreachable. A
// dial that was canceled does not count.
func TestUnreachableAfterADial(t *testing.T) {
	l, keeper := &fakeListener{fakeHook: fakeHook{name: "wire"}}, &fakeHook{name: "keeper"}
	node := start(t, p2p.Config{}, l, keeper)
	id := newID()
	l.found(t, id)
	peer, _ := node.Peer(id)

	ctx, cancel := context.WithCancel(t.Context())
	l.dial = func(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
		cancel()
		return nil, errTest
	}
	_, err := peer.NewStream(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, peer.Info().Unreachable)

	l.dial = fails(p2p.Direct, errRefusedConn)
	_, err = peer.NewStream(t.Context())
	require.ErrorIs(t, err, errRefusedConn)
	require.Equal(t, err, peer.Info().Unreachable)
	require.Same(t, peer, keeper.scope.Track(id))
	require.NoError(t, l.scope.Expired(id))
	require.ErrorIs(t, peer.Info().Unreachable, p2p.ErrNoCandidate, "a reason that needs no dial takes precedence")
	l.found(t, id)
	require.Equal(t, err, peer.Info().Unreachable)

	conn := l.connect(t, id)
	require.NoError(t, peer.Info().Unreachable)
	_, err = peer.NewStream(t.Context()) // opening a stream on a connected peer fails
	require.ErrorIs(t, err, errRefusedConn)
	require.NoError(t, peer.Info().Unreachable)
	require.NoError(t, l.scope.Disconnected(id, conn))
	require.NoError(t, peer.Info().Unreachable)

	node.Revoke(id)
	info := peer.Info()
	require.True(t, info.Revoked)
	require.ErrorIs(t, info.Unreachable, p2p.ErrRevoked)
}

// Info of a *Peer from an earlier life describes the peer as it is now.
func TestInfoOfAnEarlierLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book := &fakeHook{name: "book"}
		node := start(t, p2p.Config{}, book)
		id := newID()
		book.found(t, id)
		before, _ := node.Peer(id)
		require.NoError(t, book.scope.Expired(id))
		require.False(t, before.Info().Available)
		time.Sleep(time.Minute)
		book.found(t, id)
		now, _ := node.Peer(id)
		require.NotSame(t, before, now)
		require.Equal(t, now.Info(), before.Info())
		require.Equal(t, time.Now(), before.Info().LastSeen)
	})
}

// Unreachable says why a peer cannot be reached before any dial was tried.
func TestUnreachable(t *testing.T) {
	keeper, book := &fakeHook{name: "keeper"}, &fakeHook{name: "book"}
	node := start(t, p2p.Config{}, keeper, book)
	id := newID()
	peer := keeper.scope.Track(id)
	unreachable := func(why error) {
		t.Helper()
		dial := (*p2p.DialError)(nil)
		require.ErrorAs(t, peer.Info().Unreachable, &dial)
		require.Equal(t, id, dial.Peer)
		require.ErrorIs(t, dial, why)
		_, err := peer.NewStream(t.Context())
		require.ErrorIs(t, err, why, "a stream fails for the same reason")
	}
	unreachable(p2p.ErrNoListener)
	l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
	require.NoError(t, node.Register(context.Background(), l))
	unreachable(p2p.ErrNoCandidate)
	require.NoError(t, book.scope.Discovered(id, nil, nil))
	unreachable(p2p.ErrNoCandidate)
	book.found(t, id)
	require.NoError(t, peer.Info().Unreachable)
	node.Revoke(id)
	unreachable(p2p.ErrRevoked)
	node.Reinstate(id)
	require.NoError(t, peer.Info().Unreachable)
	require.NoError(t, book.scope.Expired(id))
	unreachable(p2p.ErrNoCandidate)
	conn := l.connect(t, id)
	require.NoError(t, peer.Info().Unreachable, "the peer has connected to this node")
	require.NoError(t, l.scope.Disconnected(id, conn))
	unreachable(p2p.ErrNoCandidate)
	require.NoError(t, book.scope.Discovered(id, nil, []p2p.Candidate{{Kind: p2p.Manual, Addr: addr("192.0.2.1:1")}}))
	require.NoError(t, peer.Info().Unreachable)
}
