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
)

// council starts devices with a library whose founder is a recovery key: first
// the admins, then the members.
func council(t *testing.T, network *p2ptest.Network, admins, members int) (founder *device, of *charter, all []*device) {
	founder = &device{instance: identity.New()}
	of = newCharter(t, founder)
	all = newDevices(admins + members)
	for i, d := range all {
		role := library.RoleMember
		if i < admins {
			role = library.RoleAdmin
		}
		of.join(d, role)
	}
	of.run(network, all...)
	return founder, of, all
}

// promote has a device promote another one, and requires that the other admins
// are asked.
func (d *device) promote(t testing.TB, o *device) {
	t.Helper()
	require.ErrorIs(t, d.lib.Promote(o.own(), library.RecoveryKey{}), library.ErrAsked)
}

// asked returns the only request that a device has.
func (d *device) asked(t testing.TB) library.Request {
	t.Helper()
	all := d.lib.Requests()
	require.Len(t, all, 1)
	return all[0]
}

// TestAsk: the other admins are each asked once for their agreement to a change
// that takes two. It counts once one of them has agreed, and then the request
// is gone.
func TestAsk(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		_, of, d := council(t, network, 3, 2)
		streams := network.Link(d[0].Identity(), d[4].Identity()).Stats().Streams
		d[0].promote(t, d[3])
		pass(5 * time.Second)
		require.Equal(t, streams, network.Link(d[0].Identity(), d[4].Identity()).Stats().Streams, "plain members are not told")
		for _, o := range d[1:3] {
			require.Equal(t, []string{"0 asks to add 3"}, o.story(d...))
			r := o.asked(t)
			require.Equal(t, d[0].own(), r.By.Instance)
			require.Equal(t, d[3].own(), r.Instance)
			require.False(t, r.Remove)
		}
		require.Empty(t, append(d[3].lib.Requests(), append(d[4].lib.Requests(), d[0].lib.Requests()...)...))
		require.Equal(t, library.RoleMember, d[3].lib.Role())
		require.Equal(t, of.roster.Len(), len(d[1].lib.Record().Statements), "a half-signed statement is not among the statements")
		pass(time.Hour)
		require.Empty(t, d[1].told(), "an admin is asked only once")
		require.NoError(t, d[1].lib.Endorse(d[1].asked(t)))
		pass(5 * time.Second)
		for _, o := range d {
			m, _ := o.lib.Roster().Member(d[3].own())
			require.Equal(t, library.RoleAdmin, m.Role)
			require.Empty(t, o.lib.Requests())
			require.Nil(t, o.lib.Record().Asking)
			require.Empty(t, o.told())
		}
	})
}

// TestAskRemoval: two admins can remove a third, which replaces the secret
// unless it is to be kept.
func TestAskRemoval(t *testing.T) {
	for keep, number := range map[bool]uint64{false: 2, true: 1} {
		bubble(t, func(t *testing.T, network *p2ptest.Network) {
			_, _, d := council(t, network, 3, 1)
			open := d[2].open(t, d[3])
			touch(t, open)
			streams := network.Link(d[0].Identity(), d[2].Identity()).Stats().Streams
			require.ErrorIs(t, d[0].lib.Remove(d[2].own(), library.RemoveOptions{KeepSecret: keep}), library.ErrAsked)
			pass(5 * time.Second)
			require.Equal(t, []string{"0 asks to remove 2"}, d[1].story(d...))
			require.True(t, d[1].asked(t).Remove)
			require.Equal(t, streams, network.Link(d[0].Identity(), d[2].Identity()).Stats().Streams, "the admin to be removed is not asked")
			touch(t, open)
			require.NoError(t, d[1].lib.Endorse(d[1].asked(t)))
			pass(5 * time.Second)
			_, err := open.Read(make([]byte, 1))
			require.Error(t, err)
			for _, o := range []*device{d[0], d[1], d[3]} {
				require.ElementsMatch(t, names(ids(d[0], d[1], d[3])), names(o.members()))
				require.Equal(t, number, o.lib.Record().Number)
			}
		})
	}
}

// TestAskOneAtATime: an admin that makes another request has given up its
// previous one; agreeing to the previous one has no effect.
func TestAskOneAtATime(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		_, _, d := council(t, network, 2, 2)
		d[0].promote(t, d[2])
		pass(5 * time.Second)
		first := d[1].asked(t)
		d[0].promote(t, d[3])
		pass(5 * time.Second)
		require.Equal(t, []string{"0 asks to add 2", "0 asks to add 3"}, d[1].story(d...))
		require.Equal(t, d[3].own(), d[1].asked(t).Instance)
		require.NoError(t, d[1].lib.Endorse(first))
		pass(time.Minute)
		require.Equal(t, library.RoleMember, d[2].lib.Role())
		require.Equal(t, library.RoleMember, d[3].lib.Role())
		require.NoError(t, d[1].lib.Endorse(d[1].asked(t)))
		pass(time.Minute)
		require.Equal(t, library.RoleMember, d[2].lib.Role())
		require.Equal(t, library.RoleAdmin, d[3].lib.Role())
	})
}

// TestAskAgain: once the asker has signed another statement, its request needs
// a new draft: it asks again by itself, and the agreement to the old draft is
// void.
func TestAskAgain(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		_, _, d := council(t, network, 2, 1)
		d[0].promote(t, d[2])
		pass(5 * time.Second)
		first := d[1].asked(t)
		late := newDevice()
		d[0].admit(t, late)
		pass(5 * time.Second)
		require.NoError(t, d[1].lib.Endorse(first))
		pass(5 * time.Second)
		require.Equal(t, library.RoleMember, d[2].lib.Role())
		require.Equal(t, d[2].own(), d[1].asked(t).Instance)
		require.NoError(t, d[1].lib.Endorse(d[1].asked(t)))
		pass(5 * time.Second)
		require.Equal(t, library.RoleAdmin, d[2].lib.Role())
		require.Empty(t, d[1].lib.Requests())
	})
}

// TestDecline: an admin that declines a request is not asked again until the
// asker wants something else; other admins may still agree.
func TestDecline(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		_, _, d := council(t, network, 3, 1)
		d[0].promote(t, d[3])
		pass(5 * time.Second)
		d[1].told()
		d[1].lib.Decline(d[1].asked(t))
		pass(2 * time.Hour)
		require.Empty(t, d[1].lib.Requests())
		require.Empty(t, d[1].told())
		require.Equal(t, library.RoleMember, d[3].lib.Role())
		require.NoError(t, d[2].lib.Endorse(d[2].asked(t)))
		pass(time.Minute)
		require.Equal(t, library.RoleAdmin, d[3].lib.Role())
	})
}

// TestRequestsGo: a request is gone once another admin has answered it, or once
// its asker was removed.
func TestRequestsGo(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		founder, of, d := council(t, network, 3, 2)
		d[0].promote(t, d[3])
		pass(5 * time.Second)
		require.NoError(t, d[1].lib.Endorse(d[1].asked(t)))
		pass(5 * time.Second)
		require.Empty(t, d[2].lib.Requests())

		d[0].promote(t, d[4])
		pass(5 * time.Second)
		stale := d[2].asked(t)
		theirs := of.copied()
		theirs.add(theirs.sign(founder, roster.Remove{Instance: d[0].own(), Last: theirs.roster.Last(d[0].own()).Hash}))
		require.NoError(t, d[2].lib.Learn(theirs.beyond(of)))
		require.Empty(t, d[2].lib.Requests())
		require.NoError(t, d[2].lib.Endorse(stale))
		pass(time.Hour)
		require.Equal(t, library.RoleMember, d[4].lib.Role())
	})
}

// TestEndorsersCount: an agreement counts only if its signer is an admin when
// it arrives, and is not the one to be removed; and only the asker can use it.
func TestEndorsersCount(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		founder, of, d := council(t, network, 4, 1)
		network.Link(d[0].Identity(), d[1].Identity()).Cut()
		require.ErrorIs(t, d[0].remove(d[3]), library.ErrAsked)
		pass(5 * time.Second)
		require.Empty(t, d[1].lib.Requests())
		r := d[2].asked(t)

		draft := d[0].lib.Record().Asking
		theirs := of.copied()
		theirs.sign(d[3], roster.Endorse{Of: draft.UnsignedHash()}) // its own, of no use
		theirs.sign(d[1], roster.Endorse{Of: draft.UnsignedHash()})
		theirs.sign(founder, roster.Remove{Instance: d[1].own(), Last: of.roster.Last(d[1].own()).Hash})
		require.NoError(t, d[0].lib.Learn(theirs.beyond(of)))
		require.NotNil(t, d[0].lib.Record().Asking, "neither agreement counts")
		require.False(t, d[0].lib.Roster().Removed(d[3].own()))

		require.NoError(t, d[2].lib.Endorse(r))
		require.ErrorIs(t, d[2].remove(d[3]), library.ErrAsked, "the agreement is for the asker's key")
		pass(time.Minute)
		require.True(t, d[0].lib.Roster().Removed(d[3].own()))
		require.Nil(t, d[0].lib.Record().Asking)
	})
}

// TestAskerGone: the request of an asker that was removed meanwhile is void.
func TestAskerGone(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		founder, of, d := council(t, network, 2, 1)
		d[0].promote(t, d[2])
		pass(5 * time.Second)
		network.Link(d[0].Identity(), d[1].Identity()).Cut()
		require.NoError(t, d[1].lib.Endorse(d[1].asked(t)))
		theirs := of.copied()
		theirs.expel(founder, d[0])
		require.NoError(t, d[0].lib.Learn(theirs.beyond(of)))
		require.Nil(t, d[0].lib.Record().Asking)
		network.Link(d[0].Identity(), d[1].Identity()).Restore()
		require.NoError(t, d[0].lib.Learn(d[1].lib.Record().Statements))
		require.NoError(t, d[1].lib.Learn(d[0].lib.Record().Statements))
		require.Equal(t, library.RoleMember, d[2].lib.Role())
		m, _ := d[1].lib.Roster().Member(d[2].own())
		require.Equal(t, library.RoleMember, m.Role)
	})
}

// TestAskAfterRestart: a request survives a restart of its asker, which uses an
// agreement that was signed meanwhile; without one, it asks again.
func TestAskAfterRestart(t *testing.T) {
	for _, answered := range []bool{false, true} {
		bubble(t, func(t *testing.T, network *p2ptest.Network) {
			_, _, d := council(t, network, 2, 1)
			d[0].promote(t, d[2])
			pass(5 * time.Second)
			d[0].stop(t)
			if answered {
				require.NoError(t, d[1].lib.Endorse(d[1].asked(t)))
			}
			kept := d[0].records()
			require.NotNil(t, kept[len(kept)-1].Asking)
			d[0].start(t, network, p2p.Config{})
			d[0].load(t, kept[len(kept)-1])
			pass(5 * time.Minute)
			if !answered {
				require.Equal(t, []string{"0 asks to add 2"}, d[1].story(d...), "the request is still the same")
				require.NoError(t, d[1].lib.Endorse(d[1].asked(t)))
				pass(time.Minute)
			}
			require.Equal(t, library.RoleAdmin, d[2].lib.Role())
		})
	}
}

// TestHostileAsks: a message that is not a request of the member that sends it,
// or not an admin's, is refused, and the user is not told.
func TestHostileAsks(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		_, of, d := council(t, network, 2, 2)
		d[0].cfg.Limits = plenty
		draft := func(by *device, body roster.Body) roster.Statement {
			s, err := of.roster.Draft(by.own(), body, time.Now())
			require.NoError(t, err)
			return s
		}
		add := roster.Add{Instance: d[3].own(), Role: library.RoleAdmin}
		other := draft(d[1], add)
		other.Library[0]++
		torn := draft(d[1], add)
		torn.Body = torn.Body[:20]
		for name, test := range map[string]struct {
			by   *device
			says roster.Statement
		}{
			"a member's":      {d[2], draft(d[2], add)},
			"somebody else's": {d[1], draft(d[0], add)},
			"about us":        {d[1], draft(d[1], roster.Remove{Instance: d[0].own()})},
			"of a member":     {d[1], draft(d[1], roster.Add{Instance: d[3].own(), Role: library.RoleMember})},
			"a secret":        {d[1], draft(d[1], roster.Secret{Number: 2})},
			"torn":            {d[1], torn},
			"another library": {d[1], other},
		} {
			pass(time.Second)
			c := test.by.route(t, d[0], "sdp2p/ask")
			c.Write(encoded(t, test.says))
			c.CloseWrite()
			_, err := c.Read(make([]byte, 1))
			require.ErrorIs(t, err, p2p.ErrHandlerFailed, name)
		}
		require.Empty(t, d[0].lib.Requests())
		require.Empty(t, d[0].told())
		require.ErrorIs(t, d[2].lib.Endorse(library.Request{By: library.Member{Instance: d[1].own()}, Instance: d[3].own()}), library.ErrNotAdmin)
	})
}

// TestLeaveIsToldOnce: a member that has left tells the others once, and then
// falls silent.
func TestLeaveIsToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		link := network.Link(a.Identity(), b.Identity())
		streams := link.Stats().Streams
		require.NoError(t, b.lib.Leave())
		pass(time.Second)
		require.Equal(t, ids(a), a.members())
		pass(2 * time.Hour)
		require.Equal(t, streams+1, link.Stats().Streams)
	})
}

// TestLeave: a member that leaves is no longer a member on any device, although
// it tells them itself; it keeps its record. If an admin leaves, the others are
// also asked to remove its key: two of them must, or the founder.
func TestLeave(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		_, _, d := council(t, network, 3, 2)
		network.Link(d[4].Identity(), d[0].Identity()).Cut()
		require.NoError(t, d[4].lib.Leave())
		require.ErrorIs(t, d[4].lib.Leave(), library.ErrNotMember)
		pass(10 * time.Second)
		for _, o := range d {
			require.Equal(t, []string{"4 removed by 4"}, o.story(d...))
			require.ElementsMatch(t, names(ids(d[:4]...)), names(o.members()))
		}
		require.ErrorIs(t, d[4].echo(t, d[0]), library.ErrNotMember)

		require.NoError(t, d[2].lib.Leave())
		pass(10 * time.Second)
		for _, o := range d[:2] {
			require.Equal(t, []string{"2 removed by 2", "2 asks to remove 2"}, o.story(d...))
			require.Equal(t, d[2].own(), o.asked(t).Instance)
		}
		require.Equal(t, []string{"2 removed by 2"}, d[3].story(d...))
		require.Empty(t, d[3].lib.Requests())
		require.ErrorIs(t, d[0].lib.Promote(d[2].own(), library.RecoveryKey{}), library.ErrNoMember)
		require.ErrorIs(t, d[0].lib.Endorse(d[0].asked(t)), library.ErrAsked)
		d[1].lib.Decline(library.Request{By: library.Member{Instance: d[2].own()}, Instance: d[2].own()})
		pass(10 * time.Second)
		require.Equal(t, []string{"0 asks to remove 2"}, d[1].story(d...))
		require.NoError(t, d[1].lib.Endorse(d[1].asked(t)))
		pass(10 * time.Second)
		for _, o := range []*device{d[0], d[1], d[3]} {
			require.Empty(t, o.lib.Requests())
			removals := o.lib.Roster().Removals
			require.Equal(t, d[0].own(), removals[0].By)
			require.Empty(t, o.told(), "the admin was removed already, so there is no event")
			require.EqualValues(t, 2, o.lib.Record().Number)
		}
	})
}

// TestSecondSignature: an admin that was not made by the founder has to ask a
// second admin.
func TestSecondSignature(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		running(t, network, a, b, c)
		require.NoError(t, a.lib.Promote(b.instance.Remote(), library.RecoveryKey{}))
		pass(5 * time.Second)
		require.Equal(t, library.RoleAdmin, b.lib.Role())
		require.ErrorIs(t, b.lib.Promote(c.instance.Remote(), library.RecoveryKey{}), library.ErrAsked)
		pass(5 * time.Second)
		requests := a.lib.Requests()
		require.Len(t, requests, 1)
		require.Equal(t, c.instance.Remote(), requests[0].Instance)
		require.Equal(t, library.RoleMember, c.lib.Role())
		require.NoError(t, a.lib.Endorse(requests[0]))
		pass(10 * time.Second)
		require.Equal(t, library.RoleAdmin, c.lib.Role())
		require.Empty(t, a.lib.Requests())
	})
}
