package library_test

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/proto"
)

// The tests in this file are attacks by members, and by thieves of an admin's
// key. They send arbitrary statements over the route for statements, by hand.

// bring has a device send statements to another one, and returns those that it
// gets in return.
func (d *device) bring(t testing.TB, to *device, statements ...roster.Statement) (said roster.Statements, err error) {
	t.Helper()
	pass(time.Second) // a member may open five tunnels a second
	c := d.route(t, to, "sdp2p/roster")
	b, err := roster.Ends{}.AppendBinary(nil)
	require.NoError(t, err)
	if _, err := c.Write(b); err != nil {
		return nil, err
	}
	in := proto.NewDecoder(bufio.NewReader(c))
	var ends roster.Ends
	if err := ends.DecodeFrom(in); err != nil {
		return nil, err
	}
	if err := said.DecodeFrom(in); err != nil {
		return nil, err
	}
	if b, err = roster.Statements(statements).AppendBinary(nil); err != nil {
		return nil, err
	}
	if _, err := c.Write(b); err != nil {
		return said, err
	}
	if err := c.CloseWrite(); err != nil {
		return said, err
	}
	_, err = io.Copy(io.Discard, c)
	return said, err
}

// TestNoEviction: a plain member sends every statement that might remove
// another member or add one: no device's members change, and no tunnel is lost.
func TestNoEviction(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		a.cfg.Limits = plenty
		of := running(t, network, a, b, c)
		tunnel := c.open(t, a)
		touch(t, tunnel)
		before := names(a.members())
		fresh, twin := newDevice(), &device{id: c.id, instance: identity.New()}
		for name, body := range map[string]roster.Body{
			"removes it":               roster.Remove{Instance: c.own()},
			"removes the founder":      roster.Remove{Instance: a.own()},
			"adds one":                 roster.Add{Instance: fresh.own(), Role: library.RoleMember},
			"adds itself as an admin":  roster.Add{Instance: b.own(), Role: library.RoleAdmin},
			"adds another on its node": roster.Add{Instance: twin.own(), Role: library.RoleAdmin, Name: "Carol's"},
			"makes a secret":           roster.Secret{Number: 2, Hash: roster.Hash{1}},
			"lives where it does":      roster.Move{Node: c.id.Remote()},
		} {
			theirs := of.copied()
			said := roster.Statements{theirs.sign(b, body)}
			said = append(said, theirs.sign(b, roster.Endorse{Of: said[0].UnsignedHash()}))
			for _, d := range []*device{fresh, twin} {
				said = append(said, d.first(t, of.rest))
			}
			_, err := b.bring(t, a, said...)
			require.NoError(t, err, name)
			pass(time.Second)
			for _, d := range []*device{a, c} {
				require.Equal(t, before, names(d.members()), name)
				require.Len(t, d.lib.Roster().Secrets, 1, name)
			}
			touch(t, tunnel)
		}
		require.NoError(t, c.echo(t, a))
		require.NoError(t, a.echo(t, c))
		for _, s := range a.lib.Record().Statements {
			require.NotEqual(t, fresh.own(), s.Signer, "a stranger's statements are not kept")
		}
		for _, d := range []*device{a, c} {
			require.Equal(t, []string{"1 forked"}, d.story(a, b, c), "the member has signed twice with one number")
		}
	})
}

// TestNoReturn: a removed member does not come back through a member that has
// not heard of the removal yet, neither under its own key nor under another
// one.
func TestNoReturn(t *testing.T) {
	for _, role := range []library.Role{library.RoleMember, library.RoleAdmin} {
		t.Run(role.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T, network *p2ptest.Network) {
				a, b, m, again := newDevice(), newDevice(), newDevice(), newDevice()
				of := newCharter(t, a)
				of.join(b, library.RoleMember)
				of.join(m, role)
				of.run(network, a, b, m)
				again.start(t, network, p2p.Config{})
				network.Link(a.Identity(), b.Identity()).Cut()
				require.NoError(t, a.remove(m))
				require.Error(t, m.echo(t, a))

				theirs := of.copied()
				said := roster.Statements{
					theirs.sign(m, roster.Add{Instance: again.own(), Role: library.RoleAdmin, Name: "Mum's iPad"}), again.first(t, of.rest),
					theirs.move(m, again.id),
				}
				_, err := m.bring(t, b, said...)
				require.NoError(t, err, "b still takes it for a member")
				again.load(t, theirs.record())
				network.Link(a.Identity(), b.Identity()).Restore()
				pass(time.Hour)
				require.ElementsMatch(t, names(ids(a, b)), names(a.members()))
				require.ElementsMatch(t, names(ids(a, b)), names(b.members()))
				for _, d := range []*device{a, b} {
					require.Error(t, m.echo(t, d))
					require.Error(t, again.echo(t, d))
				}
				sameSecret(t, a, b)
				for _, d := range []*device{m, again} {
					require.NotEqual(t, a.lib.Record().Secret, d.lib.Record().Secret)
				}
				_, err = a.lib.Admit(m.first(t, of.rest), library.RoleMember, "", library.RecoveryKey{})
				require.ErrorIs(t, err, library.ErrInvalid, "not even by mistake")
			})
		})
	}
}

// TestRemovalIsNotFlushed: no number of statements makes a device forget a
// removal, and no thief of an admin's key uses up the places of the user's own
// devices.
func TestRemovalIsNotFlushed(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, gone := newDevice(), newDevice(), newDevice()
		a.cfg.Limits = plenty
		of := newCharter(t, a)
		of.join(b, library.RoleAdmin)
		of.join(gone, library.RoleMember)
		of.expel(a, gone)
		of.run(network, a)
		b.start(t, network, p2p.Config{})
		b.load(t, of.record())
		pass(5 * time.Second)
		a.told()

		honest := of.roster.Last(b.own())
		theirs := of.copied()
		var said roster.Statements
		for range roster.Places + 10 { // the places of an admin, and some more
			d := newDevice()
			said = append(said, theirs.sign(b, roster.Add{Instance: d.own(), Role: library.RoleAdmin}), d.first(t, of.rest))
		}
		said = append(said, theirs.sign(b, roster.Add{Instance: gone.own(), Role: library.RoleMember}))
		_, err := b.bring(t, a, said...)
		require.NoError(t, err)
		require.Len(t, a.members(), 2+roster.Places)
		require.True(t, a.lib.Roster().Removed(gone.own()))
		require.NotContains(t, a.members(), gone.own())
		for _, e := range a.told() {
			require.Equal(t, library.RoleMember, e.(library.MemberAdded).Member.Role, "it takes two admins to make an admin")
		}

		mine := newDevice()
		a.admit(t, mine)
		require.Contains(t, a.members(), mine.own(), "the user's own devices have places of their own")
		require.NoError(t, a.lib.Remove(b.own(), library.RemoveOptions{Last: honest.Hash}))
		require.ElementsMatch(t, names(ids(a, mine)), names(a.members()))
		_, removed := a.told(), a.lib.Roster().Removed(gone.own())
		require.True(t, removed)
		c, err := b.lib.Open(t.Context(), a.own(), "echo")
		if err == nil { // until it has heard of its removal
			_, err = c.Read(make([]byte, 1))
		}
		require.Error(t, err)
	})
}

// TestRotationsLockNobodyOut: four secrets in a row, which a thief of an
// admin's key can make, do not lock out a member that is away: a device accepts
// only one a day.
func TestRotationsLockNobodyOut(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		of := newCharter(t, a)
		of.join(b, library.RoleAdmin)
		of.join(c, library.RoleMember)
		of.run(network, a, b, c)
		old := c.lib.Record()
		c.stop(t)
		theirs := of.copied()
		for range 20 { // one after another
			before := theirs.copied()
			theirs.secret(b, library.NewSecret())
			_, err := b.bring(t, a, theirs.beyond(before)...)
			require.NoError(t, err)
			b.pushSecret(t, a, theirs.rest.Secret)
		}
		require.Len(t, a.lib.Record().Former, 1)
		c.start(t, network, p2p.Config{})
		c.load(t, old)
		pass(time.Minute)
		require.NoError(t, c.echo(t, a))
		require.NoError(t, a.echo(t, c))
	})
}

// TestDailyRotations: a thief of an admin's key makes a new secret whenever
// devices accept one, and removes a member each day so that they accept a
// second one. This locks out no member that is back within 7 days.
func TestDailyRotations(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		of := newCharter(t, a)
		of.join(b, library.RoleAdmin)
		of.join(c, library.RoleMember)
		of.run(network, a, b, c)
		old := c.lib.Record()
		c.stop(t)
		for range 6 {
			require.NoError(t, b.lib.Rotate())
			pass(time.Hour)
			sameSecret(t, a, b)
			d := newDevice()
			b.admit(t, d)
			require.NoError(t, b.remove(d))
			pass(time.Hour)
			sameSecret(t, a, b)
			pass(23 * time.Hour)
		}
		require.EqualValues(t, 13, a.lib.Record().Number)
		require.Len(t, a.lib.Record().Former, 12)
		c.start(t, network, p2p.Config{})
		c.load(t, old)
		pass(10 * time.Minute)
		for _, d := range []*device{a, b} {
			require.NoError(t, c.echo(t, d))
			require.NoError(t, d.echo(t, c))
		}
		pass(3 * day)
		sameSecret(t, a, b, c)
	})
}

// TestStolenSecrets: a thief with an admin's key makes as many secrets as it
// can. Once the key and the statements signed with it are removed, all devices
// accept the next secret, and can talk for good.
func TestStolenSecrets(t *testing.T) {
	for _, thief := range []string{"has given out the last one", "has given out none"} {
		t.Run(thief, func(t *testing.T) {
			bubble(t, func(t *testing.T, network *p2ptest.Network) {
				a, b, c, m := newDevice(), newDevice(), newDevice(), newDevice()
				of := newCharter(t, a)
				of.join(b, library.RoleAdmin)
				of.join(c, library.RoleMember)
				of.join(m, library.RoleMember)
				of.run(network, a, b, c, m)
				honest := of.roster.Last(b.own())
				theirs := of.copied()
				for range 40 {
					theirs.secret(b, library.NewSecret())
				}
				_, err := b.bring(t, a, theirs.beyond(of)...)
				require.NoError(t, err)
				pass(time.Minute)
				if thief == "has given out the last one" {
					for _, d := range []*device{a, c} {
						b.pushSecret(t, d, theirs.rest.Secret)
						require.EqualValues(t, 41, d.lib.Record().Number)
					}
				}
				require.NoError(t, a.lib.Remove(b.own(), library.RemoveOptions{Last: honest.Hash}))
				pass(9 * day)
				sameSecret(t, a, c, m)
				require.EqualValues(t, 2, a.lib.Record().Number)
				require.NoError(t, a.lib.Rotate())
				pass(9 * day)
				sameSecret(t, a, c, m)
				for _, pair := range [][2]*device{{a, c}, {c, m}, {m, a}} {
					require.NoError(t, pair[0].echo(t, pair[1]))
					require.NoError(t, pair[1].echo(t, pair[0]))
				}
			})
		})
	}
}

// TestThiefIsAnswered: a thief with an admin's key removes the plain members
// and adds new ones. The founder removes the key, naming its last honest
// statement, and everything is as it was before, on all devices.
func TestThiefIsAnswered(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c, d := newDevice(), newDevice(), newDevice(), newDevice()
		of := newCharter(t, a)
		of.join(b, library.RoleAdmin)
		for _, m := range []*device{c, d} {
			of.joinBy(b, m, library.RoleMember)
		}
		of.run(network, a, b, c, d)
		honest := of.roster.Last(b.own())
		theirs := of.copied()
		sybil := newDevice()
		theirs.expel(b, c)
		theirs.sign(b, roster.Remove{Instance: a.own()})
		theirs.joinBy(b, sybil, library.RoleAdmin)
		_, err := b.bring(t, a, theirs.beyond(of)...)
		require.NoError(t, err)
		pass(5 * time.Second)
		require.ElementsMatch(t, names(ids(a, b, d, sybil)), names(a.members()))
		require.ElementsMatch(t, names(ids(a, b, d, sybil)), names(d.members()))
		require.Error(t, c.echo(t, d))
		for _, o := range []*device{a, d} {
			o.told()
		}

		require.NoError(t, a.lib.Remove(b.own(), library.RemoveOptions{Last: honest.Hash}))
		pass(2 * time.Hour)
		know(t, a, c, d)
		sameSecret(t, a, c, d)
		require.NoError(t, c.echo(t, d))
		for _, o := range []*device{a, d} {
			require.Equal(t, []string{"1 removed by 0, with 4", "2 returned"}, o.story(a, b, c, d, sybil))
		}
	})
}

// TestNamesAreCleaned: a name that an admin has signed is safe to display
// wherever the app gets it.
func TestNamesAreCleaned(t *testing.T) {
	const name = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe"
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		of := newCharter(t, a)
		of.join(b, library.RoleAdmin)
		of.join(c, library.RoleAdmin)
		of.run(network, a, b)
		s := newDevice()
		theirs := of.copied()
		_, err := b.bring(t, a, theirs.sign(b, roster.Add{Instance: s.own(), Role: library.RoleMember, Name: name}), s.first(t, of.rest))
		require.NoError(t, err)
		ask, err := theirs.roster.Draft(b.own(), roster.Add{Instance: s.own(), Role: library.RoleAdmin, Name: name}, time.Now())
		require.NoError(t, err)
		tunnel := b.route(t, a, "sdp2p/ask")
		text, err := ask.AppendBinary(nil)
		require.NoError(t, err)
		_, err = tunnel.Write(text)
		require.NoError(t, err)
		_, err = io.ReadFull(tunnel, make([]byte, 1))
		require.NoError(t, err)
		var shown []string
		for _, p := range a.lib.Members() {
			shown = append(shown, p.Member.Name)
		}
		for _, r := range a.lib.Requests() {
			shown = append(shown, r.Name)
		}
		for _, e := range a.told() {
			switch e := e.(type) {
			case library.MemberAdded:
				shown = append(shown, e.Member.Name)
			case library.Asked:
				shown = append(shown, e.Request.Name)
			}
		}
		for _, n := range shown {
			require.False(t, strings.ContainsAny(n, "\x1b\x07\u202e"), "%q", n)
		}
		require.Equal(t, 4, len(slices.DeleteFunc(shown, func(n string) bool { return !strings.Contains(n, "owned") })), fmt.Sprintf("%q", shown))
	})
}
