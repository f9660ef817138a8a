package library_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
)

// TestWatchSuccess: a watcher is told that Open succeeds again.
func TestWatchSuccess(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		require.NoError(t, a.echo(t, b)) // so that they stay connected
		var last library.Change
		go func() {
			for c := range a.libraries.Watch(t.Context()) {
				last = c
			}
		}()
		require.NoError(t, b.lib.Block(a.own()))
		require.Error(t, a.echo(t, b))
		pass(time.Second)
		require.Error(t, last.Presence.Err)
		require.NoError(t, b.lib.Unblock(a.own()))
		require.NoError(t, a.echo(t, b))
		pass(time.Second)
		require.NoError(t, a.lib.Members()[0].Err)
		require.NoError(t, last.Presence.Err)
	})
}

// TestWatchUnregister: a watcher is told that the hook has stopped.
func TestWatchUnregister(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, _ := pair(t, network)
		var last library.Change
		go func() {
			for c := range a.libraries.Watch(t.Context()) {
				last = c
			}
		}()
		pass(time.Second)
		require.True(t, last.Presence.Available)
		require.NoError(t, a.Unregister(t.Context(), a.libraries))
		pass(time.Second)
		require.ErrorIs(t, a.lib.Members()[0].Err, library.ErrNotRunning)
		require.ErrorIs(t, last.Presence.Err, library.ErrNotRunning)
		require.NoError(t, a.Register(t.Context(), a.libraries))
		pass(time.Second)
		require.True(t, last.Presence.Available)
	})
}

// TestWatchReason: a watcher is told when the reason why a member cannot be
// reached changes.
func TestWatchReason(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		mux := a.hook()
		var err error
		a.P2P, err = p2p.Start(t.Context(), p2p.Config{App: "test", Identity: a.id, Handler: mux, Hooks: []p2p.Hook{a.libraries}})
		require.NoError(t, err)
		defer a.stop(t)
		a.add(t, b)
		var last library.Change
		go func() {
			for c := range a.libraries.Watch(t.Context()) {
				last = c
			}
		}()
		pass(time.Second)
		require.ErrorIs(t, last.Presence.Err, p2p.ErrNoListener)
		require.NoError(t, a.Register(t.Context(), network.Listener(p2ptest.ListenerConfig{})))
		pass(time.Second)
		require.ErrorIs(t, a.lib.Members()[0].Err, p2p.ErrNoCandidate)
		require.ErrorIs(t, last.Presence.Err, p2p.ErrNoCandidate)
		a.Revoke(b.id.Remote())
		pass(time.Second)
		require.ErrorIs(t, a.lib.Members()[0].Err, p2p.ErrRevoked)
		require.ErrorIs(t, last.Presence.Err, p2p.ErrRevoked)
	})
}

// TestStaleFailure: a failure from the time when the hook did not run, or when
// the member was not one yet, says nothing about the member as it is now.
func TestStaleFailure(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		require.NoError(t, a.Unregister(t.Context(), a.libraries))
		require.ErrorIs(t, a.echo(t, b), library.ErrNotRunning)
		require.NoError(t, a.Register(t.Context(), a.libraries))
		pass(time.Second)
		require.NotErrorIs(t, a.lib.Members()[0].Err, library.ErrNotRunning)

		require.NoError(t, b.lib.Block(a.own()))
		require.Error(t, a.echo(t, b))
		require.Error(t, a.lib.Members()[0].Err)
		require.NoError(t, a.lib.Block(b.own()))
		require.NoError(t, a.lib.Unblock(b.own()))
		require.NoError(t, a.lib.Members()[0].Err)
	})
}

// TestNoCandidateGoes: once a member has a candidate, its presence no longer
// says that it has none.
func TestNoCandidateGoes(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		a.start(t, network, p2p.Config{})
		a.add(t, b)
		require.ErrorIs(t, a.echo(t, b), p2p.ErrNoCandidate)
		b.start(t, network, p2p.Config{})
		pass(time.Second)
		require.True(t, a.presence(t, b).Available)
		require.NotErrorIs(t, a.presence(t, b).Err, p2p.ErrNoCandidate)
	})
}
