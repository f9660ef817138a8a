package contact_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/contact"
	"github.com/sdp2p/p2p/identity"
)

// Two contacts find each other, know each other's names, and open streams.
func TestContactsFindEachOther(t *testing.T) {
	t.Parallel()
	a, b := pair(t, &lan{}, p2p.Config{Name: "a", Handler: p2p.HandlerFunc(echo)}, p2p.Config{Name: "b", Handler: p2p.HandlerFunc(echo)})
	ofB, ofA := a.finds(t, b), b.finds(t, a)
	require.Equal(t, "hello", says(t, ofB, "hello"))
	require.Equal(t, "hi", says(t, ofA, "hi"))
	until(t, "names", func() bool { return ofB.Name() == "b" && ofA.Name() == "a" })
	require.True(t, ofB.Info().Tracked)
	require.Equal(t, []string{"contact"}, ofB.Info().DiscoveredBy)
}

// If only one of two nodes has the other as a contact, neither finds the other.
func TestContactsAreMutual(t *testing.T) {
	t.Parallel()
	l := &lan{}
	ids := []identity.Identity{identity.New(), identity.New(), identity.New()}
	a := l.start(t, p2p.Config{Identity: ids[0]}, ids[1].Remote(), ids[2].Remote())
	b := l.start(t, p2p.Config{Identity: ids[1]}) // b does not know a
	c := l.start(t, p2p.Config{Identity: ids[2]}, ids[0].Remote())
	a.finds(t, c)
	c.finds(t, a)
	_, ok := a.Peer(b.Identity())
	require.False(t, ok)
	require.Empty(t, b.Peers())
}

// A peer that is no longer a contact is disconnected, and does not come back.
// When it becomes a contact again, it is found.
func TestRemoval(t *testing.T) {
	t.Parallel()
	l := &lan{}
	a, b := pair(t, l, p2p.Config{}, p2p.Config{})
	a.finds(t, b)
	b.finds(t, a)
	before := shows(t, a)
	require.NoError(t, a.contacts.Set(nil))
	_, ok := a.Peer(b.Identity())
	until(t, "gone", func() bool { _, ok = a.Peer(b.Identity()); return !ok })
	until(t, "gone there, too", func() bool { return len(b.Peers()) == 0 })
	after := shows(t, a)
	require.NotEqual(t, before.Label, after.Label)
	require.NotEqual(t, before.Key, after.Key)
	require.Equal(t, before.At.Port, after.At.Port)
	require.Empty(t, after.Tags)
	require.Empty(t, a.Tracked())
	require.NoError(t, a.contacts.Set([]identity.RemoteIdentity{b.Identity()}))
	a.finds(t, b)
	b.finds(t, a)
}

// Invalid lists of contacts are refused, and change nothing.
func TestSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self, other := identity.New(), identity.New().Remote()
		n, d := alone(t, self, other)
		shown, _, _ := d.contacts.Show()
		many := make([]identity.RemoteIdentity, contact.MaxContacts+1)
		for i := range many {
			many[i] = identity.New().Remote()
		}
		negation := negated(t, other)
		for _, bad := range [][]identity.RemoteIdentity{{{}}, {other, negation}, {negated(t, self.Remote())}, many} {
			require.Error(t, d.contacts.Set(bad))
		}
		require.ErrorIs(t, d.contacts.Set(many), contact.ErrTooMany)
		require.NoError(t, d.contacts.Set([]identity.RemoteIdentity{other, self.Remote(), other}))
		still, _, _ := d.contacts.Show()
		require.Equal(t, shown, still)
		require.True(t, d.contacts.Has(other))
		require.False(t, d.contacts.Has(negation))
		require.False(t, d.contacts.Has(self.Remote()))

		require.NoError(t, d.contacts.Set([]identity.RemoteIdentity{many[0]}))
		require.Equal(t, []identity.RemoteIdentity{other}, d.cut)
		require.False(t, d.kept[len(d.kept)-1], "the former key must not be kept")
		require.NoError(t, d.contacts.Set(many[:2]))
		require.True(t, d.kept[len(d.kept)-1])
		synctest.Wait()
		require.Len(t, n.Tracked(), 2)
	})
}

// negated returns the other key that has the same Montgomery form.
func negated(t *testing.T, id identity.RemoteIdentity) identity.RemoteIdentity {
	t.Helper()
	b := id.Bytes()
	b[31] ^= 0x80
	n, err := identity.FromBytes(b[:])
	require.NoError(t, err)
	return n
}
