package library_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
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

// TestMovedTooOften: a device that can no longer state its node because its
// chain is full still runs, with its other libraries.
func TestMovedTooOften(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		of, other := newCharter(t, a), newCharter(t, a)
		for _, c := range []*charter{of, other} {
			c.join(b, library.RoleMember)
		}
		for of.roster.Last(b.own()).Counter < 16 {
			of.move(b, b.id)
		}
		b.id = identity.New()
		mux := b.hook()
		b.load(t, of.record())
		full := b.lib
		b.load(t, other.record())
		b.P2P = network.Start(t, p2p.Config{Identity: b.id, Handler: mux})
		require.NoError(t, b.Register(t.Context(), b.libraries))
		m, _ := b.lib.Roster().Member(b.own())
		require.Equal(t, b.id.Remote(), m.Node)
		m, _ = full.Roster().Member(b.own())
		require.NotEqual(t, b.id.Remote(), m.Node)
		a.start(t, network, p2p.Config{})
		a.load(t, b.lib.Record())
		pass(5 * time.Second)
		require.NoError(t, a.echo(t, b))
	})
}
