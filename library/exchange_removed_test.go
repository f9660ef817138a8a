package library_test

import (
	"bufio"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/tunnel"
)

// TestRemovedMemberGetsNothing: a plain member that was removed is refused like
// a stranger, even on the route for statements.
func TestRemovedMemberGetsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, m := newDevice(), newDevice(), newDevice()
		running(t, network, a, b, m)
		before := m.lib.Record()
		require.NoError(t, a.remove(m))
		pass(time.Second)
		for _, d := range []*device{a, b} {
			require.ErrorIs(t, m.echo(t, d), tunnel.ErrHandshake)
			for _, s := range []library.Secret{before.Secret, a.lib.Record().Secret} {
				_, session := m.stream(t, d.id.Remote())
				_, err := tunnel.Open(t.Context(), session, tunnel.NewCredential(before.ID, m.instance, s.Bytes()), tunnel.Member{Instance: d.own(), Node: d.id.Remote()})
				require.ErrorIs(t, err, tunnel.ErrHandshake)
			}
		}
		pass(3 * day)
		require.Equal(t, before.Statements, m.lib.Record().Statements)
		require.Empty(t, m.told())
		require.Zero(t, a.served()+b.served())
	})
}

// TestRemovedAdminHears: an admin that was removed can still use the route for
// statements, and no other. It is told that it was removed, and by whom, and
// only what concerns it.
func TestRemovedAdminHears(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		of := newCharter(t, a)
		of.join(b, library.RoleAdmin)
		of.join(c, library.RoleMember)
		of.run(network, a, b, c)
		open := b.open(t, c)
		touch(t, open)
		link := network.Link(a.Identity(), b.Identity())
		link.Cut()
		network.Link(c.Identity(), b.Identity()).Cut()
		late, never := newDevice(), newDevice()
		a.admit(t, late)
		require.NoError(t, a.remove(late))
		require.NoError(t, a.remove(b))
		a.admit(t, never)
		pass(time.Minute)
		require.Equal(t, library.RoleAdmin, b.lib.Role(), "the admin does not know yet")
		require.ErrorIs(t, a.echo(t, b), library.ErrNoMember)
		link.Restore()
		pass(10 * time.Millisecond)
		for _, route := range []string{"echo", "sdp2p/secret", "sdp2p/ask"} {
			c := b.route(t, a, route)
			_, err := c.Read(make([]byte, 1))
			require.ErrorIs(t, err, p2p.ErrNoRoute, route)
			pass(time.Second)
		}
		c1 := b.route(t, a, "sdp2p/roster")
		_, err := c1.Write(encoded(t, roster.Ends{}))
		require.NoError(t, err)
		in := proto.NewDecoder(bufio.NewReader(c1))
		var ends roster.Ends
		require.NoError(t, ends.DecodeFrom(in))
		require.Empty(t, ends)
		var said roster.Statements
		require.NoError(t, said.DecodeFrom(in))
		c1.Abort(io.EOF)
		for _, s := range said {
			require.NotEqual(t, never.own(), s.Signer)
			if add, ok := s.Parse(of.rest.Founder).(roster.Add); ok {
				require.NotEqual(t, never.own(), add.Instance)
			}
		}

		pass(10 * time.Minute) // it learns of its removal by itself
		require.Contains(t, b.story(a, b, c), "1 removed by 0")
		require.Zero(t, b.lib.Role())
		require.ErrorIs(t, b.echo(t, a), library.ErrNotMember)
		require.NotContains(t, b.members(), never.own())
		require.True(t, b.lib.Record().Secret != a.lib.Record().Secret)
		streams := link.Stats().Streams
		pass(3 * time.Hour)
		require.Equal(t, streams, link.Stats().Streams, "it opens no more streams after that")
	})
}

// TestRemovedAdminTells: statements that a removed admin has signed before its
// removal, and that the others lack, reach them, and count if the removal
// leaves them in effect.
func TestRemovedAdminTells(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, m := newDevice(), newDevice(), newDevice()
		of := newCharter(t, a)
		of.join(b, library.RoleAdmin)
		of.run(network, a, b)
		link := network.Link(a.Identity(), b.Identity())
		link.Cut()
		b.admit(t, m)
		require.NoError(t, a.lib.Remove(b.own(), library.RemoveOptions{Last: b.lastOf(b)}))
		require.NotContains(t, a.members(), m.own(), "the statements that the removal leaves are not known yet")
		link.Restore()
		pass(10 * time.Minute)
		require.ElementsMatch(t, names(ids(a, m)), names(a.members()))
		require.Equal(t, []string{"1 removed by 0", "2 added by 1"}, a.story(a, b, m))
	})
}

// TestRemovedAdminAnswers: an admin that two others have removed has the
// recovery key, and answers with it: it removes one of the two, and is back.
func TestRemovedAdminAnswers(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		key := library.NewRecoveryKey()
		a, b, c := newDevice(), newDevice(), newDevice()
		a.start(t, network, p2p.Config{})
		a.found(t, key)
		for _, d := range []*device{b, c} {
			d.start(t, network, p2p.Config{})
			_, err := a.lib.Admit(d.first(t, a.lib.Record()), library.RoleAdmin, "", key)
			require.NoError(t, err)
			d.load(t, a.lib.Record())
		}
		pass(10 * time.Second)
		require.Equal(t, library.RoleAdmin, c.lib.Role())
		honest := b.lastOf(b)
		require.ErrorIs(t, b.remove(a), library.ErrAsked)
		pass(10 * time.Second)
		require.NoError(t, c.lib.Endorse(c.asked(t)))
		pass(time.Minute)
		require.Zero(t, a.lib.Role())
		require.True(t, c.lib.Roster().Removed(a.own()))
		for _, d := range []*device{a, b, c} {
			d.told()
		}

		require.ErrorIs(t, a.lib.Remove(b.own(), library.RemoveOptions{Last: honest}), library.ErrNotAdmin)
		require.NoError(t, a.lib.Remove(b.own(), library.RemoveOptions{Last: honest, Key: key}))
		require.Equal(t, library.RoleAdmin, a.lib.Role())
		pass(2 * time.Hour)
		require.Equal(t, []string{"1 removed by ?", "0 returned"}, c.story(a, b, c))
		require.Zero(t, b.lib.Role())
		know(t, a, c)
		require.NoError(t, a.echo(t, c))
		require.NoError(t, c.echo(t, a))
	})
}

// lastOf returns the last statement of another device that this one knows.
func (d *device) lastOf(o *device) roster.Hash {
	var last roster.Statement
	for _, s := range d.lib.Record().Statements {
		if s.Signer == o.own() && s.Counter > last.Counter {
			last = s
		}
	}
	return last.Hash()
}
