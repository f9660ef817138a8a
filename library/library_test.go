package library_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/tunnel"
)

// TestMembers: members talk, in both directions; a stranger gets nothing, not
// even a reason; a member is told of a missing route.
func TestMembers(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, stranger := newDevice(), newDevice(), newDevice()
		r := running(t, network, a, b).record()
		stranger.start(t, network, p2p.Config{})
		stranger.pretend(t, r, a, b)
		pass(time.Second)
		require.NoError(t, a.echo(t, b))
		require.NoError(t, b.echo(t, a))

		began := time.Now()
		err := stranger.echo(t, a)
		require.ErrorIs(t, err, tunnel.ErrHandshake)
		require.ErrorIs(t, err, p2p.ErrTunnelRefused)
		require.Equal(t, 250*time.Millisecond, time.Since(began))
		require.ErrorIs(t, a.echo(t, stranger), library.ErrNoMember)
		pass(time.Second)
		require.Equal(t, 1, a.served())

		c, err := a.lib.Open(t.Context(), b.own(), "no such route")
		require.NoError(t, err)
		lost(t, c, p2p.ErrNoRoute)

		require.NoError(t, a.libraries.Remove(r.ID))
		require.ErrorIs(t, a.echo(t, b), library.ErrRemoved)
		require.ErrorIs(t, b.echo(t, a), tunnel.ErrHandshake)
		require.ErrorIs(t, a.libraries.Remove(r.ID), library.ErrRemoved)
		_, err = a.lib.Admit(stranger.first(t, r), library.RoleMember, "", library.RecoveryKey{})
		require.ErrorIs(t, err, library.ErrRemoved)
		require.ErrorIs(t, a.lib.Rotate(), library.ErrRemoved)
		require.ErrorIs(t, a.remove(b), library.ErrRemoved)
		require.ErrorIs(t, a.lib.Promote(b.own(), library.RecoveryKey{}), library.ErrRemoved)
		require.ErrorIs(t, a.lib.Block(b.own()), library.ErrRemoved)
		require.ErrorIs(t, a.lib.Leave(), library.ErrRemoved)
		require.Equal(t, r.Statements, a.lib.Record().Statements)
	})
}

// pretend has a device act as the founder of a library that others have.
func (d *device) pretend(t testing.TB, r library.Record, others ...*device) {
	t.Helper()
	c := newCharterOf(t, d, r.ID, r.Secret)
	for _, o := range others {
		c.join(o, library.RoleMember)
	}
	d.load(t, c.record())
}

// strangers are libraries as their founder has them, in which a device wrongly
// takes itself for a member.
var strangers = map[string]func(c *charter, b *device){
	"no member": func(_ *charter, _ *device) {},
	"added alone": func(c *charter, b *device) {
		c.sign(c.founder, roster.Add{Instance: b.own(), Role: library.RoleMember})
	},
	"another instance": func(c *charter, b *device) {
		c.join(&device{id: b.id, instance: identity.New()}, library.RoleMember)
	},
	"another node": func(c *charter, b *device) {
		c.join(&device{id: identity.New(), instance: b.instance}, library.RoleMember)
	},
	"another library": func(c *charter, b *device) {
		*c = *newCharterOf(c.t, c.founder, uuid.New(), c.rest.Secret)
		c.join(b, library.RoleMember)
	},
	"another secret": func(c *charter, b *device) {
		c.join(b, library.RoleMember)
		c.secret(c.founder, library.NewSecret())
	},
	"no secret": func(c *charter, b *device) {
		c.join(b, library.RoleMember)
		c.rest.Secret = library.Secret{}
	},
	"a former secret that is over": func(c *charter, b *device) {
		c.join(b, library.RoleMember)
		c.rest.Former = []library.Former{{Secret: c.rest.Secret, Until: time.Now()}}
		c.secret(c.founder, library.NewSecret())
	},
	"removed": func(c *charter, b *device) {
		c.join(b, library.RoleMember)
		c.expel(c.founder, b)
	},
	"left": func(c *charter, b *device) {
		c.join(b, library.RoleMember)
		c.expel(b, b)
	},
	"blocked": func(c *charter, b *device) {
		c.join(b, library.RoleMember)
		c.rest.Blocked = ids(b)
	},
	"": func(c *charter, b *device) { // this one is a member
		c.join(b, library.RoleMember)
		c.rest.Former = []library.Former{{Secret: c.rest.Secret, Until: time.Now().Add(time.Second)}}
		c.secret(c.founder, library.NewSecret())
	},
}

// TestStrangers: each of these alone keeps two instances from talking: another
// key, node, library or secret, a removal, or a missing statement of the
// member's own.
func TestStrangers(t *testing.T) {
	for name, change := range strangers {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, network *p2ptest.Network) {
				a, b := newDevice(), newDevice()
				a.start(t, network, p2p.Config{})
				b.start(t, network, p2p.Config{})
				c := newCharter(t, a)
				there := c.copied()
				there.join(b, library.RoleMember)
				b.load(t, there.record())
				change(c, b)
				a.load(t, c.record())
				pass(time.Millisecond) // before any exchange
				if name == "" {
					require.NoError(t, b.echo(t, a))
					return
				}
				require.ErrorIs(t, b.echo(t, a), tunnel.ErrHandshake)
				require.Zero(t, a.served())
			})
		})
	}
}

// TestMetadata: entries of the node's metadata come and go with the libraries,
// while the hook runs.
func TestMetadata(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		d := newDevice()
		d.hook()
		early := d.add(t).record()
		d.P2P = network.Start(t, p2p.Config{Identity: d.id, Metadata: map[string]string{"mine": "x"}})
		want := func(ids ...uuid.UUID) {
			t.Helper()
			entries := map[string]string{}
			for _, id := range ids {
				entries[id.String()] = d.instance.Remote().String()
			}
			require.Equal(t, entries, p2p.Libraries(d.Metadata()))
			require.Equal(t, "x", d.Metadata()["mine"])
		}
		want()
		require.NoError(t, d.Register(t.Context(), d.libraries))
		want(early.ID)
		late := d.add(t).record()
		want(early.ID, late.ID)
		_, err := d.libraries.Add(late, d.instance)
		require.ErrorIs(t, err, library.ErrAdded)
		want(early.ID, late.ID)
		require.Len(t, d.libraries.All(), 2)

		require.NoError(t, d.Unregister(t.Context(), d.libraries))
		want()
		require.NoError(t, d.libraries.Remove(early.ID))
		require.NoError(t, d.Register(t.Context(), d.libraries))
		want(late.ID)
		require.NoError(t, d.libraries.Remove(late.ID))
		want()
		_, ok := d.libraries.Get(late.ID)
		require.False(t, ok)
		require.Empty(t, d.libraries.All())
		d.load(t, late) // once more
		want(late.ID)
	})
}

// TestRestart: the hook serves one node at a time, and works again after it has
// ended.
func TestRestart(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		other := network.Start(t, p2p.Config{})
		require.Error(t, other.Register(t.Context(), a.libraries))
		require.NoError(t, a.echo(t, b))

		in, out := b.open(t, a), a.open(t, b)
		touch(t, in)
		touch(t, out)
		require.NoError(t, a.Unregister(t.Context(), a.libraries))
		touch(t, in)
		touch(t, out)
		require.ErrorIs(t, a.echo(t, b), library.ErrNotRunning)
		require.ErrorIs(t, b.echo(t, a), p2p.ErrShuttingDown)
		require.Empty(t, a.Tracked())
		_, err := a.libraries.Found("x", library.RecoveryKey{})
		require.ErrorIs(t, err, library.ErrNotRunning)

		require.NoError(t, a.Register(t.Context(), a.libraries))
		require.Len(t, a.Tracked(), 1)
		pass(time.Second)
		require.NoError(t, a.echo(t, b))
		require.NoError(t, b.echo(t, a))
		require.NoError(t, a.Unregister(t.Context(), a.libraries))
		require.NoError(t, a.remove(b))
		lost(t, out, tunnel.ErrUnauthorized) // a tunnel that was open can still end
		lost(t, in, tunnel.ErrTruncated)
	})
}

// TestTooMany: 64 libraries fit, or fewer with former secrets; one more of
// either does not, and changes nothing.
func TestTooMany(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		a.start(t, network, p2p.Config{})
		for range 62 {
			a.add(t)
		}
		other := a.lib
		a.add(t, b)
		rotated := a.lib
		require.NoError(t, rotated.Rotate())
		require.Len(t, rotated.Record().Former, 1)

		_, err := a.libraries.Add(newCharter(t, a).record(), a.instance)
		require.ErrorIs(t, err, library.ErrTooMany)
		require.Len(t, a.libraries.All(), 63)
		require.Len(t, p2p.Libraries(a.Metadata()), 63)
		before := other.Record()
		require.ErrorIs(t, other.Rotate(), library.ErrTooMany)
		require.Equal(t, before, other.Record())
		pass(day)
		require.ErrorIs(t, rotated.Rotate(), library.ErrTooMany)
		require.NoError(t, rotated.Remove(b.own(), library.RemoveOptions{}), "the removal counts even without a new secret")
		require.True(t, rotated.Roster().Removed(b.own()))
		require.EqualValues(t, 2, rotated.Record().Number)

		pass(6*day + time.Hour) // the former secret has expired
		require.EqualValues(t, 3, rotated.Record().Number, "the secret is replaced now, to make up for it")
		pass(7 * day)
		require.Empty(t, rotated.Record().Former)
		last := a.add(t, b)
		require.Len(t, p2p.Libraries(a.Metadata()), 64)
		_, err = a.libraries.Add(newCharter(t, a).record(), a.instance)
		require.ErrorIs(t, err, library.ErrTooMany)
		require.ErrorIs(t, a.lib.Rotate(), library.ErrTooMany)

		b.start(t, network, p2p.Config{})
		b.load(t, last.record())
		pass(time.Second)
		require.NoError(t, b.echo(t, a), "the 64th is served")
	})
}

// TestNoRoomInMetadata: a library is not added if the node's metadata has no
// room for its entry.
func TestNoRoomInMetadata(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		d := newDevice()
		d.hook()
		crowd := map[string]string{}
		for i := range 64 {
			crowd[uuid.New().String()] = fmt.Sprint(i)
		}
		d.P2P = network.Start(t, p2p.Config{Identity: d.id, Metadata: crowd})
		require.NoError(t, d.Register(t.Context(), d.libraries))
		_, err := d.libraries.Add(newCharter(t, d).record(), d.instance)
		require.ErrorIs(t, err, p2p.ErrTooManyLibraries)
		_, err = d.libraries.Found("x", library.RecoveryKey{})
		require.ErrorIs(t, err, p2p.ErrTooManyLibraries)
		require.Empty(t, d.libraries.All())
		require.NoError(t, d.Unregister(t.Context(), d.libraries))
		d.add(t)
		require.ErrorIs(t, d.Register(t.Context(), d.libraries), p2p.ErrTooManyLibraries)
		require.Equal(t, crowd, p2p.Libraries(d.Metadata()))
	})
}

// TestOpenFails: Open fails with the reason why a member cannot be reached, or
// when its context ends.
func TestOpenFails(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		link := network.Link(a.Identity(), b.Identity())
		link.Cut()
		pass(time.Second)
		dial := (*p2p.DialError)(nil)
		require.ErrorAs(t, a.echo(t, b), &dial)
		require.ErrorIs(t, dial, p2p.ErrNoCandidate)
		link.Restore()
		link.SetLoss(1)
		pass(time.Second)
		require.ErrorAs(t, a.echo(t, b), &dial)
		require.Len(t, dial.Attempts, 1)
		link.SetLoss(0)

		link.SetDelay(2 * time.Second)
		for _, after := range []time.Duration{time.Second, 5 * time.Second, 3 * time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			began := time.Now()
			_, err := a.lib.Open(ctx, b.own(), "echo")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, after, time.Since(began))
			cancel()
			pass(time.Minute)
		}
		require.NoError(t, a.echo(t, b))
		require.NoError(t, a.presence(t, b).Err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := a.lib.Open(ctx, b.own(), "echo")
		require.Error(t, err)
		require.NoError(t, a.presence(t, b).Err, "giving up says nothing about the member")
	})
}
