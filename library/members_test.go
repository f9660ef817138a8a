package library_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/tunnel"
)

// TestAdmitRefusals: the devices that Admit refuses, and with which errors.
// Nothing changes.
func TestAdmitRefusals(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, gone, m := newDevice(), newDevice(), newDevice(), newDevice()
		of := newCharter(t, a)
		of.join(b, library.RoleMember)
		of.join(gone, library.RoleMember)
		of.expel(a, gone)
		of.run(network, a, b)
		first := m.first(t, of.rest)
		forged := first
		forged.Signature[3]++
		elsewhere := &device{id: identity.New(), instance: m.instance}
		node := elsewhere.first(t, of.rest)
		node.Body[33]++ // part of the node's signature
		require.NoError(t, node.Sign(m.instance, of.rest.Founder))
		other := newCharter(t, a)
		founder := newCharterOf(t, b, of.rest.ID, library.Secret{})
		theirs := of.copied()
		theirs.join(m, library.RoleMember)
		add := first
		add.Kind = roster.KindAdd
		require.NoError(t, add.Sign(m.instance, of.rest.Founder))
		before := a.lib.Record()
		for name, test := range map[string]struct {
			first roster.Statement
			want  error
		}{
			"forged":           {forged, roster.ErrInvalid},
			"not on that node": {node, roster.ErrInvalid},
			"another library":  {m.first(t, other.rest), roster.ErrOtherLibrary},
			"another founder":  {m.first(t, founder.rest), roster.ErrInvalid},
			"number 2":         {theirs.move(m, m.id), roster.ErrNoPredecessor},
			"no move":          {add, roster.ErrInvalid},
			"removed":          {gone.first(t, of.rest), library.ErrInvalid},
			"nothing":          {roster.Statement{}, roster.ErrOtherLibrary},
		} {
			_, err := a.lib.Admit(test.first, library.RoleMember, "", library.RecoveryKey{})
			require.ErrorIs(t, err, test.want, name)
			require.Equal(t, before, a.lib.Record(), name)
		}
		_, err := b.lib.Admit(first, library.RoleMember, "", library.RecoveryKey{})
		require.ErrorIs(t, err, library.ErrNotAdmin)
		_, err = a.lib.Admit(first, library.RoleAdmin, "", library.NewRecoveryKey())
		require.ErrorIs(t, err, library.ErrRecoveryKey)
		for _, err := range []error{
			b.lib.Promote(b.own(), library.RecoveryKey{}), b.lib.Rotate(), b.remove(a), b.lib.Endorse(library.Request{}),
		} {
			require.ErrorIs(t, err, library.ErrNotAdmin)
		}
		require.ErrorIs(t, b.lib.Promote(b.own(), library.NewRecoveryKey()), library.ErrRecoveryKey)
		require.ErrorIs(t, a.remove(m), library.ErrNoMember)
		require.ErrorIs(t, a.lib.Promote(m.own(), library.RecoveryKey{}), library.ErrNoMember)
		pass(time.Minute)
		require.Equal(t, before, a.lib.Record())
		require.Empty(t, append(a.told(), b.told()...))
	})
}

// TestAdmitFull: an admin whose places are taken, or whose chain is full, gets
// ErrFull; the device that it wanted to admit is not admitted halfway.
func TestAdmitFull(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		of := newCharter(t, a)
		of.join(b, library.RoleAdmin)
		for range roster.Places {
			of.joinBy(b, newDevice(), library.RoleMember)
		}
		b.start(t, network, p2p.Config{})
		b.load(t, of.record())
		before := b.lib.Record()
		m := newDevice()
		_, err := b.lib.Admit(m.first(t, of.rest), library.RoleMember, "", library.RecoveryKey{})
		require.ErrorIs(t, err, roster.ErrFull)
		require.Equal(t, before, b.lib.Record())

		for {
			s, err := of.roster.Draft(b.own(), roster.Secret{Number: 9}, time.Now())
			if err != nil {
				require.ErrorIs(t, err, roster.ErrFull)
				break
			}
			require.NoError(t, s.Sign(b.instance, of.rest.Founder))
			of.add(s)
		}
		require.NoError(t, b.lib.Learn(of.roster.All()))
		before = b.lib.Record()
		require.ErrorIs(t, b.remove(m), library.ErrNoMember)
		require.ErrorIs(t, b.lib.Remove(b.members()[0], library.RemoveOptions{}), roster.ErrFull)
		require.ErrorIs(t, b.lib.Rotate(), roster.ErrFull)
		require.Equal(t, before, b.lib.Record())
	})
}

// TestJoinAgain: a device that joins again under a new key replaces its old
// instance, on all devices. If the old instance is an admin, both stay members
// until two admins, or the founder, have removed the old one.
func TestJoinAgain(t *testing.T) {
	for _, role := range []library.Role{library.RoleMember, library.RoleAdmin} {
		bubble(t, func(t *testing.T, network *p2ptest.Network) {
			a, b, c := newDevice(), newDevice(), newDevice()
			of := newCharter(t, a)
			of.join(b, library.RoleMember)
			of.join(c, role)
			of.run(network, a, b, c)
			old := c.own()
			require.NoError(t, c.libraries.Remove(of.rest.ID))
			c.instance = identity.New()
			c.join(t, a, library.RoleMember)
			pass(time.Minute)
			require.NoError(t, b.echo(t, c))
			require.NoError(t, c.echo(t, b))
			m, still := b.lib.Roster().Member(old)
			require.Equal(t, role == library.RoleAdmin, still)
			if still {
				require.Equal(t, c.id.Remote(), m.Node)
				require.NoError(t, a.lib.Remove(old, library.RemoveOptions{}))
				pass(time.Minute)
				require.NoError(t, b.echo(t, c))
			}
			know(t, a, b, c)
		})
	}
}

// TestBlock: a blocked member gets no tunnel to this device, in either
// direction, and loses those that it has at once. Other devices are not told,
// and Unblock undoes it.
func TestBlock(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		running(t, network, a, b, c)
		in, out, other := b.open(t, c), c.open(t, b), b.open(t, a)
		for _, tun := range []*tunnel.Conn{in, out, other} {
			touch(t, tun)
		}
		before := len(c.records())
		require.NoError(t, c.lib.Block(b.own()))
		require.NoError(t, c.lib.Block(b.own()), "again")
		require.Len(t, c.records(), before+1)
		lost(t, in, tunnel.ErrTruncated)
		lost(t, out, tunnel.ErrUnauthorized)
		require.ErrorIs(t, b.echo(t, c), tunnel.ErrHandshake)
		require.ErrorIs(t, c.echo(t, b), library.ErrNoMember)
		require.Len(t, c.lib.Members(), 1)
		touch(t, other)

		a.admit(t, newDevice()) // c learns of b's statements only from a
		pass(time.Minute)
		require.Len(t, c.members(), 4)
		require.Contains(t, c.members(), b.own(), "a blocked member is still a member")
		r := c.lib.Record()
		c.stop(t)
		c.start(t, network, p2p.Config{})
		c.load(t, r)
		pass(time.Minute)
		require.ErrorIs(t, b.echo(t, c), tunnel.ErrHandshake)
		require.NoError(t, c.lib.Unblock(b.own()))
		require.NoError(t, c.lib.Unblock(b.own()), "again")
		require.NoError(t, b.echo(t, c))
		require.NoError(t, c.echo(t, b))

		require.NoError(t, c.lib.Block(a.own()), "the founder can be blocked, too")
		require.NoError(t, a.remove(b))
		pass(time.Minute)
		require.NotContains(t, c.lib.Record().Blocked, b.own())
		require.Error(t, a.echo(t, c))
	})
}

// TestMoved: an instance that lives on another node now says so when it starts.
// A device that learns of it follows the instance and tells the others; tunnels
// from the old node end. The first one has to learn of it from a file, since
// the new node is not let in yet.
func TestMoved(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		running(t, network, a, b, c)
		r := b.lib.Record()
		old := b.id
		b.stop(t)
		b.id = identity.New()
		b.start(t, network, p2p.Config{})
		b.load(t, r)
		require.Len(t, b.lib.Record().Statements, len(r.Statements)+1)
		require.Equal(t, b.lib.Record(), b.records()[len(b.records())-1])
		m, _ := b.lib.Roster().Member(b.own())
		require.Equal(t, b.id.Remote(), m.Node)
		pass(time.Minute)
		require.ErrorIs(t, b.echo(t, a), tunnel.ErrHandshake)

		require.NoError(t, a.lib.Learn(b.lib.Record().Statements))
		pass(5 * time.Minute)
		know(t, a, b, c)
		for _, pair := range [][2]*device{{a, b}, {b, a}, {b, c}, {c, b}} {
			require.NoError(t, pair[0].echo(t, pair[1]))
		}
		thief := &device{id: old, instance: b.instance} // the thief has the old node's key
		thief.start(t, network, p2p.Config{})
		thief.load(t, r)
		pass(time.Second)
		require.Error(t, thief.echo(t, a))
		require.Empty(t, append(a.told(), c.told()...), "no member was added or removed")
	})
}

// TestRemove: a removed member loses its tunnels at once, in both directions,
// and gets no new ones.
func TestRemove(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		var tunnels, theirs []*tunnel.Conn
		for range 40 { // more tunnels, some of which are over and swept
			in, out := b.open(t, a), a.open(t, b)
			touch(t, in)
			touch(t, out)
			c := b.open(t, a)
			require.NoError(t, talk(c, "over"))
			tunnels, theirs = append(tunnels, out), append(theirs, in)
			pass(time.Second)
		}
		require.NoError(t, a.remove(b))
		for i := range tunnels {
			lost(t, tunnels[i], tunnel.ErrUnauthorized)
			lost(t, theirs[i], tunnel.ErrTruncated)
		}
		require.ErrorIs(t, b.echo(t, a), tunnel.ErrHandshake)
		require.ErrorIs(t, a.echo(t, b), library.ErrNoMember)
		require.ErrorIs(t, a.remove(b), library.ErrNoMember)
	})
}

// TestRemoveSpares: other tunnels stay open: those of other members, and those
// of the same member in another library.
func TestRemoveSpares(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		running(t, network, a, b, c)
		first := a.lib
		ofC, ofB := c.open(t, a), b.open(t, a)
		touch(t, ofC)
		touch(t, ofB)
		other := a.add(t, b).record()
		b.load(t, other)
		elsewhere := b.open(t, a)
		touch(t, elsewhere)
		require.NoError(t, first.Remove(b.own(), library.RemoveOptions{}))
		touch(t, ofC)
		touch(t, elsewhere)
		lost(t, ofB, tunnel.ErrTruncated)
		require.NoError(t, a.libraries.Remove(first.ID()))
		lost(t, ofC, tunnel.ErrTruncated)
		touch(t, elsewhere)
		require.NoError(t, a.libraries.Remove(other.ID))
		lost(t, elsewhere, tunnel.ErrTruncated)
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
