package library_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
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

// TestEvents: each device reports each change once, in order, whichever device
// made it; after the record was stored and took effect.
func TestEvents(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c, d, e, f := newDevice(), newDevice(), newDevice(), newDevice(), newDevice(), newDevice()
		all := []*device{a, b, c, d, e, f}
		of := newCharter(t, a)
		of.join(b, library.RoleAdmin)
		of.join(c, library.RoleMember)
		of.join(d, library.RoleMember)
		for _, o := range []*device{a, b, c} {
			o.cfg.Notify = func(event library.Event) {
				kept := o.records()
				now := o.lib.Record()
				require.Equal(t, now, kept[len(kept)-1])
				switch event := event.(type) {
				case library.MemberAdded:
					require.Same(t, o.lib, event.Library)
					require.Contains(t, o.members(), event.Member.Instance)
				case library.MemberRemoved:
					require.NotContains(t, o.members(), event.Member.Instance)
				}
			}
		}
		of.run(network, a, b, c)
		step := func(want ...string) {
			t.Helper()
			pass(10 * time.Second)
			for i, o := range []*device{a, b, c} {
				if got := o.story(all...); !slices.Equal(want, got) {
					t.Errorf("%d was told %q, not %q", i, got, want)
				}
			}
		}
		step()
		honest := of.roster.Last(b.own())
		a.admit(t, e)
		step("4 added by 0")
		require.NoError(t, b.remove(e))
		step("4 removed by 1")
		b.admit(t, f)
		step("5 added by 1")
		pass(25 * time.Hour)
		require.NoError(t, b.lib.Rotate())
		require.NoError(t, c.lib.Block(f.own()))
		step()
		d.start(t, network, p2p.Config{})
		d.load(t, of.record())
		step()
		require.NoError(t, d.lib.Leave())
		step("3 removed by 3")
		all = append(all, newDevice())
		require.NoError(t, a.lib.Remove(b.own(), library.RemoveOptions{Last: honest.Hash}))
		pass(10 * time.Second)
		for _, o := range []*device{a, c} {
			require.Equal(t, []string{"1 removed by 0, with 5", "4 returned"}, o.story(all...))
		}
	})
}

// TestIntroducedByMany: members that lose their place because another member
// was removed are reported with that removal, however long the chain of those
// who added them; and also if a second removal puts out more than the first.
func TestIntroducedByMany(t *testing.T) {
	d := newDevices(8)
	of := newCharter(t, d[0])
	of.join(d[1], library.RoleAdmin)
	of.join(d[2], library.RoleAdmin)
	start := of.roster.Last(d[1].own())
	of.signed(d[1], d[2], roster.Add{Instance: d[3].own(), Role: library.RoleAdmin}) // by two admins
	of.add(d[3].first(t, of.rest))
	of.joinBy(d[3], d[4], library.RoleMember)
	middle := of.roster.Last(d[1].own())
	of.joinBy(d[1], d[5], library.RoleMember)

	of.join(d[6], library.RoleAdmin)
	other := of.roster.Last(d[6].own())
	of.joinBy(d[6], d[7], library.RoleMember)
	late, later := newDevice(), newDevice()
	for _, o := range []*device{late, later} {
		o.hook()
		of.join(o, library.RoleMember)
	}
	for _, o := range []*device{late, later} {
		o.load(t, of.record())
		require.Len(t, o.members(), 10)
	}
	take := func(want ...string) {
		t.Helper()
		require.NoError(t, late.lib.Learn(of.roster.All()))
		require.Equal(t, want, late.story(d...))
	}
	of.signed(d[2], d[0], roster.Remove{Instance: d[1].own(), Last: of.roster.Last(d[1].own()).Hash})
	take("1 removed by 2")
	of.sign(d[0], roster.Remove{Instance: d[1].own(), Last: middle.Hash})
	take("1 removed by 0, with 5")
	of.sign(d[0], roster.Remove{Instance: d[1].own(), Last: start.Hash})
	take("1 removed by 0, with 3, with 4")
	of.sign(d[0], roster.Remove{Instance: d[6].own(), Last: other.Hash})
	take("6 removed by 0, with 7")
	require.ElementsMatch(t, ids(d[0], d[2], late, later), late.members())
	require.NoError(t, later.lib.Learn(of.roster.All()))
	story := later.story(d...)
	for i := range story {
		story[i] = strings.Replace(story[i], "by 2", "by 0", 1) // the three may be in any order
	}
	require.ElementsMatch(t, []string{"1 removed by 0, with 3, with 4, with 5", "6 removed by 0, with 7"}, story)
}

// TestIntroducedByOneDemoted: the same holds for members that were added by a
// device that is no admin any more.
func TestIntroducedByOneDemoted(t *testing.T) {
	d := newDevices(5)
	of := newCharter(t, d[0])
	of.join(d[1], library.RoleAdmin)
	of.join(d[2], library.RoleAdmin)
	of.join(d[3], library.RoleMember)
	before := of.roster.Last(d[1].own())
	of.signed(d[1], d[2], roster.Add{Instance: d[3].own(), Role: library.RoleAdmin})
	of.joinBy(d[3], d[4], library.RoleMember)
	d[2].hook()
	d[2].load(t, of.record())
	require.Len(t, d[2].members(), 5)
	of.sign(d[0], roster.Remove{Instance: d[1].own(), Last: before.Hash})
	require.NoError(t, d[2].lib.Learn(of.roster.All()))
	require.Equal(t, []string{"1 removed by 0, with 4"}, d[2].story(d...))
	m, _ := d[2].lib.Roster().Member(d[3].own())
	require.Equal(t, library.RoleMember, m.Role)
}

// TestOwnRemoval: a removed device is told who removed it. Its tunnels end, it
// opens no others, and its library can still be read.
func TestOwnRemoval(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		running(t, network, a, b, c)
		network.Link(a.Identity(), c.Identity()).Cut()
		open := b.open(t, c)
		touch(t, open)
		require.NoError(t, a.lib.Remove(c.own(), library.RemoveOptions{KeepSecret: true}))
		var file bytes.Buffer
		require.NoError(t, a.lib.Export(&file))
		require.NoError(t, c.lib.Import(&file))
		require.Equal(t, []string{"2 removed by 0"}, c.story(a, b, c))
		_, err := open.Read(make([]byte, 1))
		require.Error(t, err)
		require.ErrorIs(t, c.echo(t, b), library.ErrNotMember)
		require.Error(t, b.echo(t, c))
		require.Zero(t, c.lib.Role())
		require.ElementsMatch(t, names(ids(a, b)), names(c.members()))
		require.Len(t, c.lib.Members(), 2)
		record := c.lib.Record()
		require.NoError(t, record.Validate())
		for _, err := range []error{c.lib.Leave(), ignore(c.lib.Rotate(), library.ErrNotAdmin), ignore(c.remove(b), library.ErrNotAdmin)} {
			require.NoError(t, ignore(err, library.ErrNotMember))
		}
		c.stop(t)
		c.start(t, network, p2p.Config{})
		c.load(t, record)
		pass(time.Hour)
		require.ErrorIs(t, c.echo(t, b), library.ErrNotMember)
		require.Equal(t, record.Statements, c.lib.Record().Statements)
	})
}

// TestNothingWithoutKeeping: a change that cannot be stored does not happen,
// no matter which device makes it: the roster, the secret, tunnels and other
// devices stay the same, and no event is reported.
func TestNothingWithoutKeeping(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		var full atomic.Bool
		a.cfg.Changed = func(library.Record) error {
			if full.Load() {
				return errTest
			}
			return nil
		}
		running(t, network, a, b, c)
		open := b.open(t, a)
		touch(t, open)
		before, there := a.lib.Record(), b.lib.Record()
		full.Store(true)
		_, err := a.lib.Admit(newDevice().first(t, before), library.RoleMember, "", library.RecoveryKey{})
		for _, err := range []error{
			err, a.remove(b), a.lib.Rotate(), a.lib.Promote(b.own(), library.RecoveryKey{}), a.lib.Block(b.own()), a.lib.Leave(),
		} {
			require.ErrorIs(t, err, errTest)
		}
		pass(time.Hour)
		require.Equal(t, before, a.lib.Record())
		require.Equal(t, there, b.lib.Record())
		require.Empty(t, a.told())
		touch(t, open)
		require.NoError(t, a.echo(t, c))
		full.Store(false)
		require.NoError(t, a.remove(b))
		lost(t, open, tunnel.ErrTruncated)
	})
}

// TestStoreThatFails: the same holds for a store whose folder is gone.
func TestStoreThatFails(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		dir := filepath.Join(t.TempDir(), "libraries")
		a, b := newDevice(), newDevice()
		a.cfg.Store = stores(t, dir)
		running(t, network, a, b)
		open := b.open(t, a)
		touch(t, open)
		before := a.lib.Record()
		require.NoError(t, os.Rename(dir, dir+".gone"))
		require.ErrorIs(t, a.remove(b), os.ErrNotExist)
		require.ErrorIs(t, a.lib.Rotate(), os.ErrNotExist)
		_, err := a.libraries.Found("x", library.RecoveryKey{})
		require.ErrorIs(t, err, os.ErrNotExist)
		require.Len(t, a.libraries.All(), 1)
		require.Equal(t, before, a.lib.Record())
		touch(t, open)
		require.NoError(t, os.Rename(dir+".gone", dir))
		require.NoError(t, a.remove(b))
		lost(t, open, tunnel.ErrTruncated)
	})
}

// TestStoreAndChanged: if an app stores records itself in addition to a Store,
// and fails to, the Store does not have the new record either. Otherwise, after
// a restart, the device might sign a second statement with the same number.
func TestStoreAndChanged(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		dir := filepath.Join(t.TempDir(), "libraries")
		a, b := newDevice(), newDevice()
		a.cfg.Store = stores(t, dir)
		a.cfg.Changed = func(library.Record) error { return errTest }
		running(t, network, a, b)
		before := a.lib.Record()
		require.ErrorIs(t, a.remove(b), errTest)
		a.stop(t)
		require.NoError(t, a.cfg.Store.Close())
		again := &device{id: a.id}
		again.cfg.Store = stores(t, dir)
		again.start(t, network, p2p.Config{})
		require.Equal(t, before.Statements, again.libraries.All()[0].Record().Statements)
	})
}

// TestMoveIsKept: a device to which an instance has moved stores a statement
// about it before anything else, or does not start.
func TestMoveIsKept(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a := newDevice()
		r := newCharter(t, a).record()
		a.id = identity.New()
		full := true
		a.cfg.Changed = func(library.Record) error {
			if full {
				return errTest
			}
			return nil
		}
		mux := a.hook()
		a.load(t, r)
		a.P2P = network.Start(t, p2p.Config{Identity: a.id, Handler: mux})
		require.ErrorIs(t, a.Register(t.Context(), a.libraries), errTest)
		require.Empty(t, p2p.Libraries(a.Metadata()))
		full = false
		require.NoError(t, a.Register(t.Context(), a.libraries))
		know(t, a)
		require.Len(t, a.records(), 1)

		full = true
		other := &device{id: identity.New(), instance: a.instance}
		_, err := a.libraries.Add(newCharter(t, other).record(), a.instance)
		require.True(t, errors.Is(err, errTest))
		require.Len(t, a.libraries.All(), 1)
		require.Len(t, p2p.Libraries(a.Metadata()), 1)
	})
}
