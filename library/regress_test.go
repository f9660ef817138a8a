package library_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
)

// Each test in this file is for a bug that was once found.

// TestRotateTwice: a member that was away while the secret was replaced twice,
// within the 7 days, is let in and learns the latest secret.
func TestRotateTwice(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		r := running(t, network, a, b, c).record()
		c.stop(t)
		pass(time.Minute)
		require.NoError(t, a.lib.Rotate())
		pass(day)
		require.NoError(t, a.lib.Rotate())
		pass(time.Hour)
		require.Equal(t, a.lib.Record().Secret, b.lib.Record().Secret)

		c.start(t, network, p2p.Config{})
		c.load(t, r)
		pass(10 * time.Minute)
		require.Equal(t, a.lib.Record().Secret, c.lib.Record().Secret)
	})
}

// TestRotateConcurrently: two devices replaced the secret at the same time,
// while a member was away. The member is let in by the one whose secret was
// dropped.
func TestRotateConcurrently(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		of := newCharter(t, a)
		of.join(b, library.RoleAdmin)
		of.join(c, library.RoleMember)
		of.run(network, a, b, c)
		c.stop(t)
		link := network.Link(a.Identity(), b.Identity())
		link.Cut()
		require.NoError(t, a.lib.Rotate())
		require.NoError(t, b.lib.Rotate())
		mine := a.lib.Record().Secret
		pass(time.Hour)
		link.Restore()
		pass(2 * day)
		sameSecret(t, a, b)
		dropped, winner := a, b
		if a.lib.Record().Secret == mine {
			dropped, winner = b, a
		}
		require.Len(t, dropped.lib.Record().Former, 2)
		winner.stop(t)
		c.start(t, network, p2p.Config{})
		c.load(t, of.record())
		pass(10 * time.Minute)
		require.NoError(t, c.echo(t, dropped))
	})
}

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

// TestExchangeAgain: an exchange that failed is tried again after a minute.
func TestExchangeAgain(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		running(t, network, a, b)
		first := b.lib
		for range 61 {
			b.add(t)
		}
		full := newCharter(t, b)
		full.rest.Former = []library.Former{{Secret: library.NewSecret(), Until: time.Now().Add(30 * time.Second)}}
		b.load(t, full.record())
		b.lib = first
		pass(time.Second)
		require.NoError(t, a.lib.Rotate())
		pass(10 * time.Second)
		require.NotEqual(t, a.lib.Record().Secret, b.lib.Record().Secret, "b has no room for another secret")
		require.Equal(t, a.lib.Record().Statements, b.lib.Record().Statements)
		pass(90 * time.Second)
		sameSecret(t, a, b)
	})
}

// TestFormerGoes: a former secret is dropped once it is no longer accepted,
// also one that was loaded.
func TestFormerGoes(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a := newDevice()
		a.start(t, network, p2p.Config{})
		a.add(t)
		require.NoError(t, a.lib.Rotate())
		require.Len(t, a.lib.Record().Former, 1)
		pass(7*day - time.Second)
		require.Len(t, a.lib.Record().Former, 1)
		pass(time.Second)
		require.Empty(t, a.lib.Record().Former)
		require.Equal(t, a.lib.Record(), a.records()[len(a.records())-1])
		require.NoError(t, a.lib.Rotate())
		r := a.lib.Record()
		a.stop(t)
		pass(6 * day)
		a.start(t, network, p2p.Config{})
		a.load(t, r)
		require.Len(t, a.lib.Record().Former, 1)
		pass(day)
		require.Empty(t, a.lib.Record().Former)
	})
}

// TestAddRaces: a library that is still being added, or that cannot be added,
// is not visible.
func TestAddRaces(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) { // in a bubble, no tunnel times out
		a, b := newDevice(), newDevice()
		a.cfg.Limits = plenty
		for _, d := range []*device{a, b} {
			d.start(t, network, p2p.Config{})
		}
		b.load(t, a.add(t, b).record())
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		var echoes, adds sync.WaitGroup
		for range 4 {
			echoes.Go(func() {
				for range 10 {
					if err := b.echo(t, a); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for range 2 {
			adds.Go(func() {
				for ctx.Err() == nil {
					bad := library.Record{ID: uuid.New()}
					_, err := a.libraries.Add(bad, identity.New())
					if !errors.Is(err, library.ErrInvalid) {
						t.Error(err)
					}
					good := newCharter(t, newDevice()).record()
					_, err = a.libraries.Add(good, identity.New())
					if err != nil {
						t.Error(err)
					}
					a.libraries.Remove(good.ID)
				}
			})
		}
		echoes.Wait()
		cancel()
		adds.Wait()
		require.Len(t, p2p.Libraries(a.Metadata()), 1)
	})
}

// TestGateAgrees: an Allow function that agrees is never taken for one that
// does not answer in time.
func TestGateAgrees(t *testing.T) {
	node, err := p2p.New(p2p.Config{App: "test", Allow: func(context.Context, p2p.Request) error { return nil }})
	require.NoError(t, err)
	var all sync.WaitGroup
	defer all.Wait()
	for range 8 {
		all.Go(func() {
			for range 5000 {
				if err := node.Allows(t.Context(), p2p.Request{Action: p2p.OpenTunnel}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
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

// TestKeptBeforeUse: a new secret is not used before the app has stored it. A
// device that crashes in between is let in with its present one.
func TestKeptBeforeUse(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		var full atomic.Bool
		full.Store(true)
		b.cfg.Changed = func(library.Record) error {
			if full.Load() {
				return errTest
			}
			return nil
		}
		require.NoError(t, a.lib.Rotate())
		pass(time.Minute)
		require.NotEqual(t, a.lib.Record().Secret, b.lib.Record().Secret)
		require.NoError(t, b.echo(t, a), "with the former secret")
		require.NoError(t, a.echo(t, b))
		full.Store(false)
		pass(10 * time.Minute)
		sameSecret(t, a, b)
	})
}

// TestFormerOrder: expired former secrets are dropped in whatever order they
// are stored, without a busy loop.
func TestFormerOrder(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a := newDevice()
		a.start(t, network, p2p.Config{})
		later, sooner := time.Now().Add(2*time.Hour), time.Now().Add(time.Hour)
		c := newCharter(t, a)
		c.rest.Former = []library.Former{{Secret: library.NewSecret(), Until: later}, {Secret: library.NewSecret(), Until: sooner}}
		a.load(t, c.record())
		pass(90 * time.Minute)
		require.Len(t, a.lib.Record().Former, 1)
		pass(time.Hour)
		require.Empty(t, a.lib.Record().Former)
	})
}

// TestNothingKeptAfterRemove: the record of a removed library is not stored
// again.
func TestNothingKeptAfterRemove(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, _ := pair(t, network)
		require.NoError(t, a.libraries.Remove(a.lib.ID()))
		a.cfg.Changed = func(library.Record) error { t.Error("the removed library was stored"); return nil }
		require.ErrorIs(t, a.lib.Rotate(), library.ErrRemoved)
		require.ErrorIs(t, a.lib.Block(a.own()), library.ErrRemoved)
	})
}
