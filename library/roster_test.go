package library_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
)

// TestMembersMeet: a member that joined through one device is a member on all.
func TestMembersMeet(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		running(t, network, a, b, c)
		for _, d := range []*device{a, b, c} {
			require.Len(t, d.members(), 3)
		}
		for _, pair := range [][2]*device{{a, b}, {b, a}, {b, c}, {c, b}, {a, c}, {c, a}} {
			require.NoError(t, pair[0].echo(t, pair[1]))
		}
	})
}

// TestRemovalReachesAll: a removal on one device cuts the member's tunnels on
// all.
func TestRemovalReachesAll(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		running(t, network, a, b, c)
		open := c.open(t, b)
		touch(t, open)
		secret := a.lib.Record().Secret
		require.NoError(t, a.lib.Remove(c.instance.Remote(), library.RemoveOptions{}))
		pass(time.Second)
		_, err := open.Read(make([]byte, 1))
		require.Error(t, err)
		require.Error(t, c.echo(t, a))
		require.Error(t, c.echo(t, b))
		require.ErrorIs(t, b.echo(t, c), library.ErrNoMember)
		pass(time.Minute)
		require.NotEqual(t, secret, a.lib.Record().Secret)
		require.Equal(t, a.lib.Record().Secret, b.lib.Record().Secret)
		require.Equal(t, secret, c.lib.Record().Secret)
		require.NoError(t, a.echo(t, b))
		require.NoError(t, b.echo(t, a))
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

func TestRecoveryKey(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		key := library.NewRecoveryKey()
		a.start(t, network, p2p.Config{})
		a.found(t, key)
		require.Equal(t, library.RoleAdmin, a.lib.Role())
		b.start(t, network, p2p.Config{})
		b.join(t, a, library.RoleMember)
		pass(5 * time.Second)
		require.ErrorIs(t, b.lib.Remove(a.lib.Instance(), library.RemoveOptions{}), library.ErrNotAdmin)
		again, err := library.ParseRecoveryKey(key.Text())
		require.NoError(t, err)
		require.NoError(t, b.lib.Promote(b.instance.Remote(), again))
		require.NoError(t, b.lib.Remove(a.lib.Instance(), library.RemoveOptions{Key: again}))
		pass(time.Minute)
		require.Equal(t, library.RoleAdmin, b.lib.Role())
		require.Error(t, a.echo(t, b))
	})
}
