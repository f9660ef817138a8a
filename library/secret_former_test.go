package library_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
)

// TestFormerCannotBeDropped: an expired former secret lets no member in, even
// if its removal cannot be stored. Storing is tried again after a minute, not
// at once.
func TestFormerCannotBeDropped(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a := newDevice()
		var full atomic.Bool
		var tries atomic.Int32
		a.cfg.Changed = func(library.Record) error {
			if full.Load() && tries.Add(1) < 1000 { // with an end, or it might never stop
				return errTest
			}
			return nil
		}
		a.start(t, network, p2p.Config{})
		a.found(t, library.RecoveryKey{})
		pass(day)
		require.NoError(t, a.lib.Rotate())
		full.Store(true)
		pass(library.FormerTime + 10*time.Minute)
		require.Len(t, a.lib.Record().Former, 1)
		require.InDelta(t, 10, tries.Load(), 2)
		full.Store(false)
		pass(time.Minute)
		require.Empty(t, a.lib.Record().Former)
	})
}

// TestSecretAfterThief: the removal of a thief also undoes the removals that it
// has signed. Devices count it as a new removal, and accept another secret at
// once.
func TestSecretAfterThief(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		of := newCharter(t, a)
		of.join(b, library.RoleAdmin)
		of.join(c, library.RoleMember)
		others := newDevices(2)
		for _, d := range others {
			of.join(d, library.RoleMember)
		}
		of.run(network, a, b, c)
		honest := a.lib.Record()
		last := of.roster.Last(b.own())
		for _, d := range others {
			require.NoError(t, b.remove(d))
		}
		pass(day)
		require.NoError(t, b.lib.Rotate())
		pass(time.Minute)
		sameSecret(t, a, b, c)
		stolen := a.lib.Record().Secret
		require.True(t, stolen != honest.Secret)
		require.NoError(t, a.lib.Remove(b.own(), library.RemoveOptions{Last: last.Hash}))
		pass(time.Minute)
		require.Len(t, a.lib.Roster().Removals, 1)
		sameSecret(t, a, c)
		require.True(t, a.lib.Record().Secret != stolen, "the thief knows the old secret")
	})
}

// TestSecretsUnderAClockSetBack: while a device's clock is behind, an admin can
// replace the secret once, not any number of times.
func TestSecretsUnderAClockSetBack(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a := newDevice()
		a.start(t, network, p2p.Config{})
		of := newCharter(t, a)
		r := of.record()
		r.Replaced = time.Now().Add(30 * day)
		a.load(t, r)
		require.NoError(t, a.lib.Rotate())
		require.ErrorIs(t, a.lib.Rotate(), library.ErrTooSoon)
		time.Sleep(day)
		require.NoError(t, a.lib.Rotate())
	})
}

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
