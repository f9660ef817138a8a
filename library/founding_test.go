package library_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
)

// TestFounded: a device becomes the admin of a library that it founds. The
// founder is its own instance, or a recovery key, which is no member.
func TestFounded(t *testing.T) {
	for _, key := range []library.RecoveryKey{{}, library.NewRecoveryKey()} {
		bubble(t, func(t *testing.T, network *p2ptest.Network) {
			a, b := newDevice(), newDevice()
			a.start(t, network, p2p.Config{Metadata: map[string]string{"name": "Alice's"}})
			b.start(t, network, p2p.Config{})
			a.found(t, key)
			r := a.lib.Record()
			require.NoError(t, r.Validate())
			require.Equal(t, "photos", r.Name)
			require.Equal(t, key.IsZero(), r.Founder == a.own())
			require.Equal(t, library.RoleAdmin, a.lib.Role())
			require.Equal(t, ids(a), a.members())
			require.ErrorIs(t, a.lib.Rotate(), library.ErrTooSoon)
			b.join(t, a, library.RoleMember)
			pass(5 * time.Second)
			know(t, a, b)
			require.NoError(t, b.echo(t, a))
			require.Equal(t, "Alice's", b.presence(t, a).Member.Name)
			a.found(t, key)
			require.NotEqual(t, r.ID, a.lib.ID())
		})
	}
}

// TestFirst: a record makes the statement that tells where an instance that is
// to join lives.
func TestFirst(t *testing.T) {
	a, m := newDevice(), newDevice()
	r := newCharterOf(t, a, uuid.New(), library.Secret{}).record()
	first, err := r.First(m.id, m.instance)
	require.NoError(t, err)
	require.Equal(t, m.first(t, r), first)
	require.NoError(t, first.Verify(r.Founder))
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
